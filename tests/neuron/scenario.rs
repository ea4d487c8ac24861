//! What an engine does with a device, once through: start, load, allocate, bind, write, run, read, free.

use half::bf16;
use longhaul::neuron::device::Runtime;
use longhaul::neuron::{NeuronError, Result};

use crate::compiled::matmul;
use crate::programs::{pack_features, pack_weights, unpack_features};

const M: usize = 3;
const K: usize = 130;
const N: usize = 5;

/// Runs it. Everything that it made is dropped when it returns.
pub fn run() -> Result<()> {
    let runtime = Runtime::start()?;
    let core = runtime.core(0)?;
    let program = core.load("linear", &matmul("matmul", [M, K, N], "bfloat16").neff())?;
    let x: Vec<bf16> = (0..M * K).map(|i| bf16::from_f32(i as f32 % 7.0 - 3.0)).collect();
    let w: Vec<bf16> = (0..N * K).map(|i| bf16::from_f32(i as f32 % 5.0 - 2.0)).collect();
    let mut packed = vec![bf16::ZERO; 128 * 2 * 128];
    pack_weights(&mut packed, &w, [N, K], 1, |tile| tile);

    // Weights in a slice behind a page of zeros, as a pool would have them, and a copy between tensors.
    let pool = core.allocate("pool", 4096 + 2 * packed.len())?;
    pool.fill(0, 0, 4096)?;
    let weights = pool.slice("weights", 4096, 2 * packed.len())?;
    weights.write_elements(0, &packed)?;
    let staged = core.allocate("staged", 2 * 128 * 2 * M)?;
    staged.write_elements(0, &pack_features(&x, M, K))?;
    let input = core.allocate("x", staged.size_bytes())?;
    input.copy_from(0, &staged, 0, staged.size_bytes())?;
    let out = core.allocate("out", 2 * 128 * M)?;

    let (mut inputs, mut outputs) = (core.tensor_set()?, core.tensor_set()?);
    inputs.bind("x", &input)?;
    inputs.bind("weights", &weights)?;
    outputs.bind("out", &out)?;
    program.execute(&inputs, &outputs)?;
    let mut y = vec![bf16::ZERO; 128 * M];
    out.read_elements(0, &mut y)?;
    assert_eq!(unpack_features(&y, M, N), expected(&x, &w));
    core.memory()?;

    drop((program, inputs, outputs, out, input, staged, weights, pool));
    // What failed while they were dropped.
    runtime.check()
}

/// Small integers, so that bf16 and the order of sums do not matter.
fn expected(x: &[bf16], w: &[bf16]) -> Vec<bf16> {
    let dot = |m: usize, n: usize| (0..K).map(|k| x[m * K + k].to_f32() * w[n * K + k].to_f32()).sum::<f32>();
    (0..M).flat_map(|m| (0..N).map(move |n| bf16::from_f32(dot(m, n)))).collect()
}

/// Whether an error says that a function is missing from this version.
pub fn is_missing(error: &NeuronError, name: &str) -> bool {
    matches!(error, NeuronError::MissingSymbol { symbol, .. } if *symbol == name)
}
