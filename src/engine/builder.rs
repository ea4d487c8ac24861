//! How an engine comes to be: model, backend, KV budget, threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use super::info::EngineInfo;
use super::shared::Shared;
use super::{Engine, Inner};
use crate::backend::{Backend, Caps, LoadOptions, Model};
use crate::error::{Error, Result};
use crate::spec::checkpoint::Checkpoint;
use crate::spec::synthetic::{Preset, Synthetic};
use crate::spec::{KvDtype, KvSpec, ModelConfig, WeightDtype, WeightSource};

/// Most logit rows of a step: sessions that decode in one step, tokens that are scored in one.
const MAX_LOGIT_ROWS: usize = 128;
/// Contexts of full length that the default KV budget has room for.
const DEFAULT_CONTEXTS: u64 = 4;
/// The default KV budget takes at most this part of the memory.
const MEMORY_SHARE: u64 = 4;

/// Collects what an [`Engine`] is built from. One of [`model_dir`](Self::model_dir), [`synthetic`](Self::synthetic) and
/// [`model`](Self::model) is needed; the last one called counts.
#[derive(Default)]
pub struct EngineBuilder {
    source: Option<Source>,
    backend: Option<Box<dyn Backend>>,
    weights: Option<WeightDtype>,
    kv: Option<KvDtype>,
    kv_budget_bytes: Option<u64>,
    threads: Option<usize>,
    max_step_tokens: Option<usize>,
    #[cfg(feature = "text")]
    text: Option<crate::text::TextModel>,
}

enum Source {
    Dir(PathBuf),
    Synthetic(Preset, u64),
    Loaded(Box<dyn Model>),
}

/// A model on its backend, and what is to be told of it.
struct Loaded {
    model: Box<dyn Model>,
    name: String,
    backend: String,
    n_threads: usize,
    weights_dtype: WeightDtype,
    notes: Vec<String>,
}

