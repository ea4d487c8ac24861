//! How a product on tiles goes through its operands, whatever the numbers in them: two row tiles by two panels while there are that many, so that four
//! loads feed four products.
//!
//! A tile is loaded in 8 cycles from the first cache and several times that from the second, and four products take 64. So a large product goes depth
//! block by depth block: the block's part of two row tiles stays in the first cache while all panels pass, and sums wait in the second, packed as
//! tiles. Rows go outermost, so that finished sums fill the rows of a result one after the other. Up to sixteen rows go by four panels at once and
//! through the whole depth, four streams of weights, since there memory is what bounds.

mod ahead;
mod sums;

use std::arch::asm;

use ahead::{Ahead, Soon};
pub use sums::{SumTile, Sums};
use sums::{start_four, store_four, turn_four};

use super::tile::{TILE, load};
use crate::cpu::disjoint::SharedRows;

/// Bytes of a tile of a left operand or of a panel; the next one along the depth follows.
pub const TILE_BYTES: usize = 1024;
/// Bytes from one row of a packed tile to the next.
const STRIDE: usize = 64;
/// Tiles of a depth block, about: two panels of 8 tiles are 16 KiB, a third of the first cache, and as much passes beside them.
const BLOCK_TILES: usize = 8;
/// Row tiles from which a product goes by depth blocks.
const BLOCKED_ROW_TILES: usize = 4;
/// Most spans of a product: the pages of a chunk.
pub const MAX_SPANS: usize = 4;

/// What is multiplied.
pub trait TileDots {
    /// `tile SUM += tile A * tile B`
    ///
    /// # Safety
    /// The tiles are configured.
    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>();

    /// What becomes of sums once all of the depth is in them: tile after tile, with its row tile and its panel.
    ///
    /// # Safety
    /// The tile may be read and written.
    #[inline(always)]
    unsafe fn finish(&mut self, _sums: &SumTile, _row_tile: usize, _panel: usize) {}
}

/// A part of the depth: from where on its tiles lie, those of the first row tile and those of the first panel.
#[derive(Clone, Copy)]
pub struct TileSpan {
    pub lhs: *const u8,
    pub panels: *const u8,
    pub n_tiles: usize,
}

impl TileSpan {
    /// No tiles.
    pub const NONE: Self = Self { lhs: std::ptr::null(), panels: std::ptr::null(), n_tiles: 0 };

    /// Tiles `first..end` along the depth.
    #[inline(always)]
    fn part(&self, first: usize, end: usize) -> Self {
        let [lhs, panels] = [self.lhs, self.panels].map(|tiles| tiles.wrapping_add(first * TILE_BYTES));
        Self { lhs, panels, n_tiles: end - first }
    }
}

/// A product: all row tiles by all panels.
pub struct Sweep<'a> {
    pub spans: &'a [TileSpan],
    /// From one row tile to the next.
    pub row_tile_bytes: usize,
    pub n_row_tiles: usize,
    /// From one panel to the next.
    pub panel_bytes: usize,
    pub n_panels: usize,
    pub sums: Sums,
    /// Whether to start from the sums that there are.
    pub accumulate: bool,
    /// Where the sums go in the end, if not there.
    pub finished: Option<&'a SharedRows<'a>>,
    /// As [`Product::soon`](crate::cpu::product::Product::soon).
    pub soon: &'a [&'a [u16]],
}

/// Some of the spans, or a part of one.
#[derive(Clone, Copy)]
struct Depth<'a> {
    spans: &'a [TileSpan],
    /// Whether sums begin at zero here.
    from_zero: bool,
    /// Whether they are finished here.
    is_last: bool,
    /// Whether it is one of several depth blocks.
    is_part: bool,
}

