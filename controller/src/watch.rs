//! Who watches which commands, and what runs now: progress and output of
//! commands that have not ended.
//!
//! A watcher is told that something changed and fetches what it is, so a slow
//! one holds nothing up: it misses intermediate progress, never a state, and
//! output only where more than [`KEPT`] bytes passed it by.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use aegis_proto::{
    CommandId,
    limits::DEFAULT_OUTPUT_BYTES,
    worker::v1::{OutputChunk, Progress},
};
use tokio::sync::Notify;

/// Bytes of output kept for late watchers, for each command that runs.
const KEPT: usize = DEFAULT_OUTPUT_BYTES;

/// Bytes of a progress note; what is behind them is left out.
const MAX_NOTE_BYTES: usize = 1024;

/// A permille that says that nothing can be said.
const UNTOLD: u32 = 1001;

/// Bytes of output kept for all commands together; beyond it, the output of
/// further commands reaches watchers only with the result.
const KEPT_IN_ALL: usize = 64 * 1024 * 1024;

/// All watchers and all that runs.
#[derive(Debug, Default)]
pub struct Watchers {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    watches: HashMap<CommandId, Vec<Weak<Signals>>>,
    runs: HashMap<CommandId, Run>,
    kept: usize,
}

#[derive(Debug, Default)]
struct Run {
    /// Of the handler; 0 where its node has not told it.
    attempt: u32,
    progress: Option<Progress>,
    /// The offset of the first byte that is kept.
    start: u64,
    output: Vec<u8>,
}

/// A place in a command's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Of the handler.
    pub attempt: u32,
    /// In what that attempt wrote.
    pub offset: u64,
}

/// What changed of one command since a watcher looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changed {
    /// Its state.
    pub state: bool,
    /// Its progress.
    pub progress: bool,
    /// Its output.
    pub output: bool,
}

/// One watcher's view. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    watchers: Arc<Watchers>,
    ids: Vec<CommandId>,
    signals: Arc<Signals>,
}

#[derive(Debug, Default)]
struct Signals {
    changed: Mutex<BTreeMap<CommandId, Changed>>,
    wake: Notify,
}

impl Watchers {
    /// Begins to watch these commands.
    pub fn watch(self: &Arc<Self>, ids: Vec<CommandId>) -> Watch {
        let signals = Arc::new(Signals::default());
        let mut inner = self.lock();
        for id in &ids {
            inner
                .watches
                .entry(*id)
                .or_default()
                .push(Arc::downgrade(&signals));
        }
        drop(inner);
        Watch {
            watchers: Arc::clone(self),
            ids,
            signals,
        }
    }

    /// The command's state changed.
    pub fn state_changed(&self, id: CommandId) {
        self.lock().signal(id, |changed| changed.state = true);
    }

    /// The command is on its way to its node: from now on its progress and
    /// output are kept, until it ends.
    pub fn begin(&self, id: CommandId) {
        self.lock().runs.entry(id).or_default();
    }

    /// It was not sent after all.
    pub fn forget(&self, id: CommandId) {
        self.lock().remove(id);
    }

    /// The command ended: forgets its progress and output.
    pub fn ended(&self, id: CommandId) {
        let mut inner = self.lock();
        inner.remove(id);
        inner.signal(id, |changed| changed.state = true);
    }

    /// The command's handler begins: what an earlier attempt told is forgotten.
    pub fn began(&self, id: CommandId, attempt: u32) {
        let mut inner = self.lock();
        let Some(run) = inner.runs.get_mut(&id) else {
            return;
        };
        // An earlier one is told late.
        if attempt <= run.attempt {
            return;
        }
        let forgotten = run.output.len();
        *run = Run {
            attempt,
            ..Run::default()
        };
        inner.kept -= forgotten;
    }

    /// The command's handler told its progress.
    pub fn progressed(&self, id: CommandId, mut progress: Progress) {
        progress.permille = progress.permille.min(UNTOLD);
        let end = progress.note.floor_char_boundary(MAX_NOTE_BYTES);
        progress.note.truncate(end);
        let mut inner = self.lock();
        let Some(run) = inner.runs.get_mut(&id) else {
            return;
        };
        run.progress = Some(progress);
        inner.signal(id, |changed| changed.progress = true);
    }

