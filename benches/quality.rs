//! What quantised weights, keys and values cost in quality: perplexity on a text, and how far the next-token
//! distributions are from those of bf16. Prints a table, and with `-- --record NAME` writes `benches/records/NAME.json`
//! (schema in BENCHMARKS.md).
//!
//!     cargo bench --bench quality -- --record smollm2-quality
//!
//! `-- int4` alone compares just that, `-- int4/int8` int4 weights with keys and values in int8. The text is
//! `tests/data/quality.txt`, read from its first token on as one context. Every position but the last predicts the next
//! token.

#[path = "record/mod.rs"]
mod record;

use std::path::Path;

use longhaul::Result;
use longhaul::backend::{Backend, LoadOptions, Model};
use longhaul::spec::{Checkpoint, KvDtype, Logits, PageId, StepBatch, TokenId, WeightDtype};
use longhaul::text::{SpecialTokens, Tokenizer};
use record::Row;

/// Rows of a step.
const STEP_LEN: usize = 128;

/// What is compared with bf16 unless the arguments name types.
const VARIANTS: [Variant; 7] = [
    Variant { weights: WeightDtype::INT8, kv: KvDtype::Bf16 },
    Variant { weights: WeightDtype::Int8 { group_len: Some(32) }, kv: KvDtype::Bf16 },
    Variant { weights: WeightDtype::INT8_CHANNEL, kv: KvDtype::Bf16 },
    Variant { weights: WeightDtype::Int4, kv: KvDtype::Bf16 },
    Variant { weights: WeightDtype::Bf16, kv: KvDtype::Int8 },
    Variant { weights: WeightDtype::INT8, kv: KvDtype::Int8 },
    Variant { weights: WeightDtype::Int4, kv: KvDtype::Int8 },
];

/// Types that a model runs as.
#[derive(Clone, Copy)]
struct Variant {
    weights: WeightDtype,
    kv: KvDtype,
}

impl Variant {
    const BF16: Self = Self { weights: WeightDtype::Bf16, kv: KvDtype::Bf16 };

    /// `int4` for weights, `int4/int8` for weights, keys and values.
    fn named(text: &str) -> Option<Self> {
        let (weights, kv) = text.split_once('/').unwrap_or((text, "bf16"));
        Some(Self { weights: weights.parse().ok()?, kv: kv.parse().ok()? })
    }
}

/// What rows of the record say.
impl std::fmt::Display for Variant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kv {
            KvDtype::Bf16 => write!(f, "{} weights", self.weights),
            KvDtype::Int8 => write!(f, "{} weights, int8 KV", self.weights),
        }
    }
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = root.join("models/smollm2-135m");
    if !dir.is_dir() {
        eprintln!("quality: no model in {}; run scripts/fetch-smollm2 first", dir.display());
        std::process::exit(1);
    }
    let path = root.join("tests/data/quality.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let tokens = Tokenizer::from_dir(&dir)?.encode(&text, SpecialTokens::AsText)?;
    let backend = longhaul::backend::detect(None)?;
    let mut rows = Vec::new();
    let named: Vec<Variant> = std::env::args().skip(1).filter_map(|argument| Variant::named(&argument)).collect();
    for variant in if named.is_empty() { VARIANTS.to_vec() } else { named } {
        let mut pair = Pair::load(&*backend, &dir, variant, tokens.len())?;
        let distance = pair.read(&tokens)?;
        if rows.is_empty() {
            rows.push(row(Variant::BF16, distance.bf16_perplexity(), "what the others are compared with"));
        }
        rows.extend(distance.rows(variant));
    }
    record::print(&rows);
    let caps = backend.caps();
    record::write_if_asked(&rows, caps.name.trim_start_matches("cpu/"), caps.n_threads);
    Ok(())
}

fn row(variant: Variant, perplexity: f64, note: &str) -> Row {
    Row {
        what: format!("perplexity with {variant}"),
        at_least: serde_json::Value::Null,
        measured: perplexity,
        unit: "",
        note: note.into(),
    }
}

/// The same model in bf16 and in other types.
struct Pair {
    bf16: Box<dyn Model>,
    other: Box<dyn Model>,
    pages: Vec<PageId>,
}

/// What the positions of the text add up to.
#[derive(Default)]
struct Distance {
    /// `KL(bf16 || other)` of each position, in nats.
    kl: Vec<f64>,
    /// Negative log-likelihoods of the next tokens.
    bf16_nll: f64,
    other_nll: f64,
    n_predicted: usize,
    same_best: usize,
}

impl Pair {
    fn load(backend: &dyn Backend, dir: &Path, variant: Variant, n_tokens: usize) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir)?;
        let n_pages = n_tokens.div_ceil(backend.caps().page_len);
        let load = |Variant { weights, kv }| {
            let (weights, max_step_tokens, max_logit_rows) = (Some(weights), STEP_LEN, STEP_LEN);
            let options = LoadOptions { weights, kv, n_pages, max_step_tokens, max_logit_rows };
            backend.load(checkpoint.config(), &checkpoint, options)
        };
        let pages = (0..n_pages as u32).map(PageId).collect();
        Ok(Self { bf16: load(Variant::BF16)?, other: load(variant)?, pages })
    }

    fn read(&mut self, tokens: &[TokenId]) -> Result<Distance> {
        let mut distance = Distance::default();
        let (mut a, mut b) = (Logits::new(), Logits::new());
        for (chunk, start) in tokens.chunks(STEP_LEN).zip((0..).step_by(STEP_LEN)) {
            let mut batch = StepBatch::new();
            batch.push(chunk, start, &self.pages);
            batch.logit_rows.extend(0..chunk.len() as u32);
            self.bf16.step(&batch, &mut a)?;
            self.other.step(&batch, &mut b)?;
            for row in 0..chunk.len() {
                distance.add(a.row(row), b.row(row), tokens.get(start + row + 1));
            }
        }
        Ok(distance)
    }
}

impl Distance {
    fn add(&mut self, bf16: &[f32], other: &[f32], next: Option<&TokenId>) {
        let (p, q) = (log_softmax(bf16), log_softmax(other));
        self.kl.push(p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum());
        let best = |x: &[f64]| x.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
        self.same_best += usize::from(best(&p) == best(&q));
        if let Some(next) = next {
            self.bf16_nll -= p[*next as usize];
            self.other_nll -= q[*next as usize];
            self.n_predicted += 1;
        }
    }

    fn bf16_perplexity(&self) -> f64 {
        (self.bf16_nll / self.n_predicted as f64).exp()
    }

    fn rows(mut self, variant: Variant) -> [Row; 2] {
        let n = self.kl.len();
        self.kl.sort_by(f64::total_cmp);
        let mean = self.kl.iter().sum::<f64>() / n as f64;
        let (median, high) = (self.kl[n / 2], self.kl[n * 99 / 100]);
        let note = format!(
            "median {median:.6}, 99% below {high:.4}; the likeliest token is the same at {:.1}% of {n} positions",
            100.0 * self.same_best as f64 / n as f64
        );
        let perplexity = (self.other_nll / self.n_predicted as f64).exp();
        let what = format!("mean KL of {variant} from bf16 weights");
        let kl = Row { what, at_least: serde_json::Value::Null, measured: mean, unit: "nats", note };
        [row(variant, perplexity, &format!("output matrix in {}", variant.weights.of_head())), kl]
    }
}

/// Log-probabilities of a row of logits.
fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    let ln_sum = f64::from(max) + sum.ln();
    logits.iter().map(|x| f64::from(*x) - ln_sum).collect()
}
