//! Where a step's time goes: the share of each phase, of what is pointwise, and of forks and joins, for decode and
//! prefill of SmolLM2-135M's shape with random weights.
//!
//!     cargo bench --bench step -- bf16/2-threads/decode
//!
//! An argument selects the cases whose name contains it. `LONGHAUL_ISA` forces a kernel table, and `--record NAME`
//! writes `benches/records/NAME.json` (schema in BENCHMARKS.md). Phases are the spans of `cpu::forward`; the time of
//! the whole step is measured while nobody listens to them. Pointwise are the phases of norms, RoPE and the embedding,
//! and beside them the SiLU gate, which is fused with its product, and the pass over the vocabulary by which the engine
//! draws a token of each row of logits: these two are timed by themselves and counted as often as the step has them.
//! Softmax lives in attention.

#[path = "../record/mod.rs"]
mod record;

mod phases;

use std::time::{Duration, Instant};

use longhaul::Result;
use longhaul::backend::{KvPages, LoadOptions, Model};
use longhaul::cpu::trial::{PointwiseOp, PointwiseShape, Trial};
use longhaul::cpu::{self, CpuOptions, roofline};
use longhaul::spec::contract::PAGE_LEN;
use longhaul::spec::synthetic::Preset;
use longhaul::spec::{KvDtype, Logits, PageId, Slot, StepBatch, Synthetic, WeightDtype};
use ndarray::Array3;
use phases::{Phases, Shares};
use record::Row;

/// Calls of an operation that are timed together.
const CALLS: u32 = 100;

/// A step that is measured.
struct Case {
    name: &'static str,
    /// Sequences, rows of each, and tokens that stand before them.
    n_seqs: usize,
    n_rows: usize,
    depth: usize,
    /// Steps that are measured.
    n_steps: usize,
}

impl Case {
    /// Pages of one of its sequences.
    fn n_pages(&self) -> usize {
        (self.depth + self.n_rows).div_ceil(PAGE_LEN)
    }
}

#[rustfmt::skip]
const CASES: [Case; 7] = [
    Case { name: "decode-b1-d0", n_seqs: 1, n_rows: 1, depth: 0, n_steps: 60 },
    Case { name: "decode-b1-d2048", n_seqs: 1, n_rows: 1, depth: 2_048, n_steps: 60 },
    Case { name: "decode-b1-d8000", n_seqs: 1, n_rows: 1, depth: 8_000, n_steps: 30 },
    Case { name: "decode-b8-d1024", n_seqs: 8, n_rows: 1, depth: 1_024, n_steps: 30 },
    Case { name: "decode-b32-d1024", n_seqs: 32, n_rows: 1, depth: 1_024, n_steps: 15 },
    Case { name: "prefill-512", n_seqs: 1, n_rows: 512, depth: 0, n_steps: 5 },
    Case { name: "prefill-2048", n_seqs: 1, n_rows: 2_048, depth: 0, n_steps: 3 },
];

fn main() -> Result<()> {
    let mut rows = Vec::new();
    let mut table = String::new();
    let all_threads = cpu::machine().threads_allowed;
    for n_threads in if all_threads == 1 { vec![1] } else { vec![1, all_threads] } {
        let fork = roofline::fork_join(n_threads)?;
        for weights in [WeightDtype::Bf16, WeightDtype::INT8, WeightDtype::Int4] {
            let wanted = |case: &&Case| selected(&format!("{weights}/{n_threads}-threads/{}", case.name));
            let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();
            if cases.is_empty() {
                continue;
            }
            let mut bench = Bench::open(n_threads, weights)?;
            println!("\n{}, {weights}, {n_threads} threads; a fork and its join take {fork:.2?}", bench.table);
            for case in cases {
                let (step, shares) = bench.measure(case)?;
                let apart = bench.apart(case, n_threads)?;
                let what = format!("{weights}, {n_threads} threads, {}", case.name);
                let found = rows_of(&what, &Found { step, shares, apart, fork });
                record::print(&found);
                rows.extend(found);
            }
            table = bench.table;
        }
    }
    record::write_if_asked(&rows, &table, all_threads);
    Ok(())
}

/// Whether an argument that is neither an option nor the name of a record selects `name`, or there is none.
fn selected(name: &str) -> bool {
    let mut arguments = std::env::args().skip(1);
    let mut filters = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--record" => drop(arguments.next()),
            option if option.starts_with('-') => {}
            filter => filters.push(filter.to_string()),
        }
    }
    filters.is_empty() || filters.iter().any(|filter| name.contains(filter))
}

/// What was found of a case.
struct Found {
    /// Of the whole step.
    step: Duration,
    shares: Shares,
    apart: Apart,
    /// Of one fork and its join.
    fork: Duration,
}

/// Pointwise work that no phase shows, as long as a step has it.
struct Apart {
    /// Fused with a product.
    gates: Duration,
    /// Behind the step.
    drawing: Duration,
}

