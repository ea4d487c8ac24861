//! From logits to a token.

use super::options::Sampling;
use super::softmax::{LANES, Norm, max, position, sum};
use crate::cpu::VocabularyWeights;
use crate::error::{Error, Result};
use crate::spec::TokenId;

/// Weights that a draw passes over together.
const BLOCK: usize = 256;

/// Draws tokens; keeps its scratch memory from call to call.
pub(super) struct Sampler {
    softmax: VocabularyWeights,
    /// `[vocab]` logits with penalties.
    adjusted: Vec<f32>,
    /// `[vocab]` `exp((logit - max) / temperature)`
    weights: Vec<f32>,
    /// Largest weight of each chunk of them.
    maxima: Vec<f32>,
    /// `(weight, token)` of the tokens that may still be drawn.
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
    /// A sampler without scratch memory yet.
    pub(super) fn new() -> Self {
        let (adjusted, weights, maxima, candidates) = Default::default();
        Self { softmax: VocabularyWeights::new(), adjusted, weights, maxima, candidates }
    }

    /// Draws a token and tells its log-probability under the model, `logit - ln sum exp(logits)`.
    ///
    /// # Errors
    /// [`Error::Step`] if the logits are broken, see [`Norm::of`]; [`Error::Argument`] if they are sound and the
    /// options leave no token to draw.
    pub(super) fn draw(&mut self, row: Row<'_>, sampling: &Sampling) -> Result<(TokenId, f32)> {
        let norm = self.norm(row.logits, row.context.len())?;
        let plain = row.banned.is_empty() && sampling.repetition_penalty.is_none();
        if !plain {
            self.adjust(row, sampling.repetition_penalty);
        }
        let (logits, max) = if plain { (row.logits, norm.max) } else { (&*self.adjusted, max(&self.adjusted)) };
        if !max.is_finite() {
            return Err(self.nothing_left(row, sampling));
        }
        let token = if sampling.temperature > 0.0 {
            self.softmax.of(logits, max, sampling.temperature, &mut self.weights);
            self.pick(sampling, uniform(sampling.seed, row.context.len() as u64))
        } else {
            position(logits, max).expect("one of them is the largest") as TokenId
        };
        Ok((token, norm.logprob(row.logits[token as usize])))
    }

    /// The log-probability of `token` at `position`, whose logits these are.
    ///
    /// # Errors
    /// [`Error::Step`] if the logits are broken, see [`Norm::of`].
    pub(super) fn score(&mut self, logits: &[f32], position: usize, token: TokenId) -> Result<f32> {
        Ok(self.norm(logits, position)?.logprob(logits[token as usize]))
    }

    fn norm(&mut self, logits: &[f32], position: usize) -> Result<Norm> {
        self.weights.resize(logits.len(), 0.0);
        Norm::of(logits, position, |max| self.softmax.of(logits, max, 1.0, &mut self.weights))
    }

    /// Copies the logits, puts the repetition penalty on, and takes the banned tokens out.
    fn adjust(&mut self, row: Row<'_>, penalty: Option<f32>) {
        self.adjusted.clear();
        self.adjusted.extend_from_slice(row.logits);
        if let Some(penalty) = penalty {
            for &token in row.context {
                // From the untouched logit: a token that stands there twice is penalised once.
                let logit = row.logits[token as usize];
                self.adjusted[token as usize] = if logit > 0.0 { logit / penalty } else { logit * penalty };
            }
        }
        for &token in row.banned {
            self.adjusted[token as usize] = f32::NEG_INFINITY;
        }
    }

    /// Why no token can be drawn from sound logits: the option that took them all.
    fn nothing_left(&mut self, row: Row<'_>, sampling: &Sampling) -> Error {
        let position = row.context.len();
        // The bans alone tell whether the penalty is to blame.
        self.adjust(row, None);
        Error::Argument(match sampling.repetition_penalty {
            Some(penalty) if max(&self.adjusted).is_finite() => {
                format!(
                    "no token can be drawn at position {position}: repetition_penalty {penalty} makes logits infinite"
                )
            }
            _ => format!(
                "no token can be drawn at position {position}: before min_tokens are generated, end tokens and \
                 stop_tokens are banned, and no other has a probability"
            ),
        })
    }

    /// The token at `at`, in [0, 1), of the weight of those that top-k, top-p and min-p allow.
    fn pick(&mut self, sampling: &Sampling, at: f64) -> TokenId {
        let Sampling { top_k: None, top_p: None, min_p: None, .. } = sampling else {
            self.choose_candidates(sampling);
            self.truncate(sampling);
            let mut left = at * joint(&self.candidates);
            let drawn = self.candidates.iter().find(|&&(weight, _)| {
                left -= f64::from(weight);
                left < 0.0
            });
            return drawn.or(self.candidates.last()).expect("the most probable token is always left").1;
        };
        pick_of_all(&self.weights, at)
    }

    /// Leaves the tokens that may be among those that top-k, top-p and min-p allow, as far as a look at all of them tells: the fewer, the fewer are
    /// sorted.
    fn choose_candidates(&mut self, sampling: &Sampling) {
        let floor = self.floor(sampling);
        self.candidates.clear();
        for (chunk, first) in self.weights.chunks(LANES).zip((0..).step_by(LANES)) {
            if chunk.iter().fold(false, |found, &weight| found | (weight >= floor)) {
                let weighed = chunk.iter().copied().zip(first..);
                self.candidates.extend(weighed.filter(|&(weight, _)| weight >= floor && weight > 0.0));
            }
        }
    }

