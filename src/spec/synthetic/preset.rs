//! The configurations of published models.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::spec::{Architecture, ModelConfig, RopeConfig, RopeScaling};

/// The shapes of published models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// SmolLM2-135M-Instruct.
    SmolLm2_135m,
    /// Llama-3.2-1B-Instruct.
    Llama32_1b,
    /// Llama-3.1-8B-Instruct.
    Llama31_8b,
    /// Qwen3-0.6B.
    Qwen3_06b,
}

impl Preset {
    /// All of them, smallest first.
    pub const ALL: [Self; 4] = [Self::SmolLm2_135m, Self::Qwen3_06b, Self::Llama32_1b, Self::Llama31_8b];

    /// The name that the command line takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SmolLm2_135m => "smollm2-135m",
            Self::Llama32_1b => "llama-3.2-1b",
            Self::Llama31_8b => "llama-3.1-8b",
            Self::Qwen3_06b => "qwen3-0.6b",
        }
    }

    /// The configuration that the model was published with.
    pub fn config(self) -> ModelConfig {
        match self {
            Self::SmolLm2_135m => ModelConfig {
                architecture: Architecture::Llama,
                d_model: 576,
                n_layers: 30,
                n_heads: 9,
                n_kv_heads: 3,
                head_dim: 64,
                d_ff: 1536,
                vocab: 49_152,
                max_len: 8192,
                norm_eps: 1e-5,
                rope: RopeConfig { theta: 100_000.0, scaling: RopeScaling::None },
                sliding_window: None,
                qkv_bias: false,
                qk_norm: false,
                tied_embeddings: true,
                end_tokens: vec![2],
            },
            Self::Llama32_1b => ModelConfig {
                d_model: 2048,
                n_layers: 16,
                head_dim: 64,
                d_ff: 8192,
                tied_embeddings: true,
                ..llama3(32.0)
            },
            Self::Llama31_8b => llama3(8.0),
            Self::Qwen3_06b => ModelConfig {
                architecture: Architecture::Qwen3,
                d_model: 1024,
                n_layers: 28,
                n_heads: 16,
                n_kv_heads: 8,
                head_dim: 128,
                d_ff: 3072,
                vocab: 151_936,
                max_len: 40_960,
                norm_eps: 1e-6,
                rope: RopeConfig { theta: 1_000_000.0, scaling: RopeScaling::None },
                sliding_window: None,
                qkv_bias: false,
                qk_norm: true,
                tied_embeddings: true,
                end_tokens: vec![151_645, 151_643],
            },
        }
    }
}

/// Llama-3.1-8B-Instruct, with the RoPE `factor` of its relatives.
fn llama3(factor: f64) -> ModelConfig {
    let scaling = RopeScaling::Llama3 { factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_len: 8192.0 };
    ModelConfig {
        architecture: Architecture::Llama,
        d_model: 4096,
        n_layers: 32,
        n_heads: 32,
        n_kv_heads: 8,
        head_dim: 128,
        d_ff: 14_336,
        vocab: 128_256,
        max_len: 131_072,
        norm_eps: 1e-5,
        rope: RopeConfig { theta: 500_000.0, scaling },
        sliding_window: None,
        qkv_bias: false,
        qk_norm: false,
        tied_embeddings: false,
        end_tokens: vec![128_001, 128_008, 128_009],
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::argument(format!("there is no synthetic model \"{name}\"; there are {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tensors::expected;

    #[test]
    fn presets_have_the_published_number_of_parameters() {
        let n_parameters = |p: Preset| expected(&p.config()).iter().map(|s| s.n * s.k).sum::<usize>();
        assert_eq!(n_parameters(Preset::SmolLm2_135m), 134_515_008);
        assert_eq!(n_parameters(Preset::Llama32_1b), 1_235_814_400);
        assert_eq!(n_parameters(Preset::Llama31_8b), 8_030_261_248);
        assert_eq!(n_parameters(Preset::Qwen3_06b), 596_049_920);
    }

    #[test]
    fn a_preset_is_found_by_its_name() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
        }
        let error = "gpt-5".parse::<Preset>().unwrap_err().to_string();
        assert!(error.contains("gpt-5") && error.contains("qwen3-0.6b"), "{error}");
    }
}
