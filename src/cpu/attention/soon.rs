//! What a block reads next, asked for while it computes.
//!
//! The hardware fetches ahead within a page of memory only: without this, memory rests wherever a product goes on to another page, and while weights
//! are computed. The beginning of each page of memory is enough, for the hardware goes on from there. Beside products on tiles they are asked for one
//! by one, since all at once cost decode 3% there; where vectors multiply, all at once right before softmax, and only the first line of each. Only the
//! first strip of a block asks, for the others find keys and values in the cache; and only where they are bf16, since codes are asked for where they
//! are widened. What few rows read, `avx2` asks for line by line besides ([`Isa::ASKS_AHEAD`]).

use std::ops::Range;

use super::keys::CHUNK_PAGES;
use super::unit::Unit;
use crate::cpu::isa::Isa;
use crate::cpu::pages::Head;

/// Elements of a page of memory, of 4 KiB whatever pages the operating system gave: the hardware knows no other here.
const MEMORY_PAGE_LEN: usize = 4096 / size_of::<u16>();

/// Elements that are asked for of a page of memory beside products on tiles: a KiB. Half as much gave decode 1 to 2% less, a line 3%; a KiB and a half
/// no more, but took 4% behind a shared prefix.
const ASKED_LEN: usize = 1024 / size_of::<u16>();

/// Elements of a cache line.
const LINE_LEN: usize = 64 / size_of::<u16>();

/// Panels that are read next, a page's in each run.
#[derive(Default)]
pub struct Soon<'a> {
    runs: [&'a [u16]; CHUNK_PAGES],
    /// Which run is asked for, and from which element on.
    next: (usize, usize),
}

impl<'a> Soon<'a> {
    /// Elements `part` of a head's part of a unit's pages.
    #[inline(always)]
    fn of(unit: &Unit<'a>, part: Range<usize>) -> Self {
        let mut soon = Self::default();
        if unit.strip.start > 0 {
            return soon;
        }
        for (run, span) in soon.runs.iter_mut().zip(unit.spans()) {
            if let Head::Bf16(panels) = unit.keys.layer.head(span.page, unit.keys.task.kv_head as usize) {
                *run = &panels[part.clone()];
            }
        }
        soon
    }

    /// The keys of a unit.
    #[inline(always)]
    pub fn keys(unit: &Unit<'a>) -> Self {
        Self::of(unit, 0..unit.keys.layer.layout.k_len())
    }

    /// The values of a unit.
    #[inline(always)]
    pub fn values(unit: &Unit<'a>) -> Self {
        Self::of(unit, unit.keys.layer.layout.k_len()..unit.keys.layer.layout.panels_len())
    }

    /// Asks for the beginning of the next page of memory in the second cache, if there is one; answers whether there was.
    #[inline(always)]
    pub fn ask<I: Isa>(&mut self, isa: I) -> bool {
        let (run, first) = self.next;
        let Some(panels) = self.runs.get(run).and_then(|run| run.get(first..)).filter(|rest| !rest.is_empty()) else {
            return false;
        };
        let asked = if I::MULTIPLIES_BESIDE { ASKED_LEN } else { LINE_LEN };
        panels.iter().take(asked).step_by(LINE_LEN).for_each(|line| isa.prefetch_far(line));
        let next = first + MEMORY_PAGE_LEN;
        self.next = if next < self.runs[run].len() { (run, next) } else { (run + 1, 0) };
        true
    }
}
