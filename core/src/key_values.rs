//! What plugins keep of their own: `aegis.kv/1`.
//!
//! One file of the worker for all of them, opened when the first asks. Each sees
//! its own keys alone and has its own limits.

mod disk;
mod error;
mod requests;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

pub(crate) use disk::Listed;
pub(crate) use error::KeyValueError;
pub(crate) use requests::{
    Changed, Found, GetRequest, ListRequest, Page, PutRequest, RemoveRequest, Removed,
};

use crate::{database, lifecycle::chain};
use disk::{Disk, Medium};

/// The file's name in the state directory.
const FILE: &str = "plugin-state.redb";

/// The values of all plugins. Every method may block while the disk is read or
/// written.
#[derive(Debug)]
pub(crate) struct KeyValues {
    medium: Medium,
    /// `None` before the first request, and after an error until the next.
    disk: RwLock<Option<Arc<Disk>>>,
}

/// Those of one plugin, whatever its version and placement.
#[derive(Debug, Clone)]
pub(crate) struct OwnKeyValues {
    store: Arc<KeyValues>,
    plugin: Arc<str>,
}

impl KeyValues {
    /// Those in this state directory. Opens nothing.
    pub(crate) fn below(state_dir: &Path) -> Arc<Self> {
        Self::on(Medium::File(state_dir.join(FILE)))
    }

    fn on(medium: Medium) -> Arc<Self> {
        Arc::new(Self {
            medium,
            disk: RwLock::new(None),
        })
    }

    /// The values of a plugin.
    pub(crate) fn of(self: &Arc<Self>, plugin: &str) -> OwnKeyValues {
        OwnKeyValues {
            store: Arc::clone(self),
            plugin: plugin.into(),
        }
    }

    /// Asks the disk. After an error of the disk the next request opens the file
    /// anew.
    fn with<T>(
        &self,
        ask: impl FnOnce(&Disk) -> Result<T, KeyValueError>,
    ) -> Result<T, KeyValueError> {
        let disk = self.disk()?;
        let answer = disk.guarded(ask);
        if answer.as_ref().is_err_and(KeyValueError::is_of_the_disk) {
            let mut current = write(&self.disk);
            if current.as_ref().is_some_and(|it| Arc::ptr_eq(it, &disk)) {
                *current = None;
            }
            drop(current);
            disk::close(disk);
        }
        answer
    }

    fn disk(&self) -> Result<Arc<Disk>, KeyValueError> {
        let open = self.disk.read();
        let open = open.unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = &*open {
            return Ok(Arc::clone(disk));
        }
        drop(open);
        let mut current = write(&self.disk);
        if let Some(disk) = &*current {
            return Ok(Arc::clone(disk));
        }
        let disk = match Disk::open(&self.medium) {
            Err(error @ KeyValueError::Damaged(_)) => {
                let Some(path) = self.medium.path() else {
                    return Err(error);
                };
                let aside = database::set_aside(path).map_err(KeyValueError::SetAside)?;
                tracing::error!(
                    file = %path.display(), set_aside = %aside.display(), error = chain(&error),
                    "what the plugins keep was damaged and is set aside: those with the grant \
                     \"kv\" begin with nothing; the rest of the worker is not affected"
                );
                Disk::open(&self.medium)?
            }
            opened => opened?,
        };
        let disk = Arc::new(disk);
        *current = Some(Arc::clone(&disk));
        Ok(disk)
    }
}

impl OwnKeyValues {
    /// A value and its version.
    pub(crate) fn get(&self, request: GetRequest) -> Result<Found, KeyValueError> {
        let key = request.key.check()?;
        self.store.with(|disk| disk.get(&self.plugin, &key))
    }

    /// Sets a value, and answers once it is on disk.
    pub(crate) fn put(&self, request: PutRequest) -> Result<Changed, KeyValueError> {
        let key = request.key.check()?;
        let value = requests::value(&request.value)?;
        self.store
            .with(|disk| disk.put(&self.plugin, &key, &value, request.expected))
            .map(|version| Changed { version })
    }

    /// Removes a value, and answers once it is gone from the disk.
    pub(crate) fn remove(&self, request: RemoveRequest) -> Result<Removed, KeyValueError> {
        let key = request.key.check()?;
        self.store
            .with(|disk| disk.remove(&self.plugin, &key, request.expected))
            .map(|removed| Removed { removed })
    }

    /// Some of the keys.
    pub(crate) fn list(&self, request: &ListRequest) -> Result<Page, KeyValueError> {
        let limit = request.check()?;
        let after = request.after.as_deref();
        self.store
            .with(|disk| disk.list(&self.plugin, &request.prefix, after, limit))
            .map(|(keys, more)| Page { keys, more })
    }
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
