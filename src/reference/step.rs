//! A whole model over a sequence of tokens.

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayViewMut1};

use super::{Attention, attention, matmul, rms_norm, rope, silu_gate};
use crate::error::{Error, Result};
use crate::spec::contract::QUANT_TINY;
use crate::spec::tensors::{EMBEDDING, FINAL_NORM, LM_HEAD, layer, part};
use crate::spec::{KvDtype, ModelConfig, TokenId, WeightSource};

/// The logits of every position of `tokens`, `[n_tokens][vocab]`, from an empty context: what the model of `config` and
/// `weights` computes, in f64 on the weights as stored (Touvron et al. 2023, section 2.2, with the variations that
/// [`ModelConfig`] names).
///
/// ```text
/// x = embedding[tokens]
/// for each layer:
///     h = rms_norm(x)
///     q, k, v = h Wq + bq, h Wk + bk, h Wv + bv          biases with qkv_bias
///     q, k = rms_norm of every head                      with qk_norm
///     q, k = rope(q), rope(k)
///     k, v = stored(k), stored(v)                        rounded or quantised to kv_dtype
///     x = x + attention(q, k, v) Wo
///     h = rms_norm(x)
///     x = x + (silu(h Wgate) * (h Wup)) Wdown
/// logits = rms_norm(x) Whead                             the embedding, when tied
/// ```
///
/// `kv_dtype` is what keys and values are stored as, since attention reads them as stored; `None` leaves them as they
/// are.
///
/// # Errors
/// [`Error::Vocabulary`] for a token outside the vocabulary, and whatever the weights fail with.
pub fn step(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    tokens: &[TokenId],
    kv_dtype: Option<KvDtype>,
) -> Result<Vec<Vec<f64>>> {
    let mut x = embed(config, weights, tokens)?;
    for layer_idx in 0..config.n_layers {
        let layer = Layer { config, weights, layer_idx };
        x += &layer.attention(x.view(), kv_dtype)?;
        x += &layer.feed_forward(x.view())?;
    }
    let x = rms_norm(x.view(), vector(weights, FINAL_NORM)?.view(), config.norm_eps.into());
    let head = matrix(weights, if config.tied_embeddings { EMBEDDING } else { LM_HEAD })?;
    Ok(matmul(x.view(), head.view(), None).rows().into_iter().map(|row| row.to_vec()).collect())
}

/// `x[n_tokens, n_kv_heads, head_dim]` as a KV cache of `dtype` holds it; `None` is `x` itself. Rounds to f32 on the
/// way, as a backend that computes in f32 does. With [`KvDtype::Int8`] the elements of one token and head are `scale *
/// round(x * (127 / a))`, where `a = max |x|` and `scale = a / 127` are f32; 0 where `a` is below 2^-100, and NaN where
/// an element is not finite.
pub fn stored(mut x: Array3<f64>, dtype: Option<KvDtype>) -> Array3<f64> {
    match dtype {
        None => {}
        Some(KvDtype::Bf16) => x.mapv_inplace(|x| half::bf16::from_f32(x as f32).into()),
        Some(KvDtype::Int8) => x.rows_mut().into_iter().for_each(quantise),
    }
    x
}

/// Replaces a row by what its codes of 8 bits stand for.
fn quantise(mut row: ArrayViewMut1<'_, f64>) {
    let largest = row.iter().fold(0.0, |largest: f32, x| largest.max((*x as f32).abs()));
    if row.iter().any(|x| !(*x as f32).is_finite()) {
        row.fill(f64::NAN);
    } else if largest < QUANT_TINY {
        row.fill(0.0);
    } else {
        let (scale, inverse) = (largest / 127.0, 127.0 / largest);
        row.mapv_inplace(|x| f64::from((x as f32 * inverse).round_ties_even()) * f64::from(scale));
    }
}

/// `[n_tokens, d_model]`
fn embed(config: &ModelConfig, weights: &dyn WeightSource, tokens: &[TokenId]) -> Result<Array2<f64>> {
    if let Some(&token) = tokens.iter().find(|&&t| t as usize >= config.vocab) {
        return Err(Error::Vocabulary { token, vocab: config.vocab });
    }
    let embedding = matrix(weights, EMBEDDING)?;
    let rows: Vec<usize> = tokens.iter().map(|&t| t as usize).collect();
    Ok(embedding.select(ndarray::Axis(0), &rows))
}

/// One layer and its weights.
struct Layer<'a> {
    config: &'a ModelConfig,
    weights: &'a dyn WeightSource,
    layer_idx: usize,
}

