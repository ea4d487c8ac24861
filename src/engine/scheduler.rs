//! The scheduler: one thread that owns the model and runs steps for whoever has something to compute.
//!
//! # Who is in a step
//!
//! Every step takes one row of each generation past its prompt, then chunks of prompts up to `max_step_tokens` rows.
//! With decode rows in it, prompts get a quarter of that, so that who is decoding keeps moving. Among prompts the
//! budget is shared evenly, and who needs less than a share leaves the rest to the others. For each 64 rows of the
//! budget that are begun there is one prompt at most, lest shares become too small (for each page's rows, where pages
//! are shorter). A prompt is cut where a page ends if that leaves half of its share at least, else where the share
//! ends. Who finds no room is among the first of the next steps, because the start of the round moves on with every
//! step. Numerics allow all that: a row's bits depend on the tokens before it and on nothing else (law 1).
//!
//! Two prompts that agree so far and go on alike are not computed twice: the later one waits for the other's step, and
//! finds its pages in the prefix index.
//!
//! Who waits and what fails alone is told to users, in [`engine`](super).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Instant;

use super::options::FinishReason;
use super::request::Request;
use super::sampler::Sampler;
use super::shared::{Command, Shared};
use crate::backend::Model;
use crate::error::{Error, Result};
use crate::spec::{Logits, StepBatch};

/// The scheduler thread's state. Its vectors keep their memory from step to step.
pub(super) struct Scheduler {
    pub(super) model: Box<dyn Model>,
    pub(super) shared: Arc<Shared>,
    commands: Receiver<Command>,
    /// In the order of their acceptance.
    pub(super) running: Vec<Request>,
    /// Requests of `running` that end with this round, and how.
    pub(super) ending: Vec<(usize, Result<Option<FinishReason>>)>,
    pub(super) batch: StepBatch,
    /// `[n_seqs]` of `batch`.
    pub(super) planned: Vec<Planned>,
    /// Prompts that share this step's budget, as `(pending, index in running)`.
    pub(super) prompts: Vec<(usize, usize)>,
    pub(super) logits: Logits,
    pub(super) sampler: Sampler,
    /// Where the next round starts.
    pub(super) turn: usize,
}

/// A request's part of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    /// Index in `running`.
    pub(super) request_idx: usize,
    /// Tokens of its context once the step is done.
    pub(super) kv_len: usize,
    /// Its first row among the logits.
    pub(super) first_logit_row: usize,
    /// Its rows among the logits.
    pub(super) n_logit_rows: usize,
}

impl Scheduler {
    pub(super) fn new(model: Box<dyn Model>, shared: Arc<Shared>, commands: Receiver<Command>) -> Self {
        Self {
            model,
            shared,
            commands,
            running: Vec::new(),
            ending: Vec::new(),
            batch: StepBatch::new(),
            planned: Vec::new(),
            prompts: Vec::new(),
            logits: Logits::new(),
            sampler: Sampler::default(),
            turn: 0,
        }
    }

    /// Runs until it is shut down; open requests end with [`Error::ShutDown`] as they are dropped.
    pub(super) fn run(mut self) {
        let mut idle = true;
        while self.listen(idle) {
            self.interrupt();
            if self.ending.is_empty() {
                self.plan();
            }
            idle = self.planned.is_empty() && self.ending.is_empty();
            if !self.planned.is_empty() {
                self.step();
            }
            self.end_requests();
        }
        tracing::debug!(open_requests = self.running.len(), "scheduler ends");
    }

    /// Takes all commands; with nothing to do, waits for one or for the next deadline. False at the end.
    fn listen(&mut self, idle: bool) -> bool {
        let mut next = if idle { self.wait() } else { self.commands.try_recv() };
        loop {
            match next {
                Ok(Command::Submit(request)) => self.accept(request),
                Ok(Command::Wake) => {}
                Ok(Command::ShutDown) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
            next = self.commands.try_recv();
        }
    }

    fn wait(&self) -> Result<Command, TryRecvError> {
        let Some(deadline) = self.running.iter().filter_map(|request| request.deadline).min() else {
            return self.commands.recv().map_err(|_| TryRecvError::Disconnected);
        };
        let left = deadline.saturating_duration_since(Instant::now());
        self.commands.recv_timeout(left).map_err(|e| match e {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
        })
    }

    fn accept(&mut self, mut request: Box<Request>) {
        let context = &mut request.context;
        if request.wanted.start < context.tokens.len() {
            // Logits are not kept: a token whose logits are wanted is computed again.
            self.shared.kv().truncate(&mut context.table, request.wanted.start);
        }
        request.accepted_len = context.table.len();
        request.sound_len = context.table.len();
        request.usage.prompt_tokens = context.tokens.len();
        request.usage.cached_tokens = context.table.len();
        self.shared.counters.cached_tokens.fetch_add(context.table.len() as u64, Relaxed);
        self.shared.counters.running_requests.fetch_add(1, Relaxed);
        tracing::debug!(
            session = request.session,
            prompt_tokens = context.tokens.len(),
            computed = context.table.len(),
            "request accepted"
        );
        self.running.push(*request);
    }

    /// Marks what was cancelled or is too late.
    fn interrupt(&mut self) {
        let now = Instant::now();
        let interrupted = self.running.iter().enumerate();
        self.ending.extend(interrupted.filter_map(|(idx, r)| r.interruption(now).map(|e| (idx, Err(e)))));
        self.planned.clear();
    }

    /// Sends the contexts of ending requests back, without what was reserved behind them.
    fn end_requests(&mut self) {
        self.ending.sort_unstable_by_key(|&(idx, _)| std::cmp::Reverse(idx));
        for (idx, result) in self.ending.drain(..) {
            let mut request = self.running.remove(idx);
            let table = &mut request.context.table;
            let len = table.len();
            self.shared.kv().truncate(table, len);
            self.shared.counters.running_requests.fetch_sub(1, Relaxed);
            match &result {
                Err(error @ Error::Step(_)) => tracing::error!(session = request.session, %error, "request failed"),
                Err(error) => tracing::warn!(session = request.session, %error, "request ended"),
                Ok(reason) => tracing::debug!(session = request.session, ?reason, "request done"),
            }
            request.end(result);
        }
    }
}

/// Runs a backend's code; a panic in it becomes an [`Error::Step`].
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic may leave half done are slots behind the committed contexts and scratch memory, both written before
    // they are read.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::Step(format!("panic: {}", text.as_deref().unwrap_or("without a message"))))
    })
}
