//! The keys and values of a block: where they lie, and which of them a row sees.

use std::ops::Range;

use super::plan::Task;
use super::scratch::Geometry;
use super::stored::Stored;
use crate::cpu::pages::{Head, LayerView};
use crate::cpu::product::Span;
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN, PANEL_COLS};
use crate::spec::{PageId, Ragged};

/// Pages of a chunk.
pub const CHUNK_PAGES: usize = CHUNK_LEN / PAGE_LEN;

/// The keys and values that the rows of a task meet.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    pub geometry: Geometry,
    pub layer: LayerView<'a>,
    pub ragged: Ragged<'a>,
    pub task: &'a Task,
}

/// Keys of a chunk that lie in one page, in whole tiles.
#[derive(Clone, Copy)]
pub struct PageSpan {
    pub page: PageId,
    /// First key, within the chunk.
    pub first: usize,
    /// Keys; a multiple of 32.
    pub len: usize,
}

impl PageSpan {
    /// No keys.
    pub const NONE: Self = Self { page: PageId(0), first: 0, len: 0 };

    /// First key, within the page.
    #[inline(always)]
    pub fn first_slot(&self) -> usize {
        self.first % PAGE_LEN
    }

    /// Which page of the chunk it is.
    #[inline(always)]
    pub fn page_in_chunk(&self) -> usize {
        self.first / PAGE_LEN
    }

    /// The span as the right operand of a product with its page's keys, which are `depth` deep.
    #[inline(always)]
    pub fn of_keys<'a, E>(&self, keys: &'a [E], depth: usize) -> Span<'a, E> {
        Span { first_k: 0, depth, panels: &keys[self.first_slot() * depth..] }
    }

    /// The span as a part of the depth of a product with its page's values.
    #[inline(always)]
    pub fn of_values<'a, E>(&self, values: &'a [E]) -> Span<'a, E> {
        Span { first_k: self.first, depth: self.len, panels: &values[self.first_slot() * PANEL_COLS..] }
    }
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

    /// Cuts keys `keys` of a chunk at page borders.
    #[inline(always)]
    pub fn page_spans(&self, chunk: usize, keys: &Range<usize>) -> impl Iterator<Item = PageSpan> + use<> {
        let table = self.ragged.page_table(self.task.seq as usize);
        let Range { start, end } = *keys;
        let mut pages = [PageId(0); CHUNK_PAGES];
        for (i, page) in pages.iter_mut().enumerate().take(end.div_ceil(PAGE_LEN)).skip(start / PAGE_LEN) {
            *page = table[chunk * CHUNK_PAGES + i];
        }
        (start / PAGE_LEN..end.div_ceil(PAGE_LEN)).map(move |i| {
            let (span_start, span_end) = (start.max(i * PAGE_LEN), end.min((i + 1) * PAGE_LEN));
            PageSpan { page: pages[i], first: span_start, len: span_end - span_start }
        })
    }

    /// The head's part of a page.
    #[inline(always)]
    pub fn head(&self, page: PageId) -> Head<'a> {
        self.layer.head(page, self.task.kv_head as usize)
    }

    /// The key panels and the value panels of a span's page, which holds `E`.
    #[inline(always)]
    pub fn panels<E: Stored>(&self, span: &PageSpan) -> (&'a [E], &'a [E]) {
        E::panels(self.head(span.page))
    }
}
