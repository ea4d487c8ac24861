//! What a block reads next, asked for while it computes.
//!
//! Much hardware fetches ahead within a page of memory only: without this, memory rests wherever a product goes on to
//! another page, and while weights are computed. The beginning of each page of memory is enough, for the hardware goes
//! on from there. Beside products on tiles they are asked for one by one, since all at once cost decode 3% there; where
//! vectors multiply, all at once right before softmax, and only the first line of each. Only the first strip of a block
//! asks, for the others find keys and values in the cache; codes that are widened are asked for there. Products of few
//! rows may ask for themselves as well, line by line ([`Isa::ASKS_AHEAD`]).

use super::stored::Stored;
use super::unit::Unit;
use crate::cpu::buffer::LINE;
use crate::cpu::isa::Isa;

/// Bytes of a page of memory, of 4 KiB whatever pages the operating system gave: the hardware knows no other here.
const MEMORY_PAGE: usize = 4096;

/// Bytes that are asked for of a page of memory beside products on tiles. Half as much gave decode 1 to 2% less, a line
/// 3%; a KiB and a half no more, but took 4% behind a shared prefix.
const ASKED: usize = 1024;

/// Panels of `E` that are read next.
#[derive(Default)]
pub struct Soon<'a, E> {
    panels: &'a [E],
}

impl<'a, E: Stored> Soon<'a, E> {
    /// What `part` answers of a unit's key panels and value panels.
    #[inline(always)]
    fn of(unit: &Unit<'a>, part: impl Fn((&'a [E], &'a [E])) -> &'a [E]) -> Self {
        Self { panels: if unit.strip.start > 0 { &[] } else { part(unit.panels()) } }
    }

    /// The keys of a unit.
    #[inline(always)]
    pub fn keys(unit: &Unit<'a>) -> Self {
        let depth = unit.keys.layer.layout.k_depth;
        Self::of(unit, |(keys, _)| &keys[unit.tiles.start * depth..unit.tiles.end * depth])
    }

    /// The values of a unit.
    #[inline(always)]
    pub fn values(unit: &Unit<'a>) -> Self {
        Self::of(unit, |(_, values)| values)
    }

    /// Asks for the beginning of the next page of memory in the second cache, if there is one; answers whether there
    /// was.
    #[inline(always)]
    pub fn ask<I: Isa>(&mut self, isa: I) -> bool {
        let (here, next) = self.panels.split_at(self.panels.len().min(MEMORY_PAGE / size_of::<E>()));
        let asked = (if I::MULTIPLIES_BESIDE { ASKED } else { LINE }) / size_of::<E>();
        here.iter().take(asked).step_by(LINE / size_of::<E>()).for_each(|line| isa.prefetch_far(line));
        self.panels = next;
        !here.is_empty()
    }
}
