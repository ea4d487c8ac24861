//! Tokens that were appended and are not in the pages yet.

use std::collections::BTreeMap;

use half::bf16;
use ndarray::ArrayView3;

use crate::spec::{PageId, Slot};

/// A key and a value, each `[kv_head][head_dim]`.
pub type Token<'a> = (&'a [bf16], &'a [bf16]);

/// The tokens of one append, of one layer.
#[derive(Debug, Default)]
pub struct Pending {
    token_len: usize,
    k: Vec<bf16>,
    v: Vec<bf16>,
    /// Which token is for a slot: the last, if several are.
    tokens: BTreeMap<(PageId, usize), usize>,
}

impl Pending {
    /// Tokens `[n_tokens, n_kv_heads, head_dim]`, rounded, for the slots `at`.
    pub fn new(k: ArrayView3<'_, f32>, v: ArrayView3<'_, f32>, at: &[Slot]) -> Self {
        let (_, n_kv_heads, head_dim) = k.dim();
        let narrow = |x: ArrayView3<'_, f32>| x.iter().map(|x| bf16::from_f32(*x)).collect();
        let tokens = at.iter().enumerate().map(|(i, slot)| ((slot.page, slot.slot_idx), i)).collect();
        Self { token_len: n_kv_heads * head_dim, k: narrow(k), v: narrow(v), tokens }
    }

    /// The token that waits for a slot.
    pub fn token(&self, page: PageId, slot_idx: usize) -> Option<Token<'_>> {
        let first = self.tokens.get(&(page, slot_idx))? * self.token_len;
        Some((&self.k[first..first + self.token_len], &self.v[first..first + self.token_len]))
    }

    /// The slots of a page that tokens wait for, and these, in order.
    pub fn on_page(&self, page: PageId) -> impl Iterator<Item = (usize, Token<'_>)> {
        let slots = self.tokens.range((page, 0)..=(page, usize::MAX)).map(|((_, slot_idx), _)| *slot_idx);
        slots.filter_map(move |slot_idx| Some((slot_idx, self.token(page, slot_idx)?)))
    }

    /// The pages that tokens wait for, each once, in order.
    pub fn pages(&self) -> Vec<PageId> {
        let mut pages: Vec<PageId> = self.tokens.keys().map(|(page, _)| *page).collect();
        pages.dedup();
        pages
    }

    /// Forgets the tokens of a page: they are there, or not wanted any more.
    pub fn forget(&mut self, page: PageId) {
        self.tokens.retain(|(of, _), _| *of != page);
    }

    /// Forgets a token.
    pub fn forget_slot(&mut self, page: PageId, slot_idx: usize) {
        self.tokens.remove(&(page, slot_idx));
    }
}
