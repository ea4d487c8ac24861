//! Packed matrices.

use longhaul::dtype::Dtype;
use longhaul::reference;
use longhaul::spec::{WeightDtype, WeightView};
use ndarray::{Array2, ArrayView2, ShapeBuilder, s};

use super::quantisation::quantisation;
use super::{Backends, Errors, arithmetic, assert_close, assert_same_bits, errors, name, noise, to_f64};
use longhaul::backend::{Backend, PackedMatrix};

/// Rows: one, a few, about a block of every table (4, 6, 16), about two, and many blocks with a tail.
const M: [usize; 11] = [1, 2, 3, 5, 6, 7, 15, 16, 17, 33, 97];

/// Depths: one number, about a tile of 32, and a model's width.
pub const K: [usize; 5] = [1, 31, 32, 33, 576];

/// Outputs: one column, about a panel of 16, several panels, and a tail behind many.
pub const N: [usize; 6] = [1, 15, 16, 17, 48, 200];

/// Everything that weights run as; of groups one that divides the widths, one that does not, and one longer than most.
pub const DTYPES: [WeightDtype; 6] = [
    WeightDtype::Bf16,
    WeightDtype::F32,
    WeightDtype::INT8_CHANNEL,
    WeightDtype::Int8 { group_len: Some(32) },
    WeightDtype::Int8 { group_len: Some(128) },
    WeightDtype::Int4,
];

/// The backends that pack weights as `dtype`.
fn taking(backends: &Backends, dtype: WeightDtype) -> impl Iterator<Item = &dyn Backend> {
    // Groups of one length stand for those of any.
    let listed = if let WeightDtype::Int8 { .. } = dtype { WeightDtype::INT8 } else { dtype };
    backends.iter().map(|b| &**b).filter(move |b| b.caps().weight_dtypes.contains(&listed))
}

/// Weights `[n, k]`, rounded to bf16 where they run as that.
pub fn weights(n: usize, k: usize, dtype: WeightDtype) -> Array2<f32> {
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

/// Tolerance: a sum of K products, rounded in any order, is off by K roundings of the sum of their sizes; two more for
/// good measure. The table that rounds `x` adds that rounding of every product, a backend that rounds results that, and
/// quantised operands what [`quantisation`] computes.
pub fn every_shape_is_close_to_the_reference(backends: &Backends) {
    for dtype in DTYPES {
        for (k, n) in K.into_iter().flat_map(|k| N.map(|n| (k, n))) {
            let (w, x) = (weights(n, k, dtype), Array2::from_shape_simple_fn((97, k), noise(k as u64)));
            let exact = reference::matmul(to_f64(&x).view(), to_f64(&w).view(), None);
            let size = reference::matmul(to_f64(&x.abs()).view(), to_f64(&w.abs()).view(), None);
            for backend in taking(backends, dtype) {
                let what = format!("{} {dtype} K {k} N {n}", name(backend));
                let Errors { rounding, lhs, out } = errors(backend);
                let lhs = if dtype == WeightDtype::Bf16 { lhs } else { 0.0 };
                let mut tolerance =
                    size.mapv(|size| ((k + 2) as f64 * rounding + lhs) * size) + quantisation(&x, &w, dtype);
                tolerance.zip_mut_with(&exact, |t, y| *t += out * (*t + y.abs()));
                let emulated = arithmetic(backend).map(|a| a.matmul(x.view(), w.view(), dtype, None));
                let matrix = pack(backend, &w, dtype);
                for m in M {
                    let (found, rows) = (multiply(&*matrix, x.slice(s![..m, ..])), s![..m, ..]);
                    if let Some(emulated) = &emulated {
                        assert_same_bits(found.view(), emulated.slice(rows), &format!("{what} M {m}"));
                    }
                    assert_close(found.view(), exact.slice(rows), tolerance.slice(rows), &format!("{what} M {m}"));
                }
            }
        }
    }
}

pub fn a_row_alone_has_the_bits_that_it_has_in_a_batch(backends: &Backends) {
    for dtype in DTYPES {
        let (w, x) = (weights(48, 200, dtype), Array2::from_shape_simple_fn((40, 200), noise(1)));
        for backend in taking(backends, dtype) {
            let matrix = pack(backend, &w, dtype);
            let batch = multiply(&*matrix, x.view());
            for row in 0..40 {
                let alone = multiply(&*matrix, x.slice(s![row..row + 1, ..]));
                assert_same_bits(alone.view(), batch.slice(s![row..row + 1, ..]), name(backend));
            }
        }
    }
}

pub fn a_row_with_nan_leaves_the_others_alone(backends: &Backends) {
    for dtype in DTYPES {
        let (w, mut x) = (weights(17, 33, dtype), Array2::from_shape_simple_fn((9, 33), noise(3)));
        for backend in taking(backends, dtype) {
            let matrix = pack(backend, &w, dtype);
            let clean = multiply(&*matrix, x.view());
            x.row_mut(4).fill(f32::NAN);
            let found = multiply(&*matrix, x.view());
            assert!(found.row(4).iter().all(|y| y.is_nan()));
            for rows in [s![..4, ..], s![5.., ..]] {
                assert_same_bits(found.slice(rows), clean.slice(rows), name(backend));
            }
            x.row_mut(4).fill(0.5);
        }
    }
}

pub fn arrays_in_any_layout_are_taken(backends: &Backends) {
    let (w, x) = (weights(20, 40, WeightDtype::Bf16), Array2::from_shape_simple_fn((5, 40), noise(4)));
    for backend in taking(backends, WeightDtype::Bf16) {
        let matrix = pack(backend, &w, WeightDtype::Bf16);
        let plain = multiply(&*matrix, x.view());
        let mut columns_first = Array2::zeros((5, 40).f());
        columns_first.assign(&x);
        let mut out = Array2::from_elem((5, 20).f(), f32::NAN);
        matrix.matmul(columns_first.view(), out.view_mut()).unwrap();
        assert_same_bits(out.view(), plain.view(), name(backend));
    }
}

pub fn shapes_that_disagree_are_an_error(backends: &Backends) {
    for backend in taking(backends, WeightDtype::Bf16) {
        let matrix = pack(backend, &weights(3, 8, WeightDtype::Bf16), WeightDtype::Bf16);
        for (k, out) in [(7, (2, 3)), (8, (1, 3)), (8, (2, 4))] {
            let error = matrix.matmul(Array2::zeros((2, k)).view(), Array2::zeros(out).view_mut()).unwrap_err();
            assert!(error.to_string().contains("W[3, 8]"), "{error}");
        }
    }
}
