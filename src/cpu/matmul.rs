//! `y[M, N] = x[M, K] W[N, K]^T`: packed panels, tasks of some panels by some rows, and what happens to a sum once it is there.

use super::aligned::{aligned_mut, spare};
use super::disjoint::Disjoint;
use super::isa::{Isa, Kernel, LhsElement};
use super::math::silu;
use super::matrix::{Block, Matrix};
use super::parallel::for_each_task;

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
pub struct Matmul<'a, I: Isa, W: Matrix> {
    /// The left operand, rows K long, padded to a multiple of 32.
    pub lhs: &'a [W::Lhs<I>],
    /// M
    pub n_rows: usize,
    /// The weights.
    pub weights: &'a W,
    /// What becomes of the sums.
    pub epilogue: Epilogue<'a, W::Lhs<I>>,
}

/// Elements of the buffer that each thread needs.
pub fn scratch_len<I: Isa>() -> usize {
    I::TASK_ROWS * I::TASK_PANELS * 16 + spare::<f32>()
}

/// Some panels by some rows.
struct Task<'a, 'b, I: Isa, W: Matrix> {
    matmul: &'a Matmul<'b, I, W>,
    operand: &'a W::Operand,
    group: usize,
    row_block: usize,
    sums: &'a mut [f32],
}

impl<I: Isa, W: Matrix> Kernel<I> for Task<'_, '_, I, W> {
    #[inline(always)]
    fn run(self, isa: I) {
        self.matmul.task(isa, self.operand, self.group, self.row_block, self.sums);
    }
}

impl<I: Isa, W: Matrix> Matmul<'_, I, W> {
    /// Runs it, with `sums(state)` a buffer of [`scratch_len`] elements.
    pub fn run<S: Send>(
        &self,
        isa: I,
        operand: &mut W::Operand,
        states: &mut [S],
        sums: impl Fn(&mut S) -> &mut [f32] + Sync,
    ) {
        self.weights.prepare(isa, self.lhs, self.n_rows, operand, states);
        let operand = &*operand;
        let n_groups = self.weights.n_panels().div_ceil(I::TASK_PANELS);
        let n_row_blocks = self.n_rows.div_ceil(I::TASK_ROWS);
        for_each_task(states, n_groups * n_row_blocks, |state, i| {
            let (group, row_block) = (i / n_row_blocks, i % n_row_blocks);
            isa.run(Task { matmul: self, operand, group, row_block, sums: sums(state) });
        });
    }

    #[inline(always)]
    fn task(&self, isa: I, operand: &W::Operand, group: usize, row_block: usize, sums: &mut [f32]) {
        let sums = aligned_mut(sums);
        let first_panel = group * I::TASK_PANELS;
        let first_row = row_block * I::TASK_ROWS;
        let block = Block {
            first_row,
            n_rows: I::TASK_ROWS.min(self.n_rows - first_row),
            first_panel,
            n_panels: I::TASK_PANELS.min(self.weights.n_panels() - first_panel),
        };
        self.weights.product(isa, self.lhs, operand, &block, sums);
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
        (first, block.stride().min(self.weights.n() - first))
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