    /// The command's handler wrote output. What was there before is skipped.
    pub fn wrote(&self, id: CommandId, chunk: &OutputChunk) {
        let mut inner = self.lock();
        let room = KEPT_IN_ALL.saturating_sub(inner.kept);
        let Some(run) = inner.runs.get_mut(&id) else {
            return;
        };
        let before = run.output.len();
        run.append(chunk, room);
        let after = run.output.len();
        inner.kept = inner.kept + after - before;
        inner.signal(id, |changed| changed.output = true);
    }

    /// The last progress of a command that runs.
    pub fn progress(&self, id: CommandId) -> Option<Progress> {
        self.lock().runs.get(&id)?.progress.clone()
    }

    /// Output of a command that runs, from this position or the first kept byte on.
    pub fn output(
        &self,
        id: CommandId,
        from: Position,
        most: usize,
    ) -> Option<(Position, OutputChunk)> {
        let inner = self.lock();
        let run = inner.runs.get(&id)?;
        let from = from.in_attempt(run.attempt);
        let offset = from.offset.max(run.start);
        let skip = usize::try_from(offset - run.start).ok()?;
        let data = run.output.get(skip..)?;
        let data = &data[..data.len().min(most)];
        let end = Position {
            attempt: run.attempt,
            offset: offset + data.len() as u64,
        };
        let chunk = || OutputChunk {
            offset,
            data: data.to_vec(),
        };
        (!data.is_empty()).then(|| (end, chunk()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, id: CommandId) {
        if let Some(run) = self.runs.remove(&id) {
            self.kept -= run.output.len();
        }
    }

    fn signal(&self, id: CommandId, what: impl Fn(&mut Changed)) {
        for signals in self
            .watches
            .get(&id)
            .into_iter()
            .flatten()
            .filter_map(Weak::upgrade)
        {
            let mut changed = signals
                .changed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            what(changed.entry(id).or_default());
            signals.wake.notify_one();
        }
    }
}

impl Position {
    /// The same place, or the beginning where another attempt has begun.
    #[must_use]
    pub fn in_attempt(self, attempt: u32) -> Self {
        if self.attempt == attempt {
            self
        } else {
            Self { attempt, offset: 0 }
        }
    }
}

impl Run {
    fn append(&mut self, chunk: &OutputChunk, room: usize) {
        let end = self.start + self.output.len() as u64;
        let new = if chunk.offset > end {
            // Bytes in between were never told: what is kept begins anew.
            self.output.clear();
            self.start = chunk.offset;
            &chunk.data[..]
        } else {
            let known = usize::try_from(end - chunk.offset).unwrap_or(usize::MAX);
            chunk.data.get(known..).unwrap_or_default()
        };
        let new = &new[..new.len().min(room)];
        self.output.extend_from_slice(new);
        if self.output.len() > KEPT {
            let surplus = self.output.len() - KEPT;
            self.output.drain(..surplus);
            self.start += surplus as u64;
        }
    }
}

impl Watch {
    /// Waits for a change and takes all changes there are.
    pub async fn changed(&self) -> BTreeMap<CommandId, Changed> {
        loop {
            let taken = {
                let mut changed = self
                    .signals
                    .changed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *changed)
            };
            if !taken.is_empty() {
                return taken;
            }
            self.signals.wake.notified().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.watchers.lock();
        for id in &self.ids {
            if let Some(watches) = inner.watches.get_mut(id) {
                watches.retain(|one| !std::ptr::eq(one.as_ptr(), Arc::as_ptr(&self.signals)));
                if watches.is_empty() {
                    inner.watches.remove(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn id() -> CommandId {
        CommandId::from_uuid(Uuid::now_v7())
    }

    fn begun(watchers: &Watchers) -> CommandId {
        let id = id();
        watchers.begin(id);
        id
    }

    fn chunk(offset: u64, data: &[u8]) -> OutputChunk {
        OutputChunk {
            offset,
            data: data.to_vec(),
        }
    }

    fn output(watchers: &Watchers, id: CommandId, offset: u64, most: usize) -> Option<OutputChunk> {
        let from = Position { attempt: 0, offset };
        watchers.output(id, from, most).map(|(_, chunk)| chunk)
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_no_state_and_no_output() {
        let watchers = Arc::new(Watchers::default());
        let id = begun(&watchers);
        let watch = watchers.watch(vec![id]);
        for n in 0..1000 {
            watchers.progressed(
                id,
                Progress {
                    permille: n,
                    note: String::new(),
                },
            );
            watchers.wrote(id, &chunk(u64::from(n), b"x"));
        }
        watchers.state_changed(id);
        let all = Changed {
            state: true,
            progress: true,
            output: true,
        };
        assert_eq!(watch.changed().await.get(&id), Some(&all));
        assert_eq!(watchers.progress(id).map(|p| p.permille), Some(999));
        assert_eq!(
            output(&watchers, id, 0, 4096).map(|c| c.data.len()),
            Some(1000)
        );
    }

    #[test]
    fn output_told_twice_is_kept_once() {
        let watchers = Watchers::default();
        let id = begun(&watchers);
        watchers.wrote(id, &chunk(0, b"hello "));
        watchers.wrote(id, &chunk(0, b"hello "));
        watchers.wrote(id, &chunk(3, b"lo world"));
        assert_eq!(
            output(&watchers, id, 0, 100),
            Some(chunk(0, b"hello world"))
        );
        assert_eq!(output(&watchers, id, 6, 2), Some(chunk(6, b"wo")));
        assert_eq!(output(&watchers, id, 11, 2), None);
    }

    #[test]
    fn another_attempt_begins_its_output_anew() {
        let watchers = Watchers::default();
        let id = begun(&watchers);
        watchers.began(id, 1);
        watchers.wrote(id, &chunk(0, b"one"));
        let (seen, first) = watchers.output(id, Position::default(), 9).expect("kept");
        assert_eq!(first, chunk(0, b"one"));
        // Told again after a reconnect.
        watchers.began(id, 1);
        watchers.wrote(id, &chunk(0, b"one"));
        assert_eq!(watchers.output(id, seen, 9), None);
        watchers.began(id, 2);
        assert_eq!(watchers.lock().kept, 0);
        watchers.wrote(id, &chunk(0, b"two"));
        let (seen, second) = watchers.output(id, seen, 9).expect("kept");
        assert_eq!((seen.attempt, second), (2, chunk(0, b"two")));
    }

    #[test]
    fn kept_output_is_bounded_and_says_where_it_begins() {
        let watchers = Watchers::default();
        let id = begun(&watchers);
        let block = vec![b'x'; KEPT];
        watchers.wrote(id, &chunk(0, &block));
        watchers.wrote(id, &chunk(KEPT as u64, b"tail"));
        let first = output(&watchers, id, 0, 1).expect("kept");
        assert_eq!(first.offset, 4);
        assert_eq!(watchers.lock().kept, KEPT);
        watchers.ended(id);
        assert_eq!(watchers.lock().kept, 0);
        assert_eq!(output(&watchers, id, 0, 1), None);
    }

    #[test]
    fn a_watch_that_is_dropped_leaves_nothing() {
        let watchers = Arc::new(Watchers::default());
        let watch = watchers.watch(vec![id(), id()]);
        drop(watch);
        assert!(watchers.lock().watches.is_empty());
    }

    #[test]
    fn what_is_told_of_a_command_that_has_ended_is_not_kept() {
        let watchers = Watchers::default();
        let id = begun(&watchers);
        watchers.ended(id);
        watchers.wrote(id, &chunk(0, b"late"));
        watchers.progressed(id, Progress::default());
        watchers.began(id, 2);
        assert!(watchers.lock().runs.is_empty());
        assert_eq!(watchers.lock().kept, 0);
    }

    #[test]
    fn a_progress_out_of_bounds_is_brought_within() {
        let watchers = Watchers::default();
        let id = begun(&watchers);
        let note = "ü".repeat(MAX_NOTE_BYTES);
        let permille = u32::MAX;
        watchers.progressed(id, Progress { permille, note });
        let kept = watchers.progress(id).expect("kept");
        assert_eq!(kept.permille, UNTOLD);
        assert_eq!(kept.note.len(), MAX_NOTE_BYTES);
    }
}
