//! What long-horizon agent sessions look like: quantiles of two independent bodies of real coding sessions, and draws
//! from them.
//!
//! Lengths and gaps: kv-cache-tester (710 sessions, 49,334 requests of a coding agent; Apache-2.0,
//! github.com/callanjfox/kv-cache-tester at 94f6046). Shares and fan-out: the same, and TraceLab (4,265 sessions; arXiv
//! 2606.30560). Units are tokens and seconds.

/// Percentiles of one quantity, drawn from by inverting them: linear between the listed points, constant beyond the
/// first and last. With the appends below that gives a mean of 3,260 tokens, where the source's own is 3,242.
#[derive(Debug, Clone, Copy)]
pub struct Quantiles(pub &'static [(f64, f64)]);

/// Tokens that a turn appends to its context.
pub const APPEND: Quantiles = Quantiles(&[
    (0.01, 142.0),
    (0.05, 190.0),
    (0.10, 231.0),
    (0.25, 374.0),
    (0.50, 713.0),
    (0.75, 1_702.0),
    (0.90, 4_179.0),
    (0.95, 8_127.0),
    (0.99, 61_381.2),
]);

/// Tokens that a turn generates.
pub const OUTPUT: Quantiles = Quantiles(&[
    (0.01, 58.0),
    (0.05, 89.0),
    (0.10, 105.0),
    (0.25, 137.0),
    (0.50, 216.0),
    (0.75, 426.0),
    (0.90, 898.0),
    (0.95, 1_554.0),
    (0.99, 3_686.3),
]);

/// Seconds that a tool runs between two turns.
pub const TOOL_GAP_S: Quantiles = Quantiles(&[
    (0.01, 2.0),
    (0.05, 3.0),
    (0.10, 4.0),
    (0.25, 5.0),
    (0.50, 9.0),
    (0.75, 19.0),
    (0.90, 71.0),
    (0.95, 154.0),
    (0.99, 611.2),
]);

/// A tool gap longer than this counts as this, in `coding-loop`.
pub const TOOL_GAP_CAP_S: f64 = 10.0;

/// Tokens of system prompt and tool definitions, the same in every session of a client.
pub const SYSTEM_LEN: usize = 14_900;

/// Tokens of a session's first prompt, system prompt included (median 24,454).
pub const FIRST_INPUT_LEN: usize = 24_000;

/// Turns of a session, median.
pub const N_TURNS: usize = 45;

/// Context at which a session of `coding-loop` ends unless told otherwise.
pub const CONTEXT_CAP: usize = 131_072;

/// Idle times worth a test, in seconds: the knee of retention, and the 90th and 99th percentile of human gaps
/// (TraceLab).
pub const IDLE_S: [f64; 3] = [300.0, 1_236.0, 50_040.0];

/// Contexts that go idle, in tokens.
pub const IDLE_CONTEXTS: [usize; 3] = [64_000, 128_000, 248_000];

/// A research task under a supervisor: tokens in, tokens out, and how many work at once.
pub const RESEARCH: (usize, usize, usize) = (6_200, 632, 4);

/// A coding subagent: tokens of its first prompt, tokens of it shared with the parent, turns.
pub const SUBAGENT: (usize, usize, usize) = (10_300, 9_700, 11);

/// Most subagents that one parent starts at a time.
pub const MAX_SUBAGENTS: usize = 12;

impl Quantiles {
    /// The value below which a share `p` of the samples lies.
    pub fn at(&self, p: f64) -> f64 {
        let points = self.0;
        let above = points.partition_point(|&(q, _)| q < p);
        match above {
            0 => points[0].1,
            n if n == points.len() => points[n - 1].1,
            n => {
                let ((p0, v0), (p1, v1)) = (points[n - 1], points[n]);
                v0 + (v1 - v0) * (p - p0) / (p1 - p0)
            }
        }
    }

    /// A draw, rounded to whole tokens.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        self.at(rng.unit()).round() as usize
    }
}

/// SplitMix64 (Steele et al. 2014): a workload is a function of its seed, on every machine and in every release.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A stream of its own for each `key`: streams of one seed are independent.
    pub fn new(seed: u64, key: &[u64]) -> Self {
        let mut rng = Self(seed);
        for k in key {
            rng.0 = rng.bits() ^ k.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        }
        rng
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `0..n`; the bias is below `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_quantiles_they_are_drawn_from() {
        let mut rng = Rng::new(1, &[2]);
        let mut draws: Vec<usize> = (0..20_000).map(|_| APPEND.draw(&mut rng)).collect();
        draws.sort_unstable();
        for (p, want) in [(0.25, 374.0), (0.5, 713.0), (0.75, 1_702.0), (0.9, 4_179.0)] {
            let have = draws[(p * draws.len() as f64) as usize] as f64;
            assert!((have / want - 1.0).abs() < 0.06, "p{p}: {have} for {want}");
        }
        assert_eq!((APPEND.at(0.0), APPEND.at(1.0)), (142.0, 61_381.2));
    }

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, key: &[u64]| Rng::new(seed, key).bits();
        assert_eq!(draw(7, &[1, 2]), draw(7, &[1, 2]));
        assert_ne!(draw(7, &[1, 2]), draw(7, &[2, 1]));
        assert_ne!(draw(7, &[1, 2]), draw(8, &[1, 2]));
    }
}
