//! `node-id`: the node's UUID, one line.

use std::{fs, io, path::Path};

use aegis_proto::NodeId;

use super::IdentityError;
use crate::whole_file;

pub(super) const NAME: &str = "node-id";

/// `None` where there is no such file.
pub(super) fn read(dir: &Path) -> Result<Option<NodeId>, IdentityError> {
    let path = dir.join(NAME);
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(id) => Ok(Some(id)),
            Err(source) => Err(IdentityError::DamagedNodeId { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::io("read the node id file", &path)(error)),
    }
}

/// Keeps the configured id, or a new one.
pub(super) fn create(dir: &Path, configured: Option<NodeId>) -> Result<NodeId, IdentityError> {
    let id = configured.unwrap_or_else(|| NodeId::from_uuid(uuid::Uuid::new_v4()));
    let path = dir.join(NAME);
    whole_file::create(&path, 0o600, format!("{id}\n").as_bytes())
        .map_err(IdentityError::io("write the node id file", path))?;
    Ok(id)
}
