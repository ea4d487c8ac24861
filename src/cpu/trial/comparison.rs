//! The kernel tables of this machine against each other, shape by shape: is the chosen one the best?

use std::time::{Duration, Instant};

use super::{AttentionShape, Ceiling, Cost, Heads, MatmulShape, Share, Trial};
use crate::backend::Backend;
use crate::cpu::roofline::{self, Roof};
use crate::cpu::{CpuOptions, TableStatus, open, tables};
use crate::error::Result;
use crate::spec::contract::PAGE_LEN;
use crate::spec::synthetic::Preset;
use crate::spec::{KvDtype, WeightDtype};

/// Rounds at least in which every table is measured once, in turn; the middle one counts.
const ROUNDS: usize = 5;
/// A measurement is as many calls as fit into this time, and one at least; where memory is measured it is one, and
/// there are as many rounds.
const SAMPLE_TIME: Duration = Duration::from_millis(20);
/// 15k in whole pages.
pub const SHARED_LEN: usize = 15_000 / PAGE_LEN * PAGE_LEN;
/// Further behind the best table than this, the chosen one is the wrong one.
const TOLERANCE: f64 = 0.05;

/// One shape on every table.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Comparison {
    /// The shape, as `matmul/llama-3.1-8b/gate/m1/bf16`.
    pub shape: String,
    /// What a call costs.
    pub cost: Cost,
    /// Best table first, as [`tables`] has them.
    pub rates: Vec<TableRate>,
}

/// A shape on one table.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableRate {
    /// The table.
    pub table: &'static str,
    /// Whether it is the one that runs unless another is forced.
    pub chosen: bool,
    /// Median time of a call.
    pub seconds: f64,
    /// Operations, in 10^9 a second.
    pub gflops: f64,
    /// Bytes, in 10^9 a second.
    pub gbytes: f64,
    /// Share of the lower roof: of the table's own arithmetic, or of memory. None where no roof is known.
    pub share: Option<Share>,
}

impl Comparison {
    /// How much longer the chosen table takes than the best: 0 if it is the best.
    pub fn chosen_is_behind_by(&self) -> f64 {
        let best = self.rates.iter().map(|rate| rate.seconds).fold(f64::INFINITY, f64::min);
        self.rates.iter().find(|rate| rate.chosen).map_or(0.0, |rate| rate.seconds / best - 1.0)
    }

    /// Whether another table is more than 5% faster than the chosen one.
    pub fn chosen_is_slow(&self) -> bool {
        self.chosen_is_behind_by() > TOLERANCE
    }
}

/// Measures every available table at shapes of real models, one table after the other in each round, and the roofs
/// before. Takes less than a minute and some GiB.
///
/// # Errors
/// When a table cannot be opened.
pub fn compare(n_threads: usize) -> Result<Vec<Comparison>> {
    let available: Vec<TableStatus> = tables().into_iter().filter(|t| t.available).collect();
    let options =
        |t: &TableStatus| CpuOptions { table: Some(t.name.into()), threads: Some(n_threads), ..Default::default() };
    let backends = available.iter().map(|t| open(&options(t))).collect::<Result<Vec<_>>>()?;
    let names: Vec<&str> = available.iter().map(|t| t.roof).chain(["dram"]).collect();
    let field = Field { roofs: roofline::measure_named(&names, n_threads), available, backends };
    let mut comparisons = Vec::new();
    for shape in matmul_shapes() {
        comparisons.push(field.compare(format!("matmul/{}", shape.name()), shape.cost(), |b, n| shape.ready(b, n))?);
    }
    for shape in attention_shapes() {
        comparisons.push(field.compare(format!("attention/{}", shape.name), shape.cost(), |b, n| shape.ready(b, n))?);
    }
    Ok(comparisons)
}

/// One row, a batch, a prompt: from memory and from caches, each kind of weights.
fn matmul_shapes() -> Vec<MatmulShape> {
    use Preset::{Llama31_8b, Llama32_1b, SmolLm2_135m};
    let (bf16, int8, int4) = (WeightDtype::Bf16, WeightDtype::INT8, WeightDtype::Int4);
    let wanted = [
        (Llama31_8b, "gate", 1, bf16),
        (Llama31_8b, "gate", 4, bf16),
        (Llama31_8b, "gate", 16, bf16),
        (Llama31_8b, "gate", 1, int8),
        (Llama31_8b, "gate", 8, int8),
        (Llama31_8b, "gate", 1, WeightDtype::INT8_CHANNEL),
        (Llama31_8b, "gate", 1, int4),
        (Llama31_8b, "gate", 8, int4),
        (SmolLm2_135m, "gate", 64, bf16),
        (SmolLm2_135m, "gate", 2_048, bf16),
        (SmolLm2_135m, "down", 512, bf16),
        (Llama32_1b, "o", 512, bf16),
        (Llama32_1b, "o", 512, int8),
        (Llama32_1b, "o", 512, int4),
        (Llama32_1b, "o", 128, WeightDtype::F32),
    ];
    wanted.map(|(preset, part, m, dtype)| MatmulShape::new(preset, part, m, dtype)).into()
}

