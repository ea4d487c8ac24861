//! Reductions over a row of logits or of their weights, in 16 interleaved lanes so that the compiler makes vectors of
//! them. Their order is fixed.

use crate::error::{Error, Result};

/// Elements that are looked at together.
pub(super) const LANES: usize = 16;

/// What a row's softmax divides by: `p(token) = exp(logit - ln_sum)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    /// The largest logit.
    pub(super) max: f32,
    /// `ln sum exp(logits)`
    pub(super) ln_sum: f64,
}

impl Norm {
    /// Of the logits that draw the token at `position`: the largest, and the sum of `exp(logit - max)`, which `sum`
    /// takes where that is a number.
    ///
    /// # Errors
    /// [`Error::Step`] if a logit is NaN or infinite above, or all are minus infinity: the model's numbers broke.
    pub(super) fn of(logits: &[f32], position: usize, sum: impl FnOnce(f32) -> f64) -> Result<Self> {
        let max = max(logits);
        let broke = |what| Error::Step(format!("a logit at position {position} is {what}"));
        if !max.is_finite() {
            let has_nan = logits.iter().any(|logit| logit.is_nan());
            return Err(broke(if has_nan { "NaN" } else { "infinite" }));
        }
        let sum = sum(max);
        // Each logit has its part in the sum.
        if sum.is_nan() {
            return Err(broke("NaN"));
        }
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

/// Where the first element stands that is `wanted`.
pub(super) fn position(row: &[f32], wanted: f32) -> Option<usize> {
    let is_there = |chunk: &[f32]| chunk.iter().fold(false, |found, &x| found | (x == wanted));
    let chunk = row.chunks(LANES).position(is_there)?;
    let first = chunk * LANES;
    row[first..].iter().position(|&x| x == wanted).map(|i| first + i)
}

/// The sum of weights.
pub(super) fn sum(weights: &[f32]) -> f64 {
    let mut sums = [0f64; LANES];
    let (chunks, rest) = weights.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &weight) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(weight);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().copied().map(f64::from).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norm(logits: &[f32], position: usize) -> Result<Norm> {
        Norm::of(logits, position, |max| logits.iter().map(|logit| f64::from(logit - max).exp()).sum())
    }

    #[test]
    fn reductions_are_those_of_the_definition_whatever_the_length() {
        for n in [1, 2, 15, 16, 17, 100, 1_001] {
            let row: Vec<f32> = (0..n).map(|i| ((i * 7_919) % 1_000) as f32 / 50.0 - 12.0).collect();
            let want = row.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(max(&row), want);
            assert_eq!(position(&row, want), row.iter().position(|&x| x == want));
            assert_eq!(position(&row, 99.0), None);
            assert!((sum(&row) - row.iter().copied().map(f64::from).sum::<f64>()).abs() < 1e-9);
        }
    }

    #[test]
    fn broken_rows_are_errors_wherever_they_broke() {
        for (at, broken) in [(0, f32::NAN), (20, f32::NAN), (33, f32::INFINITY)] {
            let mut logits = [0.5; 34];
            logits[at] = broken;
            let error = norm(&logits, 5).unwrap_err();
            assert!(matches!(&error, Error::Step(why) if why.contains("position 5")), "{error}");
        }
        assert!(norm(&[f32::NEG_INFINITY; 3], 1).is_err());
        assert!(norm(&[f32::NEG_INFINITY, 0.0], 1).is_ok());
    }
}
