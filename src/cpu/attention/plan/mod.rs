//! The plan of a step's attention: made once from lengths, run in every layer.

mod task;
#[cfg(test)]
mod tests;

pub use task::{Part, Split, Task};

use std::io;
use std::sync::atomic::AtomicUsize;

use super::cascade::Cascade;
use super::scratch::Geometry;
use crate::cpu::buffer::Buffer;
use crate::spec::Ragged;
use crate::spec::contract::CHUNK_LEN;

/// Rows for whose separate states there is room where every block is split: decode rows.
const SPLIT_ROWS: usize = 16;
/// Tasks per thread below which splitting pays.
const TASKS_PER_THREAD: usize = 4;
/// The same for blocks of more rows, the states of whose chunks are large beside the work: they are split to keep every
/// thread busy, no further.
const WIDE_TASKS_PER_THREAD: usize = 2;
/// Work, as [`work`] counts it, up to which a second thread gains no more than a fork and its join cost: a row of
/// SmolLM2-135M's heads over 64 tokens, as measured on `amx`; on `avx2` attention had a like share of a step either
/// way.
const WORK_OF_ONE: usize = 64 * 9 * 64;
/// Rows of a chunk for whose states there is room where sequences share their first chunks.
const SHARED_ROWS: usize = 64;

/// What a plan has room for.
#[derive(Debug, Clone, Copy)]
pub struct PlanLimits {
    /// Rows of a step.
    pub max_step_tokens: usize,
    /// Tokens of a context.
    pub max_len: usize,
    /// Threads that tasks are made for at most.
    pub n_threads: usize,
    /// Rows (tokens by heads of a group) of a block at most.
    pub block_rows: usize,
    /// Rows below which smaller blocks cost more than idle threads.
    pub min_block_rows: usize,
}

/// The tasks of a step.
pub struct AttentionPlan {
    limits: PlanLimits,
    /// Threads that the tasks are for: as many as there are, or one.
    pub(super) n_threads: usize,
    pub(super) tasks: Vec<Task>,
    pub(super) splits: Vec<Split>,
    /// States of split blocks, `[state][row][2 + head_dim]`; the room takes no memory before it is used.
    pub(super) parts: Buffer<f32>,
    /// Elements of the parts that tasks have.
    n_taken: usize,
    pub(super) cascade: Cascade,
}

impl AttentionPlan {
    /// A plan with room for any step within `limits`.
    ///
    /// # Errors
    /// What the operating system says where it has no memory for that.
    pub fn new(geometry: &Geometry, limits: PlanLimits) -> io::Result<Self> {
        let n_blocks = limits.max_step_tokens * geometry.n_kv_heads;
        let max_split = TASKS_PER_THREAD * limits.n_threads;
        let max_states = max_split * (limits.max_len.div_ceil(CHUNK_LEN) + 1);
        let split_room = max_states.saturating_mul(state_len(SPLIT_ROWS.max(geometry.group), geometry.head_dim));
        let room = split_room.saturating_add(Self::shared_room(geometry, &limits));
        Ok(Self {
            limits,
            n_threads: limits.n_threads,
            // A group has at least two members, a task for each of them and for what they share, in each head.
            tasks: Vec::with_capacity(n_blocks + n_blocks / 2 + 2 * max_split),
            splits: Vec::with_capacity(max_split + n_blocks / 2),
            parts: Buffer::try_zeroed(room)?,
            n_taken: 0,
            cascade: Cascade::new(limits.max_step_tokens),
        })
    }

    /// Elements of the parts that are for sequences which share their first chunks.
    fn shared_room(geometry: &Geometry, limits: &PlanLimits) -> usize {
        let n_chunks = geometry.n_kv_heads * (limits.max_len.div_ceil(CHUNK_LEN) + 1);
        n_chunks.saturating_mul(state_len(SHARED_ROWS, geometry.head_dim))
    }

