//! What models cost in memory, and which contexts fit.

use std::path::{Path, PathBuf};

use comfy_table::Table;
use longhaul::Result;
use longhaul::dtype::Dtype;
use longhaul::spec::checkpoint::Checkpoint;
use longhaul::spec::synthetic::Preset;
use longhaul::spec::{KvDtype, KvSpec, ModelConfig};
use longhaul::workload::report::MachineIdentity;
use serde::Serialize;

use crate::cli::model::{FETCHED, Source};

/// What a model costs in keys and values of bf16.
#[derive(Serialize)]
pub struct ModelFinding {
    name: String,
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
    weights_bytes: u64,
    kv_bytes_per_token: usize,
    /// The model's own limit.
    max_len: usize,
    /// Tokens whose keys and values fit beside the weights into the memory that this process may use; none where nobody
    /// knows how much that is.
    fitting_tokens: Option<u64>,
}

/// The model in a folder, or a synthetic one, or if neither is named the fetched one, if it can be opened, and all
/// synthetic ones.
///
/// # Errors
/// When the model that was named cannot be opened.
pub fn find(dir: Option<&Path>, preset: Option<Preset>, machine: &MachineIdentity) -> Result<Vec<ModelFinding>> {
    let models = configs(dir, preset)?;
    Ok(models.into_iter().map(|(name, config)| finding(name, &config, machine)).collect())
}

fn configs(dir: Option<&Path>, preset: Option<Preset>) -> Result<Vec<(String, ModelConfig)>> {
    let folder = |dir: PathBuf| -> Result<_> {
        let config = Checkpoint::open(&dir)?.config().clone();
        Ok((Source::Folder(dir).to_string(), config))
    };
    let synthetic = |preset: Preset| (Source::Synthetic(preset).to_string(), preset.config());
    match (dir, preset) {
        (Some(dir), _) => Ok(vec![folder(dir.into())?]),
        (None, Some(preset)) => Ok(vec![synthetic(preset)]),
        (None, None) => {
            let fetched = PathBuf::from(FETCHED);
            let found = fetched.is_dir().then(|| folder(fetched));
            let mut models = match found.transpose() {
                Ok(found) => Vec::from_iter(found),
                // Nobody asked for it: what else there is to tell is told.
                Err(error) => {
                    eprintln!("longhaul: the fetched model is left out: {error}");
                    Vec::new()
                }
            };
            models.extend(Preset::ALL.into_iter().map(synthetic));
            Ok(models)
        }
    }
}

fn finding(name: String, config: &ModelConfig, machine: &MachineIdentity) -> ModelFinding {
    let (n_layers, n_kv_heads, head_dim) = (config.n_layers, config.n_kv_heads, config.head_dim);
    let kv_bytes_per_token = KvSpec { n_layers, n_kv_heads, head_dim, dtype: KvDtype::Bf16 }.bytes_per_token();
    let weights_bytes = n_weights(config) * Dtype::Bf16.size_bytes() as u64;
    let limit = Some(machine.memory_limit_bytes).filter(|bytes| *bytes > 0);
    let fitting_tokens = limit.map(|bytes| bytes.saturating_sub(weights_bytes) / kv_bytes_per_token as u64);
    ModelFinding {
        name,
        n_layers,
        n_kv_heads,
        head_dim,
        weights_bytes,
        kv_bytes_per_token,
        max_len: config.max_len,
        fitting_tokens,
    }
}

/// Elements of all matrices; norms and biases are small beside them.
fn n_weights(config: &ModelConfig) -> u64 {
    let attention = config.d_model * (2 * config.d_q() + 2 * config.d_kv());
    let layers = config.n_layers * (attention + 3 * config.d_model * config.d_ff);
    let embeddings = config.vocab * config.d_model * if config.tied_embeddings { 1 } else { 2 };
    (layers + embeddings) as u64
}

/// The models, for people.
pub fn table(models: &[ModelFinding]) -> Table {
    let mut table = super::new_table();
    table.set_header([
        "model",
        "weights (bf16)",
        "KV per token (bf16)",
        "model's longest context",
        "tokens that fit in memory",
        "longest context here",
    ]);
    for model in models {
        let longest = match model.fitting_tokens.map(|fitting| fitting.min(model.max_len as u64)) {
            None => "unknown".into(),
            Some(0) => "none: the weights do not fit".into(),
            Some(longest) => longest.to_string(),
        };
        table.add_row([
            model.name.clone(),
            super::gib(model.weights_bytes),
            format!("{} bytes", model.kv_bytes_per_token),
            model.max_len.to_string(),
            model.fitting_tokens.map_or("unknown".into(), |fitting| fitting.to_string()),
            longest,
        ]);
    }
    table
}
