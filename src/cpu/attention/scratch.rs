//! The shape of attention, and a thread's memory for it.

use super::state::State;
use super::widen::Widened;
use crate::cpu::buffer::Buffer;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::SumLayout;
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, PANEL_COLS, TILE_DEPTH};

/// Heads, and how scores are made of them.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Query heads to a KV head.
    pub group: usize,
    /// Elements of a head; a multiple of 16.
    pub head_dim: usize,
    /// Factor on the scores; positive.
    pub scale: f32,
    /// Keys that a query sees at most.
    pub window: Option<usize>,
}

impl Geometry {
    /// What makes a product of a query and a key the exponent of a power of two.
    #[inline(always)]
    pub fn exponent_factor(&self) -> f32 {
        self.scale * std::f32::consts::LOG2_E
    }

    /// First key that a query at `position` sees.
    #[inline(always)]
    pub fn first_visible(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }
}

/// A thread's memory for one block of up to `rows` rows, which go through a chunk a strip at a time.
pub struct AttentionScratch<L> {
    /// `[rows][k_depth]` queries.
    pub(super) q: Buffer<L>,
    /// The chunk that the block is at, where keys and values are stored as codes.
    pub(super) widened: Widened,
    /// Scores of a strip over a chunk.
    pub(super) scores: Buffer<f32>,
    /// `[strip][CHUNK_LEN]` weights.
    pub(super) probs: Buffer<L>,
    /// Whether every row of the strip sees all of the chunk's tiles.
    pub(super) all_see: bool,
    /// `[strip]` maximum and sum of the chunk.
    pub(super) chunk_max: Vec<f32>,
    pub(super) chunk_sum: Vec<f32>,
    /// Weighted values of the chunk.
    pub(super) chunk_values: Buffer<f32>,
    /// `[rows]`, `[rows]`, `[rows][head_dim]` state of all chunks so far.
    max: Vec<f32>,
    sum: Vec<f32>,
    values: Buffer<f32>,
    /// `[head_dim][PAGE_LEN]` values of a page and results for them, where pages hold numbers which are not finite.
    pub(super) clean_values: Buffer<u16>,
    pub(super) isolated: Buffer<f32>,
}

/// How a strip's scores or values lie, `n_panels` panels of them: in tiles where the table sums in tiles.
#[inline(always)]
pub fn strip_layout<I: Isa>(n_panels: usize) -> SumLayout {
    if I::SUMS_IN_TILES {
        // A row is within `n_panels` KiB of itself.
        SumLayout::tiles(n_panels)
    } else {
        SumLayout::Rows { stride: n_panels * PANEL_COLS }
    }
}

impl<L: LhsElement> AttentionScratch<L> {
    /// Memory for blocks of `rows` rows at most, in strips of `strip`.
    pub fn new(geometry: &Geometry, rows: usize, strip: usize) -> Self {
        let head_dim = geometry.head_dim;
        let strip = strip.min(rows).next_multiple_of(16);
        let lhs = |rows: usize, depth: usize| Buffer::zeroed(L::buffer_len(rows, depth));
        let zeros = |n: usize| vec![0.0; n];
        Self {
            q: lhs(rows, head_dim.next_multiple_of(TILE_DEPTH)),
            widened: Widened::new(geometry),
            scores: Buffer::zeroed(strip * CHUNK_LEN),
            probs: lhs(strip, CHUNK_LEN),
            all_see: false,
            chunk_max: zeros(strip),
            chunk_sum: zeros(strip),
            chunk_values: Buffer::zeroed(strip * head_dim),
            max: zeros(rows),
            sum: zeros(rows),
            values: Buffer::zeroed(rows * head_dim),
            clean_values: Buffer::zeroed(head_dim * PAGE_LEN),
            isolated: Buffer::zeroed(strip * head_dim),
        }
    }

    /// The state of some rows.
    #[inline(always)]
    pub(super) fn state(&mut self, first: usize, n_rows: usize, head_dim: usize) -> State<'_> {
        State {
            max: &mut self.max[first..first + n_rows],
            sum: &mut self.sum[first..first + n_rows],
            values: &mut self.values[first * head_dim..(first + n_rows) * head_dim],
        }
    }

    /// Stores the last chunk's state of a strip.
    #[inline(always)]
    pub(super) fn store_chunk<I: Isa>(&self, out: State<'_>, head_dim: usize) {
        let layout = strip_layout::<I>(head_dim / PANEL_COLS);
        out.max.copy_from_slice(&self.chunk_max[..out.max.len()]);
        out.sum.copy_from_slice(&self.chunk_sum[..out.sum.len()]);
        for (row, values) in out.values.chunks_exact_mut(head_dim).enumerate() {
            for (panel, out) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                *out = *self.chunk_values[layout.index(row, panel)..].first_chunk().unwrap();
            }
        }
    }

    /// Appends the last chunk's state of a strip that begins at row `first` to its state.
    #[inline(always)]
    pub(super) fn merge_chunk<I: Isa>(&mut self, isa: I, first: usize, n_rows: usize, head_dim: usize) {
        let mut state = State {
            max: &mut self.max[first..first + n_rows],
            sum: &mut self.sum[first..first + n_rows],
            values: &mut self.values[first * head_dim..(first + n_rows) * head_dim],
        };
        let layout = strip_layout::<I>(head_dim / PANEL_COLS);
        state.merge(isa, &self.chunk_max, &self.chunk_sum, &self.chunk_values, layout);
    }
}