    /// Makes the tasks of a step.
    pub fn make(&mut self, geometry: &Geometry, ragged: &Ragged<'_>) {
        self.tasks.clear();
        self.splits.clear();
        self.n_taken = 0;
        self.n_threads = if work(geometry, ragged) > WORK_OF_ONE { self.limits.n_threads } else { 1 };
        let wanted = TASKS_PER_THREAD * self.n_threads;
        self.find_shared(geometry, ragged, wanted);
        let (mut block_rows, mut block_tokens, mut n_blocks);
        block_rows = self.limits.block_rows;
        loop {
            block_tokens = (block_rows / geometry.group).max(1);
            let alone = (0..ragged.n_seqs()).filter(|seq| !self.cascade.shares(*seq));
            let n_alone = alone.map(|seq| ragged.rows(seq).len().div_ceil(block_tokens)).sum::<usize>();
            n_blocks = (n_alone + self.cascade.groups().len()) * geometry.n_kv_heads;
            if n_blocks >= wanted || block_rows / 2 < self.limits.min_block_rows {
                break;
            }
            block_rows /= 2;
        }
        let n_parts = if self.n_threads > 1 { wanted.div_ceil(n_blocks.max(1)) } else { 1 };
        self.share(geometry, ragged, n_parts);
        for seq in 0..ragged.n_seqs() {
            if !self.cascade.shares(seq) {
                self.blocks(geometry, ragged, seq, block_tokens, n_parts);
            }
        }
    }

    /// Finds sequences that share their first chunks, as far as there is room for their states.
    fn find_shared(&mut self, geometry: &Geometry, ragged: &Ragged<'_>, wanted: usize) {
        let mut room = Self::shared_room(geometry, &self.limits);
        let (group, head_dim, n_kv_heads) = (geometry.group, geometry.head_dim, geometry.n_kv_heads);
        let may_form = |n_members: usize, n_shared: usize, n_own: usize| {
            let n_wide = if n_kv_heads < wanted { n_shared } else { 1 };
            let len = n_wide * state_len(n_members * group, head_dim) + n_own * state_len(group, head_dim);
            let fits = n_kv_heads * len <= room;
            room -= if fits { n_kv_heads * len } else { 0 };
            fits
        };
        self.cascade.find(geometry, ragged, self.limits.block_rows / group, may_form);
    }

    /// The blocks of sequences that share their first chunks: first tasks that all of them share, then those of each.
    /// What takes long begins first.
    fn share(&mut self, geometry: &Geometry, ragged: &Ragged<'_>, n_parts: usize) {
        for i in 0..self.cascade.groups().len() {
            let group = self.cascade.groups()[i];
            let members = self.cascade.members(&group);
            let (seq, n_tokens) = (members[0], members.len() as u32);
            let (first_token, end_chunk) = (self.cascade.first_token(&group) as u32, group.n_chunks as u32);
            for kv_head in 0..geometry.n_kv_heads as u32 {
                let shared =
                    Task { seq, kv_head, first_token, shared: true, n_tokens, first_chunk: 0, end_chunk, part: None };
                self.split(geometry, shared, n_parts.min(group.n_chunks));
            }
        }
        let mut split = 0;
        for i in 0..self.cascade.groups().len() {
            let group = self.cascade.groups()[i];
            for kv_head in 0..geometry.n_kv_heads as u32 {
                let first_task = self.tasks.len();
                for member in 0..self.cascade.members(&group).len() {
                    let seq = self.cascade.members(&group)[member];
                    let task = Task {
                        seq,
                        kv_head,
                        first_token: ragged.rows(seq as usize).start as u32,
                        shared: false,
                        n_tokens: 1,
                        first_chunk: group.n_chunks as u32,
                        end_chunk: ragged.kv_len(seq as usize).div_ceil(CHUNK_LEN) as u32,
                        part: None,
                    };
                    if task.first_chunk < task.end_chunk {
                        self.push_part(geometry, task, split, member * geometry.group, false);
                    }
                }
                self.splits[split].narrow = first_task..self.tasks.len();
                split += 1;
            }
        }
    }

