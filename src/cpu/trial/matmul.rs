//! Products with the matrices of real models.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use super::{Cost, ROTATED_BYTES, Trial, numbers, rows, widen};
use crate::backend::{Backend, PackedMatrix};
use crate::cpu::Buffer;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::spec::synthetic::Preset;
use crate::spec::{WeightDtype, WeightView};

/// Rows up to which the weights count as read from memory once, and so rotate.
const ROTATED_ROWS: usize = 16;

/// `y[M, N] = x[M, K] W[N, K]^T` with a matrix of a model.
#[derive(Debug, Clone)]
pub struct MatmulShape {
    /// `MODEL/MATRIX`, as `llama-3.1-8b/down`.
    pub matrix: String,
    /// Rows.
    pub m: usize,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// What the weights run as.
    pub dtype: WeightDtype,
}

impl MatmulShape {
    /// The matrices that a step of a model multiplies with: `qkv`, `o`, `gate` (as `up`), `down` and `head`, with `[N,
    /// K]`.
    pub fn matrices(preset: Preset) -> [(String, [usize; 2]); 5] {
        let c = preset.config();
        let (d_q, d_kv) = (c.d_q(), c.d_kv());
        [
            ("qkv", [d_q + 2 * d_kv, c.d_model]),
            ("o", [c.d_model, d_q]),
            ("gate", [c.d_ff, c.d_model]),
            ("down", [c.d_model, c.d_ff]),
            ("head", [c.vocab, c.d_model]),
        ]
        .map(|(part, shape)| (format!("{preset}/{part}"), shape))
    }

    /// A product with the matrix `part` of a model, of those that [`MatmulShape::matrices`] names.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn new(preset: Preset, part: &str, m: usize, dtype: WeightDtype) -> Self {
        let wanted = format!("{preset}/{part}");
        let found = Self::matrices(preset).into_iter().find(|(name, _)| *name == wanted);
        let (matrix, [n, k]) = found.unwrap_or_else(|| panic!("{preset} has no matrix {part}"));
        Self { matrix, m, n, k, dtype }
    }

    /// `llama-3.1-8b/down/m1/bf16`
    pub fn name(&self) -> String {
        format!("{}/m{}/{}", self.matrix, self.m, self.dtype)
    }

    /// `2 M N K` operations; the bytes of the weights, and of x and y in f32.
    pub fn cost(&self) -> Cost {
        Cost {
            flops: 2 * (self.m * self.n * self.k) as u64,
            bytes: self.dtype.bytes(self.n, self.k) + 4 * (self.m * (self.n + self.k)) as u64,
            integers: self.dtype.float().is_none(),
            from_memory: self.m <= ROTATED_ROWS,
        }
    }

    /// Copies of the matrix that take turns when `n_trials` trials of this shape do.
    fn n_copies(&self, n_trials: usize) -> u64 {
        if self.m > ROTATED_ROWS {
            1
        } else {
            ROTATED_BYTES.div_ceil(self.dtype.bytes(self.n, self.k) * n_trials as u64)
        }
    }

    /// Rows `outputs` of the weights, before they are packed.
    pub fn weights(&self, outputs: Range<usize>) -> Array2<f32> {
        let mut next = numbers(1);
        for _ in 0..outputs.start * self.k {
            next();
        }
        Array2::from_shape_simple_fn((outputs.len(), self.k), || widen(next()))
    }

    /// Packs the weights and makes rows for them. `n_trials` is how many trials of this shape take turns: together they
    /// read more than any cache holds.
    ///
    /// # Errors
    /// When the backend does not take the weights.
    pub fn ready(&self, backend: &dyn Backend, n_trials: usize) -> Result<MatmulTrial> {
        let mut next = numbers(1);
        let bytes: Vec<u8> = (0..self.n * self.k).flat_map(|_| next().to_le_bytes()).collect();
        let view = WeightView { name: &self.matrix, n: self.n, k: self.k, dtype: Dtype::Bf16, bytes: bytes.into() };
        let copies = (0..self.n_copies(n_trials)).map(|_| backend.pack(&view, self.dtype)).collect::<Result<_>>()?;
        let (x, out) = (rows(self.m * self.k, 2), Buffer::zeroed(self.m * self.n));
        Ok(MatmulTrial { copies, turn: 0, shape: [self.m, self.n, self.k], x, out })
    }
}

/// A product that can be repeated.
pub struct MatmulTrial {
    copies: Vec<Box<dyn PackedMatrix>>,
    turn: usize,
    /// M, N, K
    shape: [usize; 3],
    x: Buffer<f32>,
    out: Buffer<f32>,
}

impl MatmulTrial {
    /// `[M, K]`
    pub fn x(&self) -> ArrayView2<'_, f32> {
        let [m, _, k] = self.shape;
        ArrayView2::from_shape((m, k), &self.x).expect("as many elements")
    }

    /// `[M, N]` what the last call left.
    pub fn out(&self) -> ArrayView2<'_, f32> {
        let [m, n, _] = self.shape;
        ArrayView2::from_shape((m, n), &self.out).expect("as many elements")
    }
}

impl Trial for MatmulTrial {
    fn call(&mut self) -> Result<()> {
        self.turn = (self.turn + 1) % self.copies.len();
        let [m, n, k] = self.shape;
        let x = ArrayView2::from_shape((m, k), &self.x).expect("as many elements");
        let out = ArrayViewMut2::from_shape((m, n), &mut self.out).expect("as many elements");
        self.copies[self.turn].matmul(x, out)
    }
}
