//! A context's page table.

use super::index::{Cursor, NodeId};
use crate::spec::PageId;

/// The pages of one context, in order, and how many of its tokens are computed. Made by
/// [`PageCache::open`](super::PageCache::open) and given back to [`PageCache::close`](super::PageCache::close): the
/// cache counts tables, so the pages of one that is dropped instead stay live for good.
///
/// The default table is empty and belongs to no tenant; it may be dropped.
#[must_use = "the pages of a table that is not closed are lost to the cache"]
#[derive(Debug, Default)]
pub struct PageTable {
    /// `[ceil(len / page_len)]`, and behind them the reserved ones.
    pub(super) pages: Vec<PageId>,
    pub(super) len: usize,
    pub(super) cursor: Option<Cursor>,
}

impl PageTable {
    /// The pages, those reserved for the next writes included.
    pub fn pages(&self) -> &[PageId] {
        &self.pages
    }

    /// Tokens whose keys and values are computed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is computed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether both stand behind the same full pages of the same tenant's tree: their contexts agree up to there.
    pub fn same_path(&self, other: &Self) -> bool {
        matches!((&self.cursor, &other.cursor), (Some(a), Some(b)) if a.node == b.node)
    }

    pub(super) fn move_cursor(&mut self, node: NodeId) {
        if let Some(cursor) = &mut self.cursor {
            cursor.node = node;
        }
    }

    /// A second list of the same pages; [`PageCache::fork`](super::PageCache::fork) does the counting.
    pub(super) fn duplicate(&self) -> Self {
        Self { pages: self.pages.clone(), len: self.len, cursor: self.cursor.clone() }
    }
}
