//! Products of quantised weights on AMX tiles of int8: 16 rows by 64 codes times 64 by 16 columns are exact sums in
//! i32, whatever M is, so the bits are those of every other integer kernel.
//!
//! | file | what |
//! |---|---|
//! | `channel` | one group: the sums of all of K stay integers |
//! | `groups` | several: the sums of each are scaled while the tiles multiply the next |
//! | `unpacked` | their weights as tiles of i8 |

mod channel;
mod groups;
mod unpacked;

use super::avx512::Avx512;
use super::tile;
use crate::cpu::isa::{Kernel, Target};
use crate::cpu::matrix::Block;
use crate::cpu::product::TILE_ROWS;
use crate::cpu::quant::{QuantPanels, QuantProduct, TILE_CODES, Width};
use crate::spec::contract::PANEL_COLS;

/// Rows from which on tiles are faster than vectors, which multiply one row as fast as memory gives its weights.
const MIN_ROWS: usize = 16;

/// Proof that this CPU has AMX-INT8: only [`Int8Tiles::detect`] makes one, for a table that has proof of tiles.
#[derive(Clone, Copy)]
pub struct Int8Tiles(Avx512);

impl Int8Tiles {
    /// The instructions, if this machine has them. To be called once tiles are permitted.
    pub fn detect(vectors: Avx512) -> Option<Self> {
        tile::multiplies_int8().then_some(Self(vectors))
    }

    /// Whether so many rows by these weights are a case for tiles. Groups of more than 512 that are not all of K are
    /// left to vectors.
    #[inline(always)]
    pub fn pay(self, n_rows: usize, weights: &QuantPanels) -> bool {
        n_rows >= MIN_ROWS && (is_channel(weights) || weights.group_len <= unpacked::MAX_UNPACKED_LEN)
    }

    /// Whether sums of such a product lie in tiles.
    #[inline(always)]
    pub fn sums_in_tiles(self, n_rows: usize, weights: &QuantPanels) -> bool {
        self.pay(n_rows, weights) && is_channel(weights)
    }

    /// The product, of rows whose codes lie in tiles.
    #[inline(always)]
    pub fn quant_product(self, args: QuantProduct<'_>) {
        self.0.run(TileProduct { args, _proof: self });
    }
}

/// 8 bits, and one scale for a column.
fn is_channel(weights: &QuantPanels) -> bool {
    weights.width == Width::Int8 && weights.n_groups == 1
}

struct TileProduct<'a> {
    args: QuantProduct<'a>,
    _proof: Int8Tiles,
}

impl Kernel<Avx512> for TileProduct<'_> {
    #[inline(always)]
    fn run(mut self, isa: Avx512) {
        check(&self.args);
        // SAFETY: there is proof that tiles are permitted.
        unsafe { tile::configure(TILE_ROWS) };
        if is_channel(self.args.weights) {
            channel::sweep(isa, self.args);
        } else {
            assert!(self.args.finished.is_none(), "groups store sums alone");
            groups::sweep(isa, &mut self.args);
        }
        // SAFETY: as above.
        unsafe { tile::release() };
    }
}

/// Panics unless all that the kernels touch lies inside of its slice; their unchecked loads rest on it.
#[inline(always)]
fn check(args: &QuantProduct<'_>) {
    let QuantProduct { rows, weights, block, out, .. } = args;
    assert!(rows.tiled && block.n_rows > 0 && block.n_panels > 0 && block.first_row.is_multiple_of(TILE_ROWS));
    assert!(block.layout.index(block.n_rows - 1, block.n_panels - 1) + PANEL_COLS <= out.len());
    let n_row_tiles = (block.first_row + block.n_rows).div_ceil(TILE_ROWS);
    assert!(n_row_tiles * row_tile_codes(weights) <= rows.codes().len());
    assert!(n_row_tiles * TILE_ROWS * weights.n_groups <= rows.groups.len());
    assert!((block.first_panel + block.n_panels) * weights.panel_lines() <= weights.lines.len());
}

/// Codes of sixteen rows.
#[inline(always)]
fn row_tile_codes(weights: &QuantPanels) -> usize {
    TILE_ROWS * weights.n_groups * weights.group_len.next_multiple_of(TILE_CODES)
}

/// Rows and columns of a quad, two tiles by two.
const QUAD: usize = 32;

/// Room for the sums of a quad beside the result.
#[repr(C, align(64))]
struct Spare([f32; QUAD * QUAD]);

/// Where the sums of two row tiles by two panels lie: in the result, or beside it where that has fewer rows or columns.
struct Quad {
    /// Rows of 32 elements, [`Quad::stride`] apart: as many rows as the quad has row tiles.
    sums: *mut f32,
    stride: usize,
    /// One or two.
    n_row_tiles: usize,
    /// Rows and columns that lie beside the result; no rows where none do.
    beside: (usize, usize),
    /// First element in the result.
    first: usize,
}

impl Quad {
    /// The quad from row `row` and panel `panel` of the block on, with what the result holds.
    #[inline(always)]
    fn new(block: &Block, out: &mut [f32], (row, panel): (usize, usize), spare: &mut Spare) -> Self {
        let (first, stride) = (block.layout.index(row, panel), block.layout.row_stride());
        let n_rows = QUAD.min(block.n_rows - row);
        let n_columns = QUAD.min((block.n_panels - panel) * PANEL_COLS);
        let n_row_tiles = n_rows.div_ceil(TILE_ROWS);
        if n_rows.is_multiple_of(TILE_ROWS) && n_columns == QUAD {
            // Inside to the end of its last row, as `check` has found.
            let sums = out[first..].as_mut_ptr();
            return Self { sums, stride, n_row_tiles, beside: (0, 0), first };
        }
        for (r, row) in spare.0.chunks_exact_mut(QUAD).take(n_rows).enumerate() {
            row[..n_columns].copy_from_slice(&out[first + r * stride..][..n_columns]);
        }
        Self { sums: spare.0.as_mut_ptr(), stride: QUAD, n_row_tiles, beside: (n_rows, n_columns), first }
    }

    /// The two panels' sums of a row.
    ///
    /// # Safety
    /// `row` is below 16 times `n_row_tiles`, and nothing else holds the row.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller promises that the row is in nobody else's hands")]
    unsafe fn row(&self, row: usize) -> &mut [[f32; PANEL_COLS]; 2] {
        // SAFETY: such a row is 32 elements of the result or of the spare room, which outlive the quad.
        unsafe { &mut *self.sums.add(row * self.stride).cast() }
    }

    /// Copies to the result what lies beside it.
    #[inline(always)]
    fn finish(&self, block: &Block, out: &mut [f32], spare: &Spare) {
        let (n_rows, n_columns) = self.beside;
        for (r, row) in spare.0.chunks_exact(QUAD).take(n_rows).enumerate() {
            out[self.first + r * block.layout.row_stride()..][..n_columns].copy_from_slice(&row[..n_columns]);
        }
    }
}
