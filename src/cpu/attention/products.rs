//! The two products of a strip of rows over one chunk: scores, and weighted values.
//!
//! Masked is absent. A score that a row may not see is never used. A weight of such a key is zero and meets the key's value in the
//! product all the same, which is nothing as long as the value is finite; pages that may hold others (`maybe_not_finite`) take a slow way,
//! token by token, with the values that the token does not see replaced by zeros. Codes are always finite, and the scale of a value that a row does not
//! see is not multiplied with its weight (`scales`).

use std::ops::Range;

use super::keys::PageSpan;
use super::scratch::{Isolation, strip_layout};
use super::stored::Stored;
use super::unit::{Unit, at_once};
use crate::cpu::isa::Isa;
use crate::cpu::product::{Along, Beside, Element, N_NEXT, Product, Span};
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, PANEL_COLS};

/// `q k^T` of a strip.
pub struct Scores<'a, L> {
    pub unit: &'a Unit<'a>,
    /// Queries of the block.
    pub q: &'a [L],
    /// Scores of the strip over a chunk.
    pub out: &'a mut [f32],
}

impl<L> Scores<'_, L> {
    /// For the keys of a span.
    #[inline(always)]
    pub fn of<I: Isa<Lhs = L>, E: Stored>(
        &mut self,
        isa: I,
        span: &PageSpan,
        keys: Span<'_, E>,
        beside: Option<&mut dyn Beside>,
    ) {
        let beside = beside.map(|beside| beside as _);
        E::product(isa, Product { beside, ..self.product::<I, E>(&[keys], span.first, span.len) });
    }

    /// For all keys of the unit as they are stored, in one product along columns, which [`Along::Columns`] allows for few rows; `next` is what is read
    /// after them.
    #[inline(always)]
    pub fn of_pages<I: Isa<Lhs = L>, E: Stored>(&mut self, isa: I, next: [&[E]; N_NEXT]) {
        let unit = self.unit;
        // Where a window begins within a page: nobody reads the scores before it.
        let tiles = unit.tiles.start / PAGE_LEN * PAGE_LEN..unit.tiles.end;
        let (keys, n_pages) =
            at_once(Span::NONE, unit.keys.page_spans(unit.chunk, &tiles).map(|span| unit.keys_of::<E>(&span)));
        let along = Along::Columns(PAGE_LEN / PANEL_COLS);
        let product = self.product::<I, E>(&keys[..n_pages], tiles.start, tiles.len());
        E::product(isa, Product { along, next, ..product });
    }

    /// The product with so many keys from `first` of the chunk on.
    #[inline(always)]
    fn product<'p, I: Isa<Lhs = L>, E>(
        &'p mut self,
        keys: &'p [Span<'p, E>],
        first: usize,
        n_keys: usize,
    ) -> Product<'p, L, E> {
        let (layout, depth) = (strip_layout::<I>(CHUNK_LEN / PANEL_COLS), keys[0].depth);
        Product {
            lhs: self.q,
            lhs_depth: depth,
            first_row: self.unit.strip.start,
            n_rows: self.unit.strip.len(),
            spans: keys,
            along: Along::Depth,
            panel_stride: PANEL_COLS * depth,
            n_panels: n_keys / PANEL_COLS,
            next: [&[]; N_NEXT],
            out: &mut self.out[layout.index(0, first / PANEL_COLS)..],
            layout,
            accumulate: false,
            beside: None,
            finished: None,
        }
    }
}

/// `p v` of a strip.
pub struct Values<'a, L> {
    pub unit: &'a Unit<'a>,
    /// `[strip][CHUNK_LEN]` weights.
    pub probs: &'a [L],
    /// Weighted values of the strip over a chunk.
    pub out: &'a mut [f32],
}

impl<L> Values<'_, L> {
    /// For some values of the chunk, onto what there is if `accumulate` says so.
    #[inline(always)]
    pub fn of<'v, I: Isa<Lhs = L>, E: Stored>(
        &mut self,
        isa: I,
        values: impl Iterator<Item = Span<'v, E>>,
        accumulate: bool,
        beside: Option<&mut dyn Beside>,
    ) {
        let (spans, n_spans) = at_once(Span::NONE, values);
        let beside = beside.map(|beside| beside as _);
        E::product(isa, Product { accumulate, beside, ..self.product::<I, E>(&spans[..n_spans]) });
    }

    /// For all values of the unit as they are stored; `next` is what is read after them.
    #[inline(always)]
    pub fn of_pages<I: Isa<Lhs = L>, E: Stored>(&mut self, isa: I, next: [&[E]; N_NEXT]) {
        let unit = self.unit;
        let (spans, n_spans) = at_once(Span::NONE, unit.spans().map(|span| unit.values_of::<E>(&span)));
        E::product(isa, Product { next, ..self.product::<I, E>(&spans[..n_spans]) });
    }

    /// For all values of the unit, page by page and token by token: what a token does not see is zero in its copy of the page's values.
    #[inline(always)]
    pub fn isolated<I: Isa<Lhs = L>>(&mut self, isa: I, apart: &mut Isolation) {
        let Unit { keys, chunk, strip, tiles } = self.unit;
        let (head_dim, group) = (keys.geometry.head_dim, keys.geometry.group);
        let layout = strip_layout::<I>(head_dim / PANEL_COLS);
        for span in self.unit.spans() {
            for token in strip.start / group..strip.end.div_ceil(group) {
                let seen = keys.visible(*chunk, token * group);
                let (_, values) = keys.panels::<u16>(&span);
                clean(&mut apart.values, values, head_dim, span.first - span.first_slot(), &seen);
                apart.out.copy_from_slice(self.out);
                let mut of_token = Values { out: &mut apart.out, ..*self };
                of_token.of(isa, std::iter::once(span.of_values(&apart.values)), span.first > tiles.start, None);
                for row in (token * group).max(strip.start)..((token + 1) * group).min(strip.end) {
                    for panel in 0..head_dim / PANEL_COLS {
                        let first = layout.index(row - strip.start, panel);
                        self.out[first..first + PANEL_COLS].copy_from_slice(&apart.out[first..first + PANEL_COLS]);
                    }
                }
            }
        }
    }

    /// Weights times the values of some spans, whose panels are `[PAGE_LEN]` deep.
    #[inline(always)]
    fn product<'p, I: Isa<Lhs = L>, E>(&'p mut self, values: &'p [Span<'p, E>]) -> Product<'p, L, E> {
        let n_panels = self.unit.keys.geometry.head_dim / PANEL_COLS;
        Product {
            lhs: self.probs,
            lhs_depth: CHUNK_LEN,
            first_row: 0,
            n_rows: self.unit.strip.len(),
            spans: values,
            along: Along::Depth,
            panel_stride: PAGE_LEN * PANEL_COLS,
            n_panels,
            next: [&[]; N_NEXT],
            out: self.out,
            layout: strip_layout::<I>(n_panels),
            accumulate: false,
            beside: None,
            finished: None,
        }
    }
}

/// Copies a page's values, whose first key is `first_key` of the chunk, with zeros for keys that are not `seen`.
fn clean(out: &mut [u16], values: &[u16], head_dim: usize, first_key: usize, seen: &Range<usize>) {
    out.copy_from_slice(values);
    for slot in (0..PAGE_LEN).filter(|slot| !seen.contains(&(first_key + slot))) {
        for dim in 0..head_dim {
            out[<u16 as Element>::index(dim, slot, PAGE_LEN)] = 0;
        }
    }
}
