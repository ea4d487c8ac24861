//! The two public kernels at shapes of real models, on every table of this machine. Each is compared with the reference before it is timed.
//!
//!     cargo bench --bench kernels -- matmul/smollm2-135m

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use longhaul::backend::Backend;
use longhaul::cpu::{self, CpuOptions};
use longhaul::dtype::Dtype;
use longhaul::reference;
use longhaul::spec::{AttentionArgs, KvSpec, PageId, Ragged, Slot, WeightDtype, WeightView};
use ndarray::{Array2, Array3};

/// Name, K, N: one projection of a model.
const MATRICES: [(&str, usize, usize); 3] =
    [("smollm2-135m/gate", 576, 1_536), ("smollm2-135m/down", 1_536, 576), ("llama-3.2-1b/o", 2_048, 2_048)];

/// Name, query rows, context: append-prefill and decode.
const CONTEXTS: [(&str, usize, usize); 3] = [("decode", 1, 8_192), ("append", 64, 8_192), ("prefill", 512, 512)];

fn backends() -> Vec<Box<dyn Backend>> {
    let open = |table: &str| cpu::open(&CpuOptions { table: Some(table.into()), ..Default::default() });
    cpu::tables().iter().filter(|t| t.available).map(|t| open(t.name).expect("the table is there")).collect()
}

/// Numbers between -1 and 1 that look random.
fn numbers(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        half::bf16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0).to_f32()
    }
}

fn matmul(c: &mut Criterion) {
    for (name, k, n) in MATRICES {
        let mut next = numbers(1);
        let weights: Vec<f32> = (0..n * k).map(|_| next()).collect();
        let mut bytes = vec![0; n * k * 2];
        Dtype::Bf16.narrow(&weights, &mut bytes);
        let view = WeightView { name, n, k, dtype: Dtype::Bf16, bytes: bytes.into() };
        let w = Array2::from_shape_vec((n, k), weights).expect("n by k").mapv(f64::from);
        let mut group = c.benchmark_group(format!("matmul/{name}"));
        for backend in backends() {
            let packed = backend.pack(&view, WeightDtype::Bf16).expect("bf16 packs");
            for m in [1, 16, 512] {
                let x = Array2::from_shape_simple_fn((m, k), &mut next);
                let mut out = Array2::zeros((m, n));
                packed.matmul(x.view(), out.view_mut()).expect("shapes agree");
                let first = reference::matmul(x.slice(ndarray::s![..1, ..]).mapv(f64::from).view(), w.view(), None);
                let worst = first.iter().zip(&out).map(|(e, g)| (e - f64::from(*g)).abs()).fold(0.0, f64::max);
                // |x| and |w| are at most 1: K roundings of a sum of at most K.
                assert!(worst <= (k * k) as f64 * f64::from(f32::EPSILON), "{name}: off by {worst}");
                group.throughput(Throughput::Elements((2 * m * n * k) as u64));
                group.bench_function(BenchmarkId::new(&backend.caps().name, format!("m{m}")), |b| {
                    b.iter(|| packed.matmul(black_box(x.view()), out.view_mut()).expect("shapes agree"));
                });
            }
        }
    }
}

fn attention(c: &mut Criterion) {
    let (n_kv_heads, group_len, head_dim) = (3, 3, 64);
    let spec = KvSpec { n_layers: 1, n_kv_heads, head_dim, dtype: Dtype::Bf16 };
    let mut group = c.benchmark_group("attention/smollm2-135m");
    for backend in backends() {
        for (name, n_tokens, kv_len) in CONTEXTS {
            let n_pages = kv_len.div_ceil(backend.caps().page_len);
            let mut next = numbers(2);
            let mut kv = backend.kv(&spec, n_pages).expect("a small cache");
            let k = Array3::from_shape_simple_fn((kv_len, n_kv_heads, head_dim), &mut next);
            let v = Array3::from_shape_simple_fn((kv_len, n_kv_heads, head_dim), &mut next);
            let page_len = backend.caps().page_len;
            let slot = |i: usize| Slot { page: PageId((i / page_len) as u32), slot_idx: i % page_len };
            let slots: Vec<Slot> = (0..kv_len).map(slot).collect();
            kv.append(0, k.view(), v.view(), &slots).expect("room for all");
            let q = Array3::from_shape_simple_fn((n_tokens, n_kv_heads * group_len, head_dim), &mut next);
            let pages: Vec<PageId> = (0..n_pages as u32).map(PageId).collect();
            let (rows, starts, page_offsets) =
                ([0, n_tokens as u32], [(kv_len - n_tokens) as u32], [0, n_pages as u32]);
            let ragged = Ragged { row_offsets: &rows, starts: &starts, page_offsets: &page_offsets, pages: &pages };
            let args = AttentionArgs { layer: 0, q: q.view(), ragged, scale: 0.125, window: None };
            let mut out = Array3::zeros(q.dim());
            kv.attention(&args, out.view_mut()).expect("shapes agree");
            check_last_row(&args, &k, &v, &out);
            group.throughput(Throughput::Elements(args.flops()));
            group.bench_function(BenchmarkId::new(&backend.caps().name, name), |b| {
                b.iter(|| kv.attention(black_box(&args), out.view_mut()).expect("shapes agree"));
            });
        }
    }
}

/// The last row sees everything; its weights are averages of values in [-1, 1], and bf16 rounding of weights moves them by 2^-8 at most.
fn check_last_row(args: &AttentionArgs<'_>, k: &Array3<f32>, v: &Array3<f32>, out: &Array3<f32>) {
    let last = args.q.dim().0 - 1;
    let q = args.q.slice(ndarray::s![last.., .., ..]).mapv(f64::from);
    let (k, v) = (k.mapv(f64::from), v.mapv(f64::from));
    let expected = reference::attention(&reference::Attention {
        q: q.view(),
        k: k.view(),
        v: v.view(),
        start: k.dim().0 - 1,
        scale: args.scale.into(),
        window: None,
    });
    let got = out.slice(ndarray::s![last.., .., ..]);
    let worst = expected.iter().zip(&got).map(|(e, g)| (e - f64::from(*g)).abs()).fold(0.0, f64::max);
    assert!(worst <= 1.0 / 256.0, "attention is off by {worst}");
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    targets = matmul, attention
}
criterion_main!(benches);
