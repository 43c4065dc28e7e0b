//! Where in the config something is, and what is wrong there.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::{self, Display},
};

use serde_json::Value;

use super::field::Field;

/// One thing that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which key, below the plugin's own section.
    pub key: String,
    /// What is wrong with it and what to write instead.
    pub message: String,
}

/// All that is wrong.
#[derive(Debug, Default)]
pub struct Faults(RefCell<Vec<Fault>>);

/// A table of the config.
pub struct Place<'a> {
    faults: &'a Faults,
    path: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl Faults {
    /// `value`, if nothing is wrong.
    pub fn into_result<T>(self, value: T) -> Result<T, Vec<Fault>> {
        let faults = self.0.into_inner();
        if faults.is_empty() {
            Ok(value)
        } else {
            Err(faults)
        }
    }
}

impl<'a> Place<'a> {
    pub fn root(faults: &'a Faults) -> Self {
        Self {
            faults,
            path: String::new(),
        }
    }

    pub fn child(&self, key: &str) -> Self {
        Self {
            faults: self.faults,
            path: self.path_of(key),
        }
    }

    /// Notes what is wrong with a key.
    pub fn fault(&self, key: &str, message: impl Display) {
        self.faults.0.borrow_mut().push(Fault {
            key: self.path_of(key),
            message: message.to_string(),
        });
    }

    /// The value of a key, if it is there and right.
    pub fn take<T>(&self, key: &str, field: Field<T>) -> Option<T> {
        match field {
            Field::Absent => None,
            Field::Good(value) => Some(value),
            Field::Bad(message) => {
                self.fault(key, message);
                None
            }
        }
    }

    /// The value of a key that may be absent, as `parse` understands it.
    pub fn parse<T, U, E: Display>(
        &self,
        key: &str,
        field: Field<T>,
        parse: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<U> {
        let value = self.take(key, field)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, error);
                None
            }
        }
    }

    /// Refuses keys that there are not.
    pub fn refuse(&self, unknown: &BTreeMap<String, Value>, known: &[&str]) {
        for key in unknown.keys() {
            self.fault(
                key,
                format!("there is no such key; there are {}", known.join(", ")),
            );
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}
