//! Threads, and one way to hand out work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disjoint::Disjoint;
use super::team::{self, Crew, Member, NextReads};
use crate::error::{Error, Result};

/// The threads that the backend runs on: its own, or those of the embedder's pool.
#[derive(Clone)]
pub struct Pool {
    /// They pack weights; where there is no crew they run steps too.
    workers: Arc<rayon::ThreadPool>,
    /// Ours, which run steps with whoever asks for one. Nothing of an embedder's runs on threads that are not in its
    /// pool.
    crew: Option<Arc<Crew>>,
}

impl Pool {
    /// `n_threads` of our own: as many in a rayon pool that packs, and one less that run steps with the caller; those
    /// that have nothing to do sleep.
    pub fn new(n_threads: usize) -> Result<Self> {
        let unavailable = |why| Error::Unavailable { what: format!("a pool of {n_threads} threads"), why };
        let workers = rayon::ThreadPoolBuilder::new()
            .num_threads(n_threads)
            .thread_name(|i| format!("longhaul-load-{i}"))
            .build()
            .map_err(|e| unavailable(e.to_string()))?;
        let crew = Crew::new(workers.current_num_threads()).map_err(|e| unavailable(e.to_string()))?;
        Ok(Self { workers: Arc::new(workers), crew: Some(Arc::new(crew)) })
    }

    /// The embedder's pool.
    pub fn from_embedder(workers: Arc<rayon::ThreadPool>) -> Self {
        Self { workers, crew: None }
    }

    /// Threads in the pool.
    pub fn n_threads(&self) -> usize {
        self.workers.current_num_threads()
    }

    /// Runs `f` on a rayon pool; what it forks runs there too.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.workers.install(f)
    }

    /// Runs `f` on this thread or one of the embedder's pool, and its [`for_each_task`] on as many as there are. On
    /// threads of our own steps take turns, so `f` must not run another.
    pub fn run_step<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match &self.crew {
            Some(crew) => crew.lead(f),
            None if self.n_threads() == 1 => self.workers.install(f),
            None => self.workers.install(|| team::lead_workers(self.n_threads() - 1, f)),
        }
    }
}

/// Runs `task(state, i)` for every `i` below `n_tasks`, each state on one thread at a time. A thread begins with a
/// share of the tasks that follows from its seat alone, so what it touched in the last region like this is in its
/// caches still; who is done takes from the others' shares. Within a share tasks begin in ascending order. Allocates
/// nothing. Several threads work within [`Pool::run_step`] alone.
pub fn for_each_task<S: Send>(states: &mut [S], n_tasks: usize, task: impl Fn(&mut S, usize) + Sync) {
    for_each_task_before(states, n_tasks, task, |_| None);
}

/// The same. `next(seat)` is what the thread on that seat reads first in the region after this one, if that is known:
/// while the thread waits, it asks memory for it.
pub fn for_each_task_before<S: Send>(
    states: &mut [S],
    n_tasks: usize,
    task: impl Fn(&mut S, usize) + Sync,
    next: impl Fn(usize) -> Option<NextReads> + Sync,
) {
    if n_tasks <= 1 || states.len() == 1 {
        (0..n_tasks).for_each(|i| task(&mut states[0], i));
        return;
    }
    tracing::trace!(n_tasks, "fork");
    let shares = Shares::new(n_tasks, states.len());
    let n_workers = states.len().min(n_tasks);
    let states = Disjoint::new(states);
    team::run(&|Member { number, seat }| {
        if number >= n_workers {
            return next(seat);
        }
        // SAFETY: no two members of a region have the same number.
        let state = &mut unsafe { states.slice(number, 1) }[0];
        shares.drain(seat, |i| task(state, i));
        next(seat)
    });
}

/// Shares at most; of more threads, some begin with the same one.
const MAX_SHARES: usize = 32;

/// The number of the next task of a share, in a cache line of its own.
#[repr(align(64))]
struct Next(AtomicUsize);

/// The task that the thread on seat `thread` begins with in a region of as many tasks.
pub fn first_task(n_tasks: usize, n_threads: usize, thread: usize) -> usize {
    let n_shares = n_threads.min(MAX_SHARES);
    thread % n_shares * n_tasks / n_shares
}

/// Tasks in even shares.
struct Shares {
    n_tasks: usize,
    n_shares: usize,
    next: [Next; MAX_SHARES],
}

impl Shares {
    fn new(n_tasks: usize, n_threads: usize) -> Self {
        let n_shares = n_threads.min(MAX_SHARES);
        let next = |share| Next(AtomicUsize::new(first_task(n_tasks, n_threads, share)));
        Self { n_tasks, n_shares, next: std::array::from_fn(next) }
    }

    /// Takes tasks until there are none, from the thread's own share first.
    fn drain(&self, thread: usize, mut task: impl FnMut(usize)) {
        for share in (0..self.n_shares).map(|i| (thread + i) % self.n_shares) {
            let end = (share + 1) * self.n_tasks / self.n_shares;
            loop {
                // Relaxed: the counter hands out numbers; the region's end orders what the tasks wrote.
                let i = self.next[share].0.fetch_add(1, Ordering::Relaxed);
                if i >= end {
                    break;
                }
                task(i);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_taken_once_whoever_comes() {
        for (n_tasks, n_threads) in [(1, 2), (2, 2), (7, 3), (5, 8), (100, 40), (1_000, 2)] {
            let shares = Shares::new(n_tasks, n_threads);
            let mut taken = Vec::new();
            // One thread alone, begun anywhere, takes all of them; those who come later find none.
            for thread in [n_threads - 1, 0, n_threads] {
                shares.drain(thread, |i| taken.push(i));
            }
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..n_tasks), "{n_tasks} tasks, {n_threads} threads");
        }
    }

    #[test]
    fn threads_begin_with_shares_of_their_own() {
        let shares = Shares::new(9, 3);
        let first = |thread| {
            let mut first = None;
            shares.drain(thread, |i| _ = first.get_or_insert(i));
            first
        };
        assert_eq!(first(1), Some(3));
        assert_eq!(first(0), None, "the first thread has taken all");
    }
}
