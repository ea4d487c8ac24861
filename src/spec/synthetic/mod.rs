//! Models of real shapes with seeded random weights, so that kernels and workloads run with no download. What such a
//! model writes is noise; what it costs is not.

mod preset;

use std::collections::HashMap;

use half::bf16;
use rayon::prelude::*;

pub use self::preset::Preset;
use super::tensors::{TensorSpec, expected};
use super::{ModelConfig, WeightSource, WeightView};
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// Random bf16 weights of a configuration, made tensor by tensor as they are asked for, so that a model goes straight
/// into packed form and never lies in memory twice.
///
/// Element `i` of tensor `name` depends on `(seed, name, i)` alone. Elements follow the logistic distribution, a bell
/// curve, cut at 5 standard deviations. Matrices `[n, k]` have mean 0 and standard deviation `1 / sqrt(k)` (0.008 to
/// 0.04 for the presets), so that their outputs are about as large as their inputs at every width; norms are 1 +- 0.1,
/// biases 0 +- 0.1.
#[derive(Debug, Clone)]
pub struct Synthetic {
    config: ModelConfig,
    seed: u64,
    specs: HashMap<String, TensorSpec>,
}

impl Synthetic {
    /// Weights in the shape of a published model.
    pub fn new(preset: Preset, seed: u64) -> Self {
        Self::from_config(preset.config(), seed)
    }

    /// Weights for any configuration.
    pub fn from_config(config: ModelConfig, seed: u64) -> Self {
        let specs = expected(&config).into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        Self { config, seed, specs }
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn spec(&self, name: &str) -> Result<&TensorSpec> {
        self.specs.get(name).ok_or_else(|| Error::argument(format!("the synthetic model has no tensor \"{name}\"")))
    }
}

impl WeightSource for Synthetic {
    /// Makes the tensor, in parallel on the caller's rayon pool.
    ///
    /// # Errors
    /// [`Error::Argument`] for a tensor that the configuration does not have.
    fn tensor<'a>(&'a self, name: &'a str) -> Result<WeightView<'a>> {
        let spec = self.spec(name)?;
        let mut bytes = vec![0; spec.n * spec.k * Dtype::Bf16.size_bytes()];
        fill(&mut bytes, key(self.seed, name), &quantiles(spec));
        Ok(WeightView { name, n: spec.n, k: spec.k, dtype: Dtype::Bf16, bytes: bytes.into() })
    }

    fn dtype(&self, name: &str) -> Result<Dtype> {
        self.spec(name).map(|_| Dtype::Bf16)
    }
}

/// The bf16 numbers that 12 random bits stand for: quantiles of the elements' distribution.
type Quantiles = [u16; 4096];

/// Quantiles of the logistic distribution, `mean + deviation * sqrt(3) / pi * ln(p / (1 - p))`.
fn quantiles(spec: &TensorSpec) -> Box<Quantiles> {
    let (mean, deviation) = match spec {
        TensorSpec { k: 1, name, .. } if name.ends_with(".bias") => (0.0, 0.1),
        TensorSpec { k: 1, .. } => (1.0, 0.1),
        TensorSpec { k, .. } => (0.0, 1.0 / (*k as f64).sqrt()),
    };
    let scale = deviation * 3f64.sqrt() / std::f64::consts::PI;
    let mut table = Box::new([0; 4096]);
    for (i, quantile) in table.iter_mut().enumerate() {
        let p = (i as f64 + 0.5) / 4096.0;
        *quantile = bf16::from_f64(mean + scale * (p / (1.0 - p)).ln()).to_bits();
    }
    table
}

/// Fills a tensor: the `w`-th random word makes elements `4w..4w + 4`, each from the upper 12 of its 16 bits.
fn fill(bytes: &mut [u8], key: u64, quantiles: &Quantiles) {
    const CHUNK_BYTES: usize = 1 << 16;
    const WORD_BYTES: usize = 8;
    let elements = |word_idx: usize| {
        let word = mix(key.wrapping_add((word_idx as u64).wrapping_mul(GOLDEN)));
        let element = |i: u32| u64::from(quantiles[(word >> (16 * i + 4)) as usize % quantiles.len()]) << (16 * i);
        (element(0) | element(1) | element(2) | element(3)).to_le_bytes()
    };
    bytes.par_chunks_mut(CHUNK_BYTES).enumerate().for_each(|(chunk_idx, chunk)| {
        let first_word = chunk_idx * (CHUNK_BYTES / WORD_BYTES);
        let (words, last) = chunk.as_chunks_mut();
        for (i, word) in words.iter_mut().enumerate() {
            *word = elements(first_word + i);
        }
        last.copy_from_slice(&elements(first_word + words.len())[..last.len()]);
    });
}

/// Key of a tensor's random words: FNV-1a of its name, mixed with the seed.
fn key(seed: u64, name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    mix(hash ^ mix(seed))
}

/// Step of the SplitMix64 sequence.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64 (Steele, Lea and Flood 2014, section 5): every input bit moves every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Synthetic {
        let config = ModelConfig {
            d_model: 33,
            n_layers: 1,
            d_ff: 48,
            vocab: 4099,
            qkv_bias: true,
            ..Preset::SmolLm2_135m.config()
        };
        Synthetic::from_config(config, 7)
    }

    #[test]
    fn elements_do_not_depend_on_the_number_of_threads() {
        let model = tiny();
        let on = |n_threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            pool.install(|| model.tensor("model.embed_tokens.weight").unwrap().bytes.into_owned())
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn an_element_depends_on_seed_name_and_index_alone() {
        // The same name in a larger model begins with the same elements, whatever comes after.
        let large = Synthetic::from_config(ModelConfig { vocab: 8000, ..tiny().config }, 7);
        let name = "model.embed_tokens.weight";
        let (short, long) =
            (tiny().tensor(name).unwrap().bytes.into_owned(), large.tensor(name).unwrap().bytes.into_owned());
        assert_eq!(short, long[..short.len()]);

        let other_seed = Synthetic::from_config(tiny().config, 8);
        assert_ne!(short, *other_seed.tensor(name).unwrap().bytes);
        let model = tiny();
        let layer = |part: &str| model.tensor(&crate::spec::tensors::layer(0, part)).unwrap().to_f32();
        assert_ne!(layer("mlp.gate_proj.weight"), layer("mlp.up_proj.weight"));
    }

    #[test]
    fn elements_have_the_announced_mean_and_deviation() {
        let model = tiny();
        for (name, mean, deviation) in [
            ("model.embed_tokens.weight", 0.0, 1.0 / 33f64.sqrt()),
            ("model.layers.0.input_layernorm.weight", 1.0, 0.1),
            ("model.layers.0.self_attn.q_proj.bias", 0.0, 0.1),
        ] {
            let x: Vec<f64> = model.tensor(name).unwrap().to_f32().into_iter().map(f64::from).collect();
            let found_mean = x.iter().sum::<f64>() / x.len() as f64;
            let found = (x.iter().map(|x| (x - found_mean).powi(2)).sum::<f64>() / x.len() as f64).sqrt();
            let error = deviation / (x.len() as f64).sqrt(); // of the mean; about as large for the deviation
            assert!((found_mean - mean).abs() < 5.0 * error, "{name}: mean {found_mean}");
            assert!((found - deviation).abs() < 5.0 * error, "{name}: deviation {found}");
        }
    }

    #[test]
    fn a_tensor_that_the_model_does_not_have_is_an_error() {
        assert!(matches!(tiny().tensor("lm_head.weight"), Err(Error::Argument(what)) if what.contains("lm_head")));
    }
}
