//! Integer dot products of sixteen columns.

use super::panels::Line;
use crate::cpu::isa::{Isa, Target};

/// What a kernel table needs for quantised weights, beside the float vectors of its [`Isa`]. A value is proof that this
/// machine has it.
///
/// Every operation is exact as long as codes are what their formats allow: 8-bit weights -127 to 127 (stored with 128
/// added), 4-bit weights 0 to 15, left operands -127 to 127. Other codes give other numbers and nothing worse.
pub trait Dots: Target {
    /// The float vectors that go with it.
    type Float: Isa;

    /// Sixteen i32.
    type Sums: Copy;

    /// Sixteen columns of four codes, bytes.
    type Codes: Copy;

    /// The float vectors.
    fn float(self) -> Self::Float;

    /// All lanes zero.
    fn zero(self) -> Self::Sums;

    /// What sums of products with 8-bit weights start from, where the left operand's codes sum up to `lhs_sum`: a table
    /// that multiplies the codes with 128 added takes `128 lhs_sum` off beforehand.
    fn start_int8(self, lhs_sum: i32) -> Self::Sums;

    /// Loads the codes of sixteen columns.
    fn codes(self, line: &Line) -> Self::Codes;

    /// Asks for a line that will be read soon. It may lie anywhere, in memory or not: nothing is read.
    fn prefetch(self, line: *const Line);

    /// The low halves of all bytes, and the high halves.
    fn nibbles(self, codes: Self::Codes) -> (Self::Codes, Self::Codes);

    /// Adds to each lane the products of its column's four 8-bit codes with the four codes of `lhs`.
    fn dot_int8(self, sums: Self::Sums, weights: Self::Codes, lhs: &[u8; 4]) -> Self::Sums;

    /// Adds to each lane the products of its column's four 4-bit codes, one in a byte, with the four codes of `lhs`: of
    /// 32 inputs at most, a group's, and in whatever form [`Dots::int4_to_f32`] takes.
    fn dot_int4(self, sums: Self::Sums, weights: Self::Codes, lhs: &[u8; 4]) -> Self::Sums;

    /// Rounds to f32, to nearest even.
    fn to_f32(self, sums: Self::Sums) -> <Self::Float as Isa>::V;

    /// The same of sums that [`Dots::dot_int4`] made from zero.
    #[inline(always)]
    fn int4_to_f32(self, sums: Self::Sums) -> <Self::Float as Isa>::V {
        self.to_f32(sums)
    }
}