/// Decode, behind a shared prefix too, and prompts: of a large model and of a small one, keys and values in bf16 and in
/// int8.
fn attention_shapes() -> Vec<AttentionShape> {
    let shape = |heads, kv, name: &str, [n_seqs, n_rows, kv_len, shared_len]: [usize; 4]| AttentionShape {
        name: name.into(),
        heads,
        kv,
        n_seqs,
        n_rows,
        kv_len,
        shared_len,
        window: None,
    };
    let (large, small, bf16) = (Heads::LLAMA31_8B, Heads::SMOLLM2_135M, KvDtype::Bf16);
    vec![
        shape(large, bf16, "llama-3.1-8b/decode/b1/kv32k", [1, 1, 32_000, 0]),
        shape(large, bf16, "llama-3.1-8b/decode/b8/kv4k", [8, 1, 4_000, 0]),
        shape(large, bf16, "llama-3.1-8b/shared15k/b8", [8, 1, 16_000, SHARED_LEN]),
        shape(large, bf16, "llama-3.1-8b/append/q128/kv4k", [1, 128, 4_128, 0]),
        shape(large, bf16, "llama-3.1-8b/prefill/512", [1, 512, 512, 0]),
        shape(large, KvDtype::Int8, "llama-3.1-8b/decode/b1/kv32k/int8kv", [1, 1, 32_000, 0]),
        shape(large, KvDtype::Int8, "llama-3.1-8b/append/q128/kv4k/int8kv", [1, 128, 4_128, 0]),
        shape(small, bf16, "smollm2-135m/decode/b1/kv8k", [1, 1, 8_000, 0]),
        shape(small, bf16, "smollm2-135m/prefill/512", [1, 512, 512, 0]),
    ]
}

/// What takes part.
struct Field {
    roofs: Vec<Roof>,
    available: Vec<TableStatus>,
    backends: Vec<Box<dyn Backend>>,
}

impl Field {
    fn compare<T: Trial>(
        &self,
        shape: String,
        cost: Cost,
        ready: impl Fn(&dyn Backend, usize) -> Result<T>,
    ) -> Result<Comparison> {
        let n_trials = self.backends.len();
        let mut trials = self.backends.iter().map(|b| ready(&**b, n_trials)).collect::<Result<Vec<T>>>()?;
        let mut times = vec![Vec::new(); n_trials];
        trials.iter_mut().try_for_each(Trial::call)?;
        let began = Instant::now();
        let n_samples = (ROUNDS * n_trials) as u32;
        while times[0].len() < ROUNDS || began.elapsed() < SAMPLE_TIME * n_samples {
            for (trial, times) in trials.iter_mut().zip(&mut times) {
                // What comes from memory must be out of the caches when a table's turn comes again: one call each.
                times.push(if cost.from_memory { time_once(trial)? } else { time(trial)? });
            }
        }
        let rates = self.available.iter().zip(times).map(|(table, times)| self.rate(table, &cost, times)).collect();
        Ok(Comparison { shape, cost, rates })
    }

    fn rate(&self, table: &TableStatus, cost: &Cost, mut times: Vec<Duration>) -> TableRate {
        times.sort();
        let time = times[times.len() / 2];
        let roof = |name: &str| {
            let found = self.roofs.iter().find(|roof| roof.name == name);
            found.map_or(f64::INFINITY, |roof| roof.all_threads.median)
        };
        let ceiling = Ceiling { arithmetic: roof(table.roof), memory: roof("dram") };
        TableRate {
            table: table.name,
            chosen: table.chosen,
            seconds: time.as_secs_f64(),
            gflops: cost.gflops(time),
            gbytes: cost.gbytes(time),
            share: cost.share(time, &ceiling),
        }
    }
}

/// Time of a call, alone.
fn time_once(trial: &mut impl Trial) -> Result<Duration> {
    let began = Instant::now();
    trial.call()?;
    Ok(began.elapsed())
}

/// Time of a call among many.
fn time(trial: &mut impl Trial) -> Result<Duration> {
    let began = Instant::now();
    let mut n_calls = 0;
    while n_calls == 0 || began.elapsed() < SAMPLE_TIME {
        trial.call()?;
        n_calls += 1;
    }
    Ok(began.elapsed() / n_calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_names_of_their_own_and_share_whole_pages() {
        let shapes = attention_shapes();
        assert!(shapes.iter().all(|shape| shape.shared_len.is_multiple_of(PAGE_LEN)));
        let matmuls = matmul_shapes();
        let names = shapes.into_iter().map(|shape| shape.name).chain(matmuls.iter().map(MatmulShape::name));
        let mut names: Vec<String> = names.collect();
        let n = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n);
    }

    fn comparison(seconds: [f64; 3]) -> Comparison {
        let rate = |(i, seconds)| TableRate {
            table: ["amx", "avx512", "portable"][i],
            chosen: i == 0,
            seconds,
            gflops: 1.0,
            gbytes: 1.0,
            share: None,
        };
        let cost = Cost { flops: 1, bytes: 1, integers: false, from_memory: true };
        Comparison { shape: String::new(), cost, rates: seconds.into_iter().enumerate().map(rate).collect() }
    }

    #[test]
    fn a_chosen_table_that_is_behind_is_marked() {
        assert!(!comparison([1.0, 2.0, 3.0]).chosen_is_slow());
        assert!(!comparison([1.04, 1.0, 3.0]).chosen_is_slow());
        assert!(comparison([1.06, 1.0, 3.0]).chosen_is_slow());
        assert_eq!(comparison([1.5, 2.0, 1.0]).chosen_is_behind_by(), 0.5);
    }
}
