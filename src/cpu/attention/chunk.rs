//! One chunk of keys: scores, weights, weighted values.
//!
//! Masked is absent. A score that a row may not see is never read. A weight of such a key is zero and meets the key's value in the
//! product all the same, which is nothing as long as the value is finite; pages that may hold others (`maybe_not_finite`) take a slow way,
//! token by token, with the values that the token does not see replaced by zeros.

use super::block::Block;
use crate::cpu::isa::{Isa, LhsElement, reduce_add, reduce_max};
use crate::cpu::math::exp;
use crate::cpu::product::Product;
use crate::spec::PageId;
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, TILE_DEPTH};

/// Keys of a chunk that lie in one page, in whole tiles.
#[derive(Clone, Copy)]
struct PageSpan {
    page: PageId,
    /// First key, within the chunk.
    first: usize,
    /// Keys; a multiple of 32.
    len: usize,
}

impl PageSpan {
    /// First key, within the page.
    #[inline(always)]
    fn first_slot(&self) -> usize {
        self.first % PAGE_LEN
    }
}

impl<L: LhsElement, O: LhsElement> Block<'_, '_, L, O> {
    /// Computes the state of every row over one chunk, from an empty state; a row that sees none of it gets the empty state.
    #[inline(always)]
    pub(super) fn chunk<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize) {
        let (first, end) = self.visible_to_any(chunk);
        let (first, end) = (first / TILE_DEPTH * TILE_DEPTH, end.next_multiple_of(TILE_DEPTH));
        for span in self.page_spans(chunk, first, end) {
            self.scores(isa, span);
        }
        for row in 0..self.n_rows() {
            let visible = self.visible(chunk, row);
            let (max, sum) = self.softmax(isa, row, visible, (first, end));
            self.scratch.chunk_max[row] = max;
            self.scratch.chunk_sum[row] = sum;
        }
        let mut accumulate = false;
        for span in self.page_spans(chunk, first, end) {
            if self.args.layer.maybe_not_finite(span.page) {
                self.values_isolated(isa, chunk, span, accumulate);
            } else {
                self.values(isa, span, accumulate);
            }
            accumulate = true;
        }
    }

    /// Keys of the chunk that `row` sees: `[first, end)` within the chunk.
    #[inline(always)]
    fn visible(&self, chunk: usize, row: usize) -> (usize, usize) {
        let token = self.task.first_token as usize + row / self.args.geometry.group;
        let seq = self.task.seq as usize;
        let position = self.args.ragged.start(seq) + token - self.args.ragged.rows(seq).start;
        let within = |p: usize| p.saturating_sub(chunk * CHUNK_LEN).min(CHUNK_LEN);
        (within(self.args.geometry.first_visible(position)), within(position + 1))
    }

    /// Positions ascend over the rows of a block, so the first row sees furthest back and the last furthest ahead.
    #[inline(always)]
    fn visible_to_any(&self, chunk: usize) -> (usize, usize) {
        (self.visible(chunk, 0).0, self.visible(chunk, self.n_rows() - 1).1)
    }

    /// Cuts keys `first..end` of a chunk at page borders.
    #[inline(always)]
    fn page_spans(&self, chunk: usize, first: usize, end: usize) -> impl Iterator<Item = PageSpan> + use<L, O> {
        let table = self.args.ragged.page_table(self.task.seq as usize);
        let mut pages = [PageId(0); CHUNK_LEN / PAGE_LEN];
        for (i, page) in pages.iter_mut().enumerate().take(end.div_ceil(PAGE_LEN)).skip(first / PAGE_LEN) {
            *page = table[chunk * (CHUNK_LEN / PAGE_LEN) + i];
        }
        (first / PAGE_LEN..end.div_ceil(PAGE_LEN)).map(move |i| {
            let (span_first, span_end) = (first.max(i * PAGE_LEN), end.min((i + 1) * PAGE_LEN));
            PageSpan { page: pages[i], first: span_first, len: span_end - span_first }
        })
    }

    /// `q k^T` for the keys of a span.
    #[inline(always)]
    fn scores<I: Isa<Lhs = L>>(&mut self, isa: I, span: PageSpan) {
        let depth = self.args.layer.layout.k_depth;
        let n_rows = self.n_rows();
        let (keys, _) = self.args.layer.head(span.page, self.task.kv_head as usize);
        isa.product(Product {
            lhs: &self.scratch.q,
            lhs_depth: depth,
            first_row: 0,
            first_k: 0,
            n_rows,
            panels: &keys[span.first_slot() * depth..],
            panel_stride: 16 * depth,
            n_panels: span.len / 16,
            depth,
            out: &mut self.scratch.scores[span.first..],
            out_stride: CHUNK_LEN,
            accumulate: false,
        });
    }

    /// Turns a row's scores into weights `exp(s * scale - max)`, zero from `tiles.0` to `tiles.1` where the row does not see, and answers
    /// maximum and sum. The sum is taken in sixteen lanes, before the weights are rounded.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "the index also says which keys, and either range may be empty")]
    fn softmax<I: Isa<Lhs = L>>(
        &mut self,
        isa: I,
        row: usize,
        visible: (usize, usize),
        tiles: (usize, usize),
    ) -> (f32, f32) {
        let scores = self.scratch.scores[row * CHUNK_LEN..][..CHUNK_LEN].as_chunks::<16>().0;
        let scale = isa.splat(self.args.geometry.scale);
        let (first, end) = (visible.0 / 16, visible.1.div_ceil(16));
        let mut max = isa.splat(f32::NEG_INFINITY);
        for i in first..end {
            let scaled = isa.mul(load_visible(isa, &scores[i], i * 16, visible), scale);
            max = isa.max(scaled, max);
        }
        let max = reduce_max(isa, max);
        let mut sum = isa.splat(0.0);
        for i in tiles.0 / 16..tiles.1 / 16 {
            let weights = if (first..end).contains(&i) && visible.0 < visible.1 {
                let scaled = isa.mul(load_visible(isa, &scores[i], i * 16, visible), scale);
                exp(isa, isa.sub(scaled, isa.splat(max)))
            } else {
                isa.splat(0.0)
            };
            sum = isa.add(sum, weights);
            let out = &mut self.scratch.probs[L::index(row, i * 16, CHUNK_LEN)..];
            L::store(isa, weights, out.first_chunk_mut().unwrap());
        }
        (max, reduce_add(isa, sum))
    }

    /// `p v` for the keys of a span, onto the values of the chunk so far.
    #[inline(always)]
    fn values<I: Isa<Lhs = L>>(&mut self, isa: I, span: PageSpan, accumulate: bool) {
        let (_, values) = self.args.layer.head(span.page, self.task.kv_head as usize);
        let (n_rows, head_dim) = (self.n_rows(), self.head_dim());
        let scratch = &mut *self.scratch;
        let out = &mut scratch.chunk_values;
        isa.product(product_of_values(&scratch.probs, n_rows, head_dim, span, values, out, accumulate));
    }

    /// As [`Block::values`], token by token: what a token does not see is zero in its copy of the page's values.
    #[inline(always)]
    fn values_isolated<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize, span: PageSpan, accumulate: bool) {
        let (_, values) = self.args.layer.head(span.page, self.task.kv_head as usize);
        let (n_rows, head_dim, group) = (self.n_rows(), self.head_dim(), self.args.geometry.group);
        let first_key = span.first - span.first_slot();
        for token in 0..self.task.n_tokens as usize {
            let (first, end) = self.visible(chunk, token * group);
            let scratch = &mut *self.scratch;
            scratch.clean_values.copy_from_slice(values);
            for slot in (0..PAGE_LEN).filter(|slot| !(first..end).contains(&(first_key + slot))) {
                for dim in 0..head_dim {
                    scratch.clean_values[<u16 as crate::cpu::panel::PanelElement>::index(dim, slot, PAGE_LEN)] = 0;
                }
            }
            scratch.isolated.copy_from_slice(&scratch.chunk_values);
            let out = &mut scratch.isolated;
            isa.product(product_of_values(
                &scratch.probs,
                n_rows,
                head_dim,
                span,
                &scratch.clean_values,
                out,
                accumulate,
            ));
            let rows = token * group * head_dim..(token + 1) * group * head_dim;
            scratch.chunk_values[rows.clone()].copy_from_slice(&scratch.isolated[rows]);
        }
    }
}

