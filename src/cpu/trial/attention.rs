//! Attention over contexts of many lengths: append-prefill, decode, and decode behind a shared prefix.

use ndarray::{Array3, ArrayView3, ArrayViewMut3};

use super::{Cost, ROTATED_BYTES, Trial, numbers, rows, widen};
use crate::backend::{Backend, KvPages};
use crate::cpu::Buffer;
use crate::error::Result;
use crate::spec::{AttentionArgs, KvDtype, KvSpec, PageId, Ragged, Slot};

/// Pages that differ; the others are copies of them.
const DISTINCT_PAGES: usize = 8;

/// Heads of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl Heads {
    /// Llama-3.1-8B.
    pub const LLAMA31_8B: Self = Self { n_heads: 32, n_kv_heads: 8, head_dim: 128 };
    /// SmolLM2-135M.
    pub const SMOLLM2_135M: Self = Self { n_heads: 9, n_kv_heads: 3, head_dim: 64 };
}

/// Causal attention of `n_rows` new rows in each of `n_seqs` sequences, of which each has `kv_len` tokens with them.
#[derive(Debug, Clone)]
pub struct AttentionShape {
    /// `kernel-sweep/decode/b8/kv32k`
    pub name: String,
    /// Heads.
    pub heads: Heads,
    /// What keys and values are stored as.
    pub kv: KvDtype,
    /// Sequences.
    pub n_seqs: usize,
    /// Rows of each sequence: 1 in decode.
    pub n_rows: usize,
    /// Tokens of each sequence, its rows included.
    pub kv_len: usize,
    /// Of these, the first that all sequences share: the same pages, whole ones.
    pub shared_len: usize,
    /// Keys that a query sees at most, its own included.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// Operations as [`AttentionArgs::flops`]; the bytes of keys and values that some row sees, shared ones once, and
    /// of q and the result in f32.
    pub fn cost(&self) -> Cost {
        let Heads { n_heads, head_dim, .. } = self.heads;
        let window = self.window.unwrap_or(usize::MAX);
        let visible: usize = (self.kv_len - self.n_rows + 1..=self.kv_len).map(|n_before| n_before.min(window)).sum();
        let activations = 2 * 4 * self.n_seqs * self.n_rows * n_heads * head_dim;
        Cost {
            flops: (4 * self.n_seqs * visible * n_heads * head_dim) as u64,
            bytes: (self.n_read() * self.token_bytes() + activations) as u64,
            integers: false,
            from_memory: self.n_rows == 1,
        }
    }

    /// Bytes of memory that a trial takes.
    pub fn pool_bytes(&self, page_len: usize, n_trials: usize) -> u64 {
        let layer = (self.n_pages(page_len) * page_len * self.token_bytes()) as u64;
        layer * self.n_layers(n_trials)
    }

    /// Bytes of one token's key and value in one layer.
    fn token_bytes(&self) -> usize {
        2 * self.heads.n_kv_heads * self.kv.head_bytes(self.heads.head_dim)
    }

    /// Tokens that some row sees: shared ones once.
    fn n_read(&self) -> usize {
        let n_seen = self.window.map_or(self.kv_len, |window| self.kv_len.min(window + self.n_rows - 1));
        let n_hidden = self.kv_len - n_seen;
        self.shared_len.saturating_sub(n_hidden) + self.n_seqs * n_seen.min(self.kv_len - self.shared_len)
    }

    fn n_pages(&self, page_len: usize) -> usize {
        let shared = self.shared_len / page_len;
        shared + self.n_seqs * (self.kv_len.div_ceil(page_len) - shared)
    }

    /// Layers that take turns when `n_trials` trials do: enough for memory to be what is measured where there are few
    /// rows.
    fn n_layers(&self, n_trials: usize) -> u64 {
        let bytes = (self.n_read() * self.token_bytes() * n_trials) as u64;
        if self.n_rows > 1 { 1 } else { ROTATED_BYTES.div_ceil(bytes) }
    }

    /// Fills pages and makes queries. `n_trials` is how many trials of this shape take turns.
    ///
    /// # Errors
    /// When the backend does not take the pages.
    ///
    /// # Panics
    /// Where the shared tokens are not whole pages of the backend.
    pub fn ready(&self, backend: &dyn Backend, n_trials: usize) -> Result<AttentionTrial> {
        let (page_len, Heads { n_heads, n_kv_heads, head_dim }) = (backend.caps().page_len, self.heads);
        assert!(self.shared_len.is_multiple_of(page_len), "whole pages are shared");
        let n_layers = self.n_layers(n_trials) as usize;
        let spec = KvSpec { n_layers, n_kv_heads, head_dim, dtype: self.kv };
        let n_pages = self.n_pages(page_len);
        let mut kv = backend.kv(&spec, n_pages)?;
        let n_distinct = DISTINCT_PAGES.min(n_pages);
        let [k, v] = [3, 4].map(|seed| {
            let mut next = numbers(seed);
            Array3::from_shape_simple_fn((n_distinct * page_len, n_kv_heads, head_dim), || widen(next()))
        });
        let slot = |i: usize| Slot { page: PageId((i / page_len) as u32), slot_idx: i % page_len };
        let slots: Vec<Slot> = (0..n_distinct * page_len).map(slot).collect();
        (0..n_layers).try_for_each(|layer| kv.append(layer, k.view(), v.view(), &slots))?;
        for page in n_distinct..n_pages {
            kv.copy_page(PageId((page % n_distinct) as u32), PageId(page as u32), page_len)?;
        }
        let dim = (self.n_seqs * self.n_rows, n_heads, head_dim);
        let q = rows(dim.0 * dim.1 * dim.2, 5);
        let (out, tables) = (Buffer::zeroed(q.len()), Tables::new(self, page_len));
        Ok(AttentionTrial { kv, layer: 0, dim, q, out, tables, window: self.window, distinct: [k, v] })
    }
}

