//! The operations other than attention. Vectors have [`REDUCE_LANES`] lanes, products a depth that is a multiple of
//! [`TILE_DEPTH`].

use half::bf16;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut3, s};

use super::Arithmetic;
use super::dots::{flush, pair_sum, tile_sum};
use crate::dtype::Dtype;
use crate::spec::contract::{REDUCE_LANES, TILE_DEPTH};
use crate::spec::{RopeConfig, WeightDtype};

impl Arithmetic {
    /// `out[m, n] = sum_k x[m, k] w[n, k] + bias[n]`, as [`reference::matmul`](crate::reference::matmul), on weights
    /// that are rounded or quantised to `dtype` first.
    ///
    /// # Panics
    /// If K or N disagree, or K has no groups of the type's length.
    pub fn matmul(
        self,
        x: ArrayView2<'_, f32>,
        w: ArrayView2<'_, f32>,
        dtype: WeightDtype,
        bias: Option<ArrayView1<'_, f32>>,
    ) -> Array2<f32> {
        assert_eq!(x.ncols(), w.ncols(), "K of x and of w");
        assert!(bias.is_none_or(|b| b.len() == w.nrows()), "N of w and of the bias");
        let with_bias = |n: usize, y: f32| bias.map_or(y, |b| y + b[n]);
        let Some(float) = dtype.float() else {
            let y = self.quantised_matmul(x, w, dtype);
            return Array2::from_shape_fn(y.dim(), |(m, n)| with_bias(n, y[[m, n]]));
        };
        let x: Vec<_> = x.rows().into_iter().map(|row| self.left_operand(row, float)).collect();
        let w: Vec<_> = w.rows().into_iter().map(|row| padded(rounded(row, float).view())).collect();
        Array2::from_shape_fn((x.len(), w.len()), |(m, n)| with_bias(n, self.dot(&x[m], &w[n], float)))
    }

    /// A row as the left operand of products with weights of `dtype`.
    pub(super) fn left_operand(self, row: ArrayView1<'_, f32>, dtype: Dtype) -> Vec<f32> {
        let mut row = padded(row);
        if dtype == Dtype::Bf16 && self.rounds_left_operands() {
            row.iter_mut().for_each(|x| *x = bf16::from_f32(flush(*x)).to_f32());
        }
        row
    }

    /// `sum_k x[k] w[k]` of a left operand and a row of weights, both padded.
    pub(super) fn dot(self, x: &[f32], w: &[f32], dtype: Dtype) -> f32 {
        assert!(x.len() == w.len() && x.len().is_multiple_of(TILE_DEPTH), "operands are padded");
        match self {
            Self::Amx if dtype == Dtype::Bf16 => {
                let tiles = x.chunks_exact(TILE_DEPTH).zip(w.chunks_exact(TILE_DEPTH));
                tiles.fold(0.0, |acc, (x, w)| tile_sum(acc, x, w))
            }
            Self::Pairs if dtype == Dtype::Bf16 => {
                let pairs = x.as_chunks().0.iter().zip(w.as_chunks().0);
                pairs.fold(0.0, |acc, (x, w)| pair_sum(acc, *x, *w))
            }
            _ => x.iter().zip(w).fold(0.0, |acc, (x, w)| self.mul_add(*x, *w, acc)),
        }
    }

    /// Whether a product with bf16 takes its left operand rounded to bf16.
    pub fn rounds_left_operands(self) -> bool {
        matches!(self, Self::Pairs | Self::Amx)
    }

    /// RMSNorm of every row of `x[M, D]`, as [`reference::rms_norm`](crate::reference::rms_norm).
    ///
    /// # Panics
    /// If D disagrees.
    pub fn rms_norm(self, x: ArrayView2<'_, f32>, weight: ArrayView1<'_, f32>, eps: f32) -> Array2<f32> {
        assert_eq!(x.ncols(), weight.len(), "D of x and of the weight");
        let mut out = x.to_owned();
        for mut row in out.rows_mut() {
            let sum = reduce(row.iter().copied(), |sum, x| self.mul_add(x, x, sum));
            let factor = 1.0 / (sum / row.len() as f32 + eps).sqrt();
            row.zip_mut_with(&weight, |x, w| *x = (*x * factor) * w);
        }
        out
    }

