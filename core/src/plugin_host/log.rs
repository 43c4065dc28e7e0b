//! Log lines of this process, the plugin's and the host's own, on their way to
//! the worker's log.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use aegis_plugin_api::abi::{
    AEGIS_LOG_DEBUG, AEGIS_LOG_ERROR, AEGIS_LOG_INFO, AEGIS_LOG_TRACE, AEGIS_LOG_WARN,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use super::{calls::Calls, link::Link};
use crate::plugin::{
    PLUGIN_LOG,
    frame::{Log, Report},
    log_level,
};

/// Of one text of a line.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// From now on every event of this process goes to the worker.
pub(super) fn lead_to(link: Arc<Link>, calls: Arc<Calls>) {
    // It can only have been done before.
    let _ = tracing::subscriber::set_global_default(ToWorker { link, calls });
}

struct ToWorker {
    link: Arc<Link>,
    calls: Arc<Calls>,
}

impl Subscriber for ToWorker {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The worker may change its mind.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && number(*metadata.level()) <= log_level()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line = Line::default();
        event.record(&mut line);
        let of_plugin = metadata.target() == PLUGIN_LOG;
        let part = if of_plugin {
            line.part
        } else {
            metadata.target().to_owned()
        };
        let call = if line.command.is_empty() {
            0
        } else {
            self.calls.of_command(&line.command)
        };
        let [part, message, fields] = [part, line.message, line.fields].map(|mut text| {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
            text
        });
        // Three texts of that length fit.
        let _ = self.link.send(Report::Log(Log {
            call,
            level: number(*metadata.level()),
            part,
            message,
            fields,
        }));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// An event's fields. Those that the plugin host gives a plugin's line have
/// places of their own.
#[derive(Default)]
struct Line {
    message: String,
    command: String,
    part: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "part" => value.clone_into(&mut self.part),
            "fields" => value.clone_into(&mut self.fields),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // To write to a text cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "command" => write!(self.command, "{value:?}"),
            // The worker knows it.
            "plugin" => Ok(()),
            name => {
                let space = if self.fields.is_empty() { "" } else { " " };
                write!(self.fields, "{space}{name}={value:?}")
            }
        };
    }
}

fn number(level: Level) -> u32 {
    match level {
        Level::ERROR => AEGIS_LOG_ERROR,
        Level::WARN => AEGIS_LOG_WARN,
        Level::INFO => AEGIS_LOG_INFO,
        Level::DEBUG => AEGIS_LOG_DEBUG,
        Level::TRACE => AEGIS_LOG_TRACE,
    }
}
