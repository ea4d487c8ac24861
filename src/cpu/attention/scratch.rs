//! The shape of attention, and a thread's memory for it.

use super::state::{ChunkState, State};
use crate::cpu::isa::{Isa, LhsElement};
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, TILE_DEPTH};

/// Heads, and how scores are made of them.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Query heads to a KV head.
    pub group: usize,
    /// Elements of a head; a multiple of 16.
    pub head_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Keys that a query sees at most.
    pub window: Option<usize>,
}

impl Geometry {
    /// First key that a query at `position` sees.
    #[inline(always)]
    pub fn first_visible(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }
}

/// A thread's memory for one block of up to `rows` rows.
pub struct AttentionScratch<L> {
    /// `[rows][k_depth]` queries.
    pub(super) q: Vec<L>,
    /// `[rows][CHUNK_LEN]` scores.
    pub(super) scores: Vec<f32>,
    /// `[rows][CHUNK_LEN]` weights.
    pub(super) probs: Vec<L>,
    /// `[rows]` maximum and sum of the chunk.
    pub(super) chunk_max: Vec<f32>,
    pub(super) chunk_sum: Vec<f32>,
    /// `[rows][head_dim]` weighted values of the chunk.
    pub(super) chunk_values: Vec<f32>,
    /// `[rows]`, `[rows]`, `[rows][head_dim]` state of all chunks so far.
    max: Vec<f32>,
    sum: Vec<f32>,
    values: Vec<f32>,
    /// `[head_dim][PAGE_LEN]` and `[rows][head_dim]` for pages that hold numbers which are not finite.
    pub(super) clean_values: Vec<u16>,
    pub(super) isolated: Vec<f32>,
}

impl<L: LhsElement> AttentionScratch<L> {
    /// Memory for blocks of `rows` rows at most.
    pub fn new(geometry: &Geometry, rows: usize) -> Self {
        let head_dim = geometry.head_dim;
        let lhs = |depth: usize| vec![L::default(); L::buffer_len(rows, depth)];
        let zeros = |n: usize| vec![0.0; n];
        Self {
            q: lhs(head_dim.next_multiple_of(TILE_DEPTH)),
            scores: zeros(rows * CHUNK_LEN),
            probs: lhs(CHUNK_LEN),
            chunk_max: zeros(rows),
            chunk_sum: zeros(rows),
            chunk_values: zeros(rows * head_dim),
            max: zeros(rows),
            sum: zeros(rows),
            values: zeros(rows * head_dim),
            clean_values: vec![0; head_dim * PAGE_LEN],
            isolated: zeros(rows * head_dim),
        }
    }

    /// The state of a row.
    pub(super) fn state(&mut self, row: usize, head_dim: usize) -> State<'_> {
        State {
            max: &mut self.max[row],
            sum: &mut self.sum[row],
            values: &mut self.values[row * head_dim..(row + 1) * head_dim],
        }
    }

    /// The last chunk's state of a row.
    pub(super) fn chunk(&self, row: usize, head_dim: usize) -> ChunkState<'_> {
        ChunkState {
            max: self.chunk_max[row],
            sum: self.chunk_sum[row],
            values: &self.chunk_values[row * head_dim..(row + 1) * head_dim],
        }
    }

    /// Appends the last chunk's state of a row to its state; a row that saw none of the chunk keeps its state as it is.
    #[inline(always)]
    pub(super) fn merge_chunk<I: Isa>(&mut self, isa: I, row: usize, head_dim: usize) {
        let mut state = State {
            max: &mut self.max[row],
            sum: &mut self.sum[row],
            values: &mut self.values[row * head_dim..(row + 1) * head_dim],
        };
        let values = &self.chunk_values[row * head_dim..(row + 1) * head_dim];
        state.merge(isa, self.chunk_max[row], self.chunk_sum[row], values);
    }
}
