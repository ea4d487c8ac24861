//! Groups. What costs here is not to multiply but to scale: every 16 x 16 sums of a group go from a tile through memory
//! to vectors. So a tile of the group before is scaled after each product.
//!
//! Measured (Emerald Rapids class VM): a product takes 16 cycles, to store its tile as many, and conversion and both
//! multiplications 48, since while tiles are at work one such operation on 16 lanes starts in a cycle and not two; all
//! together take about 55 with operands in the caches nearby. Longer batches of groups, sums that start from the bits
//! of 1.5 * 2^23 so that a subtraction converts them, and one tile whose sums stay in registers were no faster.

use std::arch::asm;

use super::unpacked::{BLOCK_TILES, Unpacked};
use super::{QUAD, Quad, Spare, row_tile_codes};
use crate::cpu::arch::x86_64::avx512::Avx512;
use crate::cpu::arch::x86_64::tile::{dot_tiles, load, store, zero};
use crate::cpu::isa::Isa;
use crate::cpu::product::TILE_ROWS;
use crate::cpu::quant::{Group, QuantProduct, TILE_CODES, Width};
use crate::spec::contract::PANEL_COLS;

/// Codes of a tile of the rows.
const TILE_LEN: usize = TILE_ROWS * TILE_CODES;

/// Bytes from a row of a tile to the next.
const STRIDE: usize = 64;

/// A tile as it is stored.
type IntTile = [[i32; PANEL_COLS]; TILE_ROWS];

/// A group's sums, by row tile and panel.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct GroupSums([[IntTile; 2]; 2]);

/// A quad by an unpacked block of groups.
struct Task<'a> {
    isa: Avx512,
    /// The rows' codes from the block's first group on, a row tile each.
    lhs: [*const u8; 2],
    /// The rows' scales from there on, `[groups][16]`, a row tile each.
    groups: [&'a [Group]; 2],
    weights: &'a Unpacked,
    n_groups: usize,
    /// Tiles of a group.
    group_tiles: usize,
    quad: &'a Quad,
}

/// All rows and panels of a block.
#[inline(always)]
pub fn sweep(isa: Avx512, args: &mut QuantProduct<'_>) {
    let QuantProduct { rows, weights, block, out, .. } = args;
    let group_tiles = weights.group_len.div_ceil(TILE_CODES);
    let block_groups = BLOCK_TILES / group_tiles;
    let mut unpacked = Unpacked::zeroed();
    let mut sums = [GroupSums([[[[0; PANEL_COLS]; TILE_ROWS]; 2]; 2]); 2];
    let mut spare = Spare([0.0; QUAD * QUAD]);
    for panel in (0..block.n_panels).step_by(2) {
        // Where there is no second panel the first serves again, for sums that nobody reads.
        let panels = [panel, (panel + 1).min(block.n_panels - 1)].map(|panel| block.first_panel + panel);
        for group in (0..weights.n_groups).step_by(block_groups) {
            let n_groups = block_groups.min(weights.n_groups - group);
            unpacked.fill(isa, weights, panels, group..group + n_groups);
            for row in (0..block.n_rows).step_by(QUAD) {
                let quad = Quad::new(block, out, (row, panel), &mut spare);
                let row_tile = (block.first_row + row) / TILE_ROWS;
                let row_tiles = [row_tile, row_tile + quad.n_row_tiles - 1];
                let first_tile = group * group_tiles * TILE_LEN;
                let task = Task {
                    isa,
                    lhs: row_tiles.map(|i| rows.codes()[i * row_tile_codes(weights) + first_tile..].as_ptr()),
                    groups: row_tiles
                        .map(|i| &rows.groups[(i * weights.n_groups + group) * TILE_ROWS..][..n_groups * TILE_ROWS]),
                    weights: &unpacked,
                    n_groups,
                    group_tiles,
                    quad: &quad,
                };
                if group == 0 {
                    task.clear();
                }
                // SAFETY: tiles are configured for sixteen rows, and `check` has found the row tiles inside of their
                // slice to the end of their last group.
                unsafe {
                    match (weights.width, quad.n_row_tiles) {
                        (Width::Int8, 1) => task.run::<1, false>(&mut sums),
                        (Width::Int8, _) => task.run::<2, false>(&mut sums),
                        (Width::Int4, 1) => task.run::<1, true>(&mut sums),
                        (Width::Int4, _) => task.run::<2, true>(&mut sums),
                    }
                }
                quad.finish(block, out, &spare);
            }
        }
    }
}

