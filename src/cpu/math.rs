//! Vector functions that the instruction sets lack.

use super::isa::Isa;

/// 1.5 * 2^23: added to a number below 2^22 in size, it rounds that to an integer, to nearest even, and leaves it in
/// the low bits.
pub const ROUNDING: f32 = 12_582_912.0;

/// Rounds as [`ROUNDING`], and adds 127, the bias of an exponent.
const ROUND_AND_BIAS: f32 = ROUNDING + 127.0;

/// `e^x`, with a relative error below 3e-7 for `-87 <= x <= 88`; exactly 1 at 0 and exactly 0 below -87.3 (there e^x
/// leaves the normal numbers) and at minus infinity; `e^88` from 88 on; NaN for NaN.
///
/// `x = n ln 2 + r`, a polynomial of degree 6 in r with the coefficients of Cephes' `expf` (Moshier 1989), times `2^n`.
#[inline(always)]
pub fn exp<I: Isa>(isa: I, x: I::V) -> I::V {
    const COEFFICIENTS: [f32; 5] = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_3e-1];
    let c = |x| isa.splat(x);
    let x = isa.select_lt(c(88.0), x, c(88.0), x);
    let biased = isa.mul_add(x, c(std::f32::consts::LOG2_E), c(ROUND_AND_BIAS));
    let n = isa.sub(biased, c(ROUND_AND_BIAS));
    // ln 2 in two parts, the first short enough for its product with n to be exact.
    let r = isa.mul_add(n, c(-0.693_359_4), x);
    let r = isa.mul_add(n, c(2.121_944_4e-4), r);
    let mut p = c(1.987_569_1e-4);
    for coefficient in COEFFICIENTS {
        p = isa.mul_add(p, r, c(coefficient));
    }
    let p = isa.add(isa.mul_add(isa.mul(r, r), p, r), c(1.0));
    isa.scale_unless_lt(x, c(-87.3), p, n, biased)
}

/// `2^x` for `x` up to 127, with a relative error below 2e-7 for `x >= -126`; exactly 1 at 0 and exactly 0 below -126
/// and at minus infinity; NaN for NaN.
///
/// `x = n + r`, where subtracting the integer `n` is exact, a polynomial of degree 5 in r whose largest relative error
/// is least among those that are 1 at 0 (found by Lawson's algorithm), times `2^n`. In 10 instructions on AVX-512;
/// [`exp`] takes 14 behind its limit.
#[inline(always)]
pub fn exp2<I: Isa>(isa: I, x: I::V) -> I::V {
    #[expect(clippy::approx_constant, reason = "the polynomial's own, a little less than ln 2")]
    const COEFFICIENTS: [f32; 5] = [9.671_513e-3, 5.550_733_6e-2, 2.402_224_2e-1, 6.931_47e-1, 1.0];
    let c = |x| isa.splat(x);
    let biased = isa.add(x, c(ROUND_AND_BIAS));
    let n = isa.sub(biased, c(ROUND_AND_BIAS));
    let r = isa.sub(x, n);
    let mut p = c(1.326_472_7e-3);
    for coefficient in COEFFICIENTS {
        p = isa.mul_add(p, r, c(coefficient));
    }
    isa.scale_unless_lt(x, c(-126.0), p, n, biased)
}

/// `x / (1 + e^-x)`
#[inline(always)]
pub fn silu<I: Isa>(isa: I, x: I::V) -> I::V {
    let e = exp(isa, isa.sub(isa.splat(0.0), x));
    isa.div(x, isa.add(isa.splat(1.0), e))
}
