//! The operations on page tables: open, fork, close, reuse, reserve, truncate. What makes pages findable is in
//! `publish`.

use super::PageTable;
use super::index::PrefixIndex;
use super::pool::Pool;
use crate::error::{Error, Result};
use crate::spec::{PageId, TokenId};

/// A copy that has to be made on the device before the table's next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCopy {
    /// The page that others may still read.
    pub from: PageId,
    /// The fresh page that the table now lists in its place.
    pub to: PageId,
    /// Slots to copy, from the first.
    pub n_slots: usize,
}

/// The pool and the prefix index: decides which page holds what. See the [module](super) for its invariants.
#[derive(Debug)]
pub struct PageCache {
    pub(super) page_len: usize,
    pub(super) pool: Pool,
    pub(super) index: PrefixIndex,
    pub(super) n_retained: usize,
    pub(super) n_evicted: u64,
    n_copied: u64,
}

impl PageCache {
    /// A cache over `n_pages` pages of `page_len` tokens, all free.
    ///
    /// # Panics
    /// If `page_len` is 0.
    pub fn new(n_pages: usize, page_len: usize) -> Self {
        assert!(page_len > 0, "a page holds at least one token");
        let (pool, index) = (Pool::new(n_pages), PrefixIndex::new(n_pages));
        Self { page_len, pool, index, n_retained: 0, n_evicted: 0, n_copied: 0 }
    }

    /// An empty table. With a tenant, it finds and publishes prefixes among that tenant's; without one it does neither.
    pub fn open(&mut self, tenant: Option<&str>) -> PageTable {
        let cursor = tenant.map(|t| self.index.open(t));
        PageTable { pages: Vec::new(), len: 0, cursor }
    }

    /// A second table over the same context, in `O(pages)` integers; nothing is copied until one of the two writes.
    pub fn fork(&mut self, table: &PageTable) -> PageTable {
        for &page in &table.pages {
            self.pool.acquire(page);
        }
        if let Some(cursor) = &table.cursor {
            self.index.join(&cursor.tenant);
        }
        table.duplicate()
    }

    /// Gives up a table. Pages that the index knows are retained, the others free.
    pub fn close(&mut self, mut table: PageTable) {
        self.truncate(&mut table, 0);
        if let Some(cursor) = table.cursor {
            self.index.leave(&cursor.tenant);
        }
    }

    /// Lets `table` have all that has been computed of `tokens`, which is its context as it should become: extends it
    /// as far as the index knows the tokens behind its own. Returns by how many tokens it grew.
    pub fn reuse(&mut self, table: &mut PageTable, tokens: &[TokenId]) -> usize {
        let Some(mut node) = table.cursor.as_ref().map(|c| c.node) else { return 0 };
        let before = table.len;
        let mut page_idx = table.len / self.page_len;
        while let Some(run) = self.run_of(tokens, page_idx) {
            let Some((child, n_common)) = self.index.closest_child(node, run) else { break };
            let reach = page_idx * self.page_len + n_common;
            if reach <= table.len {
                break;
            }
            self.hold(table, page_idx, self.index.page(child));
            table.len = reach;
            if n_common < self.page_len {
                break;
            }
            (node, page_idx) = (child, page_idx + 1);
        }
        table.move_cursor(node);
        table.len - before
    }

    /// Makes the slots of positions `table.len()..len` writable: finds pages for them, evicting what is retained, and
    /// frees the page of the first of them from other readers. The returned copy has to be made before anything is
    /// written. All or nothing.
    ///
    /// # Errors
    /// [`Error::KvExhausted`] if live tables hold too many pages; the table is as before.
    pub fn reserve(&mut self, table: &mut PageTable, len: usize) -> Result<Option<PageCopy>> {
        if len <= table.len {
            return Ok(None);
        }
        let n_more = len.div_ceil(self.page_len).saturating_sub(table.pages.len());
        let mut shared_tail = self.shared_tail(table);
        if let Some(page) = shared_tail
            && n_more == self.available()
            && self.pool.n_tables(page) == 1
        {
            // Only the index stands in the way, and there is no page to copy to: the abandoned branch has to go.
            self.unpublish(page);
            shared_tail = None;
        }
        let wanted = n_more + usize::from(shared_tail.is_some());
        if wanted > self.available() {
            return Err(Error::KvExhausted { wanted, free: self.available(), total: self.pool.n_pages() });
        }
        let first = table.pages.len();
        for _ in 0..n_more {
            let page = self.take_page();
            table.pages.push(page);
        }
        // In ascending order, as a backend may lay them out: what is evicted comes last page first.
        table.pages[first..].sort_unstable();
        Ok(shared_tail.map(|from| {
            let to = self.take_page();
            let page_idx = table.len / self.page_len;
            table.pages[page_idx] = to;
            self.release(from);
            self.n_copied += 1;
            PageCopy { from, to, n_slots: table.len % self.page_len }
        }))
    }

