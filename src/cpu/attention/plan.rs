//! The plan of a step's attention: made once from lengths, run in every layer.

use std::sync::atomic::AtomicU32;

use super::scratch::Geometry;
use crate::spec::Ragged;
use crate::spec::contract::CHUNK_LEN;

/// Rows up to which a block's chunks may be split over tasks: decode rows, whose separate states are small.
const SPLIT_ROWS: usize = 16;
/// Tasks per thread below which splitting pays.
const TASKS_PER_THREAD: usize = 4;

/// One block, or some chunks of it.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// The sequence.
    pub seq: u32,
    /// The KV head.
    pub kv_head: u32,
    /// First row of the batch.
    pub first_token: u32,
    /// Rows of the batch.
    pub n_tokens: u32,
    /// First chunk.
    pub first_chunk: u32,
    /// One past the last chunk.
    pub end_chunk: u32,
    /// Where the block is split: which part this task is.
    pub part: Option<Part>,
}

/// A task's part in a split block.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The split block.
    pub unit: u32,
    /// First element of this task's states in the parts.
    pub first: usize,
    /// Whether these are the first chunks, which merge as they go.
    pub leftmost: bool,
}

/// A block whose chunks are split over tasks.
#[derive(Debug)]
pub struct Unit {
    /// Tasks that it is split into.
    pub n_tasks: u32,
    /// Tasks not finished yet.
    pub remaining: AtomicU32,
    /// First element of its states in the parts.
    pub first: usize,
    /// States that its tasks leave there.
    pub n_states: usize,
}

/// What a plan has room for.
#[derive(Debug, Clone, Copy)]
pub struct PlanLimits {
    /// Rows of a step.
    pub max_step_tokens: usize,
    /// Tokens of a context.
    pub max_len: usize,
    /// Threads that tasks are made for.
    pub n_threads: usize,
    /// Rows (tokens by heads of a group) of a block at most.
    pub block_rows: usize,
    /// Rows below which smaller blocks cost more than idle threads.
    pub min_block_rows: usize,
}

/// The tasks of a step.
#[derive(Debug)]
pub struct AttentionPlan {
    limits: PlanLimits,
    pub(super) tasks: Vec<Task>,
    pub(super) units: Vec<Unit>,
    /// States of split blocks, `[state][row][2 + head_dim]`.
    pub(super) parts: Vec<f32>,
}

impl AttentionPlan {
    /// A plan with room for any step within `limits`; the room takes no memory before it is used.
    pub fn new(geometry: &Geometry, limits: PlanLimits) -> Self {
        let n_blocks = limits.max_step_tokens * geometry.n_kv_heads;
        let max_split = TASKS_PER_THREAD * limits.n_threads;
        let max_states = max_split * (limits.max_len.div_ceil(CHUNK_LEN) + 1);
        Self {
            limits,
            tasks: Vec::with_capacity(n_blocks + 2 * max_split),
            units: Vec::with_capacity(max_split),
            parts: vec![0.0; max_states * state_len(SPLIT_ROWS.max(geometry.group), geometry.head_dim)],
        }
    }

    /// Makes the tasks of a step.
    pub fn make(&mut self, geometry: &Geometry, ragged: &Ragged<'_>) {
        self.tasks.clear();
        self.units.clear();
        let wanted = TASKS_PER_THREAD * self.limits.n_threads;
        let (mut block_rows, mut block_tokens, mut n_blocks);
        block_rows = self.limits.block_rows;
        loop {
            block_tokens = (block_rows / geometry.group).max(1);
            n_blocks = (0..ragged.n_seqs()).map(|s| ragged.rows(s).len().div_ceil(block_tokens)).sum::<usize>()
                * geometry.n_kv_heads;
            if n_blocks >= wanted || block_rows / 2 < self.limits.min_block_rows {
                break;
            }
            block_rows /= 2;
        }
        let n_parts = wanted.div_ceil(n_blocks.max(1));
        let may_split = self.limits.n_threads > 1 && n_parts > 1;
        let mut first_part = 0;
        for seq in 0..ragged.n_seqs() {
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
                        n_tokens: n_tokens as u32,
                        first_chunk: (geometry.first_visible(start) / CHUNK_LEN) as u32,
                        end_chunk: (start + n_tokens).div_ceil(CHUNK_LEN) as u32,
                        part: None,
                    };
                    if may_split && n_tokens * geometry.group <= SPLIT_ROWS {
                        first_part = self.split(geometry, task, n_parts, first_part);
                    } else {
                        self.tasks.push(task);
                    }
                }
            }
        }
    }

    /// Splits the chunks of a block evenly over up to `n_parts` tasks; answers where the next unit's states may start.
    fn split(&mut self, geometry: &Geometry, block: Task, n_parts: usize, first_part: usize) -> usize {
        let n_chunks = (block.end_chunk - block.first_chunk) as usize;
        let n_parts = n_parts.min(n_chunks);
        if n_parts < 2 {
            self.tasks.push(block);
            return first_part;
        }
        let unit = self.units.len() as u32;
        let len = state_len(block.n_tokens as usize * geometry.group, geometry.head_dim);
        let mut n_states = 0;
        for part in 0..n_parts {
            let chunk = |part: usize| block.first_chunk + (part * n_chunks / n_parts) as u32;
            let task = Task {
                first_chunk: chunk(part),
                end_chunk: chunk(part + 1),
                part: Some(Part { unit, first: first_part + n_states * len, leftmost: part == 0 }),
                ..block
            };
            // The leftmost task merges as it goes, and leaves one state.
            n_states += if part == 0 { 1 } else { (task.end_chunk - task.first_chunk) as usize };
            self.tasks.push(task);
        }
        self.units.push(Unit { n_tasks: n_parts as u32, remaining: AtomicU32::new(0), first: first_part, n_states });
        first_part + n_states * len
    }
}

/// Elements of the state of some rows: maxima, sums, weighted values.
pub fn state_len(n_rows: usize, head_dim: usize) -> usize {
    n_rows * (2 + head_dim)
}
