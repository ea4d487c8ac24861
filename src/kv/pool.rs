//! The pages of the pool: which are free, and how many page tables hold each of the others.

use crate::spec::PageId;

#[derive(Debug)]
pub(super) struct Pool {
    free: Vec<PageId>,
    /// `[n_pages]` page tables that list the page.
    n_tables: Vec<u32>,
}

impl Pool {
    pub(super) fn new(n_pages: usize) -> Self {
        let free = (0..n_pages as u32).rev().map(PageId).collect();
        Self { free, n_tables: vec![0; n_pages] }
    }

    pub(super) fn n_pages(&self) -> usize {
        self.n_tables.len()
    }

    pub(super) fn n_free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn n_tables(&self, page: PageId) -> u32 {
        self.n_tables[page.idx()]
    }

    /// Takes a page off the free list; nobody holds it yet.
    pub(super) fn take(&mut self) -> Option<PageId> {
        self.free.pop()
    }

    /// Puts a page that nobody holds on the free list.
    pub(super) fn put_back(&mut self, page: PageId) {
        debug_assert_eq!(self.n_tables(page), 0, "{page:?} is held");
        self.free.push(page);
    }

    /// Counts one more table, and returns how many there are.
    pub(super) fn acquire(&mut self, page: PageId) -> u32 {
        self.n_tables[page.idx()] += 1;
        self.n_tables[page.idx()]
    }

    /// Counts one table less, and returns how many are left.
    pub(super) fn release(&mut self, page: PageId) -> u32 {
        self.n_tables[page.idx()] -= 1;
        self.n_tables[page.idx()]
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> &[PageId] {
        &self.free
    }
}
