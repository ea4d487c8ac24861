//! The keys and values of a block: where they lie, and which of them a row sees.

use std::ops::Range;

use super::plan::Task;
use super::scratch::Geometry;
use crate::cpu::pages::{Head, LayerView};
use crate::spec::contract::CHUNK_LEN;
use crate::spec::{PageId, Ragged};

/// The keys and values that the rows of a task meet.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    pub geometry: Geometry,
    pub layer: LayerView<'a>,
    pub ragged: Ragged<'a>,
    pub task: &'a Task,
}

impl<'a> Keys<'a> {
    /// Keys of a chunk that row `row` of the block sees, within the chunk.
    #[inline(always)]
    pub fn visible(&self, chunk: usize, row: usize) -> Range<usize> {
        if self.task.shared {
            return 0..CHUNK_LEN;
        }
        let token = self.task.first_token as usize + row / self.geometry.group;
        let seq = self.task.seq as usize;
        let position = self.ragged.start(seq) + token - self.ragged.rows(seq).start;
        let within = |p: usize| p.saturating_sub(chunk * CHUNK_LEN).min(CHUNK_LEN);
        within(self.geometry.first_visible(position))..within(position + 1)
    }

    /// The page that a chunk is, if the block's sequence has so many.
    #[inline(always)]
    pub fn page(&self, chunk: usize) -> Option<PageId> {
        self.ragged.page_table(self.task.seq as usize).get(chunk).copied()
    }

    /// The head's part of a page.
    #[inline(always)]
    pub fn head(&self, page: PageId) -> Head<'a> {
        self.layer.head(page, self.task.kv_head as usize)
    }
}
