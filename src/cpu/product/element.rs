//! What panels hold, and how it lies in them.

use crate::cpu::buffer::Plain;
use crate::cpu::isa::Isa;
use crate::spec::contract::PANEL_COLS;

/// An element of packed panels, which plain vectors multiply with rows of f32.
pub trait Element: Plain {
    /// Rows of a panel that take turns, element by element: a panel is `[depth / n][16 columns][n]`.
    const INTERLEAVED: usize;

    /// Whether a product takes registers to widen it.
    const WIDENS: bool;

    /// Two consecutive rows of a panel as f32, exactly.
    fn rows<I: Isa>(isa: I, x: &[Self; 32]) -> (I::V, I::V);

    /// Where element `k` of column `col` lies in panels of `depth`.
    #[inline(always)]
    fn index(col: usize, k: usize, depth: usize) -> usize {
        let n = Self::INTERLEAVED;
        (col / PANEL_COLS) * PANEL_COLS * depth + (k / n) * n * PANEL_COLS + (col % PANEL_COLS) * n + k % n
    }
}

/// bf16, as its bits.
impl Element for u16 {
    const INTERLEAVED: usize = 2;
    const WIDENS: bool = true;

    #[inline(always)]
    fn rows<I: Isa>(isa: I, x: &[u16; 32]) -> (I::V, I::V) {
        isa.load_pairs(x)
    }
}

/// Codes, i8 as bytes.
impl Element for u8 {
    const INTERLEAVED: usize = 1;
    const WIDENS: bool = true;

    #[inline(always)]
    fn rows<I: Isa>(isa: I, x: &[u8; 32]) -> (I::V, I::V) {
        let (first, second) = x.split_at(16);
        (isa.load_codes(first.first_chunk().unwrap()), isa.load_codes(second.first_chunk().unwrap()))
    }
}

impl Element for f32 {
    const INTERLEAVED: usize = 1;
    const WIDENS: bool = false;

    #[inline(always)]
    fn rows<I: Isa>(isa: I, x: &[f32; 32]) -> (I::V, I::V) {
        let (first, second) = x.split_at(16);
        (isa.load(first.first_chunk().unwrap()), isa.load(second.first_chunk().unwrap()))
    }
}
