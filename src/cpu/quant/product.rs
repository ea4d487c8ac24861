//! The kernel of quantised rows times quantised panels: how rows and panels are blocked.

use std::marker::PhantomData;
use std::ops::Range;

use super::code::{Code, Int4, Int8};
use super::dots::Dots;
use super::panels::{QuantPanels, Width};
use super::rows::QuantRows;
use crate::cpu::disjoint::SharedRows;
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::cpu::matrix::Block;
use crate::cpu::product::{EvenBlocks, FEW_ROWS, even_blocks};
use crate::spec::contract::PANEL_COLS;

/// `out[r, c] = sum over groups of lhs_scale * (scale * dot + minimum * lhs_sum)` for the rows and panels of a block,
/// in the contract's order.
pub struct QuantProduct<'a> {
    /// The left operand, quantised for these weights, in the order that [`Isa::quant_tiles`] asks for.
    pub rows: &'a QuantRows,
    /// The weights.
    pub weights: &'a QuantPanels,
    /// Which rows and panels.
    pub block: &'a Block,
    /// As [`Block::layout`] says.
    pub out: &'a mut [f32],
    /// As [`Product::finished`](crate::cpu::product::Product::finished); only where [`Isa::quant_sums_in_tiles`] is
    /// true.
    pub finished: Option<SharedRows<'a>>,
}

impl<D: Dots> Kernel<D> for QuantProduct<'_> {
    #[inline(always)]
    fn run(mut self, dots: D) {
        let (n_rows, n_panels) = (self.block.n_rows, self.block.n_panels);
        assert!(
            n_rows > 0
                && n_panels > 0
                && self.block.layout.index(n_rows - 1, n_panels - 1) + PANEL_COLS <= self.out.len()
        );
        assert!(self.finished.is_none(), "vectors store sums alone");
        assert!(!self.rows.tiled, "rows in the order of plain vectors");
        match self.weights.width {
            Width::Int8 => self.sweep_on::<D, Int8>(dots),
            Width::Int4 => self.sweep_on::<D, Int4>(dots),
        }
    }
}

impl QuantProduct<'_> {
    #[inline(always)]
    fn sweep_on<D: Dots, C: Code>(&mut self, dots: D) {
        match D::Float::ACCUMULATORS {
            24.. => self.sweep_even::<D, C, 6, 2, 6>(dots),
            6.. => self.sweep_even::<D, C, 4, 1, 3>(dots),
            _ => self.sweep_short::<D, C>(dots),
        }
    }

    /// Rows in blocks of three by one panel; the rest, and a row alone, by three panels so that several streams of
    /// weights are in flight.
    #[inline(always)]
    fn sweep_short<D: Dots, C: Code>(&mut self, dots: D) {
        let n_rows = self.block.n_rows;
        let n_tall = n_rows / 3 * 3;
        self.rows::<D, C, 3, 1, false>(dots, 0..n_tall);
        self.rows::<D, C, 1, 3, true>(dots, n_tall..n_rows);
    }

    /// Rows in even blocks of `TALL` at most by `NARROW` panels: so they are read, and their codes unpacked, as seldom
    /// as registers allow. A row alone goes by `WIDE`. Few rows wait for memory, so they ask for it ahead; many have
    /// the panels in a cache.
    #[inline(always)]
    fn sweep_even<D: Dots, C: Code, const TALL: usize, const NARROW: usize, const WIDE: usize>(&mut self, dots: D) {
        const { assert!(TALL == 4 || TALL == 6, "blocks are of two to six rows") };
        let (n_rows, n_panels) = (self.block.n_rows, self.block.n_panels);
        if n_rows == 1 {
            return self.rows::<D, C, 1, WIDE, true>(dots, 0..1);
        }
        let blocks = even_blocks(n_rows, TALL);
        let n_wide = n_panels / NARROW * NARROW;
        for panel in (0..n_wide).step_by(NARROW) {
            blocks.iter().for_each(|block| self.even_block::<D, C, TALL, NARROW>(dots, block, panel));
        }
        for panel in n_wide..n_panels {
            blocks.iter().for_each(|block| self.even_block::<D, C, TALL, 1>(dots, block, panel));
        }
    }

    /// One length of blocks by the panels from `panel` on.
    #[inline(always)]
    fn even_block<D: Dots, C: Code, const TALL: usize, const PANELS: usize>(
        &mut self,
        dots: D,
        EvenBlocks { len, rows }: &EvenBlocks,
        panel: usize,
    ) {
        match (len, self.block.n_rows <= FEW_ROWS) {
            (2, _) => self.blocks::<D, C, 2, PANELS, true>(dots, rows, panel),
            (3, true) => self.blocks::<D, C, 3, PANELS, true>(dots, rows, panel),
            (3, false) => self.blocks::<D, C, 3, PANELS, false>(dots, rows, panel),
            (4, true) => self.blocks::<D, C, 4, PANELS, true>(dots, rows, panel),
            (4, false) => self.blocks::<D, C, 4, PANELS, false>(dots, rows, panel),
            (5, true) if TALL > 4 => self.blocks::<D, C, 5, PANELS, true>(dots, rows, panel),
            (5, false) if TALL > 4 => self.blocks::<D, C, 5, PANELS, false>(dots, rows, panel),
            (_, true) => self.blocks::<D, C, TALL, PANELS, true>(dots, rows, panel),
            (_, false) => self.blocks::<D, C, TALL, PANELS, false>(dots, rows, panel),
        }
    }

    /// Rows, `ROWS` by `PANELS` panels at a time; panels that are left one by one.
    #[inline(always)]
    fn rows<D: Dots, C: Code, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        dots: D,
        rows: Range<usize>,
    ) {
        let n_wide = self.block.n_panels / PANELS * PANELS;
        for panel in (0..n_wide).step_by(PANELS) {
            self.blocks::<D, C, ROWS, PANELS, ASKS>(dots, &rows, panel);
        }
        for panel in n_wide..self.block.n_panels {
            self.blocks::<D, C, ROWS, 1, ASKS>(dots, &rows, panel);
        }
    }

    #[inline(always)]
    fn blocks<D: Dots, C: Code, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        dots: D,
        rows: &Range<usize>,
        panel: usize,
    ) {
        if !rows.is_empty() {
            let (rows, code) = (rows.clone(), PhantomData::<C>);
            run_apart(dots, Blocks::<C, ROWS, PANELS, ASKS> { product: self, rows, panel, code });
        }
    }
}

/// Rows by `PANELS` panels, `ROWS` at a time: a kernel that is run apart, for where several shapes meet in a function
/// the compiler keeps sums in memory.
struct Blocks<'a, 'b, C, const ROWS: usize, const PANELS: usize, const ASKS: bool> {
    product: &'b mut QuantProduct<'a>,
    rows: Range<usize>,
    panel: usize,
    code: PhantomData<C>,
}

impl<D, C, const ROWS: usize, const PANELS: usize, const ASKS: bool> Kernel<D> for Blocks<'_, '_, C, ROWS, PANELS, ASKS>
where
    D: Dots,
    C: Code,
{
    #[inline(always)]
    fn run(self, dots: D) {
        for row in self.rows.step_by(ROWS) {
            self.product.tile::<D, C, ROWS, PANELS, ASKS>(dots, row, self.panel);
        }
    }
}
