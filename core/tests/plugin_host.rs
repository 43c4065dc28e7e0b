//! The plugin host over real libraries: what it lets in, how it treats what it
//! let in, and that no plugin harms another.

#![cfg(target_os = "linux")]

#[path = "plugin_host/calls.rs"]
mod calls;
#[path = "plugin_host/catalog.rs"]
mod catalog;
#[path = "plugin_host/files.rs"]
mod files;
#[path = "plugin_host/fixture.rs"]
mod fixture;
#[path = "plugin_host/languages.rs"]
mod languages;
#[path = "plugin_host/museum.rs"]
mod museum;
#[path = "plugin_host/mutation.rs"]
mod mutation;
#[path = "plugin_host/signatures.rs"]
mod signatures;
#[path = "plugin_host/world.rs"]
mod world;
