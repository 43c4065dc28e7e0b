//! Plugins' log lines, in the worker's log.

use aegis_proto::CommandId;
use tracing::{Level, level_filters::LevelFilter};

use super::ffi;

/// The target of all their lines.
pub(crate) const PLUGIN_LOG: &str = "aegis_plugin";

const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Lets plugins send what the worker's log takes now. To be called once the
/// log is set up and whenever its level changes.
pub fn follow_log_level() {
    ffi::set_log_level(LevelFilter::current().into_level());
}

pub(super) fn emit(
    level: Level,
    plugin: &str,
    command: Option<CommandId>,
    part: &[u8],
    message: &[u8],
    fields: &[u8],
) {
    let [part, message, fields] = [part, message, fields]
        .map(|text| String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT_BYTES)]));
    let part = Some(&*part).filter(|part| !part.is_empty());
    let fields = Some(&*fields).filter(|fields| !fields.is_empty());
    let command = command.map(tracing::field::display);
    // An event's level and target are fixed where it is written.
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: PLUGIN_LOG,
                Level::$level,
                plugin,
                command,
                part,
                fields,
                "{message}"
            )
        };
    }
    match level {
        Level::ERROR => event!(ERROR),
        Level::WARN => event!(WARN),
        Level::INFO => event!(INFO),
        Level::DEBUG => event!(DEBUG),
        Level::TRACE => event!(TRACE),
    }
}
