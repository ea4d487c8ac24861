//! Programs: what a NEFF says, and running it.

use std::collections::BTreeMap;

use longhaul::neuron::neff::{Argument, Kind, Neff};
use longhaul::neuron::sys;

use crate::arrays::Dtype;
use crate::state::{State, with};
use crate::{attention, matmul};

/// The suffix of an input that lies in the same memory as the output of the rest of its name.
const ALIAS: &str = ".must_alias_input";

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    pub kernel: String,
    /// Compile-time arguments by name.
    pub arguments: BTreeMap<String, Argument>,
    pub tensors: Vec<Tensor>,
    /// Physical cores that it was compiled for.
    pub lnc: u32,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub is_input: bool,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

/// The tensors of a run by name, as bytes.
pub type Buffers = BTreeMap<String, Vec<u8>>;

impl Tensor {
    pub fn new(name: &str, is_input: bool, dtype: Dtype, shape: &[usize]) -> Self {
        Self { name: name.into(), is_input, dtype, shape: shape.into() }
    }

    pub fn size_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size_bytes()
    }
}

impl Program {
    /// Reads a NEFF: the status that `nrt_load` returns if it is none that can be run.
    pub fn read(neff: &[u8]) -> Result<Self, i32> {
        let neff = Neff::read(neff).map_err(|_| sys::NRT_INVALID)?;
        if neff.header.major != 2 {
            return Err(sys::NRT_UNSUPPORTED_NEFF_VERSION);
        }
        let call = neff.call.ok_or(sys::NRT_INVALID)?;
        let tensors = neff.tensors.iter().map(|t| {
            let dtype = Dtype::named(&t.dtype).ok_or(sys::NRT_INVALID)?;
            Ok::<_, i32>(Tensor::new(&t.name, t.kind == Kind::Input, dtype, &t.shape))
        });
        let (kernel, arguments) = (call.kernel, call.arguments);
        let program = Self { kernel, arguments, tensors: tensors.collect::<Result<_, _>>()?, lnc: neff.header.lnc };
        program.check()?;
        Ok(program)
    }

    /// The tensors as the runtime reports them: an output once for each physical core.
    pub fn reported_tensors(&self) -> Vec<Tensor> {
        let times = |t: &Tensor| if t.is_input { 1 } else { self.lnc as usize };
        self.tensors.iter().flat_map(|t| std::iter::repeat_n(t.clone(), times(t))).collect()
    }

    /// A compile-time argument that is a number.
    pub fn number(&self, name: &str) -> Result<usize, i32> {
        match self.arguments.get(name) {
            Some(Argument::Count(n)) => usize::try_from(*n).map_err(|_| sys::NRT_INVALID),
            _ => Err(sys::NRT_INVALID),
        }
    }

    /// A compile-time argument that is a name.
    pub fn text(&self, name: &str) -> Result<&str, i32> {
        match self.arguments.get(name) {
            Some(Argument::Text(text)) => Ok(text),
            _ => Err(sys::NRT_INVALID),
        }
    }

    /// An input's numbers.
    pub fn array(&self, inputs: &Buffers, name: &str) -> ndarray::ArrayD<f64> {
        let tensor = self.tensors.iter().find(|t| t.is_input && t.name == name).expect("checked when it was loaded");
        tensor.dtype.decode(&inputs[name], &tensor.shape)
    }

    /// Whether the tensors are those of the kernel.
    fn check(&self) -> Result<(), i32> {
        let expected = match self.kernel.as_str() {
            "matmul" | "matmul_silu_gate" => matmul::tensors(self)?,
            "attention" => attention::tensors(self)?,
            _ => return Err(sys::NRT_INVALID),
        };
        let same = expected.len() == self.tensors.len() && expected.iter().all(|t| self.tensors.contains(t));
        if same { Ok(()) } else { Err(sys::NRT_INVALID) }
    }

    fn run(&self, inputs: &Buffers, outputs: &mut Buffers) -> Result<(), i32> {
        match self.kernel.as_str() {
            "attention" => attention::run(self, inputs, outputs),
            _ => matmul::run(self, inputs, outputs),
        }
    }
}

/// Runs a program once on two tensor sets.
pub fn execute(model: usize, inputs: usize, outputs: usize) -> Result<(), i32> {
    let model = with(|state| state.models.get(&model).cloned()).ok_or(sys::NRT_INVALID_HANDLE)?;
    let program = &model.program;
    let (read, mut written) = with(|state| {
        check_set(state, program, model.core, inputs, true)?;
        check_set(state, program, model.core, outputs, false)?;
        check_aliases(state, program, inputs, outputs)?;
        Ok::<_, i32>((contents(state, program, inputs, true)?, contents(state, program, outputs, false)?))
    })?;
    program.run(&read, &mut written)?;
    with(|state| {
        for (name, bytes) in written {
            let tensor = state.sets[&outputs].0[&name];
            state.region(tensor, 0, bytes.len())?.copy_from_slice(&bytes);
        }
        Ok(())
    })
}

/// Exactly the tensors of the program, of their sizes, on its core.
fn check_set(state: &State, program: &Program, core: u32, set: usize, is_input: bool) -> Result<(), i32> {
    let set = &state.sets.get(&set).ok_or(sys::NRT_INVALID_HANDLE)?.0;
    let wanted: Vec<&Tensor> = program.tensors.iter().filter(|t| t.is_input == is_input).collect();
    for tensor in &wanted {
        let bound = *set.get(&tensor.name).ok_or(sys::NRT_INVALID)?;
        if state.tensor(bound)?.size != tensor.size_bytes() || state.core_of(bound) != Some(core) {
            return Err(sys::NRT_INVALID);
        }
    }
    if set.len() == wanted.len() { Ok(()) } else { Err(sys::NRT_INVALID) }
}

/// What is written in place must be in one place.
fn check_aliases(state: &State, program: &Program, inputs: usize, outputs: usize) -> Result<(), i32> {
    for tensor in program.tensors.iter().filter(|t| t.is_input) {
        let Some(output) = tensor.name.strip_suffix(ALIAS) else { continue };
        let bound = |set: usize, name: &str| state.tensor(state.sets[&set].0[name]);
        let (from, to) = (bound(inputs, &tensor.name)?, bound(outputs, output)?);
        if (from.storage, from.start) != (to.storage, to.start) {
            return Err(sys::NRT_INVALID);
        }
    }
    Ok(())
}

fn contents(state: &mut State, program: &Program, set: usize, is_input: bool) -> Result<Buffers, i32> {
    let tensors = program.tensors.iter().filter(|t| t.is_input == is_input);
    let named = tensors.map(|tensor| {
        let bound = state.sets[&set].0[&tensor.name];
        Ok((tensor.name.clone(), state.region(bound, 0, tensor.size_bytes())?.to_vec()))
    });
    named.collect()
}
