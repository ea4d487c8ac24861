//! One row times a matrix that lies in memory and not in a cache: bytes of weights a second, against what a plain read of as much memory reaches
//! in the same run.
//!
//!     cargo bench --bench stream -- 2-threads
//!
//! The matrices rotate through more than a GiB. The `dram` roof is printed before, between and after. Each case is compared with the reference before it
//! is timed.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use longhaul::backend::{Backend, PackedMatrix};
use longhaul::cpu::{self, CpuOptions, roofline};
use longhaul::dtype::Dtype;
use longhaul::reference;
use longhaul::spec::{WeightDtype, WeightView};
use ndarray::{Array2, ArrayView2};

/// `llama-3.1-8b/gate`.
const K: usize = 4_096;
const N: usize = 14_336;

const DTYPES: [WeightDtype; 4] = [WeightDtype::Bf16, WeightDtype::INT8_CHANNEL, WeightDtype::INT8, WeightDtype::Int4];

/// What must pass before a matrix comes again.
const ROTATED_BYTES: u64 = (1 << 30) + (1 << 28);

/// Outputs that are compared with the reference.
const CHECKED: usize = 64;

fn stream(c: &mut Criterion) {
    for n_threads in [1, 2] {
        dram();
        for table in cpu::tables().into_iter().filter(|t| t.available && t.name != "portable") {
            let options = CpuOptions { table: Some(table.name.into()), threads: Some(n_threads), ..Default::default() };
            let backend = cpu::open(&options).expect("the table is there");
            matrices(c, &*backend);
        }
    }
    dram();
}

/// Prints what a plain read reaches at this minute.
fn dram() {
    let roofs = roofline::measure(2);
    let dram = roofs.iter().find(|roof| roof.name == "dram").expect("memory is a roof");
    println!(
        "dram roof: 1 thread {:.1} GB/s (best {:.1}), 2 threads {:.1} GB/s (best {:.1})",
        dram.one_thread.median, dram.one_thread.best, dram.all_threads.median, dram.all_threads.best
    );
}

fn matrices(c: &mut Criterion, backend: &dyn Backend) {
    let (name, k, n) = ("llama-3.1-8b/gate", K, N);
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        half::bf16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0).to_f32()
    };
    let weights: Vec<f32> = (0..n * k).map(|_| next()).collect();
    let mut bytes = vec![0; n * k * 2];
    Dtype::Bf16.narrow(&weights, &mut bytes);
    let view = WeightView { name, n, k, dtype: Dtype::Bf16, bytes: bytes.into() };
    let x = Array2::from_shape_simple_fn((1, k), &mut next);
    let checked = ArrayView2::from_shape((CHECKED, k), &weights[..CHECKED * k]).expect("64 rows").mapv(f64::from);
    let exact = reference::matmul(x.mapv(f64::from).view(), checked.view(), None);
    let mut group = c.benchmark_group(format!("stream/{name}-m1"));
    for dtype in DTYPES {
        let n_matrices = ROTATED_BYTES.div_ceil(dtype.bytes(n, k));
        let packed: Vec<Box<dyn PackedMatrix>> =
            (0..n_matrices).map(|_| backend.pack(&view, dtype).expect("all tables take it")).collect();
        let mut out = Array2::zeros((1, n));
        packed[0].matmul(x.view(), out.view_mut()).expect("shapes agree");
        // Numbers are below 1. Rounding a sum of K of them costs K K 2^-24 at most; half a step of either operand is 1/254, or 1/15.
        let steps = match dtype {
            WeightDtype::Int4 => 1.0 / 15.0 + 1.0 / 254.0 + 0.01,
            WeightDtype::Int8 { .. } => 2.0 / 254.0 + 0.01,
            // Where the row is rounded to bf16.
            _ => 1.0 / 256.0,
        };
        let worst = exact.iter().zip(&out).map(|(e, g)| (e - f64::from(*g)).abs()).fold(0.0, f64::max);
        assert!(worst <= k as f64 * (steps + k as f64 * f64::from(f32::EPSILON)), "{name} {dtype}: off by {worst}");
        let (caps, mut turn) = (backend.caps(), 0);
        group.throughput(Throughput::BytesDecimal(dtype.bytes(n, k)));
        group.bench_function(
            BenchmarkId::new(format!("{dtype}/{}", caps.name), format!("{}-threads", caps.n_threads)),
            |b| {
                b.iter(|| {
                    turn = (turn + 1) % packed.len();
                    packed[turn].matmul(black_box(x.view()), out.view_mut()).expect("shapes agree");
                });
            },
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    targets = stream
}
criterion_main!(benches);
