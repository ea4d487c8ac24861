//! What a backend refuses, of weights and limits that no folder was checked for.

use longhaul::backend::{Backend, LoadOptions, Model};
use longhaul::cpu::{self, CpuOptions};
use longhaul::dtype::Dtype;
use longhaul::spec::{KvDtype, KvSpec, ModelConfig, Synthetic, WeightDtype, WeightSource, WeightView};
use longhaul::{Error, Result};

use crate::tiny::tiny;

const OPTIONS: LoadOptions =
    LoadOptions { weights: None, kv: KvDtype::Bf16, n_pages: 1, max_step_tokens: 2, max_logit_rows: 2 };

fn backend() -> Box<dyn Backend> {
    cpu::open(&CpuOptions { threads: Some(1), ..Default::default() }).unwrap()
}

fn config() -> ModelConfig {
    tiny().swap_remove(0)
}

fn load(config: &ModelConfig, weights: &dyn WeightSource, options: LoadOptions) -> Result<Box<dyn Model>> {
    backend().load(config, weights, options)
}

/// Why loading is refused.
#[track_caller]
fn refused(config: &ModelConfig, weights: &dyn WeightSource) -> String {
    match load(config, weights, OPTIONS).map(drop) {
        Err(Error::Argument(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_of_other_shapes_are_named() {
    let config = config();
    let with = |change: fn(&mut ModelConfig)| {
        let mut other = config.clone();
        change(&mut other);
        refused(&config, &Synthetic::from_config(other, 1))
    };
    let rows = with(|c| c.vocab += 1);
    assert!(rows.starts_with("model.embed_tokens.weight: ") && rows.contains("the configuration asks for ["), "{rows}");
    let columns = with(|c| c.d_ff += 16);
    assert!(columns.contains("mlp.gate_proj.weight"), "{columns}");
    let heads = with(|c| c.n_heads *= 2);
    assert!(heads.contains("self_attn.q_proj.weight"), "{heads}");
    load(&config, &Synthetic::from_config(config.clone(), 1), OPTIONS).unwrap();
}

#[test]
fn configurations_that_no_step_can_run_are_refused() {
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = config();
        change(&mut config);
        refused(&config, &Synthetic::from_config(config.clone(), 1))
    };
    assert!(with(|c| c.n_kv_heads = 0).contains("n_kv_heads is 0"));
    assert!(with(|c| c.n_kv_heads = 2 * c.n_heads).contains("do not divide"));
    assert!(with(|c| c.head_dim = 17).contains("head_dim"));
}

#[test]
fn steps_that_no_memory_holds_are_unavailable() {
    let (config, weights) = (config(), Synthetic::from_config(config(), 1));
    for n in [usize::MAX, u32::MAX as usize + 1] {
        for options in [LoadOptions { max_step_tokens: n, ..OPTIONS }, LoadOptions { max_logit_rows: n, ..OPTIONS }] {
            let error = load(&config, &weights, options).map(drop).unwrap_err();
            assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains(&n.to_string())), "{error}");
        }
    }
}

#[test]
fn matrices_and_pages_beyond_the_address_space_are_refused() {
    let (n, k) = (1 << (usize::BITS - 3), 2);
    let weight = WeightView { name: "w", n, k, dtype: Dtype::F32, bytes: Vec::new().into() };
    assert!(
        matches!(backend().pack(&weight, WeightDtype::F32), Err(Error::Argument(why)) if why.starts_with("w: 0 bytes"))
    );
    let spec = KvSpec { n_layers: 1, n_kv_heads: 1 << (usize::BITS - 8), head_dim: 64, dtype: KvDtype::Bf16 };
    assert!(matches!(backend().kv(&spec, 1), Err(Error::Argument(why)) if why.contains("no page")));
}

/// A source that counts how often a tensor is made.
struct Counting<'a>(&'a Synthetic, std::sync::atomic::AtomicUsize);

impl WeightSource for Counting<'_> {
    fn tensor<'a>(&'a self, name: &'a str) -> Result<WeightView<'a>> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.tensor(name)
    }

    fn dtype(&self, name: &str) -> Result<Dtype> {
        self.0.dtype(name)
    }
}

#[test]
fn a_tensor_is_made_once_and_the_model_says_what_it_runs_as() {
    let (config, weights) = (config(), Synthetic::from_config(config(), 1));
    let counting = Counting(&weights, Default::default());
    let model = load(&config, &counting, OPTIONS).unwrap();
    assert_eq!(counting.1.into_inner(), longhaul::spec::tensors::expected(&config).len());
    assert_eq!(model.options().weights, Some(WeightDtype::Bf16));
}
