//! What happens to a row between two products: normalisation and rotation.

use super::disjoint::Disjoint;
use super::isa::{Isa, Kernel};
use super::lhs::LhsElement;

/// Sixteen elements from `first` on, filled up with zeros beyond the end of the row.
#[inline(always)]
pub fn load_padded<I: Isa>(isa: I, row: &[f32], first: usize) -> I::V {
    if let Some(whole) = row.get(first..first + 16) {
        return isa.load(whole.first_chunk().unwrap());
    }
    let mut lanes = [0.0; 16];
    let tail = row.get(first..).unwrap_or_default();
    lanes[..tail.len()].copy_from_slice(tail);
    isa.load(&lanes)
}

/// One row of a left operand that other threads fill too, in nobody else's hands.
pub struct LhsRow<'a, L> {
    lhs: &'a Disjoint<'a, L>,
    row: usize,
    /// Elements of a row, a multiple of 32.
    depth: usize,
}

impl<'a, L: LhsElement> LhsRow<'a, L> {
    /// Row `row` of `lhs`, whose rows are `depth` long, a multiple of 32.
    ///
    /// # Safety
    /// While the value lives, nobody else touches this row; whoever touches another one meanwhile takes rows to be as
    /// long.
    #[inline(always)]
    pub unsafe fn new(lhs: &'a Disjoint<'a, L>, row: usize, depth: usize) -> Self {
        Self { lhs, row, depth }
    }

    #[inline(always)]
    fn store_pair<I: Isa>(&mut self, isa: I, a: I::V, b: I::V, k: usize) {
        // SAFETY: elements of this row, which nobody else touches, says `LhsRow::new`; the result dies here.
        let out = unsafe { self.lhs.slice(L::index(self.row, k, self.depth), 32) };
        L::store_pair(isa, a, b, out.first_chunk_mut().unwrap());
    }
}

/// Copies a row into a left operand, padded with zeros.
#[inline(always)]
pub fn copy_row<I: Isa, L: LhsElement>(isa: I, x: &[f32], mut out: LhsRow<'_, L>) {
    for k in (0..out.depth).step_by(32) {
        out.store_pair(isa, load_padded(isa, x, k), load_padded(isa, x, k + 16), k);
    }
}

/// [`copy_row`] as a kernel.
pub struct CopyRow<'a, L> {
    /// `[k]`
    pub x: &'a [f32],
    /// Where it goes.
    pub out: LhsRow<'a, L>,
}

impl<I: Isa, L: LhsElement> Kernel<I> for CopyRow<'_, L> {
    #[inline(always)]
    fn run(self, isa: I) {
        copy_row(isa, self.x, self.out);
    }
}

/// RMSNorm of a row: `x / rms(x) * weight`, as a row of a left operand.
pub struct RmsNorm<'a, L> {
    /// `[k]`
    pub x: &'a [f32],
    /// `[k]`
    pub weight: &'a [f32],
    /// Added to the mean of the squares.
    pub eps: f32,
    /// Where it goes.
    pub out: LhsRow<'a, L>,
}

impl<I: Isa, L: LhsElement> Kernel<I> for RmsNorm<'_, L> {
    #[inline(always)]
    fn run(mut self, isa: I) {
        let factor = inverse_rms(isa, self.x, self.eps);
        for k in (0..self.out.depth).step_by(32) {
            self.out.store_pair(isa, self.normed(isa, factor, k), self.normed(isa, factor, k + 16), k);
        }
    }
}

impl<L> RmsNorm<'_, L> {
    /// Sixteen elements from `k` on.
    #[inline(always)]
    fn normed<I: Isa>(&self, isa: I, factor: I::V, k: usize) -> I::V {
        let (x, weight) = (load_padded(isa, self.x, k), load_padded(isa, self.weight, k));
        isa.mul(isa.mul(x, factor), weight)
    }
}

/// `1 / sqrt(mean(x^2) + eps)`, the factor of RMSNorm (Zhang and Sennrich 2019). The sum is taken in sixteen lanes.
#[inline(always)]
fn inverse_rms<I: Isa>(isa: I, x: &[f32], eps: f32) -> I::V {
    let mut squares = isa.splat(0.0);
    for k in (0..x.len()).step_by(16) {
        let x = load_padded(isa, x, k);
        squares = isa.mul_add(x, x, squares);
    }
    isa.splat(1.0 / (isa.reduce_add(squares) / x.len() as f32 + eps).sqrt())
}

/// The heads of a row of q or k, in place: RMSNorm where the model has it, then RoPE (Su et al. 2021, in Hugging Face's
/// form: element `i` pairs with `i + head_dim / 2`).
pub struct RotateHeads<'a> {
    /// `[n_heads * head_dim]`
    pub x: &'a mut [f32],
    /// `[head_dim]` weight and epsilon of the norm.
    pub norm: Option<(&'a [f32], f32)>,
    /// `[head_dim / 2]` cosine of each pair's angle.
    pub cos: &'a [f32],
    /// `[head_dim / 2]` sine.
    pub sin: &'a [f32],
}

impl<I: Isa> Kernel<I> for RotateHeads<'_> {
    #[inline(always)]
    fn run(self, isa: I) {
        let half = self.cos.len();
        for head in self.x.chunks_exact_mut(2 * half) {
            if let Some((weight, eps)) = self.norm {
                let factor = inverse_rms(isa, head, eps);
                for (x, w) in head.as_chunks_mut::<16>().0.iter_mut().zip(weight.as_chunks::<16>().0) {
                    isa.store(isa.mul(isa.mul(isa.load(x), factor), isa.load(w)), x);
                }
            }
            rotate(isa, head, self.cos, self.sin);
        }
    }
}

/// `a' = a cos - b sin`, `b' = b cos + a sin`, never fused; `b` lies half a head behind `a`.
#[inline(always)]
fn rotate<I: Isa>(isa: I, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    let (low, low_tail) = low.as_chunks_mut::<16>();
    let (high, high_tail) = high.as_chunks_mut::<16>();
    let ((cos, cos_tail), (sin, sin_tail)) = (cos.as_chunks::<16>(), sin.as_chunks::<16>());
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (a, b, cos, sin) = (isa.load(low), isa.load(high), isa.load(cos), isa.load(sin));
        isa.store(isa.sub(isa.mul(a, cos), isa.mul(b, sin)), low);
        isa.store(isa.add(isa.mul(b, cos), isa.mul(a, sin)), high);
    }
    // Half a head is a multiple of eight.
    for (((a, b), cos), sin) in low_tail.iter_mut().zip(high_tail).zip(cos_tail).zip(sin_tail) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}
