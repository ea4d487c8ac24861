//! libnrt with results: one function for each call of C, the operation named in every error, statuses classified by one
//! table.
//!
//! The library is opened at run time. What it lacks is an error when it is called ([`NeuronError::MissingSymbol`]),
//! apart from [`CORE_SYMBOLS`], without which it is not used. These functions know nothing of lifetimes: whoever calls
//! them sees to it that handles are live, which [`device`](super::device) does.
//!
//! Threads: AWS documents that `nrt_execute` may be called from several threads (developer guide, "Graph Walker and CPU
//! Node Executor"), that programs are loaded from several (release notes), and that one process initialises the runtime
//! once. Nothing is said of two threads with one tensor or one set, so [`device`](super::device) lets one thread at a
//! time call for a core.

mod model;
mod open;
mod runtime;
mod status;
mod symbols;
mod tensor;
mod types;
mod version;

use std::path::{Path, PathBuf};

pub use status::{STATUSES, Status, StatusInfo};
pub use symbols::{CORE_SYMBOLS, OPTIONAL_SYMBOLS};
pub use types::{
    ElementType, InstanceInfo, MemoryStats, ModelHandle, Placement, SetHandle, TensorHandle, TensorInfo, Usage,
};
pub use version::{AsyncAbi, KNOWN_VERSIONS, KnownVersion, Version};

use super::error::{Attempt, Failure, NeuronError, Result};
use super::sys;
use symbols::Symbols;

/// An opened libnrt.
#[derive(Debug)]
pub struct Nrt {
    symbols: Symbols,
    version: Version,
    async_abi: AsyncAbi,
    path: PathBuf,
    from: &'static str,
    passed_over: Vec<Attempt>,
}

// Looks up a function, or returns that it is missing.
macro_rules! symbol {
    ($nrt:ident, $name:ident) => {
        match $nrt.symbols.$name {
            Some(function) => function,
            None => {
                return Err($crate::neuron::error::NeuronError::MissingSymbol {
                    symbol: stringify!($name),
                    version: $nrt.version,
                });
            }
        }
    };
}
use symbol;

impl Nrt {
    /// Opens libnrt: the file that `LONGHAUL_LIBNRT` names and no other; or, if that is not set, the first that can be
    /// used of `$NEURON_DIR/lib/libnrt.so.1`, `/opt/aws/neuron/lib/libnrt.so.1` and `libnrt.so.1` on the loader's path.
    /// Nothing is initialised, and no core is taken.
    ///
    /// # Errors
    /// [`NeuronError::NotFound`] with each place that was tried, and why it does not do.
    pub fn open() -> Result<Self> {
        open::open()
    }

    /// The library's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Which asynchronous interface it has.
    pub fn async_abi(&self) -> AsyncAbi {
        self.async_abi
    }

    /// The file, or the bare name that the loader found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who said where it is.
    pub fn found_by(&self) -> &'static str {
        self.from
    }

    /// The places that were tried before it.
    pub fn passed_over(&self) -> &[Attempt] {
        &self.passed_over
    }

    /// The optional functions that it lacks.
    pub fn missing_symbols(&self) -> Vec<&'static str> {
        self.symbols.missing_optional()
    }

    /// A status as a result.
    fn check(&self, operation: &'static str, status: sys::NRT_STATUS) -> Result<()> {
        if status == sys::NRT_SUCCESS { Ok(()) } else { Err(self.failed(operation, status)) }
    }

    /// The error of a call that returned `status`.
    fn failed(&self, operation: &'static str, status: sys::NRT_STATUS) -> NeuronError {
        let version = self.version;
        NeuronError::Status(Failure {
            operation,
            subject: String::new(),
            status: Status(status),
            in_drop: false,
            version,
        })
    }
}
