//! Reductions over a row of logits, in 16 interleaved lanes so that the compiler makes vectors of them. Their order is fixed.

use crate::error::{Error, Result};

const LANES: usize = 16;

/// What a row's softmax divides by: `p(token) = exp(logit - ln_sum)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    /// The largest logit.
    pub(super) max: f32,
    /// `ln sum exp(logits)`
    pub(super) ln_sum: f64,
}

impl Norm {
    /// Of the logits that draw the token at `position`; terms are accurate to 2e-7, their sum is in f64.
    ///
    /// # Errors
    /// [`Error::Step`] if a logit is NaN or infinite above, or all are minus infinity: the model's numbers broke.
    pub(super) fn of(logits: &[f32], position: usize) -> Result<Self> {
        let max = max(logits);
        let has_nan = logits.iter().fold(false, |nan, logit| nan | logit.is_nan());
        if has_nan || !max.is_finite() {
            let what = if has_nan { "NaN" } else { "infinite" };
            return Err(Error::Step(format!("a logit at position {position} is {what}")));
        }
        let mut sums = [0f64; LANES];
        let (chunks, rest) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, logit) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(exp_below_zero(logit - max));
            }
        }
        let rest: f64 = rest.iter().map(|logit| f64::from(exp_below_zero(logit - max))).sum();
        let sum = sums.iter().sum::<f64>() + rest;
        Ok(Self { max, ln_sum: f64::from(max) + sum.ln() })
    }

    /// `ln p` of a token with this logit.
    pub(super) fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.ln_sum) as f32
    }
}

/// The largest logit, NaN passed over; minus infinity of none.
pub(super) fn max(logits: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for (max, &logit) in maxima.iter_mut().zip(chunk) {
            *max = larger(*max, logit);
        }
    }
    maxima.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// `exp(x)` for `x <= 0`, down to `exp(-87)`, which stands for all below. With `x = n ln 2 + r`: `2^n` from its bits, and `exp(r)` by the
/// polynomial of Cephes' `expf`, without branches.
fn exp_below_zero(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let coefficients = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let tail = coefficients.into_iter().fold(1.987_569_1e-4, |p, c| p * r + c);
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    (tail * r * r + r + 1.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate() {
        for i in 0..87_000 {
            let x = -(i as f32) / 1_000.0;
            let (have, want) = (f64::from(exp_below_zero(x)), f64::from(x).exp());
            assert!((have - want).abs() <= 2e-7 * want, "exp({x}) = {want}, not {have}");
        }
        assert!(exp_below_zero(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn the_norm_is_that_of_the_definition_whatever_the_length() {
        for n in [1, 2, 15, 16, 17, 100, 1_001] {
            let logits: Vec<f32> = (0..n).map(|i| ((i * 7_919) % 1_000) as f32 / 50.0 - 12.0).collect();
            let norm = Norm::of(&logits, 0).unwrap();
            let want = logits.iter().map(|&l| f64::from(l).exp()).sum::<f64>().ln();
            assert!((norm.ln_sum - want).abs() < 1e-6, "{n} logits");
            assert_eq!(norm.max, logits.iter().copied().fold(f32::MIN, f32::max));
        }
    }

    #[test]
    fn broken_rows_are_errors_wherever_they_broke() {
        for (at, broken) in [(0, f32::NAN), (20, f32::NAN), (33, f32::INFINITY)] {
            let mut logits = [0.5; 34];
            logits[at] = broken;
            let error = Norm::of(&logits, 5).unwrap_err();
            assert!(matches!(&error, Error::Step(why) if why.contains("position 5")), "{error}");
        }
        assert!(Norm::of(&[f32::NEG_INFINITY; 3], 1).is_err());
        assert!(Norm::of(&[f32::NEG_INFINITY, 0.0], 1).is_ok());
    }
}
