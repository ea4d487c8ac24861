//! One group of 8-bit weights: sums stay integers to the end of K, in tiles and between blocks of K as the bits of the
//! result's elements.

use std::arch::asm;

use super::row_tile_codes;
use crate::cpu::arch::x86_64::amx_sweep::{SumTile, Sums, Sweep, TILE_BYTES, TileDots, TileSpan};
use crate::cpu::arch::x86_64::avx512::Avx512;
use crate::cpu::arch::x86_64::tile::dot_tiles;
use crate::cpu::disjoint::SharedRows;
use crate::cpu::isa::Isa;
use crate::cpu::product::TILE_ROWS;
use crate::cpu::quant::{Group, Line, QuantProduct, TILE_CODES};
use crate::spec::contract::PANEL_COLS;

/// Codes of rows by codes of weights with 128 added.
struct Int8<'a> {
    isa: Avx512,
    /// Of the block's rows.
    groups: &'a [Group],
    /// The lines of the first panel's scales and of all that is behind.
    scales: &'a [Line],
    /// Lines from a panel's scales to the next's.
    panel_lines: usize,
    /// Where scaled sums go, if not where they are.
    finished: Option<SharedRows<'a>>,
}

impl TileDots for Int8<'_> {
    /// # Safety
    /// As [`TileDots::dot`].
    #[inline(always)]
    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>() {
        // SAFETY: the tiles are configured, says the caller; there is proof of AMX-INT8.
        unsafe { dot_tiles!("tdpbsud", SUM, A, B) }
    }

    /// Takes off what the 128 in each of the weights' codes adds, and scales.
    ///
    /// # Safety
    /// As [`TileDots::finish`].
    #[inline(always)]
    unsafe fn finish(&mut self, sums: &SumTile, row_tile: usize, panel: usize) {
        let isa = self.isa;
        let scales = isa.load(self.scales[panel * self.panel_lines].as_f32());
        let finished = match &self.finished {
            Some(rows) => &SumTile::finished(rows, row_tile, panel),
            None => sums,
        };
        for (r, group) in self.groups[row_tile * TILE_ROWS..][..TILE_ROWS].iter().enumerate() {
            // SAFETY: row `r` of the tile, which may be read, says the caller.
            let sums = unsafe { *sums.row(r) };
            // It wraps, and so did the sums of the tile: what fits an i32 comes out right.
            let dots = sums.map(|sum| (sum.to_bits() as i32).wrapping_sub(group.sum.wrapping_mul(128)) as f32);
            let scaled = isa.mul(isa.load(&dots), isa.splat(group.scale));
            // SAFETY: row `r` of the tile, which may be written, or of rows that are this product's alone and have
            // whole tiles.
            isa.store(isa.mul_add(scaled, scales, isa.splat(0.0)), unsafe { &mut *finished.row(r) });
        }
    }
}

/// All rows and panels of a block, whose sums lie in tiles.
#[inline(always)]
pub fn sweep(isa: Avx512, args: QuantProduct<'_>) {
    let QuantProduct { rows, weights, block, out, finished } = args;
    assert!(block.layout.index((block.n_rows - 1) | (TILE_ROWS - 1), block.n_panels - 1) + PANEL_COLS <= out.len());
    if let Some(rows) = &finished {
        assert_eq!(rows.dim(), [block.n_rows, PANEL_COLS * block.n_panels], "finished rows");
        assert!(block.n_rows.is_multiple_of(TILE_ROWS), "finished rows in tiles");
    }
    let n_tiles = weights.group_len.div_ceil(TILE_CODES);
    // The last tile is loaded whole: where codes fill half of it, what follows is the scales, and 7 lines behind the
    // panel, which meet zeros in the rows.
    let last_panel = (block.first_panel + block.n_panels - 1) * weights.panel_lines();
    assert!(last_panel + n_tiles * (TILE_BYTES / size_of::<Line>()) <= weights.lines.len(), "tiles beyond the weights");
    let row_tile = block.first_row / TILE_ROWS;
    let lines = &weights.lines[block.first_panel * weights.panel_lines()..];
    let span = TileSpan {
        lhs: rows.codes()[row_tile * row_tile_codes(weights)..].as_ptr(),
        panels: lines.as_ptr().cast(),
        n_tiles,
    };
    const { assert!(TILE_BYTES == TILE_ROWS * TILE_CODES) };
    let sweep = Sweep {
        span,
        row_tile_bytes: row_tile_codes(weights),
        n_row_tiles: block.n_rows.div_ceil(TILE_ROWS),
        panel_bytes: size_of::<Line>() * weights.panel_lines(),
        n_panels: block.n_panels,
        sums: Sums { out: out.as_mut_ptr(), layout: block.layout },
        finished: None,
    };
    let mut dots = Int8 {
        isa,
        groups: &rows.groups[row_tile * TILE_ROWS..],
        scales: &lines[weights.code_lines()..],
        panel_lines: weights.panel_lines(),
        finished,
    };
    // SAFETY: tiles are configured for sixteen rows. `super::check` has found the row tiles inside of their slice; the
    // assertions above, every tile of the panels inside of the lines, and whole tiles of sums inside of `out`.
    unsafe { sweep.run(&mut dots, None) }
}
