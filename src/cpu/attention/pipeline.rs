//! Units of a block in a pipeline, for tables whose products leave vectors time to work beside them.
//!
//! While tiles multiply, the weights of one unit are computed that meets its values next, and while that is done the
//! scores of the one after it come from the tiles: products of two units take turns, and softmax runs beside all of
//! them (as between warps in FlashAttention-3, section 3.1, Shah et al. 2024; here in one thread, for a core begins
//! many instructions before the first has ended). Each sum is taken as it would be one unit after the other, so the
//! bits are the same.

use super::block::Block;
use super::parts::ChunkStates;
use super::products::{Scores, Values};
use super::scratch::{AttentionScratch, Strip};
use super::softmax::Softmax;
use super::soon::Soon;
use super::unit::Unit;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::Beside;

/// The units under way.
struct Turn<'a> {
    /// Its scores are multiplied.
    scored: Option<Unit<'a>>,
    /// Its scores become weights.
    weighed: Option<Unit<'a>>,
    /// Its weights meet its values.
    valued: Option<Unit<'a>>,
    /// Which of the two strips of the scratch is weighed.
    of_weights: usize,
}

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// All units of the block.
    #[inline(always)]
    pub(super) fn pipeline<I: Isa<Lhs = L>>(&mut self, isa: I, mut apart: Option<&mut ChunkStates<'_>>) {
        let (keys, n_rows) = (self.keys(), self.n_rows());
        let strips = (0..n_rows).step_by(I::ATTENTION_ROWS).map(|row| row..n_rows.min(row + I::ATTENTION_ROWS));
        let chunks = self.task.first_chunk as usize..self.task.end_chunk as usize;
        let units = chunks.flat_map(|chunk| strips.clone().map(move |strip| Unit::new(keys, chunk, strip)));
        // A strip may see nothing of a chunk, but where states are left apart each strip sees something of each chunk.
        let mut units = units.filter(|unit| !unit.tiles.is_empty());
        let mut turn = Turn { scored: units.next(), weighed: None, valued: None, of_weights: 1 };
        while turn.scored.is_some() || turn.weighed.is_some() || turn.valued.is_some() {
            self.turn(isa, &turn, apart.as_deref_mut());
            turn = Turn {
                scored: units.next(),
                weighed: turn.scored,
                valued: turn.weighed,
                of_weights: 1 - turn.of_weights,
            };
        }
    }

    /// One unit's values, another's scores, and beside them what vectors do for a third.
    #[inline(always)]
    fn turn<I: Isa<Lhs = L>>(&mut self, isa: I, turn: &Turn<'a>, apart: Option<&mut ChunkStates<'_>>) {
        let AttentionScratch { q, strips: [even, odd], scales, chunk_values, state, isolation, .. } =
            &mut *self.scratch;
        let (of_weights, of_products) = if turn.of_weights == 0 { (even, odd) } else { (odd, even) };
        let Strip { scores, probs, max, sum } = of_products;
        let mut vectors = Vectors { isa, softmax: None, soon: Soon::default() };
        if let Some(unit) = &turn.weighed {
            vectors.softmax = Some(Softmax::new(isa, unit.clone(), of_weights, scales));
        }
        if let Some(unit) = &turn.valued {
            vectors.soon = turn.scored.as_ref().map(Soon::keys).unwrap_or_default();
            let mut values = Values { unit, probs, out: chunk_values };
            if unit.maybe_not_finite() {
                values.isolated(isa, isolation);
            } else {
                values.of(isa, unit.panels::<u16>().1, Some(&mut vectors));
            }
            state.take(isa, unit, (max, sum), chunk_values, apart);
        }
        if let Some(unit) = &turn.scored {
            vectors.soon = turn.weighed.as_ref().map(Soon::values).unwrap_or_default();
            Scores { unit, q, out: scores }.of(isa, unit.panels::<u16>().0, Some(&mut vectors));
        }
        vectors.finish();
    }
}

/// What vectors do beside products.
struct Vectors<'a, I: Isa> {
    isa: I,
    softmax: Option<Softmax<'a, I, false>>,
    /// What the next product reads.
    soon: Soon<'a, u16>,
}

impl<I: Isa> Vectors<'_, I> {
    /// All that is left.
    #[inline(always)]
    fn finish(&mut self) {
        if let Some(softmax) = &mut self.softmax {
            softmax.finish(self.isa);
        }
    }
}

impl<I: Isa> Beside for Vectors<'_, I> {
    fn step(&mut self) {
        let isa = self.isa;
        isa.run(Step(self));
    }
}

/// A step of each.
struct Step<'a, 'b, I: Isa>(&'a mut Vectors<'b, I>);

impl<I: Isa> Kernel<I> for Step<'_, '_, I> {
    #[inline(always)]
    fn run(self, isa: I) {
        self.0.soon.ask(isa);
        if let Some(softmax) = &mut self.0.softmax {
            softmax.step(isa);
        }
    }
}
