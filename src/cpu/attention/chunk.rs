//! A unit one step after the other: scores, weights, weighted values. So it goes where vectors multiply; codes go their own
//! way (`codes`).

use super::block::Block;
use super::keys::{CHUNK_PAGES, PageSpan};
use super::products::{Scores, Values};
use super::scratch::AttentionScratch;
use super::softmax::Softmax;
use super::soon::Soon;
use super::unit::Unit;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::Span;

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// Computes the states of a unit's rows over its keys.
    #[inline(always)]
    pub(super) fn chunk<I: Isa<Lhs = L>>(&mut self, isa: I, unit: &Unit<'a>) {
        if unit.keys.layer.is_int8() {
            return self.chunk_of_codes(isa, unit);
        }
        let AttentionScratch { q, strips: [strip, _], scales, chunk_values, isolation, .. } = &mut *self.scratch;
        let mut spans = [PageSpan::NONE; CHUNK_PAGES];
        let n_spans = unit.spans().zip(&mut spans).map(|(span, place)| *place = span).count();
        let spans = &spans[..n_spans];
        for (i, span) in spans.iter().enumerate() {
            let next = spans.get(i + 1).map_or(unit.values_of(&spans[0]), |next| unit.keys_of(next)).panels;
            let keys = Span { next, ..unit.keys_of(span) };
            Scores { unit, q, out: &mut strip.scores }.of(isa, span, keys, None);
        }
        let mut soon = Soon::values(unit);
        while soon.ask(isa) {}
        Softmax::<I, false>::new(isa, unit.clone(), strip, scales).finish(isa);
        let mut values = Values { unit, probs: &strip.probs, out: chunk_values };
        if unit.maybe_not_finite() {
            values.isolated(isa, isolation);
        } else {
            let of_pages = spans.iter().enumerate().map(|(i, span)| {
                let next = spans.get(i + 1).map_or_else(|| unit.next_keys(), |next| unit.values_of(next).panels);
                Span { next, ..unit.values_of(span) }
            });
            values.of(isa, of_pages, false, None);
        }
    }
}
