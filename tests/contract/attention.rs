//! Attention over pages, one sequence at a time.

use longhaul::reference;
use longhaul::spec::KvDtype;
use longhaul::spec::contract::CHUNK_LEN;
use ndarray::{Array3, s};

use super::sequence::{self, Sequence, Shape, attend};
use super::{
    Backends, Errors, arithmetic, assert_close, assert_same_bits, errors, name, stored, takes_heads_of, to_f64,
};
use longhaul::backend::Backend;

/// Relative error of `exp2` (see `emulation`).
const EXP_ERROR: f64 = 2e-7;

/// Context lengths: one key, about two tiles of keys, about a chunk, which is a page on the CPU, and several chunks
/// with a tail.
const KV_LEN: [usize; 8] = [1, 63, 64, 65, 255, 256, 257, 700];

/// Windows: none, the own key alone, less than a chunk, more than one.
const WINDOWS: [Option<usize>; 4] = [None, Some(1), Some(100), Some(300)];

pub fn every_length_is_close_to_the_reference(backends: &Backends) {
    for kv_len in KV_LEN {
        // A decode row, two rows, a chunk of a prompt that is more than one block of rows.
        for n_tokens in [1, 2, 33].into_iter().filter(|n| *n <= kv_len) {
            let shape = Shape { n_kv_heads: 1, group: 3, head_dim: 64, n_tokens, kv_len, kv: KvDtype::Bf16 };
            check(backends, shape, &WINDOWS);
        }
    }
}

pub fn every_head_is_close_to_the_reference(backends: &Backends) {
    for group in [1, 3, 4, 8] {
        for head_dim in [16, 32, 64, 128, 256] {
            // The few rows of decode go their own way on some tables.
            for n_tokens in [1, 7] {
                let shape = Shape { n_kv_heads: 2, group, head_dim, n_tokens, kv_len: 300, kv: KvDtype::Bf16 };
                check(backends, shape, &[None, Some(40)]);
            }
        }
    }
}

fn check(backends: &Backends, shape: Shape, windows: &[Option<usize>]) {
    for (backend, kv) in stored(backends).filter(|(b, _)| takes_heads_of(*b, shape.head_dim)) {
        let shape = Shape { kv, ..shape };
        let sequence = Sequence::new(backend, shape.kv_len as u64, shape, (0..11).rev());
        let mut kv = shape.pages(backend, 11);
        sequence.store(&mut *kv);
        for window in windows {
            let what = format!("{} {shape:?} window {window:?}", name(backend));
            let found = &attend(&mut *kv, &[&sequence], *window)[0];
            if let Some(arithmetic) = arithmetic(backend) {
                assert_same_bits(found.view(), sequence.emulated(arithmetic, *window).view(), &what);
            }
            let (wanted, tolerance) = exact(&sequence, backend, *window);
            assert_close(found.view(), wanted.view(), tolerance.view(), &what);
        }
    }
}

/// What the reference gives, and how far from it a backend may be.
pub fn exact(sequence: &Sequence, backend: &dyn Backend, window: Option<usize>) -> (Array3<f64>, Array3<f64>) {
    // Once in its chunk and once in every merge.
    let exp = (sequence.shape.kv_len.div_ceil(CHUNK_LEN) + 1) as f64 * EXP_ERROR;
    within(sequence, window, errors(backend), exp)
}

/// What the reference gives, and how far from it an arithmetic with these errors, and `exp` of a weight's exponential,
/// may be.
///
/// A score is a product of head_dim terms, with a few more roundings, off by at most `score_error`; so each weight
/// `e^score` is off by that, relative, and by what `exp` is. Both sums have kv_len terms. The numerator and the
/// denominator may err in opposite directions, hence twice; an arithmetic that rounds left operands adds that for the
/// weights, and one that rounds results for these.
pub fn within(sequence: &Sequence, window: Option<usize>, errors: Errors, exp: f64) -> (Array3<f64>, Array3<f64>) {
    let Shape { group, head_dim, kv_len, .. } = sequence.shape;
    let as_stored = |x| sequence::stored(x, sequence.shape.kv);
    let (q, k, v) = (to_f64(&sequence.q), as_stored(&sequence.k), as_stored(&sequence.v));
    let scale = f64::from(sequence.shape.scale());
    let attention = |v: &Array3<f64>| {
        let (q, k, v) = (q.view(), k.view(), v.view());
        reference::attention(&reference::Attention { q, k, v, start: sequence.start(), scale, window })
    };
    let Errors { rounding, lhs, out } = errors;
    // Scales of codes come in later: into the factor on a score, and into a weight.
    let n_scalings = usize::from(sequence.shape.kv == KvDtype::Int8);
    let mut tolerance = attention(&v.abs());
    for (t, h) in (0..q.dim().0).flat_map(|t| (0..q.dim().1).map(move |h| (t, h))) {
        let q = q.slice(s![t, h, ..]).abs();
        let score_size = |j| scale * q.dot(&k.slice(s![j, h / group, ..]).abs());
        let largest = (0..kv_len).map(score_size).fold(0.0, f64::max);
        let score_error = ((head_dim + 4 + n_scalings) as f64 * rounding + lhs) * largest;
        let sum_error = (kv_len + 40 + n_scalings) as f64 * rounding;
        let error = 2.0 * (score_error + exp + sum_error) + lhs;
        tolerance.slice_mut(s![t, h, ..]).mapv_inplace(|size| error.exp_m1() * size);
    }
    let wanted = attention(&v);
    tolerance.zip_mut_with(&wanted, |t, w| *t += out * (*t + w.abs()));
    (wanted, tolerance)
}
