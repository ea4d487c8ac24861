//! Keys and values that are stored as codes: pages of them as bf16, and what the codes stand for.
//!
//! Codes are exact in bf16, so they meet the same products as keys and values of bf16, and the scales come afterwards: those of keys into the
//! scores, those of values into the weights. Where a block is one strip, as in decode, a page is widened right before its product, always into the
//! same place, which stays in the first cache; where strips follow each other, a chunk is widened once for all of them. Meanwhile the page that
//! comes four pages later is asked for, for while products run on what has been widened nothing else comes from memory.
//!
//! All of it is compiled apart from what runs on pages of bf16 ([`run_apart`]), which was 4% slower otherwise.

use std::ops::Range;

use super::block::Block;
use super::chunk::{CHUNK_PAGES, PageSpan};
use super::scratch::{AttentionScratch, Geometry, strip_layout};
use crate::cpu::buffer::Buffer;
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::cpu::lhs::LhsElement;
use crate::cpu::pages::{Head, Int8Head};
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, PANEL_COLS, TILE_DEPTH};

/// A head's keys and values of one chunk, of the pages that have been widened.
pub struct Widened {
    /// `[CHUNK_PAGES]` key panels, and value panels.
    keys: Panels,
    values: Panels,
    /// Whether several strips read what is here. If not, all pages are widened into the place of the first.
    shared: bool,
    /// `[CHUNK_LEN]` what the product of a query with a key's codes is multiplied with: the key's scale times the factor on scores. Anything for
    /// keys that were not stored.
    factors: Vec<f32>,
    /// `[CHUNK_LEN]` scales of the values; anything, as above.
    scales: Vec<f32>,
}

/// Codes as bf16, in the order of a page of bf16.
struct Panels {
    /// `[CHUNK_PAGES][page_len]`
    elements: Buffer<u16>,
    page_len: usize,
    /// The pages of the chunk that are here.
    here: [bool; CHUNK_PAGES],
}

impl Panels {
    fn new(page_len: usize) -> Self {
        Self { elements: Buffer::zeroed(CHUNK_PAGES * page_len), page_len, here: [false; CHUNK_PAGES] }
    }

    /// Widens a page's codes into a place, and asks for the lines of `ahead`.
    #[inline(always)]
    fn fill<I: Isa>(&mut self, isa: I, place: usize, codes: &[u8], ahead: &[u8]) {
        let out = &mut self.elements[place * self.page_len..][..self.page_len];
        for (i, (codes, out)) in codes.as_chunks::<64>().0.iter().zip(out.as_chunks_mut::<64>().0).enumerate() {
            if let Some(line) = ahead.get(64 * i) {
                isa.prefetch_far(line);
            }
            let ((low, high), (out_low, out_high)) = (codes.split_at(32), out.split_at_mut(32));
            isa.widen_codes(low.first_chunk().unwrap(), out_low.first_chunk_mut().unwrap());
            isa.widen_codes(high.first_chunk().unwrap(), out_high.first_chunk_mut().unwrap());
        }
    }
}

impl Widened {
    /// Room for a chunk, which takes no memory before it is used.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            keys: Panels::new(PAGE_LEN * geometry.head_dim.next_multiple_of(TILE_DEPTH)),
            values: Panels::new(PAGE_LEN * geometry.head_dim),
            shared: false,
            factors: vec![0.0; CHUNK_LEN],
            scales: vec![0.0; CHUNK_LEN],
        }
    }

    /// Forgets the last chunk. `shared` says whether several strips will read the next.
    #[inline(always)]
    pub fn begin(&mut self, shared: bool) {
        self.shared = shared;
        self.keys.here = [false; CHUNK_PAGES];
        self.values.here = [false; CHUNK_PAGES];
    }

    /// Whether several strips read what is here.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Where a page of the chunk goes.
    #[inline(always)]
    fn place(&self, page_in_chunk: usize) -> usize {
        if self.shared { page_in_chunk } else { 0 }
    }

    /// Key panels and value panels of the page of the chunk that was widened last, or if they are shared any that was.
    #[inline(always)]
    pub fn page(&self, page_in_chunk: usize) -> (&[u16], &[u16]) {
        let place = self.place(page_in_chunk);
        let Self { keys, values, .. } = self;
        (
            &keys.elements[place * keys.page_len..][..keys.page_len],
            &values.elements[place * values.page_len..][..values.page_len],
        )
    }

    /// Takes in the keys of a page of the chunk; scores are multiplied with `scale`.
    #[inline(always)]
    fn take_keys<I: Isa>(&mut self, isa: I, page_in_chunk: usize, head: &Int8Head<'_>, scale: f32, ahead: &[u8]) {
        let place = self.place(page_in_chunk);
        self.keys.here[page_in_chunk] = true;
        self.keys.fill(isa, place, head.keys, ahead);
        let factors = &mut self.factors[page_in_chunk * PAGE_LEN..][..PAGE_LEN];
        for (factor, k_scale) in factors.iter_mut().zip(head.k_scales) {
            *factor = f32::from_le_bytes(*k_scale) * scale;
        }
    }

    /// Takes in the values of a page of the chunk.
    #[inline(always)]
    fn take_values<I: Isa>(&mut self, isa: I, page_in_chunk: usize, head: &Int8Head<'_>, ahead: &[u8]) {
        let place = self.place(page_in_chunk);
        self.values.here[page_in_chunk] = true;
        self.values.fill(isa, place, head.values, ahead);
    }

    /// Takes in the scales of the values of a page of the chunk, which the weights want before the values are.
    #[inline(always)]
    fn take_scales(&mut self, page_in_chunk: usize, head: &Int8Head<'_>) {
        let scales = &mut self.scales[page_in_chunk * PAGE_LEN..][..PAGE_LEN];
        for (scale, v_scale) in scales.iter_mut().zip(head.v_scales) {
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

/// What of a page is widened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Keys,
    Values,
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
        match part {
            Part::Keys if !widened.keys.here[page_in_chunk] => {
                widened.take_keys(isa, page_in_chunk, &head, block.args.geometry.scale, head.values);
                widened.take_scales(page_in_chunk, &head);
            }
            Part::Values if !widened.values.here[page_in_chunk] => {
                let table = block.args.ragged.page_table(block.task.seq as usize);
                let next = table.get((chunk + 1) * CHUNK_PAGES + page_in_chunk);
                let ahead = match next.map(|page| layer.head(*page, kv_head)) {
                    Some(Head::Int8(head)) if chunk + 1 < block.task.end_chunk as usize => head.keys,
                    _ => &[],
                };
                widened.take_values(isa, page_in_chunk, &head, ahead);
            }
            Part::Keys | Part::Values => {}
        }
    }
}

/// [`Block::softmax`] where keys and values are codes.
struct SoftmaxOfCodes<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    chunk: usize,
    strip: Range<usize>,
    tiles: Range<usize>,
}

impl<I: Isa, O: LhsElement> Kernel<I> for SoftmaxOfCodes<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(mut self, isa: I) {
        self.block.softmax::<I, true>(isa, self.chunk, &self.strip, &self.tiles);
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
        Block { args: self.args, task: self.task, scratch: self.scratch }
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

    /// [`Block::softmax`] where keys and values are codes.
    #[inline(always)]
    pub(super) fn softmax_of_codes<I: Isa<Lhs = L>>(
        &mut self,
        isa: I,
        chunk: usize,
        strip: &Range<usize>,
        tiles: &Range<usize>,
    ) {
        let (strip, tiles) = (strip.clone(), tiles.clone());
        run_apart(isa, SoftmaxOfCodes { block: self.again(), chunk, strip, tiles });
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
