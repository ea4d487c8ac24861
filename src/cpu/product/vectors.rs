//! The product on plain vectors.
//!
//! How rows and panels are blocked changes no bit: each sum is one accumulator that takes its products in ascending k.

use std::ops::Range;

use super::cells::{Cell, Cells};
use super::factor::Factor;
use super::{ASKING_ROWS, Along, Element, EvenBlocks, Product, Span, even_blocks};
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::spec::contract::TILE_DEPTH;

/// The product on plain vectors: every (row, panel) is one accumulator, blocked so that they fill the registers. A kernel of its own, so that it
/// is compiled once and not into every caller.
impl<I: Isa, E: Element> Kernel<I> for Product<'_, f32, E> {
    #[inline(always)]
    fn run(self, isa: I) {
        self.in_vectors(isa);
    }
}

/// Bytes of a panel, about, that many rows meet one after the other: where they go by one panel, as on `avx2`, it stays in a first cache of 48 KiB
/// meanwhile; three of `avx512` stay in the second.
const BLOCK_BYTES: usize = 28 << 10;

/// Rows of a block on `avx2` where panels are widened: five by two registers leave six for weights, what they widen to, and the broadcast.
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
        let (is_wide, n_spans) = (I::ACCUMULATORS >= 24, self.spans.len());
        if I::ASKS_AHEAD > 0 && E::WIDENS && self.n_rows <= ASKING_ROWS && (n_spans > 1 || !is_wide) {
            if is_wide {
                self.sweep_even::<I, 8, true>(isa);
            } else {
                self.sweep_even::<I, WIDENED_ROWS, true>(isa);
            }
        } else {
            assert!(self.along == Along::Depth || n_spans == 1, "columns of several spans are for few rows");
            self.in_depth_blocks(isa);
        }
    }

    /// By one part of the depth after the other, so that what many rows read of it stays in a cache.
    #[inline(always)]
    fn in_depth_blocks<I: Isa>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        for (i, span) in self.spans.iter().enumerate() {
            let n_blocks =
                if self.n_rows < BLOCKED_ROWS { 1 } else { span.depth.div_ceil(BLOCK_BYTES / size_of::<[E; 16]>()) };
            for block in 0..n_blocks {
                let [first, end] = [block, block + 1].map(|i| (i * span.depth / n_blocks).next_multiple_of(TILE_DEPTH));
                let part =
                    Span { first_k: span.first_k + first, depth: end - first, panels: &span.panels[first * 16..] };
                let mut of_part = Product {
                    spans: &[part],
                    out: &mut *self.out,
                    accumulate: self.accumulate || i > 0 || block > 0,
                    beside: None,
                    finished: None,
                    ..*self
                };
                of_part.in_registers(isa);
            }
        }
    }

    /// In blocks of as many sums as there are registers.
    #[inline(always)]
    fn in_registers<I: Isa>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        match I::ACCUMULATORS {
            24.. => self.sweep_tall(isa),
            6.. if E::WIDENS => self.sweep_even::<I, WIDENED_ROWS, false>(isa),
            // f32 needs no registers to be widened.
            6.. => self.sweep_even::<I, 6, false>(isa),
            _ => self.sweep::<I, 3, 1, 1, 3>(isa),
        }
    }

    /// Rows in blocks of `TALL` by `NARROW` panels; the rest, and small batches, in rows of `SHORT` by `WIDE` panels so that
    /// several streams of weights are in flight.
    #[inline(always)]
    fn sweep<I: Isa, const TALL: usize, const NARROW: usize, const SHORT: usize, const WIDE: usize>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        let n_tall = self.n_rows / TALL * TALL;
        self.rows::<I, TALL, NARROW, false>(isa, 0..n_tall);
        let n_short = n_tall + (self.n_rows - n_tall) / SHORT * SHORT;
        self.rows::<I, SHORT, WIDE, false>(isa, n_tall..n_short);
        self.rows::<I, 1, WIDE, false>(isa, n_short..self.n_rows);
    }

    /// Rows in blocks of eight by three panels, or by two where that leaves none over, and the rest in one block: of twelve rows by two the compiler keeps
    /// the broadcasts of all rows at once, in memory. One or two rows go by six panels, so that several streams of weights are in flight.
    #[inline(always)]
    fn sweep_tall<I: Isa>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        match self.n_rows {
            1 => run_apart(isa, OneBlock::<L, E, 1, 6, false>(self)),
            2 => run_apart(isa, OneBlock::<L, E, 2, 6, false>(self)),
            _ if self.n_panels.is_multiple_of(3) => self.tall_blocks::<I, 3>(isa),
            _ => self.tall_blocks::<I, 2>(isa),
        }
    }

    #[inline(always)]
    fn tall_blocks<I: Isa, const PANELS: usize>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        let n_tall = self.n_rows / 8 * 8;
        let rest = n_tall..self.n_rows;
        let mut cells = Cells::new(self, PANELS);
        while let Some(cell) = cells.next() {
            let (product, cell) = (&mut *self, &cell);
            if n_tall > 0 {
                let (product, rows) = (&mut *product, 0..n_tall);
                run_apart(isa, Blocks::<L, E, 8, PANELS, false> { product, cell, rows });
            }
            let rows = rest.clone();
            match rest.len() {
                0 => (),
                1 => run_apart(isa, Blocks::<L, E, 1, PANELS, false> { product, cell, rows }),
                2 => run_apart(isa, Blocks::<L, E, 2, PANELS, false> { product, cell, rows }),
                3 => run_apart(isa, Blocks::<L, E, 3, PANELS, false> { product, cell, rows }),
                4 => run_apart(isa, Blocks::<L, E, 4, PANELS, false> { product, cell, rows }),
                5 => run_apart(isa, Blocks::<L, E, 5, PANELS, false> { product, cell, rows }),
                6 => run_apart(isa, Blocks::<L, E, 6, PANELS, false> { product, cell, rows }),
                _ => run_apart(isa, Blocks::<L, E, 7, PANELS, false> { product, cell, rows }),
            }
        }
    }

    /// Rows in even blocks of `TALL` at most by one panel, which is read and widened once for the few rows of decode. One row or two go by two panels, but
    /// by one where spans take turns, which is faster there. Where it `ASKS`, memory is asked for ahead of what is read, which costs a product from the
    /// caches 5%.
    #[inline(always)]
    fn sweep_even<I: Isa, const TALL: usize, const ASKS: bool>(&mut self, isa: I)
    where
        L: Factor<I, E>,
    {
        const { assert!(TALL >= 5 && TALL <= 8, "blocks are of three to eight rows") };
        match (self.n_rows, self.spans.len()) {
            (1, 1) => return run_apart(isa, OneBlock::<L, E, 1, 2, ASKS>(self)),
            (2, 1) => return run_apart(isa, OneBlock::<L, E, 2, 2, ASKS>(self)),
            (1, _) => return run_apart(isa, OneBlock::<L, E, 1, 1, ASKS>(self)),
            (2, _) => return run_apart(isa, OneBlock::<L, E, 2, 1, ASKS>(self)),
            (3, _) => return run_apart(isa, OneBlock::<L, E, 3, 1, ASKS>(self)),
            (4, _) => return run_apart(isa, OneBlock::<L, E, 4, 1, ASKS>(self)),
            (5, _) => return run_apart(isa, OneBlock::<L, E, 5, 1, ASKS>(self)),
            (6, _) if TALL > 6 => return run_apart(isa, OneBlock::<L, E, 6, 1, ASKS>(self)),
            (7, _) if TALL > 6 => return run_apart(isa, OneBlock::<L, E, 7, 1, ASKS>(self)),
            (8, _) if TALL > 6 => return run_apart(isa, OneBlock::<L, E, 8, 1, ASKS>(self)),
            _ => (),
        }
        let blocks = even_blocks(self.n_rows, TALL);
        let mut cells = Cells::new(self, 1);
        while let Some(cell) = cells.next() {
            for EvenBlocks { len, rows } in &blocks {
                let (product, cell, rows) = (&mut *self, &cell, rows.clone());
                match len {
                    _ if rows.is_empty() => (),
                    3 => run_apart(isa, Blocks::<L, E, 3, 1, ASKS> { product, cell, rows }),
                    4 => run_apart(isa, Blocks::<L, E, 4, 1, ASKS> { product, cell, rows }),
                    5 => run_apart(isa, Blocks::<L, E, 5, 1, ASKS> { product, cell, rows }),
                    6 if TALL > 6 => run_apart(isa, Blocks::<L, E, 6, 1, ASKS> { product, cell, rows }),
                    7 if TALL > 6 => run_apart(isa, Blocks::<L, E, 7, 1, ASKS> { product, cell, rows }),
                    _ => run_apart(isa, Blocks::<L, E, TALL, 1, ASKS> { product, cell, rows }),
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
        if rows.is_empty() {
            return;
        }
        let mut cells = Cells::new(self, PANELS);
        while let Some(cell) = cells.next() {
            self.rows_of_cell::<I, ROWS, PANELS, ASKS>(isa, &rows, &cell);
        }
    }

    /// Some rows by the panels of a cell, `ROWS` at a time; panels that are fewer than `PANELS` one by one.
    #[inline(always)]
    fn rows_of_cell<I: Isa, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        isa: I,
        rows: &Range<usize>,
        cell: &Cell,
    ) where
        L: Factor<I, E>,
    {
        if cell.n_panels == PANELS {
            for row in rows.clone().step_by(ROWS) {
                self.block::<I, ROWS, PANELS, ASKS>(isa, row, cell);
            }
            return;
        }
        for i in 0..cell.n_panels {
            for row in rows.clone().step_by(ROWS) {
                self.block::<I, ROWS, 1, ASKS>(isa, row, &cell.single(i));
            }
        }
    }
}

/// Rows that are one block: a kernel that is run apart, for where several shapes meet in a function the compiler keeps sums in memory.
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

/// Rows by the panels of a cell, `ROWS` at a time; a kernel of its own for the same reason.
struct Blocks<'a, 'b, L, E, const ROWS: usize, const PANELS: usize, const ASKS: bool> {
    product: &'b mut Product<'a, L, E>,
    cell: &'b Cell,
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
        self.product.rows_of_cell::<I, ROWS, PANELS, ASKS>(isa, &self.rows, self.cell);
    }
}
