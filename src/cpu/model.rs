//! A model on a kernel table.

use super::attention::Geometry;
use super::forward::Forward;
use super::isa::Isa;
use super::kernels::CpuPages;
use super::matrix::Matrix;
use super::parallel::Pool;
use super::state::{State, geometry, max_len};
use super::vocabulary;
use super::weights::Weights;
use crate::backend::{KvPages, LoadOptions, Model};
use crate::error::{Error, Result};
use crate::spec::contract::PAGE_LEN;
use crate::spec::{KvSpec, Logits, ModelConfig, StepBatch, WeightDtype, WeightSource};

/// Weights, pages and the memory of a step.
pub struct CpuModel<I: Isa, W: Matrix> {
    isa: I,
    pool: Pool,
    config: ModelConfig,
    options: LoadOptions,
    geometry: Geometry,
    frequencies: Vec<f64>,
    weights: Weights<W>,
    kv: CpuPages<I>,
    state: State<I, W>,
}

impl<I: Isa, W: Matrix> CpuModel<I, W> {
    /// Packs the weights as `dtype` and allocates everything that a step needs.
    ///
    /// # Errors
    /// [`Error::Argument`] for a configuration that [`ModelConfig::validate`] refuses, weights of other shapes than it
    /// asks for, and steps without a row; [`Error::Unavailable`] without memory for pages or steps.
    pub fn load(
        isa: I,
        pool: Pool,
        config: &ModelConfig,
        source: &dyn WeightSource,
        dtype: WeightDtype,
        options: LoadOptions,
    ) -> Result<Self> {
        config.validate()?;
        if options.max_step_tokens == 0 || options.max_logit_rows == 0 {
            return Err(Error::argument("a step needs room for at least one row and one row of logits"));
        }
        let spec = KvSpec {
            n_layers: config.n_layers,
            n_kv_heads: config.n_kv_heads,
            head_dim: config.head_dim,
            dtype: options.kv,
        };
        let state = State::new(config, &options, pool.n_threads())?;
        let kv = CpuPages::new(isa, pool.clone(), &spec, options.n_pages)?;
        Ok(Self {
            isa,
            geometry: geometry(config),
            frequencies: config.rope.frequencies(config.head_dim),
            weights: pool.install(|| Weights::pack(config, source, dtype))?,
            kv,
            state,
            config: config.clone(),
            options: LoadOptions { weights: Some(dtype), ..options },
            pool,
        })
    }

    fn check(&self, batch: &StepBatch) -> Result<()> {
        batch.validate(self.config.vocab, self.options.n_pages, PAGE_LEN)?;
        let (rows, logit_rows) = (batch.n_tokens(), batch.logit_rows.len());
        if rows > self.options.max_step_tokens || logit_rows > self.options.max_logit_rows {
            return Err(Error::argument(format!(
                "a step of {rows} rows and {logit_rows} rows of logits; this model was loaded for {} and {}",
                self.options.max_step_tokens, self.options.max_logit_rows
            )));
        }
        let ragged = batch.ragged();
        let longest = (0..ragged.n_seqs()).map(|s| ragged.kv_len(s)).max().unwrap_or(0);
        let limit = max_len(&self.config, &self.options);
        if longest > limit {
            return Err(Error::ContextLength { wanted: longest, limit });
        }
        Ok(())
    }
}

impl<I: Isa, W: Matrix> Model for CpuModel<I, W> {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn options(&self) -> &LoadOptions {
        &self.options
    }

    fn kv(&mut self) -> &mut dyn KvPages {
        &mut self.kv
    }

    fn step(&mut self, batch: &StepBatch, logits: &mut Logits) -> Result<()> {
        self.check(batch)?;
        if batch.n_tokens() == 0 {
            logits.reset(0, self.config.vocab);
            return Ok(());
        }
        let forward = Forward {
            isa: self.isa,
            config: &self.config,
            geometry: self.geometry,
            frequencies: &self.frequencies,
            weights: &self.weights,
            pages: &mut self.kv.pages,
            state: &mut self.state,
            batch,
        };
        self.pool.run_step(|| forward.run(logits));
        Ok(())
    }

    fn weigh(&self, logits: &[f32], max: f32, temperature: f32, out: &mut [f32]) -> f64 {
        vocabulary::weigh(self.isa, logits, max, temperature, out)
    }
}
