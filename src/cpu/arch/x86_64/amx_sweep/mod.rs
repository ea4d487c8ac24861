//! How a product on tiles goes through its operands, whatever the numbers in them: two row tiles by two panels while
//! there are that many, so that four loads feed four products.
//!
//! A tile is loaded in 8 cycles from the first cache and several times that from the second, and four products take 64.
//! So a large product goes depth block by depth block: the block's part of two row tiles stays in the first cache while
//! all panels pass, and sums wait in the second, packed as tiles. Rows go outermost, so that finished sums fill the
//! rows of a result one after the other. Up to sixteen rows go through the whole depth, since there memory is what
//! bounds: by four panels at once, four streams of weights; or by two where a panel is short, as those of a page of
//! keys or values are, which memory serves faster so.

mod ahead;
mod blocks;
mod sums;

use blocks::Blocks;
pub use sums::{SumTile, Sums};

use crate::cpu::disjoint::SharedRows;
use crate::cpu::product::Beside;

/// Bytes of a tile of a left operand or of a panel; the next one along the depth follows.
pub const TILE_BYTES: usize = 1024;
/// Bytes from one row of a packed tile to the next.
const STRIDE: usize = 64;
/// Tiles of a depth block, about: those of two row tiles are 16 KiB, a third of the first cache, and two panels' that
/// pass beside them are as much.
const BLOCK_TILES: usize = 8;
/// Row tiles from which a product goes by depth blocks.
const BLOCKED_ROW_TILES: usize = 4;
/// Tiles of a short panel at most, 8 KiB: a page's values have as many, and its keys with heads of 256.
const SHORT_TILES: usize = 8;

/// What is multiplied.
pub trait TileDots {
    /// `tile SUM += tile A * tile B`
    ///
    /// # Safety
    /// The tiles are configured: `SUM` and `A` with as many rows, `B` with sixteen.
    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>();

    /// What becomes of sums once all of the depth is in them: tile after tile, with its row tile and its panel.
    ///
    /// # Safety
    /// The tile may be read and written.
    #[inline(always)]
    unsafe fn finish(&mut self, _sums: &SumTile, _row_tile: usize, _panel: usize) {}
}

/// The depth, or a part of it: from where on its tiles lie, those of the first row tile and those of the first panel.
#[derive(Clone, Copy)]
pub struct TileSpan {
    pub lhs: *const u8,
    pub panels: *const u8,
    pub n_tiles: usize,
}

impl TileSpan {
    /// Tiles `first..end` along the depth.
    #[inline(always)]
    fn part(&self, first: usize, end: usize) -> Self {
        let [lhs, panels] = [self.lhs, self.panels].map(|tiles| tiles.wrapping_add(first * TILE_BYTES));
        Self { lhs, panels, n_tiles: end - first }
    }
}

/// A product: all row tiles by all panels.
pub struct Sweep<'a> {
    pub span: TileSpan,
    /// From one row tile to the next.
    pub row_tile_bytes: usize,
    pub n_row_tiles: usize,
    /// From one panel to the next.
    pub panel_bytes: usize,
    pub n_panels: usize,
    pub sums: Sums,
    /// Where the sums go in the end, if not there.
    pub finished: Option<&'a SharedRows<'a>>,
}

/// The span, or a part of it.
#[derive(Clone, Copy)]
struct Depth {
    span: TileSpan,
    /// Whether sums begin at zero here.
    from_zero: bool,
    /// Whether they are finished here.
    is_last: bool,
    /// Whether it is one of several depth blocks.
    is_part: bool,
}

impl Sweep<'_> {
    /// Runs it, with `beside` between its products where it does not go by depth blocks.
    ///
    /// # Safety
    /// The tiles are configured for as many rows as the product has or more, for sixteen if `D::finish` reads sums;
    /// every tile of the span's row tiles and panels may be read; the sums of every row tile and panel are whole tiles
    /// that are this product's alone, and so are the finished rows, if any.
    #[inline(always)]
    pub unsafe fn run<D: TileDots>(&self, dots: &mut D, beside: Option<&mut dyn Beside>) {
        let n_tiles = self.span.n_tiles;
        let is_blocked = self.n_row_tiles >= BLOCKED_ROW_TILES;
        let n_blocks = if is_blocked { ((n_tiles + BLOCK_TILES / 2) / BLOCK_TILES).max(1) } else { 1 };
        let mut blocks = Blocks { sweep: self, dots, beside: beside.map(|beside| beside as _) };
        for block in 0..n_blocks {
            let (first, end) = (block * n_tiles / n_blocks, (block + 1) * n_tiles / n_blocks);
            let (is_first, is_last) = (block == 0, block + 1 == n_blocks);
            let depth = Depth { span: self.span.part(first, end), from_zero: is_first, is_last, is_part: n_blocks > 1 };
            // SAFETY: passed on to the caller.
            unsafe { blocks.rows(depth) };
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
    fn sum_after(&self, row_tile: usize, panel: usize, depth: Depth) -> SumTile {
        match self.finished {
            Some(rows) if depth.is_last => SumTile::finished(rows, row_tile, panel),
            _ => self.sums.tile(row_tile, panel),
        }
    }
}
