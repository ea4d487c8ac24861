//! In which order plain vectors go through the panels of a product.

use std::ops::Range;

use super::{Along, Product};

/// Panels side by side in each of some spans, whose sums are taken together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The spans that the sums go through.
    pub spans: Range<usize>,
    /// First panel of each span, and how many.
    pub panel: usize,
    pub n_panels: usize,
    /// First panel of the result.
    pub out_panel: usize,
}

impl Cell {
    /// Its panel `i` alone.
    #[inline(always)]
    pub fn single(&self, i: usize) -> Self {
        Self { spans: self.spans.clone(), panel: self.panel + i, n_panels: 1, out_panel: self.out_panel + i }
    }
}

/// The cells of a product: the first panels of all spans, then the next of each. So what comes from memory is read in several places by turns, which
/// keeps more of it busy than one place after the other.
pub struct Cells {
    n_panels: usize,
    n_spans: usize,
    /// Spans of a cell.
    cell_spans: usize,
    /// Panels of a span.
    span_panels: usize,
    /// Panels of a cell.
    wanted: usize,
    /// Where the next cell begins.
    span: usize,
    panel: usize,
}

impl Cells {
    /// Cells of `wanted` panels, or of so many as are left.
    #[inline(always)]
    pub fn new<L, E>(product: &Product<'_, L, E>, wanted: usize) -> Self {
        let (n_panels, n_spans) = (product.n_panels, product.spans.len());
        let cell_spans = if product.along == Along::Depth { n_spans } else { 1 };
        let span_panels = product.span_panels();
        Self { n_panels, n_spans, cell_spans, span_panels, wanted, span: 0, panel: 0 }
    }

    /// The next one.
    #[inline(always)]
    pub fn next(&mut self) -> Option<Cell> {
        loop {
            if self.span == self.n_spans {
                (self.span, self.panel) = (0, self.panel + self.wanted);
            }
            if self.panel >= self.span_panels {
                return None;
            }
            let (span, panel) = (self.span, self.panel);
            let out_panel = span * self.span_panels + panel;
            // The last span may have fewer panels than the others, and none so far behind.
            let n_panels = self.wanted.min(self.span_panels - panel).min(self.n_panels.saturating_sub(out_panel));
            self.span += self.cell_spans;
            if n_panels > 0 {
                return Some(Cell { spans: span..self.span, panel, n_panels, out_panel });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::product::{N_NEXT, Span, SumLayout};

    fn cells(along: Along, n_spans: usize, n_panels: usize, wanted: usize) -> Vec<Cell> {
        let spans = vec![Span { first_k: 0, depth: 32, panels: &[0u16; 0][..] }; n_spans];
        let product = Product::<'_, f32, u16> {
            lhs: &[],
            lhs_depth: 0,
            first_row: 0,
            n_rows: 1,
            spans: &spans,
            along,
            panel_stride: 0,
            n_panels,
            next: [&[]; N_NEXT],
            out: &mut [],
            layout: SumLayout::rows(n_panels),
            accumulate: false,
            beside: None,
            finished: None,
        };
        let mut cells = Cells::new(&product, wanted);
        std::iter::from_fn(|| cells.next()).collect()
    }

    #[test]
    fn every_panel_of_the_result_comes_once() {
        for (along, n_spans, n_panels) in [
            (Along::Depth, 1, 13),
            (Along::Depth, 4, 8),
            (Along::Columns(4), 4, 16),
            (Along::Columns(4), 4, 13),
            (Along::Columns(4), 1, 2),
        ] {
            for wanted in [1, 2, 3, 6] {
                let mut panels: Vec<usize> = cells(along, n_spans, n_panels, wanted)
                    .iter()
                    .flat_map(|cell| cell.out_panel..cell.out_panel + cell.n_panels)
                    .collect();
                panels.sort_unstable();
                assert_eq!(panels, (0..n_panels).collect::<Vec<_>>(), "{along:?}, {wanted} wanted");
            }
        }
    }

    #[test]
    fn spans_take_turns() {
        let columns = cells(Along::Columns(4), 3, 11, 1);
        let first: Vec<_> = columns.iter().map(|cell| (cell.spans.start, cell.panel, cell.out_panel)).collect();
        assert_eq!(first[..4], [(0, 0, 0), (1, 0, 4), (2, 0, 8), (0, 1, 1)]);
        assert_eq!(columns.last(), Some(&Cell { spans: 1..2, panel: 3, n_panels: 1, out_panel: 7 }));
        assert_eq!(cells(Along::Depth, 4, 8, 2)[1], Cell { spans: 0..4, panel: 2, n_panels: 2, out_panel: 2 });
    }
}
