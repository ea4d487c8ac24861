//! Layouts that the kernels read, made from those that everybody else uses: `kernels/layouts.py` and
//! `kernels/attention_plan.py`, which say why.

use half::bf16;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::error::{Error, Result};
use crate::spec::{KvDtype, KvSpec};

/// Partitions of a core, on which features lie.
pub const PARTITIONS: usize = 128;

/// Sizes of a head that the attention kernel takes.
pub const HEAD_DIMS: [usize; 2] = [64, 128];

/// Tiles of 128 that hold `n` features.
pub fn tiles(n: usize) -> usize {
    n.div_ceil(PARTITIONS)
}

/// `x[M, K]` as `[128, K tiles, n_rows]`, rounded: feature `f` on partition `f % 128` of tile `f / 128`. Zero beyond M
/// and K.
pub fn pack_features(x: ArrayView2<'_, f32>, n_rows: usize) -> Vec<bf16> {
    let k_tiles = tiles(x.ncols());
    let mut packed = vec![bf16::ZERO; PARTITIONS * k_tiles * n_rows];
    for ((m, f), value) in x.indexed_iter() {
        packed[(f % PARTITIONS * k_tiles + f / PARTITIONS) * n_rows + m] = bf16::from_f32(*value);
    }
    packed
}

/// `[128, N tiles, n_rows]` into `out[M, N]`.
pub fn unpack_features(packed: &[bf16], n_rows: usize, mut out: ArrayViewMut2<'_, f32>) {
    let n_tiles = tiles(out.ncols());
    for ((m, f), value) in out.indexed_iter_mut() {
        *value = packed[(f % PARTITIONS * n_tiles + f / PARTITIONS) * n_rows + m].to_f32();
    }
}

/// `W[N, K]`, row by row, as `[128, N tiles, K tiles, 128]`, rounded. Zero where there is no weight.
pub fn pack_weights(w: &[f32], k: usize) -> Vec<bf16> {
    let n = w.len().checked_div(k).unwrap_or(0);
    let (n_tiles, k_tiles) = (tiles(n), tiles(k));
    let mut packed = vec![bf16::ZERO; PARTITIONS * n_tiles * k_tiles * PARTITIONS];
    for (i, value) in w.iter().enumerate() {
        let (row, f) = (i / k, i % k);
        let tile = (f % PARTITIONS * n_tiles + row / PARTITIONS) * k_tiles + f / PARTITIONS;
        packed[tile * PARTITIONS + row % PARTITIONS] = bf16::from_f32(*value);
    }
    packed
}

/// Where things lie in a page of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLayout {
    pub page_len: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
}

impl PageLayout {
    /// The layout of these keys and values, if the kernel takes them.
    pub fn new(spec: &KvSpec, page_len: usize) -> Result<Self> {
        let KvSpec { n_layers, n_kv_heads, head_dim, dtype } = *spec;
        let unavailable = |what: String, why: &str| Err(Error::Unavailable { what, why: why.into() });
        if dtype != KvDtype::Bf16 {
            return unavailable(format!("a KV cache of {dtype}"), "the Neuron kernels keep keys and values in bf16");
        }
        if !HEAD_DIMS.contains(&head_dim) {
            return unavailable(
                format!("heads of {head_dim}"),
                "the Neuron attention kernel takes heads of 64 and 128",
            );
        }
        let tile = PARTITIONS * (PARTITIONS / head_dim);
        if n_layers == 0 || n_kv_heads == 0 || page_len == 0 || !page_len.is_multiple_of(tile) {
            return Err(Error::argument(format!(
                "a KV cache of {n_layers} layers, {n_kv_heads} heads of {head_dim}, pages of {page_len}: at least one of each is wanted, and \
                 pages of a multiple of {tile}"
            )));
        }
        Ok(Self { page_len, n_kv_heads, head_dim })
    }

    /// Elements of a token's keys, and of its values.
    pub fn token_len(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// Elements of a page's keys, and of its values.
    pub fn len(&self) -> usize {
        self.page_len * self.token_len()
    }

    /// Bytes of them.
    pub fn size_bytes(&self) -> usize {
        self.len() * size_of::<bf16>()
    }

    /// Where element `i`, `[kv_head][head_dim]`, of a slot's key lies: `[128, n_kv_heads, R]`, the slots in as many
    /// parts as heads fit on the partitions, R of them in each.
    fn key(&self, slot: usize, i: usize) -> usize {
        let (head, f) = (i / self.head_dim, i % self.head_dim);
        let run = self.page_len * self.head_dim / PARTITIONS;
        ((slot / run * self.head_dim + f) * self.n_kv_heads + head) * run + slot % run
    }

    /// The row, of `token_len` elements, that a slot's value is: `[128, page_len / 128, n_kv_heads, head_dim]`, slot
    /// `s` on partition `s % 128`.
    pub fn value_row(&self, slot: usize) -> usize {
        slot % PARTITIONS * (self.page_len / PARTITIONS) + slot / PARTITIONS
    }
}

/// A page of one layer on the host, as the device has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    layout: PageLayout,
    pub k: Vec<bf16>,
    pub v: Vec<bf16>,
}

