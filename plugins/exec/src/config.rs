//! `[plugins.exec.config]`, read whole: every fault is reported, with its key.

mod field;
mod place;
mod quantity;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

pub use field::Field;
pub use place::{Fault, Faults, Place};
pub use table::{LimitsTable, ParameterTable, ProgramTable};

use crate::program::Program;

/// The plugin's own section.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The programs that commands may name.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, ProgramTable>")]
    pub programs: Map<String, Value>,
    /// Names of programs that are not run all the same. The one key that a
    /// pushed config may set.
    #[serde(default)]
    pub disabled: Vec<String>,
}

/// The programs of a config, or all that is wrong with it.
pub fn read(config: &Config) -> Result<BTreeMap<String, Arc<Program>>, Vec<Fault>> {
    let faults = Faults::default();
    let root = Place::root(&faults);
    let programs = root.child("programs");
    let mut by_name = BTreeMap::new();
    for (name, table) in &config.programs {
        let place = programs.child(name);
        if !is_name(name) {
            programs.fault(
                name,
                "no program can have this name: 1 to 64 of a-z 0-9 - . _, beginning with a letter",
            );
        }
        // Whatever is wrong with its keys, a table is read.
        let Ok(table) = ProgramTable::deserialize(table) else {
            programs.fault(
                name,
                format!("this has to be a table: write [plugins.exec.config.programs.{name}]"),
            );
            continue;
        };
        if let Some(program) = Program::read(name, table, &place) {
            by_name.insert(name.clone(), Arc::new(program));
        }
    }
    for name in &config.disabled {
        if !config.programs.contains_key(name) {
            root.fault("disabled", format!("no program {name:?} is listed"));
        }
    }
    faults.into_result(by_name)
}

/// As the names of commands and plugins.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'))
}