/// The step with its phases, and the two shares that have a limit.
fn rows_of(what: &str, found: &Found) -> [Row; 3] {
    let Found { step, shares, apart, fork } = found;
    let row = |of: &str, at_least: &str, measured: f64, unit, note: String| Row {
        what: format!("{what}: {of}"),
        at_least: at_least.into(),
        measured,
        unit,
        note,
    };
    let of_step = |time: Duration| 100.0 * time.as_secs_f64() / (*step + apart.drawing).as_secs_f64();
    let [phases, gates, drawing] = [step.mul_f64(shares.pointwise()), apart.gates, apart.drawing].map(of_step);
    let forks = of_step(fork.mul_f64(shares.n_forks));
    let parts = format!("norms, RoPE, append, embedding {phases:.1}, gates {gates:.1}, drawing {drawing:.1}");
    [
        row("step", "", step.as_secs_f64() * 1e3, "ms", shares.to_string()),
        row("pointwise", "at most 10", phases + gates + drawing, "%", parts),
        row("forks", "at most 5", forks, "%", format!("{:.0} forks and their joins", shares.n_forks)),
    ]
}

/// A model, and who listens to it.
struct Bench {
    model: Box<dyn Model>,
    table: String,
}

impl Bench {
    fn open(n_threads: usize, weights: WeightDtype) -> Result<Self> {
        let backend = cpu::open(&CpuOptions { threads: Some(n_threads), ..Default::default() })?;
        let source = Synthetic::new(Preset::SmolLm2_135m, 1);
        let options = LoadOptions {
            weights: Some(weights),
            kv: KvDtype::Bf16,
            n_pages: CASES.iter().map(|case| case.n_seqs * case.n_pages()).max().expect("cases"),
            max_step_tokens: 2_048,
            max_logit_rows: 32,
        };
        let mut model = backend.load(source.config(), &source, options)?;
        fill(model.kv())?;
        Ok(Self { model, table: backend.caps().name.trim_start_matches("cpu/").into() })
    }

    /// Gates are spread over threads, and draws come one after the other.
    fn apart(&self, case: &Case, n_threads: usize) -> Result<Apart> {
        let config = self.model.config();
        let n_rows = case.n_seqs * case.n_rows;
        let gate = self.row_time(PointwiseOp::SiluGate, n_rows.min(64), config.d_ff)?;
        let draw = self.row_time(PointwiseOp::VocabularyWeights, 1, config.vocab)?;
        let gates = gate.mul_f64((n_rows * config.n_layers) as f64 / n_threads as f64);
        Ok(Apart { gates, drawing: draw * case.n_seqs as u32 })
    }

    /// Median time of an operation for each of some rows.
    fn row_time(&self, op: PointwiseOp, n_rows: usize, width: usize) -> Result<Duration> {
        let mut trial = PointwiseShape { name: String::new(), op, n_rows, width }.ready(&self.table)?;
        let mut times = [Duration::ZERO; 9];
        for time in &mut times {
            let began = Instant::now();
            (0..CALLS).try_for_each(|_| trial.call())?;
            *time = began.elapsed() / (CALLS * n_rows as u32);
        }
        times.sort();
        Ok(times[times.len() / 2])
    }

    /// Median time of a step while nobody listens, and where the time goes when somebody does.
    fn measure(&mut self, case: &Case) -> Result<(Duration, Shares)> {
        let batch = batch(case);
        let (model, mut logits) = (&mut self.model, Logits::new());
        model.step(&batch, &mut logits)?;
        let mut times = Vec::new();
        for _ in 0..case.n_steps {
            let began = Instant::now();
            model.step(&batch, &mut logits)?;
            times.push(began.elapsed());
        }
        times.sort();
        let listener = Phases::default();
        let shares = listener.clone();
        tracing::subscriber::with_default(listener, || {
            (0..case.n_steps).try_for_each(|_| model.step(&batch, &mut logits))
        })?;
        // Or the spans would go on being made for a listener that is gone.
        tracing::callsite::rebuild_interest_cache();
        Ok((times[times.len() / 2], shares.shares(case.n_steps)))
    }
}

/// Writes every page, with the same numbers: memory that was never written is all one page of zeros, which no cache has
/// to fetch twice.
fn fill(kv: &mut dyn KvPages) -> Result<()> {
    let spec = *kv.spec();
    let tokens = Array3::from_shape_fn((PAGE_LEN, spec.n_kv_heads, spec.head_dim), |(i, h, d)| {
        ((i * 7 + h * 5 + d * 3) % 13) as f32 / 13.0 - 0.5
    });
    let slots: Vec<Slot> = (0..PAGE_LEN).map(|slot_idx| Slot { page: PageId(0), slot_idx }).collect();
    (0..spec.n_layers).try_for_each(|layer| kv.append(layer, tokens.view(), tokens.view(), &slots))?;
    (1..kv.n_pages() as u32).try_for_each(|page| kv.copy_page(PageId(0), PageId(page), PAGE_LEN))
}

/// Sequences with pages of their own. What stands before their rows is what `fill` wrote, or an earlier case: its
/// values do not change the time.
fn batch(case: &Case) -> StepBatch {
    let mut batch = StepBatch::new();
    let n_pages = case.n_pages();
    for seq in 0..case.n_seqs {
        let pages: Vec<PageId> = (0..n_pages).map(|i| PageId((seq * n_pages + i) as u32)).collect();
        let tokens: Vec<u32> = (0..case.n_rows).map(|i| ((i * 7_919 + seq * 104_729 + 17) % 49_000) as u32).collect();
        batch.push(&tokens, case.depth, &pages);
        batch.logit_rows.push(batch.n_tokens() as u32 - 1);
    }
    batch
}
