//! Keys and values that are stored as codes.
//!
//! They meet the same products as those of bf16; the scales come afterwards: those of keys into the scores, those of
//! values into the weights. Where the table does not multiply codes of so many rows ([`Isa::CODE_ROWS`]) they are
//! widened first (`widen`): where a block is one strip, as in decode on `amx`, each piece of a page, some keys or some
//! panels of values, is widened beside the product of the piece before it, into one of two places that stay in the
//! first cache for heads of up to 128; where strips follow each other, a chunk is widened once for all of them.
//!
//! All of it is compiled apart from what runs on pages of bf16 ([`run_apart`]), which was 4% slower otherwise.

use super::block::Block;
use super::keys::Keys;
use super::products::{Scores, Values};
use super::scales::Scales;
use super::scratch::AttentionScratch;
use super::softmax::Softmax;
use super::unit::Unit;
use super::widen::{Piece, Source, Widening};
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::cpu::lhs::LhsElement;
use crate::cpu::pages::Int8Head;

impl<'a, L: LhsElement, O: LhsElement> Block<'a, '_, L, O> {
    /// To be called before the first strip of a chunk: widens it, if several strips will read it.
    #[inline(always)]
    pub(super) fn begin_chunk<I: Isa<Lhs = L>>(&mut self, isa: I, chunk: usize) {
        if self.args.layer.is_int8() && !self.multiplies_codes::<I>() && self.has_strips::<I>() {
            run_apart(isa, WidenChunk { block: self.again(), chunk });
        }
    }

    /// Computes the states of a unit's rows over its keys, which are codes.
    #[inline(always)]
    pub(super) fn chunk_of_codes<I: Isa<Lhs = L>>(&mut self, isa: I, unit: &Unit<'a>) {
        if self.multiplies_codes::<I>() {
            run_apart(isa, AsStored { block: self.again(), unit });
        } else if self.has_strips::<I>() {
            run_apart(isa, OfChunk { block: self.again(), unit });
        } else {
            run_apart(isa, OfPieces { block: self.again(), unit });
        }
    }

    /// Whether its products take codes as they are.
    #[inline(always)]
    fn multiplies_codes<I: Isa<Lhs = L>>(&self) -> bool {
        self.n_rows() <= I::CODE_ROWS
    }

    /// Whether the block has several strips.
    #[inline(always)]
    fn has_strips<I: Isa<Lhs = L>>(&self) -> bool {
        self.n_rows() > I::ATTENTION_ROWS
    }

    /// The same block, for a kernel apart.
    #[inline(always)]
    fn again(&mut self) -> Block<'a, '_, L, O> {
        Block { args: self.args, shared_tokens: self.shared_tokens, task: self.task, scratch: self.scratch }
    }
}

impl<'a> Keys<'a> {
    /// The head's part of a chunk's page of codes, if the chunk is the block's.
    #[inline(always)]
    fn codes(&self, chunk: usize) -> Option<Int8Head<'a>> {
        let page = self.page(chunk).filter(|_| chunk < self.task.end_chunk as usize)?;
        Some(self.head(page).int8())
    }
}

/// Asks for the scales of a page, a few lines.
#[inline(always)]
fn ask_for_scales<I: Isa>(isa: I, head: &Int8Head<'_>) {
    for scales in [head.k_scales, head.v_scales] {
        scales.iter().step_by(SCALES_OF_LINE).for_each(|scale| isa.prefetch_far(scale));
    }
}

/// Scales in a cache line.
const SCALES_OF_LINE: usize = 16;

/// Widens the keys that any strip of a block sees of a chunk, and all values of its page.
struct WidenChunk<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    chunk: usize,
}

