//! `y[M, N] = x[M, K] W[N, K]^T` with the matrices of real models, each compared with the reference before it is timed; prints the share of the
//! lower roof, which is measured in the same run.
//!
//!     cargo bench --bench matmul                                              # a few shapes, the chosen table, all threads
//!     cargo bench --bench matmul -- 'llama-3.1-8b/(gate|down)/m1/'            # all dtypes, tables, threads
//!     cargo bench --bench matmul -- 'smollm2-135m/gate/m[0-9]+/bf16/amx/2-threads'
//!
//! Up to M = 16 the weights rotate through 1.25 GiB.

mod common;

use common::{Roofs, Setup};
use criterion::{Criterion, criterion_group, criterion_main};
use longhaul::backend::Backend;
use longhaul::cpu::trial::{MatmulShape, MatmulTrial, Trial};
use longhaul::reference;
use longhaul::spec::WeightDtype;
use longhaul::spec::synthetic::Preset;
use ndarray::s;

const MODELS: [Preset; 3] = [Preset::SmolLm2_135m, Preset::Llama32_1b, Preset::Llama31_8b];
const ROWS: [usize; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 512, 1_024, 2_048, 8_192];
const DTYPES: [WeightDtype; 5] =
    [WeightDtype::Bf16, WeightDtype::F32, WeightDtype::INT8, WeightDtype::INT8_CHANNEL, WeightDtype::Int4];

/// Outputs and rows that are compared with the reference.
const CHECKED: usize = 64;

/// What runs when nothing is selected: model, matrix, rows.
#[rustfmt::skip]
const DEFAULT: [(Preset, &str, &[usize], &[WeightDtype]); 4] = [
    (Preset::SmolLm2_135m, "gate", &[1, 16, 512, 2_048], &[WeightDtype::Bf16]),
    (Preset::SmolLm2_135m, "down", &[512], &[WeightDtype::Bf16]),
    (Preset::Llama31_8b, "gate", &[1, 16, 512], &[WeightDtype::Bf16]),
    (Preset::Llama31_8b, "gate", &[1], &[WeightDtype::INT8, WeightDtype::Int4]),
];

fn matmul(criterion: &mut Criterion) {
    let mut roofs = Roofs::default();
    for setup in Setup::all() {
        for shape in if common::n_filters() > 0 { all() } else { defaults() } {
            let name = format!("matmul/{}", shape.name());
            common::time(criterion, &mut roofs, &name, &setup, shape.cost(), |backend| ready(&shape, backend));
        }
    }
}

fn all() -> Vec<MatmulShape> {
    let mut shapes = Vec::new();
    for model in MODELS {
        for (matrix, [n, k]) in MatmulShape::matrices(model) {
            for dtype in DTYPES {
                shapes.extend(ROWS.map(|m| MatmulShape { matrix: matrix.clone(), m, n, k, dtype }));
            }
        }
    }
    shapes
}

fn defaults() -> Vec<MatmulShape> {
    let mut shapes = Vec::new();
    for (model, part, rows, dtypes) in DEFAULT {
        for &dtype in dtypes {
            shapes.extend(rows.iter().map(|&m| MatmulShape::new(model, part, m, dtype)));
        }
    }
    shapes
}

/// Makes the shape ready, and compares its first outputs with the reference, in the first and the last row.
fn ready(shape: &MatmulShape, backend: &dyn Backend) -> MatmulTrial {
    let mut trial = shape.ready(backend, 1).expect("every table takes every dtype");
    trial.call().expect("shapes agree");
    let weights = shape.weights(CHECKED).mapv(f64::from);
    for row in [0, shape.m - 1] {
        let x = trial.x().slice(s![row..=row, ..]).mapv(f64::from);
        let exact = reference::matmul(x.view(), weights.view(), None);
        let got = trial.out();
        let got = got.slice(s![row..=row, ..CHECKED]);
        let worst = exact.iter().zip(got).map(|(e, g)| (e - f64::from(*g)).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance(shape), "{} on {}: off by {worst}", shape.name(), backend.caps().name);
    }
    trial
}

/// Numbers are below 1. Rounding a sum of K of them costs K K 2^-24 at most; half a step of either operand is 1/254, or 1/15.
fn tolerance(shape: &MatmulShape) -> f64 {
    let steps = match shape.dtype {
        WeightDtype::Int4 => 1.0 / 15.0 + 1.0 / 254.0 + 0.01,
        WeightDtype::Int8 { .. } => 2.0 / 254.0 + 0.01,
        _ => 0.0,
    };
    shape.k as f64 * (steps + shape.k as f64 * f64::from(f32::EPSILON))
}

criterion_group! { name = benches; config = common::criterion(); targets = matmul }
criterion_main!(benches);
