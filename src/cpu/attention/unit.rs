//! What attention computes at a time: some rows over some keys.

use std::ops::Range;

use super::keys::{CHUNK_PAGES, Keys, PageSpan};
use super::stored::Stored;
use crate::cpu::product::{N_NEXT, Span};
use crate::spec::contract::TILE_DEPTH;

/// A strip of a block's rows over a chunk.
#[derive(Clone)]
pub struct Unit<'a> {
    pub keys: Keys<'a>,
    pub chunk: usize,
    /// Rows of the block.
    pub strip: Range<usize>,
    /// Keys of the chunk that any of these rows sees, in whole tiles: none, perhaps.
    pub tiles: Range<usize>,
}

impl<'a> Unit<'a> {
    /// Rows `strip` over `chunk`.
    #[inline(always)]
    pub fn new(keys: Keys<'a>, chunk: usize, strip: Range<usize>) -> Self {
        // Positions ascend over rows, so the first row sees furthest back and the last furthest ahead.
        let (start, end) = (keys.visible(chunk, strip.start).start, keys.visible(chunk, strip.end - 1).end);
        let tiles = start / TILE_DEPTH * TILE_DEPTH..end.next_multiple_of(TILE_DEPTH);
        Self { keys, chunk, strip, tiles }
    }

    /// Whether every row sees all of the tiles.
    #[inline(always)]
    pub fn all_see(&self) -> bool {
        // The first row sees least ahead, the last least behind.
        let [first, last] = [self.strip.start, self.strip.end - 1].map(|row| self.keys.visible(self.chunk, row));
        last.start <= self.tiles.start && self.tiles.end <= first.end
    }

    /// The tiles' keys, cut at page borders.
    #[inline(always)]
    pub fn spans(&self) -> impl Iterator<Item = PageSpan> + use<> {
        self.keys.page_spans(self.chunk, &self.tiles)
    }

    /// The keys of one of the spans, whose page holds `E`.
    #[inline(always)]
    pub fn keys_of<E: Stored>(&self, span: &PageSpan) -> Span<'a, E> {
        span.of_keys(self.keys.panels(span).0, self.keys.layer.layout.k_depth)
    }

    /// The values of one of the spans, whose page holds `E`.
    #[inline(always)]
    pub fn values_of<E: Stored>(&self, span: &PageSpan) -> Span<'a, E> {
        span.of_values(self.keys.panels(span).1)
    }

    /// The values of each page.
    #[inline(always)]
    pub fn page_values<E: Stored>(&self) -> [&'a [E]; N_NEXT] {
        self.of_pages(|span| self.values_of(span))
    }

    /// The keys of each page of the same rows' next chunk, if it is the task's.
    #[inline(always)]
    pub fn next_keys<E: Stored>(&self) -> [&'a [E]; N_NEXT] {
        if self.chunk + 1 == self.keys.task.end_chunk as usize {
            return [&[]; N_NEXT];
        }
        let next = Self::new(self.keys, self.chunk + 1, self.strip.clone());
        next.of_pages(|span| next.keys_of(span))
    }

    /// What `part` answers of each page.
    #[inline(always)]
    fn of_pages<E: Stored>(&self, part: impl Fn(&PageSpan) -> Span<'a, E>) -> [&'a [E]; N_NEXT] {
        const { assert!(N_NEXT == CHUNK_PAGES, "a place for each page") };
        at_once(&[][..], self.spans().map(|span| part(&span).panels)).0
    }

    /// Whether values may be no finite numbers.
    #[inline(always)]
    pub fn maybe_not_finite(&self) -> bool {
        self.spans().any(|span| self.keys.layer.maybe_not_finite(span.page))
    }
}

/// What there is of each page of a chunk in an array, with `none` behind it, and how much there is.
#[inline(always)]
pub fn at_once<T: Copy>(none: T, of_pages: impl Iterator<Item = T>) -> ([T; CHUNK_PAGES], usize) {
    let (mut all, mut len) = ([none; CHUNK_PAGES], 0);
    for of_page in of_pages {
        all[len] = of_page;
        len += 1;
    }
    (all, len)
}
