//! Which row of which checkpoint tensor becomes which column of a packed matrix.

use crate::error::{Error, Result};
use crate::spec::WeightView;
use crate::spec::contract::PANEL_COLS;

/// The columns of a matrix to pack, each a row of one of some tensors of the same K.
pub struct Columns<'a> {
    parts: Vec<&'a WeightView<'a>>,
    arrangement: Arrangement,
    /// Outputs of the packed matrix.
    pub n: usize,
    /// Inputs of all parts.
    pub k: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Arrangement {
    Stacked,
    Alternating,
}

impl<'a> Columns<'a> {
    /// Matrices one below the other.
    pub fn stacked(parts: &[&'a WeightView<'a>]) -> Result<Self> {
        Self::new(parts, Arrangement::Stacked, parts.iter().map(|w| w.n).sum())
    }

    /// Two matrices of the same shape panel by panel in turn: panel `2i` is of the first, panel `2i + 1` of the second.
    pub fn alternating(first: &'a WeightView<'a>, second: &'a WeightView<'a>) -> Result<Self> {
        let n_each = first.n.max(second.n).next_multiple_of(PANEL_COLS);
        Self::new(&[first, second], Arrangement::Alternating, 2 * n_each)
    }

    fn new(parts: &[&'a WeightView<'a>], arrangement: Arrangement, n: usize) -> Result<Self> {
        let k = parts.first().map_or(0, |w| w.k);
        if k == 0 || n == 0 {
            return Err(Error::argument("a matrix to pack needs at least one row and one column"));
        }
        if let Some(w) = parts.iter().find(|w| w.k != k || !w.is_whole()) {
            let (bytes, n, dtype) = (w.bytes.len(), w.n, w.dtype);
            return Err(Error::argument(format!("{}: {bytes} bytes are no [{n}, {k}] matrix of {dtype}", w.name)));
        }
        Ok(Self { parts: parts.to_vec(), arrangement, n, k })
    }

    /// Number of panels.
    pub fn n_panels(&self) -> usize {
        self.n.div_ceil(PANEL_COLS)
    }

    /// Reads the weights of column `col`, `[k]`, widened; answers false where the matrix has padding.
    pub fn read(&self, col: usize, out: &mut [f32]) -> bool {
        let Some((part, row)) = self.source(col) else { return false };
        let row_bytes = self.k * part.dtype.size_bytes();
        part.dtype.widen(&part.bytes[row * row_bytes..][..row_bytes], out);
        true
    }

    fn source(&self, mut col: usize) -> Option<(&WeightView<'a>, usize)> {
        if self.arrangement == Arrangement::Alternating {
            let (panel, lane) = (col / PANEL_COLS, col % PANEL_COLS);
            let (part, row) = (self.parts[panel % 2], panel / 2 * PANEL_COLS + lane);
            return (row < part.n).then_some((part, row));
        }
        for part in &self.parts {
            if col < part.n {
                return Some((part, col));
            }
            col -= part.n;
        }
        None
    }
}
