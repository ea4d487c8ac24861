//! A session: one context that grows, goes back and forks.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::mpsc::{self, Receiver, SendError, Sender};
use std::time::{Duration, Instant};

use super::Inner;
use super::generation::Generation;
use super::options::{GenerateOptions, SessionOptions};
use super::request::{Context, Control, Event, Generating, Outcome, Request, Work};
use super::shared::Command;
use super::usage::Usage;
use crate::error::{Error, Result};
use crate::spec::TokenId;

/// One context on an engine. Requests on it run one at a time; sessions on one engine run side by side, from any
/// threads.
///
/// Appending only queues; the next [`prefill`](Self::prefill), [`score`](Self::score) or [`generate`](Self::generate)
/// computes what is pending and not found in the prefix index. Dropping the session gives its pages back: with a prefix
/// cache they are retained until someone needs the room, without one they are free.
///
/// A request that fails leaves the session as it was before, short of what it computed on the way; it can be tried
/// again.
pub struct Session {
    pub(super) engine: Arc<Inner>,
    pub(super) context: Context,
    pub(super) control: Arc<Control>,
    id: u64,
    options: SessionOptions,
    usage: Usage,
    total_usage: Usage,
}

/// Ends a session's running request from another thread.
#[derive(Debug, Clone)]
pub struct Canceller {
    control: Arc<Control>,
    commands: Sender<Command>,
}

impl Canceller {
    /// Ends the request that is running now, if any, with [`Error::Cancelled`]; the session stays usable. What a step
    /// has computed by then stays in the context.
    pub fn cancel(&self) {
        self.control.cancelled.store(true, SeqCst);
        // An engine that is gone has no running request.
        let _ = self.commands.send(Command::Wake);
    }
}

impl Session {
    pub(super) fn open(engine: Arc<Inner>, options: SessionOptions) -> Self {
        let table = engine.shared.kv().open(options.prefix_cache.then_some(options.tenant.as_str()));
        Self::with_context(engine, options, Context { tokens: Vec::new(), table })
    }

    fn with_context(engine: Arc<Inner>, options: SessionOptions, context: Context) -> Self {
        let id = engine.shared.counters.session_ids.fetch_add(1, Relaxed);
        engine.shared.counters.live_sessions.fetch_add(1, Relaxed);
        tracing::debug!(session = id, tenant = options.tenant, len = context.tokens.len(), "session opened");
        let (usage, total_usage) = Default::default();
        Self { engine, context, control: Arc::default(), id, options, usage, total_usage }
    }

    /// Queues tokens behind the context.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] and [`Error::ContextLength`]; nothing is appended then.
    pub fn append_tokens(&mut self, tokens: &[TokenId]) -> Result<()> {
        let config = &self.engine.shared.info.config;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= config.vocab) {
            return Err(Error::Vocabulary { token, vocab: config.vocab });
        }
        self.check_len(self.len() + tokens.len())?;
        self.context.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Computes what is pending.
    ///
    /// # Errors
    /// [`Error::KvExhausted`], [`Error::Cancelled`], [`Error::Step`], [`Error::ShutDown`].
    pub fn prefill(&mut self) -> Result<()> {
        let end = self.len();
        self.run(Work::Prefill, end..end).map(|_| ())
    }

    /// Appends `tokens` and tells `ln p(token | all before it)` of each. Needs a token of context before them.
    ///
    /// # Errors
    /// Those of [`append_tokens`](Self::append_tokens) and [`prefill`](Self::prefill), and [`Error::Argument`] on an
    /// empty context. The context is as before then.
    pub fn score(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>> {
        let len = self.len();
        if len == 0 {
            return Err(Error::argument("the first token of a context has no probability: append one before scoring"));
        }
        self.append_tokens(tokens)?;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let logprobs = Work::Score(Vec::with_capacity(tokens.len()));
        let scored = self.run(logprobs, len - 1..len + tokens.len() - 1);
        if scored.is_err() {
            self.rewind(len.min(self.len()))?;
        }
        scored
    }

    /// Starts a generation at once: computes what is pending, then draws tokens behind it. They become part of the
    /// context as they are read; the last one is pending, for the next request to compute.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty context or options that make no sense, [`Error::ContextLength`] if there is no
    /// room for a token, [`Error::Text`] for stop strings without a tokenizer, [`Error::ShutDown`]. All others come
    /// from the iterator, and [`Error::Argument`] too where it takes logits to see that the options leave no token to
    /// draw.
    pub fn generate(&mut self, options: GenerateOptions) -> Result<Generation<'_>> {
        let config = &self.engine.shared.info.config;
        options.validate(config.vocab)?;
        if self.is_empty() {
            return Err(Error::argument("the prompt is empty: append at least one token before generating"));
        }
        self.check_len(self.len() + 1)?;
        let emitter = self.engine.emitter(&options.stop_strings);
        let in_steps = !options.stop_strings.is_empty();
        if in_steps && emitter.is_none() {
            return Err(Error::Text("stop strings need a tokenizer, and this engine has none".into()));
        }
        let end_tokens = if options.ignore_end { Vec::new() } else { config.end_tokens.clone() };
        let final_tokens = [end_tokens.as_slice(), &options.stop_tokens].concat();
        let deadline = options.deadline;
        let (for_steps, for_reader) = if in_steps { (emitter, None) } else { (None, emitter) };
        let generating = Generating { options, end_tokens, final_tokens, emitter: for_steps };
        let end = self.len();
        let events = self.submit(Work::Generate(Box::new(generating)), end - 1..end, deadline)?;
        Ok(Generation::new(self, events, for_reader))
    }