/// Weights times the values of a page, `[PAGE_LEN]` deep panels.
#[inline(always)]
fn product_of_values<'a, L>(
    probs: &'a [L],
    n_rows: usize,
    head_dim: usize,
    span: PageSpan,
    values: &'a [u16],
    out: &'a mut [f32],
    accumulate: bool,
) -> Product<'a, L, u16> {
    Product {
        lhs: probs,
        lhs_depth: CHUNK_LEN,
        first_row: 0,
        first_k: span.first,
        n_rows,
        panels: &values[span.first_slot() * 16..],
        panel_stride: PAGE_LEN * 16,
        n_panels: head_dim / 16,
        depth: span.len,
        out,
        out_stride: head_dim,
        accumulate,
    }
}

/// Sixteen scores from key `first` on, minus infinity where the row does not see.
#[inline(always)]
fn load_visible<I: Isa>(isa: I, scores: &[f32; 16], first: usize, visible: (usize, usize)) -> I::V {
    if visible.0 <= first && first + 16 <= visible.1 {
        return isa.load(scores);
    }
    let mut lanes = [f32::NEG_INFINITY; 16];
    for (i, lane) in lanes.iter_mut().enumerate() {
        if (visible.0..visible.1).contains(&(first + i)) {
            *lane = scores[i];
        }
    }
    isa.load(&lanes)
}
