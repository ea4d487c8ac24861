//! The product on tiles: two row tiles by two panels while there are that many, so that four loads feed four products.
//!
//! A tile is loaded in 8 cycles from the first cache and several times that from the second, and four products take 64. So a large product goes depth
//! block by depth block: the block's part of two panels stays in the first cache while all rows pass, and sums wait in the second, packed as
//! tiles. Up to sixteen rows go by four panels at once and through the whole depth, four streams of weights, since there memory is what bounds.

use std::arch::asm;

use super::Amx;
use super::tile::{TILE, dot, load, prefetch, store, zero};
use crate::cpu::isa::Kernel;
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::{Product, Span};

/// Elements of a bf16 tile; the next tile along the depth starts there.
const TILE_LEN: usize = 512;
/// Bytes from one row of a packed tile to the next.
const STRIDE: usize = 64;
/// Elements of a cache line.
const LINE_LEN: usize = STRIDE / 2;
/// Tiles of a depth block, about: two panels of 8 tiles are 16 KiB, a third of the first cache.
const BLOCK_TILES: usize = 8;
/// Row tiles from which a product goes by depth blocks.
const BLOCKED_ROW_TILES: usize = 4;

/// Some of the spans, or a part of one, and whether sums begin at zero there.
#[derive(Clone, Copy)]
struct Depth<'a> {
    spans: &'a [Span<'a, u16>],
    from_zero: bool,
    is_part: bool,
}

impl Kernel<Amx> for Product<'_, u16, u16> {
    #[inline(always)]
    fn run(self, _: Amx) {
        self.check();
        // So `out` has all sixteen rows of each tile; what unused ones hold nobody reads.
        assert!(self.layout.has_whole_tiles() || self.n_rows.is_multiple_of(TILE), "rows in tiles");
        Tiles { n_row_tiles: self.n_rows.div_ceil(TILE), args: self }.sweep();
    }
}

/// A product that has been checked.
struct Tiles<'a> {
    args: Product<'a, u16, u16>,
    n_row_tiles: usize,
}

impl Tiles<'_> {
    #[inline(always)]
    fn sweep(&mut self) {
        let (spans, from_zero) = (self.args.spans, !self.args.accumulate);
        let n_tiles = spans[0].depth / 32;
        let blocked = spans.len() == 1 && self.n_row_tiles >= BLOCKED_ROW_TILES;
        let n_blocks = if blocked { n_tiles.div_ceil(BLOCK_TILES + 1) } else { 1 };
        for block in 0..n_blocks {
            let (first, end) = (block * n_tiles / n_blocks, (block + 1) * n_tiles / n_blocks);
            let part = [Span {
                first_k: spans[0].first_k + 32 * first,
                depth: 32 * (end - first),
                panels: &spans[0].panels[first * TILE_LEN..],
            }];
            let spans = if blocked { &part } else { spans };
            self.panels(Depth { spans, from_zero: from_zero && block == 0, is_part: n_blocks > 1 });
        }
    }

    /// All panels of a depth block.
    #[inline(always)]
    fn panels(&mut self, depth: Depth<'_>) {
        let n_panels = self.args.n_panels;
        let mut panel = 0;
        while self.n_row_tiles == 1 && panel + 4 <= n_panels {
            self.one_by_four(panel, depth);
            panel += 4;
        }
        while panel < n_panels {
            if panel + 2 <= n_panels {
                self.rows::<2>(panel, depth);
            } else {
                self.rows::<1>(panel, depth);
            }
            panel += 2;
        }
    }

    /// All rows of `PANELS` panels.
    #[inline(always)]
    fn rows<const PANELS: usize>(&mut self, panel: usize, depth: Depth<'_>) {
        let mut row_tile = 0;
        while row_tile + 2 <= self.n_row_tiles {
            self.prefetch(row_tile, panel, depth);
            self.block::<2, PANELS>(row_tile, panel, depth);
            row_tile += 2;
        }
        if row_tile < self.n_row_tiles {
            self.block::<1, PANELS>(row_tile, panel, depth);
        }
    }

    /// Asks for a share of the next two panels' part of this depth block; without it a panel from memory is waited for by its first rows.
    #[inline(always)]
    fn prefetch(&self, row_tile: usize, panel: usize, depth: Depth<'_>) {
        if !depth.is_part {
            return;
        }
        let span = &depth.spans[0];
        let lines = (span.depth / 2).div_ceil(self.n_row_tiles / 2);
        for ahead in [panel + 2, panel + 3] {
            let panel = span.panels.as_ptr().wrapping_add(ahead * self.args.panel_stride);
            let share = panel.wrapping_add(row_tile / 2 * lines * LINE_LEN);
            for line in 0..lines {
                // SAFETY: a prefetch reads nothing: any address will do, beyond the last panel too.
                unsafe { prefetch!(share.wrapping_add(line * LINE_LEN)) }
            }
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
        // of the result, and nothing else reads or writes it meanwhile.
        unsafe { start_four(&sums, used, depth) };
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
                    if PANELS > 1 {
                        load!("7", b1.add(t * TILE_LEN), STRIDE);
                        dot!("1", "4", "7");
                    }
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
        // SAFETY: as above.
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
                    load!("6", b[1].add(t * TILE_LEN), STRIDE);
                    dot!("1", "4", "6");
                    load!("7", b[2].add(t * TILE_LEN), STRIDE);
                    dot!("2", "4", "7");
                    load!("5", b[3].add(t * TILE_LEN), STRIDE);
                    dot!("3", "4", "5");
                }
            }
        }
        // SAFETY: as in `block`.
        unsafe { store_four(&sums, [true; 4]) };
    }
}

/// Where a tile of sums lies.
struct SumTile {
    rows: *mut f32,
    stride_bytes: usize,
}

/// A tile of sums starts from zero, or from what lies there.
macro_rules! start {
    ($tile:literal, $sum:expr, $depth:expr) => {
        if $depth.from_zero { zero!($tile) } else { load!($tile, $sum.rows, $sum.stride_bytes) }
    };
}

/// Starts the sums in tiles 0 to 3.
///
/// # Safety
/// The tiles are configured, and each of `sums` that is used may be read.
#[inline(always)]
unsafe fn start_four(sums: &[SumTile; 4], used: [bool; 4], depth: Depth<'_>) {
    // SAFETY: passed on to the caller.
    unsafe {
        if used[0] {
            start!("0", sums[0], depth);
        }
        if used[1] {
            start!("1", sums[1], depth);
        }
        if used[2] {
            start!("2", sums[2], depth);
        }
        if used[3] {
            start!("3", sums[3], depth);
        }
    }
}

/// Stores the sums of tiles 0 to 3.
///
/// # Safety
/// The tiles are configured, and each of `sums` that is used may be written.
#[inline(always)]
unsafe fn store_four(sums: &[SumTile; 4], used: [bool; 4]) {
    // SAFETY: passed on to the caller.
    unsafe {
        if used[0] {
            store!("0", sums[0].rows, sums[0].stride_bytes);
        }
        if used[1] {
            store!("1", sums[1].rows, sums[1].stride_bytes);
        }
        if used[2] {
            store!("2", sums[2].rows, sums[2].stride_bytes);
        }
        if used[3] {
            store!("3", sums[3].rows, sums[3].stride_bytes);
        }
    }
}
