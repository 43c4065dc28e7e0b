//! The file: one redb database. A change is one transaction and one `fsync`.

use std::{
    fmt,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use aegis_plugin_api::abi::{AEGIS_KV_MAX_BYTES, AEGIS_KV_MAX_KEYS};
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::Serialize;

use super::{error::KeyValueError, requests::Found};
use crate::database;

/// By plugin and key: the version, eight bytes with the highest first, and the
/// value.
const VALUES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("values");
/// By plugin: its newest version, its keys, and the bytes of keys and values.
const SUMS: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("sums");

const VERSION_BYTES: usize = 8;
/// Pages that are kept in memory: a few plugins' worth of what is small anyway.
const CACHE_BYTES: usize = 1024 * 1024;

/// Where the bytes are.
pub(super) enum Medium {
    File(PathBuf),
    /// A test's.
    #[cfg(test)]
    Other(Box<Opening>),
}

#[cfg(test)]
type Opening = dyn Fn(&Builder) -> Result<Database, redb::DatabaseError> + Send + Sync;

impl Medium {
    /// Of the file, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            #[cfg(test)]
            Self::Other(_) => None,
        }
    }
}

pub(super) struct Disk(Database);

/// A key without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(super) key: String,
    pub(super) version: u64,
    /// Of the value.
    pub(super) bytes: usize,
}

impl Disk {
    /// Opens the file, or makes it.
    pub(super) fn open(medium: &Medium) -> Result<Self, KeyValueError> {
        let open = || {
            let mut builder = Builder::new();
            builder
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true);
            Ok(Self(match medium {
                Medium::File(path) => builder.create_with_backend(database::file(path)?)?,
                #[cfg(test)]
                Medium::Other(open) => open(&builder)?,
            }))
        };
        database::guarded(open, KeyValueError::Damaged)
    }

    pub(super) fn guarded<T>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, KeyValueError>,
    ) -> Result<T, KeyValueError> {
        database::guarded(|| ask(self), KeyValueError::Damaged)
    }

    pub(super) fn get(&self, plugin: &str, key: &str) -> Result<Found, KeyValueError> {
        let nothing = Found {
            value: None,
            version: 0,
        };
        let Some(values) = there(self.0.begin_read()?.open_table(VALUES))? else {
            return Ok(nothing);
        };
        let Some(row) = values.get((plugin, key))? else {
            return Ok(nothing);
        };
        let (version, value) = parts(row.value())?;
        Ok(Found {
            value: Some(value.to_vec()),
            version,
        })
    }

    /// The key's new version.
    pub(super) fn put(
        &self,
        plugin: &str,
        key: &str,
        value: &[u8],
        expected: Option<u64>,
    ) -> Result<u64, KeyValueError> {
        self.change(plugin, key, expected, Some(value))
            .map(|changed| changed.version)
    }

    /// False: there was none.
    pub(super) fn remove(
        &self,
        plugin: &str,
        key: &str,
        expected: Option<u64>,
    ) -> Result<bool, KeyValueError> {
        self.change(plugin, key, expected, None)
            .map(|changed| changed.was_there)
    }

    /// At most `limit` keys, and whether there are more.
    pub(super) fn list(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Listed>, bool), KeyValueError> {
        let mut keys = Vec::new();
        let Some(values) = there(self.0.begin_read()?.open_table(VALUES))? else {
            return Ok((keys, false));
        };
        let from = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded((plugin, after)),
            None => Bound::Included((plugin, prefix)),
        };
        for row in values.range::<(&str, &str)>((from, Bound::Unbounded))? {
            let (name, value) = row?;
            let (owner, key) = name.value();
            if owner != plugin || !key.starts_with(prefix) {
                break;
            }
            if keys.len() == limit {
                return Ok((keys, true));
            }
            let (version, value) = parts(value.value())?;
            keys.push(Listed {
                key: key.to_owned(),
                version,
                bytes: value.len(),
            });
        }
        Ok((keys, false))
    }

    fn change(
        &self,
        plugin: &str,
        key: &str,
        expected: Option<u64>,
        value: Option<&[u8]>,
    ) -> Result<Changed, KeyValueError> {
        let transaction = self.0.begin_write()?;
        let changed = {
            let mut values = transaction.open_table(VALUES)?;
            let mut sums = transaction.open_table(SUMS)?;
            let sum = sums.get(plugin)?.map(|sum| sum.value());
            let (newest, keys, bytes) = sum.unwrap_or_default();
            let before = match values.get((plugin, key))? {
                Some(row) => {
                    let (version, value) = parts(row.value())?;
                    Some((version, weight(key, value)))
                }
                None => None,
            };
            let (is, weighed) = before.unwrap_or_default();
            if let Some(expected) = expected
                && expected != is
            {
                return Err(KeyValueError::Conflict { is, expected });
            }
            let was_there = before.is_some();
            let keys = keys.saturating_sub(was_there.into());
            let bytes = bytes.saturating_sub(weighed);
            match value {
                Some(value) => {
                    let (keys, bytes) = (keys + 1, bytes + weight(key, value));
                    check(was_there, keys, bytes)?;
                    let version = newest + 1;
                    let mut row = version.to_be_bytes().to_vec();
                    row.extend_from_slice(value);
                    values.insert((plugin, key), row.as_slice())?;
                    sums.insert(plugin, (version, keys, bytes))?;
                    Changed { was_there, version }
                }
                None if was_there => {
                    values.remove((plugin, key))?;
                    sums.insert(plugin, (newest, keys, bytes))?;
                    Changed {
                        was_there,
                        version: 0,
                    }
                }
                // Nothing to write.
                None => {
                    return Ok(Changed {
                        was_there,
                        version: 0,
                    });
                }
            }
        };
        transaction.commit()?;
        Ok(changed)
    }
}

struct Changed {
    was_there: bool,
    /// 0: it was removed.
    version: u64,
}

fn check(was_there: bool, keys: u64, bytes: u64) -> Result<(), KeyValueError> {
    if !was_there && keys > AEGIS_KV_MAX_KEYS as u64 {
        return Err(KeyValueError::TooManyKeys);
    }
    if bytes > AEGIS_KV_MAX_BYTES as u64 {
        return Err(KeyValueError::TooManyBytes(bytes));
    }
    Ok(())
}

/// What an entry counts for.
fn weight(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn parts(row: &[u8]) -> Result<(u64, &[u8]), KeyValueError> {
    let Some((version, value)) = row.split_first_chunk::<VERSION_BYTES>() else {
        return Err(KeyValueError::Damaged("a value without a version".into()));
    };
    Ok((u64::from_be_bytes(*version), value))
}

/// A table that nothing was written to is not there yet.
fn there<T>(table: Result<T, TableError>) -> Result<Option<T>, KeyValueError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A damaged file can make the database panic even here.
pub(super) fn close(disk: Arc<Disk>) {
    let closed = database::guarded(
        || {
            drop(disk);
            Ok(())
        },
        KeyValueError::Damaged,
    );
    if let Err(error) = closed {
        tracing::warn!(%error, "what the plugins keep could not be closed");
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl fmt::Debug for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            #[cfg(test)]
            Self::Other(_) => f.write_str("no file"),
        }
    }
}