impl EngineBuilder {
    /// A Hugging Face folder: config, weights and, if it has them, tokenizer and chat template.
    pub fn model_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.source = Some(Source::Dir(dir.into()));
        self
    }

    /// Seeded random weights of a known shape. What it generates is noise.
    pub fn synthetic(mut self, preset: Preset, seed: u64) -> Self {
        self.source = Some(Source::Synthetic(preset, seed));
        self
    }

    /// A model that is already on its backend, with its pages.
    pub fn model(mut self, model: Box<dyn Model>) -> Self {
        self.source = Some(Source::Loaded(model));
        self
    }

    /// The backend to load the model on; the best of this machine by default.
    pub fn backend(mut self, backend: Box<dyn Backend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// What the matrices run as; `None`, the default, is bf16 where all of them are stored so, else f32, which loses nothing.
    pub fn weights(mut self, dtype: Option<WeightDtype>) -> Self {
        self.weights = dtype;
        self
    }

    /// What keys and values are stored as: bf16 by default.
    pub fn kv(mut self, dtype: KvDtype) -> Self {
        self.kv = Some(dtype);
        self
    }

    /// Bytes for keys and values. By default room for 4 contexts of the model's full length, or a quarter of the memory if that is less.
    pub fn kv_budget_bytes(mut self, bytes: u64) -> Self {
        self.kv_budget_bytes = Some(bytes);
        self
    }

    /// Threads of a step; by default as many as this process may use.
    pub fn threads(mut self, n: usize) -> Self {
        self.threads = Some(n);
        self
    }

    /// Most rows of a step, at least 2; 512 by default. Longer steps prefill faster, shorter ones let decoding sessions move more often.
    pub fn max_step_tokens(mut self, n: usize) -> Self {
        self.max_step_tokens = Some(n);
        self
    }

    /// The tokenizer and chat template, in place of those in the model's folder.
    #[cfg(feature = "text")]
    pub fn text(mut self, text: crate::text::TextModel) -> Self {
        self.text = Some(text);
        self
    }

    /// Loads the model and starts the scheduler.
    ///
    /// # Errors
    /// [`Error::Argument`] for a budget below one page and for what does not fit together, [`Error::Model`] for a folder that cannot be
    /// run, [`Error::Unavailable`] for a backend that this machine does not have.
    pub fn build(mut self) -> Result<Engine> {
        let source = self.source.take();
        let model_dir = if let Some(Source::Dir(dir)) = &source { Some(dir.clone()) } else { None };
        #[cfg(feature = "text")]
        let text = match (self.text.take(), &model_dir) {
            (None, Some(dir)) => crate::text::TextModel::from_dir(dir)?,
            (text, _) => text,
        };
        let loaded = match source {
            Some(Source::Dir(dir)) => self.load_dir(&dir)?,
            Some(Source::Synthetic(preset, seed)) => self.load_synthetic(preset, seed)?,
            Some(Source::Loaded(model)) => self.adopt(model)?,
            None => return Err(Error::argument("an engine needs a model: a folder, a synthetic one or a loaded one")),
        };
        let (info, model) = describe(loaded)?;
        tracing::info!(model = info.model, backend = info.backend, n_pages = info.n_pages, "engine starts");
        let shared = Arc::new(Shared::new(info));
        let (commands, thread) = Inner::start(shared.clone(), model)?;
        let thread = Mutex::new(Some(thread));
        let inner = Inner {
            shared,
            commands,
            thread,
            model_dir,
            weights_hash: OnceLock::new(),
            #[cfg(feature = "text")]
            text,
        };
        Ok(Engine { inner: Arc::new(inner) })
    }

    fn load_dir(self, dir: &Path) -> Result<Loaded> {
        let checkpoint = Checkpoint::open(dir)?;
        let notes = checkpoint.dtype_summary().rounding(self.weights).into_iter().collect();
        let config = checkpoint.config().clone();
        Ok(Loaded { notes, ..self.load(&config, &checkpoint, dir.display().to_string())? })
    }

    fn load_synthetic(self, preset: Preset, seed: u64) -> Result<Loaded> {
        let name = format!("synthetic {preset}, seed {seed}");
        let notes = vec!["the weights are random: what this model generates is noise".to_string()];
        Ok(Loaded { notes, ..self.load(&preset.config(), &Synthetic::new(preset, seed), name)? })
    }

    fn load(self, config: &ModelConfig, weights: &dyn WeightSource, name: String) -> Result<Loaded> {
        let backend = match self.backend {
            Some(backend) => backend,
            None => crate::backend::detect(self.threads)?,
        };
        let (caps, kv) = (backend.caps(), self.kv.unwrap_or_default());
        let options = LoadOptions {
            weights: self.weights,
            kv,
            n_pages: n_pages(config, caps, kv, self.kv_budget_bytes)?,
            max_step_tokens: self.max_step_tokens.unwrap_or(512),
            max_logit_rows: MAX_LOGIT_ROWS,
        };
        let model = backend.load(config, weights, options)?;
        let weights_dtype = weights_dtype(&*model);
        let (backend, n_threads) = (caps.name.clone(), caps.n_threads);
        Ok(Loaded { model, name, backend, n_threads, weights_dtype, notes: Vec::new() })
    }

    /// Takes a loaded model as it is: its pages are the budget, and its limits those of a step.
    fn adopt(self, model: Box<dyn Model>) -> Result<Loaded> {
        let pages = self.kv.is_some() || self.kv_budget_bytes.is_some();
        if pages || self.max_step_tokens.is_some() || self.weights.is_some() {
            return Err(Error::argument("a loaded model has its KV pages, step limits and weights already"));
        }
        let caps = self.backend.as_ref().map(|backend| backend.caps());
        let backend = caps.map_or("custom".into(), |caps| caps.name.clone());
        let n_threads = caps.map(|caps| caps.n_threads).or(self.threads).unwrap_or(1);
        let name = format!("{:?}", model.config().architecture).to_lowercase();
        let weights_dtype = weights_dtype(&*model);
        Ok(Loaded { model, name, backend, n_threads, weights_dtype, notes: Vec::new() })
    }
}

/// What a model says that its matrices run as; f32 where it does not.
fn weights_dtype(model: &dyn Model) -> WeightDtype {
    model.options().weights.unwrap_or(WeightDtype::F32)
}

