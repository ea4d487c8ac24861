//! The product on tiles: two row tiles by two panels while there are that many, so that four loads feed four products.
//!
//! A tile is loaded in 8 cycles from the first cache and several times that from the second, and four products take 64. So a large product goes depth
//! block by depth block: the block's part of two panels stays in the first cache while all rows pass, and sums wait in the second, packed as
//! tiles. Up to sixteen rows go by four panels at once and through the whole depth, four streams of weights, since there memory is what bounds.

mod ahead;
mod sums;

use std::arch::asm;

use ahead::{Ahead, Soon};
use sums::{SumTile, start_four, store_four};

use super::Amx;
use super::tile::{TILE, dot, load};
use crate::cpu::isa::Kernel;
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::{Product, Span};

/// Elements of a bf16 tile; the next tile along the depth starts there.
const TILE_LEN: usize = 512;
/// Bytes from one row of a packed tile to the next.
const STRIDE: usize = 64;
/// Elements of a cache line.
const LINE_LEN: usize = STRIDE / 2;
/// Tiles of a depth block, about: two panels of 8 tiles are 16 KiB, a third of the first cache, and as much passes beside them.
const BLOCK_TILES: usize = 8;
/// Row tiles from which a product goes by depth blocks.
const BLOCKED_ROW_TILES: usize = 4;

/// Some of the spans, or a part of one.
#[derive(Clone, Copy)]
struct Depth<'a> {
    spans: &'a [Span<'a, u16>],
    /// Whether sums begin at zero here.
    from_zero: bool,
    /// Whether they are finished here.
    is_last: bool,
    /// Whether it is one of several depth blocks.
    is_part: bool,
}

impl Kernel<Amx> for Product<'_, u16, u16> {
    #[inline(always)]
    fn run(self, _: Amx) {
        self.check();
        // So `out` has all sixteen rows of each tile; what unused ones hold nobody reads.
        assert!(self.layout.has_whole_tiles() || self.n_rows.is_multiple_of(TILE), "rows in tiles");
        assert!(self.finished.is_none() || self.n_rows.is_multiple_of(TILE), "finished rows in tiles");
        Tiles { n_row_tiles: self.n_rows.div_ceil(TILE), soon: Soon::new(self.soon), args: self }.sweep();
    }
}

/// A product that has been checked.
struct Tiles<'a> {
    args: Product<'a, u16, u16>,
    n_row_tiles: usize,
    soon: Soon<'a>,
}

