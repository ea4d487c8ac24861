//! Keys and values that are stored as codes: a chunk of them as bf16, and what the codes stand for.
//!
//! Codes are exact in bf16, so they meet the same products as keys and values of bf16, and the scales come afterwards: those of keys into the
//! scores, those of values into the weights. A block widens each chunk once, for all of its strips.

use std::ops::Range;

use super::block::Block;
use super::chunk::CHUNK_PAGES;
use super::scratch::{AttentionScratch, Geometry, strip_layout};
use crate::cpu::buffer::Buffer;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::pages::{Head, Int8Head};
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, PANEL_COLS, TILE_DEPTH};

/// A head's keys and values of one chunk; of the pages that the block sees.
pub struct Widened {
    /// `[CHUNK_PAGES][key panels, value panels]` the codes as bf16, in the order of a page of bf16.
    panels: Buffer<u16>,
    /// Elements of a page's key panels, and of both.
    k_len: usize,
    page_len: usize,
    /// `[CHUNK_LEN]` what the product of a query with a key's codes is multiplied with: the key's scale times the factor on scores. Anything for
    /// keys that were not stored.
    factors: Vec<f32>,
    /// `[CHUNK_LEN]` scales of the values; anything, as above.
    scales: Vec<f32>,
}

impl Widened {
    /// Room for a chunk, which takes no memory before it is used.
    pub fn new(geometry: &Geometry) -> Self {
        let k_len = PAGE_LEN * geometry.head_dim.next_multiple_of(TILE_DEPTH);
        let page_len = k_len + PAGE_LEN * geometry.head_dim;
        Self {
            panels: Buffer::zeroed(CHUNK_PAGES * page_len),
            k_len,
            page_len,
            factors: vec![0.0; CHUNK_LEN],
            scales: vec![0.0; CHUNK_LEN],
        }
    }

    /// Key panels and value panels of a page of the chunk.
    #[inline(always)]
    pub fn page(&self, page_in_chunk: usize) -> (&[u16], &[u16]) {
        self.panels[page_in_chunk * self.page_len..][..self.page_len].split_at(self.k_len)
    }

    /// Takes in a page of the chunk; scores are multiplied with `scale`.
    #[inline(always)]
    fn fill<I: Isa>(&mut self, isa: I, page_in_chunk: usize, head: &Int8Head<'_>, scale: f32) {
        let panels = &mut self.panels[page_in_chunk * self.page_len..][..self.page_len];
        for (codes, out) in head.codes.as_chunks::<32>().0.iter().zip(panels.as_chunks_mut::<32>().0) {
            isa.widen_codes(codes, out);
        }
        let slots = page_in_chunk * PAGE_LEN..(page_in_chunk + 1) * PAGE_LEN;
        for (factor, k_scale) in self.factors[slots.clone()].iter_mut().zip(head.k_scales) {
            *factor = f32::from_le_bytes(*k_scale) * scale;
        }
        for (scale, v_scale) in self.scales[slots].iter_mut().zip(head.v_scales) {
            *scale = f32::from_le_bytes(*v_scale);
        }
    }

    /// Sixteen weights of the keys from `first` on, times the scales of their values. Weights of keys that do not count stay zero, whatever their
    /// scales are.
    #[inline(always)]
    pub fn scaled_weights<I: Isa>(&self, isa: I, weights: I::V, first: usize, visible: &Range<usize>) -> I::V {
        let scales: &[f32; PANEL_COLS] = self.scales[first..].first_chunk().unwrap();
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

impl<L: LhsElement, O: LhsElement> Block<'_, '_, L, O> {
    /// Widens what the block sees of a chunk, in whole pages, if it is stored as codes.
    #[inline(always)]
    pub(super) fn widen<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize) {
        if !self.args.layer.is_int8() {
            return;
        }
        let seen = self.visible(chunk, 0).start..self.visible(chunk, self.n_rows() - 1).end;
        for span in self.page_spans(chunk, &seen) {
            if let Head::Int8(head) = self.args.layer.head(span.page, self.task.kv_head as usize) {
                self.scratch.widened.fill(isa, span.first / PAGE_LEN, &head, self.args.geometry.scale);
            }
        }
    }

    /// Multiplies the products of row `row` of a strip with what the codes of the keys in `tiles` stand for.
    #[inline(always)]
    pub(super) fn scale_scores<I: Isa<Lhs = L>>(&mut self, isa: I, tiles: &Range<usize>, row: usize) {
        let layout = strip_layout::<I>(CHUNK_LEN / PANEL_COLS);
        let AttentionScratch { scores, widened, .. } = &mut *self.scratch;
        for panel in tiles.start / PANEL_COLS..tiles.end / PANEL_COLS {
            let scores = scores[layout.index(row, panel)..].first_chunk_mut().unwrap();
            let factors = widened.factors[panel * PANEL_COLS..].first_chunk().unwrap();
            isa.store(isa.mul(isa.load(scores), isa.load(factors)), scores);
        }
    }
}