/// Pages of `dtype` that the budget has room for; an error where the backend has no such pages.
fn n_pages(config: &ModelConfig, caps: &Caps, dtype: KvDtype, budget_bytes: Option<u64>) -> Result<usize> {
    if !caps.kv_dtypes.contains(&dtype) {
        let known: Vec<_> = caps.kv_dtypes.iter().map(|dtype| dtype.name()).collect();
        let why = format!("{} stores keys and values as {}", caps.name, known.join(" or "));
        return Err(Error::Unavailable { what: format!("a KV cache of {dtype}"), why });
    }
    let ModelConfig { n_layers, n_kv_heads, head_dim, .. } = *config;
    let spec = KvSpec { n_layers, n_kv_heads, head_dim, dtype };
    let page_bytes = (caps.page_len * spec.bytes_per_token()) as u64;
    let context_bytes = config.max_len.div_ceil(caps.page_len) as u64 * page_bytes;
    let share = if caps.memory_bytes == 0 { u64::MAX } else { caps.memory_bytes / MEMORY_SHARE };
    let default_bytes = DEFAULT_CONTEXTS.saturating_mul(context_bytes).min(share);
    let bytes = budget_bytes.unwrap_or(default_bytes);
    match bytes / page_bytes {
        0 => Err(Error::Argument(format!(
            "a KV budget of {bytes} bytes is less than one page, {} tokens or {page_bytes} bytes",
            caps.page_len
        ))),
        n_pages => Ok(n_pages.min(u64::from(u32::MAX)) as usize),
    }
}

fn describe(mut loaded: Loaded) -> Result<(EngineInfo, Box<dyn Model>)> {
    let model = &mut loaded.model;
    let (config, max_step_tokens) = (model.config().clone(), model.options().max_step_tokens);
    if max_step_tokens < 2 || model.options().max_logit_rows < 2 {
        return Err(Error::argument("a step needs room for at least 2 rows and 2 rows of logits"));
    }
    let pages = model.kv();
    let (kv, n_pages, page_bytes) = (*pages.spec(), pages.n_pages(), pages.page_bytes());
    let page_len = page_bytes / kv.bytes_per_token();
    if n_pages == 0 || page_len == 0 {
        return Err(Error::argument("the model has no KV pages"));
    }
    let info = EngineInfo {
        model: loaded.name,
        backend: loaded.backend,
        config,
        weights_dtype: loaded.weights_dtype,
        kv,
        page_len,
        n_pages,
        kv_budget_bytes: n_pages as u64 * page_bytes as u64,
        n_threads: loaded.n_threads,
        max_step_tokens,
        notes: loaded.notes,
    };
    Ok((info, loaded.model))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Architecture, RopeConfig, RopeScaling};

    /// 2 layers of one KV head of 8 elements, in bf16: 64 bytes a token, 4,096 a page, 16 pages for a full context.
    fn pages(budget_bytes: Option<u64>, memory_bytes: u64) -> Result<usize> {
        pages_of(KvDtype::Bf16, budget_bytes, memory_bytes)
    }

    fn pages_of(dtype: KvDtype, budget_bytes: Option<u64>, memory_bytes: u64) -> Result<usize> {
        let config = ModelConfig {
            architecture: Architecture::Llama,
            d_model: 8,
            n_layers: 2,
            n_heads: 1,
            n_kv_heads: 1,
            head_dim: 8,
            d_ff: 8,
            vocab: 8,
            max_len: 1_000,
            norm_eps: 1e-5,
            rope: RopeConfig { theta: 1e4, scaling: RopeScaling::None },
            sliding_window: None,
            qkv_bias: false,
            qk_norm: false,
            tied_embeddings: true,
            end_tokens: Vec::new(),
        };
        let caps = Caps {
            name: "none".into(),
            page_len: 64,
            chunk_len: 256,
            head_dims: None,
            weight_dtypes: vec![WeightDtype::F32],
            kv_dtypes: vec![KvDtype::Bf16],
            n_threads: 1,
            memory_bytes,
        };
        n_pages(&config, &caps, dtype, budget_bytes)
    }

    #[test]
    fn a_type_that_the_backend_has_not_is_an_error() {
        let error = pages_of(KvDtype::Int8, None, u64::MAX).unwrap_err();
        assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains("int8")), "{error}");
    }

    #[test]
    fn the_budget_is_counted_in_whole_pages() {
        assert_eq!(pages(Some(3 * 4_096 - 1), 0).unwrap(), 2);
        assert!(matches!(pages(Some(4_095), 0), Err(Error::Argument(why)) if why.contains("4096 bytes")));
    }

    #[test]
    fn the_default_budget_is_four_contexts_or_a_quarter_of_the_memory() {
        assert_eq!(pages(None, u64::MAX).unwrap(), 64);
        assert_eq!(pages(None, 40 * 4_096).unwrap(), 10);
        assert_eq!(pages(None, 0).unwrap(), 64, "memory that nobody knows is no limit");
    }
}
