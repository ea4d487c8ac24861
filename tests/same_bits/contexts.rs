//! Sequences that live in a model's pages, and what can happen to them.

use longhaul::backend::Model;
use longhaul::spec::contract::PAGE_LEN;
use longhaul::spec::{Logits, PageId, StepBatch, TokenId};

use crate::{N_PAGES, poison, same_bits};

/// A prompt, how much of it is in pages, and what its logits must be.
pub struct Context<'a> {
    pub tokens: &'a [TokenId],
    /// `[n_tokens][vocab]`
    pub expected: &'a [Vec<f32>],
    len: usize,
    pages: Vec<PageId>,
    /// Pages that other contexts read as well: these are written no more.
    n_shared: usize,
}

/// A model and its sequences; every page that none of them owns is full of NaN.
pub struct Contexts<'a> {
    model: Box<dyn Model>,
    free: Vec<PageId>,
    contexts: Vec<Context<'a>>,
}

impl<'a> Contexts<'a> {
    /// Empty contexts of prompts with their logits. Pages are handed out in an order that `salt` shuffles.
    pub fn new(mut model: Box<dyn Model>, salt: usize, prompts: &'a [(Vec<TokenId>, Vec<Vec<f32>>)]) -> Self {
        let mut free: Vec<PageId> = (0..N_PAGES as u32).map(PageId).collect();
        free.sort_by_key(|page| (page.idx() + 1) * (2 * salt + 7919) % 101);
        free.iter().for_each(|page| poison(&mut *model, *page));
        let context = |(tokens, expected): &'a (Vec<TokenId>, Vec<Vec<f32>>)| Context {
            tokens,
            expected,
            len: 0,
            pages: Vec::new(),
            n_shared: 0,
        };
        Self { model, free, contexts: prompts.iter().map(context).collect() }
    }

    /// Whether all prompts are in their pages.
    pub fn done(&self) -> bool {
        self.contexts.iter().all(|c| c.len == c.tokens.len())
    }

    /// One step in which context `i` appends up to `n_tokens[i]` tokens. Answers where a bit differs: context and
    /// position.
    pub fn step(&mut self, n_tokens: &[usize]) -> Option<(usize, usize)> {
        let (mut batch, mut rows) = (StepBatch::new(), Vec::new());
        for (i, (context, n)) in self.contexts.iter_mut().zip(n_tokens).enumerate() {
            let end = context.tokens.len().min(context.len + n);
            if end == context.len {
                continue;
            }
            while context.pages.len() < end.div_ceil(PAGE_LEN) {
                context.pages.push(self.free.pop().expect("pages for all prompts"));
            }
            batch.push(&context.tokens[context.len..end], context.len, &context.pages);
            rows.extend((context.len..end).map(|position| (i, position)));
            context.len = end;
        }
        batch.logit_rows = (0..rows.len() as u32).collect();
        let mut logits = Logits::new();
        self.model.step(&batch, &mut logits).unwrap();
        let differs = |(row, (i, position)): (usize, &(usize, usize))| {
            !same_bits(logits.row(row), &self.contexts[*i].expected[*position])
        };
        rows.iter().enumerate().find(|x| differs((x.0, x.1))).map(|(_, at)| *at)
    }

    /// Forgets up to `n_tokens` of a context's last tokens, but none in shared pages.
    pub fn rewind(&mut self, i: usize, n_tokens: usize) {
        let context = &mut self.contexts[i];
        context.len = context.len.saturating_sub(n_tokens).max((context.n_shared * PAGE_LEN).min(context.len));
        let unused = context.pages.split_off(context.len.div_ceil(PAGE_LEN));
        unused.into_iter().for_each(|page| self.release(page));
    }

    /// Moves a page of a context elsewhere, by a copy or by way of bytes.
    pub fn relocate(&mut self, i: usize, page_idx: usize, as_bytes: bool) {
        let context = &mut self.contexts[i];
        if context.pages.len() == context.n_shared {
            return;
        }
        let idx = context.n_shared + page_idx % (context.pages.len() - context.n_shared);
        let (from, to) = (context.pages[idx], self.free.pop().expect("a free page"));
        if as_bytes {
            let mut bytes = vec![0; self.model.kv().page_bytes()];
            self.model.kv().export_page(from, &mut bytes).unwrap();
            self.model.kv().import_page(to, &bytes).unwrap();
        } else {
            let n_slots = PAGE_LEN.min(context.len - idx * PAGE_LEN);
            self.model.kv().copy_page(from, to, n_slots).unwrap();
        }
        context.pages[idx] = to;
        self.release(from);
    }

    /// Starts context `to` over from what it has in common with `from`: full pages are shared, the last one is copied.
    pub fn fork(&mut self, from: usize, to: usize) {
        if from == to || self.contexts.iter().any(|c| c.n_shared > 0) {
            return;
        }
        self.rewind(to, usize::MAX);
        let common =
            self.contexts[from].tokens.iter().zip(self.contexts[to].tokens).take_while(|(a, b)| a == b).count();
        let len = common.min(self.contexts[from].len);
        let (n_shared, n_slots) = (len / PAGE_LEN, len % PAGE_LEN);
        let mut pages = self.contexts[from].pages[..n_shared].to_vec();
        if n_slots > 0 {
            let copy = self.free.pop().expect("a free page");
            self.model.kv().copy_page(self.contexts[from].pages[n_shared], copy, n_slots).unwrap();
            pages.push(copy);
        }
        self.contexts[from].n_shared = n_shared;
        let context = &mut self.contexts[to];
        (context.len, context.pages, context.n_shared) = (len, pages, n_shared);
    }

    /// Takes a page back. It is the next to be handed out.
    fn release(&mut self, page: PageId) {
        poison(&mut *self.model, page);
        self.free.push(page);
    }
}
