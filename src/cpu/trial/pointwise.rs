//! What happens to rows between products, by itself: in a step most of it is fused with what comes before or after.

use ndarray::{ArrayView2, s};

use super::{Cost, Trial, rows};
use crate::cpu::arch::{self, TableVisitor};
use crate::cpu::buffer::Buffer;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::lhs::LhsElement;
use crate::cpu::matmul::silu_gate;
use crate::cpu::matrix::Block;
use crate::cpu::pointwise::{LhsRow, RmsNorm, RotateHeads};
use crate::cpu::product::SumLayout;
use crate::cpu::vocabulary::weigh;
use crate::error::{Error, Result};
use crate::spec::contract::PANEL_COLS;

/// An operation on rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointwiseOp {
    /// RMSNorm with a weight of `x`'s first row.
    RmsNorm,
    /// RoPE on heads of this many elements, in place.
    Rope {
        /// Elements of a head.
        head_dim: usize,
    },
    /// `silu(gate) * up`, of sums whose panels of 16 alternate between gate and up.
    SiluGate,
    /// `exp(x - max)` and its sum, as for drawing a token.
    VocabularyWeights,
}

/// An operation on `n_rows` rows of `width` elements each, on one thread, where they fit into its caches.
#[derive(Debug, Clone)]
pub struct PointwiseShape {
    /// `smollm2-135m/norm/m1`
    pub name: String,
    /// The operation.
    pub op: PointwiseOp,
    /// Rows.
    pub n_rows: usize,
    /// Elements of a row of the result; a multiple of 32, or any number of weights.
    pub width: usize,
}

impl PointwiseShape {
    /// Epsilon of the norm.
    pub const EPS: f32 = 1e-5;

    /// Bytes that are read and written; operations are not counted, for their roof is no product's.
    pub fn cost(&self) -> Cost {
        let n_in = if self.op == PointwiseOp::SiluGate { 2 } else { 1 };
        Cost {
            flops: 0,
            bytes: (4 * (n_in + 1) * self.n_rows * self.width) as u64,
            integers: false,
            from_memory: false,
        }
    }

    /// Makes the rows, on the kernel table of that name.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where this machine has no such table.
    pub fn ready(&self, table: &str) -> Result<PointwiseTrial> {
        let mut finder = Finder { op: self.op, table, run: None };
        arch::for_each_table(&mut finder);
        let run = finder.run.ok_or_else(|| Error::Unavailable {
            what: format!("the kernel table `{table}`"),
            why: "this machine cannot run it".into(),
        })?;
        let in_width = if self.op == PointwiseOp::SiluGate { 2 * self.width } else { self.width };
        let [cos, sin] = [6, 7].map(|seed| rows(self.width, seed));
        let depth = f32::row_len(self.width);
        let (x, out) = (rows(self.n_rows * in_width, 5), Buffer::zeroed(self.n_rows * depth));
        let data = Data { n_rows: self.n_rows, width: self.width, depth, x, cos, sin, out };
        Ok(PointwiseTrial { run, data })
    }
}

/// An operation on all rows.
type Operation = Box<dyn Fn(&mut Data)>;

/// What operations work on.
struct Data {
    n_rows: usize,
    width: usize,
    /// Elements from one row of the result to the next.
    depth: usize,
    /// `[n_rows][width]`, or twice as wide for gate and up.
    x: Buffer<f32>,
    /// `[width]` numbers that stand for cosines and sines.
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    /// `[n_rows][depth]`
    out: Buffer<f32>,
}

impl Data {
    /// RMSNorm of every row.
    fn norm<I: Isa>(&mut self, isa: I) {
        let lhs = Disjoint::new(&mut self.out);
        for (row, x) in self.x.chunks_exact(self.width).enumerate() {
            // SAFETY: one thread, and one row at a time.
            let out = unsafe { LhsRow::new(&lhs, row, self.depth) };
            isa.run(RmsNorm { x, weight: &self.x[..self.width], eps: PointwiseShape::EPS, out });
        }
    }

    /// The rows, rotated.
    fn rotate<I: Isa>(&mut self, isa: I, head_dim: usize) {
        let (cos, sin) = (&self.cos[..head_dim / 2], &self.sin[..head_dim / 2]);
        for (x, out) in self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.depth)) {
            let out = &mut out[..self.width];
            out.copy_from_slice(x);
            isa.run(RotateHeads { x: out, norm: None, cos, sin });
        }
    }

    /// The gate of every row, in one kernel as behind a product.
    fn gate<I: Isa>(&mut self, isa: I) {
        let block = Block {
            first_row: 0,
            n_rows: self.n_rows,
            first_panel: 0,
            n_panels: 2 * self.width / PANEL_COLS,
            layout: SumLayout::Rows { stride: 2 * self.width },
        };
        isa.run(Gate { block, sums: &self.x, out: Disjoint::new(&mut self.out), depth: self.depth });
    }

    /// The weights of every row.
    fn weigh<I: Isa>(&mut self, isa: I) {
        for (x, out) in self.x.chunks_exact(self.width).zip(self.out.chunks_exact_mut(self.depth)) {
            // Numbers are below 1.
            std::hint::black_box(weigh(isa, x, 1.0, 1.0, &mut out[..self.width]));
        }
    }
}

/// [`silu_gate`] as a kernel.
struct Gate<'a> {
    block: Block,
    sums: &'a [f32],
    out: Disjoint<'a, f32>,
    depth: usize,
}

impl<I: Isa> Kernel<I> for Gate<'_> {
    #[inline(always)]
    fn run(self, isa: I) {
        silu_gate(isa, &self.block, self.sums, &self.out, self.depth);
    }
}

/// Finds the table of a name.
struct Finder<'a> {
    op: PointwiseOp,
    table: &'a str,
    run: Option<Operation>,
}

impl TableVisitor for Finder<'_> {
    fn visit<I: Isa>(&mut self, table: std::result::Result<I, String>) {
        let Ok(isa) = table else { return };
        if I::NAME != self.table {
            return;
        }
        self.run = Some(match self.op {
            PointwiseOp::RmsNorm => Box::new(move |data| data.norm(isa)),
            PointwiseOp::Rope { head_dim } => Box::new(move |data| data.rotate(isa, head_dim)),
            PointwiseOp::SiluGate => Box::new(move |data| data.gate(isa)),
            PointwiseOp::VocabularyWeights => Box::new(move |data| data.weigh(isa)),
        });
    }
}

/// A pointwise operation that can be repeated.
pub struct PointwiseTrial {
    run: Operation,
    data: Data,
}

impl PointwiseTrial {
    /// `[n_rows, width]`, or twice as wide for gate and up.
    pub fn x(&self) -> ArrayView2<'_, f32> {
        let n_rows = self.data.n_rows;
        ArrayView2::from_shape((n_rows, self.data.x.len() / n_rows), &self.data.x).expect("as many elements")
    }

    /// `[n_rows, width]`: what the last call left.
    pub fn out(&self) -> ArrayView2<'_, f32> {
        let Data { n_rows, width, depth, out, .. } = &self.data;
        let whole = ArrayView2::from_shape((*n_rows, *depth), out).expect("as many elements");
        whole.slice_move(s![.., ..*width])
    }

    /// `[head_dim / 2]` cosines and sines of every row.
    pub fn angles(&self, head_dim: usize) -> [&[f32]; 2] {
        [&self.data.cos[..head_dim / 2], &self.data.sin[..head_dim / 2]]
    }
}

impl Trial for PointwiseTrial {
    fn call(&mut self) -> Result<()> {
        (self.run)(&mut self.data);
        Ok(())
    }
}
