//! The page cache over a memory that remembers, slot by slot, which prefix was computed into it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::error::Result;
use crate::kv::{PageCache, PageTable};
use crate::spec::{PageId, TokenId};

pub const PAGE_LEN: usize = 4;

/// What a computed slot holds: a fingerprint of the tenant and of all tokens up to it.
fn fingerprint(tenant: Option<&str>, tokens: &[TokenId]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (tenant, tokens).hash(&mut hasher);
    hasher.finish()
}

/// A context as the engine keeps one.
pub struct Context {
    tenant: Option<&'static str>,
    pub tokens: Vec<TokenId>,
    pub table: PageTable,
}

/// A page cache, the memory that it manages, and the contexts in it.
pub struct Rig {
    pub cache: PageCache,
    slots: Vec<[u64; PAGE_LEN]>,
    pub contexts: Vec<Context>,
}

impl Rig {
    pub fn new(n_pages: usize) -> Self {
        let cache = PageCache::new(n_pages, PAGE_LEN);
        Self { cache, slots: vec![[0; PAGE_LEN]; n_pages], contexts: Vec::new() }
    }

    pub fn open(&mut self, tenant: Option<&'static str>) -> usize {
        let table = self.cache.open(tenant);
        self.contexts.push(Context { tenant, tokens: Vec::new(), table });
        self.contexts.len() - 1
    }

    /// Appends `more` and computes it as the engine does. Returns how many tokens were computed.
    pub fn append(&mut self, at: usize, more: &[TokenId]) -> Result<usize> {
        let computed = self.compute(at, more)?;
        self.commit(at);
        Ok(computed)
    }

    /// The part of [`Rig::append`] before the commit.
    pub fn compute(&mut self, at: usize, more: &[TokenId]) -> Result<usize> {
        let Context { tenant, tokens, table } = &mut self.contexts[at];
        let old_len = tokens.len();
        tokens.extend_from_slice(more);
        self.cache.reuse(table, tokens);
        match self.cache.reserve(table, tokens.len()) {
            Err(e) => {
                tokens.truncate(old_len);
                self.cache.truncate(table, old_len);
                return Err(e);
            }
            Ok(Some(copy)) => {
                let from = self.slots[copy.from.idx()];
                self.slots[copy.to.idx()] = [1; PAGE_LEN];
                self.slots[copy.to.idx()][..copy.n_slots].copy_from_slice(&from[..copy.n_slots]);
            }
            Ok(None) => {}
        }
        let computed = table.len()..tokens.len();
        for position in computed.clone() {
            let page = table.pages()[position / PAGE_LEN];
            self.slots[page.idx()][position % PAGE_LEN] = fingerprint(*tenant, &tokens[..=position]);
        }
        Ok(computed.len())
    }

    pub fn commit(&mut self, at: usize) {
        let Context { tokens, table, .. } = &mut self.contexts[at];
        self.cache.commit(table, tokens, tokens.len());
    }

    pub fn fork(&mut self, at: usize) -> usize {
        let Context { tenant, tokens, table } = &self.contexts[at];
        let fork = Context { tenant: *tenant, tokens: tokens.clone(), table: self.cache.fork(table) };
        self.contexts.push(fork);
        self.contexts.len() - 1
    }

    pub fn rewind(&mut self, at: usize, len: usize) {
        let context = &mut self.contexts[at];
        context.tokens.truncate(len);
        self.cache.truncate(&mut context.table, len);
    }

    pub fn close(&mut self, at: usize) {
        let context = self.contexts.swap_remove(at);
        self.cache.close(context.table);
    }

    /// Every invariant that can be seen from outside, and those of the index.
    pub fn audit(&self) {
        let mut n_tables = vec![0; self.slots.len()];
        for Context { tenant, tokens, table } in &self.contexts {
            assert!(table.len() <= tokens.len());
            assert_eq!(table.pages().len(), table.len().div_ceil(PAGE_LEN), "nothing stays reserved");
            for position in 0..table.len() {
                let stored = self.slots[table.pages()[position / PAGE_LEN].idx()][position % PAGE_LEN];
                assert_eq!(stored, fingerprint(*tenant, &tokens[..=position]), "position {position} of {tokens:?}");
            }
            table.pages().iter().for_each(|page| n_tables[page.idx()] += 1);
        }
        let held = |page: PageId| n_tables[page.idx()] > 0;
        let mut known: Vec<PageId> = Vec::new();
        self.cache.index.audit(held, |tenant, path, page| {
            known.push(page);
            let start = (path.len() - 1) / PAGE_LEN * PAGE_LEN;
            for position in start..path.len() {
                let stored = self.slots[page.idx()][position % PAGE_LEN];
                assert_eq!(stored, fingerprint(Some(tenant), &path[..=position]), "{path:?} of {tenant}");
            }
        });
        assert_eq!(self.cache.retained_pages(), known.iter().filter(|&&page| !held(page)).count());
        assert_eq!(self.cache.live_pages(), n_tables.iter().filter(|&&n| n > 0).count());
        for (idx, &n) in n_tables.iter().enumerate() {
            let page = PageId(idx as u32);
            assert_eq!(self.cache.pool.n_tables(page), n);
            let is_free = self.cache.pool.free().contains(&page);
            assert_eq!(is_free, n == 0 && !known.contains(&page), "{page:?}");
        }
    }
}
