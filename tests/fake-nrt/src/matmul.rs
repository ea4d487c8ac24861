//! The kernels `matmul` and `matmul_silu_gate`, in the layouts of `kernels/layouts.py`.

use longhaul::neuron::sys;
use longhaul::reference;
use ndarray::{Array2, ArrayD};

use crate::arrays::{Dtype, put_bf16};
use crate::program::{Buffers, Program, Tensor};

const P: usize = 128;

/// The tensors that a program of these kernels has.
pub fn tensors(program: &Program) -> Result<Vec<Tensor>, i32> {
    let [m, k, n] = sizes(program)?;
    let weights = Dtype::named(program.text("weights")?).filter(|d| matches!(d, Dtype::Bf16 | Dtype::F8E4m3));
    let weights = weights.ok_or(sys::NRT_INVALID)?;
    let (kt, nt) = (k.div_ceil(P), n.div_ceil(P));
    let parts = if is_gate(program) { 2 } else { 1 };
    let mut tensors = vec![
        Tensor::new("x", true, Dtype::Bf16, &[P, kt, m]),
        Tensor::new("weights", true, weights, &[P, parts * nt, kt, P]),
        Tensor::new("out", false, Dtype::Bf16, &[P, nt, m]),
    ];
    if weights != Dtype::Bf16 {
        tensors.push(Tensor::new("scale", true, Dtype::F32, &[P, parts * nt]));
    }
    Ok(tensors)
}

/// Computes it. Outputs beyond N are not written.
pub fn run(program: &Program, inputs: &Buffers, outputs: &mut Buffers) -> Result<(), i32> {
    let [m, k, n] = sizes(program)?;
    let packed = program.array(inputs, "x");
    let x = Array2::from_shape_fn((m, k), |(m, k)| packed[[k % P, k / P, m]]);
    let weights = program.array(inputs, "weights");
    let scale = inputs.contains_key("scale").then(|| program.array(inputs, "scale"));
    let product = |tile_of: &dyn Fn(usize) -> usize| {
        let w = rows(&weights, n, k, tile_of);
        let mut y = reference::matmul(x.view(), w.view(), None);
        if let Some(scale) = &scale {
            y.indexed_iter_mut().for_each(|((_, n), y)| *y *= scale[[n % P, tile_of(n / P)]]);
        }
        y
    };
    let y = if is_gate(program) {
        let (gate, up) = (product(&|tile| 2 * tile), product(&|tile| 2 * tile + 1));
        reference::silu_gate(gate.view(), up.view())
    } else {
        product(&|tile| tile)
    };
    let out = outputs.get_mut("out").expect("checked when it was loaded");
    for ((row, column), value) in y.indexed_iter() {
        put_bf16(out, (column % P * n.div_ceil(P) + column / P) * m + row, *value);
    }
    Ok(())
}

/// `W[N, K]`, whose row `n` lies in tile `tile_of(n / 128)`.
fn rows(packed: &ArrayD<f64>, n: usize, k: usize, tile_of: &dyn Fn(usize) -> usize) -> Array2<f64> {
    Array2::from_shape_fn((n, k), |(n, k)| packed[[k % P, tile_of(n / P), k / P, n % P]])
}

fn is_gate(program: &Program) -> bool {
    program.kernel == "matmul_silu_gate"
}

fn sizes(program: &Program) -> Result<[usize; 3], i32> {
    let sizes = [program.number("m")?, program.number("k")?, program.number("n")?];
    // Sizes with which nothing below overflows.
    if sizes.iter().all(|size| (1..1 << 20).contains(size)) { Ok(sizes) } else { Err(sys::NRT_INVALID) }
}
