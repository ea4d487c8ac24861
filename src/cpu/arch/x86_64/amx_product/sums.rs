//! Sums of a block of 2 by 2 tiles, or 1 by 4: from memory to tiles 0 to 3 and back.

use std::arch::asm;

use super::super::tile::{load, store, zero};
use super::Depth;

/// Where a tile of sums lies.
pub struct SumTile {
    pub rows: *mut f32,
    pub stride_bytes: usize,
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
pub unsafe fn start_four(sums: &[SumTile; 4], used: [bool; 4], depth: Depth<'_>) {
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