impl Layer<'_> {
    /// What attention adds to `x`, `[n_tokens, d_model]`.
    fn attention(&self, x: ArrayView2<'_, f64>, kv_dtype: Option<KvDtype>) -> Result<Array2<f64>> {
        let ModelConfig { n_heads, n_kv_heads, head_dim, .. } = *self.config;
        let positions: Vec<usize> = (0..x.nrows()).collect();
        let h = self.norm(x, part::ATTENTION_NORM)?;

        let mut q = split_heads(self.project(&h, part::Q_PROJ, part::Q_BIAS)?, n_heads);
        let mut k = split_heads(self.project(&h, part::K_PROJ, part::K_BIAS)?, n_kv_heads);
        let v = split_heads(self.project(&h, part::V_PROJ, part::V_BIAS)?, n_kv_heads);
        if self.config.qk_norm {
            q = self.norm_heads(q, part::Q_NORM)?;
            k = self.norm_heads(k, part::K_NORM)?;
        }
        rope(q.view_mut(), &positions, &self.config.rope);
        rope(k.view_mut(), &positions, &self.config.rope);
        let (k, v) = (stored(k, kv_dtype), stored(v, kv_dtype));

        let mixed = attention(&Attention {
            q: q.view(),
            k: k.view(),
            v: v.view(),
            start: 0,
            scale: 1.0 / (head_dim as f64).sqrt(),
            window: self.config.sliding_window,
        });
        Ok(matmul(join_heads(mixed).view(), self.matrix(part::O_PROJ)?.view(), None))
    }

    /// What the feed-forward layer adds to `x`, `[n_tokens, d_model]`.
    fn feed_forward(&self, x: ArrayView2<'_, f64>) -> Result<Array2<f64>> {
        let h = self.norm(x, part::FEED_FORWARD_NORM)?;
        let gate = matmul(h.view(), self.matrix(part::GATE_PROJ)?.view(), None);
        let up = matmul(h.view(), self.matrix(part::UP_PROJ)?.view(), None);
        Ok(matmul(silu_gate(gate.view(), up.view()).view(), self.matrix(part::DOWN_PROJ)?.view(), None))
    }

    /// `h W^T`, and its bias if the model has one there.
    fn project(&self, h: &Array2<f64>, weight: &str, bias: &str) -> Result<Array2<f64>> {
        let bias = self.config.qkv_bias.then(|| self.vector(bias)).transpose()?;
        Ok(matmul(h.view(), self.matrix(weight)?.view(), bias.as_ref().map(|b| b.view())))
    }

    fn norm(&self, x: ArrayView2<'_, f64>, part: &str) -> Result<Array2<f64>> {
        Ok(rms_norm(x, self.vector(part)?.view(), self.config.norm_eps.into()))
    }

    /// RMSNorm of every head alone, `[n_tokens, n_heads, head_dim]`.
    fn norm_heads(&self, x: Array3<f64>, part: &str) -> Result<Array3<f64>> {
        let shape = x.dim();
        let rows = x.into_shape_with_order((shape.0 * shape.1, shape.2)).expect("as many elements");
        let normed = self.norm(rows.view(), part)?;
        Ok(normed.into_shape_with_order(shape).expect("as many elements"))
    }

    fn matrix(&self, part: &str) -> Result<Array2<f64>> {
        matrix(self.weights, &layer(self.layer_idx, part))
    }

    fn vector(&self, part: &str) -> Result<Array1<f64>> {
        vector(self.weights, &layer(self.layer_idx, part))
    }
}

/// `[n_tokens, n_heads * head_dim]` as `[n_tokens, n_heads, head_dim]`
fn split_heads(x: Array2<f64>, n_heads: usize) -> Array3<f64> {
    let (n_tokens, width) = x.dim();
    x.into_shape_with_order((n_tokens, n_heads, width / n_heads)).expect("heads of equal width")
}

/// `[n_tokens, n_heads, head_dim]` as `[n_tokens, n_heads * head_dim]`
fn join_heads(x: Array3<f64>) -> Array2<f64> {
    let (n_tokens, n_heads, head_dim) = x.dim();
    x.into_shape_with_order((n_tokens, n_heads * head_dim)).expect("as many elements")
}

/// A weight matrix, `[n, k]`.
fn matrix(weights: &dyn WeightSource, name: &str) -> Result<Array2<f64>> {
    let view = weights.tensor(name)?;
    let elements = view.to_f32().into_iter().map(f64::from).collect();
    Array2::from_shape_vec((view.n, view.k), elements).map_err(|e| Error::argument(format!("{name}: {e}")))
}

/// A weight vector, `[n]`.
fn vector(weights: &dyn WeightSource, name: &str) -> Result<Array1<f64>> {
    Ok(matrix(weights, name)?.into_iter().collect())
}
