//! A model of random weights that is fast enough for thousands of tokens.

use longhaul::backend::{LoadOptions, Model};
use longhaul::cpu::{self, CpuOptions};
use longhaul::engine::{Engine, GenerateOptions, Generated, Session, SessionOptions};
use longhaul::spec::synthetic::Synthetic;
use longhaul::spec::{KvDtype, ModelConfig, TokenId};

use crate::families::tiny;

/// Tokens of a page of the CPU backend.
pub const PAGE_LEN: usize = longhaul::spec::contract::PAGE_LEN;
/// Longest context.
pub const MAX_LEN: usize = 10_000;

/// A token and its log-probability, bit for bit.
pub type Drawn = (TokenId, u32);

/// 2 layers, 2 query heads on one KV head.
pub fn config() -> ModelConfig {
    ModelConfig { n_heads: 2, n_kv_heads: 1, head_dim: 32, max_len: MAX_LEN, ..tiny().swap_remove(0) }
}

/// The model with `n_pages` KV pages in bf16, on the kernel table that would run by default.
pub fn model(n_pages: usize) -> Box<dyn Model> {
    model_of(KvDtype::Bf16, n_pages)
}

fn model_of(kv: KvDtype, n_pages: usize) -> Box<dyn Model> {
    let options = LoadOptions { weights: None, kv, n_pages, max_step_tokens: 512, max_logit_rows: 128 };
    let backend = cpu::open(&CpuOptions { threads: Some(2), ..Default::default() }).unwrap();
    assert_eq!(backend.caps().page_len, PAGE_LEN);
    backend.load(&config(), &Synthetic::from_config(config(), 3), options).unwrap()
}

pub fn engine(n_pages: usize) -> Engine {
    engine_of(KvDtype::Bf16, n_pages)
}

/// An engine whose pages hold `kv`.
pub fn engine_of(kv: KvDtype, n_pages: usize) -> Engine {
    Engine::builder().model(model_of(kv, n_pages)).build().unwrap()
}

/// Some tokens, the same for the same seed.
pub fn prompt(seed: u32, n: usize) -> Vec<TokenId> {
    let vocab = config().vocab as u32;
    (0..n as u32).map(|i| (i ^ seed.wrapping_mul(0x9e37)).wrapping_mul(0x85eb_ca6b).rotate_left(15) % vocab).collect()
}

/// A session of tenant `a` with a context that is not yet computed.
pub fn prompted(engine: &Engine, prompt: &[TokenId]) -> Session {
    let mut session = engine.session(SessionOptions::tenant("a")).unwrap();
    session.append_tokens(prompt).unwrap();
    session
}

/// What a session of its own that finds nothing computed gives behind `prompt`.
pub fn alone(engine: &Engine, prompt: &[TokenId], n: usize) -> Vec<Drawn> {
    let mut session = engine.session(SessionOptions { prefix_cache: false, ..Default::default() }).unwrap();
    session.append_tokens(prompt).unwrap();
    let drawn = generate(&mut session, n);
    assert_eq!(session.usage().cached_tokens, 0);
    drawn
}

/// `n` greedy tokens.
pub fn generate(session: &mut Session, n: usize) -> Vec<Drawn> {
    session.generate(greedy(n)).unwrap().map(|generated| bits(&generated.unwrap())).collect()
}

pub fn greedy(n: usize) -> GenerateOptions {
    GenerateOptions { max_tokens: n, ignore_end: true, ..Default::default() }
}

pub fn bits(generated: &Generated) -> Drawn {
    (generated.token, generated.logprob.to_bits())
}
