//! Products with bf16 panels on tiles.

use std::arch::asm;

use super::Amx;
use super::amx_sweep::{Sums, Sweep, TILE_BYTES, TileDots, TileSpan};
use super::tile::dot_tiles;
use crate::cpu::isa::Kernel;
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::{Product, Span, TILE_ROWS};
use crate::spec::contract::TILE_DEPTH;

/// Tiles of bf16; nothing is left to do to their sums.
struct Bf16;

impl TileDots for Bf16 {
    /// # Safety
    /// As [`TileDots::dot`].
    #[inline(always)]
    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>() {
        // SAFETY: the tiles are configured, says the caller, whose proof of AMX-BF16 is an `Amx`.
        unsafe { dot_tiles!("tdpbf16ps", SUM, A, B) }
    }
}

impl Kernel<Amx> for Product<'_, u16, u16> {
    #[inline(always)]
    fn run(self, _: Amx) {
        self.check();
        assert!(!self.accumulate, "sums on tiles begin at zero");
        // So `out` has all sixteen rows of each tile; what unused ones hold nobody reads.
        assert!(self.layout.has_whole_tiles() || self.n_rows.is_multiple_of(TILE_ROWS), "rows in tiles");
        assert!(self.finished.is_none() || self.n_rows.is_multiple_of(TILE_ROWS), "finished rows in tiles");
        let Span { first_k, depth, panels } = self.span;
        let lhs = <u16 as LhsElement>::index(self.first_row, first_k, self.lhs_depth);
        const { assert!(TILE_BYTES == size_of::<u16>() * TILE_ROWS * TILE_DEPTH) };
        let sweep = Sweep {
            span: TileSpan {
                lhs: self.lhs[lhs..].as_ptr().cast(),
                panels: panels.as_ptr().cast(),
                n_tiles: depth / TILE_DEPTH,
            },
            row_tile_bytes: TILE_ROWS * size_of::<u16>() * self.lhs_depth,
            n_row_tiles: self.n_rows.div_ceil(TILE_ROWS),
            panel_bytes: size_of::<u16>() * self.panel_stride,
            n_panels: self.n_panels,
            sums: Sums { out: self.out.as_mut_ptr(), layout: self.layout },
            finished: self.finished.as_ref(),
        };
        // SAFETY: a caller of `Isa::product` holds an `Amx` and has configured the tiles for at least so many rows.
        // `check` has found the span's part of the rows, of the panels, and the sums inside of their slices, and those
        // are whole tiles; `out` and the finished rows are this product's alone.
        unsafe { sweep.run(&mut Bf16, self.beside) }
    }
}
