//! Products in the shapes that decide between vectors and tiles, and that fill tiles and blocks of K or do not: the
//! bits of the emulation on every table, whichever way a product goes.

use longhaul::spec::WeightDtype;
use ndarray::{Array2, s};

use crate::common::backends;
use crate::contract::matmul::{multiply, pack, weights};
use crate::contract::{arithmetic, assert_same_bits, noise};
use crate::table;

/// Rows: every rest of eight and of six, below, at and above a tile, two tiles and one more row, several tiles, and a
/// matmul's block of rows with a tail.
const M: [usize; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16, 17, 33, 48, 64, 97, 337];

/// Depth and outputs: many blocks of K with half a tile behind them and a tail within that; an odd number of panels;
/// one panel, and less; rows of whole pages of 4 KiB; more panels than a task takes.
const SHAPES: [(usize, usize); 6] = [(1_100, 40), (2_080, 48), (576, 144), (1_024, 5), (2_048, 32), (96, 1_040)];

/// Floats; and in integers groups of half a tile, one, one and a half, two, the longest that tiles take and one more,
/// and all of K.
fn dtypes() -> Vec<WeightDtype> {
    let groups = [32, 64, 96, 128, 512, 544].map(|len| WeightDtype::Int8 { group_len: Some(len) });
    let others = [WeightDtype::Bf16, WeightDtype::F32, WeightDtype::INT8_CHANNEL, WeightDtype::Int4];
    [groups.as_slice(), &others].concat()
}

#[test]
fn batches_of_every_size_have_the_bits_of_the_emulation() {
    for ((k, n), dtype) in SHAPES.into_iter().flat_map(|shape| dtypes().into_iter().map(move |dtype| (shape, dtype))) {
        let (w, x) = (weights(n, k, dtype), Array2::from_shape_simple_fn((M[M.len() - 1], k), noise(k as u64)));
        for backend in backends() {
            let emulated = arithmetic(&*backend).unwrap().matmul(x.view(), w.view(), dtype, None);
            let matrix = pack(&*backend, &w, dtype);
            for m in M {
                let found = multiply(&*matrix, x.slice(s![..m, ..]));
                let what = format!("{} {dtype} K {k} N {n} M {m}", table(&*backend));
                assert_same_bits(found.view(), emulated.slice(s![..m, ..]), &what);
            }
        }
    }
}

/// What is not finite stays in its row and its column, all of which become NaN where groups are quantised.
#[test]
fn numbers_that_are_not_finite_stay_where_they_are() {
    let (m, k, n) = (97, 1_100, 40);
    for dtype in dtypes().into_iter().filter(|dtype| dtype.float().is_none()) {
        let (mut w, mut x) = (weights(n, k, dtype), Array2::from_shape_simple_fn((m, k), noise(3)));
        (x[[20, 700]], x[[96, 1_099]], w[[17, 650]], w[[39, 0]]) = (0.5, 0.5, 0.5, 0.5);
        for backend in backends() {
            let clean = multiply(&*pack(&*backend, &w, dtype), x.view());
            (x[[20, 700]], x[[96, 1_099]], w[[17, 650]], w[[39, 0]]) =
                (f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN);
            let found = multiply(&*pack(&*backend, &w, dtype), x.view());
            for ((row, column), y) in found.indexed_iter() {
                let what = format!("{} {dtype} row {row} column {column}: {y}", table(&*backend));
                if [20, 96].contains(&row) || [17, 39].contains(&column) {
                    assert!(y.is_nan(), "{what}");
                } else {
                    assert_eq!(y.to_bits(), clean[[row, column]].to_bits(), "{what}");
                }
            }
            (x[[20, 700]], x[[96, 1_099]], w[[17, 650]], w[[39, 0]]) = (0.5, 0.5, 0.5, 0.5);
        }
    }
}

/// A matrix keeps its buffers between calls, and the order of codes changes with the number of rows: what one order
/// leaves is not read by the other.
#[test]
fn calls_of_different_sizes_leave_nothing_behind() {
    for dtype in dtypes() {
        let (w, x) = (weights(40, 1_100, dtype), Array2::from_shape_simple_fn((97, 1_100), noise(5)));
        for backend in backends() {
            let matrix = pack(&*backend, &w, dtype);
            let first = multiply(&*matrix, x.view());
            for m in [3, 97, 1, 33, 97] {
                let again = multiply(&*matrix, x.slice(s![..m, ..]));
                assert_same_bits(
                    again.view(),
                    first.slice(s![..m, ..]),
                    &format!("{} {dtype} M {m}", table(&*backend)),
                );
            }
        }
    }
}
