//! A model's configuration: what `config.json` says, in this crate's names.

use super::TokenId;
use crate::error::{Error, Result};

/// The families of models that the forward pass covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Llama and what shares its shape, SmolLM2 among them.
    Llama,
    /// Mistral: Llama with a sliding window.
    Mistral,
    /// Qwen2 and 2.5: Llama with biases on q, k and v.
    Qwen2,
    /// Qwen3: Llama with an RMSNorm on every head of q and k.
    Qwen3,
}

/// A decoder-only transformer of the Llama family.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Width of the residual stream (`hidden_size`).
    pub d_model: usize,
    /// Transformer layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// Width of the feed-forward layer (`intermediate_size`).
    pub d_ff: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Longest context (`max_position_embeddings`).
    pub max_len: usize,
    /// Epsilon of every RMSNorm.
    pub norm_eps: f32,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// How many keys a query sees at most, its own included.
    pub sliding_window: Option<usize>,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// RMSNorm on every head of q and k, before RoPE.
    pub qk_norm: bool,
    /// The output matrix is the embedding.
    pub tied_embeddings: bool,
    /// Tokens that end a generation.
    pub end_tokens: Vec<TokenId>,
}

/// Rotary position embedding (Su et al. 2021), in the half-rotated form of Hugging Face.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies: `theta^(-2i / head_dim)`.
    pub theta: f64,
    /// How frequencies are stretched beyond the original context.
    pub scaling: RopeScaling,
}

/// Stretching of RoPE frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As they are.
    None,
    /// All divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided, short ones kept, a ramp between.
    Llama3 {
        /// Divisor of the long wavelengths.
        factor: f64,
        /// Wavelengths above `original_max_len / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_len / high_freq_factor` are short.
        high_freq_factor: f64,
        /// Context of the original training.
        original_max_len: f64,
    },
}

impl RopeConfig {
    /// Angular frequency of each pair of elements, `[head_dim / 2]`.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f64> {
        let plain = |i: usize| self.theta.powf(-(2.0 * i as f64) / head_dim as f64);
        (0..head_dim / 2).map(|i| self.scaling.apply(plain(i))).collect()
    }
}

impl RopeScaling {
    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_len } => {
                let turns = original_max_len * frequency / std::f64::consts::TAU;
                let ramp = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                frequency * (ramp + (1.0 - ramp) / factor)
            }
        }
    }
}

impl ModelConfig {
    /// Whether a forward pass can be made of these numbers. A configuration that was read from a folder is sound.
    ///
    /// # Errors
    /// [`Error::Argument`] where a dimension is zero, KV heads do not divide the query heads, or a head is odd, which
    /// RoPE cannot rotate.
    pub fn validate(&self) -> Result<()> {
        let Self { d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ff, vocab, max_len, .. } = *self;
        let dimensions = [
            ("d_model", d_model),
            ("n_layers", n_layers),
            ("n_heads", n_heads),
            ("n_kv_heads", n_kv_heads),
            ("head_dim", head_dim),
            ("d_ff", d_ff),
            ("vocab", vocab),
            ("max_len", max_len),
        ];
        if let Some((name, _)) = dimensions.iter().find(|(_, n)| *n == 0) {
            return Err(Error::argument(format!("a model whose {name} is 0")));
        }
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(Error::argument(format!("{n_kv_heads} KV heads do not divide {n_heads} query heads")));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(Error::argument(format!("head_dim must be even for RoPE, and is {head_dim}")));
        }
        Ok(())
    }

    /// Query heads that share one KV head.
    pub fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// Width of all query heads together.
    pub fn d_q(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn d_kv(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}
