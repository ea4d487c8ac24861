//! A unit one step after the other: scores, weights, weighted values. So it goes where vectors multiply pages as they
//! are stored; where codes are widened first, they go their own way (`codes`).

use super::block::Block;
use super::products::{Scores, Values};
use super::scratch::AttentionScratch;
use super::soon::Soon;
use super::stored::Stored;
use super::unit::Unit;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// Computes the states of a unit's rows over its keys.
    #[inline(always)]
    pub(super) fn chunk<I: Isa<Lhs = L>>(&mut self, isa: I, unit: &Unit<'a>) {
        if unit.keys.layer.is_int8() {
            self.chunk_of_codes(isa, unit);
        } else {
            self.chunk_as_stored::<I, u16>(isa, unit);
        }
    }

    /// The same for pages of `E`, which products take as it is stored.
    #[inline(always)]
    pub(super) fn chunk_as_stored<I: Isa<Lhs = L>, E: Stored>(&mut self, isa: I, unit: &Unit<'a>) {
        let AttentionScratch { q, strips: [strip, _], scales, chunk_values, isolation, .. } = &mut *self.scratch;
        let (keys, values) = unit.panels::<E>();
        Scores { unit, q, out: &mut strip.scores }.of(isa, keys, None);
        let mut soon = Soon::<E>::values(unit);
        while soon.ask(isa) {}
        E::softmax(isa, unit, strip, scales);
        let mut weighted = Values { unit, probs: &strip.probs, out: chunk_values };
        if unit.maybe_not_finite() {
            // Pages of bf16, for codes are finite.
            weighted.isolated(isa, isolation);
        } else {
            weighted.of(isa, values, None);
        }
    }
}
