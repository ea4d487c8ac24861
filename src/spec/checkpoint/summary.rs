//! What the weights of a checkpoint are stored as, and what running them as something else does to them.

use crate::dtype::Dtype;
use crate::spec::WeightDtype;

/// Tensors by element type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DtypeSummary {
    /// One entry per element type that occurs, most elements first.
    pub counts: Vec<DtypeCount>,
}

/// The tensors of one element type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtypeCount {
    /// The element type.
    pub dtype: Dtype,
    /// Matrices stored as it.
    pub n_matrices: usize,
    /// Vectors stored as it.
    pub n_vectors: usize,
    /// Elements of them all.
    pub n_elements: u64,
}

impl DtypeSummary {
    /// Counts `(dtype, n, k)` of every tensor; vectors have `k = 1`.
    pub(super) fn of(tensors: impl Iterator<Item = (Dtype, usize, usize)>) -> Self {
        let mut counts: Vec<DtypeCount> = [Dtype::Bf16, Dtype::F32, Dtype::F16]
            .map(|dtype| DtypeCount { dtype, n_matrices: 0, n_vectors: 0, n_elements: 0 })
            .into();
        for (dtype, n, k) in tensors {
            for count in counts.iter_mut().filter(|c| c.dtype == dtype) {
                count.n_elements += (n * k) as u64;
                *if k == 1 { &mut count.n_vectors } else { &mut count.n_matrices } += 1;
            }
        }
        counts.retain(|c| c.n_elements > 0);
        counts.sort_by_key(|c| std::cmp::Reverse(c.n_elements));
        Self { counts }
    }

    /// A sentence on the matrices that lose bits when they run as `weights`, with `None` for bf16 as bf16 and
    /// everything else as f32. Nothing is lost by `None`, nor by f32.
    pub fn rounding(&self, weights: Option<WeightDtype>) -> Option<String> {
        let target = weights.filter(|w| *w != WeightDtype::F32)?;
        let rounded: Vec<String> = (self.counts.iter())
            .filter(|c| target.float() != Some(c.dtype) && c.n_matrices > 0)
            .map(|c| format!("{} stored as {}", c.n_matrices, c.dtype))
            .collect();
        let how = if target.float().is_some() {
            format!("rounded to {target} (to nearest)")
        } else {
            format!("quantised to {target}")
        };
        (!rounded.is_empty()).then(|| format!("matrices {how}: {}", rounded.join(", ")))
    }
}

impl std::fmt::Display for DtypeSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |c: &DtypeCount| format!("{} in {}", c.n_matrices + c.n_vectors, c.dtype);
        write!(f, "tensors: {}", self.counts.iter().map(part).collect::<Vec<_>>().join(", "))
    }
}
