//! Model folders made on the fly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use longhaul::dtype::Dtype;
use longhaul::spec::tensors::expected;
use longhaul::spec::{Checkpoint, ModelConfig, Synthetic, WeightSource, hf_config};
use longhaul::{Error, Result};
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

pub const SINGLE: &str = "model.safetensors";
pub const INDEX: &str = "model.safetensors.index.json";

/// A tensor as it will lie in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub dtype: safetensors::Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A folder in the making: change `config` and `tensors` as you like, then write it.
pub struct Folder {
    pub config: Value,
    pub tensors: BTreeMap<String, Tensor>,
    dir: tempfile::TempDir,
}

impl Folder {
    /// A Llama of one layer with tied embeddings, in bf16.
    pub fn tiny() -> Self {
        Self::of(tiny_config(), Dtype::Bf16)
    }

    /// The tensors that `config` asks for, seeded, stored as `dtype`.
    pub fn of(config: Value, dtype: Dtype) -> Self {
        let model = hf_config::parse(&config.to_string(), None).unwrap();
        let weights = Synthetic::from_config(model.clone(), 1);
        let tensor = |name: &str| {
            let view = weights.tensor(name).unwrap();
            let mut bytes = vec![0; view.n * view.k * dtype.size_bytes()];
            dtype.narrow(&view.to_f32(), &mut bytes);
            let shape = if view.k == 1 { vec![view.n] } else { vec![view.n, view.k] };
            Tensor { dtype: stored_as(dtype), shape, bytes }
        };
        let tensors = expected(&model).into_iter().map(|spec| (spec.name.clone(), tensor(&spec.name))).collect();
        Self { config, tensors, dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the configuration means.
    pub fn model_config(&self) -> ModelConfig {
        hf_config::parse(&self.config.to_string(), None).unwrap()
    }

    /// Writes a file of the folder as it is.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.file(name), contents).unwrap();
    }

    pub fn write_config(&self) {
        self.write("config.json", self.config.to_string());
    }

    /// Writes the configuration and one file with all tensors.
    pub fn write_single(&self) {
        self.write_config();
        self.write(SINGLE, serialize(self.tensors.iter()));
    }

    /// Writes the configuration, an index, and the tensors dealt out to `n` shards; returns the shards' names.
    pub fn write_sharded(&self, n: usize) -> Vec<String> {
        self.write_config();
        let names: Vec<String> = (1..=n).map(|i| format!("model-{i:05}-of-{n:05}.safetensors")).collect();
        let mut weight_map = BTreeMap::new();
        for (i, file) in names.iter().enumerate() {
            let own = self.tensors.iter().skip(i).step_by(n);
            weight_map.extend(own.clone().map(|(name, _)| (name.clone(), file.clone())));
            self.write(file, serialize(own));
        }
        self.write_index(&weight_map);
        names
    }

    pub fn write_index(&self, weight_map: &BTreeMap<String, String>) {
        self.write(INDEX, json!({"metadata": {}, "weight_map": weight_map}).to_string());
    }

    pub fn open(&self) -> Result<Checkpoint> {
        Checkpoint::open(self.path())
    }

    /// The problems with which the folder is refused.
    #[track_caller]
    pub fn problems(&self) -> Vec<String> {
        match self.open() {
            Err(Error::Model { path, problems }) => {
                assert_eq!(path, self.path());
                assert!(!problems.is_empty());
                problems
            }
            other => panic!("expected a refused model, not {other:?}"),
        }
    }

    /// Checks that there is one problem, and that it names all of `words`.
    #[track_caller]
    pub fn assert_problem(&self, words: &[&str]) {
        let problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(words.iter().all(|w| problems[0].contains(w)), "{problems:?} should name {words:?}");
    }
}

pub fn tiny_config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 12,
        "max_position_embeddings": 64, "num_attention_heads": 2, "num_hidden_layers": 1, "num_key_value_heads": 1,
        "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "tie_word_embeddings": true, "vocab_size": 20, "eos_token_id": 2
    })
}

/// `config` with fields replaced.
pub fn with(mut config: Value, fields: Value) -> Value {
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    config
}

fn serialize<'a>(tensors: impl Iterator<Item = (&'a String, &'a Tensor)>) -> Vec<u8> {
    let views = tensors.map(|(name, t)| (name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn stored_as(dtype: Dtype) -> safetensors::Dtype {
    match dtype {
        Dtype::F32 => safetensors::Dtype::F32,
        Dtype::Bf16 => safetensors::Dtype::BF16,
        Dtype::F16 => safetensors::Dtype::F16,
    }
}
