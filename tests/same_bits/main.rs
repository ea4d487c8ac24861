//! Law 1: a token's logits depend on the tokens before it and on nothing else, bit for bit, on every kernel table that
//! this machine has; and they are the bits that the contract says.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/tiny.rs"]
mod tiny;

mod contexts;
mod histories;
mod poison;
mod truth;

use longhaul::backend::{Backend, LoadOptions, Model};
use longhaul::spec::{KvDtype, Logits, ModelConfig, PageId, StepBatch, Synthetic, TokenId, WeightDtype};

/// Most rows of a step here.
const MAX_STEP_TOKENS: usize = 400;

/// Pages of a model here: a whole run of the CPU's layout, and one that is shorter.
const N_PAGES: usize = 12;

/// A model with random weights.
fn load(backend: &dyn Backend, config: &ModelConfig, weights: Option<WeightDtype>, kv: KvDtype) -> Box<dyn Model> {
    let options = LoadOptions {
        weights,
        kv,
        n_pages: N_PAGES,
        max_step_tokens: MAX_STEP_TOKENS,
        max_logit_rows: MAX_STEP_TOKENS,
    };
    backend.load(config, &Synthetic::from_config(config.clone(), 7), options).unwrap()
}

/// Some tokens of the vocabulary, different for every salt.
fn prompt(config: &ModelConfig, n_tokens: usize, salt: u32) -> Vec<TokenId> {
    (0..n_tokens as u32).map(|i| (i * i * 37 + i * salt * 11 + salt) % config.vocab as u32).collect()
}

/// The logits of every position: the prompt in one step, alone, in the first pages.
fn plain(model: &mut dyn Model, tokens: &[TokenId]) -> Vec<Vec<f32>> {
    let mut batch = StepBatch::new();
    let pages: Vec<PageId> = (0..N_PAGES as u32).map(PageId).collect();
    batch.push(tokens, 0, &pages);
    batch.logit_rows = (0..tokens.len() as u32).collect();
    let mut logits = Logits::new();
    model.step(&batch, &mut logits).unwrap();
    (0..tokens.len()).map(|row| logits.row(row).to_vec()).collect()
}

/// Whether every bit agrees.
fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Fills a page of all layers with NaN: all of it where it holds bf16, the scales where it holds codes.
fn poison(model: &mut dyn Model, page: PageId) {
    let spec = *model.kv().spec();
    let head = match spec.dtype {
        KvDtype::Bf16 => half::bf16::NAN.to_le_bytes().repeat(spec.head_dim),
        KvDtype::Int8 => [vec![0x7f; spec.head_dim], f32::NAN.to_le_bytes().to_vec()].concat(),
    };
    let bytes = head.repeat(model.kv().page_bytes() / head.len());
    model.kv().import_page(page, &bytes).unwrap();
}