impl Page {
    /// A page of zeros.
    pub fn new(layout: PageLayout) -> Self {
        Self { layout, k: vec![bf16::ZERO; layout.len()], v: vec![bf16::ZERO; layout.len()] }
    }

    /// Stores a token's key and value, each `[kv_head][head_dim]`.
    pub fn store(&mut self, slot: usize, k: &[bf16], v: &[bf16]) {
        for (i, k) in k.iter().enumerate() {
            self.k[self.layout.key(slot, i)] = *k;
        }
        let row = self.layout.value_row(slot) * self.layout.token_len();
        self.v[row..row + self.layout.token_len()].copy_from_slice(v);
    }

    /// A token's key, `[kv_head][head_dim]`.
    pub fn key(&self, slot: usize) -> impl Iterator<Item = bf16> {
        (0..self.layout.token_len()).map(move |i| self.k[self.layout.key(slot, i)])
    }

    /// A token's value, `[kv_head][head_dim]`.
    pub fn value(&self, slot: usize) -> &[bf16] {
        let row = self.layout.value_row(slot) * self.layout.token_len();
        &self.v[row..row + self.layout.token_len()]
    }

    /// Writes the canonical `[k|v][slot][kv_head][head_dim]`.
    pub fn export(&self, out: &mut [u8]) {
        let slots = 0..self.layout.page_len;
        let keys = slots.clone().flat_map(|slot| self.key(slot));
        let values = slots.flat_map(|slot| self.value(slot).iter().copied());
        for (bytes, element) in out.as_chunks_mut::<2>().0.iter_mut().zip(keys.chain(values)) {
            *bytes = element.to_le_bytes();
        }
    }

    /// The page of canonical bytes.
    pub fn import(layout: PageLayout, bytes: &[u8]) -> Self {
        let elements: Vec<bf16> = bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect();
        let (keys, values) = elements.split_at(layout.len());
        let mut page = Self::new(layout);
        let tokens = keys.chunks_exact(layout.token_len()).zip(values.chunks_exact(layout.token_len()));
        for (slot, (k, v)) in tokens.enumerate() {
            page.store(slot, k, v);
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use safetensors::SafeTensors;

    use super::*;

    /// A tensor of a golden file of the NKI kernels, widened, and its shape.
    fn golden(file: &str, name: &str) -> (Vec<f32>, Vec<usize>) {
        let path = format!("{}/kernels/golden/{file}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        let elements = tensor.data().as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32());
        (elements.collect(), tensor.shape().to_vec())
    }

    fn narrow(x: &[f32]) -> Vec<bf16> {
        x.iter().map(|x| bf16::from_f32(*x)).collect()
    }

    #[test]
    fn weights_lie_as_in_the_golden_files() {
        for file in ["matmul-decode", "matmul-tails"] {
            let ((w, shape), (packed, _)) = (golden(file, "w"), golden(file, "packed"));
            assert_eq!(pack_weights(&w, shape[1]), narrow(&packed), "{file}");
        }
    }

    #[test]
    fn pages_lie_as_in_the_golden_files() {
        for (file, page_len) in [("attention-decode", 256), ("attention-append", 256), ("attention-pages", 128)] {
            let ((k, shape), (v, _)) = (golden(file, "k"), golden(file, "v"));
            let layout = PageLayout { page_len, n_kv_heads: shape[1], head_dim: shape[2] };
            let (first, row) = ((shape[0] - 1) / page_len * page_len, layout.token_len());
            let mut page = Page::new(layout);
            for t in first..shape[0] {
                page.store(t - first, &narrow(&k[t * row..][..row]), &narrow(&v[t * row..][..row]));
            }
            assert_eq!(page.k, narrow(&golden(file, "k_page").0), "{file}");
            assert_eq!(page.v, narrow(&golden(file, "v_page").0), "{file}");
            let mut bytes = vec![0; 2 * layout.size_bytes()];
            page.export(&mut bytes);
            assert_eq!(Page::import(layout, &bytes), page, "{file}");
        }
    }

    #[test]
    fn features_come_back() {
        let x = Array2::from_shape_fn((3, 150), |(m, f)| (m * 150 + f) as f32 / 4.0);
        let x = x.mapv(|x| bf16::from_f32(x).to_f32());
        let packed = pack_features(x.view(), 4);
        assert_eq!((packed.len(), packed[(2 + 1) * 4 + 2].to_f32()), (128 * 2 * 4, x[[2, 129]]));
        let mut out = Array2::zeros((3, 150));
        unpack_features(&packed, 4, out.view_mut());
        assert_eq!(out, x);
    }
}
