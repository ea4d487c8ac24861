//! What attention computes at a time: some rows over some keys.

use std::ops::Range;

use super::keys::Keys;
use super::stored::Stored;
use crate::spec::PageId;
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

    /// The page that the chunk is.
    #[inline(always)]
    fn page(&self) -> PageId {
        self.keys.page(self.chunk).expect("a chunk of which a row sees something has a page")
    }

    /// The key panels and the value panels of the page, which holds `E`.
    #[inline(always)]
    pub fn panels<E: Stored>(&self) -> (&'a [E], &'a [E]) {
        E::panels(self.keys.head(self.page()))
    }

    /// Whether values may be no finite numbers.
    #[inline(always)]
    pub fn maybe_not_finite(&self) -> bool {
        self.keys.layer.maybe_not_finite(self.page())
    }
}
