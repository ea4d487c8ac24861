//! From logits to a token.

#[cfg(test)]
mod tests;

use super::options::Sampling;
use super::softmax::{LANES, Norm, max, position, sum};
use crate::error::{Error, Result};
use crate::spec::TokenId;

/// Weights that a draw passes over together.
const BLOCK: usize = 256;

/// Draws tokens; keeps its scratch memory from call to call.
#[derive(Default)]
pub(super) struct Sampler {
    /// `[vocab]` logits with penalties.
    adjusted: Vec<f32>,
    /// `[vocab]` `exp((logit - max) / temperature)`
    weights: Vec<f32>,
    /// Largest weight of each chunk of them.
    maxima: Vec<f32>,
    /// `(weight, token)` of the tokens that may still be drawn.
    candidates: Vec<(f32, TokenId)>,
}

/// [`Model::weigh`](crate::backend::Model::weigh).
pub(super) type Weigh<'a> = &'a dyn Fn(&[f32], f32, f32, &mut [f32]) -> f64;

/// The logits of a row, and what they were computed from.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// `[vocab]`
    pub(super) logits: &'a [f32],
    /// The tokens before the one to draw; their number is its position.
    pub(super) context: &'a [TokenId],
    /// Tokens that must not be drawn.
    pub(super) banned: &'a [TokenId],
    /// How the model weighs logits.
    pub(super) weigh: Weigh<'a>,
}

impl Sampler {
    /// Draws a token and tells its log-probability under the model, `logit - ln sum exp(logits)`.
    ///
    /// # Errors
    /// [`Error::Step`] if the logits are broken, see [`Norm::of`]; [`Error::Argument`] if they are sound and the
    /// options leave no token to draw.
    pub(super) fn draw(&mut self, row: Row<'_>, sampling: &Sampling) -> Result<(TokenId, f32)> {
        let norm = self.norm(row)?;
        let plain = row.banned.is_empty() && sampling.repetition_penalty.is_none();
        if !plain {
            self.adjust(row, sampling.repetition_penalty);
        }
        let (logits, max) = if plain { (row.logits, norm.max) } else { (&*self.adjusted, max(&self.adjusted)) };
        if !max.is_finite() {
            return Err(self.nothing_left(row, sampling));
        }
        let token = if sampling.temperature > 0.0 {
            // The norm has left those of temperature 1.
            if !plain || sampling.temperature != 1.0 {
                (row.weigh)(logits, max, sampling.temperature, &mut self.weights);
            }
            self.pick(sampling, uniform(sampling.seed, row.context.len() as u64))
        } else {
            position(logits, max).expect("one of them is the largest") as TokenId
        };
        Ok((token, norm.logprob(row.logits[token as usize])))
    }

    /// The log-probability of `token` in a row.
    ///
    /// # Errors
    /// [`Error::Step`] if the logits are broken, see [`Norm::of`].
    pub(super) fn score(&mut self, row: Row<'_>, token: TokenId) -> Result<f32> {
        Ok(self.norm(row)?.logprob(row.logits[token as usize]))
    }

    fn norm(&mut self, row: Row<'_>) -> Result<Norm> {
        self.weights.resize(row.logits.len(), 0.0);
        Norm::of(row.logits, row.context.len(), |max| (row.weigh)(row.logits, max, 1.0, &mut self.weights))
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

    /// Leaves the tokens that may be among those that top-k, top-p and min-p allow, as far as a look at all of them
    /// tells: the fewer, the fewer are sorted.
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
                ((1.0 - f64::from(p)) * sum(&self.weights) / self.weights.len() as f64) as f32
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
        let top_k = sampling.top_k.filter(|&k| k < self.weights.len());
        if let Some(k) = top_k.filter(|&k| k < candidates.len()) {
            candidates.select_nth_unstable_by(k, order);
            candidates.truncate(k);
        }
        if let Some(p) = sampling.top_p {
            // Without top-k the candidates are those that may be in the nucleus, and the nucleus is of all tokens.
            let total = if top_k.is_some() { joint(candidates) } else { sum(&self.weights) };
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

/// A number in [0, 1) from the key `(seed, position)` alone: two rounds of SplitMix64's mixer (Steele et al. 2014), the
/// seed's result keying the position's, and the upper 53 bits of what comes out.
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
