//! A model's weights, packed.

use super::buffer::{Arena, Buffer};
use super::columns::Columns;
use super::matrix::Matrix;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::spec::tensors::{self, EMBEDDING, FINAL_NORM, LM_HEAD, part};
use crate::spec::{CheckedWeights, ModelConfig, WeightDtype, WeightSource, WeightView};

/// Everything that a step reads.
pub struct Weights<W> {
    /// `[vocab, d_model]` unless it is the output matrix too.
    pub embedding: Option<Table>,
    /// `[n_layers]`
    pub layers: Vec<Layer<W>>,
    /// `[d_model]`
    pub final_norm: Vec<f32>,
    /// `[vocab, d_model]`
    pub lm_head: W,
}

/// An embedding that is only looked up, never multiplied.
pub struct Table {
    dtype: Dtype,
    /// Little-endian elements, row by row.
    bytes: Buffer<u8>,
}

impl Table {
    /// The rows of `embedding` as `dtype`, one at a time: a whole one in f32 may be larger than the model.
    fn new(embedding: &WeightView<'_>, dtype: Dtype, arena: &mut Arena) -> Result<Self> {
        let (k, from) = (embedding.k, embedding.dtype);
        let mut bytes = arena.zeroed(embedding.n * k * dtype.size_bytes())?;
        let mut widened = vec![0.0; k];
        let rows = embedding.bytes.chunks_exact(k * from.size_bytes());
        for (row, out) in rows.zip(bytes.chunks_exact_mut(k * dtype.size_bytes())) {
            from.widen(row, &mut widened);
            dtype.narrow(&widened, out);
        }
        Ok(Self { dtype, bytes })
    }
}

/// One transformer layer.
pub struct Layer<W> {
    /// `[d_model]`
    pub attention_norm: Vec<f32>,
    /// `[d_q + 2 d_kv, d_model]` q, k and v, one below the other.
    pub qkv: W,
    /// `[d_q + 2 d_kv]`
    pub qkv_bias: Option<Vec<f32>>,
    /// `[head_dim]` each
    pub q_norm: Option<Vec<f32>>,
    /// `[head_dim]`
    pub k_norm: Option<Vec<f32>>,
    /// `[d_model, d_q]`
    pub o: W,
    /// `[d_model]`
    pub ffn_norm: Vec<f32>,
    /// `[2 d_ff, d_model]` gate and up, panel by panel in turn.
    pub gate_up: W,
    /// `[d_model, d_ff]`
    pub down: W,
}

/// What the matrices run as when nothing is asked for: bf16 if they all are, else f32, which holds bf16 and f16
/// exactly.
pub fn natural_dtype(config: &ModelConfig, source: &dyn WeightSource) -> Result<WeightDtype> {
    for tensor in tensors::expected(config).iter().filter(|t| t.k > 1) {
        if source.dtype(&tensor.name)? != Dtype::Bf16 {
            return Ok(WeightDtype::F32);
        }
    }
    Ok(WeightDtype::Bf16)
}

impl<W: Matrix> Weights<W> {
    /// Packs a model, tensor by tensor, each held against the configuration.
    pub fn pack(config: &ModelConfig, source: &dyn WeightSource, dtype: WeightDtype) -> Result<Self> {
        let source = &CheckedWeights::new(config, source);
        let vector = |name: &str| -> Result<_> { Ok(source.tensor(name)?.to_f32()) };
        let embedding = source.tensor(EMBEDDING)?;
        let arena = &mut Arena::default();
        let head = dtype.of_head();
        let (lm_head, embedding) = if config.tied_embeddings {
            (W::pack(&Columns::stacked(&[&embedding])?, head, arena)?, None)
        } else {
            let table = Table::new(&embedding, dtype.table(), arena)?;
            (W::pack(&Columns::stacked(&[&source.tensor(LM_HEAD)?])?, head, arena)?, Some(table))
        };
        let layers =
            (0..config.n_layers).map(|i| Layer::pack(config, source, i, dtype, arena)).collect::<Result<_>>()?;
        Ok(Self { embedding, layers, final_norm: vector(FINAL_NORM)?, lm_head })
    }

    /// The embedding of a token, `[d_model]`.
    pub fn embed(&self, token: usize, out: &mut [f32]) {
        match &self.embedding {
            None => self.lm_head.row(token, out),
            Some(Table { dtype, bytes }) => {
                let row_bytes = out.len() * dtype.size_bytes();
                dtype.widen(&bytes[token * row_bytes..][..row_bytes], out);
            }
        }
    }
}

impl<W: Matrix> Layer<W> {
    fn pack(
        config: &ModelConfig,
        source: &CheckedWeights<'_>,
        layer: usize,
        dtype: WeightDtype,
        arena: &mut Arena,
    ) -> Result<Self> {
        let name = |of: &str| tensors::layer(layer, of);
        let vector = |of: &str| -> Result<Vec<f32>> { Ok(source.tensor(&name(of))?.to_f32()) };
        let matrices = {
            use part::*;
            [Q_PROJ, K_PROJ, V_PROJ, O_PROJ, GATE_PROJ, UP_PROJ, DOWN_PROJ].map(name)
        };
        let [q, k, v, o, gate, up, down] = matrices.each_ref().map(|name| source.tensor(name));
        let mut pack = |columns: &Columns<'_>| W::pack(columns, dtype, arena);
        let bias = || -> Result<Vec<f32>> {
            let parts = [vector(part::Q_BIAS)?, vector(part::K_BIAS)?, vector(part::V_BIAS)?];
            Ok(parts.concat())
        };
        let norm = |of: &str| if config.qk_norm { vector(of).map(Some) } else { Ok(None) };
        Ok(Self {
            attention_norm: vector(part::ATTENTION_NORM)?,
            qkv: pack(&Columns::stacked(&[&q?, &k?, &v?])?)?,
            qkv_bias: if config.qkv_bias { Some(bias()?) } else { None },
            q_norm: norm(part::Q_NORM)?,
            k_norm: norm(part::K_NORM)?,
            o: pack(&Columns::stacked(&[&o?])?)?,
            ffn_norm: vector(part::FEED_FORWARD_NORM)?,
            gate_up: pack(&Columns::alternating(&gate?, &up?)?)?,
            down: pack(&Columns::stacked(&[&down?])?)?,
        })
    }
}
