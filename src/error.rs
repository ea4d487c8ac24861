//! One error type for the whole crate: it names the thing that was wrong, and what to do about it.

use std::path::PathBuf;

use crate::spec::PageId;

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. Marked non-exhaustive: a later release may tell failures apart further.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// A model folder that cannot be run; lists everything that is wrong with it at once.
    #[error("cannot load the model in {path}:{}", bullet_list(.problems))]
    Model {
        /// The model folder.
        path: PathBuf,
        /// One sentence per problem, each naming its tensor or field.
        problems: Vec<String>,
    },
    /// A compiled program that cannot be used: a NEFF that is damaged or for another chip, a manifest that is wrong.
    #[error("{path}: {reason}")]
    Program {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument that does not fit the others: a shape, a length, an id.
    #[error("{0}")]
    Argument(String),
    /// A token id that the model's vocabulary does not have.
    #[error("token id {token} is outside the vocabulary of {vocab} tokens")]
    Vocabulary {
        /// The offending id.
        token: u32,
        /// Number of tokens in the vocabulary.
        vocab: usize,
    },
    /// A context longer than the model was made for.
    #[error("the context would be {wanted} tokens long, and the model takes at most {limit}")]
    ContextLength {
        /// Tokens that the call would have led to.
        wanted: usize,
        /// The model's maximum.
        limit: usize,
    },
    /// No free KV page, and nothing left to evict: live sessions hold them all.
    #[error(
        "the KV budget is exhausted: {wanted} pages wanted, {free} free of {total}, and live sessions hold the rest; \
             drop a session or give the engine a larger --kv-budget"
    )]
    KvExhausted {
        /// Pages that the operation needed.
        wanted: usize,
        /// Pages free, soft-retained ones included.
        free: usize,
        /// Pages in the pool.
        total: usize,
    },
    /// A KV page that a call may not name as it does: the pool has no such page or the page no such slot, or a batch
    /// writes it in two places. On a device whose kernel takes finite numbers alone, also a page that a key or value
    /// which is not finite was appended to.
    #[error("KV page {page:?}: {reason}")]
    Page {
        /// The page.
        page: PageId,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller cancelled the request.
    #[error("cancelled by the caller")]
    Cancelled,
    /// The request's deadline passed before it was done.
    #[error("the request's deadline passed")]
    Deadline,
    /// The engine has been shut down, or its scheduler ended.
    #[error("the engine is shut down")]
    ShutDown,
    /// A step failed for a reason that is a defect; the sessions it served have this error, all others go on.
    #[error("a step failed: {0}")]
    Step(String),
    /// A backend or kernel table that this machine or build does not have.
    #[error("{what} is not available here: {why}")]
    Unavailable {
        /// The backend, kernel table or feature.
        what: String,
        /// Why not, and what would help.
        why: String,
    },
    /// A call to a device failed. What else ran goes on, unless the fault is fatal: then everything on that device
    /// fails with it.
    #[error("{reason}")]
    Device {
        /// What kind of failure it is, and so what helps.
        fault: Fault,
        /// The operation, what it was about, and what the device's runtime said.
        reason: String,
    },
    /// A tokenizer or a chat template that cannot be used, or text it cannot take.
    #[error("{0}")]
    Text(String),
    /// A workload, trace or report that cannot be used.
    #[error("{0}")]
    Workload(String),
}

/// How a device's call failed, and so what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The call was wrong: a bad program, name, size or index. Another call may work.
    Caller,
    /// No memory, on the device or for it: free some, or ask for less.
    OutOfMemory,
    /// Too much at once: the same call may work later.
    Backpressure,
    /// The call failed, and nothing says that the device did.
    Failed,
    /// The device answers no more in this process: end it, and start it again.
    Process,
    /// The device or its instance is broken: move to another one, or repair it as the reason says.
    Instance,
}

impl Fault {
    /// Whether the device is lost to this process.
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Process | Self::Instance)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Caller => "caller's error",
            Self::OutOfMemory => "out of memory",
            Self::Backpressure => "busy",
            Self::Failed => "failed",
            Self::Process => "fatal to the process",
            Self::Instance => "fatal to the instance",
        })
    }
}

impl Error {
    /// An [`Error::Io`] for `path`.
    pub fn io(path: impl Into<PathBuf>, reason: impl std::fmt::Display) -> Self {
        Self::Io { path: path.into(), reason: reason.to_string() }
    }

    /// An [`Error::Argument`].
    pub fn argument(what: impl Into<String>) -> Self {
        Self::Argument(what.into())
    }
}

fn bullet_list(problems: &[String]) -> String {
    problems.iter().map(|p| format!("\n  - {p}")).collect()
}
