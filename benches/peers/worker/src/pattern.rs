//! The numbers that everybody computes with: the same in every worker (`benches/peers/pattern.py` has the others'
//! half), exact in bf16, and with means that are not zero, so that results are far from it and can be compared.

use longhaul::cpu::Buffer;

/// Tokens after which keys and values repeat.
pub const KV_PERIOD: usize = 4096;

/// Activations `x[row, k]`.
pub fn activation(row: usize, k: usize) -> f32 {
    small(row * 131 + k * 31, 17, 4) / 8.0
}

/// Weights `w[n, k]`.
pub fn weight(n: usize, k: usize) -> f32 {
    small(n * 37 + k * 101, 19, 5) / 16.0
}

/// Queries `q[token, head, i]`.
pub fn query(token: usize, head: usize, i: usize) -> f32 {
    small(token * 7 + head * 13 + i * 31, 17, 4) / 8.0
}

/// Keys `k[token, head, i]`.
pub fn key(token: usize, head: usize, i: usize) -> f32 {
    small(token % KV_PERIOD * 37 + head * 11 + i * 101, 19, 9) / 16.0
}

/// Values `v[token, head, i]`.
pub fn value(token: usize, head: usize, i: usize) -> f32 {
    small(token % KV_PERIOD * 23 + head * 5 + i * 3, 13, 3) / 8.0
}

fn small(seed: usize, modulus: usize, offset: usize) -> f32 {
    (seed % modulus) as f32 - offset as f32
}

/// `[len]` in memory that begins at a cache line and asks for huge pages: element `i` is `element(i)`.
pub fn buffer(len: usize, element: impl Fn(usize) -> f32) -> Buffer<f32> {
    let mut buffer = Buffer::zeroed(len);
    buffer.iter_mut().enumerate().for_each(|(i, x)| *x = element(i));
    buffer
}

/// What is compared of a result `y[m, n]`: its first and last four numbers.
pub fn ends(y: &[f32]) -> Vec<f32> {
    [&y[..4], &y[y.len() - 4..]].concat()
}
