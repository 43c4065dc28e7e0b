//! Plugins' log lines reach the worker's log. A program of its own: the level
//! that plugins follow is the process's.

#![cfg(target_os = "linux")]

#[allow(dead_code)]
#[path = "plugin_host/fixture.rs"]
mod fixture;
#[allow(dead_code)]
#[path = "plugin_host/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

use aegis_core::plugin::follow_log_level;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

type Line = BTreeMap<String, String>;

/// Keeps what plugins log.
#[derive(Clone)]
struct Keeper {
    level: Level,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == "aegis_plugin" {
            let mut line = Fields(Line::new());
            event.record(&mut line);
            self.lines.lock().expect("sound").push(line.0);
        }
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Fields(Line);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

#[test]
fn a_plugins_lines_carry_plugin_and_command_and_follow_the_workers_level() {
    let world = world::World::new();
    fixture::Fixture::new("fix").build(&world.directory(), "fix.so");
    let catalog = world.load();
    let at = |level| {
        let keeper = Keeper {
            level,
            lines: Arc::default(),
        };
        tracing::subscriber::with_default(keeper.clone(), || {
            follow_log_level();
            let reporting = world::start(&catalog, "fix.report", "{}");
            reporting.end();
        });
        let lines = keeper.lines.lock().expect("sound");
        lines.clone()
    };
    let lines = at(Level::INFO);
    assert_eq!(
        lines.len(),
        1,
        "the line without a level is dropped: {lines:?}"
    );
    let line = &lines[0];
    assert_eq!(line["plugin"], "fix");
    assert_eq!(line["message"], "logged");
    assert_eq!(line["part"], "fixture");
    assert_eq!(line["command"].len(), 36, "a command's id");

    assert_eq!(at(Level::WARN), [] as [Line; 0]);
}
