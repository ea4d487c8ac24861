//! A logical core, and how everything on it calls libnrt.

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use super::runtime::{Runtime, Shared};
use super::{DeviceTensor, Program, TensorSet};
use crate::neuron::error::{NeuronError, Result};
use crate::neuron::nrt::{MemoryStats, Nrt};

/// A logical core of this process: with LNC 2 it is two physical ones. Clones are the same.
#[derive(Debug, Clone)]
pub struct Core {
    shared: Arc<Shared>,
    idx: u32,
    lock: Arc<Mutex<()>>,
}

impl Core {
    pub(super) fn new(shared: Arc<Shared>, idx: u32, lock: Arc<Mutex<()>>) -> Self {
        Self { shared, idx, lock }
    }

    /// Its index in this process.
    pub fn idx(&self) -> u32 {
        self.idx
    }

    /// Its runtime.
    pub fn runtime(&self) -> Runtime {
        Runtime(self.shared.clone())
    }

    /// Its memory.
    pub fn memory(&self) -> Result<MemoryStats> {
        self.call("nrt_get_vnc_memory_stats", || self.to_string(), |nrt| nrt.memory_stats(self.idx))
    }

    /// Loads a program from the bytes of a NEFF; `name` is for messages. Several may be loaded, and one runs at a time.
    pub fn load(&self, name: &str, neff: &[u8]) -> Result<Program> {
        Program::load(self, name, neff)
    }

    /// Allocates `size_bytes` of device memory; `name` is for messages, here and in the runtime's log. Contents are
    /// undefined at first.
    pub fn allocate(&self, name: &str, size_bytes: usize) -> Result<DeviceTensor> {
        DeviceTensor::allocate(self, name, size_bytes)
    }

    /// An empty set of tensors of this core.
    pub fn tensor_set(&self) -> Result<TensorSet> {
        TensorSet::new(self)
    }

    /// Whether `other` is the same core.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lock, &other.lock)
    }

    /// Calls libnrt under the core's lock, unless the device is lost or a drop's failure is due. `subject` names what
    /// it is about.
    pub(super) fn call<T>(
        &self,
        operation: &'static str,
        subject: impl FnOnce() -> String,
        call: impl FnOnce(&Nrt) -> Result<T>,
    ) -> Result<T> {
        let _one_at_a_time = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Behind the lock: whoever held it may have lost the device.
        self.shared.health.check(operation)?;
        call(&self.shared.nrt).map_err(|error| match error {
            NeuronError::Status(mut failure) => {
                failure.subject = subject();
                self.shared.health.note(&failure);
                NeuronError::Status(failure)
            }
            other => other,
        })
    }

    /// The same for what is dropped: nothing is called if the device is lost, and a failure is parked.
    pub(super) fn call_in_drop(&self, subject: impl FnOnce() -> String, call: impl FnOnce(&Nrt) -> Result<()>) {
        let _one_at_a_time = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.health.lost().is_some() {
            return;
        }
        // What has no status is a function that is missing; those that drops call are of the core set, which is there.
        if let Err(NeuronError::Status(mut failure)) = call(&self.shared.nrt) {
            failure.subject = subject();
            failure.in_drop = true;
            self.shared.health.park(failure);
        }
    }
}

impl std::fmt::Display for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "core {}", self.idx)
    }
}

/// A name as C wants it.
pub(super) fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| NeuronError::Argument(format!("the name {name:?} has a NUL in it")))
}