impl Sweep<'_> {
    /// Runs it.
    ///
    /// # Safety
    /// The tiles are configured; every tile of the spans' row tiles and panels may be read; the sums of every row tile and panel are whole tiles that
    /// are this product's alone, and so are the finished rows, if any.
    #[inline(always)]
    pub unsafe fn run<D: TileDots>(&self, dots: &mut D) {
        let blocked = self.spans.len() == 1 && self.n_row_tiles >= BLOCKED_ROW_TILES;
        let n_tiles = self.spans[0].n_tiles;
        let n_blocks = if blocked { ((n_tiles + BLOCK_TILES / 2) / BLOCK_TILES).max(1) } else { 1 };
        let mut passing = Passing { sweep: self, dots, soon: Soon::new(self.soon) };
        for block in 0..n_blocks {
            let (first, end) = (block * n_tiles / n_blocks, (block + 1) * n_tiles / n_blocks);
            let part = [self.spans[0].part(first, end)];
            let spans = if blocked { &part } else { self.spans };
            let (is_first, is_last) = (block == 0, block + 1 == n_blocks);
            let depth = Depth { spans, from_zero: !self.accumulate && is_first, is_last, is_part: n_blocks > 1 };
            // SAFETY: passed on to the caller.
            unsafe { passing.rows(depth) };
        }
    }

    /// The first tile of a row tile.
    #[inline(always)]
    fn lhs(&self, row_tile: usize, span: &TileSpan) -> *const u8 {
        span.lhs.wrapping_add(row_tile * self.row_tile_bytes)
    }

    /// The first tile of a panel.
    #[inline(always)]
    fn panel(&self, panel: usize, span: &TileSpan) -> *const u8 {
        span.panels.wrapping_add(panel * self.panel_bytes)
    }

    /// Where a tile of the sums goes once all of this depth is in it.
    #[inline(always)]
    fn sum_after(&self, row_tile: usize, panel: usize, depth: Depth<'_>) -> SumTile {
        match self.finished {
            Some(rows) if depth.is_last => SumTile::finished(rows, row_tile, panel),
            _ => self.sums.tile(row_tile, panel),
        }
    }
}

/// How a block follows the one before it.
#[derive(Clone, Copy)]
struct Turn {
    /// Its sums are in their tiles.
    started: bool,
    /// First panel of the block that it starts: each tile as soon as it is free, so that the sums on their way in do not wait for all those on their
    /// way out.
    next: Option<usize>,
}

impl Turn {
    /// It starts, and nothing after it.
    const ALONE: Self = Self { started: false, next: None };
}

/// A sweep under way. Its functions have the safety contract of [`Sweep::run`].
struct Passing<'a, D> {
    sweep: &'a Sweep<'a>,
    dots: &'a mut D,
    soon: Soon<'a>,
}

