//! Sessions on a model: an [`Engine`] owns the model, the KV pages and one scheduler thread; a [`Session`] is a context
//! that grows, forks and goes back, and never computes a token twice.
//!
//! ```
//! # fn chat(engine: longhaul::engine::Engine) -> longhaul::Result<()> {
//! use longhaul::engine::{GenerateOptions, SessionOptions};
//!
//! let mut session = engine.session(SessionOptions::tenant("team-a"))?;
//! session.append_tokens(&[1, 2, 3])?;
//! let start = session.mark();
//! for generated in session.generate(GenerateOptions { max_tokens: 16, ..Default::default() })? {
//!     println!("{}", generated?.token);
//! }
//! let mut other = session.fork()?; // shares every page until one of the two writes
//! other.rewind(start)?;
//! println!("{} of {} prompt tokens were cached", session.usage().cached_tokens, session.usage().prompt_tokens);
//! # Ok(())
//! # }
//! ```
//!
//! # Who moves
//!
//! All that is pending is computed in steps that many sessions share: one row of every generation past its prompt, and
//! chunks of prompts. While somebody decodes, prompts get a quarter of a step's rows, so that nobody stalls behind a
//! long one; they share it evenly. None of that shows in the results: a token's logits depend on the tokens before it
//! alone.
//!
//! Prompts are first looked up among what the tenant's sessions have computed, live ones included, to the token
//! ([`crate::kv`]). Two sessions that start with the same prompt at the same time compute it once.
//!
//! # Who waits
//!
//! A generation whose reader is 64 tokens behind pauses, and it alone. Nobody waits for pages: retained ones are
//! evicted at once, and live sessions do not give up theirs when a request ends, only when somebody drops or rewinds
//! them, which may be the very caller who waits. So a request that needs a page when all are live fails at once with
//! [`Error::KvExhausted`]; a prompt gives back what it had got, a generation keeps what was read, and the session can
//! be rewound, retried or dropped. Generations do not reserve pages ahead, so a pool that is just full enough may fail
//! one of them midway.
//!
//! # What fails alone
//!
//! A step that fails or panics fails the requests that it served, with [`Error::Step`]. What their sessions had before
//! is intact, since a step writes behind it only. Logits that are not numbers fail the one request whose they are, and
//! what it computed since its logits were last sound is forgotten. Sampling options that leave no token to draw end
//! their generation with [`Error::Argument`], and what it computed stays. Every other session goes on.

mod budget;
mod builder;
mod emitter;
mod generation;
mod info;
mod options;
mod plan;
mod request;
mod sampler;
mod scheduler;
mod session;
mod shared;
mod softmax;
mod step;
#[cfg(feature = "text")]
mod stop;
#[cfg(feature = "text")]
mod text;
mod usage;

use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

pub use builder::EngineBuilder;
pub use generation::Generation;
pub use info::{EngineInfo, EngineStats};
pub use options::{FinishReason, GenerateOptions, Generated, Sampling, SessionOptions};
pub use session::{Canceller, Session};
pub use usage::Usage;

use crate::backend::Model;
use crate::error::{Error, Result};
use crate::spec::checkpoint::Checkpoint;
use scheduler::Scheduler;
use shared::{Command, Shared};

/// A model that serves sessions. Cheap to clone; the last handle to drop, sessions included, ends the scheduler thread.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// What all handles of an engine share.
struct Inner {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Where the weights came from, if from files.
    model_dir: Option<PathBuf>,
    weights_hash: OnceLock<String>,
    #[cfg(feature = "text")]
    text: Option<crate::text::TextModel>,
}

impl Engine {
    /// An engine to be.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Opens a session with an empty context.
    ///
    /// # Errors
    /// [`Error::ShutDown`].
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        self.inner.commands.send(Command::Wake).map_err(|_| Error::ShutDown)?;
        Ok(Session::open(self.inner.clone(), options))
    }

    /// Facts that do not change.
    pub fn info(&self) -> &EngineInfo {
        &self.inner.shared.info
    }

    /// Counters and levels, as they are now.
    pub fn stats(&self) -> EngineStats {
        self.inner.shared.stats()
    }

    /// SHA-256 of the weights, in hexadecimal; `None` if they did not come from files. The first call reads all of
    /// them.
    ///
    /// # Errors
    /// Those of opening and reading the model folder.
    pub fn weights_hash(&self) -> Result<Option<&str>> {
        let Some(dir) = &self.inner.model_dir else { return Ok(None) };
        if self.inner.weights_hash.get().is_none() {
            let hash = Checkpoint::open(dir)?.sha256()?;
            self.inner.weights_hash.get_or_init(|| hash);
        }
        Ok(self.inner.weights_hash.get().map(String::as_str))
    }

    /// Ends the scheduler after its running step, frees the model, and waits for that. Open requests end with
    /// [`Error::ShutDown`], as do later ones of any handle.
    ///
    /// # Errors
    /// [`Error::Step`] if the scheduler had panicked, which would be a defect.
    pub fn shutdown(self) -> Result<()> {
        self.inner.shut_down()
    }

    /// Evicts every retained prefix. Live sessions keep theirs.
    ///
    /// # Errors
    /// None so far.
    pub fn drop_retained(&self) -> Result<()> {
        let retained_pages = self.inner.shared.kv().evict_all();
        tracing::debug!(retained_pages, "retained prefixes dropped");
        Ok(())
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("info", self.info()).finish_non_exhaustive()
    }
}

impl Inner {
    /// Starts the scheduler thread.
    fn start(shared: Arc<Shared>, model: Box<dyn Model>) -> Result<(Sender<Command>, JoinHandle<()>)> {
        let (commands, received) = mpsc::channel();
        let scheduler = Scheduler::new(model, shared, received);
        let thread = std::thread::Builder::new().name("longhaul-scheduler".into()).spawn(|| scheduler.run());
        let thread =
            thread.map_err(|e| Error::Unavailable { what: "the scheduler thread".into(), why: e.to_string() })?;
        Ok((commands, thread))
    }

    fn shut_down(&self) -> Result<()> {
        // A scheduler that is gone does not mind.
        let _ = self.commands.send(Command::ShutDown);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::Step("the scheduler panicked".into())),
            _ => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "engine dropped");
        }
    }
}
