//! A model's weights, packed.

use super::panel::{PanelElement, Panels};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::spec::tensors::{self, EMBEDDING, FINAL_NORM, LM_HEAD, part};
use crate::spec::{ModelConfig, WeightSource};

/// Everything that a step reads.
pub struct Weights<E> {
    /// `[vocab, d_model]` unless it is the output matrix too.
    pub embedding: Option<Vec<E>>,
    /// `[n_layers]`
    pub layers: Vec<Layer<E>>,
    /// `[d_model]`
    pub final_norm: Vec<f32>,
    /// `[vocab, d_model]`
    pub lm_head: Panels<E>,
}

/// One transformer layer.
pub struct Layer<E> {
    /// `[d_model]`
    pub attention_norm: Vec<f32>,
    /// `[d_q + 2 d_kv, d_model]` q, k and v, one below the other.
    pub qkv: Panels<E>,
    /// `[d_q + 2 d_kv]`
    pub qkv_bias: Option<Vec<f32>>,
    /// `[head_dim]` each
    pub q_norm: Option<Vec<f32>>,
    /// `[head_dim]`
    pub k_norm: Option<Vec<f32>>,
    /// `[d_model, d_q]`
    pub o: Panels<E>,
    /// `[d_model]`
    pub ffn_norm: Vec<f32>,
    /// `[2 d_ff, d_model]` gate and up, panel by panel in turn.
    pub gate_up: Panels<E>,
    /// `[d_model, d_ff]`
    pub down: Panels<E>,
}

/// What the matrices run as when nothing is asked for: bf16 if they all are, else f32, which holds bf16 and f16 exactly.
pub fn natural_dtype(config: &ModelConfig, source: &dyn WeightSource) -> Result<Dtype> {
    for tensor in tensors::expected(config).iter().filter(|t| t.k > 1) {
        if source.tensor(&tensor.name)?.dtype != Dtype::Bf16 {
            return Ok(Dtype::F32);
        }
    }
    Ok(Dtype::Bf16)
}

impl<E: PanelElement> Weights<E> {
    /// Packs a model, tensor by tensor.
    pub fn pack(config: &ModelConfig, source: &dyn WeightSource) -> Result<Self> {
        let vector = |name: &str| -> Result<_> { Ok(source.tensor(name)?.to_f32()) };
        let embedding = source.tensor(EMBEDDING)?;
        let (lm_head, embedding) = if config.tied_embeddings {
            (Panels::stacked(&[&embedding])?, None)
        } else {
            let table = embedding.to_f32().into_iter().map(E::from_f32).collect();
            (Panels::stacked(&[&source.tensor(LM_HEAD)?])?, Some(table))
        };
        let layers = (0..config.n_layers).map(|i| Layer::pack(config, source, i)).collect::<Result<_>>()?;
        Ok(Self { embedding, layers, final_norm: vector(FINAL_NORM)?, lm_head })
    }

    /// The embedding of a token, `[d_model]`.
    pub fn embed(&self, token: usize, out: &mut [f32]) {
        match &self.embedding {
            None => self.lm_head.row(token, out),
            Some(table) => {
                let row = &table[token * out.len()..][..out.len()];
                for (o, x) in out.iter_mut().zip(row) {
                    *o = x.to_f32();
                }
            }
        }
    }
}

impl<E: PanelElement> Layer<E> {
    fn pack(config: &ModelConfig, source: &dyn WeightSource, layer: usize) -> Result<Self> {
        let name = |of: &str| tensors::layer(layer, of);
        let vector = |of: &str| -> Result<Vec<f32>> { Ok(source.tensor(&name(of))?.to_f32()) };
        let qkv = [part::Q_PROJ, part::K_PROJ, part::V_PROJ].map(name);
        let [q, k, v] = [source.tensor(&qkv[0])?, source.tensor(&qkv[1])?, source.tensor(&qkv[2])?];
        let stacked = |of: &str| Panels::stacked(&[&source.tensor(&name(of))?]);
        let (gate, up) = (name(part::GATE_PROJ), name(part::UP_PROJ));
        let bias = || -> Result<Vec<f32>> {
            let parts = [vector(part::Q_BIAS)?, vector(part::K_BIAS)?, vector(part::V_BIAS)?];
            Ok(parts.concat())
        };
        let norm = |of: &str| if config.qk_norm { vector(of).map(Some) } else { Ok(None) };
        Ok(Self {
            attention_norm: vector(part::ATTENTION_NORM)?,
            qkv: Panels::stacked(&[&q, &k, &v])?,
            qkv_bias: if config.qkv_bias { Some(bias()?) } else { None },
            q_norm: norm(part::Q_NORM)?,
            k_norm: norm(part::K_NORM)?,
            o: stacked(part::O_PROJ)?,
            ffn_norm: vector(part::FEED_FORWARD_NORM)?,
            gate_up: Panels::alternating(&source.tensor(&gate)?, &source.tensor(&up)?)?,
            down: stacked(part::DOWN_PROJ)?,
        })
    }
}
