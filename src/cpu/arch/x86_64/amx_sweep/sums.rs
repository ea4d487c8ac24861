//! Sums of a block of 2 by 2 tiles, or 1 by 4 or by 2: from memory to tiles 0 to 3 and back.

use std::arch::asm;

use super::super::tile::{load, store, zero};
use crate::cpu::disjoint::SharedRows;
use crate::cpu::product::{SumLayout, TILE_ROWS};
use crate::spec::contract::PANEL_COLS;

/// Where a product's sums lie.
pub struct Sums {
    pub out: *mut f32,
    pub layout: SumLayout,
}

/// Where a tile of sums lies.
pub struct SumTile {
    pub rows: *mut f32,
    stride_bytes: usize,
}

impl Sums {
    /// The tile of a row tile and a panel. By `wrapping_add`, for pointers to several tiles live side by side, each
    /// from the start of `out`.
    #[inline(always)]
    pub fn tile(&self, row_tile: usize, panel: usize) -> SumTile {
        let rows = self.out.wrapping_add(self.layout.index(row_tile * TILE_ROWS, panel));
        SumTile { rows, stride_bytes: 4 * (self.layout.index(1, 0) - self.layout.index(0, 0)) }
    }
}

impl SumTile {
    /// The tile of a row tile and a panel in rows of a result.
    #[inline(always)]
    pub fn finished(rows: &SharedRows<'_>, row_tile: usize, panel: usize) -> Self {
        Self { rows: rows.at(row_tile * TILE_ROWS, panel), stride_bytes: 4 * rows.stride() }
    }

    /// Where a row's sixteen sums are.
    #[inline(always)]
    pub fn row(&self, row: usize) -> *mut [f32; PANEL_COLS] {
        self.rows.wrapping_byte_add(row * self.stride_bytes).cast()
    }
}

/// A tile of sums starts from zero, or from what lies there.
macro_rules! start {
    ($tile:literal, $sum:expr, $from_zero:expr) => {
        if $from_zero { zero!($tile) } else { load!($tile, $sum.rows, $sum.stride_bytes) }
    };
}

/// Starts the sums in tiles 0 to 3.
///
/// # Safety
/// The tiles are configured, and each of `sums` that is used may be read.
#[inline(always)]
pub unsafe fn start_four(sums: &[SumTile; 4], used: [bool; 4], from_zero: bool) {
    // SAFETY: passed on to the caller.
    unsafe {
        if used[0] {
            start!("0", sums[0], from_zero);
        }
        if used[1] {
            start!("1", sums[1], from_zero);
        }
        if used[2] {
            start!("2", sums[2], from_zero);
        }
        if used[3] {
            start!("3", sums[3], from_zero);
        }
    }
}

/// Stores the sums of tiles 0 to 3.
///
/// # Safety
/// The tiles are configured, and each of `sums` that is used may be written.
#[inline(always)]
pub unsafe fn store_four(sums: &[SumTile; 4], used: [bool; 4]) {
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

/// Stores the sums of tiles 0 to 3, and starts the next there.
///
/// # Safety
/// As [`store_four`] for `sums`, [`start_four`] for `next`.
#[inline(always)]
pub unsafe fn turn_four(sums: &[SumTile; 4], next: &[SumTile; 4], used: [bool; 4], from_zero: bool) {
    // SAFETY: passed on to the caller.
    unsafe {
        if used[0] {
            store!("0", sums[0].rows, sums[0].stride_bytes);
            start!("0", next[0], from_zero);
        }
        if used[1] {
            store!("1", sums[1].rows, sums[1].stride_bytes);
            start!("1", next[1], from_zero);
        }
        if used[2] {
            store!("2", sums[2].rows, sums[2].stride_bytes);
            start!("2", next[2], from_zero);
        }
        if used[3] {
            store!("3", sums[3].rows, sums[3].stride_bytes);
            start!("3", next[3], from_zero);
        }
    }
}
