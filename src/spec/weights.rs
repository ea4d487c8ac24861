//! Weights by name, wherever they come from.

use std::borrow::Cow;

use crate::dtype::Dtype;
use crate::error::Result;

/// One tensor: a matrix `[n, k]` as Hugging Face stores it (`y = x W^T`), or a vector `[n, 1]`.
#[derive(Debug, Clone)]
pub struct WeightView<'a> {
    /// The tensor's name in the checkpoint.
    pub name: &'a str,
    /// Rows, which are outputs.
    pub n: usize,
    /// Columns, which are inputs; 1 for a vector.
    pub k: usize,
    /// Element type of `bytes`.
    pub dtype: Dtype,
    /// Little-endian elements, row by row.
    pub bytes: Cow<'a, [u8]>,
}

impl WeightView<'_> {
    /// All elements as f32, row by row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.n * self.k];
        self.dtype.widen(&self.bytes, &mut out);
        out
    }
}

/// A model's weights by their Hugging Face names: a checkpoint on disk, or random ones made as they are asked for.
pub trait WeightSource: Sync {
    /// The tensor `name`. A source that was validated against the configuration has every tensor that it lists.
    fn tensor<'a>(&'a self, name: &'a str) -> Result<WeightView<'a>>;
}
