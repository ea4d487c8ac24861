//! Programs of the catalog on a core, loaded once, and what they are called with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use half::bf16;

use crate::error::{Error, Result};
use crate::neuron::catalog::{Catalog, Entry, Request};
use crate::neuron::device::{Core, DeviceTensor, Element, Program, TensorSet};
use crate::neuron::error::NeuronError;
use crate::neuron::neff::Target;

/// What the name of an input ends with that lies in the same memory as the output of the rest of its name
/// (`kernels/README.md`).
const ALIAS: &str = ".must_alias_input";

/// More than any argument of a program is, so that no size made of them overflows.
const MAX_COUNT: u64 = 1 << 20;

/// A core and the programs for it.
pub struct Programs {
    pub core: Core,
    catalog: Catalog,
    target: Target,
    lnc: u32,
    /// By their keys.
    loaded: Mutex<HashMap<String, Arc<Loaded>>>,
}

impl Programs {
    pub fn new(core: Core, catalog: Catalog, target: Target, lnc: u32) -> Self {
        Self { core, catalog, target, lnc, loaded: Mutex::default() }
    }

    /// A request for a kernel on this core, without arguments yet.
    pub fn request(&self, kernel: &str) -> Request {
        Request::new(kernel, self.target, self.lnc)
    }

    /// A request for `matmul` of `m` rows.
    pub fn matmul_request(&self, [m, n, k]: [usize; 3]) -> Request {
        Request::matmul("matmul", self.target, self.lnc, [m as u64, k as u64, n as u64], "bfloat16")
    }

    /// The largest that an argument may be in one call, over the programs of this kind that take the rest of the
    /// request.
    pub fn largest(&self, request: &Request, argument: &str) -> Option<usize> {
        let takes = |e: &Entry| {
            let enough = |(name, n): &(String, u64)| name == argument || e.count(name).is_some_and(|have| have >= *n);
            request.at_least.iter().all(enough)
        };
        let buckets = self.catalog.buckets(request).into_iter().filter(|e| takes(e));
        buckets.filter_map(|e| e.count(argument)).max().map(|n| n.min(MAX_COUNT) as usize)
    }

    /// The smallest that `argument` is over the programs that take the request.
    ///
    /// # Errors
    /// The catalog's, when there is none.
    pub fn smallest(&self, request: &Request, argument: &str) -> Result<usize> {
        let found = self.catalog.find(request)?.entry.count(argument);
        let takes = |e: &&Entry| request.at_least.iter().all(|(name, n)| e.count(name).is_some_and(|have| have >= *n));
        let all = self.catalog.buckets(request).into_iter().filter(takes).filter_map(|e| e.count(argument));
        Ok(all.chain(found).min().unwrap_or(0).min(MAX_COUNT) as usize)
    }

    /// The smallest program that takes the request, loaded. All of its tensors but `resident` are allocated with it.
    ///
    /// # Errors
    /// The catalog's, when there is none or its file is not what the manifest says; the device's.
    pub fn find(&self, request: &Request, resident: &[&str]) -> Result<Arc<Loaded>> {
        let entry = self.catalog.find(request)?.entry;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = loaded.get(&entry.key) {
            return Ok(program.clone());
        }
        let neff = self.catalog.load(entry)?;
        let program = Arc::new(Loaded::new(&self.core, entry.clone(), &neff, resident)?);
        loaded.insert(entry.key.clone(), program.clone());
        Ok(program)
    }
}

/// A program with a tensor for each activation that crosses.
pub struct Loaded {
    entry: Entry,
    program: Program,
    crossing: HashMap<String, DeviceTensor>,
    /// Whose turn it is to write, execute and read.
    turn: Mutex<()>,
}

impl Loaded {
    fn new(core: &Core, entry: Entry, neff: &[u8], resident: &[&str]) -> Result<Self> {
        let program = core.load(&entry.neff, neff)?;
        let mut crossing = HashMap::new();
        for tensor in program.tensors().iter().filter(|t| !resident.contains(&base(&t.name))) {
            crossing.insert(tensor.name.clone(), core.allocate(&tensor.name, tensor.size_bytes)?);
        }
        Ok(Self { entry, program, crossing, turn: Mutex::default() })
    }

