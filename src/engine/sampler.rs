//! From logits to a token.

use super::options::Sampling;
use super::softmax::{Norm, max};
use crate::error::{Error, Result};
use crate::spec::TokenId;

/// Draws tokens; keeps its scratch memory from call to call.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    logits: Vec<f32>,
    /// `(weight, token)`, where `weight = exp(logit - max)`.
    candidates: Vec<(f32, TokenId)>,
}

/// The logits of a row, and what they were computed from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// `[vocab]`
    pub(super) logits: &'a [f32],
    /// The tokens before the one to draw; their number is its position.
    pub(super) context: &'a [TokenId],
    /// Tokens that must not be drawn.
    pub(super) banned: &'a [TokenId],
}

impl Sampler {
    /// Draws a token and tells its log-probability under the model, `logit - ln sum exp(logits)`.
    ///
    /// # Errors
    /// [`Error::Step`] if the logits are broken, see [`Norm::of`], or no token is left to draw.
    pub(super) fn draw(&mut self, row: Row<'_>, sampling: &Sampling) -> Result<(TokenId, f32)> {
        let norm = Norm::of(row.logits, row.context.len())?;
        let plain = row.banned.is_empty() && sampling.repetition_penalty.is_none();
        if !plain {
            self.adjust(row, sampling);
        }
        let (logits, max) = if plain { (row.logits, norm.max) } else { (&*self.logits, max(&self.logits)) };
        if !max.is_finite() {
            return Err(Error::Step(format!("no token can be drawn at position {}", row.context.len())));
        }
        let token = if sampling.temperature > 0.0 {
            weigh(&mut self.candidates, logits, max, sampling.temperature);
            self.truncate(sampling);
            self.pick(uniform(sampling.seed, row.context.len() as u64))
        } else {
            logits.iter().position(|&logit| logit == max).expect("one of them is the largest") as TokenId
        };
        Ok((token, norm.logprob(row.logits[token as usize])))
    }

    /// Copies the logits, puts the repetition penalty on, and takes the banned tokens out.
    fn adjust(&mut self, row: Row<'_>, sampling: &Sampling) {
        self.logits.clear();
        self.logits.extend_from_slice(row.logits);
        if let Some(penalty) = sampling.repetition_penalty {
            for &token in row.context {
                // From the untouched logit: a token that stands there twice is penalised once.
                let logit = row.logits[token as usize];
                self.logits[token as usize] = if logit > 0.0 { logit / penalty } else { logit * penalty };
            }
        }
        for &token in row.banned {
            self.logits[token as usize] = f32::NEG_INFINITY;
        }
    }

    /// Leaves the candidates that top-k, top-p and min-p allow.
    fn truncate(&mut self, sampling: &Sampling) {
        // By weight, then by id, so that equal weights leave nothing to chance.
        let order = |a: &(f32, TokenId), b: &(f32, TokenId)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let candidates = &mut self.candidates;
        if let Some(k) = sampling.top_k.filter(|&k| k < candidates.len()) {
            candidates.select_nth_unstable_by(k, order);
            candidates.truncate(k);
        }
        if let Some(p) = sampling.top_p {
            let total = sum(candidates);
            // All those below the floor together weigh less than 1 - p, so the nucleus has none of them: fewer to sort.
            let floor = (1.0 - f64::from(p)) * total / candidates.len() as f64;
            candidates.retain(|&(weight, _)| f64::from(weight) >= floor);
            candidates.sort_unstable_by(order);
            let mut mass = 0.0;
            let enough = candidates.iter().position(|&(weight, _)| {
                mass += f64::from(weight);
                mass >= f64::from(p) * total
            });
            candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
        }
        if let Some(p) = sampling.min_p {
            // The most probable token weighs 1.
            candidates.retain(|&(weight, _)| weight >= p);
        }
    }

    /// The candidate at `at`, in [0, 1), of their joint weight.
    fn pick(&self, at: f64) -> TokenId {
        let mut left = at * sum(&self.candidates);
        for &(weight, token) in &self.candidates {
            left -= f64::from(weight);
            if left < 0.0 {
                return token;
            }
        }
        self.candidates.last().expect("the most probable token is always left").1
    }
}

fn weigh(candidates: &mut Vec<(f32, TokenId)>, logits: &[f32], max: f32, temperature: f32) {
    candidates.clear();
    let weighed = logits.iter().zip(0..).map(|(&logit, token)| (((logit - max) / temperature).exp(), token));
    candidates.extend(weighed.filter(|&(weight, _)| weight > 0.0));
}

