//! Carries `tracing` events of a loaded plugin to the worker's log.
//!
//! A library loaded into a worker has a `tracing` of its own, in which nobody
//! listens. Linked in, a plugin shares the worker's, and nothing is done here
//! but to put each call into a span.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Span, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

use crate::{
    Host,
    abi::{AEGIS_LOG_DEBUG, AEGIS_LOG_ERROR, AEGIS_LOG_INFO, AEGIS_LOG_TRACE, AEGIS_LOG_WARN},
    current::Current,
    host::Shared,
};

/// This copy of the SDK is linked into a host.
static LINKED_IN: AtomicBool = AtomicBool::new(false);
/// Whom events outside of calls belong to: the newest instance.
static NEWEST: RwLock<Weak<Shared>> = RwLock::new(Weak::new());

/// The host found a plugin in its own program: `tracing` is shared.
pub(crate) fn linked_in() {
    LINKED_IN.store(true, Ordering::Relaxed);
}

/// Whether the plugin shares the host's `tracing`.
pub(crate) fn is_linked_in() -> bool {
    LINKED_IN.load(Ordering::Relaxed)
}

/// Sees to it that what is logged in this library reaches a host. Does nothing
/// where the library is part of the host, or its `tracing` already has a
/// subscriber.
pub(crate) fn forward_to(host: &Host) {
    if is_linked_in() {
        return;
    }
    *NEWEST.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&host.0);
    let _ = tracing::subscriber::set_global_default(Forwarder::default());
}

/// The span of a call of a plugin that is linked in.
pub(crate) fn call_span(plugin: &'static str, command_id: &str) -> Span {
    if is_linked_in() {
        tracing::error_span!(target: "aegis_plugin", "call", plugin, command_id)
    } else {
        Span::none()
    }
}

/// Tells the host of a fault outside of calls.
pub(crate) fn error(host: &Host, message: &str) {
    let _ = host
        .0
        .link
        .with(|port| port.log(0, AEGIS_LOG_ERROR, "aegis_plugin", message, ""));
}

/// Forwards events. Spans are not kept: a worker's log has the plugin and the
/// command of each line, which are what a plugin's outermost span would say.
#[derive(Debug, Default)]
struct Forwarder {
    last_span: AtomicU64,
}

/// The call of this thread, or the newest instance.
fn destination() -> Option<Current> {
    Current::of_this_thread().or_else(|| {
        let newest = NEWEST
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()?;
        Some(Current {
            host: Host(newest),
            call: 0,
        })
    })
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

impl Subscriber for Forwarder {
    // The host's level changes while the plugin runs, so each event asks anew.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && destination()
                .and_then(|to| to.host.0.link.with(|port| port.log_level()))
                .is_some_and(|most| number(*metadata.level()) <= most)
    }

    fn event(&self, event: &Event<'_>) {
        let Some(to) = destination() else { return };
        let mut line = Line::default();
        event.record(&mut line);
        let fields = if line.fields.is_empty() {
            String::new()
        } else {
            Value::Object(line.fields).to_string()
        };
        let metadata = event.metadata();
        let _ = to.host.0.link.with(|port| {
            port.log(
                to.call,
                number(*metadata.level()),
                metadata.target(),
                &line.message,
                &fields,
            );
        });
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Counts from 1, as an id must.
        span::Id::from_u64(self.last_span.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event as a message and a JSON object.
#[derive(Default)]
struct Line {
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn put(&mut self, field: &Field, value: Value) {
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, Value::String(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}