    /// What tells it from other programs.
    pub fn key(&self) -> &str {
        &self.entry.key
    }

    /// A compile-time argument.
    pub fn count(&self, name: &str) -> Result<usize> {
        let count = self.entry.count(name).filter(|n| *n <= MAX_COUNT);
        count.map(|n| n as usize).ok_or_else(|| self.unsound(format!("its argument {name} is not there, or absurd")))
    }

    /// That an activation has the elements that its layout gives it; before anything of that size is made.
    pub fn check_len<T>(&self, name: &str, dimensions: &[usize]) -> Result<()> {
        let wanted = dimensions.iter().try_fold(size_of::<T>(), |bytes, n| bytes.checked_mul(*n));
        let is = self.crossing.get(name).map(DeviceTensor::size_bytes);
        if wanted.is_some() && wanted == is {
            return Ok(());
        }
        Err(self.unsound(format!("`{name}` has {is:?} bytes, where {dimensions:?} make {wanted:?}")))
    }

    fn unsound(&self, reason: String) -> Error {
        Error::Program { path: self.entry.neff.clone().into(), reason }
    }

    /// Binds what crosses, and what stays: a resident tensor by the name of its output.
    pub fn bind(self: &Arc<Self>, resident: &[(&str, &DeviceTensor)]) -> Result<Bound> {
        let core = self.program.core();
        let (mut inputs, mut outputs) = (core.tensor_set()?, core.tensor_set()?);
        let tensor = |name: &str| {
            let stays = resident.iter().find(|(resident, _)| *resident == base(name)).map(|(_, tensor)| *tensor);
            let tensor = stays.or_else(|| self.crossing.get(name));
            tensor.ok_or_else(|| self.unsound(format!("nothing is bound to its tensor `{name}`")))
        };
        for info in self.program.inputs() {
            inputs.bind(&info.name, tensor(&info.name)?)?;
        }
        for info in self.program.outputs() {
            outputs.bind(&info.name, tensor(&info.name)?)?;
        }
        Ok(Bound { inputs, outputs, loaded: self.clone() })
    }
}

/// The name of a tensor, of which an alias is another.
fn base(name: &str) -> &str {
    name.strip_suffix(ALIAS).unwrap_or(name)
}

/// A program with all of its tensors.
pub struct Bound {
    inputs: TensorSet,
    outputs: TensorSet,
    loaded: Arc<Loaded>,
}

impl Bound {
    /// The program for oneself: activations are shared by all that bind it.
    pub fn turn(&self) -> Turn<'_> {
        // Whoever panicked left activations behind, which the next writes again.
        Turn { bound: self, _mine: self.loaded.turn.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// A program while nobody else calls it.
pub struct Turn<'a> {
    bound: &'a Bound,
    _mine: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Writes all of an input.
    pub fn write<T: Element>(&self, name: &str, data: &[T]) -> Result<()> {
        self.bound.loaded.check_len::<T>(name, &[data.len()])?;
        Ok(self.bound.loaded.crossing[name].write_elements(0, data)?)
    }

    /// Runs the program.
    pub fn execute(&self) -> Result<()> {
        Ok(self.bound.loaded.program.execute(&self.bound.inputs, &self.bound.outputs)?)
    }

    /// Reads all of an output of `len` elements.
    pub fn read(&self, name: &str, len: usize) -> Result<Vec<bf16>> {
        self.bound.loaded.check_len::<bf16>(name, &[len])?;
        let mut out = vec![bf16::ZERO; len];
        self.bound.loaded.crossing[name].read_elements(0, &mut out)?;
        Ok(out)
    }
}

/// What an optional function of libnrt gave, or `None` where this version lacks it.
pub fn if_there(result: Result<(), NeuronError>) -> Result<Option<()>> {
    match result {
        Ok(()) => Ok(Some(())),
        Err(NeuronError::MissingSymbol { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
