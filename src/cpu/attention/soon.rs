//! What a block reads next, asked for while it computes.
//!
//! A chunk's keys, scores, values come one after the other, and the hardware fetches ahead within a page of memory only: without this, memory
//! rests while weights are computed. Only the first strip of a block asks, for the others find keys and values in the cache; and only where they
//! are bf16, since codes are asked for where they are widened.

use std::ops::Range;

use super::block::Block;
use super::chunk::CHUNK_PAGES;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::pages::Head;

/// Elements of a cache line.
const LINE_LEN: usize = 32;

/// Most lines of one [`Lines::ask`]: what memory brings while the weights of two vectors are computed.
const MOST_LINES: usize = 4;

/// Panels that are read next, a page's in each run.
pub(super) struct Soon<'a> {
    runs: [&'a [u16]; CHUNK_PAGES],
    n_runs: usize,
}

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// The value panels of keys `tiles` of a chunk.
    #[inline(always)]
    pub(super) fn chunk_values(&self, chunk: usize, strip: &Range<usize>, tiles: &Range<usize>) -> Soon<'a> {
        self.soon(chunk, strip, tiles, self.args.layer.layout.k_len()..self.args.layer.layout.panels_len())
    }

    /// The key panels of the chunk after `chunk`, unless another task has them.
    #[inline(always)]
    pub(super) fn next_keys(&self, chunk: usize, strip: &Range<usize>) -> Soon<'a> {
        let keys =
            if chunk + 1 < self.task.end_chunk as usize { 0..self.visible(chunk + 1, strip.end - 1).end } else { 0..0 };
        self.soon(chunk + 1, strip, &keys, 0..self.args.layer.layout.k_len())
    }

    /// Elements `part` of the pages that have keys `keys` of a chunk.
    #[inline(always)]
    fn soon(&self, chunk: usize, strip: &Range<usize>, keys: &Range<usize>, part: Range<usize>) -> Soon<'a> {
        let mut soon = Soon { runs: [&[]; CHUNK_PAGES], n_runs: 0 };
        if strip.start > 0 {
            return soon;
        }
        for span in self.page_spans(chunk, keys) {
            if let Head::Bf16(panels) = self.args.layer.head(span.page, self.task.kv_head as usize) {
                soon.runs[soon.n_runs] = &panels[part.clone()];
                soon.n_runs += 1;
            }
        }
        soon
    }
}

impl<'a> Soon<'a> {
    /// The runs, one after the other.
    #[inline(always)]
    pub(super) fn runs(&self) -> &[&'a [u16]] {
        &self.runs[..self.n_runs]
    }

    /// All their lines, to be asked for in `n_asks` goes, as far as that is not too many at once.
    #[inline(always)]
    pub(super) fn lines(self, n_asks: usize) -> Lines<'a> {
        let n_lines: usize = self.runs().iter().map(|run| run.len() / LINE_LEN).sum();
        Lines { per_ask: (n_lines / n_asks).min(MOST_LINES), soon: self, next: (0, 0) }
    }
}

/// Lines to ask for.
pub(super) struct Lines<'a> {
    soon: Soon<'a>,
    per_ask: usize,
    /// Which run, and the element in it.
    next: (usize, usize),
}

impl Lines<'_> {
    /// Asks for the next few in the second cache.
    #[inline(always)]
    pub(super) fn ask<I: Isa>(&mut self, isa: I) {
        for _ in 0..self.per_ask {
            let (run, first) = self.next;
            let Some(elements) = self.soon.runs().get(run) else { return };
            isa.prefetch_far(&elements[first]);
            let next = first + LINE_LEN;
            self.next = if next < elements.len() { (run, next) } else { (run + 1, 0) };
        }
    }
}