impl<I: Isa, O: LhsElement> Kernel<I> for WidenChunk<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let unit = Unit::new(self.block.keys(), self.chunk, 0..self.block.n_rows());
        let AttentionScratch { widened, scales, .. } = &mut *self.block.scratch;
        let head = take_scales(isa, &unit, scales);
        let [keys, values] = widened.page.each_mut();
        let depth = unit.keys.layer.layout.k_depth;
        let seen = unit.tiles.start * depth..unit.tiles.end * depth;
        Widening::new(&head.keys[seen.clone()], &mut keys[seen], &[]).finish(isa);
        Widening::new(head.values, values, &[]).finish(isa);
    }
}

/// A unit of a chunk that has been widened.
struct OfChunk<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    unit: &'b Unit<'a>,
}

impl<I: Isa, O: LhsElement> Kernel<I> for OfChunk<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { block, unit } = self;
        let AttentionScratch { q, strips: [strip, _], widened, scales, chunk_values, .. } = &mut *block.scratch;
        let [keys, values] = widened.page.each_ref();
        Scores { unit, q, out: &mut strip.scores }.of::<I, u16>(isa, keys, None);
        Softmax::<I, true>::new(isa, unit.clone(), strip, scales).finish(isa);
        Values { unit, probs: &strip.probs, out: chunk_values }.of::<I, u16>(isa, values, None);
    }
}

/// A unit whose strip is all of the block.
struct OfPieces<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    unit: &'b Unit<'a>,
}

impl<I: Isa, O: LhsElement> Kernel<I> for OfPieces<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { block, unit } = self;
        let AttentionScratch { q, strips: [strip, _], widened, scales, chunk_values, .. } = &mut *block.scratch;
        let head = take_scales(isa, unit, scales);
        let next = unit.keys.codes(unit.chunk + 1);
        next.iter().for_each(|next| ask_for_scales(isa, next));
        let source = Source { layout: unit.keys.layer.layout, tiles: unit.tiles.clone(), head, next };
        let mut pieces = source.pieces().peekable();
        let [mut here, mut there] = widened.turns.each_mut();
        source.begin(pieces.peek().expect("tiles are not empty"), here).finish(isa);
        let mut is_weighed = false;
        while let Some(piece) = pieces.next() {
            if matches!(piece, Piece::Values(_)) && !is_weighed {
                Softmax::<I, true>::new(isa, unit.clone(), strip, scales).finish(isa);
                is_weighed = true;
            }
            let mut next = pieces.peek().map(|next| source.begin(next, there).beside(isa));
            if let Some(next) = next.as_mut().filter(|_| !I::MULTIPLIES_BESIDE) {
                // The next product finds its operand stored, and does not wait for memory.
                next.finish();
            }
            let beside = next.as_mut().map(|next| next as _);
            match piece {
                Piece::Keys(keys) => {
                    Scores { unit, q, out: &mut strip.scores }.of_keys::<I, u16>(isa, here, keys, beside);
                }
                Piece::Values(panels) => {
                    Values { unit, probs: &strip.probs, out: chunk_values }
                        .of_panels::<I, u16>(isa, here, panels, beside);
                }
            }
            if let Some(next) = &mut next {
                next.finish();
            }
            std::mem::swap(&mut here, &mut there);
        }
    }
}

/// A unit whose codes are multiplied as they lie.
struct AsStored<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    unit: &'b Unit<'a>,
}

impl<I: Isa, O: LhsElement> Kernel<I> for AsStored<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { mut block, unit } = self;
        if let Some(next) = unit.keys.codes(unit.chunk + 1) {
            ask_for_scales(isa, &next);
        }
        take_scales(isa, unit, &mut block.scratch.scales);
        block.chunk_as_stored::<I, u8>(isa, unit);
    }
}

/// Takes in the scales of a unit's page; answers with the page.
#[inline(always)]
fn take_scales<'a, I: Isa>(isa: I, unit: &Unit<'a>, scales: &mut Scales) -> Int8Head<'a> {
    let head = unit.keys.codes(unit.chunk).expect("a unit is of a chunk of its block");
    scales.take(isa, &head, unit.keys.geometry.exponent_factor());
    head
}
