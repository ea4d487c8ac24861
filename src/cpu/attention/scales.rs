//! What the codes of a chunk's keys and values stand for.

use std::ops::Range;

use crate::cpu::isa::Isa;
use crate::cpu::pages::Int8Head;
use crate::spec::contract::{CHUNK_LEN, PANEL_COLS};

/// Scales of one chunk's keys and values; anything for those that were not stored.
pub struct Scales {
    /// `[CHUNK_LEN]` what the product of a query with a key's codes is multiplied with: the key's scale times
    /// [`Geometry::exponent_factor`](super::scratch::Geometry::exponent_factor).
    factors: Vec<f32>,
    /// `[CHUNK_LEN]` scales of the values.
    values: Vec<f32>,
}

impl Scales {
    /// Room for a chunk.
    pub fn new() -> Self {
        Self { factors: vec![0.0; CHUNK_LEN], values: vec![0.0; CHUNK_LEN] }
    }

    /// Takes in those of the chunk's page; scores are multiplied with `scale`.
    #[inline(always)]
    pub fn take<I: Isa>(&mut self, isa: I, head: &Int8Head<'_>, scale: f32) {
        let factors = self.factors.as_chunks_mut::<PANEL_COLS>().0;
        for (factors, k_scales) in factors.iter_mut().zip(head.k_scales.as_chunks().0) {
            isa.store(isa.mul(isa.load(&numbers(k_scales)), isa.splat(scale)), factors);
        }
        let values = self.values.as_chunks_mut::<PANEL_COLS>().0;
        for (values, v_scales) in values.iter_mut().zip(head.v_scales.as_chunks().0) {
            *values = numbers(v_scales);
        }
    }

    /// What the products with the keys of a panel are multiplied with.
    #[inline(always)]
    pub fn factors(&self, panel: usize) -> &[f32; PANEL_COLS] {
        self.factors[panel * PANEL_COLS..].first_chunk().unwrap()
    }

    /// Sixteen weights of the keys from `first` on, times the scales of their values. Weights of keys that do not count
    /// stay zero, whatever their scales are.
    #[inline(always)]
    pub fn scaled_weights<I: Isa>(&self, isa: I, weights: I::V, first: usize, visible: &Range<usize>) -> I::V {
        let scales: &[f32; PANEL_COLS] = self.values[first..].first_chunk().unwrap();
        if visible.start <= first && first + PANEL_COLS <= visible.end {
            return isa.mul(weights, isa.load(scales));
        }
        let mut lanes = [0.0; PANEL_COLS];
        for (i, lane) in lanes.iter_mut().enumerate() {
            if visible.contains(&(first + i)) {
                *lane = scales[i];
            }
        }
        isa.mul(weights, isa.load(&lanes))
    }
}

/// Scales as they are stored.
#[inline(always)]
fn numbers(stored: &[[u8; 4]; PANEL_COLS]) -> [f32; PANEL_COLS] {
    stored.map(f32::from_le_bytes)
}
