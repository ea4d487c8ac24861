//! Programs with tensors for all that they take and give, and the layouts that the kernels want (`kernels/layouts.py`).

use std::collections::BTreeMap;

use half::bf16;
use longhaul::neuron::device::{Core, DeviceTensor, Element, Program, TensorSet};
use longhaul::neuron::nrt::Usage;
use longhaul::neuron::{NeuronError, Result};

/// Partitions of a core.
pub const P: usize = 128;

/// `[M, K]` as `[128, K tiles, M]`.
pub fn pack_features<T: Copy + Default>(x: &[T], m: usize, k: usize) -> Vec<T> {
    let kt = k.div_ceil(P);
    let mut packed = vec![T::default(); P * kt * m];
    for (row, column) in (0..m).flat_map(|r| (0..k).map(move |c| (r, c))) {
        packed[(column % P * kt + column / P) * m + row] = x[row * k + column];
    }
    packed
}

/// `[128, N tiles, M]` as `[M, N]`.
pub fn unpack_features(packed: &[bf16], m: usize, n: usize) -> Vec<bf16> {
    let at = |row: usize, column: usize| packed[(column % P * n.div_ceil(P) + column / P) * m + row];
    (0..m).flat_map(|row| (0..n).map(move |column| at(row, column))).collect()
}

/// `W[N, K]` in `[128, N tiles, K tiles, 128]`, whose tile `t` of N goes to tile `place(t)` of `n_tiles`.
pub fn pack_weights<T: Copy + Default>(
    packed: &mut [T],
    w: &[T],
    [n, k]: [usize; 2],
    n_tiles: usize,
    place: impl Fn(usize) -> usize,
) {
    let kt = k.div_ceil(P);
    for (row, column) in (0..n).flat_map(|r| (0..k).map(move |c| (r, c))) {
        packed[((column % P * n_tiles + place(row / P)) * kt + column / P) * P + row % P] = w[row * k + column];
    }
}

/// A program with a tensor for each of its inputs and outputs, bound; what is written in place is one tensor.
pub struct Bound {
    pub program: Program,
    pub tensors: BTreeMap<String, DeviceTensor>,
    pub inputs: TensorSet,
    pub outputs: TensorSet,
}

impl Bound {
    pub fn load(core: &Core, neff: &[u8]) -> Result<Self> {
        let program = core.load("test", neff)?;
        let (mut inputs, mut outputs) = (core.tensor_set()?, core.tensor_set()?);
        let mut tensors = BTreeMap::new();
        for info in program.tensors() {
            let name = info.name.trim_end_matches(".must_alias_input");
            if !tensors.contains_key(name) {
                tensors.insert(name.to_string(), core.allocate(name, info.size_bytes)?);
            }
            let set = if info.usage == Usage::Input { &mut inputs } else { &mut outputs };
            set.bind(&info.name, &tensors[name])?;
        }
        Ok(Self { program, tensors, inputs, outputs })
    }

    pub fn write<T: Element>(&self, name: &str, data: &[T]) -> Result<()> {
        self.tensors[name].write_elements(0, data)
    }

    pub fn run(&self) -> Result<()> {
        self.program.execute(&self.inputs, &self.outputs)
    }

    /// All elements of a tensor.
    pub fn read<T: Element + Default>(&self, name: &str) -> Result<Vec<T>> {
        let mut out = vec![T::default(); self.tensors[name].size_bytes() / size_of::<T>()];
        self.tensors[name].read_elements(0, &mut out)?;
        Ok(out)
    }
}

/// The failure of a call that must fail with a status.
pub fn failure<T: std::fmt::Debug>(result: Result<T>) -> longhaul::neuron::Failure {
    match result {
        Err(NeuronError::Status(failure)) => failure,
        other => panic!("not a status: {other:?}"),
    }
}
