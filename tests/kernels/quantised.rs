//! Quantised weights: operands for which nothing is off, the largest that there are, and groups that are refused.

use longhaul::reference;
use longhaul::spec::WeightDtype;
use ndarray::{Array1, Array2, s};

use crate::common::backends;
use crate::contract::matmul::{multiply, pack};
use crate::contract::{F32_ROUNDING, assert_close, noise, to_f64};
use crate::table;

/// A row of multiples of a power of two that lies on the grid of its type: the ends of the grid stand in each group
/// of 32.
fn on_grid(k: usize, seed: u64, dtype: WeightDtype) -> Array1<f32> {
    let mut next = noise(seed);
    Array1::from_shape_fn(k, |i| match (dtype, i % 32) {
        (WeightDtype::Int4, 0) => -0.75,
        (WeightDtype::Int4, 1) => -0.75 + 15.0 / 8.0,
        (WeightDtype::Int4, _) => -0.75 + ((next() + 1.0) * 7.5).round() / 8.0,
        (_, 0) => -127.0 / 64.0,
        (_, _) => (next() * 127.0).round() / 64.0,
    })
}

/// Sums of a group are whole numbers and scales powers of two, so nothing is rounded but the sum over groups: one
/// rounding for each.
#[test]
fn operands_on_the_grid_are_multiplied_without_error() {
    for dtype in [WeightDtype::INT8_CHANNEL, WeightDtype::INT8, WeightDtype::Int4] {
        for (k, n) in [(32, 16), (96, 50), (576, 200), (4096, 16)] {
            let rows = |n: usize, dtype| {
                let rows: Vec<f32> = (0..n as u64).flat_map(|seed| on_grid(k, seed + 5, dtype)).collect();
                Array2::from_shape_vec((n, k), rows).unwrap()
            };
            let (x, w) = (rows(19, WeightDtype::INT8), rows(n, dtype));
            let exact = reference::matmul(to_f64(&x).view(), to_f64(&w).view(), None);
            let size = reference::matmul(to_f64(&x.abs()).view(), to_f64(&w.abs()).view(), None);
            let n_groups = k.div_ceil(dtype.group_len(k).unwrap());
            let tolerance = size.mapv(|size| (2 * n_groups + 2) as f64 * F32_ROUNDING * size);
            for backend in backends() {
                let matrix = pack(&*backend, &w, dtype);
                assert_eq!((matrix.dtype(), matrix.n(), matrix.k()), (dtype, n, k));
                for m in [1, 19] {
                    let found = multiply(&*matrix, x.slice(s![..m, ..]));
                    let what = format!("{} {dtype} K {k} N {n} M {m}", table(&*backend));
                    assert_close(found.view(), exact.slice(s![..m, ..]), tolerance.slice(s![..m, ..]), &what);
                }
            }
        }
    }
}

/// The largest products that there are, all of one sign: what saturates or overflows shows.
#[test]
fn extreme_codes_neither_saturate_nor_overflow() {
    // As long as sums of groups are exact in f32.
    for (dtype, k) in [(WeightDtype::INT8_CHANNEL, 1 << 15), (WeightDtype::Int4, 1 << 12)] {
        for sign in [1.0, -1.0] {
            let x = Array2::from_elem((33, k), sign * 127.0);
            // 4 bits: codes 15 but for one 0 in each group.
            let w = Array2::from_shape_fn((18, k), |(n, k)| match dtype {
                WeightDtype::Int4 => {
                    if k % 32 == 0 {
                        0.0
                    } else {
                        15.0
                    }
                }
                _ => {
                    if n % 2 == 0 {
                        127.0
                    } else {
                        -127.0
                    }
                }
            });
            for backend in backends() {
                let matrix = pack(&*backend, &w, dtype);
                for m in [7, 33] {
                    for ((_, n), y) in multiply(&*matrix, x.slice(s![..m, ..])).indexed_iter() {
                        let exact: f64 = w.row(n).iter().map(|w| f64::from(w * sign * 127.0)).sum();
                        assert_eq!(f64::from(*y), exact, "{} {dtype} M {m} column {n}", table(&*backend));
                    }
                }
            }
        }
    }
}

#[test]
fn groups_that_no_kernel_takes_are_refused() {
    for backend in backends() {
        let bytes = vec![0; 3 * 64 * 4].into();
        let view = longhaul::spec::WeightView { name: "w", n: 3, k: 64, dtype: longhaul::dtype::Dtype::F32, bytes };
        for group_len in [0, 33, 48] {
            let error = backend.pack(&view, WeightDtype::Int8 { group_len: Some(group_len) }).err().unwrap();
            assert!(error.to_string().contains("multiple of 32"), "{error}");
        }
    }
}
