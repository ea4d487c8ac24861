//! One block: some tokens' queries of one group of heads, folded over chunks of keys.

use super::Attention;
use super::plan::{Part, Task, Unit};
use super::scratch::AttentionScratch;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::isa::{Isa, LhsElement};
use crate::cpu::pointwise::{LhsRow, copy_row};

/// A task with what it works on.
pub struct Block<'a, 'b, L, O> {
    /// The layer's attention.
    pub args: &'a Attention<'a, O>,
    /// The tokens, the head, the chunks.
    pub task: &'a Task,
    /// This thread's memory.
    pub scratch: &'b mut AttentionScratch<L>,
}

impl<L: LhsElement, O: LhsElement> Block<'_, '_, L, O> {
    /// All chunks, and the result.
    #[inline(always)]
    pub fn run_whole<I: Isa<Lhs = L>>(&mut self, isa: I) {
        self.fold(isa);
        self.write(isa);
    }

    /// The chunks of one task of a split block; their states go to the parts. The leftmost task leaves the merged state of all its
    /// chunks, every other one state per chunk.
    #[inline(always)]
    pub fn run_part<I: Isa<Lhs = L>>(&mut self, isa: I, part: &Part, parts: &Disjoint<'_, f32>) {
        if part.leftmost {
            self.fold(isa);
            for row in 0..self.n_rows() {
                // SAFETY: the plan gives each task states of its own.
                let out = unsafe { part_row(parts, part.first, row, self.head_dim()) };
                let state = self.scratch.state(row, self.args.geometry.head_dim);
                (out[0], out[1]) = (*state.max, *state.sum);
                out[2..].copy_from_slice(state.values);
            }
            return;
        }
        self.load_queries(isa);
        let state_len = self.n_rows() * (2 + self.head_dim());
        for (i, chunk) in (self.task.first_chunk..self.task.end_chunk).enumerate() {
            self.chunk(isa, chunk as usize);
            for row in 0..self.n_rows() {
                let chunk = self.scratch.chunk(row, self.head_dim());
                // SAFETY: the plan gives each task states of its own.
                let out = unsafe { part_row(parts, part.first + i * state_len, row, self.head_dim()) };
                (out[0], out[1]) = (chunk.max, chunk.sum);
                out[2..].copy_from_slice(chunk.values);
            }
        }
    }

    /// Merges the states that the tasks of a split block left, left to right, and writes the result.
    #[inline(always)]
    pub fn merge_parts<I: Isa<Lhs = L>>(&mut self, isa: I, unit: &Unit, parts: &Disjoint<'_, f32>) {
        let (head_dim, n_rows) = (self.head_dim(), self.n_rows());
        for row in 0..n_rows {
            self.scratch.state(row, head_dim).clear();
            for i in 0..unit.n_states {
                // SAFETY: all tasks of this block are done, and the last of them is this one.
                let part = unsafe { part_row(parts, unit.first + i * n_rows * (2 + head_dim), row, head_dim) };
                self.scratch.state(row, head_dim).merge(isa, part[0], part[1], &part[2..]);
            }
        }
        self.write(isa);
    }

    /// The block's chunks, merged as they come.
    #[inline(always)]
    fn fold<I: Isa<Lhs = L>>(&mut self, isa: I) {
        self.load_queries(isa);
        for row in 0..self.n_rows() {
            self.scratch.state(row, self.head_dim()).clear();
        }
        for chunk in self.task.first_chunk..self.task.end_chunk {
            self.chunk(isa, chunk as usize);
            for row in 0..self.n_rows() {
                self.scratch.merge_chunk(isa, row, self.head_dim());
            }
        }
    }

    /// Queries as a left operand: row `t * group + g` is token `t`, head `g` of the group.
    #[inline(always)]
    fn load_queries<I: Isa<Lhs = L>>(&mut self, isa: I) {
        let (head_dim, group) = (self.head_dim(), self.args.geometry.group);
        let depth = self.args.layer.layout.k_depth;
        let n_rows = self.n_rows();
        let lhs = Disjoint::new(&mut self.scratch.q);
        for row in 0..n_rows {
            let token = self.task.first_token as usize + row / group;
            let head = self.task.kv_head as usize * group + row % group;
            let q = &self.args.q[token * self.args.q_stride + head * head_dim..][..head_dim];
            copy_row(isa, q, LhsRow { lhs: &lhs, row, depth });
        }
    }

    /// `values / sum` as rows of the result.
    #[inline(always)]
    fn write<I: Isa<Lhs = L>>(&mut self, isa: I) {
        let (head_dim, group) = (self.head_dim(), self.args.geometry.group);
        for row in 0..self.n_rows() {
            let token = self.task.first_token as usize + row / group;
            let head = self.task.kv_head as usize * group + row % group;
            let state = self.scratch.state(row, head_dim);
            let factor = isa.splat(1.0 / *state.sum);
            for (i, x) in state.values.as_chunks::<16>().0.iter().enumerate() {
                let k = head * head_dim + i * 16;
                // SAFETY: a token and a head belong to one block, and one task of it writes.
                let out = unsafe { self.args.out.slice(O::index(token, k, self.args.out_depth), 16) };
                O::store(isa, isa.mul(isa.load(x), factor), out.first_chunk_mut().unwrap());
            }
        }
    }

    #[inline(always)]
    pub(super) fn n_rows(&self) -> usize {
        self.task.n_tokens as usize * self.args.geometry.group
    }

    #[inline(always)]
    pub(super) fn head_dim(&self) -> usize {
        self.args.geometry.head_dim
    }
}

/// One row of a state in the parts: maximum, sum, `[head_dim]` values.
///
/// # Safety
/// As [`Disjoint::slice`].
#[inline(always)]
#[expect(clippy::mut_from_ref, reason = "see Disjoint")]
unsafe fn part_row<'a>(parts: &'a Disjoint<'_, f32>, first: usize, row: usize, head_dim: usize) -> &'a mut [f32] {
    // SAFETY: passed on to the caller.
    unsafe { parts.slice(first + row * (2 + head_dim), 2 + head_dim) }
}
