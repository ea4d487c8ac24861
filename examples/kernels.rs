//! Uses the kernels alone, under an engine of your own.

use longhaul::dtype::Dtype;
use longhaul::spec::{AttentionArgs, KvDtype, KvSpec, PageId, Ragged, Slot, WeightDtype, WeightView};
use ndarray::{Array2, Array3};

fn main() -> longhaul::Result<()> {
    let backend = longhaul::backend::detect(None)?;

    // A weight matrix W[N, K] as a checkpoint has it, packed once; y[M, N] = x[M, K] W^T for any M.
    let (n, k) = (256, 128);
    let bytes = vec![0x3c; n * k * 2].into();
    let weight = WeightView { name: "up_proj", n, k, dtype: Dtype::Bf16, bytes };
    let matrix = backend.pack(&weight, WeightDtype::Bf16)?;
    let (x, mut y) = (Array2::ones((3, k)), Array2::zeros((3, n)));
    matrix.matmul(x.view(), y.view_mut())?;

    // Keys and values in pages that your engine hands out: here 10 tokens of one sequence, whose page table is pages 5
    // and 2.
    let spec = KvSpec { n_layers: 1, n_kv_heads: 2, head_dim: 64, dtype: KvDtype::Bf16 };
    let mut kv = backend.kv(&spec, 8)?;
    let (keys, values) = (Array3::ones((10, 2, 64)), Array3::ones((10, 2, 64)));
    let at: Vec<_> = (0..10).map(|slot_idx| Slot { page: PageId(5), slot_idx }).collect();
    kv.append(0, keys.view(), values.view(), &at)?;

    // Causal attention of the same 10 rows, 6 query heads; decode and append-prefill are the same call with other
    // lengths.
    let (q, mut out) = (Array3::ones((10, 6, 64)), Array3::zeros((10, 6, 64)));
    let pages = [PageId(5), PageId(2)];
    let ragged = Ragged { row_offsets: &[0, 10], starts: &[0], page_offsets: &[0, 2], pages: &pages };
    let args = AttentionArgs { layer: 0, q: q.view(), ragged, scale: 0.125, window: None };
    kv.attention(&args, out.view_mut())?;
    assert!((y[[2, 255]] - 1.46875_f32).abs() < 1e-6); // 128 times the bf16 0x3c3c
    assert!((out[[9, 5, 0]] - 1.0_f32).abs() < 1e-6); // a weighted mean of ones
    Ok(())
}
