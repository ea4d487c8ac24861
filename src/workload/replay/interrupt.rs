//! Cutting a replay short from another thread.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::engine::Canceller;

/// Ends a replay: running turns are cancelled, waiting ones wake up, and nothing new starts.
#[derive(Default)]
pub struct Interrupt {
    state: Mutex<State>,
    wakes: Condvar,
}

#[derive(Default)]
struct State {
    is_set: bool,
    n_started: u64,
    running: HashMap<u64, Canceller>,
}

/// A running turn; it leaves the list when dropped.
pub(super) struct Running<'a> {
    interrupt: &'a Interrupt,
    key: u64,
}

impl Interrupt {
    /// Not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels everything that runs. Calling it again cancels again: a turn that was just about to start is caught then
    /// at the latest.
    pub fn set(&self) {
        let mut state = self.state();
        state.is_set = true;
        state.running.values().for_each(Canceller::cancel);
        self.wakes.notify_all();
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.state().is_set
    }

    /// Lists a turn as running.
    pub(super) fn running(&self, canceller: Canceller) -> Running<'_> {
        let mut state = self.state();
        let key = state.n_started;
        state.n_started += 1;
        state.running.insert(key, canceller);
        Running { interrupt: self, key }
    }

    /// Sleeps until `end`; `false` if it was interrupted.
    pub(super) fn wait_until(&self, end: Instant) -> bool {
        let mut state = self.state();
        while !state.is_set {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.wakes.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        false
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.interrupt.state().running.remove(&self.key);
    }
}
