//! Keys and values that are stored as codes.
//!
//! They meet the same products as those of bf16; the scales come afterwards: those of keys into the scores, those of values into the weights. Where the
//! table does not multiply codes of so many rows ([`Isa::CODE_ROWS`]) they are widened first (`widen`): where a block is one strip, as in decode on
//! `amx`, each part of a page, its keys or its values, is widened beside the product of the part before it, into one of two places that stay in the first
//! cache for heads of up to 128; where strips follow each other, a chunk is widened once for all of them.
//!
//! All of it is compiled apart from what runs on pages of bf16 ([`run_apart`]), which was 4% slower otherwise.

use super::block::Block;
use super::keys::{CHUNK_PAGES, Keys, PageSpan};
use super::products::{Scores, Values};
use super::scales::Scales;
use super::scratch::AttentionScratch;
use super::softmax::Softmax;
use super::unit::{Unit, at_once};
use super::widen::Widening;
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::cpu::lhs::LhsElement;
use crate::cpu::pages::Int8Head;
use crate::spec::PageId;

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
            run_apart(isa, OfPages { block: self.again(), unit });
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
    /// The head's part of a page of codes.
    #[inline(always)]
    fn codes(&self, page: PageId) -> Int8Head<'a> {
        self.head(page).int8()
    }

    /// The page that has a span's place in the next chunk, if that is the block's.
    #[inline(always)]
    fn next_codes(&self, chunk: usize, span: &PageSpan) -> Option<Int8Head<'a>> {
        let table = self.ragged.page_table(self.task.seq as usize);
        let page = table.get((chunk + 1) * CHUNK_PAGES + span.page_in_chunk());
        Some(self.codes(*page.filter(|_| chunk + 1 < self.task.end_chunk as usize)?))
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

/// Widens what any strip of a block sees of a chunk.
struct WidenChunk<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    chunk: usize,
}

impl<I: Isa, O: LhsElement> Kernel<I> for WidenChunk<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let unit = Unit::new(self.block.keys(), self.chunk, 0..self.block.n_rows());
        let AttentionScratch { widened, scales, .. } = &mut *self.block.scratch;
        take_scales(isa, &unit, scales);
        for span in unit.spans() {
            let (keys, values) = widened.page_mut(span.page_in_chunk());
            begin(isa, &unit, (Part::Keys, span), keys).finish(isa);
            begin(isa, &unit, (Part::Values, span), values).finish(isa);
        }
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
        let depth = unit.keys.layer.layout.k_depth;
        for span in unit.spans() {
            let keys = span.of_keys(widened.page(span.page_in_chunk()).0, depth);
            Scores { unit, q, out: &mut strip.scores }.of(isa, &span, keys, None);
        }
        Softmax::<I, true>::new(isa, unit.clone(), strip, scales).finish(isa);
        let values = unit.spans().map(|span| span.of_values(widened.page(span.page_in_chunk()).1));
        Values { unit, probs: &strip.probs, out: chunk_values }.of(isa, values, false, None);
    }
}

/// A unit whose strip is all of the block.
struct OfPages<'a, 'b, L, O> {
    block: Block<'a, 'b, L, O>,
    unit: &'b Unit<'a>,
}

impl<I: Isa, O: LhsElement> Kernel<I> for OfPages<'_, '_, I::Lhs, O> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { block, unit } = self;
        let AttentionScratch { q, strips: [strip, _], widened, scales, chunk_values, .. } = &mut *block.scratch;
        let depth = unit.keys.layer.layout.k_depth;
        take_scales(isa, unit, scales);
        let (spans, n_pages) = at_once(PageSpan::NONE, unit.spans());
        // The keys of all pages, then the values.
        let part = |i: usize| if i < n_pages { (Part::Keys, spans[i]) } else { (Part::Values, spans[i - n_pages]) };
        let [mut here, mut there] = widened.turns.each_mut();
        begin(isa, unit, part(0), here).finish(isa);
        for i in 0..2 * n_pages {
            if i == n_pages {
                Softmax::<I, true>::new(isa, unit.clone(), strip, scales).finish(isa);
            }
            let mut next = (i + 1 < 2 * n_pages).then(|| begin(isa, unit, part(i + 1), there).beside(isa));
            if let Some(next) = next.as_mut().filter(|_| !I::MULTIPLIES_BESIDE) {
                // The next product finds its operand stored, and does not wait for memory.
                next.finish();
            }
            let beside = next.as_mut().map(|next| next as _);
            match part(i) {
                (Part::Keys, span) => {
                    Scores { unit, q, out: &mut strip.scores }.of(isa, &span, span.of_keys(here, depth), beside);
                }
                (Part::Values, span) => {
                    let values = std::iter::once(span.of_values(here));
                    Values { unit, probs: &strip.probs, out: chunk_values }.of(isa, values, i > n_pages, beside);
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
        for next in unit.spans().filter_map(|span| unit.keys.next_codes(unit.chunk, &span)) {
            ask_for_scales(isa, &next);
        }
        take_scales(isa, unit, &mut block.scratch.scales);
        block.chunk_as_stored::<I, u8>(isa, unit);
    }
}

/// What of a page is widened at a time.
#[derive(Clone, Copy)]
enum Part {
    Keys,
    Values,
}

/// Begins to widen a part of a page of a unit's chunk.
#[inline(always)]
fn begin<'w, I: Isa>(isa: I, unit: &Unit<'w>, (part, span): (Part, PageSpan), out: &'w mut [u16]) -> Widening<'w> {
    let head = unit.keys.codes(span.page);
    match part {
        Part::Keys => Widening::new(head.keys, out, head.values),
        Part::Values => {
            let next = unit.keys.next_codes(unit.chunk, &span);
            next.iter().for_each(|next| ask_for_scales(isa, next));
            Widening::new(head.values, out, next.map_or(&[], |next| next.keys))
        }
    }
}

/// Takes in the scales of a unit's pages.
#[inline(always)]
fn take_scales<I: Isa>(isa: I, unit: &Unit<'_>, scales: &mut Scales) {
    for span in unit.spans() {
        let factor = unit.keys.geometry.exponent_factor();
        scales.take(isa, span.page_in_chunk(), &unit.keys.codes(span.page), factor);
    }
}
