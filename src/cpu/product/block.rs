//! A few rows by a few panels, all sums in registers; and what is asked for meanwhile.

use std::array::from_fn;

use super::cells::Cell;
use super::factor::Factor;
use super::{Element, Product};
use crate::cpu::isa::Isa;
use crate::spec::contract::TILE_DEPTH;

/// Pairs of a tile's depth.
const PAIRS: usize = TILE_DEPTH / 2;

/// How far ahead of what is read in a long panel memory is asked for.
const BYTES_AHEAD: usize = 8 << 10;

impl<'a, L, E: Element> Product<'a, L, E> {
    /// `ROWS` rows from `row` on by the `PANELS` panels of a cell. Where it `ASKS`, memory is asked for ahead of what the first rows read.
    #[inline(always)]
    pub(super) fn block<I: Isa, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        isa: I,
        row: usize,
        cell: &Cell,
    ) where
        L: Factor<I, E>,
    {
        assert!(L::ROW_BLOCK == 1 || row % L::ROW_BLOCK + ROWS <= L::ROW_BLOCK, "rows of one row block");
        let stride = self.layout.row_stride();
        let mut sums = [[isa.splat(0.0); PANELS]; ROWS];
        let first_out = row * stride + cell.out_panel * 16;
        if self.accumulate {
            let out = &self.out[first_out..][..(ROWS - 1) * stride + PANELS * 16];
            for (r, sums) in sums.iter_mut().enumerate() {
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = isa.load(out[r * stride + p * 16..].first_chunk().unwrap());
                }
            }
        }
        for span_idx in cell.spans.clone() {
            let span = &self.spans[span_idx];
            let first = L::index(self.first_row + row, span.first_k, self.lhs_depth);
            let (lhs, row_distance) = (&self.lhs[first..], L::row_distance(self.lhs_depth));
            let panels: [&[[[E; 32]; PAIRS]]; PANELS] =
                from_fn(|p| tiles(&span.panels[(cell.panel + p) * self.panel_stride..][..span.depth * 16]));
            let mut ahead = panels;
            if ASKS && row == 0 {
                for (p, ahead) in ahead.iter_mut().enumerate() {
                    *ahead = self.ahead::<I, PANELS>(span_idx, cell.panel, p).unwrap_or(panels[p]);
                }
            }
            for tile in 0..span.depth / TILE_DEPTH {
                let at = L::index(0, tile * TILE_DEPTH, self.lhs_depth);
                let rows: [&[[L; 2]; PAIRS]; ROWS] =
                    from_fn(|r| lhs[r * row_distance + at..][..TILE_DEPTH].as_chunks().0.first_chunk().unwrap());
                let panels = panels.map(|tiles| &tiles[tile]);
                let ahead = ahead.map(|tiles| &tiles[tile]);
                for pair in 0..PAIRS {
                    let mut weights = [[isa.splat(0.0); 2]; PANELS];
                    for p in 0..PANELS {
                        weights[p] = L::weights(isa, &panels[p][pair]);
                        if ASKS {
                            isa.ask(&ahead[p][pair]);
                        }
                    }
                    // Panels inside of rows: a broadcast is used up before the next is made, and no register waits.
                    for step in 0..L::STEPS {
                        for (x, sums) in rows.iter().zip(&mut sums) {
                            L::step::<PANELS>(isa, &x[pair], step, &weights, sums);
                        }
                    }
                }
            }
        }
        let out = &mut self.out[first_out..][..(ROWS - 1) * stride + PANELS * 16];
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                isa.store(*sum, out[r * stride + p * 16..].first_chunk_mut().unwrap());
            }
        }
    }

    /// What is asked for while panel `panel + p` of a span is read, of `PANELS` from `panel` on: as much of what is read next but a few. None where that is
    /// not known.
    #[inline(always)]
    fn ahead<I: Isa, const PANELS: usize>(&self, span: usize, panel: usize, p: usize) -> Option<&'a [[[E; 32]; PAIRS]]> {
        let (n_spans, len) = (self.spans.len(), self.spans[span].depth * 16);
        let distance = BYTES_AHEAD / size_of::<E>();
        let memory = if n_spans == 1 && len > distance {
            // A long panel goes on; behind its end lies another.
            self.spans[span].panels.get((panel + p) * self.panel_stride + distance..)?
        } else {
            let turns = (E::asks_ahead::<I>() / size_of::<E>()).div_ceil(len * PANELS);
            // Never in the span that is read: with four panels of four pages decode was a tenth to a fifth slower on Zen 3.
            let turns = if n_spans > 1 && turns.is_multiple_of(n_spans) { turns - 1 } else { turns };
            let (asked_panel, asked_span) = (panel + (span + turns) / n_spans * PANELS, (span + turns) % n_spans);
            match asked_panel.checked_sub(self.span_panels()) {
                None => self.spans[asked_span].panels.get((asked_panel + p) * self.panel_stride..)?,
                Some(behind) => self.next.get(behind / PANELS * n_spans + asked_span)?.get(p * len..)?,
            }
        };
        Some(tiles(memory.get(..len)?))
    }
}

/// A panel's tiles, pair by pair.
#[inline(always)]
fn tiles<E>(panel: &[E]) -> &[[[E; 32]; PAIRS]] {
    panel.as_chunks().0.as_chunks().0
}