impl Tiles<'_> {
    #[inline(always)]
    fn sweep(&mut self) {
        let (spans, from_zero) = (self.args.spans, !self.args.accumulate);
        let n_tiles = spans[0].depth / 32;
        let blocked = spans.len() == 1 && self.n_row_tiles >= BLOCKED_ROW_TILES;
        let n_blocks = if blocked { ((n_tiles + BLOCK_TILES / 2) / BLOCK_TILES).max(1) } else { 1 };
        for block in 0..n_blocks {
            let (first, end) = (block * n_tiles / n_blocks, (block + 1) * n_tiles / n_blocks);
            let part = [Span {
                first_k: spans[0].first_k + 32 * first,
                depth: 32 * (end - first),
                panels: &spans[0].panels[first * TILE_LEN..],
            }];
            let spans = if blocked { &part } else { spans };
            let (is_first, is_last) = (block == 0, block + 1 == n_blocks);
            self.rows(Depth { spans, from_zero: from_zero && is_first, is_last, is_part: n_blocks > 1 });
        }
    }

    /// All rows of a depth block.
    #[inline(always)]
    fn rows(&mut self, depth: Depth<'_>) {
        if self.n_row_tiles == 1 {
            return self.one_row_tile(depth);
        }
        let mut row_tile = 0;
        while row_tile + 2 <= self.n_row_tiles {
            self.panels::<2>(row_tile, depth);
            row_tile += 2;
        }
        if row_tile < self.n_row_tiles {
            self.panels::<1>(row_tile, depth);
        }
    }

    /// All panels of `ROWS` row tiles.
    #[inline(always)]
    fn panels<const ROWS: usize>(&mut self, row_tile: usize, depth: Depth<'_>) {
        let mut panel = 0;
        while panel + 2 <= self.args.n_panels {
            self.block::<ROWS, 2>(row_tile, panel, depth);
            panel += 2;
        }
        if panel < self.args.n_panels {
            self.block::<ROWS, 1>(row_tile, panel, depth);
        }
    }

    /// All panels of the only row tile.
    #[inline(always)]
    fn one_row_tile(&mut self, depth: Depth<'_>) {
        let mut panel = 0;
        while panel + 4 <= self.args.n_panels {
            self.one_by_four(panel, depth);
            panel += 4;
        }
        while panel + 2 <= self.args.n_panels {
            self.block::<1, 2>(0, panel, depth);
            panel += 2;
        }
        if panel < self.args.n_panels {
            self.block::<1, 1>(0, panel, depth);
        }
    }

    /// First element of a row tile of the left operand; inside of it, as `Product::check` has found.
    #[inline(always)]
    fn lhs_tile(&self, row_tile: usize, span: &Span<'_, u16>) -> *const u16 {
        let args = &self.args;
        let first = <u16 as LhsElement>::index(args.first_row + row_tile * TILE, span.first_k, args.lhs_depth);
        args.lhs.as_ptr().wrapping_add(first)
    }

    /// First element of a panel; inside, as `Product::check` has found.
    #[inline(always)]
    fn panel(&self, panel: usize, span: &Span<'_, u16>) -> *const u16 {
        span.panels.as_ptr().wrapping_add(panel * self.args.panel_stride)
    }

    /// Where a tile of the sums goes once all of this depth is in it.
    #[inline(always)]
    fn sum_after(&mut self, row_tile: usize, panel: usize, depth: Depth<'_>) -> SumTile {
        match &self.args.finished {
            Some(rows) if depth.is_last => {
                SumTile { rows: rows.at(row_tile * TILE, panel), stride_bytes: 4 * rows.stride() }
            }
            _ => self.sum(row_tile, panel),
        }
    }

    /// Where a tile of the sums lies.
    #[inline(always)]
    fn sum(&mut self, row_tile: usize, panel: usize) -> SumTile {
        let layout = self.args.layout;
        // Inside `out` to the end of its last row, as has been checked. By `wrapping_add`, for pointers to several tiles live side by side, each
        // from the start of `out`.
        let rows = self.args.out.as_mut_ptr().wrapping_add(layout.index(row_tile * TILE, panel));
        SumTile { rows, stride_bytes: 4 * (layout.index(1, 0) - layout.index(0, 0)) }
    }

    /// `ROWS` row tiles by `PANELS` panels, each one or two.
    #[inline(always)]
    fn block<const ROWS: usize, const PANELS: usize>(&mut self, row_tile: usize, panel: usize, depth: Depth<'_>) {
        // Of what is not there, the first stands in and is not used.
        let (row, col) = (row_tile + ROWS - 1, panel + PANELS - 1);
        let tiles = [(row_tile, panel), (row_tile, col), (row, panel), (row, col)];
        let used = [true, PANELS > 1, ROWS > 1, ROWS > 1 && PANELS > 1];
        let sums: [SumTile; 4] = tiles.map(|(row_tile, panel)| self.sum(row_tile, panel));
        // SAFETY: a caller of `Isa::product` holds an `Amx` and has configured the tiles; `sums` are whole tiles inside
        // of `out`, and nothing else reads or writes it meanwhile.
        unsafe { start_four(&sums, used, depth) };
        let mut ahead = if ROWS > 1 && PANELS > 1 { Ahead::of(self, row_tile, panel, depth) } else { Ahead::nothing() };
        for span in depth.spans {
            let (a0, a1) = (self.lhs_tile(row_tile, span), self.lhs_tile(row, span));
            let (b0, b1) = (self.panel(panel, span), self.panel(col, span));
            for t in 0..span.depth / 32 {
                // SAFETY: tiles as above. `Product::check` has found `span.depth` elements of each row tile and of each panel inside their
                // slices, so tile `t` of each is readable.
                unsafe {
                    load!("4", a0.add(t * TILE_LEN), STRIDE);
                    load!("6", b0.add(t * TILE_LEN), STRIDE);
                    dot!("0", "4", "6");
                    self.soon.ask();
                    if PANELS > 1 {
                        load!("7", b1.add(t * TILE_LEN), STRIDE);
                        dot!("1", "4", "7");
                    }
                    ahead.ask();
                    self.soon.ask();
                    if ROWS > 1 {
                        load!("5", a1.add(t * TILE_LEN), STRIDE);
                        dot!("2", "5", "6");
                    }
                    if ROWS > 1 && PANELS > 1 {
                        dot!("3", "5", "7");
                    }
                }
            }
        }
        let sums = tiles.map(|(row_tile, panel)| self.sum_after(row_tile, panel, depth));
        // SAFETY: as above; and if they are finished rows instead, these are whole tiles of rows that are this product's alone.
        unsafe { store_four(&sums, used) };
    }

    /// One row tile by four panels.
    #[inline(always)]
    fn one_by_four(&mut self, panel: usize, depth: Depth<'_>) {
        let sums: [SumTile; 4] = [0, 1, 2, 3].map(|p| self.sum(0, panel + p));
        // SAFETY: as in `block`.
        unsafe { start_four(&sums, [true; 4], depth) };
        for span in depth.spans {
            let a = self.lhs_tile(0, span);
            let b = [0, 1, 2, 3].map(|p| self.panel(panel + p, span));
            for t in 0..span.depth / 32 {
                // SAFETY: as in `block`.
                unsafe {
                    load!("4", a.add(t * TILE_LEN), STRIDE);
                    load!("5", b[0].add(t * TILE_LEN), STRIDE);
                    dot!("0", "4", "5");
                    self.soon.ask();
                    load!("6", b[1].add(t * TILE_LEN), STRIDE);
                    dot!("1", "4", "6");
                    self.soon.ask();
                    load!("7", b[2].add(t * TILE_LEN), STRIDE);
                    dot!("2", "4", "7");
                    self.soon.ask();
                    load!("5", b[3].add(t * TILE_LEN), STRIDE);
                    dot!("3", "4", "5");
                    self.soon.ask();
                }
            }
        }
        let sums = [0, 1, 2, 3].map(|p| self.sum_after(0, panel + p, depth));
        // SAFETY: as in `block`.
        unsafe { store_four(&sums, [true; 4]) };
    }
}
