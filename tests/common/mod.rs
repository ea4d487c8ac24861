//! What several tests need.
#![allow(dead_code, reason = "each test file uses a part of it")]

use longhaul::backend::Backend;
use longhaul::cpu::{self, CpuOptions};
use longhaul::spec::{Architecture, ModelConfig, RopeConfig, RopeScaling};

/// Every kernel table that this machine has, on two threads.
pub fn backends() -> Vec<Box<dyn Backend>> {
    let open = |table: &str| {
        let options = CpuOptions { table: Some(table.into()), threads: Some(2), ..Default::default() };
        cpu::open(&options).unwrap()
    };
    cpu::tables().into_iter().filter(|t| t.available).map(|t| open(t.name)).collect()
}

/// Small models of every family, with the shapes that bite: groups of 1 and 3, head_dim 16 to 64, tails in d_ff and the vocabulary, a
/// window, biases, norms of heads.
pub fn tiny() -> Vec<ModelConfig> {
    let base = ModelConfig {
        architecture: Architecture::Llama,
        d_model: 96,
        n_layers: 2,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 64,
        d_ff: 200,
        vocab: 301,
        max_len: 4096,
        norm_eps: 1e-5,
        rope: RopeConfig { theta: 10_000.0, scaling: RopeScaling::None },
        sliding_window: None,
        qkv_bias: false,
        qk_norm: false,
        tied_embeddings: true,
        end_tokens: vec![0],
    };
    let scaled =
        RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_len: 64.0 };
    vec![
        base.clone(),
        ModelConfig {
            n_heads: 4,
            n_kv_heads: 4,
            head_dim: 16,
            rope: RopeConfig { theta: 500_000.0, scaling: scaled },
            tied_embeddings: false,
            ..base.clone()
        },
        ModelConfig { architecture: Architecture::Mistral, head_dim: 32, sliding_window: Some(9), ..base.clone() },
        ModelConfig { architecture: Architecture::Qwen2, qkv_bias: true, ..base.clone() },
        ModelConfig { architecture: Architecture::Qwen3, n_heads: 8, n_kv_heads: 1, qk_norm: true, ..base },
    ]
}

/// Largest absolute difference.
pub fn max_abs(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(g, e)| (f64::from(*g) - e).abs()).fold(0.0, f64::max)
}

pub fn assert_close(got: &[f32], expected: &[f64], tolerance: f64) {
    assert!(max_abs(got, expected) <= tolerance);
}
