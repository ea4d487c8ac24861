//! What happens to rows between products, on one thread with rows in its caches: RMSNorm, RoPE, the SiLU gate, and the
//! weights of a vocabulary from which a token is drawn. Each case has the bits of the emulation, which tests hold to
//! the reference, or is not timed. In a step the gate is fused with the product before it, and softmax lives in
//! attention; the bench `step` says what share of a step all of this has.
//!
//!     cargo bench --bench pointwise
//!     cargo bench --bench pointwise -- 'smollm2-135m/gate/.*/avx2'

mod common;

use common::Setup;
use criterion::{Criterion, criterion_group, criterion_main};
use longhaul::cpu::trial::{PointwiseOp, PointwiseShape, PointwiseTrial, Trial};
use longhaul::spec::Synthetic;
use longhaul::spec::synthetic::Preset;
use ndarray::{Array2, s};

const ROWS: [usize; 2] = [1, 64];

fn pointwise(criterion: &mut Criterion) {
    let mut setups = Setup::all();
    setups.iter_mut().for_each(|setup| setup.n_threads = 1);
    setups.dedup_by_key(|setup| setup.table);
    for setup in setups {
        for shape in shapes() {
            let name = format!("pointwise/{}", shape.name);
            common::time(criterion, None, &name, &setup, shape.cost(), |_| ready(&shape, setup.table));
        }
    }
}

fn shapes() -> Vec<PointwiseShape> {
    let mut shapes = Vec::new();
    for preset in [Preset::SmolLm2_135m, Preset::Llama31_8b] {
        let source = Synthetic::new(preset, 1);
        let config = source.config();
        let ops = [
            ("norm", PointwiseOp::RmsNorm, config.d_model),
            ("rope", PointwiseOp::Rope { head_dim: config.head_dim }, config.d_q()),
            ("gate", PointwiseOp::SiluGate, config.d_ff),
            ("vocabulary", PointwiseOp::VocabularyWeights, config.vocab),
        ];
        for (part, op, width) in ops {
            let name = |m: usize| format!("{}/{part}/m{m}", preset.name());
            shapes.extend(ROWS.map(|n_rows| PointwiseShape { name: name(n_rows), op, n_rows, width }));
        }
    }
    shapes
}

/// Makes the shape ready, and asks for the bits of the emulation in the last row.
fn ready(shape: &PointwiseShape, table: &str) -> PointwiseTrial {
    let mut trial = shape.ready(table).expect("the table is there");
    trial.call().expect("rows are there");
    let arithmetic = common::arithmetic(table);
    let x = trial.x();
    let last = x.slice(s![-1.., ..]);
    let expected = match shape.op {
        PointwiseOp::RmsNorm => arithmetic.rms_norm(last, x.row(0), PointwiseShape::EPS),
        PointwiseOp::Rope { head_dim } => rotated(last.to_owned(), trial.angles(head_dim)),
        PointwiseOp::SiluGate => {
            let part = |first: usize| {
                Array2::from_shape_fn((1, shape.width), |(_, i)| last[[0, i / 16 * 32 + first + i % 16]])
            };
            arithmetic.silu_gate(part(0).view(), part(16).view())
        }
        PointwiseOp::VocabularyWeights => last.mapv(|x| arithmetic.exp(x - 1.0)),
    };
    assert_eq!(trial.out().slice(s![-1.., ..]), expected, "{} on {table}", shape.name);
    trial
}

/// `a cos - b sin`, `b cos + a sin`, in each head; the emulation takes positions for angles.
fn rotated(mut x: Array2<f32>, [cos, sin]: [&[f32]; 2]) -> Array2<f32> {
    let half = cos.len();
    for head in x.as_slice_mut().expect("one row").chunks_exact_mut(2 * half) {
        let (low, high) = head.split_at_mut(half);
        for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
    x
}

criterion_group! { name = benches; config = common::criterion(); targets = pointwise }
criterion_main!(benches);
