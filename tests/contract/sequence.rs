//! A sequence of tokens with its queries, keys and values, and what attention makes of it.

use longhaul::backend::{Backend, KvPages};
use longhaul::emulation::{Arithmetic, Attention};
use longhaul::reference;
use longhaul::spec::{AttentionArgs, KvDtype, KvSpec, PageId, Slot, StepBatch};
use ndarray::{Array3, Axis, concatenate, s};

use super::noise;

/// Heads and lengths of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub n_kv_heads: usize,
    pub group: usize,
    pub head_dim: usize,
    /// The last tokens of the context ask.
    pub n_tokens: usize,
    pub kv_len: usize,
    /// What keys and values are stored as.
    pub kv: KvDtype,
}

impl Shape {
    /// Pages of one layer.
    pub fn pages(&self, backend: &dyn Backend, n_pages: usize) -> Box<dyn KvPages> {
        let Self { n_kv_heads, head_dim, kv, .. } = *self;
        backend.kv(&KvSpec { n_layers: 1, n_kv_heads, head_dim, dtype: kv }, n_pages).unwrap()
    }

    pub fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

pub struct Sequence {
    pub shape: Shape,
    /// `[n_tokens, n_heads, head_dim]`
    pub q: Array3<f32>,
    /// `[kv_len, n_kv_heads, head_dim]`
    pub k: Array3<f32>,
    /// `[kv_len, n_kv_heads, head_dim]`
    pub v: Array3<f32>,
    pub pages: Vec<PageId>,
    /// The backend's.
    pub page_len: usize,
}

impl Sequence {
    /// A sequence that lies in the first of a backend's `pages`. Queries are large enough for some keys to outweigh
    /// others by far.
    pub fn new(backend: &dyn Backend, seed: u64, shape: Shape, pages: impl IntoIterator<Item = u32>) -> Self {
        let page_len = backend.caps().page_len;
        let Shape { n_kv_heads, group, head_dim, n_tokens, kv_len, .. } = shape;
        let array = |n, n_heads, salt| Array3::from_shape_simple_fn((n, n_heads, head_dim), noise(seed * 10 + salt));
        Self {
            shape,
            q: array(n_tokens, n_kv_heads * group, 1) * 4.0,
            k: array(kv_len, n_kv_heads, 2),
            v: array(kv_len, n_kv_heads, 3),
            pages: pages.into_iter().take(kv_len.div_ceil(page_len)).map(PageId).collect(),
            page_len,
        }
    }

    /// Position of the first query.
    pub fn start(&self) -> usize {
        self.shape.kv_len - self.shape.n_tokens
    }

    /// Appends all keys and values.
    pub fn store(&self, kv: &mut dyn KvPages) {
        let slot = |j: usize| Slot { page: self.pages[j / self.page_len], slot_idx: j % self.page_len };
        let slots: Vec<Slot> = (0..self.shape.kv_len).map(slot).collect();
        kv.append(0, self.k.view(), self.v.view(), &slots).unwrap();
    }

    /// What a table gives.
    pub fn emulated(&self, arithmetic: Arithmetic, window: Option<usize>) -> Array3<f32> {
        arithmetic.attention(&Attention {
            q: self.q.view(),
            k: self.k.view(),
            v: self.v.view(),
            kv: self.shape.kv,
            start: self.start(),
            scale: self.shape.scale(),
            window,
        })
    }
}

/// As a page holds it.
pub fn stored(x: &Array3<f32>, kv: KvDtype) -> Array3<f64> {
    reference::stored(x.mapv(f64::from), Some(kv))
}

/// Attention of several sequences of one geometry in one call, an array for each.
pub fn attend(kv: &mut dyn KvPages, sequences: &[&Sequence], window: Option<usize>) -> Vec<Array3<f32>> {
    let mut batch = StepBatch::new();
    for sequence in sequences {
        batch.push(&vec![0; sequence.shape.n_tokens], sequence.start(), &sequence.pages);
    }
    let queries: Vec<_> = sequences.iter().map(|s| s.q.view()).collect();
    let q = concatenate(Axis(0), &queries).unwrap();
    let mut out = Array3::from_elem(q.dim(), f32::NAN);
    let scale = sequences[0].shape.scale();
    let args = AttentionArgs { layer: 0, q: q.view(), ragged: batch.ragged(), scale, window };
    kv.attention(&args, out.view_mut()).unwrap();
    (0..sequences.len()).map(|i| out.slice(s![batch.ragged().rows(i), .., ..]).to_owned()).collect()
}
