//! Argument structs of the public kernels, with their shapes and their costs.

use ndarray::ArrayView3;

use super::{KvDtype, PageId, Ragged};
use crate::error::{Error, Result};

/// The shape of a model's KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvSpec {
    /// Layers, each with keys and values of its own.
    pub n_layers: usize,
    /// Key/value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// What keys and values are stored as.
    pub dtype: KvDtype,
}

impl KvSpec {
    /// Bytes that one token of context costs: `2 * n_layers * n_kv_heads` heads of [`KvDtype::head_bytes`].
    pub fn bytes_per_token(&self) -> usize {
        2 * self.n_layers * self.n_kv_heads * self.dtype.head_bytes(self.head_dim)
    }

    /// Checks the arguments of [`KvPages::append`](crate::backend::KvPages::append): the shapes of keys and values, and
    /// slots of a pool of `(n_pages, page_len)`.
    ///
    /// # Errors
    /// [`Error::Argument`], or [`Error::Page`] for a slot that there is not.
    pub fn check_append(&self, layer: usize, kv: [Shape3; 2], at: &[Slot], pool: (usize, usize)) -> Result<()> {
        self.check_layer(layer)?;
        let wanted = (at.len(), self.n_kv_heads, self.head_dim);
        if kv != [wanted; 2] {
            let [k, v] = kv;
            return Err(Error::argument(format!("k is {k:?} and v is {v:?}, where {wanted:?} is wanted")));
        }
        let (n_pages, page_len) = pool;
        if let Some(slot) = at.iter().find(|s| s.page.idx() >= n_pages || s.slot_idx >= page_len) {
            let reason = format!("slot {}: there are {n_pages} pages of {page_len} slots", slot.slot_idx);
            return Err(Error::Page { page: slot.page, reason });
        }
        Ok(())
    }

    fn check_layer(&self, layer: usize) -> Result<()> {
        if layer < self.n_layers {
            return Ok(());
        }
        Err(Error::argument(format!("layer {layer} of a KV cache of {} layers", self.n_layers)))
    }
}

/// The shape of an array of three dimensions.
pub type Shape3 = (usize, usize, usize);

/// Checks the shapes of a product with `W[n, k]`.
///
/// # Errors
/// [`Error::Argument`] that names all of them.
pub fn check_matmul([n, k]: [usize; 2], x: (usize, usize), out: (usize, usize)) -> Result<()> {
    if x.1 == k && out == (x.0, n) {
        return Ok(());
    }
    Err(Error::argument(format!(
        "matmul with W[{n}, {k}]: x is {x:?} and out is {out:?}, where [M, {k}] and [M, {n}] are wanted"
    )))
}

/// A token's place in the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The page.
    pub page: PageId,
    /// The token's index in the page.
    pub slot_idx: usize,
}

/// Arguments of causal attention over pages, for one layer: `out = softmax(q k^T * scale) v`, where a query at position
/// `p` sees keys `0..=p`, or with a window `w` keys `p + 1 - w..=p`.
#[derive(Debug, Clone, Copy)]
pub struct AttentionArgs<'a> {
    /// The layer whose keys and values are read.
    pub layer: usize,
    /// `[n_tokens, n_heads, head_dim]` queries, RoPE applied; head `h` reads KV head `h / (n_heads / n_kv_heads)`.
    pub q: ArrayView3<'a, f32>,
    /// Which rows belong to which sequence, where they stand, and where its pages are. The keys and values of the rows
    /// themselves have been appended before.
    pub ragged: Ragged<'a>,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Sliding window: how many keys a query sees at most, its own included.
    pub window: Option<usize>,
}

impl AttentionArgs<'_> {
    /// Checks the arguments against each other, the shape of the result, and a pool of `(n_pages, page_len)`.
    ///
    /// # Errors
    /// [`Error::Argument`], or [`Error::Page`] for a page that there is not.
    pub fn validate(&self, spec: &KvSpec, out: Shape3, pool: (usize, usize)) -> Result<()> {
        spec.check_layer(self.layer)?;
        let (n_tokens, n_heads, head_dim) = self.q.dim();
        let KvSpec { n_kv_heads, head_dim: stored, .. } = *spec;
        if n_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) || head_dim != stored {
            return Err(Error::argument(format!(
                "{n_heads} query heads of {head_dim} elements do not fit {n_kv_heads} KV heads of {stored}"
            )));
        }
        if self.window == Some(0) || !self.scale.is_finite() || self.scale <= 0.0 {
            return Err(Error::argument(format!(
                "attention wants a positive finite scale and a window of at least one key, not {} and {:?}",
                self.scale, self.window
            )));
        }
        self.ragged.validate(pool.0, pool.1)?;
        let n_rows = self.ragged.row_offsets[self.ragged.n_seqs()] as usize;
        if n_rows != n_tokens || out != self.q.dim() {
            return Err(Error::argument(format!(
                "q is {:?}, out is {out:?}, and the sequences have {n_rows} rows in all: they must agree",
                self.q.dim()
            )));
        }
        Ok(())
    }

    /// Floating-point operations: 4 per query head, visible key and element of a head.
    pub fn flops(&self) -> u64 {
        let (_, n_heads, head_dim) = self.q.dim();
        let visible: u64 = (0..self.ragged.n_seqs())
            .flat_map(|s| (0..self.ragged.rows(s).len()).map(move |r| self.ragged.start(s) + r + 1))
            .map(|kv_len| self.window.map_or(kv_len, |w| w.min(kv_len)) as u64)
            .sum();
        4 * visible * n_heads as u64 * head_dim as u64
    }
}
