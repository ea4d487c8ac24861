//! The number of threads must not matter.

use ndarray::Array2;

use crate::common::{backends, open};
use crate::contract::isolation::{SHAPE, plain};
use crate::contract::matmul::{DTYPES, multiply, pack, weights};
use crate::contract::sequence::{Sequence, Shape};
use crate::contract::{assert_same_bits, noise, stored};
use crate::table;

#[test]
fn it_changes_no_bit_of_attention() {
    // Decode at some length is where the chunks of one row are split over threads.
    let decode = Shape { n_tokens: 1, kv_len: 1_531, ..SHAPE };
    let backends = backends();
    for (backend, kv) in stored(&backends) {
        let table = table(backend);
        for (shape, window) in [(SHAPE, None), (decode, None), (decode, Some(700))] {
            let shape = Shape { kv, ..shape };
            let sequence = Sequence::new(backend, 2, shape, 0..);
            let on = |n_threads| plain(&*open(table, n_threads), &sequence, window);
            let one = on(1);
            for n_threads in [2, 3] {
                assert_same_bits(on(n_threads).view(), one.view(), &format!("{table} on {n_threads}, {shape:?}"));
            }
        }
    }
}

#[test]
fn it_changes_no_bit_of_a_product() {
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
