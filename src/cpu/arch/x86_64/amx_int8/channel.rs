//! One group of 8-bit weights: sums stay integers to the end of K, in tiles and between blocks of K as the bits of the result's elements.

use std::arch::asm;

use super::{QUAD, Quad, Spare, row_tile_codes};
use crate::cpu::arch::x86_64::avx512::Avx512;
use crate::cpu::arch::x86_64::tile::{dot_i8_u8, load, store, zero};
use crate::cpu::isa::Isa;
use crate::cpu::quant::{Group, Line, QuantProduct, TILE_CODES, TILE_ROWS};

/// Tiles of depth that are multiplied at a time: those of two panels are 16 KiB, which stay in the first cache while the rows' tiles pass.
const BLOCK_TILES: usize = 8;

/// Lines of a tile, and bytes of a line.
const TILE_LINES: usize = 16;
const STRIDE: usize = 64;

/// A quad's operands in a block of K.
struct Operands {
    /// The rows' codes, a row tile each.
    lhs: [*const u8; 2],
    /// The weights' lines, a panel each.
    weights: [*const Line; 2],
    /// Tiles to multiply.
    n_tiles: usize,
    /// Whether sums start from zero.
    first: bool,
}

/// All rows and panels of a block.
#[inline(always)]
pub fn sweep(isa: Avx512, args: &mut QuantProduct<'_>) {
    let QuantProduct { rows, weights, block, out } = args;
    let n_tiles = weights.group_len.div_ceil(TILE_CODES);
    let mut spare = Spare([0.0; QUAD * QUAD]);
    for panel in (0..block.n_panels).step_by(2) {
        // Where there is no second panel the first serves again, for sums that nobody reads.
        let panels = [panel, (panel + 1).min(block.n_panels - 1)]
            .map(|panel| &weights.lines[(block.first_panel + panel) * weights.panel_lines()..]);
        for tile in (0..n_tiles).step_by(BLOCK_TILES) {
            for row in (0..block.n_rows).step_by(QUAD) {
                let quad = Quad::new(block, out, (row, panel), &mut spare);
                let row_tile = (block.first_row + row) / TILE_ROWS;
                let lhs = [row_tile, row_tile + quad.n_row_tiles - 1]
                    .map(|i| rows.codes()[i * row_tile_codes(weights) + tile * TILE_ROWS * TILE_CODES..].as_ptr());
                let operands = Operands {
                    lhs,
                    weights: panels.map(|lines| lines[tile * TILE_LINES..].as_ptr()),
                    n_tiles: BLOCK_TILES.min(n_tiles - tile),
                    first: tile == 0,
                };
                // SAFETY: tiles are configured. `check` has found the row tiles and panels inside of their slices, each `n_tiles` from the start;
                // the last tile of the last panel ends in the lines to spare.
                unsafe {
                    match quad.n_row_tiles {
                        1 => multiply::<1>(&operands, &quad),
                        _ => multiply::<2>(&operands, &quad),
                    }
                }
                if tile + BLOCK_TILES >= n_tiles {
                    let scales = panels.map(|lines| lines[weights.code_lines()].as_f32());
                    scale(isa, &quad, &rows.groups[row_tile * TILE_ROWS..], scales);
                }
                quad.finish(block, out, &spare);
            }
        }
    }
}

/// Adds the products of a block of K to a quad of integers.
///
/// # Safety
/// The tiles are configured, the operands as long as they say, and the quad is in nobody else's hands.
#[inline(always)]
unsafe fn multiply<const ROW_TILES: usize>(operands: &Operands, quad: &Quad) {
    let Operands { lhs: [a0, a1], weights: [b0, b1], n_tiles, first } = *operands;
    let stride = 4 * quad.stride;
    // SAFETY: passed on to the caller.
    unsafe {
        if first {
            zero!("0");
            zero!("1");
            zero!("2");
            zero!("3");
        } else {
            load!("0", quad.tile(0, 0), stride);
            load!("1", quad.tile(0, 1), stride);
            if ROW_TILES == 2 {
                load!("2", quad.tile(1, 0), stride);
                load!("3", quad.tile(1, 1), stride);
            }
        }
        for t in 0..n_tiles {
            load!("4", a0.add(t * TILE_ROWS * TILE_CODES), STRIDE);
            load!("6", b0.add(t * TILE_LINES), STRIDE);
            dot_i8_u8!("0", "4", "6");
            load!("7", b1.add(t * TILE_LINES), STRIDE);
            dot_i8_u8!("1", "4", "7");
            if ROW_TILES == 2 {
                load!("5", a1.add(t * TILE_ROWS * TILE_CODES), STRIDE);
                dot_i8_u8!("2", "5", "6");
                dot_i8_u8!("3", "5", "7");
            }
        }
        store!("0", quad.tile(0, 0), stride);
        store!("1", quad.tile(0, 1), stride);
        if ROW_TILES == 2 {
            store!("2", quad.tile(1, 0), stride);
            store!("3", quad.tile(1, 1), stride);
        }
    }
}

/// Takes off what the 128 in each of the weights' codes adds, and scales.
#[inline(always)]
fn scale(isa: Avx512, quad: &Quad, groups: &[Group], scales: [&[f32; TILE_ROWS]; 2]) {
    let scales = scales.map(|scales| isa.load(scales));
    for (r, group) in groups.iter().take(quad.n_row_tiles * TILE_ROWS).enumerate() {
        // SAFETY: `r` is a row of the quad, and only it is held.
        let row = unsafe { quad.row(r) };
        for (sums, scale) in row.iter_mut().zip(scales) {
            // It wraps, and so did the sums of the tile: what fits an i32 comes out right.
            let dots = sums.map(|sum| (sum.to_bits() as i32).wrapping_sub(128 * group.sum) as f32);
            let scaled = isa.mul(isa.load(&dots), isa.splat(group.scale));
            isa.store(isa.mul_add(scaled, scale, isa.splat(0.0)), sums);
        }
    }
}
