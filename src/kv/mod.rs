//! Which page holds what: a pool of KV pages, page tables, copy-on-write and a prefix index per tenant. Integers only;
//! the keys and values themselves lie in a backend's [`KvPages`](crate::backend::KvPages).
//!
//! # The structure
//!
//! A context of `n` tokens lies in `ceil(n / page_len)` pages, in order, named by its [`PageTable`]. Two kinds of
//! reader may know a page: page tables, which are counted, and the prefix index, which is not, because what it alone
//! knows may be taken back. That gives a page one of three states:
//!
//! | state | page tables | in the index | who may take it |
//! |---|---|---|---|
//! | free | 0 | no | any table that needs a page |
//! | live | 1 or more | perhaps | nobody |
//! | retained | 0 | yes | any table that needs a page, least recently released first |
//!
//! The index is a tree for each tenant. A node is one page with its *run*, the tokens whose keys and values stand in
//! the page's first slots; the path from the root spells the tokens before it. A node whose run is a whole page may
//! have children; one whose run is shorter is the tail of a context, and a leaf. Tokens are compared, never hashes, so
//! a hit is a hit.
//!
//! Contexts of live sessions are published as they are computed, step by step, the partly filled tail included. So a
//! sibling that starts while its parent still decodes finds everything that has been computed so far.
//!
//! # Invariants
//!
//! 1. *Writing.* A step writes slot `s` of a page only if one page table alone holds the page and its run in the index,
//!    if it has one, is at most `s` tokens long. Otherwise the first `s` slots are copied to a fresh page first
//!    ([`PageCache::reserve`] says so). Hence nobody can see a slot change, and a page that a step writes stands in no
//!    other page table of that step.
//! 2. *Runs grow and never shrink.* Rewinding leaves the abandoned branch in the index; the first write after it
//!    copies, by 1.
//! 3. *Siblings differ inside.* No run is a prefix of a sibling's. So siblings keep their lexicographic order while
//!    they grow, and the one with the longest common prefix with any query is next to where the query would be
//!    inserted: a binary search a page.
//! 4. *One path.* The full pages of an indexed table are the pages of the nodes on its path. Where two sessions
//!    computed the same page at the same time, the later one takes over the earlier one's (by law 1 they hold the same
//!    bits) and frees its own.
//! 5. *Ancestors of the living live.* A table that holds a page holds all pages before it. So whatever lies under a
//!    retained node is retained too, every retained page can be taken back leaf by leaf, and `free + retained` is what
//!    can be had.
//! 6. *Tenants are roots.* No operation crosses from one tree to another.
//!
//! # What a shared tail costs
//!
//! Whole pages are shared by reference. Of a page that matches for `m` slots only, the table holds a reference as well,
//! and the first write copies `m` slots (rule 1): a copy, not a recomputation. If the page was retained and matches to
//! its end, not even that: the table simply goes on writing behind its run.

mod cache;
mod index;
mod pool;
mod publish;
mod table;
#[cfg(test)]
mod tests;

pub use cache::{PageCache, PageCopy};
pub use table::PageTable;
