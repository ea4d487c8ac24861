//! A few rows by a few panels, all sums in registers; and what is asked for meanwhile.

use std::array::from_fn;

use super::factor::Factor;
use super::{Element, Product};
use crate::cpu::isa::Isa;
use crate::spec::contract::TILE_DEPTH;

/// Pairs of a tile's depth.
const PAIRS: usize = TILE_DEPTH / 2;

/// How far ahead of what is read memory is asked for.
const BYTES_AHEAD: usize = 8 << 10;

impl<'a, L, E: Element> Product<'a, L, E> {
    /// `ROWS` rows from `row` on by `PANELS` panels from `panel` on. Where it `ASKS`, memory is asked for ahead of what
    /// the first rows read.
    #[inline(always)]
    pub(super) fn block<I: Isa, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        isa: I,
        row: usize,
        panel: usize,
    ) where
        L: Factor<I, E>,
    {
        assert!(L::ROW_BLOCK == 1 || row % L::ROW_BLOCK + ROWS <= L::ROW_BLOCK, "rows of one row block");
        let stride = self.layout.row_stride();
        let mut sums = [[isa.splat(0.0); PANELS]; ROWS];
        let first_out = row * stride + panel * 16;
        if self.accumulate {
            let out = &self.out[first_out..][..(ROWS - 1) * stride + PANELS * 16];
            for (r, sums) in sums.iter_mut().enumerate() {
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = isa.load(out[r * stride + p * 16..].first_chunk().unwrap());
                }
            }
        }
        let first = L::index(self.first_row + row, self.span.first_k, self.lhs_depth);
        let (lhs, row_distance) = (&self.lhs[first..], L::row_distance(self.lhs_depth));
        let panels: [_; PANELS] = from_fn(|p| self.tiles(panel + p, 0).expect("a panel of the product"));
        let mut ahead = panels;
        if ASKS && row == 0 {
            // Where memory ends, what is read stands for it: with a branch at each line the compiler keeps sums in
            // memory.
            ahead = from_fn(|p| self.tiles(panel + p, BYTES_AHEAD / size_of::<E>()).unwrap_or(panels[p]));
        }
        for tile in 0..self.span.depth / TILE_DEPTH {
            let at = L::index(0, tile * TILE_DEPTH, self.lhs_depth);
            let rows: [&[[L; 2]; PAIRS]; ROWS] =
                from_fn(|r| lhs[r * row_distance + at..][..TILE_DEPTH].as_chunks().0.first_chunk().unwrap());
            let (panels, ahead) = (panels.map(|tiles| &tiles[tile]), ahead.map(|tiles| &tiles[tile]));
            for pair in 0..PAIRS {
                let mut weights = [[isa.splat(0.0); 2]; PANELS];
                for p in 0..PANELS {
                    weights[p] = L::weights(isa, &panels[p][pair]);
                    if ASKS {
                        isa.prefetch(&ahead[p][pair]);
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
        let out = &mut self.out[first_out..][..(ROWS - 1) * stride + PANELS * 16];
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                isa.store(*sum, out[r * stride + p * 16..].first_chunk_mut().unwrap());
            }
        }
    }

    /// As many tiles as a panel has, pair by pair, from `distance` elements behind the beginning of panel `panel` on;
    /// None where there are not as many.
    #[inline(always)]
    fn tiles(&self, panel: usize, distance: usize) -> Option<&'a [[[E; 32]; PAIRS]]> {
        let panels = self.span.panels.get(panel * self.panel_stride + distance..)?;
        Some(panels.get(..self.span.depth * 16)?.as_chunks().0.as_chunks().0)
    }
}
