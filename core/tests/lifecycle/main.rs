//! The lifecycle against a controller played in this process.

mod controller;
mod enrolment;
mod fixed_contract;
mod lying_controller;
mod metrics;
mod plugin;
mod recovery;
mod session;
mod tls;
mod worker;