impl Task<'_> {
    /// The sums of no group.
    #[inline(always)]
    fn clear(&self) {
        for r in 0..self.quad.n_row_tiles * TILE_ROWS {
            // SAFETY: `r` is a row of the quad, and only it is held.
            unsafe { *self.quad.row(r) = [[0.0; PANEL_COLS]; 2] };
        }
    }

    /// Adds all groups of the block to the quad, in ascending order.
    ///
    /// # Safety
    /// The tiles are configured for sixteen rows, the rows' codes as long as the groups, and the quad is in nobody
    /// else's hands.
    #[inline(always)]
    unsafe fn run<const ROW_TILES: usize, const MINIMA: bool>(&self, sums: &mut [GroupSums; 2]) {
        let [stored, before] = sums;
        let (mut stored, mut before) = (stored, before);
        // SAFETY: passed on to the caller.
        unsafe {
            self.multiply::<ROW_TILES, MINIMA, false>(0, stored, before);
            for group in 1..self.n_groups {
                std::mem::swap(&mut stored, &mut before);
                self.multiply::<ROW_TILES, MINIMA, true>(group, stored, before);
            }
            store_last::<ROW_TILES>(stored);
        }
        for row_tile in 0..ROW_TILES {
            self.scale::<MINIMA>(self.n_groups - 1, stored, (row_tile, 0));
            self.scale::<MINIMA>(self.n_groups - 1, stored, (row_tile, 1));
        }
    }

    /// Multiplies a group and stores its tiles of sums but the last, which the next call stores; and meanwhile scales
    /// those of the group before if `SCALE` says so.
    ///
    /// # Safety
    /// As [`Task::run`]; the group is there, and the one before.
    #[inline(always)]
    unsafe fn multiply<const ROW_TILES: usize, const MINIMA: bool, const SCALE: bool>(
        &self,
        group: usize,
        stored: &mut GroupSums,
        before: &mut GroupSums,
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            if self.group_tiles == 1 {
                return self.multiply_last::<ROW_TILES, MINIMA, SCALE, true>(group, stored, before);
            }
            if SCALE {
                store_last::<ROW_TILES>(before);
            }
            self.begin::<ROW_TILES>(group);
            self.multiply_last::<ROW_TILES, MINIMA, SCALE, false>(group, stored, before);
        }
    }

    /// The same for a group's last tiles of depth: onto what [`Task::begin`] has left, or from zero where they are its
    /// `ONLY` ones. Then the tile that the group before has left is stored behind the first product.
    ///
    /// # Safety
    /// As [`Task::multiply`].
    #[inline(always)]
    unsafe fn multiply_last<const ROW_TILES: usize, const MINIMA: bool, const SCALE: bool, const ONLY: bool>(
        &self,
        group: usize,
        stored: &mut GroupSums,
        before: &mut GroupSums,
    ) {
        let tile = (group + 1) * self.group_tiles - 1;
        let ([a0, a1], [b0, b1]) = (self.lhs.map(|a| a.wrapping_add(tile * TILE_LEN)), &self.weights.tiles[tile]);
        // SAFETY: passed on to the caller; the tiles of weights and of sums are arrays.
        unsafe {
            load!("4", a0, STRIDE);
            load!("6", b0.as_ptr(), STRIDE);
            if ONLY {
                zero!("0");
            }
            dot_tiles!("tdpbssd", 0, 4, 6);
            if SCALE && ONLY {
                store_last::<ROW_TILES>(before);
            }
            self.scale_before::<MINIMA, SCALE>(group, before, (0, 0));
            load!("7", b1.as_ptr(), STRIDE);
            if ONLY {
                zero!("1");
            }
            dot_tiles!("tdpbssd", 1, 4, 7);
            store!("0", stored.0[0][0].as_mut_ptr(), STRIDE);
            self.scale_before::<MINIMA, SCALE>(group, before, (0, 1));
            if ROW_TILES == 2 {
                load!("5", a1, STRIDE);
                if ONLY {
                    zero!("2");
                }
                dot_tiles!("tdpbssd", 2, 5, 6);
                store!("1", stored.0[0][1].as_mut_ptr(), STRIDE);
                self.scale_before::<MINIMA, SCALE>(group, before, (1, 0));
                if ONLY {
                    zero!("3");
                }
                dot_tiles!("tdpbssd", 3, 5, 7);
                store!("2", stored.0[1][0].as_mut_ptr(), STRIDE);
                self.scale_before::<MINIMA, SCALE>(group, before, (1, 1));
            }
        }
    }

    /// Multiplies a group's tiles of depth but the last.
    ///
    /// # Safety
    /// As [`Task::run`].
    #[inline(always)]
    unsafe fn begin<const ROW_TILES: usize>(&self, group: usize) {
        // SAFETY: passed on to the caller; the tiles of weights are arrays.
        unsafe {
            zero!("0");
            zero!("1");
            zero!("2");
            zero!("3");
            for tile in group * self.group_tiles..(group + 1) * self.group_tiles - 1 {
                let [b0, b1] = &self.weights.tiles[tile];
                load!("4", self.lhs[0].add(tile * TILE_LEN), STRIDE);
                load!("6", b0.as_ptr(), STRIDE);
                dot_tiles!("tdpbssd", 0, 4, 6);
                load!("7", b1.as_ptr(), STRIDE);
                dot_tiles!("tdpbssd", 1, 4, 7);
                if ROW_TILES == 2 {
                    load!("5", self.lhs[1].add(tile * TILE_LEN), STRIDE);
                    dot_tiles!("tdpbssd", 2, 5, 6);
                    dot_tiles!("tdpbssd", 3, 5, 7);
                }
            }
        }
    }

    /// [`Task::scale`] for the group before `group`, if `SCALE` says so.
    #[inline(always)]
    fn scale_before<const MINIMA: bool, const SCALE: bool>(
        &self,
        group: usize,
        before: &GroupSums,
        at: (usize, usize),
    ) {
        if SCALE {
            self.scale::<MINIMA>(group - 1, before, at);
        }
    }

    /// Scales a group's sums of a row tile and a panel, and adds them to the quad.
    #[inline(always)]
    fn scale<const MINIMA: bool>(&self, group: usize, sums: &GroupSums, (row_tile, panel): (usize, usize)) {
        let isa = self.isa;
        let scales = isa.load(&self.weights.scales[group][panel]);
        let minima = isa.load(&self.weights.minima[group][panel]);
        let lhs: &[Group; TILE_ROWS] = self.groups[row_tile][group * TILE_ROWS..].first_chunk().unwrap();
        for (r, (sums, lhs)) in sums.0[row_tile][panel].iter().zip(lhs).enumerate() {
            // SAFETY: a row of the quad, and only it is held.
            let out = unsafe { &mut self.quad.row(row_tile * TILE_ROWS + r)[panel] };
            let scaled = isa.mul(isa.load(&sums.map(|sum| sum as f32)), isa.splat(lhs.scale));
            let mut acc = isa.mul_add(scaled, scales, isa.load(out));
            if MINIMA {
                acc = isa.mul_add(isa.splat(lhs.total), minima, acc);
            }
            isa.store(acc, out);
        }
    }
}

/// Stores the tile of sums that [`Task::multiply`] leaves.
///
/// # Safety
/// The tiles are configured for sixteen rows.
#[inline(always)]
unsafe fn store_last<const ROW_TILES: usize>(sums: &mut GroupSums) {
    // SAFETY: passed on to the caller; a tile of sums is an array.
    unsafe {
        match ROW_TILES {
            1 => store!("1", sums.0[0][1].as_mut_ptr(), STRIDE),
            _ => store!("3", sums.0[1][1].as_mut_ptr(), STRIDE),
        }
    }
}
