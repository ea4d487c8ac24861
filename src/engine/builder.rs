//! How an engine comes to be: model, backend, KV budget, threads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use super::budget::n_pages;
use super::info::EngineInfo;
use super::shared::Shared;
use super::{Engine, Inner};
use crate::backend::{Backend, LoadOptions, Model};
use crate::error::{Error, Result};
use crate::spec::checkpoint::Checkpoint;
use crate::spec::synthetic::{Preset, Synthetic};
use crate::spec::{KvDtype, ModelConfig, WeightDtype, WeightSource};

/// Most logit rows of a step: sessions that decode in one step, tokens that are scored in one.
const MAX_LOGIT_ROWS: usize = 128;
/// Most rows of a step where the caller does not say: [`EngineBuilder::max_step_tokens`].
const DEFAULT_STEP_TOKENS: usize = 512;

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

    /// What the matrices run as; `None`, the default, is bf16 where all of them are stored so, else f32, which loses
    /// nothing.
    pub fn weights(mut self, dtype: Option<WeightDtype>) -> Self {
        self.weights = dtype;
        self
    }

    /// What keys and values are stored as: bf16 by default.
    pub fn kv(mut self, dtype: KvDtype) -> Self {
        self.kv = Some(dtype);
        self
    }

    /// Bytes for keys and values. By default room for 4 contexts of the model's full length, or a quarter of the memory
    /// if that is less.
    pub fn kv_budget_bytes(mut self, bytes: u64) -> Self {
        self.kv_budget_bytes = Some(bytes);
        self
    }

    /// Threads of a step; by default as many as this process may use.
    pub fn threads(mut self, n: usize) -> Self {
        self.threads = Some(n);
        self
    }

    /// Most rows of a step, at least 2; 512 by default. Longer steps prefill faster, shorter ones let decoding sessions
    /// move more often.
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
    /// [`Error::Argument`] for a budget below one page and for what does not fit together, [`Error::Model`] for a
    /// folder that cannot be run, [`Error::Unavailable`] for a backend that this machine does not have.
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
            max_step_tokens: self.max_step_tokens.unwrap_or(DEFAULT_STEP_TOKENS),
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
