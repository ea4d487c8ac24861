//! What happens to a row between two products: normalisation and rotation.

use super::isa::{Isa, LhsElement, reduce_add};

/// A row as vectors of sixteen, the last filled up with zeros.
#[inline(always)]
fn vectors<I: Isa>(isa: I, row: &[f32]) -> impl Iterator<Item = I::V> {
    let (whole, tail) = row.as_chunks::<16>();
    let mut last = [0.0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let last = (!tail.is_empty()).then(|| isa.load(&last));
    whole.iter().map(move |x| isa.load(x)).chain(last)
}

/// Writes a row as row `row` of a left operand whose rows are `depth` long, padded with zeros.
#[inline(always)]
pub fn store_lhs<I: Isa, L: LhsElement>(isa: I, x: impl Iterator<Item = I::V>, out: LhsRow<'_, L>) {
    let mut k = 0;
    for x in x {
        out.store(isa, x, k);
        k += 16;
    }
    while k < out.depth {
        out.store(isa, isa.splat(0.0), k);
        k += 16;
    }
}

/// One row of a left operand that other threads fill too.
#[derive(Clone, Copy)]
pub struct LhsRow<'a, L> {
    /// The left operand.
    pub lhs: &'a super::disjoint::Disjoint<'a, L>,
    /// The row; whoever makes this value is the only one to write it.
    pub row: usize,
    /// Elements of a row.
    pub depth: usize,
}

impl<L: LhsElement> LhsRow<'_, L> {
    #[inline(always)]
    fn store<I: Isa>(&self, isa: I, x: I::V, k: usize) {
        // SAFETY: a row has one writer, says its field.
        let out = unsafe { self.lhs.slice(L::index(self.row, k, self.depth), 16) };
        L::store(isa, x, out.first_chunk_mut().unwrap());
    }
}

/// Copies a row into a left operand.
#[inline(always)]
pub fn copy_row<I: Isa, L: LhsElement>(isa: I, x: &[f32], out: LhsRow<'_, L>) {
    store_lhs(isa, vectors(isa, x), out);
}

/// `1 / sqrt(mean(x^2) + eps)`, the factor of RMSNorm (Zhang and Sennrich 2019). The sum is taken in sixteen lanes.
#[inline(always)]
fn inverse_rms<I: Isa>(isa: I, x: &[f32], eps: f32) -> I::V {
    let squares = vectors(isa, x).fold(isa.splat(0.0), |sum, x| isa.mul_add(x, x, sum));
    isa.splat(1.0 / (reduce_add(isa, squares) / x.len() as f32 + eps).sqrt())
}

/// `x / rms(x) * weight` as a row of a left operand.
#[inline(always)]
pub fn rms_norm<I: Isa, L: LhsElement>(isa: I, x: &[f32], weight: &[f32], eps: f32, out: LhsRow<'_, L>) {
    let factor = inverse_rms(isa, x, eps);
    let y = vectors(isa, x).zip(vectors(isa, weight)).map(|(x, w)| isa.mul(isa.mul(x, factor), w));
    store_lhs(isa, y, out);
}

/// `x / rms(x) * weight` in place, for one head of q or k: its length is a multiple of sixteen.
#[inline(always)]
pub fn rms_norm_head<I: Isa>(isa: I, x: &mut [f32], weight: &[f32], eps: f32) {
    let factor = inverse_rms(isa, x, eps);
    for (x, w) in x.as_chunks_mut::<16>().0.iter_mut().zip(weight.as_chunks::<16>().0) {
        isa.store(isa.mul(isa.mul(isa.load(x), factor), isa.load(w)), x);
    }
}

/// Rotates one head in place (Su et al. 2021, in Hugging Face's form): element `i` pairs with `i + head_dim / 2`; `cos` and `sin` are
/// `[head_dim / 2]`.
#[inline(always)]
pub fn rope_head(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = x.split_at_mut(cos.len());
    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}
