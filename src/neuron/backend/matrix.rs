//! A weight matrix in device memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{ArrayView2, ArrayViewMut2, s};

use super::layout::{PARTITIONS, pack_features, pack_weights, tiles, unpack_features};
use super::programs::{Bound, Programs};
use crate::backend::PackedMatrix;
use crate::error::{Error, Result};
use crate::neuron::device::DeviceTensor;
use crate::spec::{WeightDtype, WeightView, check_matmul};

/// The tensor of `matmul` that is the matrix's.
const WEIGHTS: &str = "weights";

/// `W[N, K]` in bf16.
pub struct NeuronMatrix {
    programs: Arc<Programs>,
    n: usize,
    k: usize,
    weights: DeviceTensor,
    /// The programs that it was multiplied by, with its weights bound; by their keys.
    bound: Mutex<HashMap<String, Arc<Bound>>>,
}

impl NeuronMatrix {
    /// Rounds to bf16, packs and brings to the device.
    ///
    /// # Errors
    /// The catalog's, when no program takes a matrix of this size.
    pub fn pack(programs: Arc<Programs>, weight: &WeightView<'_>) -> Result<Self> {
        let WeightView { name, n, k, .. } = *weight;
        if n == 0 || k == 0 || !weight.is_whole() {
            let what = format!("{name}: {} bytes are no {} [{n}, {k}]", weight.bytes.len(), weight.dtype);
            return Err(Error::argument(what));
        }
        programs.smallest(&programs.matmul_request([1, n, k]), "m")?;
        let packed = pack_weights(&weight.to_f32(), k);
        let weights = programs.core.allocate(name, size_of_val(packed.as_slice()))?;
        weights.write_elements(0, &packed)?;
        Ok(Self { programs, n, k, weights, bound: Mutex::default() })
    }

    /// The smallest program for `m` rows, and the rows that it takes.
    fn bound(&self, m: usize) -> Result<(Arc<Bound>, usize)> {
        let loaded = self.programs.find(&self.programs.matmul_request([m, self.n, self.k]), &[WEIGHTS])?;
        let n_rows = loaded.count("m")?;
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = bound.get(loaded.key()) {
            return Ok((found.clone(), n_rows));
        }
        loaded.check_len::<half::bf16>("x", &[PARTITIONS, tiles(self.k), n_rows])?;
        let new = Arc::new(loaded.bind(&[(WEIGHTS, &self.weights)])?);
        bound.insert(loaded.key().into(), new.clone());
        Ok((new, n_rows))
    }
}

impl PackedMatrix for NeuronMatrix {
    fn n(&self) -> usize {
        self.n
    }

    fn k(&self) -> usize {
        self.k
    }

    fn dtype(&self) -> WeightDtype {
        WeightDtype::Bf16
    }

    /// Rounds `x` and the result to bf16. More rows than the largest program takes go in pieces.
    fn matmul(&self, x: ArrayView2<'_, f32>, mut out: ArrayViewMut2<'_, f32>) -> Result<()> {
        check_matmul([self.n, self.k], x.dim(), out.dim())?;
        let request = self.programs.matmul_request([1, self.n, self.k]);
        let at_once = self.programs.largest(&request, "m").unwrap_or(1);
        for first in (0..x.nrows()).step_by(at_once.max(1)) {
            let rows = s![first..x.nrows().min(first + at_once), ..];
            let x = x.slice(rows);
            let (bound, n_rows) = self.bound(x.nrows())?;
            let turn = bound.turn();
            turn.write("x", &pack_features(x, n_rows))?;
            turn.execute()?;
            let y = turn.read("out", PARTITIONS * tiles(self.n) * n_rows)?;
            unpack_features(&y, n_rows, out.slice_mut(rows));
        }
        Ok(())
    }
}
