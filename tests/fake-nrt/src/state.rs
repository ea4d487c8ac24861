//! What the stand-in knows: what is alive, what is on the device, and what was done wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul::neuron::sys;

use crate::environment;
use crate::faults::{Action, Faults, is_fatal};
use crate::program::Program;

/// How long a call hangs that would hang for ever: longer than any test waits.
const FOR_EVER: Duration = Duration::from_secs(120);
/// Memory that nobody wrote.
const GARBAGE: u8 = 0xa5;
/// The most that a host tensor may have (AWS: a page of the kernel).
const MAX_HOST_BYTES: usize = 4 << 20;

static STATE: Mutex<Option<State>> = Mutex::new(None);
/// Cores that a call is about right now.
static BUSY: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Everything.
#[derive(Debug, Default)]
pub struct State {
    pub phase: Phase,
    pub lost: bool,
    pub faults: Faults,
    pub tensors: BTreeMap<usize, Tensor>,
    pub storages: BTreeMap<usize, Storage>,
    pub models: BTreeMap<usize, Model>,
    pub sets: BTreeMap<usize, Set>,
    /// Arrays given out by `nrt_get_model_tensor_info`, which are freed by their address.
    pub infos: BTreeMap<usize, crate::ffi::InfoArray>,
    pub violations: Vec<String>,
    pub n_calls_after_loss: u64,
    pub n_allocated: u64,
    pub n_freed: u64,
    last_handle: usize,
}

/// Where the runtime is between `nrt_init` and `nrt_close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    #[default]
    New,
    Ready,
    Closed,
}

/// A tensor: a piece of a storage.
#[derive(Debug, Clone, Copy)]
pub struct Tensor {
    pub storage: usize,
    pub start: usize,
    pub size: usize,
}

/// An allocation, on a core or (`None`) in host memory.
#[derive(Debug)]
pub struct Storage {
    pub core: Option<u32>,
    pub bytes: Vec<u8>,
    pub n_tensors: usize,
}

/// A loaded program.
#[derive(Debug, Clone)]
pub struct Model {
    pub core: u32,
    pub program: Arc<Program>,
}

/// A tensor set: handles by name. Handles are never used twice, so one that died is known.
#[derive(Debug, Default)]
pub struct Set(pub BTreeMap<String, usize>);

/// Keeps a core busy until it is dropped.
#[derive(Debug)]
pub struct Occupied(Option<u32>);

impl Drop for Occupied {
    fn drop(&mut self) {
        if let Some(core) = self.0 {
            busy().remove(&core);
        }
    }
}

/// Does something with the state.
pub fn with<T>(work: impl FnOnce(&mut State) -> T) -> T {
    let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    work(state.get_or_insert_with(State::new))
}

fn busy() -> MutexGuard<'static, BTreeSet<u32>> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a call that needs an initialised runtime. `Err` is the status that it returns at once.
pub fn begin(function: &'static str, core: Option<u32>) -> Result<Occupied, i32> {
    let occupied = occupy(function, core);
    let hangs = matches!(function, "nrt_unload" | "nrt_close" | "nrt_tensor_free");
    if with(|state| {
        state.lost && {
            state.n_calls_after_loss += 1;
            true
        }
    }) {
        if hangs {
            std::thread::sleep(FOR_EVER);
        }
        return Err(sys::NRT_EXEC_UNIT_UNRECOVERABLE);
    }
    fault(function)?;
    match with(|state| state.phase) {
        Phase::New => Err(sys::NRT_UNINITIALIZED),
        Phase::Ready => Ok(occupied),
        Phase::Closed => Err(sys::NRT_CLOSED),
    }
}

/// Counts a call and lets go wrong what is planned. `Err(SUCCESS)` is [`Action::Keep`]: nothing is done, and no status
/// returned.
pub fn fault(function: &'static str) -> Result<(), i32> {
    let lose = |status: i32| {
        with(|state| state.lost |= is_fatal(status));
        Err(status)
    };
    match with(|state| state.faults.next(function)) {
        None => Ok(()),
        Some(Action::Delay(time)) => {
            std::thread::sleep(time);
            Ok(())
        }
        Some(Action::Hang(time)) => {
            std::thread::sleep(time);
            lose(sys::NRT_TIMEOUT)
        }
        Some(Action::Status(status)) => lose(status),
        Some(Action::Crash) => std::process::abort(),
        Some(Action::Keep) => Err(sys::NRT_SUCCESS),
    }
}

