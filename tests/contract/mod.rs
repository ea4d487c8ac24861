//! What every backend's kernels must do: cases that take backends, for the CPU's tables (`tests/kernels`) and for
//! others. Each is held against the f64 reference as closely as its arithmetic promises; a table of the CPU besides has
//! the bits of its scalar emulation.

// Each crate of tests uses a part of this.
#![allow(dead_code)]

pub mod attention;
pub mod isolation;
pub mod matmul;
pub mod pages;
pub mod quantisation;
pub mod sequence;

use longhaul::backend::Backend;
use longhaul::emulation::Arithmetic;
use longhaul::spec::KvDtype;
use ndarray::{ArrayBase, ArrayView, Data, Dimension};

/// What a case is run on.
pub type Backends = [Box<dyn Backend>];

/// Calls a macro with the path of every case.
macro_rules! for_every_case {
    ($call:ident) => {
        $call! {
            attention::every_length_is_close_to_the_reference,
            attention::every_head_is_close_to_the_reference,
            isolation::the_place_of_a_page_changes_no_bit,
            isolation::neighbours_in_a_call_change_no_bit,
            isolation::a_row_alone_has_the_bits_that_it_has_in_a_chunk,
            isolation::what_lies_in_other_pages_and_later_slots_changes_no_bit,
            isolation::keys_before_the_window_and_after_the_query_change_no_bit,
            isolation::a_recycled_page_is_as_good_as_a_new_one,
            matmul::every_shape_is_close_to_the_reference,
            matmul::a_row_alone_has_the_bits_that_it_has_in_a_batch,
            matmul::a_row_with_nan_leaves_the_others_alone,
            matmul::arrays_in_any_layout_are_taken,
            matmul::shapes_that_disagree_are_an_error,
            pages::an_exported_page_is_in_the_canonical_layout,
            pages::an_imported_page_is_the_exported_one_everywhere,
            pages::every_bit_survives_the_way_out_and_back,
            pages::attention_over_copied_and_imported_pages_has_the_same_bits,
            pages::pages_and_lengths_that_do_not_exist_are_an_error,
        }
    };
}
pub(crate) use for_every_case;

/// The rounding error of f32: half a unit in the last place, relative.
pub const F32_ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// The rounding error of bf16.
pub const BF16_ROUNDING: f64 = 1.0 / 256.0;

/// A backend's name.
pub fn name(backend: &dyn Backend) -> &str {
    &backend.caps().name
}

/// How a table of the CPU computes, bit for bit; `None` for other backends.
pub fn arithmetic(backend: &dyn Backend) -> Option<Arithmetic> {
    Some(Arithmetic::of_table(name(backend).strip_prefix("cpu/")?).unwrap())
}

/// Every backend with every type that it stores keys and values as.
pub fn stored(backends: &Backends) -> impl Iterator<Item = (&dyn Backend, KvDtype)> {
    backends.iter().flat_map(|backend| backend.caps().kv_dtypes.iter().map(|kv| (&**backend, *kv)))
}

/// Whether attention takes heads of this size.
pub fn takes_heads_of(backend: &dyn Backend, head_dim: usize) -> bool {
    backend.caps().head_dims.is_none_or(|sizes| sizes.contains(&head_dim))
}

/// Relative errors of a backend's arithmetic.
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    /// Of an operation.
    pub rounding: f64,
    /// Of a product's left operand, and of an attention weight.
    pub lhs: f64,
    /// Of a result.
    pub out: f64,
}

/// What a backend with weights, keys and values of bf16 promises: the CPU rounds to f32, two of its tables left
/// operands to bf16; Trainium rounds left operands and results to bf16, and twice as much as f32 in between.
pub fn errors(backend: &dyn Backend) -> Errors {
    match arithmetic(backend) {
        Some(arithmetic) if arithmetic.rounds_left_operands() => {
            Errors { rounding: F32_ROUNDING, lhs: BF16_ROUNDING, out: 0.0 }
        }
        Some(_) => Errors { rounding: F32_ROUNDING, lhs: 0.0, out: 0.0 },
        None => Errors { rounding: 2.0 * F32_ROUNDING, lhs: BF16_ROUNDING, out: BF16_ROUNDING },
    }
}

/// Numbers between -1 and 1 with all digits of an f32 and no pattern, a few of them zero; different for every seed.
pub fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    move || {
        // SplitMix64 (Steele et al. 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if x.is_multiple_of(31) { 0.0 } else { (x >> 40) as f32 / (1 << 23) as f32 - 1.0 }
    }
}

pub fn to_f64<S: Data<Elem = f32>, D: Dimension>(x: &ArrayBase<S, D>) -> ndarray::Array<f64, D> {
    x.mapv(f64::from)
}

/// Fails unless every bit agrees.
#[track_caller]
pub fn assert_same_bits<D: Dimension>(found: ArrayView<'_, f32, D>, wanted: ArrayView<'_, f32, D>, what: &str) {
    assert_eq!(found.dim(), wanted.dim());
    let mut pairs = found.indexed_iter().zip(wanted.iter());
    if let Some(((at, f), w)) = pairs.find(|((_, f), w)| f.to_bits() != w.to_bits()) {
        panic!("{what}: element {at:?} is {f:e}, not {w:e}");
    }
}

/// [`assert_same_bits`], where a NaN is as good as another: which one comes of two is not IEEE 754's to say.
#[track_caller]
pub fn assert_same_or_nan<D: Dimension>(found: ArrayView<'_, f32, D>, wanted: ArrayView<'_, f32, D>, what: &str) {
    let one = |x: &f32| if x.is_nan() { f32::NAN } else { *x };
    assert_same_bits(found.map(one).view(), wanted.map(one).view(), what);
}

/// Fails unless every element is as close as `tolerance` says for it.
#[track_caller]
pub fn assert_close<F: Copy + Into<f64> + std::fmt::LowerExp, D: Dimension>(
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
