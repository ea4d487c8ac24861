//! The product on plain vectors.
//!
//! How rows and panels are blocked changes no bit: each sum is one accumulator that takes its products in ascending k,
//! or pairs of them ([`Factor`]).

use super::factor::Factor;
use super::{Element, FEW_ROWS, Product, Span};
use crate::cpu::isa::{Isa, Kernel};
use crate::spec::contract::TILE_DEPTH;

/// The product on plain vectors: every (row, panel) is one accumulator, blocked so that they fill the registers. A
/// kernel of its own, so that it is compiled once and not into every caller.
impl<I: Isa, E: Element> Kernel<I> for Product<'_, f32, E> {
    #[inline(always)]
    fn run(self, isa: I) {
        self.in_vectors(isa);
    }
}

/// Bytes of a panel, about, that many rows meet one after the other: where they go by one panel, as on `avx2`, it stays
/// in a first cache of 48 KiB meanwhile; three of `avx512` stay in the second.
const BLOCK_BYTES: usize = 28 << 10;

/// Rows of a block on `avx2` where panels are widened: five by two registers leave six for weights, what they widen to,
/// and the broadcast.
const WIDENED_ROWS: usize = 5;

/// How many rows are many.
const BLOCKED_ROWS: usize = 32;

impl<L, E: Element> Product<'_, L, E> {
    /// All of it.
    #[inline(always)]
    pub fn in_vectors<I: Isa>(mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        self.check();
        assert!(self.finished.is_none(), "plain vectors store sums alone");
        self.in_depth_blocks(isa);
    }

    /// By one part of the depth after the other, so that what many rows read of it stays in a cache.
    #[inline(always)]
    fn in_depth_blocks<I: Isa>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        let Span { first_k, depth, panels } = self.span;
        let n_blocks = if self.n_rows < BLOCKED_ROWS { 1 } else { depth.div_ceil(BLOCK_BYTES / size_of::<[E; 16]>()) };
        for block in 0..n_blocks {
            let [first, end] = [block, block + 1].map(|i| (i * depth / n_blocks).next_multiple_of(TILE_DEPTH));
            let mut of_part = Product {
                span: Span { first_k: first_k + first, depth: end - first, panels: &panels[first * 16..] },
                out: &mut *self.out,
                accumulate: block > 0,
                beside: None,
                finished: None,
                ..*self
            };
            of_part.in_registers(isa);
        }
    }

    /// In blocks of as many sums as there are registers.
    #[inline(always)]
    fn in_registers<I: Isa>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        match I::ACCUMULATORS {
            24.. => self.sweep_wide(isa),
            6.. if I::ASKS_AHEAD && E::WIDENS && self.n_rows <= FEW_ROWS => {
                self.sweep_even::<I, WIDENED_ROWS, true>(isa);
            }
            6.. if E::WIDENS => self.sweep_even::<I, WIDENED_ROWS, false>(isa),
            // f32 needs no registers to be widened.
            6.. => self.sweep_even::<I, 6, false>(isa),
            _ => self.sweep_short(isa),
        }
    }
}
