//! What the fuzz targets do with their input. Each function takes any bytes and
//! panics where the code under test did what it must not.

mod manifest;
mod plugin_entries;

pub use manifest::{manifest_document, manifest_file};
pub use plugin_entries::plugin_entries;
