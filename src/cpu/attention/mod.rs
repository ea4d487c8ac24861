//! Causal attention over pages: append-prefill and decode are one family.
//!
//! A block is some tokens' queries of the heads that share one KV head, so that one load of a key serves the whole
//! group. It walks its context in chunks of [`CHUNK_LEN`](crate::spec::contract::CHUNK_LEN) at absolute positions; each
//! chunk gives a state (maximum, sum, weighted values), and states merge left to right (FlashInfer, "Recursive
//! attention"). Where there are too few blocks for the threads, as in decode, the chunks of a block are split over
//! tasks: the first task merges its own as it goes, since they are the leftmost; the others leave theirs apart, and
//! whoever finishes last merges them in order. So the bits are the same however the work is split; and where several
//! sequences share their first chunks, one task computes those for all of them (`cascade`). Where products leave
//! vectors time, strips of rows over chunks of bf16 pages go in a pipeline.

mod block;
mod cascade;
mod chunk;
mod codes;
mod keys;
mod parts;
mod pipeline;
mod plan;
mod products;
mod scales;
mod scratch;
mod softmax;
mod soon;
mod state;
mod stored;
mod unit;
mod widen;

pub use plan::{AttentionPlan, PlanLimits};
pub use scratch::{AttentionScratch, Geometry};

use std::sync::atomic::Ordering;

use super::disjoint::Disjoint;
use super::isa::{Isa, Kernel};
use super::lhs::LhsElement;
use super::pages::LayerView;
use super::parallel::for_each_task;
use crate::spec::Ragged;
use block::Block;
use plan::{Split, Task};

/// One layer's attention.
pub struct Attention<'a, O> {
    /// Heads and scale.
    pub geometry: Geometry,
    /// `[n_tokens][q_stride]` queries from the start of each row, RoPE applied.
    pub q: &'a [f32],
    /// Elements from one token of `q` to the next.
    pub q_stride: usize,
    /// Keys and values.
    pub layer: LayerView<'a>,
    /// Lengths and page tables.
    pub ragged: Ragged<'a>,
    /// The result as a left operand, row by token, `[n_heads * head_dim]` from the start of each row.
    pub out: Disjoint<'a, O>,
    /// Elements of a row of `out`.
    pub out_depth: usize,
}

impl<O: LhsElement> Attention<'_, O> {
    /// Runs the tasks of `plan`, which was made for `ragged`, on as many threads as it is for; `scratch(state)` is the
    /// thread's own.
    pub fn run<I: Isa, S: Send>(
        &self,
        isa: I,
        plan: &mut AttentionPlan,
        states: &mut [S],
        scratch: impl Fn(&mut S) -> &mut AttentionScratch<I::Lhs> + Sync,
    ) {
        let Geometry { n_kv_heads, group, head_dim, .. } = self.geometry;
        // Blocks, which have tokens and heads of their own, rest on it.
        assert!(O::rows_lie_apart(n_kv_heads * group * head_dim, self.out_depth), "rows of the result that meet");
        let AttentionPlan { n_threads, tasks, splits, parts, cascade, .. } = plan;
        let n_states = states.len().min(*n_threads);
        let (tasks, splits, shared_tokens) = (&*tasks, &*splits, cascade.tokens());
        splits.iter().for_each(|split| split.remaining.store(split.n_tasks(), Ordering::Relaxed));
        let parts = Disjoint::new(parts);
        for_each_task(&mut states[..n_states], tasks.len(), |state, i| {
            let task = &tasks[i];
            let block = Block { args: self, shared_tokens, task, scratch: scratch(state) };
            isa.run(Run { block, tasks, splits, parts: &parts });
        });
    }
}

/// One task.
struct Run<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    tasks: &'a [Task],
    splits: &'a [Split],
    parts: &'a Disjoint<'a, f32>,
}

impl<I: Isa, O: LhsElement> Kernel<I> for Run<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(mut self, isa: I) {
        isa.begin_products(self.block.n_rows());
        let Some(part) = &self.block.task.part else {
            self.block.run_whole(isa);
            return isa.end_products();
        };
        self.block.run_part(isa, part, self.parts);
        let split = &self.splits[part.split as usize];
        // Release what this task wrote, and acquire what the others did before the last one merges.
        if split.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            let tasks = [split.wide.clone(), split.narrow.clone()].map(|tasks| &self.tasks[tasks]);
            self.block.merge_parts(isa, tasks, self.parts);
        }
        isa.end_products();
    }
}
