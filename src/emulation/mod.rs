//! What each kernel table computes, bit for bit, in plain scalar Rust: the numerics contract (DESIGN.md, "Same bits")
//! written out once more, without blocking, packing, pages or threads.
//!
//! [`reference`](crate::reference) says what is right; this says which of the many roundings of it a table gives. So
//! tests ask a table for equality, on machines that have its instruction set, and anyone can compute its bits on a
//! machine that has not.
//!
//! Inputs are ordinary arrays and shapes that disagree panic, as in the reference. Not every payload of a NaN is
//! promised.

mod attention;
mod dots;
mod ops;
mod quant;
mod step;

pub use attention::Attention;

#[cfg(test)]
mod tests;

/// How a kernel table rounds. Its methods are the operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `a * b + c` rounds twice.
    Unfused,
    /// `a * b + c` rounds once.
    Fused,
    /// Fused, and products with bf16 take their left operand rounded to bf16, pair by pair.
    Pairs,
    /// Fused, and products with bf16 run on tiles: their left operand is rounded to bf16, their sums are grouped by 32.
    Amx,
}

impl Arithmetic {
    /// The arithmetic of a kernel table by its name; `None` if there is no such table.
    pub fn of_table(name: &str) -> Option<Self> {
        match name {
            "portable" => Some(Self::Unfused),
            "avx2" | "avx512" => Some(Self::Fused),
            "avx512bf16" => Some(Self::Pairs),
            "amx" => Some(Self::Amx),
            _ => None,
        }
    }

    /// `a * b + c` as vectors compute it.
    pub fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        match self {
            Self::Unfused => a * b + c,
            Self::Fused | Self::Pairs | Self::Amx => a.mul_add(b, c),
        }
    }
}
