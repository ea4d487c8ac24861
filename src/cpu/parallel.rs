//! Threads: one rayon pool, and one way to hand out work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disjoint::Disjoint;
use super::team;
use crate::error::{Error, Result};

/// The pool that the backend runs on: its own, or the embedder's.
#[derive(Clone)]
pub struct Pool(Arc<rayon::ThreadPool>);

impl Pool {
    /// A pool of `n_threads`.
    pub fn new(n_threads: usize) -> Result<Self> {
        rayon::ThreadPoolBuilder::new()
            .num_threads(n_threads)
            .thread_name(|i| format!("longhaul-{i}"))
            .build()
            .map(|pool| Self(Arc::new(pool)))
            .map_err(|e| Error::Unavailable { what: format!("a pool of {n_threads} threads"), why: e.to_string() })
    }

    /// The embedder's pool.
    pub fn from_embedder(pool: Arc<rayon::ThreadPool>) -> Self {
        Self(pool)
    }

    /// Threads in the pool.
    pub fn n_threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `f` on the pool; what it forks runs there too.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.0.install(f)
    }

    /// Runs `f` on one thread of the pool, and its [`for_each_task`] on all of them.
    pub fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let n_helpers = self.n_threads() - 1;
        self.0.install(|| if n_helpers == 0 { f() } else { team::lead(n_helpers, f) })
    }
}

/// Elements that one task of [`copy`] copies.
const COPY_LEN: usize = 1 << 16;

/// Copies a slice on all threads.
pub fn copy<S: Send>(states: &mut [S], from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "lengths of a copy");
    let to = Disjoint::new(to);
    for_each_task(states, from.len().div_ceil(COPY_LEN), |_, i| {
        let from = &from[i * COPY_LEN..from.len().min((i + 1) * COPY_LEN)];
        // SAFETY: each piece is one task's own.
        unsafe { to.slice(i * COPY_LEN, from.len()) }.copy_from_slice(from);
    });
}

/// Runs `task(state, i)` for every `i` below `n_tasks`, each state on one thread at a time. Threads take the next task as they become free, in
/// ascending order. Allocates nothing. Several threads work within [`Pool::run_step`] alone.
pub fn for_each_task<S: Send>(states: &mut [S], n_tasks: usize, task: impl Fn(&mut S, usize) + Sync) {
    if n_tasks <= 1 || states.len() == 1 {
        (0..n_tasks).for_each(|i| task(&mut states[0], i));
        return;
    }
    tracing::trace!(n_tasks, "fork");
    let next = AtomicUsize::new(0);
    let n_workers = states.len().min(n_tasks);
    let states = Disjoint::new(states);
    team::run(&|member| {
        if member >= n_workers {
            return;
        }
        // SAFETY: no two members of a region have the same number.
        let state = &mut unsafe { states.slice(member, 1) }[0];
        loop {
            // Relaxed: the counter hands out numbers; the region's end orders what the tasks wrote.
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n_tasks {
                return;
            }
            task(state, i);
        }
    });
}
