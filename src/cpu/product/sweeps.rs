//! In which shapes of blocks plain vectors go through rows and panels.
//!
//! Each shape is a function of its own ([`run_apart`]): where several meet in one, the compiler keeps sums in memory.

use std::ops::Range;

use super::factor::Factor;
use super::{Element, EvenBlocks, FEW_ROWS, Product, even_blocks};
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::spec::contract::CHUNK_LEN;

/// Rows of the tallest block.
const TALLEST: usize = 8;

impl<L, E: Element> Product<'_, L, E> {
    /// Rows in blocks of three by one panel; the rest, and small batches, row by row and by three panels, so that
    /// several streams of weights are in flight.
    #[inline(always)]
    pub(super) fn sweep_short<I: Isa>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        let n_tall = self.n_rows / 3 * 3;
        self.rows::<I, 3, 1, false>(isa, 0..n_tall);
        self.rows::<I, 1, 3, false>(isa, n_tall..self.n_rows);
    }

    /// Rows in blocks of eight by three panels, or by two where the left operand is in pairs and panels are no multiple
    /// of three, and the rest in one block: of twelve rows by two the compiler keeps the broadcasts of all rows at
    /// once, in memory. Few rows wait for memory: they go panel by panel, so that it is read from end to end, which the
    /// hardware foresees best; but where panels are long and there is more arithmetic, by several of them.
    #[inline(always)]
    pub(super) fn sweep_wide<I: Isa>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        let n_tall = self.n_rows / TALLEST * TALLEST;
        let blocks = [
            EvenBlocks { len: TALLEST, rows: 0..n_tall },
            EvenBlocks { len: self.n_rows - n_tall, rows: n_tall..self.n_rows },
        ];
        match self.n_rows {
            ..=FEW_ROWS if E::WIDENS && (self.has_short_panels() || (L::STEPS == 1 && self.n_rows <= 4)) => {
                self.sweep_even::<I, TALLEST, false>(isa);
            }
            1 => run_apart(isa, OneBlock::<L, E, 1, 6, false>(self)),
            2 => run_apart(isa, OneBlock::<L, E, 2, 6, false>(self)),
            // In pairs they are a single step.
            _ if L::STEPS > 1 || self.n_panels.is_multiple_of(3) => {
                self.by_panels::<I, TALLEST, 3, false>(isa, &blocks)
            }
            _ => self.by_panels::<I, TALLEST, 2, false>(isa, &blocks),
        }
    }

    /// Rows in even blocks of `TALL` at most by one panel, which is read and widened once for the few rows of decode.
    /// One row or two go by two panels where those are long and registers few. Where it `ASKS`, memory is asked for
    /// ahead of what is read, which costs a product from the caches 5%.
    #[inline(always)]
    pub(super) fn sweep_even<I: Isa, const TALL: usize, const ASKS: bool>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        const { assert!(TALL >= 5 && TALL <= TALLEST) };
        let by_two = I::ACCUMULATORS < 24 && !self.has_short_panels();
        match self.n_rows {
            1 if by_two => run_apart(isa, OneBlock::<L, E, 1, 2, ASKS>(self)),
            2 if by_two => run_apart(isa, OneBlock::<L, E, 2, 2, ASKS>(self)),
            1 => run_apart(isa, OneBlock::<L, E, 1, 1, ASKS>(self)),
            2 => run_apart(isa, OneBlock::<L, E, 2, 1, ASKS>(self)),
            3 => run_apart(isa, OneBlock::<L, E, 3, 1, ASKS>(self)),
            4 => run_apart(isa, OneBlock::<L, E, 4, 1, ASKS>(self)),
            5 => run_apart(isa, OneBlock::<L, E, 5, 1, ASKS>(self)),
            n_rows => self.by_panels::<I, TALL, 1, ASKS>(isa, &even_blocks(n_rows, TALL)),
        }
    }

    /// Whether a panel is a few KiB long, as those of keys and values are.
    #[inline(always)]
    fn has_short_panels(&self) -> bool {
        self.span.depth <= CHUNK_LEN
    }

    /// Blocks of `TALL` rows at most by all panels, `PANELS` at a time.
    #[inline(always)]
    fn by_panels<I: Isa, const TALL: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        isa: I,
        blocks: &[EvenBlocks],
    ) where
        L: Factor<I, E>,
    {
        for panel in (0..self.n_panels).step_by(PANELS) {
            for EvenBlocks { len, rows } in blocks {
                let (product, rows) = (&mut *self, rows.clone());
                match len {
                    _ if rows.is_empty() => (),
                    // Even blocks are no shorter than three rows; the rest of tall ones may be.
                    1 if PANELS > 1 => run_apart(isa, Blocks::<L, E, 1, PANELS, ASKS> { product, panel, rows }),
                    2 if PANELS > 1 => run_apart(isa, Blocks::<L, E, 2, PANELS, ASKS> { product, panel, rows }),
                    3 => run_apart(isa, Blocks::<L, E, 3, PANELS, ASKS> { product, panel, rows }),
                    4 => run_apart(isa, Blocks::<L, E, 4, PANELS, ASKS> { product, panel, rows }),
                    5 => run_apart(isa, Blocks::<L, E, 5, PANELS, ASKS> { product, panel, rows }),
                    6 if TALL > 6 => run_apart(isa, Blocks::<L, E, 6, PANELS, ASKS> { product, panel, rows }),
                    7 if TALL > 7 => run_apart(isa, Blocks::<L, E, 7, PANELS, ASKS> { product, panel, rows }),
                    _ => run_apart(isa, Blocks::<L, E, TALL, PANELS, ASKS> { product, panel, rows }),
                }
            }
        }
    }

    /// Some rows by all panels, `ROWS` by `PANELS` at a time.
    #[inline(always)]
    fn rows<I: Isa, const ROWS: usize, const PANELS: usize, const ASKS: bool>(&mut self, isa: I, rows: Range<usize>)
    where
        L: Factor<I, E>,
    {
        for panel in (0..self.n_panels).step_by(PANELS) {
            self.rows_of_panels::<I, ROWS, PANELS, ASKS>(isa, &rows, panel);
        }
    }

    /// Some rows by `PANELS` panels from `panel` on, `ROWS` at a time; where fewer panels are left, one by one.
    #[inline(always)]
    fn rows_of_panels<I: Isa, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        isa: I,
        rows: &Range<usize>,
        panel: usize,
    ) where
        L: Factor<I, E>,
    {
        if panel + PANELS <= self.n_panels {
            for row in rows.clone().step_by(ROWS) {
                self.block::<I, ROWS, PANELS, ASKS>(isa, row, panel);
            }
            return;
        }
        for panel in panel..self.n_panels {
            for row in rows.clone().step_by(ROWS) {
                self.block::<I, ROWS, 1, ASKS>(isa, row, panel);
            }
        }
    }
}

