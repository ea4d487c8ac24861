//! The shape of attention, and a thread's memory for it.

use std::ops::Range;

use super::parts::ChunkStates;
use super::scales::Scales;
use super::state::State;
use super::unit::Unit;
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
    /// Keys and values that were codes, and what the codes stand for.
    pub(super) widened: Widened,
    pub(super) scales: Scales,
    /// Strips over a chunk each: two, so that one can be multiplied while the other is weighed.
    pub(super) strips: [Strip<L>; 2],
    /// `[strip][head_dim]` weighted values over a chunk, as [`strip_layout`] says.
    pub(super) chunk_values: Buffer<f32>,
    /// State of all chunks so far.
    pub(super) state: BlockState,
    pub(super) isolation: Isolation,
}

/// A strip of rows over a chunk of keys.
pub struct Strip<L> {
    /// `[strip][CHUNK_LEN]` scores, as [`strip_layout`] says.
    pub(super) scores: Buffer<f32>,
    /// `[strip][CHUNK_LEN]` weights.
    pub(super) probs: Buffer<L>,
    /// `[strip]` largest score of the chunk, and sum of the weights.
    pub(super) max: Vec<f32>,
    pub(super) sum: Vec<f32>,
}

/// For pages that hold numbers which are not finite.
pub struct Isolation {
    /// `[head_dim][PAGE_LEN]` values of a page that a token sees.
    pub(super) values: Buffer<u16>,
    /// Weighted values of a strip with these.
    pub(super) out: Buffer<f32>,
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
            scales: Scales::new(),
            strips: std::array::from_fn(|_| Strip {
                scores: Buffer::zeroed(strip * CHUNK_LEN),
                probs: lhs(strip, CHUNK_LEN),
                max: zeros(strip),
                sum: zeros(strip),
            }),
            chunk_values: Buffer::zeroed(strip * head_dim),
            state: BlockState { max: zeros(rows), sum: zeros(rows), values: Buffer::zeroed(rows * head_dim), head_dim },
            isolation: Isolation { values: Buffer::zeroed(head_dim * PAGE_LEN), out: Buffer::zeroed(strip * head_dim) },
        }
    }
}

/// The states of a block's rows: `[rows]`, `[rows]`, `[rows][head_dim]`.
pub struct BlockState {
    max: Vec<f32>,
    sum: Vec<f32>,
    values: Buffer<f32>,
    head_dim: usize,
}

impl BlockState {
    /// Those of some rows.
    #[inline(always)]
    pub(super) fn rows(&mut self, rows: Range<usize>) -> State<'_> {
        State {
            max: &mut self.max[rows.clone()],
            sum: &mut self.sum[rows.clone()],
            values: &mut self.values[rows.start * self.head_dim..rows.end * self.head_dim],
        }
    }

    /// Takes in the state of a unit: appends it to those of its rows, or stores it `apart`.
    #[inline(always)]
    pub(super) fn take<I: Isa>(
        &mut self,
        isa: I,
        unit: &Unit<'_>,
        (max, sum): (&[f32], &[f32]),
        values: &[f32],
        apart: Option<&mut ChunkStates<'_>>,
    ) {
        let layout = strip_layout::<I>(self.head_dim / PANEL_COLS);
        match apart {
            Some(states) => states.store(unit, (max, sum), values, layout),
            None => self.rows(unit.strip.clone()).merge(isa, max, sum, values, layout),
        }
    }
}
