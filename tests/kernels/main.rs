//! The public kernels, `PackedMatrix` and `KvPages`, on every kernel table that this machine has: equal to the scalar emulation of the table bit
//! for bit, and as close to the f64 reference as its arithmetic promises.

#[path = "../common/mod.rs"]
mod common;

mod attention;
mod isolation;
mod matmul;
mod nki;
mod pages;
mod quantised;
mod sequence;

use longhaul::backend::Backend;
use longhaul::emulation::Arithmetic;
use ndarray::{ArrayBase, ArrayView, Data, Dimension};

/// The rounding error of f32: half a unit in the last place, relative.
const F32_ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// The rounding error of bf16.
const BF16_ROUNDING: f64 = 1.0 / 256.0;

/// A table's name without the backend's.
fn table(backend: &dyn Backend) -> &str {
    backend.caps().name.strip_prefix("cpu/").unwrap()
}

/// How a table computes.
fn arithmetic(backend: &dyn Backend) -> Arithmetic {
    Arithmetic::of_table(table(backend)).unwrap()
}

/// What rounding the left operand of a product with bf16 costs on a table, relative.
fn lhs_rounding(arithmetic: Arithmetic) -> f64 {
    if arithmetic == Arithmetic::Amx { BF16_ROUNDING } else { 0.0 }
}

/// Numbers between -1 and 1 with all digits of an f32 and no pattern, a few of them zero; different for every seed.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move || {
        // SplitMix64 (Steele et al. 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if x.is_multiple_of(31) { 0.0 } else { (x >> 40) as f32 / (1 << 23) as f32 - 1.0 }
    }
}

fn to_f64<S: Data<Elem = f32>, D: Dimension>(x: &ArrayBase<S, D>) -> ndarray::Array<f64, D> {
    x.mapv(f64::from)
}

/// Fails unless every bit agrees.
#[track_caller]
fn assert_same_bits<D: Dimension>(found: ArrayView<'_, f32, D>, wanted: ArrayView<'_, f32, D>, what: &str) {
    assert_eq!(found.dim(), wanted.dim());
    let mut pairs = found.indexed_iter().zip(wanted.iter());
    if let Some(((at, f), w)) = pairs.find(|((_, f), w)| f.to_bits() != w.to_bits()) {
        panic!("{what}: element {at:?} is {f:e}, not {w:e}");
    }
}

/// Fails unless every element is as close as `tolerance` says for it.
#[track_caller]
fn assert_close<F: Copy + Into<f64> + std::fmt::LowerExp, D: Dimension>(
    found: ArrayView<'_, F, D>,
    wanted: ArrayView<'_, f64, D>,
    tolerance: ArrayView<'_, f64, D>,
    what: &str,
) {
    for (((at, f), w), t) in found.indexed_iter().zip(wanted.iter()).zip(tolerance.iter()) {
        // A NaN is within no distance.
        let within = ((*f).into() - w).abs() <= *t;
        assert!(within, "{what}: element {at:?} is {f:e}, which is farther than {t:e} from {w:e}");
    }
}
