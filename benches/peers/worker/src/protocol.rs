//! The requests of `scripts/compare`. Answers are objects; one with `error` says what went wrong.

use serde::Deserialize;

pub type Answer = serde_json::Value;

/// What is asked for.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Makes everything ready, runs it once, and keeps it under `id`.
    Prepare { id: usize, peer: String, dtype: String, case: Case },
    /// Runs what is kept under `id` for some time.
    Sample { id: usize, seconds: f64 },
    /// Forgets all that was prepared.
    Drop,
    /// Measures these roofs of the machine.
    Roofs { names: Vec<String> },
    /// What the machine is, and the kernel table.
    About,
}

/// What is measured.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Case {
    Matmul(MatmulCase),
    Attention(AttentionCase),
    Model(ModelCase),
}

/// `y[m, n] = x[m, k] w[n, k]^T`.
#[derive(Deserialize)]
pub struct MatmulCase {
    pub m: usize,
    pub k: usize,
    pub n: usize,
    /// Bytes of weights, copies of one matrix, that take turns; 0 for a single matrix.
    pub rotated_bytes: u64,
    /// The kernel table by name; the best one where it says nothing.
    #[serde(default)]
    pub table: Option<String>,
}

/// Causal attention of the last `q_len` of `kv_len` tokens, in `batch` sequences.
#[derive(Deserialize)]
pub struct AttentionCase {
    pub batch: usize,
    pub q_len: usize,
    pub kv_len: usize,
    /// Tokens at the start that all sequences share, in the same pages; a multiple of a page.
    #[serde(default)]
    pub shared_len: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    /// Bytes of keys and values, copies of the sequences, that take turns; 0 for one.
    pub rotated_bytes: u64,
}

/// `n_tokens` behind a context of `depth`.
#[derive(Deserialize)]
pub struct ModelCase {
    /// Random weights in this shape; SmolLM2 where it says nothing.
    #[serde(default)]
    pub preset: Option<String>,
    /// Tokens one by one, or else all at once up to the first token drawn.
    pub decode: bool,
    pub depth: usize,
    pub n_tokens: usize,
}

/// Copies of something of `bytes` until `rotated_bytes` are full.
pub fn n_copies(rotated_bytes: u64, bytes: u64) -> usize {
    rotated_bytes.div_ceil(bytes).max(1) as usize
}
