//! Ids that went through a parser once.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A text that should have been a UUID in its hyphenated form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: expected a UUID such as 0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d11")]
pub struct MalformedId {
    what: &'static str,
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID made elsewhere.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Takes the hyphenated form only, in either case.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let uuid = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
                uuid.map(Self).ok_or_else(|| MalformedId {
                    what: $what,
                    text: text.chars().take(64).collect(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

id!(
    /// A machine in the cluster; stable across restarts of its worker.
    NodeId,
    "node id"
);
id!(
    /// A command; a UUIDv7 where a controller of ours made it.
    CommandId,
    "command id"
);
id!(
    /// The commands of one submission to several nodes.
    GroupId,
    "group id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let text = "0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d11";
        assert_eq!(text.parse::<NodeId>().expect("an id").to_string(), text);
        for bad in [
            "",
            "node-1",
            "0192f0c17a3e7b7e8a513f1f6f0e2d11",
            "{0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d11}",
            "urn:uuid:0192f0c1-7a3e-7b7e-8a51-3f1f6f0e2d11",
        ] {
            bad.parse::<NodeId>().expect_err(bad);
        }
    }
}
