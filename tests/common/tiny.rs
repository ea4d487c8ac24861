//! Small models of every family.

use longhaul::spec::{Architecture, ModelConfig, RopeConfig, RopeScaling};

/// Small models of every family, with the shapes that bite: groups of 1 and 3, head_dim 16 to 64, tails in d_ff and the
/// vocabulary, a window, biases, norms of heads.
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