    /// A weight below which no token is allowed.
    fn floor(&mut self, sampling: &Sampling) -> f32 {
        let n_chunks = self.weights.len().div_ceil(LANES);
        match *sampling {
            // At least k tokens weigh as much as the k-th largest of what is largest in a chunk.
            Sampling { top_k: Some(k @ 1..), .. } if k <= n_chunks => {
                self.maxima.clear();
                self.maxima.extend(self.weights.chunks(LANES).map(max));
                *self.maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
            }
            Sampling { top_k: Some(_), .. } => 0.0,
            // All those below the floor together weigh less than 1 - p, so the nucleus has none of them.
            Sampling { top_p: Some(p), .. } => {
                ((1.0 - f64::from(p)) * sum(&self.weights) / self.weights.len() as f64).next_down() as f32
            }
            // The most probable token weighs 1.
            Sampling { min_p, .. } => min_p.unwrap_or(0.0),
        }
    }

    /// Leaves the candidates that top-k, top-p and min-p allow.
    fn truncate(&mut self, sampling: &Sampling) {
        // By weight, then by id, so that equal weights leave nothing to chance.
        let order = |a: &(f32, TokenId), b: &(f32, TokenId)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let candidates = &mut self.candidates;
        let mut total = sum(&self.weights);
        if let Some(k) = sampling.top_k.filter(|&k| k < candidates.len()) {
            candidates.select_nth_unstable_by(k, order);
            candidates.truncate(k);
            total = joint(candidates);
        }
        if let Some(p) = sampling.top_p {
            candidates.sort_unstable_by(order);
            let mut mass = 0.0;
            let enough = candidates.iter().position(|&(weight, _)| {
                mass += f64::from(weight);
                mass >= f64::from(p) * total
            });
            candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
        }
        if let Some(p) = sampling.min_p {
            candidates.retain(|&(weight, _)| weight >= p);
        }
    }
}

/// The token at `at`, in [0, 1), of the weight of all.
fn pick_of_all(weights: &[f32], at: f64) -> TokenId {
    let blocks = || weights.chunks(BLOCK).zip((0..).step_by(BLOCK));
    let mut left = at * blocks().map(|(block, _)| sum(block)).sum::<f64>();
    for (block, first) in blocks() {
        let of_block = sum(block);
        if left >= of_block {
            left -= of_block;
            continue;
        }
        for (&weight, token) in block.iter().zip(first..) {
            left -= f64::from(weight);
            if left < 0.0 {
                return token;
            }
        }
        // Rounded otherwise than the block's sum.
        left = left.max(0.0);
    }
    weights.iter().rposition(|&weight| weight > 0.0).expect("the most probable token weighs 1") as TokenId
}

fn joint(candidates: &[(f32, TokenId)]) -> f64 {
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
            counts[Sampler::new().draw(row, sampling).unwrap().0 as usize] += 1;
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
        let (token, logprob) = Sampler::new().draw(row, &Sampling::default()).unwrap();
        assert_eq!(token, 1);
        assert!((logprob - -(2.0 + (-2.0f32).exp()).ln()).abs() < 1e-6);
        let banned = Row { banned: &[1, 2], ..row };
        assert_eq!(Sampler::new().draw(banned, &Sampling::default()).unwrap().0, 0);
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
            Sampler::new().draw(row, &Sampling { seed, ..warm() }).unwrap().0
        };
        let sequence = |seed| (0..40).map(|p| draw(seed, p)).collect::<Vec<_>>();
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }

    #[test]
    fn repetition_is_penalised_once_a_token() {
        let row = Row { logits: &[1.0, 1.6, -1.0], context: &[1, 1, 1], banned: &[] };
        let sampling = Sampling { repetition_penalty: Some(1.5), ..Sampling::default() };
        assert_eq!(Sampler::new().draw(row, &sampling).unwrap().0, 1, "1.6 / 1.5 > 1");
        let sampling = Sampling { repetition_penalty: Some(1.7), ..Sampling::default() };
        assert_eq!(Sampler::new().draw(row, &sampling).unwrap().0, 0);
    }

    #[test]
    fn options_that_leave_no_token_are_named() {
        let why = |row: Row<'_>, repetition_penalty| {
            let sampling = Sampling { repetition_penalty, ..warm() };
            match Sampler::new().draw(row, &sampling) {
                Err(Error::Argument(why)) => why,
                other => panic!("{other:?}"),
            }
        };
        let row = Row { logits: &[-2.0, 1.0, f32::NEG_INFINITY], context: &[0, 1], banned: &[] };
        // The first makes an infinity of 1, the second of -2 where nothing else is left.
        for (row, penalty) in [(row, f32::from_bits(1)), (Row { banned: &[1], ..row }, f32::MAX)] {
            let why = why(row, Some(penalty));
            assert!(why.contains("repetition_penalty") && why.contains("position 2"), "{why}");
        }
        let banned = Row { banned: &[0, 1], ..row };
        for penalty in [None, Some(1.1)] {
            let why = why(banned, penalty);
            assert!(why.contains("min_tokens") && why.contains("position 2"), "{why}");
        }
    }

    #[test]
    fn broken_logits_are_an_error() {
        for broken in [f32::NAN, f32::INFINITY] {
            for sampling in [Sampling::default(), warm()] {
                let row = Row { logits: &[0.0, broken, 1.0], context: &[0; 5], banned: &[] };
                let error = Sampler::new().draw(row, &sampling).unwrap_err();
                assert!(matches!(&error, Error::Step(why) if why.contains("position 5")), "{error}");
            }
        }
    }
}