    /// The blocks of a sequence that shares nothing.
    fn blocks(&mut self, geometry: &Geometry, ragged: &Ragged<'_>, seq: usize, block_tokens: usize, n_parts: usize) {
        let rows = ragged.rows(seq);
        for kv_head in 0..geometry.n_kv_heads {
            // Last block first: it has the longest context, and what starts last should be short.
            for block in (0..rows.len().div_ceil(block_tokens)).rev() {
                let first_token = rows.start + block * block_tokens;
                let n_tokens = block_tokens.min(rows.end - first_token);
                let start = ragged.start(seq) + block * block_tokens;
                let task = Task {
                    seq: seq as u32,
                    kv_head: kv_head as u32,
                    first_token: first_token as u32,
                    shared: false,
                    n_tokens: n_tokens as u32,
                    first_chunk: (geometry.first_visible(start) / CHUNK_LEN) as u32,
                    end_chunk: (start + n_tokens).div_ceil(CHUNK_LEN) as u32,
                    part: None,
                };
                let n_parts = self.n_parts_of(geometry, &task, n_parts);
                if n_parts > 1 {
                    self.split(geometry, task, n_parts);
                } else {
                    self.tasks.push(task);
                }
            }
        }
    }

    /// Into how many of `wanted` parts a block is split. It is one strip then, of which each chunk is seen (`pipeline`
    /// rests on that), and there is room for its states.
    fn n_parts_of(&self, geometry: &Geometry, block: &Task, wanted: usize) -> usize {
        let n_rows = block.n_tokens as usize * geometry.group;
        let n_chunks = (block.end_chunk - block.first_chunk) as usize;
        let wanted =
            if n_rows <= SPLIT_ROWS { wanted } else { wanted.div_ceil(TASKS_PER_THREAD / WIDE_TASKS_PER_THREAD) };
        let fits = n_chunks * state_len(n_rows, geometry.head_dim) <= self.parts.len() - self.n_taken;
        if n_rows <= self.limits.min_block_rows && fits { wanted.min(n_chunks) } else { 1 }
    }

    /// Splits the chunks of a block evenly over `n_parts` tasks, which are a split of their own.
    fn split(&mut self, geometry: &Geometry, block: Task, n_parts: usize) {
        let (split, first_task) = (self.splits.len(), self.tasks.len());
        let n_chunks = (block.end_chunk - block.first_chunk) as usize;
        for part in 0..n_parts {
            let chunk = |part: usize| block.first_chunk + (part * n_chunks / n_parts) as u32;
            let task = Task { first_chunk: chunk(part), end_chunk: chunk(part + 1), ..block };
            self.push_part(geometry, task, split, 0, part == 0);
        }
        let wide = first_task..self.tasks.len();
        self.splits.push(Split { wide, narrow: 0..0, remaining: AtomicUsize::new(0) });
    }

    /// Adds a task of a split block, which has the block's rows from `first_row` on.
    fn push_part(&mut self, geometry: &Geometry, task: Task, split: usize, first_row: usize, leftmost: bool) {
        let part = Part { split: split as u32, first_row: first_row as u32, first: self.n_taken, leftmost };
        let task = Task { part: Some(part), ..task };
        self.n_taken += task.n_states() * state_len(task.n_tokens as usize * geometry.group, geometry.head_dim);
        self.tasks.push(task);
    }
}

/// Elements of the state of some rows: maxima, sums, weighted values.
pub fn state_len(n_rows: usize, head_dim: usize) -> usize {
    n_rows * (2 + head_dim)
}

/// Elements of queries times the keys that their sequence has; twice as many operations for scores, and again for
/// values.
fn work(geometry: &Geometry, ragged: &Ragged<'_>) -> usize {
    let pairs: usize = (0..ragged.n_seqs()).map(|seq| ragged.rows(seq).len() * ragged.kv_len(seq)).sum();
    pairs * geometry.n_kv_heads * geometry.group * geometry.head_dim
}