impl<D: TileDots> Passing<'_, D> {
    /// All rows of a depth block.
    #[inline(always)]
    unsafe fn rows(&mut self, depth: Depth<'_>) {
        let n_row_tiles = self.sweep.n_row_tiles;
        // SAFETY: passed on to the caller; all row tiles are below their number.
        unsafe {
            if n_row_tiles == 1 {
                return self.one_row_tile(depth);
            }
            let mut row_tile = 0;
            while row_tile + 2 <= n_row_tiles {
                self.panels::<2>(row_tile, depth);
                row_tile += 2;
            }
            if row_tile < n_row_tiles {
                self.panels::<1>(row_tile, depth);
            }
        }
    }

    /// All panels of `ROWS` row tiles.
    #[inline(always)]
    unsafe fn panels<const ROWS: usize>(&mut self, row_tile: usize, depth: Depth<'_>) {
        let n_panels = self.sweep.n_panels;
        // SAFETY: as above; all panels are below their number.
        unsafe {
            let mut panel = 0;
            while panel + 2 <= n_panels {
                let turn = Turn { started: panel > 0, next: (panel + 4 <= n_panels).then_some(panel + 2) };
                self.block::<ROWS, 2>(row_tile, panel, depth, turn);
                panel += 2;
            }
            if panel < n_panels {
                self.block::<ROWS, 1>(row_tile, panel, depth, Turn::ALONE);
            }
        }
    }

    /// All panels of the only row tile.
    #[inline(always)]
    unsafe fn one_row_tile(&mut self, depth: Depth<'_>) {
        let n_panels = self.sweep.n_panels;
        // SAFETY: as above.
        unsafe {
            let mut panel = 0;
            while panel + 4 <= n_panels {
                self.one_by_four(panel, depth);
                panel += 4;
            }
            while panel + 2 <= n_panels {
                self.block::<1, 2>(0, panel, depth, Turn::ALONE);
                panel += 2;
            }
            if panel < n_panels {
                self.block::<1, 1>(0, panel, depth, Turn::ALONE);
            }
        }
    }

    /// `ROWS` row tiles by `PANELS` panels, each one or two.
    #[inline(always)]
    unsafe fn block<const ROWS: usize, const PANELS: usize>(
        &mut self,
        row_tile: usize,
        panel: usize,
        depth: Depth<'_>,
        turn: Turn,
    ) {
        // Of what is not there, the first stands in and is not used.
        let (row, col) = (row_tile + ROWS - 1, panel + PANELS - 1);
        let tiles = [(row_tile, panel), (row_tile, col), (row, panel), (row, col)];
        let used = [true, PANELS > 1, ROWS > 1, ROWS > 1 && PANELS > 1];
        let sweep = self.sweep;
        let sums = tiles.map(|(row_tile, panel)| sweep.sums.tile(row_tile, panel));
        if !turn.started {
            // SAFETY: passed on to the caller, whose sums these are.
            unsafe { start_four(&sums, used, depth.from_zero) };
        }
        if depth.is_part && ROWS > 1 && PANELS > 1 {
            let mut ahead = Ahead::of(sweep, row_tile, panel, depth);
            // SAFETY: as above.
            unsafe { self.steps::<ROWS, PANELS>(row_tile, panel, depth, |_| ahead.ask()) };
        } else {
            // SAFETY: as above.
            unsafe {
                self.steps::<ROWS, PANELS>(row_tile, panel, depth, |soon| {
                    soon.ask();
                    soon.ask();
                })
            };
        }
        let next = turn.next.map(|next| tiles.map(|(row, col)| sweep.sums.tile(row, next + col - panel)));
        // SAFETY: as above; the next block has the same rows and as many panels.
        unsafe { self.end(tiles, used, depth, next) };
    }

    /// The steps of a block along the depth, with `ask` after some product of each.
    #[inline(always)]
    unsafe fn steps<const ROWS: usize, const PANELS: usize>(
        &mut self,
        row_tile: usize,
        panel: usize,
        depth: Depth<'_>,
        mut ask: impl FnMut(&mut Soon<'_>),
    ) {
        let sweep = self.sweep;
        for span in depth.spans {
            let [a0, a1] = [row_tile, row_tile + ROWS - 1].map(|row_tile| sweep.lhs(row_tile, span));
            let [b0, b1] = [panel, panel + PANELS - 1].map(|panel| sweep.panel(panel, span));
            for t in (0..span.n_tiles).map(|t| t * TILE_BYTES) {
                // SAFETY: passed on to the caller; tile `t` of each of these is one of the span's.
                unsafe {
                    load!("4", a0.add(t), STRIDE);
                    load!("6", b0.add(t), STRIDE);
                    D::dot::<0, 4, 6>();
                    if PANELS > 1 {
                        load!("7", b1.add(t), STRIDE);
                        D::dot::<1, 4, 7>();
                    }
                    ask(&mut self.soon);
                    if ROWS > 1 {
                        load!("5", a1.add(t), STRIDE);
                        D::dot::<2, 5, 6>();
                    }
                    if ROWS > 1 && PANELS > 1 {
                        D::dot::<3, 5, 7>();
                    }
                }
            }
        }
    }

    /// One row tile by four panels.
    #[inline(always)]
    unsafe fn one_by_four(&mut self, panel: usize, depth: Depth<'_>) {
        let sweep = self.sweep;
        let tiles = [0, 1, 2, 3].map(|p| (0, panel + p));
        let sums = tiles.map(|(row_tile, panel)| sweep.sums.tile(row_tile, panel));
        // SAFETY: as in `block`.
        unsafe { start_four(&sums, [true; 4], depth.from_zero) };
        for span in depth.spans {
            let a = sweep.lhs(0, span);
            let b = [0, 1, 2, 3].map(|p| sweep.panel(panel + p, span));
            for t in (0..span.n_tiles).map(|t| t * TILE_BYTES) {
                // SAFETY: as in `block`.
                unsafe {
                    load!("4", a.add(t), STRIDE);
                    load!("5", b[0].add(t), STRIDE);
                    D::dot::<0, 4, 5>();
                    self.soon.ask();
                    load!("6", b[1].add(t), STRIDE);
                    D::dot::<1, 4, 6>();
                    self.soon.ask();
                    load!("7", b[2].add(t), STRIDE);
                    D::dot::<2, 4, 7>();
                    self.soon.ask();
                    load!("5", b[3].add(t), STRIDE);
                    D::dot::<3, 4, 5>();
                    self.soon.ask();
                }
            }
        }
        // SAFETY: as in `block`.
        unsafe { self.end(tiles, [true; 4], depth, None) };
    }

    /// Stores the sums in tiles 0 to 3, starts those of `next` there, and finishes the stored ones if no depth follows.
    #[inline(always)]
    unsafe fn end(
        &mut self,
        tiles: [(usize, usize); 4],
        used: [bool; 4],
        depth: Depth<'_>,
        next: Option<[SumTile; 4]>,
    ) {
        let sums = tiles.map(|(row_tile, panel)| self.sweep.sum_after(row_tile, panel, depth));
        // SAFETY: passed on to the caller, whose sums and finished rows these are.
        unsafe {
            match &next {
                Some(next) => turn_four(&sums, next, used, depth.from_zero),
                None => store_four(&sums, used),
            }
        }
        for (i, (row_tile, panel)) in tiles.into_iter().enumerate() {
            if depth.is_last && used[i] {
                // SAFETY: as above.
                unsafe { self.dots.finish(&sums[i], row_tile, panel) };
            }
        }
    }
}
