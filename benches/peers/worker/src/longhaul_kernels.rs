//! longhaul's two public kernels.

use std::ops::Range;
use std::time::Instant;

use longhaul::backend::{Backend, KvPages, PackedMatrix};
use longhaul::cpu::{self, Buffer, CpuOptions};
use longhaul::dtype::Dtype;
use longhaul::spec::{AttentionArgs, KvSpec, PageId, Ragged, Slot, WeightDtype, WeightView};
use ndarray::{Array3, ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, s};

use super::{Prepared, Result, pattern};
use crate::protocol::{AttentionCase, MatmulCase, n_copies};

fn backend(n_threads: usize, table: Option<&str>) -> Result<Box<dyn Backend>> {
    let options = CpuOptions { threads: Some(n_threads), table: table.map(Into::into), ..Default::default() };
    Ok(cpu::open(&options)?)
}

/// Weights as `dtype`, f32 activations.
pub fn matmul(n_threads: usize, dtype: &str, case: &MatmulCase) -> Result<Prepared> {
    let &MatmulCase { m, k, n, rotated_bytes, ref table } = case;
    let backend = backend(n_threads, table.as_deref())?;
    let dtype: WeightDtype = dtype.parse()?;
    let stored = dtype.float().unwrap_or(Dtype::Bf16);
    let values: Vec<f32> = (0..n * k).map(|i| pattern::weight(i / k, i % k)).collect();
    let mut bytes = vec![0; n * k * stored.size_bytes()];
    stored.narrow(&values, &mut bytes);
    let view = WeightView { name: "compared", n, k, dtype: stored, bytes: bytes.into() };
    let copies = n_copies(rotated_bytes, dtype.bytes(n, k));
    let packed: Vec<Box<dyn PackedMatrix>> =
        (0..copies).map(|_| backend.pack(&view, dtype)).collect::<longhaul::Result<_>>()?;
    let x = pattern::buffer(m * k, |i| pattern::activation(i / k, i % k));
    let mut out = Buffer::zeroed(m * n);
    let mut turn = 0;
    let mut multiply = move |out: &mut [f32]| -> Result<_> {
        turn = (turn + 1) % packed.len();
        let (x, out) = (ArrayView2::from_shape((m, k), &x)?, ArrayViewMut2::from_shape((m, n), out)?);
        let began = Instant::now();
        packed[turn].matmul(x, out)?;
        Ok(began.elapsed())
    };
    multiply(&mut out)?;
    let check = pattern::ends(&out);
    let run = move || multiply(&mut out);
    Ok(Prepared { run: Box::new(run), check })
}

/// Queries in f32, keys and values in pages as `dtype`.
pub fn attention(n_threads: usize, dtype: &str, case: &AttentionCase) -> Result<Prepared> {
    let &AttentionCase { batch, q_len, kv_len, shared_len, n_heads, n_kv_heads, head_dim, rotated_bytes } = case;
    let backend = backend(n_threads, None)?;
    let spec = KvSpec { n_layers: 1, n_kv_heads, head_dim, dtype: dtype.parse()? };
    let n_kept = shared_len + batch * (kv_len - shared_len);
    let copies = n_copies(rotated_bytes, (n_kept * spec.bytes_per_token()) as u64);
    let page_len = backend.caps().page_len;
    let n_pages = kv_len.div_ceil(page_len);
    let mut kv = backend.kv(&spec, copies * batch * n_pages)?;
    // Pages that a sequence shares are those of the first in its copy; its own there stay empty and take no memory.
    for seq_idx in 0..copies * batch {
        let first = if seq_idx % batch == 0 { 0 } else { shared_len };
        fill(&mut *kv, seq_idx * n_pages, first..kv_len, page_len)?;
    }
    let page = |seq_idx: usize, i: usize| {
        let seq_idx = if i < shared_len / page_len { seq_idx / batch * batch } else { seq_idx };
        PageId((seq_idx * n_pages + i) as u32)
    };
    let dim = (batch * q_len, n_heads, head_dim);
    let q = pattern::buffer(dim.0 * n_heads * head_dim, |i| {
        let (row, head) = (i / (n_heads * head_dim), i / head_dim % n_heads);
        pattern::query(kv_len - q_len + row % q_len, head, i % head_dim)
    });
    let offsets = |step: usize| (0..=batch).map(|i| (i * step) as u32).collect::<Vec<u32>>();
    let (row_offsets, page_offsets) = (offsets(q_len), offsets(n_pages));
    let starts = vec![(kv_len - q_len) as u32; batch];
    let pages: Vec<PageId> =
        (0..copies * batch).flat_map(|seq_idx| (0..n_pages).map(move |i| page(seq_idx, i))).collect();
    let mut out = Buffer::zeroed(q.len());
    let mut turn = 0;
    let mut attend = move |out: &mut [f32]| -> Result<_> {
        turn = (turn + 1) % copies;
        let pages = &pages[turn * batch * n_pages..][..batch * n_pages];
        let ragged = Ragged { row_offsets: &row_offsets, starts: &starts, page_offsets: &page_offsets, pages };
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (q, out) = (ArrayView3::from_shape(dim, &q)?, ArrayViewMut3::from_shape(dim, out)?);
        let args = AttentionArgs { layer: 0, q, ragged, scale, window: None };
        let began = Instant::now();
        kv.attention(&args, out)?;
        Ok(began.elapsed())
    };
    attend(&mut out)?;
    let check = pattern::ends(&out);
    Ok(Prepared { run: Box::new(move || attend(&mut out)), check })
}

/// Fills `tokens` of a sequence that lies in the pages from `first_page` on.
fn fill(kv: &mut dyn KvPages, first_page: usize, tokens: Range<usize>, page_len: usize) -> Result<()> {
    let (n_heads, head_dim) = (kv.spec().n_kv_heads, kv.spec().head_dim);
    let shape = (pattern::KV_PERIOD, n_heads, head_dim);
    let keys = Array3::from_shape_fn(shape, |(token, head, i)| pattern::key(token, head, i));
    let values = Array3::from_shape_fn(shape, |(token, head, i)| pattern::value(token, head, i));
    let mut first = tokens.start;
    while first < tokens.end {
        let skip = first % pattern::KV_PERIOD;
        let len = (pattern::KV_PERIOD - skip).min(tokens.end - first);
        let slot =
            |token: usize| Slot { page: PageId((first_page + token / page_len) as u32), slot_idx: token % page_len };
        let at: Vec<Slot> = (first..first + len).map(slot).collect();
        kv.append(0, keys.slice(s![skip..skip + len, .., ..]), values.slice(s![skip..skip + len, .., ..]), &at)?;
        first += len;
    }
    Ok(())
}
