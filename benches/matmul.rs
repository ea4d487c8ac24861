//! `y[M, N] = x[M, K] W[N, K]^T` with the matrices of real models. Each case has the bits of the emulation, which tests
//! hold to the reference, or is not timed; prints the share of the lower roof, which is measured in the same run.
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
use longhaul::spec::WeightDtype;
use longhaul::spec::synthetic::Preset;
use ndarray::s;

const MODELS: [Preset; 3] = [Preset::SmolLm2_135m, Preset::Llama32_1b, Preset::Llama31_8b];
const ROWS: [usize; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 512, 1_024, 2_048, 8_192];
const DTYPES: [WeightDtype; 5] =
    [WeightDtype::Bf16, WeightDtype::F32, WeightDtype::INT8, WeightDtype::INT8_CHANNEL, WeightDtype::Int4];

/// Outputs that are compared with the emulation, at either end: two panels.
const CHECKED: usize = 32;

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
            common::time(criterion, Some(&mut roofs), &name, &setup, shape.cost(), |backend| ready(&shape, backend));
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

/// Makes the shape ready, and asks for the bits of the emulation in the first and the last outputs of the first and the
/// last row.
fn ready(shape: &MatmulShape, backend: &dyn Backend) -> MatmulTrial {
    let mut trial = shape.ready(backend, 1).expect("every table takes every dtype");
    trial.call().expect("shapes agree");
    for outputs in [0..CHECKED, shape.n - CHECKED..shape.n] {
        let weights = shape.weights(outputs.clone());
        for row in [0, shape.m - 1] {
            let x = trial.x();
            let x = x.slice(s![row..=row, ..]);
            let expected = common::arithmetic(&backend.caps().name).matmul(x, weights.view(), shape.dtype, None);
            let out = trial.out();
            let got = out.slice(s![row..=row, outputs.clone()]);
            assert_eq!(got, expected, "{} on {}, row {row}", shape.name(), backend.caps().name);
        }
    }
    trial
}

criterion_group! { name = benches; config = common::criterion(); targets = matmul }
criterion_main!(benches);
