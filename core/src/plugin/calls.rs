//! The calls of one plugin that are not over.
//!
//! A call's id names its place in the table and a sequence number that is
//! never used again by this process. So a completion that comes twice, too
//! late, or out of nowhere finds nobody, and reaches no other call.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aegis_proto::CommandId;

use super::{CallId, CallSink, Completion, answer};

/// An id is sequence number, shard and slot, from high to low.
const SLOT_BITS: u32 = 13;
const SHARD_BITS: u32 = 3;
const SHARDS: usize = 1 << SHARD_BITS;
const SLOTS_PER_SHARD: usize = 1 << SLOT_BITS;

/// The next sequence number; 0 is never one.
static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// Tells the instances of all plugins apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct InstanceNumber(u64);

impl InstanceNumber {
    /// One that was never given before.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The table. `O` is what keeps a call's instance alive.
pub(super) struct Calls<O> {
    shards: [Mutex<Shard<O>>; SHARDS],
}

/// A completion that belongs to no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stray {
    /// The call was completed before.
    Double,
    /// The call was given up, or was over long ago.
    Late,
    /// There was no such call, or it was another instance's.
    Forged,
}

/// A completion and whom to tell.
pub(super) type Delivery = (Arc<dyn CallSink>, Completion);

/// What a call that is over leaves behind. To be dropped without a lock: its
/// owner may be an instance's last one, and to drop that runs the plugin.
pub(super) struct Ended<O> {
    pub(super) sink: Arc<dyn CallSink>,
    /// The completion that came before `start` had answered.
    pub(super) early: Option<Completion>,
    _owner: Option<O>,
}

struct Shard<O> {
    slots: Vec<Slot<O>>,
    /// First in, first out, so that a slot remembers its last call for long.
    free: VecDeque<usize>,
}

struct Slot<O> {
    id: u64,
    state: State<O>,
}

enum State<O> {
    Live(Live<O>),
    Over(Stray),
}

struct Live<O> {
    owner: Option<(InstanceNumber, O)>,
    command: CommandId,
    sink: Arc<dyn CallSink>,
    phase: Phase,
}

/// What the dispatcher knows of the call.
enum Phase {
    /// Nothing: `start` has not answered. What completes now is kept, and
    /// whether the instance was closed meanwhile.
    Starting(Option<Completion>, bool),
    /// That it is pending.
    Pending,
}

/// How a call ends whose instance says that it is quiet, and is not.
pub(super) fn unended() -> Completion {
    Completion::Failed(answer::fault(
        "it said that no call runs any more, and this one had not ended".into(),
    ))
}

impl<O: Clone> Calls<O> {
    pub(super) fn new() -> Self {
        let shards = std::array::from_fn(|_| {
            Mutex::new(Shard {
                slots: Vec::new(),
                free: VecDeque::new(),
            })
        });
        Self { shards }
    }

    /// Makes an id for a call that is about to start. Without an owner it
    /// waits for one. `None` if there are too many calls.
    pub(super) fn insert(
        &self,
        owner: Option<(InstanceNumber, O)>,
        command: CommandId,
        sink: Arc<dyn CallSink>,
    ) -> Option<CallId> {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let phase = if owner.is_some() {
            Phase::Starting(None, false)
        } else {
            Phase::Pending
        };
        let live = Live {
            owner,
            command,
            sink,
            phase,
        };
        let shard_index = usize::try_from(sequence).unwrap_or(0) % SHARDS;
        let mut shard = self.shard(shard_index);
        let index = match shard.free.pop_front() {
            Some(index) => index,
            None if shard.slots.len() < SLOTS_PER_SHARD => {
                shard.slots.push(Slot {
                    id: 0,
                    state: State::Over(Stray::Late),
                });
                shard.slots.len() - 1
            }
            None => return None,
        };
        let id = (sequence << (SLOT_BITS + SHARD_BITS))
            | ((shard_index as u64) << SLOT_BITS)
            | index as u64;
        shard.slots[index] = Slot {
            id,
            state: State::Live(live),
        };
        Some(CallId(id))
    }

    /// Gives a waiting call to an instance. False if it is over meanwhile.
    pub(super) fn assign(&self, id: CallId, number: InstanceNumber, owner: O) -> bool {
        self.with_live(id, |live| {
            live.owner = Some((number, owner));
            live.phase = Phase::Starting(None, false);
        })
        .is_some()
    }

    /// `start` answered that the call is pending. What completed it before
    /// that is answered here, and then it is over.
    pub(super) fn pending(&self, id: CallId) -> Option<Ended<O>> {
        let mut shard = self.shard(shard_of(id));
        let live = shard.live(id)?;
        if let Phase::Starting(early, closed) = &mut live.phase
            && (early.is_some() || *closed)
        {
            early.get_or_insert_with(unended);
            return self.end(&mut shard, id, Stray::Double);
        }
        live.phase = Phase::Pending;
        None
    }

    /// Takes a call out whose end the host knows from elsewhere.
    pub(super) fn withdraw(&self, id: CallId) -> Option<Ended<O>> {
        self.end(&mut self.shard(shard_of(id)), id, Stray::Double)
    }

    /// Takes a call out that is given up.
    pub(super) fn abandon(&self, id: CallId) -> Option<Ended<O>> {
        self.end(&mut self.shard(shard_of(id)), id, Stray::Late)
    }

