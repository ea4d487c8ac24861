//! A whole model over a sequence of tokens.

use ndarray::{Array1, Array2, Array3, ArrayView2};

use super::ops::rounded;
use super::quant::dequantised;
use super::{Arithmetic, Attention};
use crate::error::{Error, Result};
use crate::spec::tensors::{EMBEDDING, FINAL_NORM, LM_HEAD, layer, part};
use crate::spec::{KvDtype, ModelConfig, TokenId, WeightDtype, WeightSource};

impl Arithmetic {
    /// The logits of every position of `tokens`, `[n_tokens][vocab]`, from an empty context, as
    /// [`reference::step`](crate::reference::step). The matrices of the layers run as `dtype`, the output matrix as
    /// [`WeightDtype::of_head`] says; keys and values are stored as `kv`.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] for a token outside the vocabulary, and whatever the weights fail with.
    pub fn step(
        self,
        config: &ModelConfig,
        weights: &dyn WeightSource,
        tokens: &[TokenId],
        dtype: WeightDtype,
        kv: KvDtype,
    ) -> Result<Vec<Vec<f32>>> {
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= config.vocab) {
            return Err(Error::Vocabulary { token, vocab: config.vocab });
        }
        let model = Model { arithmetic: self, config, weights, dtype, kv };
        let mut x = model.embed(tokens)?;
        for layer_idx in 0..config.n_layers {
            x = &x + &model.attention(x.view(), layer_idx)?;
            x = &x + &model.feed_forward(x.view(), layer_idx)?;
        }
        let x = model.norm(x.view(), FINAL_NORM)?;
        let head = if config.tied_embeddings { EMBEDDING } else { LM_HEAD };
        let logits = self.matmul(x.view(), model.matrix(head)?.view(), dtype.of_head(), None);
        Ok(logits.rows().into_iter().map(|row| row.to_vec()).collect())
    }
}

/// A model and how it is computed.
struct Model<'a> {
    arithmetic: Arithmetic,
    config: &'a ModelConfig,
    weights: &'a dyn WeightSource,
    dtype: WeightDtype,
    kv: KvDtype,
}

impl Model<'_> {
    /// `[n_tokens, d_model]`: rows of the output matrix as it runs where that is the embedding too, else of a table.
    fn embed(&self, tokens: &[TokenId]) -> Result<Array2<f32>> {
        let embedding = self.matrix(EMBEDDING)?;
        let row = |token: usize| {
            let row = embedding.row(token);
            match self.dtype.of_head() {
                head if self.config.tied_embeddings && head.float().is_none() => dequantised(row, head),
                _ => rounded(row, self.dtype.table()),
            }
        };
        let rows: Vec<f32> = tokens.iter().flat_map(|&t| row(t as usize)).collect();
        Ok(Array2::from_shape_vec((tokens.len(), embedding.ncols()), rows).expect("rows of equal length"))
    }

    /// What attention of a layer adds to `x`, `[n_tokens, d_model]`.
    fn attention(&self, x: ArrayView2<'_, f32>, layer_idx: usize) -> Result<Array2<f32>> {
        let ModelConfig { n_heads, n_kv_heads, head_dim, .. } = *self.config;
        let name = |part| layer(layer_idx, part);
        let positions: Vec<usize> = (0..x.nrows()).collect();
        let h = self.norm(x, &name(part::ATTENTION_NORM))?;
        let bias = |part| self.config.qkv_bias.then(|| name(part));

        let mut q = split_heads(self.project(&h, &name(part::Q_PROJ), bias(part::Q_BIAS))?, n_heads);
        let mut k = split_heads(self.project(&h, &name(part::K_PROJ), bias(part::K_BIAS))?, n_kv_heads);
        let v = split_heads(self.project(&h, &name(part::V_PROJ), bias(part::V_BIAS))?, n_kv_heads);
        if self.config.qk_norm {
            q = self.norm_heads(q, &name(part::Q_NORM))?;
            k = self.norm_heads(k, &name(part::K_NORM))?;
        }
        self.arithmetic.rope(q.view_mut(), &positions, &self.config.rope);
        self.arithmetic.rope(k.view_mut(), &positions, &self.config.rope);

        let mixed = self.arithmetic.attention(&Attention {
            q: q.view(),
            k: k.view(),
            v: v.view(),
            kv: self.kv,
            start: 0,
            scale: 1.0 / (head_dim as f32).sqrt(),
            window: self.config.sliding_window,
        });
        let mixed = mixed.into_shape_with_order((x.nrows(), n_heads * head_dim)).expect("as many elements");
        self.project(&mixed, &name(part::O_PROJ), None)
    }

    /// What the feed-forward part of a layer adds to `x`, `[n_tokens, d_model]`.
    fn feed_forward(&self, x: ArrayView2<'_, f32>, layer_idx: usize) -> Result<Array2<f32>> {
        let name = |part| layer(layer_idx, part);
        let h = self.norm(x, &name(part::FEED_FORWARD_NORM))?;
        let gate = self.project(&h, &name(part::GATE_PROJ), None)?;
        let up = self.project(&h, &name(part::UP_PROJ), None)?;
        let gated = self.arithmetic.silu_gate(gate.view(), up.view());
        self.project(&gated, &name(part::DOWN_PROJ), None)
    }

    /// `h W^T`, and its bias if there is one.
    fn project(&self, h: &Array2<f32>, weight: &str, bias: Option<String>) -> Result<Array2<f32>> {
        let bias = bias.map(|name| self.vector(&name)).transpose()?;
        let weight = self.matrix(weight)?;
        Ok(self.arithmetic.matmul(h.view(), weight.view(), self.dtype, bias.as_ref().map(|b| b.view())))
    }

    fn norm(&self, x: ArrayView2<'_, f32>, name: &str) -> Result<Array2<f32>> {
        Ok(self.arithmetic.rms_norm(x, self.vector(name)?.view(), self.config.norm_eps))
    }

    /// RMSNorm of every head alone, `[n_tokens, n_heads, head_dim]`.
    fn norm_heads(&self, x: Array3<f32>, name: &str) -> Result<Array3<f32>> {
        let shape = x.dim();
        let rows = x.into_shape_with_order((shape.0 * shape.1, shape.2)).expect("as many elements");
        Ok(self.norm(rows.view(), name)?.into_shape_with_order(shape).expect("as many elements"))
    }

    /// A weight matrix as it is stored, `[n, k]`.
    fn matrix(&self, name: &str) -> Result<Array2<f32>> {
        let view = self.weights.tensor(name)?;
        Array2::from_shape_vec((view.n, view.k), view.to_f32()).map_err(|e| Error::argument(format!("{name}: {e}")))
    }

    /// A weight vector, `[n]`, never rounded.
    fn vector(&self, name: &str) -> Result<Array1<f32>> {
        Ok(self.weights.tensor(name)?.to_f32().into())
    }
}

/// `[n_tokens, n_heads * head_dim]` as `[n_tokens, n_heads, head_dim]`
fn split_heads(x: Array2<f32>, n_heads: usize) -> Array3<f32> {
    let (n_tokens, width) = x.dim();
    x.into_shape_with_order((n_tokens, n_heads, width / n_heads)).expect("heads of equal width")
}
