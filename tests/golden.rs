//! Every kernel table against transformers: distance of the next-token distributions, and the same most probable token.
//!
//! `tests/golden/README.md` says what the golden files hold and how the distance is defined. A prompt is teacher-forced
//! in steps of [`STEP_LEN`] rows over scattered pages. `cargo test --release --test golden -- --nocapture` prints every
//! distance.

mod common;
mod smollm2;

use std::path::Path;

use common::backends;
use longhaul::backend::{Backend, LoadOptions, Model};
use longhaul::spec::checkpoint::Checkpoint;
use longhaul::spec::{KvDtype, Logits, PageId, StepBatch, TokenId, WeightDtype};
use serde::Deserialize;

/// Rows of a step: several steps for the long prompt, and ends that are no page's end.
const STEP_LEN: usize = 200;
/// Room for the longest golden file, 2,064 tokens in pages of 256.
const N_PAGES: usize = 10;

/// What transformers computed.
#[derive(Deserialize)]
struct Golden {
    tokens: Vec<TokenId>,
    /// Only for the real model.
    #[serde(default)]
    greedy: Vec<TokenId>,
    rows: Vec<Row>,
    bf16_mean_kl: f64,
}

/// The logits behind one position: the largest, and the log of the sum of the exponentials of all.
#[derive(Deserialize)]
struct Row {
    position: usize,
    ids: Vec<TokenId>,
    logits: Vec<f64>,
    logsumexp: f64,
}

/// A row of a run, seen through the golden row.
struct Distance {
    position: usize,
    kl: f64,
    /// How much larger the golden logit of the golden argmax is than that of the run's argmax: 0 where they agree,
    /// infinite where the run's is not among the golden 20.
    argmax_gap: f64,
    /// Root mean square of the differences of log-probabilities over the golden ids, without the two argmaxes.
    logit_error: f64,
}

#[test]
fn every_family_of_models_agrees_with_transformers() {
    for family in ["llama3", "qwen2", "qwen3", "mistral"] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/tiny-{family}"));
        let golden: Golden = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
        assert_eq!(golden.rows.len(), golden.tokens.len(), "every position");
        for backend in backends() {
            let mut model = load(backend.as_ref(), &dir, None);
            golden.assert_agrees(model.as_mut(), &format!("tiny-{family}, {}", backend.caps().name));
        }
    }
}

#[test]
fn smollm2_agrees_with_transformers_in_bf16() {
    smollm2_agrees(WeightDtype::Bf16);
}

#[test]
fn smollm2_agrees_with_transformers_in_f32() {
    smollm2_agrees(WeightDtype::F32);
}

fn smollm2_agrees(weights: WeightDtype) {
    let Some(dir) = smollm2::model_dir() else { return };
    for backend in backends() {
        let mut model = load(backend.as_ref(), &dir, Some(weights));
        // The portable table would take minutes over the long prompt, so no context beyond one
        // attention chunk is compared for it here.
        let is_portable = backend.caps().name == "cpu/portable";
        let long = if is_portable { None } else { Some("long") };
        for name in ["plain", "chat", "unicode"].into_iter().chain(long) {
            let what = format!("smollm2-135m {name}, weights {weights}, {}", backend.caps().name);
            smollm2::golden::<Golden>(name).assert_agrees(model.as_mut(), &what);
        }
    }
}

fn load(backend: &dyn Backend, dir: &Path, weights: Option<WeightDtype>) -> Box<dyn Model> {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let options = LoadOptions {
        weights,
        kv: KvDtype::Bf16,
        n_pages: N_PAGES,
        max_step_tokens: STEP_LEN,
        max_logit_rows: STEP_LEN,
    };
    backend.load(checkpoint.config(), &checkpoint, options).unwrap()
}

