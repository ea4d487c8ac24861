//! The inner loop: quantised rows times quantised panels.

use super::code::{Code, Int4, Int8};
use super::dots::Dots;
use super::panels::{Line, QuantPanels, Width};
use super::rows::QuantRows;
use crate::cpu::disjoint::SharedRows;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::matrix::Block;
use crate::spec::contract::PANEL_COLS;

/// `out[r, c] = sum over groups of lhs_scale * (scale * dot + minimum * lhs_sum)` for the rows and panels of a block, in the contract's order.
pub struct QuantProduct<'a> {
    /// The left operand, quantised for these weights, in the order that [`Isa::quant_tiles`] asks for.
    pub rows: &'a QuantRows,
    /// The weights.
    pub weights: &'a QuantPanels,
    /// Which rows and panels.
    pub block: &'a Block,
    /// As [`Block::layout`] says.
    pub out: &'a mut [f32],
    /// As [`Product::finished`](crate::cpu::product::Product::finished); only where [`Isa::quant_sums_in_tiles`] is true.
    pub finished: Option<SharedRows<'a>>,
}

/// How far ahead of a line that is read another is asked for, about: 1 KiB. Without it the kernel for 4 bits does too much between two lines for the
/// hardware's own prefetch to keep memory busy: 13 against 16 GB/s on one core of a Sapphire Rapids class VM; 512 to 2,048 bytes are alike there, and on
/// Zen 3 about so.
const LINES_AHEAD: usize = 16;

impl<D: Isa + Dots<Float = D>> Kernel<D> for QuantProduct<'_> {
    #[inline(always)]
    fn run(self, isa: D) {
        self.run_on(isa);
    }
}

