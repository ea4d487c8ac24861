//! A unit one step after the other: scores, weights, weighted values. So it goes where vectors multiply, and wherever keys and values are codes.

use super::block::Block;
use super::keys::PageSpan;
use super::products::{Scores, Values};
use super::scratch::AttentionScratch;
use super::softmax::Softmax;
use super::soon::Soon;
use super::unit::Unit;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// Computes the states of a unit's rows over its keys.
    #[inline(always)]
    pub(super) fn chunk<I: Isa<Lhs = L>>(&mut self, isa: I, unit: &Unit<'a>) {
        if unit.keys.layer.is_int8() {
            return self.chunk_of_codes(isa, unit);
        }
        for span in unit.spans() {
            self.scores(isa, unit, span);
        }
        let AttentionScratch { strips: [strip, _], widened, .. } = &mut *self.scratch;
        let mut soon = Soon::values(unit);
        while soon.ask(isa) {}
        Softmax::<I, false>::new(isa, unit.clone(), strip, widened).finish(isa);
        let AttentionScratch { strips: [strip, _], widened, chunk_values, isolation, .. } = &mut *self.scratch;
        let mut values = Values { unit, widened, probs: &strip.probs, out: chunk_values };
        if unit.maybe_not_finite() {
            values.isolated(isa, isolation);
        } else {
            values.of(isa, unit.spans(), false, None);
        }
    }

    /// As [`Block::chunk`], of keys and values that are widened first; codes are finite.
    #[inline(always)]
    fn chunk_of_codes<I: Isa<Lhs = L>>(&mut self, isa: I, unit: &Unit<'a>) {
        let mut widened = None;
        for span in unit.spans() {
            self.widen_keys(isa, unit.chunk, span);
            if let Some(last) = widened.replace(span) {
                self.scores(isa, unit, last);
            }
        }
        if let Some(last) = widened.take() {
            self.scores(isa, unit, last);
        }
        self.softmax_of_codes(isa, unit.clone());
        let by_page = !self.scratch.widened.is_shared();
        for span in unit.spans() {
            self.widen_values(isa, unit.chunk, span);
            if let Some(last) = widened.replace(span).filter(|_| by_page) {
                self.values(isa, unit, std::iter::once(last), last.first > unit.tiles.start);
            }
        }
        if !by_page {
            self.values(isa, unit, unit.spans(), false);
        } else if let Some(last) = widened {
            self.values(isa, unit, std::iter::once(last), last.first > unit.tiles.start);
        }
    }

    /// `q k^T` for the keys of a span.
    #[inline(always)]
    fn scores<I: Isa<Lhs = L>>(&mut self, isa: I, unit: &Unit<'a>, span: PageSpan) {
        let AttentionScratch { q, strips: [strip, _], widened, .. } = &mut *self.scratch;
        Scores { unit, widened, q, out: &mut strip.scores }.of(isa, span, None);
    }

    /// `p v` for some spans, onto what there is if `accumulate` says so.
    #[inline(always)]
    fn values<I: Isa<Lhs = L>>(
        &mut self,
        isa: I,
        unit: &Unit<'a>,
        spans: impl Iterator<Item = PageSpan>,
        accumulate: bool,
    ) {
        let AttentionScratch { strips: [strip, _], widened, chunk_values, .. } = &mut *self.scratch;
        Values { unit, widened, probs: &strip.probs, out: chunk_values }.of(isa, spans, accumulate, None);
    }
}
