//! A loaded program.

use super::core::Core;
use super::set::TensorSet;
use crate::neuron::error::{NeuronError, Result};
use crate::neuron::nrt::{ModelHandle, TensorInfo, Usage};

/// A NEFF on a core. Unloaded when it is dropped.
#[derive(Debug)]
pub struct Program {
    core: Core,
    handle: ModelHandle,
    name: String,
    tensors: Vec<TensorInfo>,
}

// SAFETY: the handle is a pointer of libnrt, which ties it to no thread: AWS documents `nrt_execute` of one program
// from several threads (developer guide, "Graph Walker and CPU Node Executor": "If multiple threads are used,
// subsequent executions would be pipelined").
unsafe impl Send for Program {}
// SAFETY: as above; besides, every call is made under the core's lock.
unsafe impl Sync for Program {}

impl Program {
    pub(super) fn load(core: &Core, name: &str, neff: &[u8]) -> Result<Self> {
        let subject = || format!("program `{name}` on {core}");
        let handle = core.call("nrt_load", subject, |nrt| nrt.load(neff, core.idx()))?;
        // Owned from here on, so that it is unloaded if the next call fails.
        let mut program = Self { core: core.clone(), handle, name: name.into(), tensors: Vec::new() };
        // SAFETY: the handle was just made, and is alive as long as `program`.
        let tensors = core.call("nrt_get_model_tensor_info", subject, |nrt| unsafe { nrt.model_tensors(handle) })?;
        for tensor in tensors {
            // Under LNC 2 an output appears once for each physical core.
            if !program.tensors.iter().any(|t| t.name == tensor.name && t.usage == tensor.usage) {
                program.tensors.push(tensor);
            }
        }
        Ok(program)
    }

    /// The name that it was loaded with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its core.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// What it reads and writes, as the runtime tells it, each once.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// What it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter().filter(|t| t.usage == Usage::Input)
    }

    /// What it writes.
    pub fn outputs(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter().filter(|t| t.usage == Usage::Output)
    }

    /// Runs once, and returns when it has run. For what is written in place, bind one tensor as the input
    /// `X.must_alias_input` and as the output `X`.
    ///
    /// # Errors
    /// [`NeuronError::Argument`] if a tensor is missing, of another size or on another core, or the program has none of
    /// its name; whatever `nrt_execute` returns.
    pub fn execute(&self, inputs: &TensorSet, outputs: &TensorSet) -> Result<()> {
        self.check_set(Usage::Input, inputs)?;
        self.check_set(Usage::Output, outputs)?;
        let subject = || format!("program `{}` on {}", self.name, self.core);
        self.core.call("nrt_execute", subject, |nrt| {
            // SAFETY: program and sets are borrowed, the sets hold their tensors, and the core's lock keeps everybody
            // else from calling.
            unsafe { nrt.execute(self.handle, inputs.handle(), outputs.handle()) }
        })
    }

    /// Whether everything that the program reads, or writes, is in the set and fits. The runtime checks as well, and
    /// names nothing.
    fn check_set(&self, usage: Usage, set: &TensorSet) -> Result<()> {
        let wrong = |what: String| Err(NeuronError::Argument(format!("program `{}`: {what}", self.name)));
        if !set.core().is(&self.core) {
            return wrong(format!("it is on {}, and the tensors are on {}", self.core, set.core()));
        }
        for wanted in self.tensors.iter().filter(|t| t.usage == usage) {
            match set.tensor(&wanted.name) {
                None => return wrong(format!("nothing is bound to {usage} `{}`", wanted.name)),
                Some(bound) if bound.size_bytes() != wanted.size_bytes => {
                    let (is, wants) = (bound.size_bytes(), wanted.size_bytes);
                    return wrong(format!(
                        "{usage} `{}` has {wants} bytes, tensor `{}` {is}",
                        wanted.name,
                        bound.name()
                    ));
                }
                Some(_) => {}
            }
        }
        let known = |name: &str| self.tensors.iter().any(|t| t.usage == usage && t.name == name);
        match set.names().find(|name| !known(name)) {
            Some(name) => wrong(format!("it has no {usage} `{name}`")),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(if *self == Self::Input { "input" } else { "output" })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let subject = || format!("program `{}` on {}", self.name, self.core);
        // SAFETY: the handle is alive until here, and is not used again.
        self.core.call_in_drop(subject, |nrt| unsafe { nrt.unload(self.handle) });
    }
}
