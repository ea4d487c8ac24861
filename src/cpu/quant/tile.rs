//! A few rows times a few panels.

use super::code::Code;
use super::dots::Dots;
use super::panels::{Line, QuantPanels};
use super::product::QuantProduct;
use crate::cpu::isa::Isa;
use crate::spec::contract::PANEL_COLS;

/// How far ahead of a line that is read another is asked for, about: 1 KiB. Without it the kernel for 4 bits does too
/// much between two lines for the hardware's own prefetch to keep memory busy: 13 against 16 GB/s on one core of a
/// Sapphire Rapids class VM; 512 to 2,048 bytes are alike there, and on Zen 3 about so.
const LINES_AHEAD: usize = 16;

impl QuantProduct<'_> {
    /// Which of [`QuantPanels::lines`] is asked for first while group `group` of `PANELS` panels from `panel` on is
    /// read: whole groups ahead where they are short, or some lines never would be. At the end of a panel the next one
    /// to read is no neighbour, for those are read beside it.
    #[inline(always)]
    fn line_ahead<const PANELS: usize>(&self, panel: usize, group: usize) -> usize {
        let (group_lines, panel_lines) = (self.weights.code_lines() + 1, self.weights.panel_lines());
        let distance =
            if group_lines > 2 * LINES_AHEAD { LINES_AHEAD } else { LINES_AHEAD.next_multiple_of(group_lines) };
        let line = group * group_lines + distance;
        let skipped = if line < panel_lines { 0 } else { (PANELS - 1) * panel_lines };
        (self.block.first_panel + panel) * panel_lines + line + skipped
    }

    /// `ROWS` rows by `PANELS` panels: a group's sums in registers, then onto the result. Where it `ASKS`, memory is
    /// asked for ahead of what is read.
    #[inline(always)]
    pub(super) fn tile<D: Dots, C: Code, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &mut self,
        dots: D,
        row: usize,
        panel: usize,
    ) {
        let (code_lines, panel_lines) = (self.weights.code_lines(), self.weights.panel_lines());
        let mut acc = [[dots.float().splat(0.0); PANELS]; ROWS];
        let mut panels: [&[Line]; PANELS] = [&[]; PANELS];
        for (p, lines) in panels.iter_mut().enumerate() {
            *lines = &self.weights.lines[(self.block.first_panel + panel + p) * panel_lines..][..panel_lines];
        }
        for g in 0..self.weights.n_groups {
            let ahead = self.weights.lines.as_ptr().wrapping_add(self.line_ahead::<PANELS>(panel, g));
            let sums = self.group_sums::<D, C, ROWS, PANELS, ASKS>(dots, (row, g), &panels, ahead);
            for r in 0..ROWS {
                let lhs = self.rows.groups[(self.block.first_row + row + r) * self.weights.n_groups + g];
                for p in 0..PANELS {
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

    /// The sums of group `g` of `ROWS` rows from `row` on by `panels`, while lines from `ahead` on are asked for.
    #[inline(always)]
    fn group_sums<D: Dots, C: Code, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
        &self,
        dots: D,
        (row, g): (usize, usize),
        panels: &[&[Line]; PANELS],
        ahead: *const Line,
    ) -> [[D::Sums; PANELS]; ROWS] {
        let QuantPanels { group_len, n_groups, .. } = *self.weights;
        let (code_lines, panel_lines) = (self.weights.code_lines(), self.weights.panel_lines());
        let lhs_codes = self.rows.codes();
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
        for line_idx in 0..code_lines {
            for p in 0..PANELS {
                // SAFETY: each slice of `codes` has `code_lines` lines, by its construction above.
                let line = unsafe { codes[p].get_unchecked(line_idx) };
                if ASKS {
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
        for p in 0..PANELS {
            if ASKS {
                // Of all lines in the order in which they lie; scales asked for before their codes cost a tenth to a
                // quarter.
                dots.prefetch(ahead.wrapping_add(p * panel_lines + code_lines));
            }
        }
        sums
    }
}
