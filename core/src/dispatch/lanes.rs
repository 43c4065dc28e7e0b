//! The lanes by command name.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{LaneFigures, WedgedHandler, execution::Execution, lane::Lane, tally::Tally};
use crate::plugin::HandlerInfo;

#[derive(Default)]
pub(super) struct Lanes {
    /// Only names that have a handler get a lane, so there are no more lanes
    /// than handlers that were ever loaded.
    by_name: RwLock<HashMap<String, Arc<Lane>>>,
}

impl Lanes {
    /// The lane of a handler, brought up to date with what holds now.
    pub(super) fn of(&self, handler: &HandlerInfo, concurrency: u32, tally: &Tally) -> Arc<Lane> {
        let known = {
            let lanes = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
            lanes
                .get(&handler.name)
                .filter(|lane| lane.is_of(handler))
                .cloned()
        };
        let lane = known.unwrap_or_else(|| {
            let mut lanes = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
            match lanes.get(&handler.name).filter(|lane| lane.is_of(handler)) {
                Some(lane) => Arc::clone(lane),
                None => {
                    let lane = Arc::new(Lane::new(handler, tally.of(&handler.name)));
                    lanes.insert(handler.name.clone(), Arc::clone(&lane));
                    lane
                }
            }
        });
        lane.set_concurrency(concurrency);
        lane
    }

    /// Takes all that wait out of the queues.
    pub(super) fn take_queued(&self) -> Vec<Arc<Execution>> {
        let lanes = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        lanes.values().flat_map(|lane| lane.take_queued()).collect()
    }

    pub(super) fn figures(&self) -> Vec<LaneFigures> {
        let lanes = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let mut figures: Vec<_> = lanes.values().map(|lane| lane.figures()).collect();
        figures.sort_unstable();
        figures
    }

    pub(super) fn wedged(&self) -> Vec<WedgedHandler> {
        let lanes = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let mut wedged: Vec<_> = lanes.values().filter_map(|lane| lane.wedged()).collect();
        wedged.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        wedged
    }
}