/// All rows, which are one block, by all panels.
struct OneBlock<'a, 'b, L, E, const ROWS: usize, const PANELS: usize, const ASKS: bool>(&'b mut Product<'a, L, E>);

impl<I: Isa, L, E, const ROWS: usize, const PANELS: usize, const ASKS: bool> Kernel<I>
    for OneBlock<'_, '_, L, E, ROWS, PANELS, ASKS>
where
    L: Factor<I, E>,
    E: Element,
{
    #[inline(always)]
    fn run(self, isa: I) {
        self.0.rows::<I, ROWS, PANELS, ASKS>(isa, 0..ROWS);
    }
}

/// Some rows by `PANELS` panels from `panel` on, `ROWS` at a time.
struct Blocks<'a, 'b, L, E, const ROWS: usize, const PANELS: usize, const ASKS: bool> {
    product: &'b mut Product<'a, L, E>,
    panel: usize,
    rows: Range<usize>,
}

impl<I: Isa, L, E, const ROWS: usize, const PANELS: usize, const ASKS: bool> Kernel<I>
    for Blocks<'_, '_, L, E, ROWS, PANELS, ASKS>
where
    L: Factor<I, E>,
    E: Element,
{
    #[inline(always)]
    fn run(self, isa: I) {
        self.product.rows_of_panels::<I, ROWS, PANELS, ASKS>(isa, &self.rows, self.panel);
    }
}
