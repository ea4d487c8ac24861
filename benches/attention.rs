//! Causal attention over pages: the sweep of agent workloads at Llama-3.1-8B's heads, and SmolLM2-135M's. Each case has
//! the bits of the emulation, which tests hold to the reference, or is not timed; prints the share of the lower roof,
//! which is measured in the same run.
//!
//!     cargo bench --bench attention                                         # some of each kind, the chosen table, all threads
//!     cargo bench --bench attention -- 'kernel-sweep/decode/b(1|8)/kv32k/'
//!     cargo bench --bench attention -- 'kernel-sweep/append/q512/.*/amx/2-threads'
//!
//! `append/qQ/kvL` appends Q tokens behind L; `decode/bB/kvL` has B sequences of L tokens; `shared15k/bB` has B
//! sequences of 16,000 of which 14,848 (58 pages) are shared, and `private16k/bB` the same of which none are;
//! `.../window4k` sees 4,096 keys at most; `.../int8kv` has keys and values in int8, everything else in bf16. k is
//! 1,000. In decode the pages rotate through 1.25 GiB at least. What does not fit into half of the memory is left out,
//! and said.

mod common;

use common::{Roofs, Setup};
use criterion::{Criterion, criterion_group, criterion_main};
use longhaul::backend::Backend;
use longhaul::cpu::trial::{AttentionShape, AttentionTrial, Heads, SHARED_LEN, Trial};
use longhaul::spec::KvDtype;
use longhaul::spec::contract::PAGE_LEN;
use longhaul::{cpu, emulation};
use ndarray::{Array3, s};

const APPENDED: [usize; 8] = [128, 256, 512, 700, 1_000, 2_000, 4_000, 16_000];
const CONTEXTS: [usize; 6] = [8_000, 32_000, 64_000, 104_000, 131_000, 234_000];
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 32];
const PREFILLS: [usize; 3] = [512, 2_000, 8_000];

/// What runs when nothing is selected.
const DEFAULT: [&str; 9] = [
    "smollm2-135m/decode/b1/kv8k",
    "smollm2-135m/prefill/2k",
    "kernel-sweep/append/q512/kv8k",
    "kernel-sweep/decode/b1/kv32k",
    "kernel-sweep/decode/b1/kv32k/int8kv",
    "kernel-sweep/decode/b8/kv8k",
    "kernel-sweep/shared15k/b8",
    "kernel-sweep/private16k/b8",
    "llama-3.1-8b/prefill/2k",
];

fn attention(criterion: &mut Criterion) {
    let mut roofs = Roofs::default();
    let memory = cpu::machine().memory_limit_bytes / 2;
    for setup in Setup::all() {
        for shape in shapes() {
            if common::n_filters() == 0 && !DEFAULT.contains(&shape.name.as_str()) {
                continue;
            }
            let needed = shape.pool_bytes(PAGE_LEN, 1);
            if needed > memory {
                println!("attention/{} is left out: its pages take {} GiB", shape.name, needed >> 30);
                continue;
            }
            let name = format!("attention/{}", shape.name);
            common::time(criterion, Some(&mut roofs), &name, &setup, shape.cost(), |backend| ready(&shape, backend));
        }
    }
}

