//! The life of a node.

mod backoff;
mod machine;
