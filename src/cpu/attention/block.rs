//! One block: some tokens' queries of one group of heads, folded over chunks of keys.

use super::Attention;
use super::keys::Keys;
use super::parts::ChunkStates;
use super::plan::{Part, Task};
use super::scratch::{AttentionScratch, Geometry};
use super::state::State;
use super::unit::Unit;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::pointwise::{LhsRow, copy_row};
use crate::cpu::product::SumLayout;

/// A task with what it works on.
pub struct Block<'a, 'b, L, O> {
    /// The layer's attention.
    pub args: &'a Attention<'a, O>,
    /// Tokens of tasks that sequences share.
    pub shared_tokens: &'a [u32],
    /// The tokens, the head, the chunks.
    pub task: &'a Task,
    /// This thread's memory.
    pub scratch: &'b mut AttentionScratch<L>,
}

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// All chunks, and the result.
    #[inline(always)]
    pub fn run_whole<I: Isa<Lhs = L>>(&mut self, isa: I) {
        self.walk(isa, None);
        self.write(isa);
    }

    /// The chunks of one task of a split block; their states go to the parts. The leftmost task leaves the merged state
    /// of all its chunks, every other one state per chunk.
    #[inline(always)]
    pub fn run_part<I: Isa<Lhs = L>>(&mut self, isa: I, part: &Part, parts: &Disjoint<'_, f32>) {
        let (n_rows, head_dim) = (self.n_rows(), self.head_dim());
        // SAFETY: the plan gives each task states of its own.
        let mut states = unsafe { ChunkStates::new(parts, part.first, n_rows, head_dim) };
        if !part.leftmost {
            return self.walk(isa, Some(&mut states));
        }
        self.walk(isa, None);
        let out = states.state(0);
        let state = self.scratch.state.rows(0..n_rows);
        out.max.copy_from_slice(state.max);
        out.sum.copy_from_slice(state.sum);
        out.values.copy_from_slice(state.values);
    }

    /// Merges the states that the tasks of a split block left, left to right, and writes the result: first the tasks
    /// that have all rows, then those that have some.
    #[inline(always)]
    pub fn merge_parts<I: Isa<Lhs = L>>(&mut self, isa: I, tasks: [&'a [Task]; 2], parts: &Disjoint<'_, f32>) {
        self.task = &tasks[0][0];
        let (n_rows, head_dim, group) = (self.n_rows(), self.head_dim(), self.args.geometry.group);
        self.scratch.state.rows(0..n_rows).clear();
        for task in tasks.into_iter().flatten() {
            let part = task.part.expect("a task of a split block");
            let (first_row, n_rows) = (part.first_row as usize, task.n_tokens as usize * group);
            // SAFETY: all tasks of this block are done, and the last of them is this one.
            let mut states = unsafe { ChunkStates::new(parts, part.first, n_rows, head_dim) };
            for i in 0..task.n_states() {
                let State { max, sum, values } = states.state(i);
                let mut into = self.scratch.state.rows(first_row..first_row + n_rows);
                into.merge(isa, max, sum, values, SumLayout::Rows { stride: head_dim });
            }
        }
        self.write(isa);
    }

    /// Meets the block's chunks: their states are merged as they come, or go to `apart`. All strips pass while a
    /// chunk's keys and values are in the cache nearby.
    #[inline(always)]
    fn walk<I: Isa<Lhs = L>>(&mut self, isa: I, mut apart: Option<&mut ChunkStates<'_>>) {
        let n_rows = self.n_rows();
        self.load_queries(isa);
        self.scratch.state.rows(0..n_rows).clear();
        if I::MULTIPLIES_BESIDE && !self.args.layer.is_int8() {
            return self.pipeline(isa, apart);
        }
        for chunk in self.task.first_chunk as usize..self.task.end_chunk as usize {
            self.begin_chunk(isa, chunk);
            for first in (0..n_rows).step_by(I::ATTENTION_ROWS) {
                let unit = Unit::new(self.keys(), chunk, first..n_rows.min(first + I::ATTENTION_ROWS));
                if unit.tiles.is_empty() {
                    self.scratch.strips[0].sum[..unit.strip.len()].fill(0.0);
                } else {
                    self.chunk(isa, &unit);
                }
                let AttentionScratch { strips: [strip, _], chunk_values, state, .. } = &mut *self.scratch;
                state.take(isa, &unit, (&strip.max, &strip.sum), chunk_values, apart.as_deref_mut());
            }
        }
    }

    /// The keys and values of the block.
    #[inline(always)]
    pub(super) fn keys(&self) -> Keys<'a> {
        Keys { geometry: self.args.geometry, layer: self.args.layer, ragged: self.args.ragged, task: self.task }
    }

    /// Queries as a left operand: row `t * group + g` is token `t`, head `g` of the group.
    #[inline(always)]
    fn load_queries<I: Isa<Lhs = L>>(&mut self, isa: I) {
        let (n_rows, group, depth) = (self.n_rows(), self.args.geometry.group, self.args.layer.layout.k_depth);
        let queries = Queries { args: self.args, shared_tokens: self.shared_tokens, task: self.task };
        let lhs = Disjoint::new(&mut self.scratch.q);
        for row in 0..n_rows {
            if row + TOKENS_AHEAD * group < n_rows {
                for x in queries.row(row + TOKENS_AHEAD * group).iter().step_by(16) {
                    isa.prefetch(x);
                }
            }
            // SAFETY: this thread's own memory, a row at a time.
            copy_row(isa, queries.row(row), unsafe { LhsRow::new(&lhs, row, depth) });
        }
    }

    /// `values / sum` as rows of the result.
    #[inline(always)]
    fn write<I: Isa<Lhs = L>>(&mut self, isa: I) {
        let (n_rows, head_dim, group) = (self.n_rows(), self.head_dim(), self.args.geometry.group);
        let (task, shared_tokens) = (self.task, self.shared_tokens);
        let state = self.scratch.state.rows(0..n_rows);
        for (row, values) in state.values.chunks_exact(head_dim).enumerate() {
            let token = token(task, shared_tokens, row / group);
            let head = self.task.kv_head as usize * group + row % group;
            let factor = isa.splat(1.0 / state.sum[row]);
            for (i, x) in values.as_chunks::<16>().0.iter().enumerate() {
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

/// How many tokens ahead of the one that is read the next is asked for: each lies in another page of memory.
const TOKENS_AHEAD: usize = 2;

/// Row of the batch that token `i` of a task's block is.
#[inline(always)]
fn token(task: &Task, shared_tokens: &[u32], i: usize) -> usize {
    let i = task.first_token as usize + i;
    if task.shared { shared_tokens[i] as usize } else { i }
}

/// The queries of a task's block.
struct Queries<'a, O> {
    args: &'a Attention<'a, O>,
    shared_tokens: &'a [u32],
    task: &'a Task,
}

impl<'a, O> Queries<'a, O> {
    /// `[head_dim]` query of a row.
    #[inline(always)]
    fn row(&self, row: usize) -> &'a [f32] {
        let Geometry { group, head_dim, .. } = self.args.geometry;
        let token = token(self.task, self.shared_tokens, row / group);
        let head = self.task.kv_head as usize * group + row % group;
        &self.args.q[token * self.args.q_stride + head * head_dim..][..head_dim]
    }
}