    /// A second session with the same context: `O(pages)` integers, whatever the engine is doing. No page is copied
    /// until one of the two writes, and then only the last one, if it is partly filled.
    ///
    /// # Errors
    /// None so far: it succeeds also on an engine that is shut down, whose sessions can still be read and dropped.
    pub fn fork(&self) -> Result<Session> {
        let table = self.engine.shared.kv().fork(&self.context.table);
        let context = Context { tokens: self.context.tokens.clone(), table };
        Ok(Self::with_context(self.engine.clone(), self.options.clone(), context))
    }

    /// The place to [`rewind`](Self::rewind) to later: the length of the context.
    pub fn mark(&self) -> usize {
        self.len()
    }

    /// Cuts the context to its first `len` tokens.
    ///
    /// # Errors
    /// [`Error::Argument`] if it is shorter than that.
    pub fn rewind(&mut self, len: usize) -> Result<()> {
        if len > self.len() {
            return Err(Error::argument(format!("cannot rewind to {len}: the context is {} tokens long", self.len())));
        }
        self.context.tokens.truncate(len);
        self.engine.shared.kv().truncate(&mut self.context.table, len);
        Ok(())
    }

    /// The context, pending tokens included.
    pub fn tokens(&self) -> &[TokenId] {
        &self.context.tokens
    }

    /// Tokens of the context.
    pub fn len(&self) -> usize {
        self.context.tokens.len()
    }

    /// Whether the context has no tokens.
    pub fn is_empty(&self) -> bool {
        self.context.tokens.is_empty()
    }

    /// Tokens at the end of the context that are still to be computed or found.
    pub fn pending(&self) -> usize {
        self.context.pending()
    }

    /// A handle that ends this session's running request from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller { control: self.control.clone(), commands: self.engine.commands.clone() }
    }

    /// How the session was opened.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// What the last request used.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// What all requests of this session used.
    pub fn total_usage(&self) -> &Usage {
        &self.total_usage
    }

    /// Notes that a token has been read.
    pub(super) fn note_read(&self) {
        if self.control.unread.fetch_sub(1, SeqCst) >= super::request::MAX_UNREAD {
            let _ = self.engine.commands.send(Command::Wake);
        }
    }

    /// Takes the context back from a request.
    pub(super) fn settle(&mut self, outcome: &mut Outcome) {
        self.context = std::mem::take(&mut outcome.context);
        self.usage = std::mem::take(&mut outcome.usage);
        self.total_usage.add(&self.usage);
    }

    fn check_len(&self, wanted: usize) -> Result<()> {
        let limit = self.engine.shared.info.config.max_len;
        if wanted > limit { Err(Error::ContextLength { wanted, limit }) } else { Ok(()) }
    }

    /// Hands the context to the scheduler.
    fn submit(&mut self, work: Work, wanted: Range<usize>, deadline: Option<Duration>) -> Result<Receiver<Event>> {
        let (sender, events) = mpsc::channel();
        self.control.cancelled.store(false, SeqCst);
        self.control.unread.store(0, SeqCst);
        let accepted = Instant::now();
        let request = Request {
            session: self.id,
            context: std::mem::take(&mut self.context),
            work,
            wanted,
            control: self.control.clone(),
            events: sender,
            accepted,
            deadline: deadline.and_then(|deadline| accepted.checked_add(deadline)),
            usage: Usage::default(),
            accepted_len: 0,
            sound_len: 0,
            started: false,
            ended: false,
        };
        if let Err(SendError(Command::Submit(mut request))) =
            self.engine.commands.send(Command::Submit(Box::new(request)))
        {
            self.context = std::mem::take(&mut request.context);
            return Err(Error::ShutDown);
        }
        Ok(events)
    }

    /// Has the scheduler do the work, and waits for it.
    fn run(&mut self, work: Work, wanted: Range<usize>) -> Result<Vec<f32>> {
        let events = self.submit(work, wanted, None)?;
        let Ok(Event::End(mut outcome)) = events.recv() else { return Err(Error::ShutDown) };
        self.settle(&mut outcome);
        let Outcome { result, logprobs, .. } = *outcome;
        result.map(|_| logprobs)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, options, .. } = self;
        let (len, pending) = (self.len(), self.pending());
        f.debug_struct("Session")
            .field("id", id)
            .field("options", options)
            .field("len", &len)
            .field("pending", &pending)
            .finish()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.shared.kv().close(std::mem::take(&mut self.context.table));
        self.engine.shared.counters.live_sessions.fetch_sub(1, Relaxed);
        tracing::debug!(session = self.id, len = self.context.tokens.len(), "session closed");
    }
}