impl Golden {
    /// The mean distance is no larger than that of transformers' own bf16, and the argmax is the same except at
    /// near-ties.
    ///
    /// A near-tie is a golden gap of at most three standard errors of the difference of two logits, `3 * sqrt(2) * s`.
    /// The error `s` of a logit is measured in the same row, for rows differ (the largest KL of a file is 25 times the
    /// mean), and over the other tokens, so that two wrong logits do not excuse themselves. Nor does a row that is
    /// wrong as a whole: `s` counts up to that of transformers' bf16, `sqrt(2 KL)` with its mean KL (to second order KL
    /// is half the variance of the logits' errors).
    fn assert_agrees(&self, model: &mut dyn Model, what: &str) {
        let distances = self.distances(model);
        let mean_kl = distances.iter().map(|d| d.kl).sum::<f64>() / distances.len() as f64;
        let max_kl = distances.iter().map(|d| d.kl).fold(0.0, f64::max);
        let flips = distances.iter().filter(|d| d.argmax_gap > 0.0).count();
        let n_rows = distances.len();
        println!(
            "{what}: mean KL {mean_kl:.2e} (bf16 of transformers {:.2e}), max {max_kl:.2e}, \
             {flips} of {n_rows} argmaxes differ",
            self.bf16_mean_kl
        );
        assert!(mean_kl <= self.bf16_mean_kl, "{what}: mean KL {mean_kl:e} is above {:e}", self.bf16_mean_kl);
        for Distance { position, argmax_gap, logit_error, .. } in distances.into_iter().filter(|d| d.argmax_gap > 0.0) {
            let near_tie = 3.0 * 2f64.sqrt() * logit_error.min((2.0 * self.bf16_mean_kl).sqrt());
            println!(
                "  another argmax at {position}, {argmax_gap:.4} below the golden one; up to {near_tie:.4} is a near-tie"
            );
            assert!(argmax_gap <= near_tie, "{what}: another argmax at {position}, {argmax_gap} below the golden one");
        }
    }

    /// Feeds prompt and greedy tokens, and compares where there is a golden row.
    fn distances(&self, model: &mut dyn Model) -> Vec<Distance> {
        let tokens = [self.tokens.as_slice(), &self.greedy].concat();
        // No two neighbours of a context are neighbours in memory.
        let pages: Vec<PageId> = (0..N_PAGES as u32).map(|i| PageId((i * 7 + 3) % N_PAGES as u32)).collect();
        let (mut batch, mut logits) = (StepBatch::new(), Logits::new());
        let mut distances = Vec::new();
        for (chunk, start) in tokens.chunks(STEP_LEN).zip((0..).step_by(STEP_LEN)) {
            let here = || self.rows.iter().filter(|row| (start..start + chunk.len()).contains(&row.position));
            batch.clear();
            batch.push(chunk, start, &pages);
            batch.logit_rows.extend(here().map(|row| (row.position - start) as u32));
            model.step(&batch, &mut logits).unwrap();
            distances.extend(here().enumerate().map(|(i, row)| row.distance(logits.row(i))));
        }
        assert_eq!(distances.len(), self.rows.len(), "a golden row lies outside of the tokens");
        distances
    }
}

impl Row {
    /// `KL = sum p ln(p / q)` over the golden ids and one class for all other tokens.
    fn distance(&self, logits: &[f32]) -> Distance {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!(logits.iter().all(|logit| logit.is_finite()), "position {}: a logit is not finite", self.position);
        let exps: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - max).exp()).collect();
        let total: f64 = exps.iter().sum();
        let q: Vec<f64> = self.ids.iter().map(|&id| exps[id as usize] / total).collect();
        let p: Vec<f64> = self.logits.iter().map(|logit| (logit - self.logsumexp).exp()).collect();
        let rest = |of: &[f64]| (1.0 - of.iter().sum::<f64>()).max(1e-12);
        let classes = p.iter().copied().zip(q.iter().copied()).chain([(rest(&p), rest(&q))]);
        let kl = classes.map(|(p, q)| p * (p / q).ln()).sum();
        let best = logits.iter().position(|&logit| logit == max).expect("one of them is the largest");
        let golden = self.ids.iter().position(|&id| id as usize == best).map(|i| self.logits[i]);
        let argmax_gap = golden.map_or(f64::INFINITY, |logit| self.logits[0] - logit);
        let others = self.ids.iter().zip(p.iter().zip(&q)).skip(1).filter(|(id, _)| **id as usize != best);
        let squares: Vec<f64> = others.map(|(_, (p, q))| (q / p).ln().powi(2)).collect();
        let logit_error = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        Distance { position: self.position, kl, argmax_gap, logit_error }
    }
}
