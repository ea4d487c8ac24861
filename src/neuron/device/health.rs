//! Whether the device is still there, and what failed where nobody could be told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::neuron::error::{Failure, NeuronError, Result};

/// Failures kept until somebody is told; more than that say the same.
const MAX_PARKED: usize = 16;

/// The state of a runtime's device.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The fatal failure that the loss began with.
    lost: Option<Failure>,
    /// Failures of things that were dropped, oldest first.
    parked: VecDeque<Failure>,
    /// Whether something could not be freed, and so is still there.
    left_over: bool,
}

impl Health {
    /// Before a call of `operation`: an error if the device is lost, or if something failed when it was dropped.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        let mut state = self.state();
        if let Some(cause) = state.lost.clone() {
            return Err(NeuronError::Lost { operation, cause });
        }
        state.parked.pop_front().map_or(Ok(()), |failure| Err(NeuronError::Status(failure)))
    }

    /// After a call that failed: remembers a loss.
    pub(super) fn note(&self, failure: &Failure) {
        if failure.status.fault().is_fatal() {
            self.state().lost.get_or_insert_with(|| failure.clone());
        }
    }

    /// After a drop that failed.
    pub(super) fn park(&self, failure: Failure) {
        self.note(&failure);
        let mut state = self.state();
        state.left_over = true;
        if state.lost.is_none() && state.parked.len() < MAX_PARKED {
            state.parked.push_back(failure);
        }
    }

    /// The failure that the loss began with, if the device is lost.
    pub(super) fn lost(&self) -> Option<Failure> {
        self.state().lost.clone()
    }

    /// Whether the runtime may be closed: the device is there, and nothing is alive on it. Otherwise closing is unsafe,
    /// or could hang.
    pub(super) fn may_close(&self) -> bool {
        let state = self.state();
        state.lost.is_none() && !state.left_over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way, and a drop must not.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
