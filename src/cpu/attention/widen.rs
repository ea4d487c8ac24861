//! Keys and values that are stored as codes: pages of them as bf16, and what the codes stand for.
//!
//! Codes are exact in bf16, so they meet the same products as keys and values of bf16, and the scales come afterwards: those of keys into the
//! scores, those of values into the weights. Where a block is one strip, as in decode, a page is widened right before the product of the page before
//! it, into one of two places, which stay in the first cache: the product finds its operand stored, and does not wait for memory. Where strips follow
//! each other, a chunk is widened once for all of them. What comes four pages later is asked for meanwhile, for products read nothing from memory.
//!
//! All of it is compiled apart from what runs on pages of bf16 ([`run_apart`]), which was 4% slower otherwise.

use std::ops::Range;

use super::block::Block;
use super::keys::{CHUNK_PAGES, PageSpan};
use super::scratch::{AttentionScratch, Geometry};
use super::softmax::Softmax;
use super::unit::Unit;
use crate::cpu::buffer::Buffer;
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::cpu::lhs::LhsElement;
use crate::cpu::pages::{Head, Int8Head};
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, PANEL_COLS, TILE_DEPTH};

/// A head's keys and values of one chunk, of the pages that have been widened.
pub struct Widened {
    /// `[2 * CHUNK_PAGES][place_len]` codes as bf16, in the order of a page of bf16: places of key panels, then those of value panels.
    panels: Buffer<u16>,
    /// Elements of a page's key panels, and of its value panels, which are no more.
    place_len: usize,
    v_len: usize,
    /// Whether several strips read what is here. If not, keys and values take turns in the first two places.
    shared: bool,
    /// Whose keys are here, and whose values.
    here: [[bool; CHUNK_PAGES]; 2],
    /// `[CHUNK_LEN]` what the product of a query with a key's codes is multiplied with: the key's scale times [`Geometry::exponent_factor`]. Anything for
    /// keys that were not stored.
    factors: Vec<f32>,
    /// `[CHUNK_LEN]` scales of the values; anything, as above.
    scales: Vec<f32>,
}

/// What of a page is widened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Keys,
    Values,
}

impl Widened {
    /// Room for a chunk, which takes no memory before it is used.
    pub fn new(geometry: &Geometry) -> Self {
        let place_len = PAGE_LEN * geometry.head_dim.next_multiple_of(TILE_DEPTH);
        Self {
            panels: Buffer::zeroed(2 * CHUNK_PAGES * place_len),
            place_len,
            v_len: PAGE_LEN * geometry.head_dim,
            shared: false,
            here: [[false; CHUNK_PAGES]; 2],
            factors: vec![0.0; CHUNK_LEN],
            scales: vec![0.0; CHUNK_LEN],
        }
    }

    /// Forgets the last chunk. `shared` says whether several strips will read the next.
    #[inline(always)]
    pub fn begin(&mut self, shared: bool) {
        self.shared = shared;
        self.here = [[false; CHUNK_PAGES]; 2];
    }

    /// Whether several strips read what is here.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// First element of a page's key or value panels.
    #[inline(always)]
    fn place(&self, part: Part, page_in_chunk: usize) -> usize {
        let place = if self.shared { part as usize * CHUNK_PAGES + page_in_chunk } else { page_in_chunk % 2 };
        place * self.place_len
    }

    /// Key panels and value panels of a page of the chunk: those that were widened last or before that, or any that were if they are shared.
    #[inline(always)]
    pub fn page(&self, page_in_chunk: usize) -> (&[u16], &[u16]) {
        let place = |part| &self.panels[self.place(part, page_in_chunk)..];
        (&place(Part::Keys)[..self.place_len], &place(Part::Values)[..self.v_len])
    }

