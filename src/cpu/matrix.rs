//! A packed weight matrix, whatever its elements: what a matmul needs of it.

use std::io;

use super::buffer::Arena;
use super::columns::Columns;
use super::disjoint::SharedRows;
use super::isa::Isa;
use super::lhs::LhsElement;
use super::product::SumLayout;
use super::team::NextReads;
use crate::error::Result;
use crate::spec::WeightDtype;
use crate::spec::contract::PANEL_COLS;

/// Weights `W[N, K]` in panels of 16 columns of `W^T`.
pub trait Matrix: Sized + Send + Sync + 'static {
    /// What rows of activations are kept as before a product.
    type Lhs<I: Isa>: LhsElement;

    /// What a product makes of these rows first; nothing where they are right as they are.
    type Operand: Default + Send + Sync;

    /// Packs a matrix, into memory from `arena`. The dtype is one of the type's own.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) where there is not as much memory, and what the dtype does not
    /// take.
    fn pack(columns: &Columns<'_>, dtype: WeightDtype, arena: &mut Arena) -> Result<Self>;

    /// Outputs.
    fn n(&self) -> usize;

    /// Inputs.
    fn k(&self) -> usize;

    /// What the weights are.
    fn dtype(&self) -> WeightDtype;

    /// Row `n` of `W`, widened, `[k]`: how an embedding is read that is the output matrix too.
    fn row(&self, n: usize, out: &mut [f32]);

    /// How the sums of a block lie, in a product of `n_rows` rows in all. From tiles they can be finished elsewhere
    /// (see [`Matrix::product`]).
    fn sum_layout<I: Isa>(&self, isa: I, n_rows: usize, n_panels: usize) -> SumLayout;

    /// Makes `operand` large enough for `n_rows` rows of `k` elements in any matrix of this type.
    ///
    /// # Errors
    /// What the operating system says where it has no memory for them.
    fn make_room(operand: &mut Self::Operand, n_rows: usize, k: usize) -> io::Result<()>;

    /// Makes the operand of `n_rows` rows of `lhs`, whose rows are `k` long, padded to a multiple of 32. Allocates
    /// nothing if there is room.
    fn prepare<I: Isa, S: Send>(
        &self,
        isa: I,
        lhs: &[Self::Lhs<I>],
        n_rows: usize,
        operand: &mut Self::Operand,
        states: &mut [S],
    );

    /// The product of a block, as [`Block::layout`] says in `out`; or in `finished` where that is given, for whole
    /// tiles of sums that lie in tiles. Inlined into the kernel that calls it.
    fn product<I: Isa>(
        &self,
        isa: I,
        lhs: &[Self::Lhs<I>],
        operand: &Self::Operand,
        block: &Block,
        out: &mut [f32],
        finished: Option<SharedRows<'_>>,
    );

    /// The panels from `panel` on, as they will be read.
    fn reads(&self, panel: usize) -> NextReads;

    /// Number of panels.
    fn n_panels(&self) -> usize {
        self.n().div_ceil(PANEL_COLS)
    }
}

/// Some rows by some panels of a product.
pub struct Block {
    /// First row of the left operand.
    pub first_row: usize,
    /// Rows, at least one.
    pub n_rows: usize,
    /// First panel of the matrix.
    pub first_panel: usize,
    /// Panels, at least one.
    pub n_panels: usize,
    /// Where the sums go.
    pub layout: SumLayout,
}
