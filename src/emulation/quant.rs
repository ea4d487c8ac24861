//! Quantised groups, and products with quantised weights: integers by groups, and floats in the contract's order around
//! them.

use half::bf16;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::Arithmetic;
use crate::spec::WeightDtype;
use crate::spec::contract::QUANT_TINY;

/// Some consecutive numbers, quantised: `scale * code + minimum`.
pub(super) struct Group {
    pub(super) scale: f32,
    minimum: f32,
    pub(super) codes: Vec<i32>,
}

impl Group {
    /// 8 bits, symmetric: weights, left operands of both kinds of weights, keys and values.
    pub(super) fn symmetric(x: &[f32]) -> Self {
        if x.iter().any(|x| !x.is_finite()) {
            return Self::invalid(x.len());
        }
        let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        if largest < QUANT_TINY {
            return Self { scale: 0.0, minimum: 0.0, codes: vec![0; x.len()] };
        }
        let inverse = 127.0 / largest;
        let codes = x.iter().map(|x| (x * inverse).round_ties_even() as i32).collect();
        Self { scale: largest / 127.0, minimum: 0.0, codes }
    }

    /// 4 bits, asymmetric.
    fn asymmetric(w: &[f32]) -> Self {
        if w.iter().any(|w| !w.is_finite()) {
            return Self::invalid(w.len());
        }
        let (smallest, largest) = w.iter().fold((w[0], w[0]), |(min, max), w| (min.min(*w), max.max(*w)));
        let step = (largest - smallest) / 15.0;
        let minimum = bf16::from_f32(smallest).to_f32();
        if step < QUANT_TINY {
            return Self { scale: 0.0, minimum, codes: vec![0; w.len()] };
        }
        let scale = bf16::from_f32(step).to_f32();
        let inverse = 1.0 / scale;
        let code = |w: &f32| (((w - minimum) * inverse).round_ties_even() as i32).clamp(0, 15);
        Self { scale, minimum, codes: w.iter().map(code).collect() }
    }

    /// What holds a number that is not finite: NaN as a whole.
    fn invalid(len: usize) -> Self {
        Self { scale: f32::NAN, minimum: 0.0, codes: vec![0; len] }
    }
}

/// A row in groups of the type's length.
fn groups(row: ArrayView1<'_, f32>, dtype: WeightDtype, quantise: impl Fn(&[f32]) -> Group) -> Vec<Group> {
    dtype.validate(row.len()).expect("groups that kernels take");
    let group_len = dtype.group_len(row.len()).expect("a quantised type");
    row.to_vec().chunks(group_len).map(quantise).collect()
}

fn quantised(w: ArrayView1<'_, f32>, dtype: WeightDtype) -> Vec<Group> {
    groups(w, dtype, if dtype == WeightDtype::Int4 { Group::asymmetric } else { Group::symmetric })
}

/// A row of weights as an embedding reads it.
pub(super) fn dequantised(w: ArrayView1<'_, f32>, dtype: WeightDtype) -> Array1<f32> {
    let groups = quantised(w, dtype);
    groups.iter().flat_map(|g| g.codes.iter().map(|code| *code as f32 * g.scale + g.minimum)).collect()
}

impl Arithmetic {
    /// `x w^T` with `w` quantised to `dtype` and `x` to 8 bits by the same groups.
    pub(super) fn quantised_matmul(
        self,
        x: ArrayView2<'_, f32>,
        w: ArrayView2<'_, f32>,
        dtype: WeightDtype,
    ) -> Array2<f32> {
        let x: Vec<_> = x.rows().into_iter().map(|row| groups(row, dtype, Group::symmetric)).collect();
        let w: Vec<_> = w.rows().into_iter().map(|row| quantised(row, dtype)).collect();
        Array2::from_shape_fn((x.len(), w.len()), |(m, n)| {
            x[m].iter().zip(&w[n]).fold(0.0, |acc, (x, w)| self.add_group(acc, x, w, dtype))
        })
    }

    fn add_group(self, acc: f32, x: &Group, w: &Group, dtype: WeightDtype) -> f32 {
        let dot: i32 = x.codes.iter().zip(&w.codes).map(|(x, w)| x * w).sum();
        let acc = self.mul_add(dot as f32 * x.scale, w.scale, acc);
        if dtype != WeightDtype::Int4 {
            return acc;
        }
        let sum: i32 = x.codes.iter().sum();
        self.mul_add(sum as f32 * x.scale, w.minimum, acc)
    }
}
