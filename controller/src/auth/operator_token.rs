//! The operator's bearer token: `DATA_DIR/operator.token`, made at the first
//! start. The file is the only copy; the process keeps its hash. To rotate it,
//! delete the file and start the controller again.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use subtle::ConstantTimeEq;

use super::secret::{Secret, hash};

/// Fewer characters than any token that this controller makes.
const SHORTEST: usize = 32;

/// Who holds the token, in the audit log.
const OPERATOR: &str = "operator";

/// What is needed to recognise the token.
#[derive(Clone, Copy)]
pub struct OperatorToken {
    hash: [u8; 32],
}

/// Why there is no operator token.
#[derive(Debug, thiserror::Error)]
pub enum OperatorTokenError {
    /// It can't be read or written.
    #[error("can't use the operator token {}; check the owner and mode of the data directory", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("the operator token {} can be read by others (mode {mode:03o}); run chmod 600 on it, or delete it to have a new one made", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no token.
    #[error("the operator token {} holds fewer than {SHORTEST} characters; delete it to have a new one made", path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
    /// No randomness.
    #[error("the operating system gave no randomness")]
    Random(#[source] getrandom::Error),
}

impl OperatorToken {
    /// Reads the token, or makes it where there is none.
    ///
    /// # Errors
    /// Where the file can't be used, is open to others or holds no token.
    pub fn load(path: &Path) -> Result<Self, OperatorTokenError> {
        let io = |source| OperatorTokenError::Io {
            path: path.into(),
            source,
        };
        if !path.exists() {
            let secret = Secret::new("aegis-op-").map_err(OperatorTokenError::Random)?;
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(io)?;
            writeln!(file, "{}", secret.expose()).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(OperatorTokenError::Open {
                path: path.into(),
                mode,
            });
        }
        let text = fs::read_to_string(path).map_err(io)?;
        if text.trim().len() < SHORTEST {
            return Err(OperatorTokenError::Short { path: path.into() });
        }
        Ok(Self { hash: hash(&text) })
    }

    /// The operator's name where the token is right. Takes the same time
    /// whatever is wrong with it.
    pub fn recognise(&self, token: &str) -> Option<&'static str> {
        bool::from(self.hash.ct_eq(&hash(token))).then_some(OPERATOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_made_once_and_for_the_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("operator.token");
        OperatorToken::load(&path).expect("made");
        let text = fs::read_to_string(&path).expect("there");
        let again = OperatorToken::load(&path).expect("read");
        assert_eq!(again.recognise(text.trim()), Some("operator"));
        assert_eq!(again.recognise("aegis-op-wrong"), None);
        assert_eq!(again.recognise(""), None);
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("operator.token");
        OperatorToken::load(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(matches!(
            OperatorToken::load(&path),
            Err(OperatorTokenError::Open { .. })
        ));
    }

    #[test]
    fn an_empty_token_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("operator.token");
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .expect("made");
        assert!(matches!(
            OperatorToken::load(&path),
            Err(OperatorTokenError::Short { .. })
        ));
    }
}
