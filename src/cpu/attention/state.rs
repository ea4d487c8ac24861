//! The states of rows' attention over some keys, and how they merge.

use crate::cpu::isa::Isa;
use crate::cpu::math::exp2;
use crate::cpu::pointwise::load_padded;
use crate::cpu::product::SumLayout;

/// Attention of queries over some keys: `sum = Σ 2^(s_i - max)` and `values = Σ 2^(s_i - max) v_i`. No keys: `max` is
/// minus infinity.
pub struct State<'a> {
    /// `[rows]` largest score.
    pub max: &'a mut [f32],
    /// `[rows]` sum of the weights.
    pub sum: &'a mut [f32],
    /// `[rows][head_dim]` weighted values.
    pub values: &'a mut [f32],
}

impl State<'_> {
    /// No keys yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.values.fill(0.0);
    }

    /// Appends the states of the keys to the right of these, `[rows]` and values as `layout` says; an empty one changes
    /// nothing (FlashInfer, "Recursive attention"; Milakov and Gimelshein 2018).
    #[inline(always)]
    pub fn merge<I: Isa>(&mut self, isa: I, max: &[f32], sum: &[f32], values: &[f32], layout: SumLayout) {
        let head_dim = self.values.len() / self.max.len();
        for first in (0..self.max.len()).step_by(16) {
            let (old, new) = self.factors(isa, first, max, sum);
            for row in first..self.max.len().min(first + 16) {
                if sum[row] == 0.0 {
                    continue;
                }
                let (old, new) = (isa.splat(old[row - first]), isa.splat(new[row - first]));
                let state = self.values[row * head_dim..][..head_dim].as_chunks_mut::<16>().0;
                let values = &values[layout.index(row, 0)..];
                for (panel, a) in state.iter_mut().enumerate() {
                    let b = isa.load(values[layout.index(0, panel)..].first_chunk().unwrap());
                    isa.store(isa.mul_add(b, new, isa.mul(isa.load(a), old)), a);
                }
            }
        }
    }

    /// Merges maxima and sums of sixteen rows; answers what their old values and the new ones are to be multiplied
    /// with.
    #[inline(always)]
    fn factors<I: Isa>(&mut self, isa: I, first: usize, max: &[f32], sum: &[f32]) -> ([f32; 16], [f32; 16]) {
        let (m0, m1) = (load_padded(isa, self.max, first), load_padded(isa, max, first));
        let larger = isa.max(m0, m1);
        let (a, b) = (exp2(isa, isa.sub(m0, larger)), exp2(isa, isa.sub(m1, larger)));
        let scaled = isa.mul(load_padded(isa, self.sum, first), a);
        let merged = isa.add(scaled, isa.mul(load_padded(isa, sum, first), b));
        let mut lanes = [[0.0; 16]; 4];
        for (x, lanes) in [larger, merged, a, b].into_iter().zip(&mut lanes) {
            isa.store(x, lanes);
        }
        let [larger, merged, a, b] = lanes;
        for (i, row) in (first..self.max.len().min(first + 16)).enumerate() {
            if sum[row] != 0.0 {
                (self.max[row], self.sum[row]) = (larger[i], merged[i]);
            }
        }
        (a, b)
    }
}
