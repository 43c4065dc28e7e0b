//! The operator's token: read from a file that nobody else can read, sent with
//! every call, shown nowhere.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use tonic::{Request, Status, metadata::AsciiMetadataValue, service::Interceptor};

/// A token is some hundred bytes; a larger file is another file.
const MAX_TOKEN_BYTES: u64 = 16 * 1024;

/// Puts `authorization: Bearer TOKEN` into every call.
#[derive(Clone)]
pub struct Bearer(AsciiMetadataValue);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("no operator token was given")]
    Missing,
    #[error("can't read the operator token file {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the operator token file {} is open to other users (mode {mode:03o})", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("the operator token file {} holds no token", path.display())]
    Malformed { path: PathBuf },
}

impl TokenError {
    /// What the operator can do about it.
    pub fn next(&self) -> String {
        match self {
            Self::Missing => "Name the file that holds it with --token-file or AEGIS_OPERATOR_TOKEN_FILE; the controller wrote one to DATA_DIR/operator.token.".into(),
            Self::Unreadable { .. } => "The controller writes it to DATA_DIR/operator.token at its first start; copy it from there, readable by you alone.".into(),
            Self::Open { path, .. } => format!("Whoever read it can act as you. Run `chmod 600 {}`.", path.display()),
            Self::Malformed { .. } => "It should be one line, as in the controller's DATA_DIR/operator.token.".into(),
        }
    }
}

/// Reads the token.
pub fn read(path: Option<&Path>) -> Result<Bearer, TokenError> {
    let path = path.ok_or(TokenError::Missing)?;
    let unreadable = |source| TokenError::Unreadable {
        path: path.into(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    // Asked of the open file, so that what is checked is what is read.
    let mode = mode(&file).map_err(unreadable)?;
    if mode & 0o077 != 0 {
        return Err(TokenError::Open {
            path: path.into(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(MAX_TOKEN_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    parse(text.trim()).ok_or_else(|| TokenError::Malformed { path: path.into() })
}

fn parse(token: &str) -> Option<Bearer> {
    let one_word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let mut value: AsciiMetadataValue =
        one_word.then(|| format!("Bearer {token}").parse().ok())??;
    value.set_sensitive(true);
    Some(Bearer(value))
}

/// The permission bits, where the platform has them.
#[cfg(unix)]
fn mode(file: &File) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    Ok(file.metadata()?.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn mode(_file: &File) -> io::Result<u32> {
    Ok(0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        for bad in ["", "two words", "line\nbreak", "dé"] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
        assert!(parse("aegis-op_1.Ab").is_some());
    }

    #[test]
    fn the_token_is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", parse("secret").unwrap()), "Bearer(..)");
    }
}