    /// Widens a page's codes, and asks for the lines of `ahead`.
    #[inline(always)]
    fn fill<I: Isa>(&mut self, isa: I, part: Part, page_in_chunk: usize, codes: &[u8], ahead: &[u8]) {
        self.here[part as usize][page_in_chunk] = true;
        let first = self.place(part, page_in_chunk);
        let out = &mut self.panels[first..first + codes.len()];
        for (i, (codes, out)) in codes.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<64>().0).enumerate() {
            if let Some(line) = ahead.get(64 * i) {
                isa.prefetch_far(line);
            }
            let ((low, high), (out_low, out_high)) = (codes.split_at(32), out.split_at_mut(32));
            isa.widen_codes(low.first_chunk().unwrap(), out_low.first_chunk_mut().unwrap());
            isa.widen_codes(high.first_chunk().unwrap(), out_high.first_chunk_mut().unwrap());
        }
    }

    /// Takes in the scales of a page of the chunk; scores are multiplied with `scale`.
    #[inline(always)]
    fn take_scales(&mut self, page_in_chunk: usize, head: &Int8Head<'_>, scale: f32) {
        let slots = page_in_chunk * PAGE_LEN..(page_in_chunk + 1) * PAGE_LEN;
        for (factor, k_scale) in self.factors[slots.clone()].iter_mut().zip(head.k_scales) {
            *factor = f32::from_le_bytes(*k_scale) * scale;
        }
        for (scale, v_scale) in self.scales[slots].iter_mut().zip(head.v_scales) {
            *scale = f32::from_le_bytes(*v_scale);
        }
    }

    /// What the products with the keys of a panel are multiplied with.
    #[inline(always)]
    pub fn factors(&self, panel: usize) -> &[f32; PANEL_COLS] {
        self.factors[panel * PANEL_COLS..].first_chunk().unwrap()
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

/// Widens a part of a page of a block's chunk, unless it has been.
struct WidenPage<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    chunk: usize,
    span: PageSpan,
    part: Part,
}

impl<I: Isa, O: LhsElement> Kernel<I> for WidenPage<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { block, chunk, span, part } = self;
        let (layer, kv_head) = (&block.args.layer, block.task.kv_head as usize);
        let Head::Int8(head) = layer.head(span.page, kv_head) else { return };
        let (page_in_chunk, widened) = (span.first / PAGE_LEN, &mut block.scratch.widened);
        if widened.here[part as usize][page_in_chunk] {
            return;
        }
        if part == Part::Keys {
            widened.fill(isa, part, page_in_chunk, head.keys, head.values);
            return widened.take_scales(page_in_chunk, &head, block.args.geometry.exponent_factor());
        }
        let table = block.args.ragged.page_table(block.task.seq as usize);
        let next = table.get((chunk + 1) * CHUNK_PAGES + page_in_chunk);
        let ahead = match next.map(|page| layer.head(*page, kv_head)) {
            Some(Head::Int8(head)) if chunk + 1 < block.task.end_chunk as usize => head.keys,
            _ => &[],
        };
        widened.fill(isa, part, page_in_chunk, head.values, ahead);
    }
}

/// The softmax of a unit whose keys and values are codes.
struct SoftmaxOfCodes<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    unit: Unit<'b>,
}

impl<I: Isa, O: LhsElement> Kernel<I> for SoftmaxOfCodes<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let AttentionScratch { strips: [strip, _], widened, .. } = self.block.scratch;
        Softmax::<I, true>::new(isa, self.unit, strip, widened).finish(isa);
    }
}

impl<L: LhsElement, O: LhsElement> Block<'_, '_, L, O> {
    /// To be called before the first strip of a chunk.
    #[inline(always)]
    pub(super) fn begin_chunk<I: Isa<Lhs = L>>(&mut self) {
        if self.args.layer.is_int8() {
            let shared = self.n_rows() > I::ATTENTION_ROWS;
            self.scratch.widened.begin(shared);
        }
    }

    /// The same block, for a kernel apart.
    #[inline(always)]
    fn again(&mut self) -> Block<'_, '_, L, O> {
        Block { args: self.args, shared_tokens: self.shared_tokens, task: self.task, scratch: self.scratch }
    }

    /// Widens the keys of a page of the chunk.
    #[inline(always)]
    pub(super) fn widen_keys<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize, span: PageSpan) {
        run_apart(isa, WidenPage { block: self.again(), chunk, span, part: Part::Keys });
    }

    /// Widens the values of a page of the chunk.
    #[inline(always)]
    pub(super) fn widen_values<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize, span: PageSpan) {
        run_apart(isa, WidenPage { block: self.again(), chunk, span, part: Part::Values });
    }

    /// The softmax of a unit whose keys and values are codes.
    #[inline(always)]
    pub(super) fn softmax_of_codes<I: Isa<Lhs = L>>(&mut self, isa: I, unit: Unit<'_>) {
        run_apart(isa, SoftmaxOfCodes { block: self.again(), unit });
    }
}
