//! Where each key of a config was decided.

use toml_edit::Item;

use super::{Origin, sources::Sources};

/// What a config was made from.
#[derive(Debug)]
pub struct Places(pub(super) Sources);

impl Places {
    /// Where the value of a key comes from, given as its parts, as `plugins`,
    /// `hello`, `enabled`. [`Origin::Absent`]: it has its default.
    pub fn of(&self, path: &[&str]) -> Origin {
        if let Some(setting) = self.0.setting(&path.join(".")) {
            return Origin::Setting(setting.name.clone());
        }
        if let ["handlers", name, "enabled"] = path {
            let switch = self.0.settings.iter().find(|setting| {
                ["handlers.enable", "handlers.disable"].contains(&setting.key.as_str())
                    && setting.values.iter().any(|value| value == name)
            });
            if let Some(setting) = switch {
                return Origin::Setting(setting.name.clone());
            }
        }
        let mut item = self.0.root();
        let mut span = None;
        for part in path {
            let found = item
                .and_then(Item::as_table_like)
                .and_then(|table| table.get_key_value(part));
            let Some((key, value)) = found else {
                return Origin::Absent;
            };
            span = key.span().or_else(|| value.span());
            item = Some(value);
        }
        self.0.line(span)
    }
}
