//! The configuration of a worker.

pub mod model;
