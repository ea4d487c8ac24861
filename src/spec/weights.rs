//! Weights by name, wherever they come from.

use std::borrow::Cow;
use std::collections::HashMap;

use super::ModelConfig;
use super::tensors::{TensorSpec, expected};
use crate::dtype::Dtype;
use crate::error::{Error, Result};

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
    /// Whether there are as many bytes as the shape and the type want.
    pub fn is_whole(&self) -> bool {
        let bytes = self.n.checked_mul(self.k).and_then(|len| len.checked_mul(self.dtype.size_bytes()));
        bytes == Some(self.bytes.len())
    }

    /// All elements as f32, row by row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.n * self.k];
        self.dtype.widen(&self.bytes, &mut out);
        out
    }
}

/// A model's weights by their Hugging Face names: a checkpoint on disk, or random ones made as they are asked for.
pub trait WeightSource: Sync {
    /// The tensor `name`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a tensor that there is not, and whatever else prevents it.
    fn tensor<'a>(&'a self, name: &'a str) -> Result<WeightView<'a>>;

    /// The element type of tensor `name`, for sources that know it before they have made the tensor.
    ///
    /// # Errors
    /// As [`WeightSource::tensor`].
    fn dtype(&self, name: &str) -> Result<Dtype> {
        Ok(self.tensor(name)?.dtype)
    }
}

/// A source of which every tensor is held against a configuration when it is asked for: what backends read, since
/// kernels rest on the shapes.
pub struct CheckedWeights<'a> {
    source: &'a dyn WeightSource,
    specs: HashMap<String, TensorSpec>,
}

impl<'a> CheckedWeights<'a> {
    /// The tensors of `config` in `source`.
    pub fn new(config: &ModelConfig, source: &'a dyn WeightSource) -> Self {
        let specs = expected(config).into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        Self { source, specs }
    }

    /// The tensor `name`, of the shape that the configuration asks for.
    ///
    /// # Errors
    /// [`Error::Argument`] where it has another, or not as many bytes as its shape and type want, or where the
    /// configuration has no such tensor; and those of [`WeightSource::tensor`].
    pub fn tensor<'b>(&'b self, name: &'b str) -> Result<WeightView<'b>> {
        let spec = self.specs.get(name).ok_or_else(|| Error::argument(format!("no tensor {name} in this model")))?;
        let view = self.source.tensor(name)?;
        if (view.n, view.k) != (spec.n, spec.k) || !view.is_whole() {
            let WeightView { n, k, dtype, .. } = view;
            return Err(Error::argument(format!(
                "{name}: {} bytes as [{n}, {k}] of {dtype}, where the configuration asks for [{}, {}]",
                view.bytes.len(),
                spec.n,
                spec.k
            )));
        }
        Ok(view)
    }
}
