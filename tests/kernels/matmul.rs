//! Packed matrices.

use longhaul::dtype::Dtype;
use longhaul::reference;
use longhaul::spec::{WeightDtype, WeightView};
use ndarray::{Array2, ArrayView2, ShapeBuilder, s};

use crate::common::{backends, open};
use crate::quantised::quantisation;
use crate::{F32_ROUNDING, arithmetic, assert_close, assert_same_bits, lhs_rounding, noise, table, to_f64};
use longhaul::backend::{Backend, PackedMatrix};

/// Rows: one, a few, about a block of every table (4, 6, 16), about two, and many blocks with a tail.
const M: [usize; 11] = [1, 2, 3, 5, 6, 7, 15, 16, 17, 33, 97];

/// Depths: one number, about a tile of 32, and a model's width.
const K: [usize; 5] = [1, 31, 32, 33, 576];

/// Outputs: one column, about a panel of 16, several panels, and a tail behind many.
const N: [usize; 6] = [1, 15, 16, 17, 48, 200];

/// Everything that weights run as; of groups one that divides the widths, one that does not, and one longer than most.
const DTYPES: [WeightDtype; 6] = [
    WeightDtype::Bf16,
    WeightDtype::F32,
    WeightDtype::INT8_CHANNEL,
    WeightDtype::Int8 { group_len: Some(32) },
    WeightDtype::Int8 { group_len: Some(128) },
    WeightDtype::Int4,
];

/// Weights `[n, k]`, rounded to bf16 where they run as that.
fn weights(n: usize, k: usize, dtype: WeightDtype) -> Array2<f32> {
    let w = Array2::from_shape_simple_fn((n, k), noise((n * 1000 + k) as u64));
    if dtype == WeightDtype::Bf16 { w.mapv(|x| half::bf16::from_f32(x).to_f32()) } else { w }
}

pub fn pack(backend: &dyn Backend, w: &Array2<f32>, dtype: WeightDtype) -> Box<dyn PackedMatrix> {
    let bytes: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
    let view = WeightView { name: "w", n: w.nrows(), k: w.ncols(), dtype: Dtype::F32, bytes: bytes.into() };
    backend.pack(&view, dtype).unwrap()
}

pub fn multiply(matrix: &dyn PackedMatrix, x: ArrayView2<'_, f32>) -> Array2<f32> {
    // NaN, so that an element that nobody writes is found.
    let mut out = Array2::from_elem((x.nrows(), matrix.n()), f32::NAN);
    matrix.matmul(x, out.view_mut()).unwrap();
    out
}

/// Tolerance: a sum of K products, rounded in any order, is off by K roundings of the sum of their sizes; two more for good measure. The table
/// that rounds `x` adds that rounding of every product, and quantised operands what [`quantisation`] computes.
#[test]
fn every_shape_has_the_bits_of_the_emulation_and_is_close_to_the_reference() {
    for dtype in DTYPES {
        for (k, n) in K.into_iter().flat_map(|k| N.map(|n| (k, n))) {
            let (w, x) = (weights(n, k, dtype), Array2::from_shape_simple_fn((97, k), noise(k as u64)));
            let exact = reference::matmul(to_f64(&x).view(), to_f64(&w).view(), None);
            let size = reference::matmul(to_f64(&x.abs()).view(), to_f64(&w.abs()).view(), None);
            for backend in backends() {
                let arithmetic = arithmetic(&*backend);
                let what = format!("{} {dtype} K {k} N {n}", table(&*backend));
                let emulated = arithmetic.matmul(x.view(), w.view(), dtype, None);
                let matrix = pack(&*backend, &w, dtype);
                for m in M {
                    let found = multiply(&*matrix, x.slice(s![..m, ..]));
                    assert_same_bits(found.view(), emulated.slice(s![..m, ..]), &format!("{what} M {m}"));
                }
                let lhs = if dtype == WeightDtype::Bf16 { lhs_rounding(arithmetic) } else { 0.0 };
                let tolerance =
                    size.mapv(|size| ((k + 2) as f64 * F32_ROUNDING + lhs) * size) + quantisation(&x, &w, dtype);
                assert_close(emulated.view(), exact.view(), tolerance.view(), &what);
            }
        }
    }
}

#[test]
fn a_row_alone_has_the_bits_that_it_has_in_a_batch() {
    for dtype in DTYPES {
        let (w, x) = (weights(48, 200, dtype), Array2::from_shape_simple_fn((40, 200), noise(1)));
        for backend in backends() {
            let matrix = pack(&*backend, &w, dtype);
            let batch = multiply(&*matrix, x.view());
            for row in 0..40 {
                let alone = multiply(&*matrix, x.slice(s![row..row + 1, ..]));
                assert_same_bits(alone.view(), batch.slice(s![row..row + 1, ..]), table(&*backend));
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for dtype in DTYPES {
        let (w, x) = (weights(1000, 96, dtype), Array2::from_shape_simple_fn((70, 96), noise(2)));
        for backend in backends() {
            let table = table(&*backend);
            let on = |n_threads| multiply(&*pack(&*open(table, n_threads), &w, dtype), x.view());
            let one = on(1);
            for n_threads in [2, 3] {
                assert_same_bits(on(n_threads).view(), one.view(), &format!("{table} on {n_threads} threads"));
            }
        }
    }
}

#[test]
fn a_row_with_nan_leaves_the_others_alone() {
    for dtype in DTYPES {
        let (w, mut x) = (weights(17, 33, dtype), Array2::from_shape_simple_fn((9, 33), noise(3)));
        for backend in backends() {
            let matrix = pack(&*backend, &w, dtype);
            let clean = multiply(&*matrix, x.view());
            x.row_mut(4).fill(f32::NAN);
            let found = multiply(&*matrix, x.view());
            assert!(found.row(4).iter().all(|y| y.is_nan()));
            for rows in [s![..4, ..], s![5.., ..]] {
                assert_same_bits(found.slice(rows), clean.slice(rows), table(&*backend));
            }
            x.row_mut(4).fill(0.5);
        }
    }
}

#[test]
fn arrays_in_any_layout_are_taken() {
    let (w, x) = (weights(20, 40, WeightDtype::Bf16), Array2::from_shape_simple_fn((5, 40), noise(4)));
    for backend in backends() {
        let matrix = pack(&*backend, &w, WeightDtype::Bf16);
        let plain = multiply(&*matrix, x.view());
        let mut columns_first = Array2::zeros((5, 40).f());
        columns_first.assign(&x);
        let mut out = Array2::from_elem((5, 20).f(), f32::NAN);
        matrix.matmul(columns_first.view(), out.view_mut()).unwrap();
        assert_same_bits(out.view(), plain.view(), table(&*backend));
    }
}

#[test]
fn shapes_that_disagree_are_an_error() {
    for backend in backends() {
        let matrix = pack(&*backend, &weights(3, 8, WeightDtype::F32), WeightDtype::F32);
        for (k, out) in [(7, (2, 3)), (8, (1, 3)), (8, (2, 4))] {
            let error = matrix.matmul(Array2::zeros((2, k)).view(), Array2::zeros(out).view_mut()).unwrap_err();
            assert!(error.to_string().contains("W[3, 8]"), "{error}");
        }
    }
}