fn shapes() -> Vec<AttentionShape> {
    let shape = |heads, name: String, n_seqs, n_rows, kv_len, shared_len| AttentionShape {
        name,
        heads,
        kv: KvDtype::Bf16,
        n_seqs,
        n_rows,
        kv_len,
        shared_len,
        window: None,
    };
    let (large, small) = (Heads::LLAMA31_8B, Heads::SMOLLM2_135M);
    let mut shapes = Vec::new();
    for kv in CONTEXTS {
        for q in APPENDED {
            shapes.push(shape(large, format!("kernel-sweep/append/q{}/kv{}", k(q), k(kv)), 1, q, kv + q, 0));
        }
        for batch in BATCHES {
            shapes.push(shape(large, format!("kernel-sweep/decode/b{batch}/kv{}", k(kv)), batch, 1, kv, 0));
        }
    }
    for batch in BATCHES {
        shapes.push(shape(large, format!("kernel-sweep/shared15k/b{batch}"), batch, 1, 16_000, SHARED_LEN));
        shapes.push(shape(large, format!("kernel-sweep/private16k/b{batch}"), batch, 1, 16_000, 0));
    }
    for len in PREFILLS {
        shapes.push(shape(large, format!("llama-3.1-8b/prefill/{}", k(len)), 1, len, len, 0));
        shapes.push(shape(small, format!("smollm2-135m/prefill/{}", k(len)), 1, len, len, 0));
    }
    for kv in [1_000, 8_000] {
        shapes.push(shape(small, format!("smollm2-135m/decode/b1/kv{}", k(kv)), 1, 1, kv, 0));
    }
    for (n_rows, name) in [(1, "decode/b1/kv8k/window4k"), (512, "append/q512/kv8k/window4k")] {
        let narrow = shape(large, format!("kernel-sweep/{name}"), 1, n_rows, 8_000, 0);
        shapes.push(AttentionShape { window: Some(4_096), ..narrow });
    }
    // Where keys and values are most of what is read or attended.
    let in_int8 = |name: &str| ["/decode/", "append/q512/", "prefill/2k"].iter().any(|part| name.contains(part));
    let int8: Vec<_> = shapes.iter().filter(|shape| in_int8(&shape.name)).cloned().collect();
    let renamed = |s: AttentionShape| AttentionShape { name: s.name + "/int8kv", kv: KvDtype::Int8, ..s };
    shapes.extend(int8.into_iter().map(renamed));
    shapes
}

/// `8k` for 8,000.
fn k(n: usize) -> String {
    if n.is_multiple_of(1_000) { format!("{}k", n / 1_000) } else { n.to_string() }
}

/// Makes the shape ready, and asks for the bits of the emulation in two rows: one in the middle of the first sequence,
/// in its first head, and the last one of the last sequence, which sees most, in its last head.
fn ready(shape: &AttentionShape, backend: &dyn Backend) -> AttentionTrial {
    let mut trial = shape.ready(backend, 1).expect("it fits into memory");
    trial.call().expect("shapes agree");
    check(shape, &trial, backend, (0, shape.n_rows / 2), 0);
    check(shape, &trial, backend, (shape.n_seqs - 1, shape.n_rows - 1), shape.heads.n_heads - 1);
    trial
}

/// Compares a head of row `row` of sequence `seq` with the emulation.
fn check(
    shape: &AttentionShape,
    trial: &AttentionTrial,
    backend: &dyn Backend,
    (seq, row): (usize, usize),
    head: usize,
) {
    let kv_head = head / (shape.heads.n_heads / shape.heads.n_kv_heads);
    let start = shape.kv_len - shape.n_rows + row;
    let page_len = backend.caps().page_len;
    let [k, v] = trial.distinct().map(|x| {
        let element = |(i, _, dim): (usize, usize, usize)| x[[trial.distinct_row(seq, i, page_len), kv_head, dim]];
        Array3::from_shape_fn((start + 1, 1, shape.heads.head_dim), element)
    });
    let at = seq * shape.n_rows + row;
    let row_of = s![at..=at, head..=head, ..];
    let expected = common::arithmetic(&backend.caps().name).attention(&emulation::Attention {
        q: trial.q().slice(row_of),
        k: k.view(),
        v: v.view(),
        kv: shape.kv,
        start,
        scale: trial.scale(),
        window: shape.window,
    });
    assert_eq!(trial.out().slice(row_of), expected, "{} on {}", shape.name, backend.caps().name);
}

criterion_group! { name = benches; config = common::criterion(); targets = attention }
criterion_main!(benches);
