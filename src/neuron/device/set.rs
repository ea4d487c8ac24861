//! Tensors by name, as a program takes them.

use std::collections::BTreeMap;

use super::core::{Core, c_name};
use super::tensor::DeviceTensor;
use crate::neuron::error::{NeuronError, Result};
use crate::neuron::nrt::SetHandle;

/// The inputs or the outputs of an execution: tensors of one core by the names that a program has for them.
#[derive(Debug)]
pub struct TensorSet {
    core: Core,
    handle: SetHandle,
    bound: BTreeMap<String, DeviceTensor>,
    /// What was bound and replaced: libnrt asks that a tensor be valid until its set is destroyed.
    replaced: Vec<DeviceTensor>,
}

// SAFETY: the handle is a pointer of libnrt, which ties it to no thread.
unsafe impl Send for TensorSet {}
// SAFETY: a shared reference leads to no call but `nrt_execute`, which is made under the core's lock.
unsafe impl Sync for TensorSet {}

impl TensorSet {
    pub(super) fn new(core: &Core) -> Result<Self> {
        let handle = core.call("nrt_allocate_tensor_set", || format!("a set on {core}"), |nrt| nrt.set_allocate())?;
        Ok(Self { core: core.clone(), handle, bound: BTreeMap::new(), replaced: Vec::new() })
    }

    /// Binds a tensor to a name, instead of what was bound to it. The set holds it until the set is dropped, replaced
    /// or not; so bind once, and write into what is bound.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if the tensor is on another core, or the name has a NUL; whatever
    /// `nrt_add_tensor_to_tensor_set` returns.
    pub fn bind(&mut self, name: &str, tensor: &DeviceTensor) -> Result<()> {
        if !tensor.core().is(&self.core) {
            let what = format!("tensor `{}` is on {}, the set on {}", tensor.name(), tensor.core(), self.core);
            return Err(NeuronError::Argument(what));
        }
        let c_name = c_name(name)?;
        let subject = || format!("tensor `{}` as `{name}`", tensor.name());
        self.core.call("nrt_add_tensor_to_tensor_set", subject, |nrt| {
            // SAFETY: set and tensor are alive; the set is borrowed alone, and keeps the tensor until it is destroyed.
            unsafe { nrt.set_add(self.handle, &c_name, tensor.handle()) }
        })?;
        if let Some(before) = self.bound.insert(name.into(), tensor.clone())
            && !before.same(tensor)
        {
            self.replaced.push(before);
        }
        Ok(())
    }

    /// The tensor that is bound to a name.
    pub fn tensor(&self, name: &str) -> Option<&DeviceTensor> {
        self.bound.get(name)
    }

    /// The names that something is bound to.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.bound.keys().map(String::as_str)
    }

    /// Its core.
    pub fn core(&self) -> &Core {
        &self.core
    }

    pub(super) fn handle(&self) -> SetHandle {
        self.handle
    }
}

impl Drop for TensorSet {
    fn drop(&mut self) {
        // SAFETY: the handle is alive until here, and is not used again. The tensors are dropped after it.
        self.core.call_in_drop(|| format!("a set on {}", self.core), |nrt| unsafe { nrt.set_destroy(self.handle) });
    }
}
