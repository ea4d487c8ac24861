//! A request on its way from a session to the scheduler and back. It owns the session's context meanwhile.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::emitter::Emitter;
use super::options::{FinishReason, GenerateOptions, Generated};
use super::usage::Usage;
use crate::error::{Error, Result};
use crate::kv::PageTable;
use crate::spec::TokenId;

/// Tokens that a generation may be ahead of its reader; then it pauses, and all others go on.
pub(super) const MAX_UNREAD: usize = 64;

/// A session's tokens, and the pages of those that are computed.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) tokens: Vec<TokenId>,
    pub(super) table: PageTable,
}

impl Context {
    /// Tokens still to be computed.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.table.len()
    }
}

/// What is to be done with the context.
pub(super) enum Work {
    /// Compute it.
    Prefill,
    /// Compute it, and tell the log-probabilities of its tokens behind the first wanted row.
    Score(Vec<f32>),
    /// Compute it and go on.
    Generate(Box<Generating>),
}

/// The state of a generation.
pub(super) struct Generating {
    pub(super) options: GenerateOptions,
    /// End tokens, unless they are ignored.
    pub(super) end_tokens: Vec<TokenId>,
    /// End and stop tokens: banned before `min_tokens`.
    pub(super) final_tokens: Vec<TokenId>,
    /// Looks for stop strings. Without any, the reader's thread makes the text.
    pub(super) emitter: Option<Emitter>,
}

/// What a session hears of its request.
pub(super) enum Event {
    /// A token, and whether the generation ends with it.
    Token(Generated, Option<FinishReason>),
    /// The last event: the context comes back.
    End(Box<Outcome>),
}

/// How a request ended.
pub(super) struct Outcome {
    pub(super) context: Context,
    pub(super) usage: Usage,
    /// `[tokens scored]`
    pub(super) logprobs: Vec<f32>,
    /// Why a generation ended; `None` for other work.
    pub(super) result: Result<Option<FinishReason>>,
}

/// Signals between a session, its cancellers and the scheduler.
#[derive(Debug, Default)]
pub(super) struct Control {
    pub(super) cancelled: AtomicBool,
    /// Tokens sent and not yet read.
    pub(super) unread: AtomicUsize,
}

/// A request in the scheduler's hands. Wherever it is dropped, its session hears of it and has its context back.
pub(super) struct Request {
    pub(super) session: u64,
    pub(super) context: Context,
    pub(super) work: Work,
    /// Positions whose logits are wanted.
    pub(super) wanted: Range<usize>,
    pub(super) control: Arc<Control>,
    pub(super) events: Sender<Event>,
    pub(super) accepted: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) usage: Usage,
    /// Tokens that were computed when it was accepted.
    pub(super) accepted_len: usize,
    /// Computed tokens that are known to be sound: back to here if logits turn out to be broken.
    pub(super) sound_len: usize,
    /// Whether a step has served it.
    pub(super) started: bool,
    pub(super) ended: bool,
}

impl Request {
    /// Whether it is a generation past its prompt.
    pub(super) fn is_decoding(&self) -> bool {
        matches!(self.work, Work::Generate(_)) && self.usage.generated_tokens > 0
    }

    /// Whether it waits for its reader.
    pub(super) fn is_paused(&self) -> bool {
        self.control.unread.load(SeqCst) >= MAX_UNREAD
    }

    /// The error that ends it now, if any.
    pub(super) fn interruption(&self, now: Instant) -> Option<Error> {
        if self.control.cancelled.load(SeqCst) {
            return Some(Error::Cancelled);
        }
        self.deadline.is_some_and(|deadline| deadline <= now).then_some(Error::Deadline)
    }

    /// How many tokens may come from the prefix index: all before the first whose logits are wanted.
    pub(super) fn reusable(&self) -> usize {
        self.wanted.start.min(self.context.tokens.len())
    }

    /// Sends a token to the reader.
    pub(super) fn send(&self, generated: Generated, end: Option<FinishReason>) {
        self.control.unread.fetch_add(1, SeqCst);
        // A reader that has gone cancels, so nothing is lost.
        let _ = self.events.send(Event::Token(generated, end));
    }

    /// Sends the context back, with how it went.
    pub(super) fn end(&mut self, result: Result<Option<FinishReason>>) {
        self.ended = true;
        self.usage.total_time = self.accepted.elapsed();
        let logprobs = match &mut self.work {
            Work::Score(logprobs) => std::mem::take(logprobs),
            _ => Vec::new(),
        };
        let (context, usage) = (std::mem::take(&mut self.context), std::mem::take(&mut self.usage));
        let _ = self.events.send(Event::End(Box::new(Outcome { context, usage, logprobs, result })));
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(Error::ShutDown));
        }
    }
}
