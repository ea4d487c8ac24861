//! Weights of a vocabulary, for whoever draws the next token or scores one: a pass over some 10^5 logits for each row,
//! which at small batches takes a tenth of a step unless it is done in vectors.

use super::isa::{Isa, Kernel};
use super::math::exp;

/// Logits whose weights are added up in f32, eight vectors, before they go on in f64: so the sum loses no more than
/// `exp` itself.
const BLOCK: usize = 8 * 16;

/// [`Model::weigh`](crate::backend::Model::weigh): a relative error below 4e-7 of the exponential of each rounded
/// exponent and 1e-6 of their sum; 0 for what lies more than 87.3 temperatures below `max`.
///
/// # Panics
/// If the lengths differ.
pub fn weigh<I: Isa>(isa: I, logits: &[f32], max: f32, temperature: f32, out: &mut [f32]) -> f64 {
    assert_eq!(logits.len(), out.len(), "a weight for each logit");
    let mut sum = 0.0;
    isa.run(Weigh { logits, max, temperature, out, sum: &mut sum });
    sum
}

/// The arguments of [`weigh`], and where the sum goes.
struct Weigh<'a> {
    logits: &'a [f32],
    max: f32,
    temperature: f32,
    out: &'a mut [f32],
    sum: &'a mut f64,
}

impl<I: Isa> Kernel<I> for Weigh<'_> {
    #[inline(always)]
    fn run(self, isa: I) {
        let scale = Scale { max: isa.splat(self.max), temperature: isa.splat(self.temperature) };
        let mut sums = [0f64; 16];
        for (logits, out) in self.logits.chunks(BLOCK).zip(self.out.chunks_mut(BLOCK)) {
            let mut lanes = [0.0; 16];
            isa.store(scale.block(isa, logits, out), &mut lanes);
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum += f64::from(lane);
            }
        }
        *self.sum = sums.iter().sum();
    }
}

/// What logits are measured by, in every lane.
struct Scale<V> {
    max: V,
    temperature: V,
}

impl<V> Scale<V> {
    /// The weights of a block, and their sum by lanes.
    #[inline(always)]
    fn block<I: Isa<V = V>>(&self, isa: I, logits: &[f32], out: &mut [f32]) -> V
    where
        V: Copy,
    {
        let mut sum = isa.splat(0.0);
        let ((logits, logits_tail), (out, out_tail)) = (logits.as_chunks(), out.as_chunks_mut());
        for (logits, out) in logits.iter().zip(out) {
            let weights = self.weights(isa, logits);
            isa.store(weights, out);
            sum = isa.add(sum, weights);
        }
        if !logits_tail.is_empty() {
            let mut lanes = [f32::NEG_INFINITY; 16];
            lanes[..logits_tail.len()].copy_from_slice(logits_tail);
            let weights = self.weights(isa, &lanes);
            isa.store(weights, &mut lanes);
            out_tail.copy_from_slice(&lanes[..out_tail.len()]);
            sum = isa.add(sum, weights);
        }
        sum
    }

    #[inline(always)]
    fn weights<I: Isa<V = V>>(&self, isa: I, logits: &[f32; 16]) -> V
    where
        V: Copy,
    {
        exp(isa, isa.div(isa.sub(isa.load(logits), self.max), self.temperature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::arch::{TableVisitor, for_each_table};

    /// A check of the weights of one table.
    type Check = fn(&str, &dyn Fn(&[f32], f32, f32, &mut [f32]) -> f64);

    /// Runs a check on every table of this machine.
    fn on_every_table(check: Check) {
        struct Every(Check);
        impl TableVisitor for Every {
            fn visit<I: Isa>(&mut self, table: Result<I, String>) {
                if let Ok(isa) = table {
                    (self.0)(I::NAME, &|logits, max, temperature, out| weigh(isa, logits, max, temperature, out));
                }
            }
        }
        for_each_table(&mut Every(check));
    }

    #[test]
    fn weights_and_their_sum_are_those_of_the_definition_whatever_the_length() {
        on_every_table(|table, weigh| {
            for n in [1, 15, 16, 17, 127, 128, 129, 1_001, 49_152] {
                let logits: Vec<f32> = (0..n).map(|i| ((i * 7_919) % 1_000) as f32 / 10.0 - 60.0).collect();
                let max = logits.iter().copied().fold(f32::MIN, f32::max);
                for temperature in [1.0, 0.7] {
                    let mut have = vec![f32::NAN; n];
                    let sum = weigh(&logits, max, temperature, &mut have);
                    let exact = |logit: f32| f64::from((logit - max) / temperature).exp();
                    let want_sum: f64 = logits.iter().map(|&logit| exact(logit)).sum();
                    assert!((sum / want_sum - 1.0).abs() < 1e-6, "{table}, {n} logits: {sum}, not {want_sum}");
                    for (&logit, weight) in logits.iter().zip(have) {
                        let want = exact(logit);
                        let error = (f64::from(weight) - want).abs();
                        assert!(error <= 4e-7 * want || want < 2e-38, "{table}, {logit}: {weight}, not {want}");
                    }
                }
            }
        });
    }

    #[test]
    fn minus_infinity_weighs_nothing_and_nan_shows() {
        on_every_table(|table, weigh| {
            let mut out = [1.0; 20];
            let mut logits = [f32::NEG_INFINITY; 20];
            logits[18] = 3.0;
            assert_eq!(weigh(&logits, 3.0, 1e-30, &mut out), 1.0, "{table}");
            assert_eq!(out, std::array::from_fn(|i| f32::from(u8::from(i == 18))), "{table}");
            for at in [0, 19] {
                let mut broken = logits;
                broken[at] = f32::NAN;
                assert!(weigh(&broken, 3.0, 1.0, &mut out).is_nan(), "{table}");
            }
        });
    }
}
