//! A strip of rows over one chunk of keys: scores, weights, weighted values.
//!
//! Masked is absent. A score that a row may not see is never read. A weight of such a key is zero and meets the key's value in the
//! product all the same, which is nothing as long as the value is finite; pages that may hold others (`maybe_not_finite`) take a slow way,
//! token by token, with the values that the token does not see replaced by zeros. Codes are always finite, and the scale of a value that a row does not
//! see is not multiplied with its weight (`widen`).

use std::ops::Range;

use super::block::Block;
use super::scratch::{AttentionScratch, strip_layout};
use super::widen::Widened;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::pages::{Head, LayerView};
use crate::cpu::panel::PanelElement;
use crate::cpu::product::{Product, Span};
use crate::spec::PageId;
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, PANEL_COLS, TILE_DEPTH};

/// Pages of a chunk.
pub(super) const CHUNK_PAGES: usize = CHUNK_LEN / PAGE_LEN;

/// Keys of a chunk that lie in one page, in whole tiles.
#[derive(Clone, Copy)]
pub(super) struct PageSpan {
    pub(super) page: PageId,
    /// First key, within the chunk.
    pub(super) first: usize,
    /// Keys; a multiple of 32.
    len: usize,
}

impl PageSpan {
    /// First key, within the page.
    #[inline(always)]
    fn first_slot(&self) -> usize {
        self.first % PAGE_LEN
    }

