//! The runtime, which a process has once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::core::Core;
use super::health::Health;
use crate::neuron::error::{Failure, NeuronError, Result};
use crate::neuron::inspect::{self, Inspection};
use crate::neuron::nrt::Nrt;

/// What this process did with the runtime so far.
static PROCESS: Mutex<Process> = Mutex::new(Process::Never);

#[derive(Debug)]
enum Process {
    /// Nothing, or in vain.
    Never,
    /// Initialised it; closed, if the reference is dead.
    Started(Weak<Shared>),
    /// Met a fatal status at that.
    Lost(Failure),
}

/// The initialised Neuron runtime. Clones are the same; it closes when the last of them and everything made with it is
/// gone.
#[derive(Debug, Clone)]
pub struct Runtime(pub(super) Arc<Shared>);

/// What everything on a device holds.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) nrt: Nrt,
    pub(super) health: Health,
    n_cores: Option<u32>,
    /// A lock for each core that was asked for: see the module's text on threads.
    locks: Mutex<BTreeMap<u32, Arc<Mutex<()>>>>,
}

impl Runtime {
    /// The runtime of this process: opens libnrt ([`Nrt::open`]) and initialises it, or returns the one that is there.
    /// It takes the cores that `NEURON_RT_VISIBLE_CORES` names, all by default, from every other process. Variables of
    /// the environment must be set before.
    ///
    /// # Errors
    /// [`NeuronError::NotFound`] without a libnrt; [`NeuronError::Status`] if it does not initialise, for instance
    /// because another process has the cores; [`NeuronError::Closed`] if this process had it and closed it.
    pub fn start() -> Result<Self> {
        Self::start_where(|_| Ok(()))
    }

    /// The same for who wants logical core `idx`, so that a core that there is not leaves the runtime unstarted: it is
    /// to be had once.
    ///
    /// # Errors
    /// Those of [`Runtime::start`], and [`NeuronError::Argument`] if there is no such core.
    pub fn start_with(idx: u32) -> Result<Self> {
        Self::start_where(|n_cores| check_core(idx, n_cores))
    }

    fn start_where(check: impl FnOnce(Option<u32>) -> Result<()>) -> Result<Self> {
        let mut process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        match &*process {
            Process::Never => {}
            Process::Started(shared) => return shared.upgrade().map(Self).ok_or(NeuronError::Closed),
            Process::Lost(cause) => return Err(NeuronError::Lost { operation: "nrt_init", cause: cause.clone() }),
        }
        let nrt = Nrt::open()?;
        // Before nrt_init, which is allowed: what fails here leaves nothing to close.
        let n_cores = match nrt.visible_core_count() {
            Ok(n_cores) => Some(n_cores),
            Err(NeuronError::MissingSymbol { .. }) => None,
            Err(error) => return Err(lose(&mut process, error)),
        };
        check(n_cores)?;
        nrt.init().map_err(|error| lose(&mut process, error))?;
        let shared = Arc::new(Shared { nrt, health: Health::default(), n_cores, locks: Mutex::default() });
        *process = Process::Started(Arc::downgrade(&shared));
        Ok(Self(shared))
    }

    /// The library.
    pub fn library(&self) -> &Nrt {
        &self.0.nrt
    }

    /// Logical cores of this process; `None` if the library does not tell.
    pub fn n_cores(&self) -> Option<u32> {
        self.0.n_cores
    }

    /// A logical core, by its index in this process: the first that is visible is 0.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if there is none.
    pub fn core(&self, idx: u32) -> Result<Core> {
        check_core(idx, self.0.n_cores)?;
        let mut locks = self.0.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Core::new(self.0.clone(), idx, locks.entry(idx).or_default().clone()))
    }

    /// What the library tells, memory included.
    pub fn inspect(&self) -> Inspection {
        inspect::of(&self.0.nrt)
    }

    /// What a call would return for what happened before it: the loss of the device, or a failure of something that was
    /// dropped.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<()> {
        self.0.health.check("the check")
    }

    /// The failure that the device was lost with, if it is lost.
    pub fn lost(&self) -> Option<Failure> {
        self.0.health.lost()
    }
}

/// Refuses a core beyond those of the process, if their number is known.
fn check_core(idx: u32, n_cores: Option<u32>) -> Result<()> {
    match n_cores.filter(|n| idx >= *n) {
        Some(n_cores) => Err(NeuronError::Argument(format!(
            "there is no Neuron core {idx}: this process has {n_cores} (NEURON_RT_VISIBLE_CORES)"
        ))),
        None => Ok(()),
    }
}

/// Remembers a fatal status met while starting.
fn lose(process: &mut Process, error: NeuronError) -> NeuronError {
    if let NeuronError::Status(failure) = &error
        && failure.status.fault().is_fatal()
    {
        *process = Process::Lost(failure.clone());
    }
    error
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.health.may_close() {
            return; // the process's end gives the cores back
        }
        // SAFETY: programs, tensors and sets hold this struct, so all are dropped, and all of them could be freed;
        // calls borrow them. `close` returns no status, and if it failed there would be no next call to tell.
        let _ = unsafe { self.nrt.close() };
    }
}
