//! What can go wrong between us and libnrt.

use super::nrt::{Status, Version};
use crate::error::{Error, Fault};

/// What every fallible call of this module returns.
pub type Result<T, E = NeuronError> = std::result::Result<T, E>;

/// Everything that can go wrong with the Neuron runtime.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NeuronError {
    /// No libnrt that can be used.
    #[error("no libnrt that can be used:{}", bullet_list(.tried))]
    NotFound {
        /// Where it was looked for, in order, and why each does not do.
        tried: Vec<Attempt>,
    },
    /// A function that this version of libnrt does not have.
    #[error("libnrt {version} has no {symbol}")]
    MissingSymbol {
        /// The function.
        symbol: &'static str,
        /// The library's version.
        version: Version,
    },
    /// A call returned a status other than success.
    #[error("{0}")]
    Status(Failure),
    /// An earlier call met a fatal status: nothing is called any more.
    #[error("{operation} was not called, because the Neuron device is lost to this process: {cause}")]
    Lost {
        /// What was asked for.
        operation: &'static str,
        /// The failure that it began with.
        cause: Failure,
    },
    /// An argument that cannot be right, found before libnrt was called.
    #[error("{0}")]
    Argument(String),
    /// The runtime was closed: libnrt is initialised once per process.
    #[error("the Neuron runtime was closed in this process, and is initialised once; start a new process")]
    Closed,
}

impl NeuronError {
    /// What kind of failure it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Status(failure) | Self::Lost { cause: failure, .. } => failure.status.fault(),
            Self::Argument(_) => Fault::Caller,
            Self::NotFound { .. } | Self::MissingSymbol { .. } | Self::Closed => Fault::Failed,
        }
    }

    /// The status of libnrt behind it, if there is one.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Status(failure) | Self::Lost { cause: failure, .. } => Some(failure.status),
            _ => None,
        }
    }
}

impl From<NeuronError> for Error {
    fn from(error: NeuronError) -> Self {
        let unavailable = |what: &str| Error::Unavailable { what: what.into(), why: error.to_string() };
        match &error {
            NeuronError::NotFound { .. } | NeuronError::Closed => unavailable("the Neuron runtime"),
            NeuronError::MissingSymbol { symbol, .. } => unavailable(symbol),
            NeuronError::Argument(what) => Error::Argument(what.clone()),
            NeuronError::Status(_) | NeuronError::Lost { .. } => {
                Error::Device { fault: error.fault(), reason: error.to_string() }
            }
        }
    }
}

/// A place where libnrt was looked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Attempt {
    /// The file, or the bare name that the loader looks for.
    pub path: String,
    /// Who said so: `LONGHAUL_LIBNRT`, `NEURON_DIR`, the default, the loader's path.
    pub from: &'static str,
    /// Why it does not do.
    pub why: String,
}

/// A call of libnrt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The C function.
    pub operation: &'static str,
    /// What it was about: "tensor `x`". Empty where the function says it all.
    pub subject: String,
    /// What it returned.
    pub status: Status,
    /// Whether it happened while something was dropped, which cannot report: the next call does.
    pub in_drop: bool,
    /// The library's version.
    pub version: Version,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operation, subject, status, in_drop, version } = self;
        write!(f, "{operation}")?;
        if !subject.is_empty() {
            write!(f, " of {subject}")?;
        }
        let when = if *in_drop { ", earlier, when it was dropped" } else { "" };
        write!(f, " failed{when}: {status} ({}; libnrt {version})", status.fault())?;
        match status.advice() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

fn bullet_list(tried: &[Attempt]) -> String {
    tried.iter().map(|a| format!("\n  - {} ({}): {}", a.path, a.from, a.why)).collect()
}
