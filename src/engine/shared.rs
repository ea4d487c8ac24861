//! What the handles and the scheduler share: the pages' book-keeping and the counters.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::info::{EngineInfo, EngineStats};
use super::request::Request;
use crate::kv::PageCache;

/// What handles send to the scheduler.
pub(super) enum Command {
    /// Serve this.
    Submit(Box<Request>),
    /// Something a request waits for has happened: look again.
    Wake,
    /// End.
    ShutDown,
}

/// State that any thread may look at. No lock is held while a step runs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) info: EngineInfo,
    pub(super) counters: Counters,
    kv: Mutex<PageCache>,
}

/// Counters behind [`EngineStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) session_ids: AtomicU64,
    pub(super) live_sessions: AtomicUsize,
    pub(super) running_requests: AtomicUsize,
    pub(super) steps: AtomicU64,
    pub(super) failed_steps: AtomicU64,
    pub(super) step_ns: AtomicU64,
    pub(super) prefilled_tokens: AtomicU64,
    pub(super) decoded_tokens: AtomicU64,
    pub(super) cached_tokens: AtomicU64,
}

impl Shared {
    pub(super) fn new(info: EngineInfo) -> Self {
        let kv = Mutex::new(PageCache::new(info.n_pages, info.page_len));
        Self { info, counters: Counters::default(), kv }
    }

    /// The page cache, for a few integer operations. A thread that panicked with it has at worst lost pages, so its
    /// poison is ignored.
    pub(super) fn kv(&self) -> MutexGuard<'_, PageCache> {
        self.kv.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> EngineStats {
        let (kv, counters) = (self.kv(), &self.counters);
        EngineStats {
            n_pages: kv.n_pages(),
            free_pages: kv.free_pages(),
            retained_pages: kv.retained_pages(),
            live_pages: kv.live_pages(),
            live_sessions: counters.live_sessions.load(Relaxed),
            running_requests: counters.running_requests.load(Relaxed),
            steps: counters.steps.load(Relaxed),
            failed_steps: counters.failed_steps.load(Relaxed),
            step_ns: counters.step_ns.load(Relaxed),
            prefilled_tokens: counters.prefilled_tokens.load(Relaxed),
            decoded_tokens: counters.decoded_tokens.load(Relaxed),
            cached_tokens: counters.cached_tokens.load(Relaxed),
            evicted_pages: kv.evicted_pages(),
            copied_pages: kv.copied_pages(),
        }
    }
}