fn sum(candidates: &[(f32, TokenId)]) -> f64 {
    candidates.iter().map(|&(weight, _)| f64::from(weight)).sum()
}

/// A number in [0, 1) from the key `(seed, position)` alone: two rounds of SplitMix64's mixer (Steele et al. 2014), the seed's
/// result keying the position's, and the upper 53 bits of what comes out.
fn uniform(seed: u64, position: u64) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let key = mix(seed.wrapping_add(GOLDEN));
    let bits = mix(key.wrapping_add(position.wrapping_add(1).wrapping_mul(GOLDEN)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each token is drawn over `n` positions.
    fn histogram(logits: &[f32], sampling: &Sampling, n: usize) -> Vec<usize> {
        let context = vec![0; n];
        let mut counts = vec![0; logits.len()];
        for position in 0..n {
            let row = Row { logits, context: &context[..position], banned: &[] };
            counts[Sampler::default().draw(row, sampling).unwrap().0 as usize] += 1;
        }
        counts
    }

    fn warm() -> Sampling {
        Sampling { temperature: 1.0, seed: 7, ..Sampling::default() }
    }

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

    #[test]
    fn greedy_takes_the_first_of_equals_and_tells_its_logprob() {
        let row = Row { logits: &[1.0, 3.0, 3.0, f32::NEG_INFINITY], context: &[0], banned: &[] };
        let (token, logprob) = Sampler::default().draw(row, &Sampling::default()).unwrap();
        assert_eq!(token, 1);
        assert!((logprob - -(2.0 + (-2.0f32).exp()).ln()).abs() < 1e-6);
        let banned = Row { banned: &[1, 2], ..row };
        assert_eq!(Sampler::default().draw(banned, &Sampling::default()).unwrap().0, 0);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let n = 4_000;
        let total: f32 = LOGITS.iter().map(|l| l.exp()).sum();
        for (count, logit) in histogram(&LOGITS, &warm(), n).into_iter().zip(LOGITS) {
            let expected = logit.exp() / total * n as f32;
            assert!((count as f32 - expected).abs() < 5.0 * expected.sqrt(), "{count} for {expected}");
        }
    }

    #[test]
    fn truncation_keeps_what_it_says() {
        let kept = |sampling: Sampling| -> Vec<bool> {
            histogram(&LOGITS, &sampling, 1_000).into_iter().map(|n| n > 0).collect()
        };
        // Probabilities 0.087, 0.644, 0.237, 0.032.
        assert_eq!(kept(Sampling { top_k: Some(2), ..warm() }), [false, true, true, false]);
        assert_eq!(kept(Sampling { top_p: Some(0.6), ..warm() }), [false, true, false, false]);
        assert_eq!(kept(Sampling { top_p: Some(0.9), ..warm() }), [true, true, true, false]);
        assert_eq!(kept(Sampling { min_p: Some(0.3), ..warm() }), [false, true, true, false]);
        assert_eq!(kept(Sampling { top_p: Some(1.0), min_p: Some(0.0), ..warm() }), [true; 4]);
    }

    #[test]
    fn a_draw_depends_on_seed_and_position_alone() {
        let draw = |seed, position| {
            let row = Row { logits: &[0.0; 64], context: &vec![3; position], banned: &[] };
            Sampler::default().draw(row, &Sampling { seed, ..warm() }).unwrap().0
        };
        let sequence = |seed| (0..40).map(|p| draw(seed, p)).collect::<Vec<_>>();
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }

    #[test]
    fn repetition_is_penalised_once_a_token() {
        let row = Row { logits: &[1.0, 1.6, -1.0], context: &[1, 1, 1], banned: &[] };
        let sampling = Sampling { repetition_penalty: Some(1.5), ..Sampling::default() };
        assert_eq!(Sampler::default().draw(row, &sampling).unwrap().0, 1, "1.6 / 1.5 > 1");
        let sampling = Sampling { repetition_penalty: Some(1.7), ..Sampling::default() };
        assert_eq!(Sampler::default().draw(row, &sampling).unwrap().0, 0);
    }

    #[test]
    fn broken_logits_are_an_error() {
        for broken in [f32::NAN, f32::INFINITY] {
            for sampling in [Sampling::default(), warm()] {
                let row = Row { logits: &[0.0, broken, 1.0], context: &[0; 5], banned: &[] };
                let error = Sampler::default().draw(row, &sampling).unwrap_err();
                assert!(matches!(&error, Error::Step(why) if why.contains("position 5")), "{error}");
            }
        }
    }
}
