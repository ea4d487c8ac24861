//! The names and shapes of the tensors that a configuration expects, as Hugging Face stores them.

use super::ModelConfig;

/// Token embedding, `[vocab, d_model]`; with tied embeddings the output matrix as well.
pub const EMBEDDING: &str = "model.embed_tokens.weight";

/// RMSNorm before the output matrix, `[d_model]`.
pub const FINAL_NORM: &str = "model.norm.weight";

/// Output matrix of an untied model, `[vocab, d_model]`.
pub const LM_HEAD: &str = "lm_head.weight";

/// The parts of a layer; [`layer`] makes full names of them.
pub mod part {
    /// RMSNorm before attention, `[d_model]`.
    pub const ATTENTION_NORM: &str = "input_layernorm.weight";
    /// Queries, `[n_heads * head_dim, d_model]`.
    pub const Q_PROJ: &str = "self_attn.q_proj.weight";
    /// Keys, `[n_kv_heads * head_dim, d_model]`.
    pub const K_PROJ: &str = "self_attn.k_proj.weight";
    /// Values, `[n_kv_heads * head_dim, d_model]`.
    pub const V_PROJ: &str = "self_attn.v_proj.weight";
    /// Bias of the queries, `[n_heads * head_dim]`, with `qkv_bias`.
    pub const Q_BIAS: &str = "self_attn.q_proj.bias";
    /// Bias of the keys, `[n_kv_heads * head_dim]`, with `qkv_bias`.
    pub const K_BIAS: &str = "self_attn.k_proj.bias";
    /// Bias of the values, `[n_kv_heads * head_dim]`, with `qkv_bias`.
    pub const V_BIAS: &str = "self_attn.v_proj.bias";
    /// RMSNorm of every query head, `[head_dim]`, with `qk_norm`.
    pub const Q_NORM: &str = "self_attn.q_norm.weight";
    /// RMSNorm of every key head, `[head_dim]`, with `qk_norm`.
    pub const K_NORM: &str = "self_attn.k_norm.weight";
    /// Output of attention, `[d_model, n_heads * head_dim]`.
    pub const O_PROJ: &str = "self_attn.o_proj.weight";
    /// RMSNorm before the feed-forward layer, `[d_model]`.
    pub const FEED_FORWARD_NORM: &str = "post_attention_layernorm.weight";
    /// Gate of the feed-forward layer, `[d_ff, d_model]`.
    pub const GATE_PROJ: &str = "mlp.gate_proj.weight";
    /// What the gate lets through, `[d_ff, d_model]`.
    pub const UP_PROJ: &str = "mlp.up_proj.weight";
    /// Output of the feed-forward layer, `[d_model, d_ff]`.
    pub const DOWN_PROJ: &str = "mlp.down_proj.weight";
}

/// A tensor that a checkpoint must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Rows, which are outputs; the length of a vector.
    pub n: usize,
    /// Columns, which are inputs; 1 for a vector.
    pub k: usize,
}

/// The name of `part` in layer `layer_idx`: `model.layers.{layer_idx}.{part}`.
pub fn layer(layer_idx: usize, part: &str) -> String {
    format!("model.layers.{layer_idx}.{part}")
}

/// Every tensor of a model with this configuration, in the order in which a step needs them.
pub fn expected(config: &ModelConfig) -> Vec<TensorSpec> {
    let (vocab, d_model) = (config.vocab, config.d_model);
    let mut specs = vec![TensorSpec { name: EMBEDDING.into(), n: vocab, k: d_model }];
    let parts = layer_parts(config);
    for layer_idx in 0..config.n_layers {
        specs.extend(parts.iter().map(|&(part, n, k)| TensorSpec { name: layer(layer_idx, part), n, k }));
    }
    specs.push(TensorSpec { name: FINAL_NORM.into(), n: d_model, k: 1 });
    if !config.tied_embeddings {
        specs.push(TensorSpec { name: LM_HEAD.into(), n: vocab, k: d_model });
    }
    specs
}

/// `(part, n, k)` of one layer.
fn layer_parts(config: &ModelConfig) -> Vec<(&'static str, usize, usize)> {
    let ModelConfig { d_model, d_ff, head_dim, .. } = *config;
    let (d_q, d_kv) = (config.d_q(), config.d_kv());
    let mut parts = vec![
        (part::ATTENTION_NORM, d_model, 1),
        (part::Q_PROJ, d_q, d_model),
        (part::K_PROJ, d_kv, d_model),
        (part::V_PROJ, d_kv, d_model),
    ];
    if config.qkv_bias {
        parts.extend([(part::Q_BIAS, d_q, 1), (part::K_BIAS, d_kv, 1), (part::V_BIAS, d_kv, 1)]);
    }
    if config.qk_norm {
        parts.extend([(part::Q_NORM, head_dim, 1), (part::K_NORM, head_dim, 1)]);
    }
    parts.extend([
        (part::O_PROJ, d_model, d_q),
        (part::FEED_FORWARD_NORM, d_model, 1),
        (part::GATE_PROJ, d_ff, d_model),
        (part::UP_PROJ, d_ff, d_model),
        (part::DOWN_PROJ, d_model, d_ff),
    ]);
    parts
}