    /// The key panels and the value panels of its page, as they lie or widened.
    #[inline(always)]
    fn panels<'a>(&self, layer: &LayerView<'a>, widened: &'a Widened, kv_head: usize) -> (&'a [u16], &'a [u16]) {
        match layer.head(self.page, kv_head) {
            Head::Bf16(panels) => panels.split_at(layer.layout.k_len()),
            Head::Int8(_) => widened.page(self.first / PAGE_LEN),
        }
    }

    /// The span as a part of the depth of a product with its page's values.
    #[inline(always)]
    fn of_values<'a>(&self, values: &'a [u16]) -> Span<'a, u16> {
        Span { first_k: self.first, depth: self.len, panels: &values[self.first_slot() * PANEL_COLS..] }
    }
}

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// Computes the states of rows `strip` over one chunk, from empty states; a row that sees none of it gets the empty state.
    #[inline(always)]
    pub(super) fn chunk<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize, strip: &Range<usize>) {
        // Positions ascend over rows, so the first row sees furthest back and the last furthest ahead.
        let (start, end) = (self.visible(chunk, strip.start).start, self.visible(chunk, strip.end - 1).end);
        let tiles = start / TILE_DEPTH * TILE_DEPTH..end.next_multiple_of(TILE_DEPTH);
        if tiles.is_empty() {
            self.scratch.chunk_sum[..strip.len()].fill(0.0);
            return;
        }
        if self.args.layer.is_int8() {
            return self.chunk_of_codes(isa, chunk, strip, &tiles);
        }
        for span in self.page_spans(chunk, &tiles) {
            self.scores(isa, strip, span);
        }
        self.softmax::<I, false>(isa, chunk, strip, &tiles);
        if self.page_spans(chunk, &tiles).any(|span| self.args.layer.maybe_not_finite(span.page)) {
            self.values_isolated(isa, chunk, strip, &tiles);
        } else {
            self.values(isa, chunk, strip, &tiles);
        }
    }

    /// As [`Block::chunk`], of keys and values that are widened first; codes are finite.
    #[inline(always)]
    fn chunk_of_codes<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize, strip: &Range<usize>, tiles: &Range<usize>) {
        let mut widened = None;
        for span in self.page_spans(chunk, tiles) {
            self.widen_keys(isa, chunk, span);
            if let Some(last) = widened.replace(span) {
                self.scores(isa, strip, last);
            }
        }
        if let Some(last) = widened.take() {
            self.scores(isa, strip, last);
        }
        self.softmax_of_codes(isa, chunk, strip, tiles);
        let by_page = !self.scratch.widened.is_shared();
        for span in self.page_spans(chunk, tiles) {
            self.widen_values(isa, chunk, span);
            if let Some(last) = widened.replace(span).filter(|_| by_page) {
                self.values_of_page(isa, strip, last, last.first > tiles.start);
            }
        }
        if let Some(last) = widened.filter(|_| by_page) {
            self.values_of_page(isa, strip, last, last.first > tiles.start);
        }
        if !by_page {
            self.values(isa, chunk, strip, tiles);
        }
    }

    /// Keys of the chunk that row `row` of the block sees, within the chunk.
    #[inline(always)]
    pub(super) fn visible(&self, chunk: usize, row: usize) -> Range<usize> {
        if self.task.shared {
            return 0..CHUNK_LEN;
        }
        let token = self.task.first_token as usize + row / self.args.geometry.group;
        let seq = self.task.seq as usize;
        let position = self.args.ragged.start(seq) + token - self.args.ragged.rows(seq).start;
        let within = |p: usize| p.saturating_sub(chunk * CHUNK_LEN).min(CHUNK_LEN);
        within(self.args.geometry.first_visible(position))..within(position + 1)
    }

    /// Cuts keys `tiles` of a chunk at page borders.
    #[inline(always)]
    pub(super) fn page_spans(&self, chunk: usize, tiles: &Range<usize>) -> impl Iterator<Item = PageSpan> + use<L, O> {
        let table = self.args.ragged.page_table(self.task.seq as usize);
        let Range { start, end } = *tiles;
        let mut pages = [PageId(0); CHUNK_PAGES];
        for (i, page) in pages.iter_mut().enumerate().take(end.div_ceil(PAGE_LEN)).skip(start / PAGE_LEN) {
            *page = table[chunk * CHUNK_PAGES + i];
        }
        (start / PAGE_LEN..end.div_ceil(PAGE_LEN)).map(move |i| {
            let (span_start, span_end) = (start.max(i * PAGE_LEN), end.min((i + 1) * PAGE_LEN));
            PageSpan { page: pages[i], first: span_start, len: span_end - span_start }
        })
    }

    /// `q k^T` for the keys of a span.
    #[inline(always)]
    fn scores<I: Isa<Lhs = L>>(&mut self, isa: I, strip: &Range<usize>, span: PageSpan) {
        let depth = self.args.layer.layout.k_depth;
        let AttentionScratch { q, scores, widened, .. } = &mut *self.scratch;
        let (keys, values) = span.panels(&self.args.layer, widened, self.task.kv_head as usize);
        // Later strips find the values in the cache, and widened ones lie there.
        let soon = [values];
        let n_soon = usize::from(strip.start == 0 && !self.args.layer.is_int8());
        let layout = strip_layout::<I>(CHUNK_LEN / PANEL_COLS);
        isa.product(Product {
            lhs: q,
            lhs_depth: depth,
            first_row: strip.start,
            n_rows: strip.len(),
            spans: &[Span { first_k: 0, depth, panels: &keys[span.first_slot() * depth..] }],
            panel_stride: PANEL_COLS * depth,
            n_panels: span.len / PANEL_COLS,
            out: &mut scores[layout.index(0, span.first / PANEL_COLS)..],
            layout,
            accumulate: false,
            soon: &soon[..n_soon],
            finished: None,
        });
    }

    /// `p v` over the keys of a chunk.
    #[inline(always)]
    fn values<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize, strip: &Range<usize>, tiles: &Range<usize>) {
        let mut spans = [Span { first_k: 0, depth: 0, panels: &[][..] }; CHUNK_PAGES];
        let mut n_spans = 0;
        let soon = self.next_keys(chunk, strip);
        let (head_dim, page_spans) = (self.head_dim(), self.page_spans(chunk, tiles));
        let AttentionScratch { widened, probs, chunk_values, .. } = &mut *self.scratch;
        for span in page_spans {
            let (_, values) = span.panels(&self.args.layer, widened, self.task.kv_head as usize);
            spans[n_spans] = span.of_values(values);
            n_spans += 1;
        }
        let out = ChunkValues { out: chunk_values, head_dim, soon: soon.runs() };
        out.add(isa, probs, strip.len(), &spans[..n_spans], false);
    }

    /// `p v` over the keys of a span, onto what there is if `accumulate` says so.
    #[inline(always)]
    fn values_of_page<I: Isa<Lhs = L>>(&mut self, isa: I, strip: &Range<usize>, span: PageSpan, accumulate: bool) {
        let head_dim = self.head_dim();
        let AttentionScratch { widened, probs, chunk_values, .. } = &mut *self.scratch;
        let (_, values) = span.panels(&self.args.layer, widened, self.task.kv_head as usize);
        let out = ChunkValues { out: chunk_values, head_dim, soon: &[] };
        out.add(isa, probs, strip.len(), &[span.of_values(values)], accumulate);
    }

    /// As [`Block::values`], page by page and token by token: what a token does not see is zero in its copy of the page's values.
    #[inline(always)]
    fn values_isolated<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize, strip: &Range<usize>, tiles: &Range<usize>) {
        let (head_dim, group) = (self.head_dim(), self.args.geometry.group);
        let layout = strip_layout::<I>(head_dim / PANEL_COLS);
        for span in self.page_spans(chunk, tiles) {
            for token in strip.start / group..strip.end.div_ceil(group) {
                let seen = self.visible(chunk, token * group);
                let scratch = &mut *self.scratch;
                let (_, values) = span.panels(&self.args.layer, &scratch.widened, self.task.kv_head as usize);
                clean(&mut scratch.clean_values, values, head_dim, span.first - span.first_slot(), &seen);
                scratch.isolated.copy_from_slice(&scratch.chunk_values);
                let out = ChunkValues { out: &mut scratch.isolated, head_dim, soon: &[] };
                let clean = span.of_values(&scratch.clean_values);
                out.add(isa, &scratch.probs, strip.len(), &[clean], span.first > tiles.start);
                for row in (token * group).max(strip.start)..((token + 1) * group).min(strip.end) {
                    for panel in 0..head_dim / PANEL_COLS {
                        let sums = layout.index(row - strip.start, panel)..layout.index(row - strip.start, panel) + 16;
                        scratch.chunk_values[sums.clone()].copy_from_slice(&scratch.isolated[sums]);
                    }
                }
            }
        }
    }
}

