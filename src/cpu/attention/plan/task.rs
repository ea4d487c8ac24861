//! What one thread does at a time: a block of attention, or a part of a split one.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;

/// One block, or some chunks of it.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// The sequence; any of those that share the chunks.
    pub seq: u32,
    /// The KV head.
    pub kv_head: u32,
    /// First row of the batch; where sequences share the chunks, an entry of
    /// [`Cascade::tokens`](super::Cascade::tokens).
    pub first_token: u32,
    /// Whether each token is another sequence's; all of them see all of these chunks then.
    pub shared: bool,
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
    pub split: u32,
    /// First row of the block that this task has.
    pub first_row: u32,
    /// First element of this task's states in the parts.
    pub first: usize,
    /// Whether these are the first chunks, which merge as they go.
    pub leftmost: bool,
}

impl Task {
    /// States that a task of a split block leaves. The leftmost one merges as it goes.
    pub fn n_states(&self) -> usize {
        if self.part.is_some_and(|part| part.leftmost) { 1 } else { (self.end_chunk - self.first_chunk) as usize }
    }
}

/// A block whose chunks are split over tasks.
#[derive(Debug)]
pub struct Split {
    /// Tasks that have all of its rows, from the leftmost chunk on.
    pub wide: Range<usize>,
    /// Tasks that have some of its rows, over the chunks to the right of those: sequences' own, behind what they share.
    pub narrow: Range<usize>,
    /// Tasks not finished yet.
    pub remaining: AtomicUsize,
}

impl Split {
    /// How many tasks it is split into.
    pub fn n_tasks(&self) -> usize {
        self.wide.len() + self.narrow.len()
    }
}
