//! The memory of a step, sized once from the model's limits.

use super::attention::{AttentionPlan, AttentionScratch, Geometry, PlanLimits};
use super::buffer::{Buffer, Plain};
use super::isa::Isa;
use super::lhs::LhsElement;
use super::matmul;
use super::matrix::Matrix;
use crate::backend::LoadOptions;
use crate::error::{Error, Result};
use crate::spec::contract::PAGE_LEN;
use crate::spec::{ModelConfig, Slot};

/// Activations of a step of up to T rows, and what threads work in.
pub struct State<I: Isa, W: Matrix> {
    /// `[T][d_model]` the residual stream.
    pub x: Buffer<f32>,
    /// `[T][d_model]` a normalised row, as a left operand.
    pub normed: Buffer<W::Lhs<I>>,
    /// `[T][d_q + 2 d_kv]` q, k and v.
    pub qkv: Buffer<f32>,
    /// `[T][d_q]` what attention gives, as a left operand.
    pub attended: Buffer<W::Lhs<I>>,
    /// `[T][d_ff]` silu(gate) * up, as a left operand.
    pub gated: Buffer<W::Lhs<I>>,
    /// What the left operand of the product that runs is quantised to.
    pub operand: W::Operand,
    /// `[T]` where each row's key and value go.
    pub slots: Vec<Slot>,
    /// `[T]` position of each row in its context.
    pub positions: Vec<u32>,
    /// `[T][head_dim / 2]` cosine of each row's angles, and sine.
    pub cos: Buffer<f32>,
    /// See `cos`.
    pub sin: Buffer<f32>,
    /// The step's attention.
    pub plan: AttentionPlan,
    /// `[n_threads]`
    pub threads: Vec<ThreadState<I>>,
}

/// What one thread works in.
pub struct ThreadState<I: Isa> {
    /// Sums of a matmul task.
    pub sums: Buffer<f32>,
    /// A block of attention.
    pub attention: AttentionScratch<I::Lhs>,
}

impl<I: Isa> ThreadState<I> {
    /// Memory for the kernels.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            sums: Buffer::zeroed(matmul::scratch_len::<I>()),
            attention: AttentionScratch::new(geometry, block_rows::<I>(geometry), I::ATTENTION_ROWS),
        }
    }
}

/// Rows of an attention block: at least one token's group.
pub fn block_rows<I: Isa>(geometry: &Geometry) -> usize {
    (I::ATTENTION_ROWS * I::ATTENTION_STRIPS).max(geometry.group)
}

/// Heads and scale of a model.
pub fn geometry(config: &ModelConfig) -> Geometry {
    Geometry {
        n_kv_heads: config.n_kv_heads,
        group: config.group(),
        head_dim: config.head_dim,
        scale: (config.head_dim as f32).sqrt().recip(),
        window: config.sliding_window,
    }
}

/// Tokens of a context at most: as many as the model takes, and as there are pages for.
pub fn max_len(config: &ModelConfig, options: &LoadOptions) -> usize {
    config.max_len.min(options.n_pages.saturating_mul(PAGE_LEN))
}

impl<I: Isa, W: Matrix> State<I, W> {
    /// Memory for steps within `options`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is not as much.
    pub fn new(config: &ModelConfig, options: &LoadOptions, n_threads: usize) -> Result<Self> {
        let t = options.max_step_tokens;
        let n_rows = t.max(options.max_logit_rows);
        if u32::try_from(n_rows).is_err() {
            return Err(unavailable(n_rows, "rows are counted in 32 bits"));
        }
        let geometry = geometry(config);
        let lhs = |k: usize| zeroed(n_rows, <W::Lhs<I>>::buffer_len(n_rows, <W::Lhs<I>>::row_len(k)));
        // First what depends on the number of rows most: what cannot be had is an error here.
        let x = zeroed(t, t * config.d_model)?;
        let qkv = zeroed(t, t * (config.d_q() + 2 * config.d_kv()))?;
        let (normed, attended) = (lhs(config.d_model)?, lhs(config.d_q())?);
        let gated = lhs(config.d_ff.next_multiple_of(16))?;
        let limits = PlanLimits {
            max_step_tokens: t,
            max_len: max_len(config, options),
            n_threads,
            block_rows: block_rows::<I>(&geometry),
            min_block_rows: I::ATTENTION_ROWS,
        };
        let mut operand = W::Operand::default();
        let widest = config.d_model.max(config.d_q()).max(config.d_ff);
        W::make_room(&mut operand, n_rows, widest).map_err(|e| unavailable(n_rows, &e.to_string()))?;
        Ok(Self {
            operand,
            x,
            normed,
            qkv,
            attended,
            gated,
            slots: Vec::with_capacity(t),
            positions: Vec::with_capacity(t),
            cos: zeroed(t, t * config.head_dim / 2)?,
            sin: zeroed(t, t * config.head_dim / 2)?,
            plan: AttentionPlan::new(&geometry, limits).map_err(|e| unavailable(n_rows, &e.to_string()))?,
            threads: (0..n_threads).map(|_| ThreadState::new(&geometry)).collect(),
        })
    }
}

/// A buffer of `len` elements, for steps of `n_rows` rows.
fn zeroed<T: Plain>(n_rows: usize, len: usize) -> Result<Buffer<T>> {
    Buffer::try_zeroed(len).map_err(|e| unavailable(n_rows, &e.to_string()))
}

fn unavailable(n_rows: usize, why: &str) -> Error {
    Error::Unavailable { what: format!("memory for steps of {n_rows} rows"), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::synthetic::Preset;
    use crate::spec::{KvDtype, Synthetic};

    /// A configuration may allow far more positions than there are pages for.
    #[test]
    fn contexts_are_no_longer_than_the_pages_there_are() {
        let config = ModelConfig { max_len: 1 << 28, ..Synthetic::new(Preset::SmolLm2_135m, 1).config().clone() };
        let options =
            LoadOptions { weights: None, kv: KvDtype::Bf16, n_pages: 10, max_step_tokens: 8, max_logit_rows: 8 };
        assert_eq!(max_len(&config, &options), 10 * PAGE_LEN);
        let limits = PlanLimits {
            max_step_tokens: 8,
            max_len: usize::MAX / 64,
            n_threads: 2,
            block_rows: 32,
            min_block_rows: 32,
        };
        assert!(AttentionPlan::new(&geometry(&config), limits).is_err(), "more states than there are addresses");
    }

    #[test]
    fn a_buffer_beyond_all_addresses_is_unavailable() {
        for len in [1 << (usize::BITS - 4), usize::MAX] {
            let error = zeroed::<f32>(7, len).map(drop).unwrap_err();
            assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains("7 rows")), "{error}");
        }
    }
}