    /// Rotary position embedding of `x[n_tokens, n_heads, head_dim]` in place, as
    /// [`reference::rope`](crate::reference::rope); the same on every table.
    ///
    /// # Panics
    /// If there are not as many positions as tokens.
    pub fn rope(self, mut x: ArrayViewMut3<'_, f32>, positions: &[usize], config: &RopeConfig) {
        let (n_tokens, n_heads, head_dim) = x.dim();
        assert_eq!(positions.len(), n_tokens, "positions and tokens");
        let frequencies = config.frequencies(head_dim);
        for (t, &position) in positions.iter().enumerate() {
            for (i, frequency) in frequencies.iter().enumerate() {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (sin, cos) = (sin as f32, cos as f32);
                for h in 0..n_heads {
                    let mut head = x.slice_mut(s![t, h, ..]);
                    let (a, b) = (head[i], head[i + head_dim / 2]);
                    head[i] = a * cos - b * sin;
                    head[i + head_dim / 2] = b * cos + a * sin;
                }
            }
        }
    }

    /// `silu(gate) * up`, element by element, as [`reference::silu_gate`](crate::reference::silu_gate).
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn silu_gate(self, gate: ArrayView2<'_, f32>, up: ArrayView2<'_, f32>) -> Array2<f32> {
        assert_eq!(gate.dim(), up.dim(), "shapes of gate and up");
        let mut out = gate.to_owned();
        out.zip_mut_with(&up, |g, u| *g = *g / (1.0 + self.exp(0.0 - *g)) * u);
        out
    }

    /// `e^x`: 1 at 0, 0 below -87.3, and `e^88` from 88 on.
    pub fn exp(self, x: f32) -> f32 {
        let x = if x > 88.0 { 88.0 } else { x };
        let biased = self.mul_add(x, std::f32::consts::LOG2_E, ROUND_AND_BIAS);
        let n = biased - ROUND_AND_BIAS;
        let r = self.mul_add(n, -0.693_359_4, x);
        let r = self.mul_add(n, 2.121_944_4e-4, r);
        let coefficients = [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_3e-1];
        let p = coefficients.into_iter().fold(1.987_569_1e-4, |p, c| self.mul_add(p, r, c));
        let y = self.mul_add(r * r, p, r) + 1.0;
        if x < -87.3 { 0.0 } else { y * f32::from_bits(biased.to_bits() << 23) }
    }

    /// `2^x` for x up to 127: 1 at 0, 0 below -126.
    pub fn exp2(self, x: f32) -> f32 {
        let biased = x + ROUND_AND_BIAS;
        let r = x - (biased - ROUND_AND_BIAS);
        #[expect(clippy::approx_constant, reason = "the polynomial's own, a little less than ln 2")]
        let coefficients = [9.671_513e-3, 5.550_733_6e-2, 2.402_224_2e-1, 6.931_47e-1, 1.0];
        let p = coefficients.into_iter().fold(1.326_472_7e-3, |p, c| self.mul_add(p, r, c));
        if x < -126.0 { 0.0 } else { p * f32::from_bits(biased.to_bits() << 23) }
    }
}

/// 1.5 * 2^23 + 127
const ROUND_AND_BIAS: f32 = 12_583_039.0;

/// Folds element `i` into lane `i % REDUCE_LANES` by `add(lane, element)`, then the upper half of the lanes onto the
/// lower until one is left.
pub(super) fn reduce(row: impl Iterator<Item = f32>, add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; REDUCE_LANES];
    for (i, x) in row.enumerate() {
        let lane = &mut lanes[i % REDUCE_LANES];
        *lane = add(*lane, x);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// The row, rounded to `dtype`.
pub(super) fn rounded(row: ArrayView1<'_, f32>, dtype: Dtype) -> Array1<f32> {
    let (mut elements, mut bytes) = (row.to_vec(), vec![0; row.len() * dtype.size_bytes()]);
    dtype.narrow(&elements, &mut bytes);
    dtype.widen(&bytes, &mut elements);
    elements.into()
}

/// The row, filled up with zeros to a multiple of the depth of a tile.
fn padded(row: ArrayView1<'_, f32>) -> Vec<f32> {
    let mut row = row.to_vec();
    row.resize(row.len().next_multiple_of(TILE_DEPTH), 0.0);
    row
}
