//! How pages become findable, and how they cease to be: commit and forget.

use super::index::NodeId;
use super::{PageCache, PageTable};
use crate::spec::{PageId, TokenId};

impl PageCache {
    /// Notes that a step has computed `tokens[table.len()..len]` into the table's pages, and publishes them.
    ///
    /// # Panics
    /// If `len` is less than what was computed before, or more than there are `tokens` or slots in the table's pages:
    /// others would find what nobody has computed.
    pub fn commit(&mut self, table: &mut PageTable, tokens: &[TokenId], len: usize) {
        let n_slots = table.pages.len() * self.page_len;
        assert!(
            table.len <= len && len <= n_slots.min(tokens.len()),
            "a commit of {len} tokens to a table of {} in {n_slots} slots, of {} tokens",
            table.len,
            tokens.len()
        );
        if len == table.len {
            return;
        }
        let first_idx = table.len / self.page_len;
        table.len = len;
        let Some(mut node) = table.cursor.as_ref().map(|c| c.node) else { return };
        for page_idx in first_idx..len.div_ceil(self.page_len) {
            let run = self.run_of(&tokens[..len], page_idx).expect("the page starts before len");
            let child = self.publish(node, run, table, page_idx);
            if run.len() == self.page_len {
                node = child;
            }
        }
        table.move_cursor(node);
    }

    /// [`PageCache::truncate`], and takes what lies behind `len` out of the index unless others live on it: for
    /// contents that turned out to be wrong. Pages leave the index whole, so where `len` lies within one of them the
    /// table is cut where that page begins; [`PageTable::len`] tells.
    pub fn forget(&mut self, table: &mut PageTable, len: usize) {
        for page_idx in (len / self.page_len..table.pages.len()).rev() {
            let page = table.pages[page_idx];
            if self.pool.n_tables(page) == 1 && self.index.run_len(page) > len.saturating_sub(page_idx * self.page_len)
            {
                self.step_back(table, page_idx * self.page_len);
                self.unpublish(page);
            }
        }
        self.truncate(table, len);
    }

    /// Makes the run of `table`'s page `page_idx` findable under `parent`; returns the node that now covers it.
    fn publish(&mut self, parent: NodeId, run: &[TokenId], table: &mut PageTable, page_idx: usize) -> NodeId {
        let page = table.pages[page_idx];
        if let Some(node) = self.index.node_of(page) {
            self.index.grow(node, run);
            return node;
        }
        match self.index.closest_child(parent, run) {
            Some((child, n_common)) if n_common == run.len() => {
                if n_common == self.page_len {
                    self.hold(table, page_idx, self.index.page(child));
                }
                child
            }
            Some((child, n_common)) if n_common == self.index.run(child).len() => {
                let shorter = self.index.replace(child, page, run);
                if self.pool.n_tables(shorter) == 0 {
                    self.n_retained -= 1;
                    self.pool.put_back(shorter);
                }
                child
            }
            _ => self.index.insert(parent, page, run),
        }
    }

    /// Moves the table's cursor up so that it stands no deeper than `len`, with its pages untouched.
    fn step_back(&mut self, table: &mut PageTable, len: usize) {
        if let Some(cursor) = &mut table.cursor {
            for _ in len / self.page_len..table.len / self.page_len {
                cursor.node = self.index.parent(cursor.node);
            }
        }
        table.len = table.len.min(len);
    }

    /// Takes a live page, and whatever is retained behind it, out of the index; it stays with its table.
    pub(super) fn unpublish(&mut self, page: PageId) {
        let Some(node) = self.index.node_of(page) else { return };
        while let Some(below) = self.index.last_leaf(node) {
            let page = self.index.remove(below);
            self.n_retained -= 1;
            self.n_evicted += 1;
            self.pool.put_back(page);
        }
        self.index.remove(node);
    }
}
