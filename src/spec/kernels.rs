//! Argument structs of the public kernels, with their shapes and their costs.

use ndarray::ArrayView3;

use super::{PageId, Ragged};
use crate::dtype::Dtype;

/// The shape of a model's KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvSpec {
    /// Layers, each with keys and values of its own.
    pub n_layers: usize,
    /// Key/value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// Element type of keys and values as stored.
    pub dtype: Dtype,
}

impl KvSpec {
    /// Bytes that one token of context costs: `2 * n_layers * n_kv_heads * head_dim * size`.
    pub fn bytes_per_token(&self) -> usize {
        2 * self.n_layers * self.n_kv_heads * self.head_dim * self.dtype.size_bytes()
    }
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
    /// Which rows belong to which sequence, where they stand, and where its pages are. The keys and values of the rows themselves have
    /// been appended before.
    pub ragged: Ragged<'a>,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Sliding window: how many keys a query sees at most, its own included.
    pub window: Option<usize>,
}

impl AttentionArgs<'_> {
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