impl QuantProduct<'_> {
    /// Runs it; inlined into the function that has the instructions enabled.
    #[inline(always)]
    pub fn run_on<D: Dots>(mut self, dots: D) {
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

    #[inline(always)]
    fn sweep_on<D: Dots, C: Code>(&mut self, dots: D) {
        match D::Float::ACCUMULATORS {
            24.. => self.sweep::<D, C, 6, 2, 6>(dots),
            _ => self.sweep::<D, C, 3, 1, 3>(dots),
        }
    }

    /// Rows in blocks of `TALL` by `NARROW` panels; the rest, and a row alone, by `WIDE` panels so that several streams of weights are in flight.
    #[inline(always)]
    fn sweep<D: Dots, C: Code, const TALL: usize, const NARROW: usize, const WIDE: usize>(&mut self, dots: D) {
        let (n_rows, n_panels) = (self.block.n_rows, self.block.n_panels);
        let n_tall = n_rows / TALL * TALL;
        let mut panel = 0;
        while n_tall > 0 && panel + NARROW <= n_panels {
            for row in (0..n_tall).step_by(TALL) {
                self.tile::<D, C, TALL, NARROW>(dots, row, panel);
            }
            panel += NARROW;
        }
        while n_tall > 0 && NARROW > 1 && panel < n_panels {
            for row in (0..n_tall).step_by(TALL) {
                self.tile::<D, C, TALL, 1>(dots, row, panel);
            }
            panel += 1;
        }
        panel = 0;
        while panel + WIDE <= n_panels {
            for row in n_tall..n_rows {
                self.tile::<D, C, 1, WIDE>(dots, row, panel);
            }
            panel += WIDE;
        }
        for panel in panel..n_panels {
            for row in n_tall..n_rows {
                self.tile::<D, C, 1, 1>(dots, row, panel);
            }
        }
    }

    /// Which of [`QuantPanels::lines`] is asked for first while group `group` of `PANELS` panels from `panel` on is read: whole groups ahead where they are
    /// short, or some lines never would be. At the end of a panel the next one to read is no neighbour, for those are read beside it.
    #[inline(always)]
    fn line_ahead<const PANELS: usize>(&self, panel: usize, group: usize) -> usize {
        let (group_lines, panel_lines) = (self.weights.code_lines() + 1, self.weights.panel_lines());
        let distance =
            if group_lines > 2 * LINES_AHEAD { LINES_AHEAD } else { LINES_AHEAD.next_multiple_of(group_lines) };
        let line = group * group_lines + distance;
        let skipped = if line < panel_lines { 0 } else { (PANELS - 1) * panel_lines };
        (self.block.first_panel + panel) * panel_lines + line + skipped
    }

    /// `ROWS` rows by `PANELS` panels: a group's sums in registers, then onto the result.
    #[inline(always)]
    fn tile<D: Dots, C: Code, const ROWS: usize, const PANELS: usize>(&mut self, dots: D, row: usize, panel: usize) {
        let QuantPanels { group_len, n_groups, .. } = *self.weights;
        let (code_lines, panel_lines) = (self.weights.code_lines(), self.weights.panel_lines());
        let lhs_codes = self.rows.codes();
        let mut acc = [[dots.float().splat(0.0); PANELS]; ROWS];
        let mut panels: [&[Line]; PANELS] = [&[]; PANELS];
        for (p, lines) in panels.iter_mut().enumerate() {
            *lines = &self.weights.lines[(self.block.first_panel + panel + p) * panel_lines..][..panel_lines];
        }
        for g in 0..n_groups {
            let mut sums = [[dots.zero(); PANELS]; ROWS];
            let mut lhs: [&[[u8; 4]]; ROWS] = [&[]; ROWS];
            for r in 0..ROWS {
                let group = (self.block.first_row + row + r) * n_groups + g;
                lhs[r] = lhs_codes[group * group_len..][..code_lines * C::QUADS * 4].as_chunks().0;
                sums[r] = [C::start(dots, self.rows.groups[group].sum); PANELS];
            }
            let mut codes: [&[Line]; PANELS] = [&[]; PANELS];
            for p in 0..PANELS {
                codes[p] = &panels[p][g * (code_lines + 1)..][..code_lines];
            }
            let ahead = self.weights.lines.as_ptr().wrapping_add(self.line_ahead::<PANELS>(panel, g));
            for line_idx in 0..code_lines {
                for p in 0..PANELS {
                    // SAFETY: each slice of `codes` has `code_lines` lines, by its construction above.
                    let line = unsafe { codes[p].get_unchecked(line_idx) };
                    if ROWS == 1 {
                        // Few rows wait for memory; many have the panel in a cache.
                        dots.prefetch(ahead.wrapping_add(p * panel_lines + line_idx));
                    }
                    let weights = C::load(dots, line);
                    for r in 0..ROWS {
                        let quads = line_idx * C::QUADS..(line_idx + 1) * C::QUADS;
                        // SAFETY: each slice of `lhs` has `code_lines * QUADS` elements, by its construction above.
                        sums[r][p] = C::dot(dots, sums[r][p], &weights, unsafe { lhs[r].get_unchecked(quads) });
                    }
                }
            }
            for r in 0..ROWS {
                let lhs = self.rows.groups[(self.block.first_row + row + r) * n_groups + g];
                for p in 0..PANELS {
                    if ROWS == 1 {
                        dots.prefetch(ahead.wrapping_add(p * panel_lines + code_lines));
                    }
                    let scales = &panels[p][g * (code_lines + 1) + code_lines];
                    acc[r][p] = C::scale(dots, sums[r][p], lhs, scales, acc[r][p]);
                }
            }
        }
        let (first_out, stride) = (self.block.layout.index(row, panel), self.block.layout.row_stride());
        for (r, acc) in acc.iter().enumerate() {
            for (p, acc) in acc.iter().enumerate() {
                let first = first_out + r * stride + p * PANEL_COLS;
                dots.float().store(*acc, self.out[first..].first_chunk_mut().unwrap());
            }
        }
    }
}
