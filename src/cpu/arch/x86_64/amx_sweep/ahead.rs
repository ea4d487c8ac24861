//! What comes next, asked for in the second cache while tiles are multiplied.
//!
//! A few lines at each step along the depth. A block's share at once, before its products, holds up the loads of sums
//! behind it (DESIGN.md, "One layout").

use std::arch::asm;

use super::super::tile::prefetch;
use super::{Depth, Sweep, TILE_BYTES};
use crate::cpu::buffer::LINE;

/// Cache lines of a tile.
const TILE_LINES: usize = TILE_BYTES / LINE;

/// Runs of cache lines to ask for: of the next two row tiles, and of two panels' next depth block.
pub struct Ahead {
    rows: Lines,
    panels: Lines,
}

/// Two runs of lines, some of each for every step along the depth.
struct Lines {
    next: [*const u8; 2],
    per_step: usize,
}

impl Ahead {
    /// What the block at `row_tile` and `panel` asks for: its share, so that all blocks which pass meanwhile ask for
    /// everything.
    #[inline(always)]
    pub fn of(sweep: &Sweep<'_>, row_tile: usize, panel: usize, depth: Depth) -> Self {
        let mut ahead = Self { rows: Lines::NONE, panels: Lines::NONE };
        let span = &depth.span;
        let n_tiles = span.n_tiles;
        let next_depth = n_tiles * TILE_BYTES;
        let next_row_tile = match row_tile + 2 {
            next if next < sweep.n_row_tiles => Some((next, 0)),
            _ if depth.is_last => None,
            _ => Some((0, next_depth)),
        };
        let n_pairs = sweep.n_panels.div_ceil(2);
        if let Some((row_tile, further)) = next_row_tile {
            let first = [row_tile, row_tile + 1].map(|row| sweep.lhs(row, span).wrapping_add(further));
            ahead.rows = Lines::share(first, n_tiles, panel / 2, n_pairs);
        }
        if !depth.is_last {
            let first = [panel, panel + 1].map(|panel| sweep.panel(panel, span).wrapping_add(next_depth));
            ahead.panels = Lines::share(first, n_tiles, row_tile / 2, sweep.n_row_tiles / 2);
        }
        ahead
    }

    /// Asks for some lines; once for each step along the depth.
    #[inline(always)]
    pub fn ask(&mut self) {
        self.rows.ask();
        self.panels.ask();
    }
}

impl Lines {
    const NONE: Self = Self { next: [std::ptr::null(); 2], per_step: 0 };

    /// The part `part` of `n_parts` of two runs of `n_tiles` tiles, for a block as deep.
    #[inline(always)]
    fn share(first: [*const u8; 2], n_tiles: usize, part: usize, n_parts: usize) -> Self {
        let per_step = TILE_LINES.div_ceil(n_parts);
        // Rounded up, so the last parts may find nothing left.
        let per_step = if part * per_step < TILE_LINES { per_step } else { 0 };
        Self { next: first.map(|run| run.wrapping_add(part * per_step * n_tiles * LINE)), per_step }
    }

    #[inline(always)]
    fn ask(&mut self) {
        for _ in 0..self.per_step {
            for line in &mut self.next {
                // SAFETY: a prefetch reads nothing: any address will do, beyond the end of an operand too.
                unsafe { prefetch!(*line) }
                *line = line.wrapping_add(LINE);
            }
        }
    }
}