    /// Ends a call for the instance that it belongs to. Answers with whom to
    /// tell; with nobody if `start` is still to answer, which then does it.
    pub(super) fn complete(
        &self,
        number: InstanceNumber,
        id: CallId,
        completion: Completion,
    ) -> Result<Option<Delivery>, Stray> {
        let mut shard = self.shard(shard_of(id));
        let Some(live) = shard.live(id) else {
            return Err(shard.stray(id));
        };
        if live
            .owner
            .as_ref()
            .is_none_or(|(owner, _)| *owner != number)
        {
            return Err(Stray::Forged);
        }
        if let Phase::Starting(early, _) = &mut live.phase {
            return match early {
                Some(_) => Err(Stray::Double),
                None => {
                    *early = Some(completion);
                    Ok(None)
                }
            };
        }
        let ended = self.end(&mut shard, id, Stray::Double);
        drop(shard);
        Ok(ended.map(|ended| (ended.sink, completion)))
    }

    /// Whom a live call of this instance reports to. A call that was completed
    /// while it started has nothing more to report.
    pub(super) fn sink(&self, number: InstanceNumber, id: CallId) -> Option<Arc<dyn CallSink>> {
        self.of_instance(number, id, |live| {
            (!matches!(live.phase, Phase::Starting(Some(_), _))).then(|| Arc::clone(&live.sink))
        })
        .flatten()
    }

    /// Which command a live call of this instance carries out.
    pub(super) fn command(&self, number: InstanceNumber, id: CallId) -> Option<CommandId> {
        self.of_instance(number, id, |live| live.command)
    }

    /// The instance of a live call; `Some(None)` while it waits for one.
    pub(super) fn owner(&self, id: CallId) -> Option<Option<O>> {
        self.with_live(id, |live| {
            live.owner.as_ref().map(|(_, owner)| owner.clone())
        })
    }

    /// How many calls of an instance are not over.
    pub(super) fn live_of(&self, number: InstanceNumber) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).of_instance(number).count())
            .sum()
    }

    /// Takes out all calls of an instance that are pending. One whose `start`
    /// has not answered is left to that answer, which may be its end, and ends
    /// as [`unended`] if it is not.
    pub(super) fn end_all(&self, number: InstanceNumber) -> Vec<Ended<O>> {
        let mut ended = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let ids: Vec<u64> = shard.of_instance(number).collect();
            for id in ids.into_iter().map(CallId) {
                match shard.live(id).map(|live| &mut live.phase) {
                    Some(Phase::Starting(_, closed)) => *closed = true,
                    Some(Phase::Pending) => ended.extend(self.end(&mut shard, id, Stray::Late)),
                    None => {}
                }
            }
        }
        ended
    }

    fn of_instance<T>(
        &self,
        number: InstanceNumber,
        id: CallId,
        read: impl FnOnce(&Live<O>) -> T,
    ) -> Option<T> {
        self.with_live(id, |live| {
            live.owner
                .as_ref()
                .is_some_and(|(owner, _)| *owner == number)
                .then(|| read(live))
        })
        .flatten()
    }

    fn with_live<T>(&self, id: CallId, run: impl FnOnce(&mut Live<O>) -> T) -> Option<T> {
        self.shard(shard_of(id)).live(id).map(run)
    }

    fn end(&self, shard: &mut Shard<O>, id: CallId, next: Stray) -> Option<Ended<O>> {
        shard.live(id)?;
        let index = slot_of(id);
        let State::Live(live) = mem::replace(&mut shard.slots[index].state, State::Over(next))
        else {
            return None;
        };
        shard.free.push_back(index);
        let early = match live.phase {
            Phase::Starting(early, _) => early,
            Phase::Pending => None,
        };
        Some(Ended {
            sink: live.sink,
            early,
            _owner: live.owner.map(|(_, owner)| owner),
        })
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard<O>> {
        lock(&self.shards[index])
    }
}

impl<O> Shard<O> {
    fn live(&mut self, id: CallId) -> Option<&mut Live<O>> {
        match self.slots.get_mut(slot_of(id)) {
            Some(Slot {
                id: own,
                state: State::Live(live),
            }) if *own == id.0 => Some(live),
            _ => None,
        }
    }

    fn of_instance(&self, number: InstanceNumber) -> impl Iterator<Item = u64> {
        self.slots.iter().filter_map(move |slot| match &slot.state {
            State::Live(Live {
                owner: Some((owner, _)),
                ..
            }) if *owner == number => Some(slot.id),
            _ => None,
        })
    }

    /// What a completion is for which there is no live call.
    fn stray(&self, id: CallId) -> Stray {
        match self.slots.get(slot_of(id)) {
            Some(Slot {
                id: own,
                state: State::Over(stray),
            }) if *own == id.0 => *stray,
            // Issued once, and its slot has served another call since.
            Some(Slot { id: own, .. }) if sequence_of(id.0) != 0 && id.0 < *own => Stray::Late,
            _ => Stray::Forged,
        }
    }
}

/// Nothing here leaves a table half changed, so a panic of another holder
/// spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn sequence_of(id: u64) -> u64 {
    id >> (SLOT_BITS + SHARD_BITS)
}

fn shard_of(id: CallId) -> usize {
    usize::try_from(id.0 >> SLOT_BITS).unwrap_or(0) % SHARDS
}

fn slot_of(id: CallId) -> usize {
    usize::try_from(id.0).unwrap_or(0) % SLOTS_PER_SHARD
}

#[cfg(test)]
mod tests;
