//! The state of one row's attention over some keys, and how two states merge.

use crate::cpu::isa::Isa;
use crate::cpu::math::exp;

/// Attention of one query over some keys: `sum = Σ exp(s_i - max)` and `values = Σ exp(s_i - max) v_i`. No keys: `max` is minus infinity.
pub struct State<'a> {
    /// Largest score.
    pub max: &'a mut f32,
    /// Sum of the weights.
    pub sum: &'a mut f32,
    /// `[head_dim]` weighted values.
    pub values: &'a mut [f32],
}

/// The state of one row over one chunk.
pub struct ChunkState<'a> {
    pub max: f32,
    pub sum: f32,
    pub values: &'a [f32],
}

impl State<'_> {
    /// No keys yet.
    #[inline(always)]
    pub fn clear(&mut self) {
        *self.max = f32::NEG_INFINITY;
        *self.sum = 0.0;
        self.values.fill(0.0);
    }

    /// Appends the state of the keys to the right of these; an empty one changes nothing (FlashInfer, "Recursive attention"; Milakov and Gimelshein 2018).
    #[inline(always)]
    pub fn merge<I: Isa>(&mut self, isa: I, max: f32, sum: f32, values: &[f32]) {
        if sum == 0.0 {
            return;
        }
        let mut shift = [f32::NEG_INFINITY; 16];
        let larger = if *self.max > max { *self.max } else { max };
        (shift[0], shift[1]) = (*self.max - larger, max - larger);
        let mut factors = [0.0; 16];
        isa.store(exp(isa, isa.load(&shift)), &mut factors);
        *self.max = larger;
        *self.sum = *self.sum * factors[0] + sum * factors[1];
        let (old, new) = (isa.splat(factors[0]), isa.splat(factors[1]));
        for (a, b) in self.values.as_chunks_mut::<16>().0.iter_mut().zip(values.as_chunks::<16>().0) {
            isa.store(isa.mul_add(isa.load(b), new, isa.mul(isa.load(a), old)), a);
        }
    }
}
