//! `y[M, N] = x[M, K] W[N, K]^T`: packed panels, tasks of some panels by some rows, and what happens to a sum once it is there.

use super::disjoint::Disjoint;
use super::isa::{Isa, Kernel, LhsElement};
use super::math::silu;
use super::panel::{PanelElement, Panels};
use super::parallel::for_each_task;
use super::product::Product;

/// What becomes of the sums.
pub enum Epilogue<'a, L> {
    /// `out = sums + bias`, `[M][stride]`.
    Store {
        /// `[M][stride]`
        out: Disjoint<'a, f32>,
        /// Elements from one row to the next.
        stride: usize,
        /// `[N]`, or none.
        bias: Option<&'a [f32]>,
    },
    /// `out += sums`, `[M][stride]`: the residual stream.
    Add {
        /// `[M][stride]`
        out: Disjoint<'a, f32>,
        /// Elements from one row to the next.
        stride: usize,
    },
    /// `out = silu(gate) * up`, from panels that alternate, as the left operand of the next product.
    SiluGate {
        /// Left operand, rows `depth` long.
        out: Disjoint<'a, L>,
        /// `N / 2`, padded.
        depth: usize,
    },
}

/// One matmul: rows of a left operand with packed weights.
pub struct Matmul<'a, I: Isa, E: PanelElement> {
    /// The left operand, rows `weights.depth` long.
    pub lhs: &'a [E::Lhs<I>],
    /// M
    pub n_rows: usize,
    /// The weights.
    pub weights: &'a Panels<E>,
    /// What becomes of the sums.
    pub epilogue: Epilogue<'a, E::Lhs<I>>,
}

/// Elements of the buffer that each thread needs.
pub fn scratch_len<I: Isa>() -> usize {
    I::TASK_ROWS * I::TASK_PANELS * 16
}

/// Some panels by some rows.
struct Task<'a, 'b, I: Isa, E: PanelElement> {
    matmul: &'a Matmul<'b, I, E>,
    group: usize,
    row_block: usize,
    sums: &'a mut [f32],
}

impl<I: Isa, E: PanelElement> Kernel<I> for Task<'_, '_, I, E> {
    #[inline(always)]
    fn run(self, isa: I) {
        isa.begin_products();
        self.matmul.task(isa, self.group, self.row_block, self.sums);
        isa.end_products();
    }
}

impl<I: Isa, E: PanelElement> Matmul<'_, I, E> {
    /// Runs it, with `sums(state)` a buffer of [`scratch_len`] elements.
    pub fn run<S: Send>(&self, isa: I, states: &mut [S], sums: impl Fn(&mut S) -> &mut [f32] + Sync) {
        let n_groups = self.weights.n_panels().div_ceil(I::TASK_PANELS);
        let n_row_blocks = self.n_rows.div_ceil(I::TASK_ROWS);
        for_each_task(states, n_groups * n_row_blocks, |state, i| {
            let (group, row_block) = (i / n_row_blocks, i % n_row_blocks);
            isa.run(Task { matmul: self, group, row_block, sums: sums(state) });
        });
    }

    #[inline(always)]
    fn task(&self, isa: I, group: usize, row_block: usize, sums: &mut [f32]) {
        let first_panel = group * I::TASK_PANELS;
        let first_row = row_block * I::TASK_ROWS;
        let block = Block {
            first_row,
            n_rows: I::TASK_ROWS.min(self.n_rows - first_row),
            first_panel,
            n_panels: I::TASK_PANELS.min(self.weights.n_panels() - first_panel),
        };
        let panel_stride = self.weights.depth * 16;
        E::product(
            isa,
            Product {
                lhs: self.lhs,
                lhs_depth: self.weights.depth,
                first_row,
                first_k: 0,
                n_rows: block.n_rows,
                panels: &self.weights.data[first_panel * panel_stride..],
                panel_stride,
                n_panels: block.n_panels,
                depth: self.weights.depth,
                out: sums,
                out_stride: block.stride(),
                accumulate: false,
            },
        );
        match &self.epilogue {
            Epilogue::Store { out, stride, bias } => self.store(isa, &block, sums, out, *stride, *bias),
            Epilogue::Add { out, stride } => self.add(isa, &block, sums, out, *stride),
            Epilogue::SiluGate { out, depth } => silu_gate(isa, &block, sums, out, *depth),
        }
    }

    /// The part of an output row that `block` covers, whole panels but for the last.
    #[inline(always)]
    fn columns(&self, block: &Block) -> (usize, usize) {
        let first = block.first_panel * 16;
        (first, block.stride().min(self.weights.n - first))
    }

    #[inline(always)]
    fn store(&self, isa: I, block: &Block, sums: &[f32], out: &Disjoint<'_, f32>, stride: usize, bias: Option<&[f32]>) {
        let (first, len) = self.columns(block);
        for (r, sums) in sums.chunks_exact(block.stride()).take(block.n_rows).enumerate() {
            // SAFETY: a task has its own rows and columns of `out`.
            let out = unsafe { out.slice((block.first_row + r) * stride + first, len) };
            out.copy_from_slice(&sums[..len]);
            if let Some(bias) = bias {
                add_assign(isa, out, &bias[first..first + len]);
            }
        }
    }

    #[inline(always)]
    fn add(&self, isa: I, block: &Block, sums: &[f32], out: &Disjoint<'_, f32>, stride: usize) {
        let (first, len) = self.columns(block);
        for (r, sums) in sums.chunks_exact(block.stride()).take(block.n_rows).enumerate() {
            // SAFETY: a task has its own rows and columns of `out`.
            let out = unsafe { out.slice((block.first_row + r) * stride + first, len) };
            add_assign(isa, out, &sums[..len]);
        }
    }
}

/// Rows and panels of one task.
struct Block {
    first_row: usize,
    n_rows: usize,
    first_panel: usize,
    n_panels: usize,
}

impl Block {
    /// Elements of a row of sums.
    #[inline(always)]
    fn stride(&self) -> usize {
        self.n_panels * 16
    }
}

/// `a += b`
#[inline(always)]
fn add_assign<I: Isa>(isa: I, a: &mut [f32], b: &[f32]) {
    let (a16, a_tail) = a.as_chunks_mut::<16>();
    let (b16, b_tail) = b.as_chunks::<16>();
    for (a, b) in a16.iter_mut().zip(b16) {
        isa.store(isa.add(isa.load(a), isa.load(b)), a);
    }
    for (a, b) in a_tail.iter_mut().zip(b_tail) {
        *a += b;
    }
}

#[inline(always)]
fn silu_gate<I: Isa, L: LhsElement>(isa: I, block: &Block, sums: &[f32], out: &Disjoint<'_, L>, depth: usize) {
    for (r, sums) in sums.chunks_exact(block.stride()).take(block.n_rows).enumerate() {
        let (sums, _) = sums.as_chunks::<16>();
        for (pair, [gate, up]) in sums.as_chunks::<2>().0.iter().enumerate() {
            let k = (block.first_panel / 2 + pair) * 16;
            // SAFETY: a task has its own rows and columns of `out`.
            let out = unsafe { out.slice(L::index(block.first_row + r, k, depth), 16) };
            let x = isa.mul(silu(isa, isa.load(gate)), isa.load(up));
            L::store(isa, x, out.first_chunk_mut().unwrap());
        }
    }
}
