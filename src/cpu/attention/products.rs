//! The two products of a strip of rows over one chunk: scores, and weighted values.
//!
//! Masked is absent. A score that a row may not see is never used. A weight of such a key is zero and meets the key's
//! value in the product all the same, which is nothing as long as the value is finite; pages that may hold others
//! (`maybe_not_finite`) take a slow way, token by token, with the values that the token does not see replaced by zeros.
//! Codes are always finite, and the scale of a value that a row does not see is not multiplied with its weight
//! (`scales`).

use std::ops::Range;

use super::scratch::{Isolation, strip_layout};
use super::stored::Stored;
use super::unit::Unit;
use crate::cpu::isa::Isa;
use crate::cpu::product::{Beside, Element, Product, Span};
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
    /// For all keys of the unit, whose page has the panels `keys`.
    #[inline(always)]
    pub fn of<I: Isa<Lhs = L>, E: Stored>(&mut self, isa: I, keys: &[E], beside: Option<&mut dyn Beside>) {
        let Range { start, end } = self.unit.tiles;
        self.of_keys(isa, &keys[start * self.depth()..], start..end, beside);
    }

    /// For keys `which` of the chunk, whose panels are the first of `keys`.
    #[inline(always)]
    pub fn of_keys<I: Isa<Lhs = L>, E: Stored>(
        &mut self,
        isa: I,
        keys: &[E],
        which: Range<usize>,
        beside: Option<&mut dyn Beside>,
    ) {
        let (layout, depth) = (strip_layout::<I>(CHUNK_LEN / PANEL_COLS), self.depth());
        let product = Product {
            lhs: self.q,
            lhs_depth: depth,
            first_row: self.unit.strip.start,
            n_rows: self.unit.strip.len(),
            span: Span { first_k: 0, depth, panels: keys },
            panel_stride: PANEL_COLS * depth,
            n_panels: which.len() / PANEL_COLS,
            out: &mut self.out[layout.index(0, which.start / PANEL_COLS)..],
            layout,
            accumulate: false,
            beside: beside.map(|beside| beside as _),
            finished: None,
        };
        E::product(isa, product);
    }

    #[inline(always)]
    fn depth(&self) -> usize {
        self.unit.keys.layer.layout.k_depth
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
    /// For all elements of the values, whose page has the panels `values`.
    #[inline(always)]
    pub fn of<I: Isa<Lhs = L>, E: Stored>(&mut self, isa: I, values: &[E], beside: Option<&mut dyn Beside>) {
        self.of_panels(isa, values, 0..self.unit.keys.geometry.head_dim / PANEL_COLS, beside);
    }

    /// For panels `which` of the values, the first of `values`, which are `[PAGE_LEN]` deep.
    #[inline(always)]
    pub fn of_panels<I: Isa<Lhs = L>, E: Stored>(
        &mut self,
        isa: I,
        values: &[E],
        which: Range<usize>,
        beside: Option<&mut dyn Beside>,
    ) {
        let layout = strip_layout::<I>(self.unit.keys.geometry.head_dim / PANEL_COLS);
        let Range { start, end } = self.unit.tiles;
        let product = Product {
            lhs: self.probs,
            lhs_depth: CHUNK_LEN,
            first_row: 0,
            n_rows: self.unit.strip.len(),
            span: Span { first_k: start, depth: end - start, panels: &values[start * PANEL_COLS..] },
            panel_stride: PAGE_LEN * PANEL_COLS,
            n_panels: which.len(),
            out: &mut self.out[layout.index(0, which.start)..],
            layout,
            accumulate: false,
            beside: beside.map(|beside| beside as _),
            finished: None,
        };
        E::product(isa, product);
    }

    /// For all values of the unit, token by token: what a token does not see is zero in its copy of them.
    #[inline(always)]
    pub fn isolated<I: Isa<Lhs = L>>(&mut self, isa: I, apart: &mut Isolation) {
        let Unit { keys, chunk, strip, .. } = self.unit;
        let (head_dim, group) = (keys.geometry.head_dim, keys.geometry.group);
        let layout = strip_layout::<I>(head_dim / PANEL_COLS);
        let (_, values) = self.unit.panels::<u16>();
        for token in strip.start / group..strip.end.div_ceil(group) {
            clean(&mut apart.values, values, head_dim, &keys.visible(*chunk, token * group));
            Values { out: &mut apart.out, ..*self }.of::<I, u16>(isa, &apart.values, None);
            for row in (token * group).max(strip.start)..((token + 1) * group).min(strip.end) {
                for panel in 0..head_dim / PANEL_COLS {
                    let first = layout.index(row - strip.start, panel);
                    self.out[first..first + PANEL_COLS].copy_from_slice(&apart.out[first..first + PANEL_COLS]);
                }
            }
        }
    }
}

/// Copies a page's values, with zeros for keys that are not `seen`.
fn clean(out: &mut [u16], values: &[u16], head_dim: usize, seen: &Range<usize>) {
    out.copy_from_slice(values);
    for slot in (0..PAGE_LEN).filter(|slot| !seen.contains(slot)) {
        for dim in 0..head_dim {
            out[<u16 as Element>::index(dim, slot, PAGE_LEN)] = 0;
        }
    }
}