/// AWS documents nothing of two threads in calls about one tensor or set, so two on one core are a violation; but
/// `nrt_execute` may be.
fn occupy(function: &'static str, core: Option<u32>) -> Occupied {
    if let Some(core) = core.filter(|_| function != "nrt_execute")
        && !busy().insert(core)
    {
        with(|state| state.violations.push(format!("{function}: another thread is in a call for core {core}")));
        return Occupied(None);
    }
    Occupied(core.filter(|_| function != "nrt_execute"))
}

impl State {
    fn new() -> Self {
        let faults = Faults::parse(&environment::faults());
        let violations = faults.as_ref().err().map(|e| format!("FAKE_NRT_FAULTS: {e}")).into_iter().collect();
        // Handles look like addresses, and are none that could be read.
        Self { faults: faults.unwrap_or_default(), violations, last_handle: 0x1000, ..Self::default() }
    }

    /// A number that no handle had before.
    pub fn new_handle(&mut self) -> usize {
        self.n_allocated += 1;
        self.last_handle += 16;
        self.last_handle
    }

    /// Something that AWS documents no status for.
    pub fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Bytes in use on a core.
    pub fn used_bytes(&self, core: u32) -> u64 {
        let on_core = self.storages.values().filter(|s| s.core == Some(core));
        on_core.map(|s| s.bytes.len() as u64).sum()
    }

    /// A new tensor with storage of its own.
    pub fn allocate(&mut self, core: Option<u32>, size: usize) -> Result<usize, i32> {
        let fits = match core {
            Some(core) => self.used_bytes(core) + size as u64 <= environment::hbm_bytes(),
            None => size <= MAX_HOST_BYTES,
        };
        if size == 0 {
            return Err(sys::NRT_INVALID);
        }
        if !fits {
            return Err(sys::NRT_RESOURCE);
        }
        let (storage, tensor) = (self.new_handle(), self.new_handle());
        self.n_allocated -= 1; // a tensor and its storage are one thing
        self.storages.insert(storage, Storage { core, bytes: vec![GARBAGE; size], n_tensors: 1 });
        self.tensors.insert(tensor, Tensor { storage, start: 0, size });
        Ok(tensor)
    }

    /// A tensor on a part of another's storage.
    pub fn slice(&mut self, source: usize, offset: usize, size: usize) -> Result<usize, i32> {
        let source = self.tensor(source)?;
        if size == 0 || offset.checked_add(size).is_none_or(|end| end > source.size) {
            return Err(sys::NRT_INVALID);
        }
        if let Some(storage) = self.storages.get_mut(&source.storage) {
            storage.n_tensors += 1;
        }
        let tensor = self.new_handle();
        self.tensors.insert(tensor, Tensor { storage: source.storage, start: source.start + offset, size });
        Ok(tensor)
    }

    /// Frees a tensor, and its storage with the last.
    pub fn free(&mut self, tensor: usize) {
        let Some(Tensor { storage, .. }) = self.tensors.remove(&tensor) else {
            return self.violation("nrt_tensor_free of what is no tensor, or was freed");
        };
        self.n_freed += 1;
        if self.sets.values().any(|set| set.0.values().any(|bound| *bound == tensor)) {
            self.violation("nrt_tensor_free of a tensor that a tensor set still has");
        }
        if let Some(entry) = self.storages.get_mut(&storage) {
            entry.n_tensors -= 1;
            if entry.n_tensors == 0 {
                self.storages.remove(&storage);
            }
        }
    }

    /// A live tensor.
    pub fn tensor(&self, handle: usize) -> Result<Tensor, i32> {
        self.tensors.get(&handle).copied().ok_or(sys::NRT_INVALID_HANDLE)
    }

    /// The core of a tensor, if it is alive and on one.
    pub fn core_of(&self, handle: usize) -> Option<u32> {
        let tensor = self.tensors.get(&handle)?;
        self.storages.get(&tensor.storage)?.core
    }

    /// Bytes of a tensor.
    pub fn region(&mut self, handle: usize, offset: usize, size: usize) -> Result<&mut [u8], i32> {
        let tensor = self.tensor(handle)?;
        let inside = offset.checked_add(size).is_some_and(|end| end <= tensor.size);
        let storage = self.storages.get_mut(&tensor.storage).ok_or(sys::NRT_INVALID_HANDLE)?;
        let start = tensor.start + offset;
        if inside { Ok(&mut storage.bytes[start..start + size]) } else { Err(sys::NRT_INVALID) }
    }

    /// Closes: whatever is still alive is a violation.
    pub fn close(&mut self) {
        let alive = [self.tensors.len(), self.models.len(), self.sets.len(), self.infos.len()];
        if alive != [0; 4] {
            let [tensors, models, sets, infos] = alive;
            self.violation(format!(
                "nrt_close with {tensors} tensors, {models} programs, {sets} sets and {infos} descriptions alive"
            ));
        }
        self.phase = Phase::Closed;
    }
}
