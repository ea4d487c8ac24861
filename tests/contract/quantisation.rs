//! How far quantised weights may be off.

use longhaul::spec::WeightDtype;
use ndarray::{Array2, ArrayView1};

use super::F32_ROUNDING;

/// What quantising `x[M, K]` and `w[N, K]` to `dtype` may change in each element of `x w^T`; nothing where they are not
/// quantised.
///
/// A code is off by half a step at most, so a product is off by `|x| dw + dx |w| + dx dw`. The steps are `largest /
/// 127`, and with 4 bits `s = (largest - smallest) / 15`; there the grid is off itself by the rounding to bf16 of s, up
/// to 15 times, and of the smallest. Groups are scaled and added in f32: as many roundings of all that is added, which
/// has the smallest as a summand of its own.
pub fn quantisation(x: &Array2<f32>, w: &Array2<f32>, dtype: WeightDtype) -> Array2<f64> {
    let Some(group_len) = dtype.group_len(x.ncols()) else { return Array2::zeros((x.nrows(), w.nrows())) };
    let of_x = x.map_axis(ndarray::Axis(1), |row| errors(row, group_len, WeightDtype::INT8_CHANNEL));
    let of_w = w.map_axis(ndarray::Axis(1), |row| errors(row, group_len, dtype));
    let n_roundings = (2 * x.ncols().div_ceil(group_len) + 4) as f64;
    Array2::from_shape_fn((x.nrows(), w.nrows()), |(m, n)| {
        let terms = of_x[m].iter().zip(&of_w[n]).map(|(x, w)| {
            let quantised = x.size * w.error + x.error * (w.size + w.error);
            quantised + n_roundings * F32_ROUNDING * (x.size + x.error) * w.largest
        });
        terms.sum()
    })
}

/// An element of an operand.
struct Element {
    size: f64,
    error: f64,
    /// What may be added for it.
    largest: f64,
}

fn errors(row: ArrayView1<'_, f32>, group_len: usize, dtype: WeightDtype) -> Vec<Element> {
    const BF16: f64 = 1.0 / 512.0;
    let row = row.mapv(f64::from).to_vec();
    let group = |group: &[f64]| {
        let smallest = group.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let size = largest.max(-smallest);
        let (error, largest) = if dtype == WeightDtype::Int4 {
            let step = (largest - smallest) / 15.0;
            (step * (0.5 + BF16) + BF16 * (15.0 * step + smallest.abs()), 15.0 * step + 2.0 * smallest.abs())
        } else {
            // Half a step, and a tie that f32 sees elsewhere.
            (size / 127.0 * 0.5001, 2.0 * size)
        };
        group.iter().map(|x| Element { size: x.abs(), error, largest }).collect::<Vec<_>>()
    };
    row.chunks(group_len).flat_map(group).collect()
}