/// Offsets and page tables.
struct Tables {
    row_offsets: Vec<u32>,
    starts: Vec<u32>,
    page_offsets: Vec<u32>,
    pages: Vec<PageId>,
}

impl Tables {
    fn new(shape: &AttentionShape, page_len: usize) -> Self {
        let (shared, all) = (shape.shared_len / page_len, shape.kv_len.div_ceil(page_len));
        let page = |seq: usize, i: usize| if i < shared { i } else { i + seq * (all - shared) };
        let offsets = |step: usize| (0..=shape.n_seqs).map(|seq| (seq * step) as u32).collect();
        Self {
            row_offsets: offsets(shape.n_rows),
            starts: vec![(shape.kv_len - shape.n_rows) as u32; shape.n_seqs],
            page_offsets: offsets(all),
            pages: (0..shape.n_seqs).flat_map(|s| (0..all).map(move |i| PageId(page(s, i) as u32))).collect(),
        }
    }
}

/// Attention that can be repeated.
pub struct AttentionTrial {
    kv: Box<dyn KvPages>,
    layer: usize,
    /// Of `q` and `out`.
    dim: (usize, usize, usize),
    q: Buffer<f32>,
    out: Buffer<f32>,
    tables: Tables,
    window: Option<usize>,
    distinct: [Array3<f32>; 2],
}

impl AttentionTrial {
    /// `[n_seqs * n_rows, n_heads, head_dim]`
    pub fn q(&self) -> ArrayView3<'_, f32> {
        ArrayView3::from_shape(self.dim, &self.q).expect("as many elements")
    }

    /// As `q`: what the last call left.
    pub fn out(&self) -> ArrayView3<'_, f32> {
        ArrayView3::from_shape(self.dim, &self.out).expect("as many elements")
    }

    /// Key or value of sequence `seq` at `position`: the row of [`AttentionTrial::distinct`] that its page repeats.
    pub fn distinct_row(&self, seq: usize, position: usize, page_len: usize) -> usize {
        let first = self.tables.page_offsets[seq] as usize;
        let page = self.tables.pages[first + position / page_len].idx();
        let n_distinct = self.distinct[0].dim().0 / page_len;
        page % n_distinct * page_len + position % page_len
    }

    /// `[rows, n_kv_heads, head_dim]` the keys and the values that all pages repeat.
    pub fn distinct(&self) -> [ArrayView3<'_, f32>; 2] {
        [self.distinct[0].view(), self.distinct[1].view()]
    }

    /// Factor on the scores.
    pub fn scale(&self) -> f32 {
        (self.dim.2 as f32).sqrt().recip()
    }
}

impl Trial for AttentionTrial {
    fn call(&mut self) -> Result<()> {
        self.layer = (self.layer + 1) % self.kv.spec().n_layers;
        let Tables { row_offsets, starts, page_offsets, pages } = &self.tables;
        let ragged = Ragged { row_offsets, starts, page_offsets, pages };
        let q = ArrayView3::from_shape(self.dim, &self.q).expect("as many elements");
        let args = AttentionArgs { layer: self.layer, q, ragged, scale: self.scale(), window: self.window };
        let out = ArrayViewMut3::from_shape(self.dim, &mut self.out).expect("as many elements");
        self.kv.attention(&args, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_the_arguments() {
        let (heads, name) = (Heads::SMOLLM2_135M, String::new());
        let kv = KvDtype::Bf16;
        let shape =
            AttentionShape { name, heads, kv, n_seqs: 3, n_rows: 5, kv_len: 1_100, shared_len: 512, window: None };
        let backend = crate::cpu::open(&crate::cpu::CpuOptions { threads: Some(1), ..Default::default() }).unwrap();
        let trial = shape.ready(&*backend, 1).unwrap();
        let Tables { row_offsets, starts, page_offsets, pages } = &trial.tables;
        let ragged = Ragged { row_offsets, starts, page_offsets, pages };
        let args = AttentionArgs { layer: 0, q: trial.q(), ragged, scale: trial.scale(), window: None };
        assert_eq!(shape.cost().flops, args.flops());
        // Two pages are shared; the other three belong to one sequence each.
        assert_eq!(shape.n_pages(backend.caps().page_len), 2 + 3 * 3);
        let activations = 2 * 4 * 15 * 9 * 64;
        assert_eq!(shape.cost().bytes, (512 + 3 * 588) * 2 * 3 * 64 * 2 + activations);
        let int8 = AttentionShape { kv: KvDtype::Int8, ..shape };
        assert_eq!(int8.cost().bytes, (512 + 3 * 588) * 2 * 3 * (64 + 4) + activations);
        // The first of five rows sees 600 keys, the others one less of what stands before each time.
        let narrow = AttentionShape { window: Some(600), ..int8 };
        assert_eq!(narrow.cost().flops, 4 * 3 * 5 * 600 * 9 * 64);
        assert_eq!(narrow.cost().bytes, (16 + 3 * 588) * 2 * 3 * (64 + 4) + activations);
    }
}
