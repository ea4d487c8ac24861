//! How codes of 8 and of 4 bits are multiplied and scaled.

use super::dots::Dots;
use super::panels::Line;
use super::rows::Group;
use crate::cpu::isa::Isa;

/// What the two widths of a code do differently.
pub trait Code {
    /// Inputs of a line, in fours.
    const QUADS: usize;

    /// What a group's sums start from.
    fn start<D: Dots>(dots: D, lhs_sum: i32) -> D::Sums;

    /// Adds the products of a line with the left operand's codes.
    fn dot<D: Dots>(dots: D, sums: D::Sums, codes: &[D::Codes; 2], lhs: &[[u8; 4]]) -> D::Sums;

    /// The codes of a line, in fours.
    fn load<D: Dots>(dots: D, line: &Line) -> [D::Codes; 2];

    /// Adds a group to the result.
    fn scale<D: Dots>(dots: D, sums: D::Sums, lhs: Group, scales: &Line, acc: Vector<D>) -> Vector<D>;
}

/// Sixteen f32.
pub type Vector<D> = <<D as Dots>::Float as Isa>::V;

/// 8 bits, four inputs to a line.
pub struct Int8;

/// 4 bits, eight inputs to a line.
pub struct Int4;

impl Code for Int8 {
    const QUADS: usize = 1;

    #[inline(always)]
    fn start<D: Dots>(dots: D, lhs_sum: i32) -> D::Sums {
        dots.start_int8(lhs_sum)
    }

    #[inline(always)]
    fn load<D: Dots>(dots: D, line: &Line) -> [D::Codes; 2] {
        [dots.codes(line); 2]
    }

    #[inline(always)]
    fn dot<D: Dots>(dots: D, sums: D::Sums, codes: &[D::Codes; 2], lhs: &[[u8; 4]]) -> D::Sums {
        dots.dot_int8(sums, codes[0], &lhs[0])
    }

    #[inline(always)]
    fn scale<D: Dots>(dots: D, sums: D::Sums, lhs: Group, scales: &Line, acc: Vector<D>) -> Vector<D> {
        let isa = dots.float();
        isa.mul_add(isa.mul(dots.to_f32(sums), isa.splat(lhs.scale)), isa.load(scales.as_f32()), acc)
    }
}

impl Code for Int4 {
    const QUADS: usize = 2;

    #[inline(always)]
    fn start<D: Dots>(dots: D, _: i32) -> D::Sums {
        dots.zero()
    }

    #[inline(always)]
    fn load<D: Dots>(dots: D, line: &Line) -> [D::Codes; 2] {
        let (low, high) = dots.nibbles(dots.codes(line));
        [low, high]
    }

    #[inline(always)]
    fn dot<D: Dots>(dots: D, sums: D::Sums, codes: &[D::Codes; 2], lhs: &[[u8; 4]]) -> D::Sums {
        dots.dot_int4(dots.dot_int4(sums, codes[0], &lhs[0]), codes[1], &lhs[1])
    }

    #[inline(always)]
    fn scale<D: Dots>(dots: D, sums: D::Sums, lhs: Group, scales: &Line, acc: Vector<D>) -> Vector<D> {
        let isa = dots.float();
        let (scale, minimum) = isa.load_pairs(scales.as_pairs());
        let acc = isa.mul_add(isa.mul(dots.int4_to_f32(sums), isa.splat(lhs.scale)), scale, acc);
        isa.mul_add(isa.splat(lhs.total), minimum, acc)
    }
}
