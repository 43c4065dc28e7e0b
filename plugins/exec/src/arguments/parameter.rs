//! What a value may look like.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::template::is_parameter_name;
use crate::config::{Field, ParameterTable, Place};

/// The longest value, in bytes. No path is longer.
const MAX_VALUE_BYTES: usize = 4096;
/// What a compiled pattern may take, in bytes.
const MAX_PATTERN_SIZE: usize = 1 << 20;

/// A parameter of a program.
#[derive(Debug)]
pub struct Parameter {
    pattern: Regex,
    written: String,
    default: Option<String>,
    leading_dash: bool,
}

impl Parameter {
    /// A pattern, or a table with one.
    pub fn read(name: &str, value: &Value, place: &Place<'_>) -> Option<Self> {
        if !is_parameter_name(name) {
            place.fault(
                name,
                "its name has to be of a-z 0-9 _ -, beginning with a letter",
            );
        }
        if let Value::String(pattern) = value {
            let compiled = compile(pattern)
                .map_err(|error| place.fault(name, error))
                .ok()?;
            return Some(Self {
                pattern: compiled,
                written: pattern.clone(),
                default: None,
                leading_dash: false,
            });
        }
        let own = place.child(name);
        let table = match ParameterTable::deserialize(value) {
            Ok(table) if value.is_object() => table,
            _ => {
                place.fault(name, "write its pattern, or a table with `pattern` in it");
                return None;
            }
        };
        own.refuse(&table.unknown, ParameterTable::KEYS);
        let default = own.take("default", table.default);
        let leading_dash = own
            .take("leading_dash", table.leading_dash)
            .unwrap_or(false);
        if matches!(table.pattern, Field::Absent) {
            own.fault("pattern", "it is missing: say which values are taken");
        }
        let written = own.take("pattern", table.pattern)?;
        let pattern = compile(&written)
            .map_err(|error| own.fault("pattern", error))
            .ok()?;
        let parameter = Self {
            pattern,
            written,
            default,
            leading_dash,
        };
        if let Some(Err(reason)) = parameter.default().map(|default| parameter.check(default)) {
            own.fault("default", reason);
        }
        Some(parameter)
    }

    pub fn check(&self, value: &str) -> Result<(), String> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!(
                "the value has {} bytes; at most {MAX_VALUE_BYTES} are taken",
                value.len()
            ));
        }
        if let Some(control) = value.chars().find(|c| c.is_control()) {
            return Err(format!(
                "the value has the control character U+{:04X} in it",
                u32::from(control)
            ));
        }
        if !self.pattern.is_match(value) {
            return Err(format!("{value:?} does not match {:?}", self.written));
        }
        Ok(())
    }

    pub fn default(&self) -> Option<&str> {
        self.default.as_deref()
    }

    pub fn may_lead_with_dash(&self) -> bool {
        self.leading_dash
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(MAX_PATTERN_SIZE)
            .build()
    };
    // By itself first: what closes the group below too early has to be refused.
    build(pattern)
        .and_then(|_| build(&format!("\\A(?:{pattern})\\z")))
        .map_err(|error| error.to_string())
}