    /// Cuts the table to its first `len` tokens and gives back every page behind them, reserved ones too. A `len`
    /// beyond the end only gives back what is reserved.
    pub fn truncate(&mut self, table: &mut PageTable, len: usize) {
        let (old_idx, len) = (table.len / self.page_len, len.min(table.len));
        table.len = len;
        if let Some(cursor) = &mut table.cursor {
            for _ in len / self.page_len..old_idx {
                cursor.node = self.index.parent(cursor.node);
            }
        }
        while table.pages.len() > len.div_ceil(self.page_len) {
            let page = table.pages.pop().expect("there are more pages than that");
            self.release(page);
        }
    }

    /// Evicts every retained page. Returns how many there were.
    pub fn evict_all(&mut self) -> usize {
        let n_retained = self.n_retained;
        while self.n_retained > 0 {
            let page = self.evict_one();
            self.pool.put_back(page);
        }
        n_retained
    }

    /// Tokens of a page.
    pub fn page_len(&self) -> usize {
        self.page_len
    }

    /// Pages of the pool.
    pub fn n_pages(&self) -> usize {
        self.pool.n_pages()
    }

    /// Pages that nobody knows.
    pub fn free_pages(&self) -> usize {
        self.pool.n_free()
    }

    /// Pages that only the index knows.
    pub fn retained_pages(&self) -> usize {
        self.n_retained
    }

    /// Pages that tables hold.
    pub fn live_pages(&self) -> usize {
        self.n_pages() - self.free_pages() - self.n_retained
    }

    /// Pages evicted so far.
    pub fn evicted_pages(&self) -> u64 {
        self.n_evicted
    }

    /// Copies asked for so far.
    pub fn copied_pages(&self) -> u64 {
        self.n_copied
    }

    /// Pages that can be had: free and retained ones.
    pub fn available(&self) -> usize {
        self.free_pages() + self.n_retained
    }

    /// Tokens of `tokens` that belong to page `page_idx`, unless there are none.
    pub(super) fn run_of<'t>(&self, tokens: &'t [TokenId], page_idx: usize) -> Option<&'t [TokenId]> {
        let rest = tokens.get(page_idx * self.page_len..).filter(|rest| !rest.is_empty())?;
        Some(&rest[..rest.len().min(self.page_len)])
    }

    /// The partly filled last page, if a write behind its end could be seen by someone else (invariant 1).
    fn shared_tail(&self, table: &PageTable) -> Option<PageId> {
        let n_slots = table.len % self.page_len;
        let page = (n_slots > 0).then(|| table.pages[table.len / self.page_len])?;
        let own = self.pool.n_tables(page) == 1 && self.index.run_len(page) <= n_slots;
        (!own).then_some(page)
    }

    /// Lists `page` as page `page_idx` of the table, in place of what stood there.
    pub(super) fn hold(&mut self, table: &mut PageTable, page_idx: usize, page: PageId) {
        if self.pool.acquire(page) == 1 {
            self.n_retained -= 1;
            self.index.revive(page);
        }
        match table.pages.get_mut(page_idx) {
            Some(place) => {
                let old = std::mem::replace(place, page);
                self.release(old);
            }
            None => table.pages.push(page),
        }
    }

    fn release(&mut self, page: PageId) {
        if self.pool.release(page) == 0 {
            if self.index.retire(page) {
                self.n_retained += 1;
            } else {
                self.pool.put_back(page);
            }
        }
    }

    /// A page with one holder: a free one, or else the one that was retained longest ago.
    fn take_page(&mut self) -> PageId {
        let page = self.pool.take().unwrap_or_else(|| self.evict_one());
        self.pool.acquire(page);
        page
    }

    fn evict_one(&mut self) -> PageId {
        let page = self.index.evict().expect("a retained page has a leaf below it, by invariant 5");
        self.n_retained -= 1;
        self.n_evicted += 1;
        page
    }
}