/// Copies a page's values, whose first key is `first_key` of the chunk, with zeros for keys that are not `seen`.
fn clean(out: &mut [u16], values: &[u16], head_dim: usize, first_key: usize, seen: &Range<usize>) {
    out.copy_from_slice(values);
    for slot in (0..PAGE_LEN).filter(|slot| !seen.contains(&(first_key + slot))) {
        for dim in 0..head_dim {
            out[<u16 as PanelElement>::index(dim, slot, PAGE_LEN)] = 0;
        }
    }
}

/// Where the weighted values of a strip go.
struct ChunkValues<'a> {
    out: &'a mut [f32],
    head_dim: usize,
    /// As [`Product::soon`].
    soon: &'a [&'a [u16]],
}

impl ChunkValues<'_> {
    /// Weights times the values of some spans, whose panels are `[PAGE_LEN]` deep, onto what there is if `accumulate` says so.
    #[inline(always)]
    fn add<I: Isa>(self, isa: I, probs: &[I::Lhs], n_rows: usize, spans: &[Span<'_, u16>], accumulate: bool) {
        let n_panels = self.head_dim / PANEL_COLS;
        isa.product(Product {
            lhs: probs,
            lhs_depth: CHUNK_LEN,
            first_row: 0,
            n_rows,
            spans,
            panel_stride: PAGE_LEN * PANEL_COLS,
            n_panels,
            out: self.out,
            layout: strip_layout::<I>(n_panels),
            accumulate,
            soon: self.soon,
            finished: None,
        });
    }
}
