//! The one inner loop: rows times packed panels. Matmul and both halves of attention are made of it.

use std::ops::Range;

use super::disjoint::SharedRows;
use super::isa::{Isa, Kernel, run_apart};
use super::lhs::LhsElement;
use super::panel::PanelElement;

/// How sums lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SumLayout {
    /// Row by row, `stride` elements from one to the next.
    Rows {
        /// Elements from one row to the next.
        stride: usize,
    },
    /// In tiles of 16 rows by 16 columns, one KiB each: rows of a tile never meet in a set of a cache, however wide the result is.
    Tiles {
        /// Tiles from one panel to the next.
        panel: usize,
        /// Tiles from sixteen rows to the next sixteen.
        row: usize,
    },
}

impl SumLayout {
    /// Tiles with all panels of sixteen rows together.
    #[inline(always)]
    pub fn tiles(n_panels: usize) -> Self {
        Self::Tiles { panel: 1, row: n_panels }
    }

    /// Whether sums of rows that are not there have a place too.
    #[inline(always)]
    pub fn has_whole_tiles(self) -> bool {
        matches!(self, Self::Tiles { .. })
    }

    /// Rows with room for one panel more than they have, for rows a power of two apart meet in few sets of a cache.
    pub fn rows(n_panels: usize) -> Self {
        Self::Rows { stride: (n_panels + 1) * 16 }
    }

    /// Elements from one row to the next, of sums that lie in rows.
    ///
    /// # Panics
    /// For tiles. A kernel that stores many sums asks once: were the layout looked at for each, the compiler would keep them all in memory.
    #[inline(always)]
    pub fn row_stride(self) -> usize {
        match self {
            Self::Rows { stride } => stride,
            Self::Tiles { .. } => panic!("plain vectors store rows"),
        }
    }

    /// Where the sixteen sums of a row and a panel begin.
    #[inline(always)]
    pub fn index(self, row: usize, panel: usize) -> usize {
        match self {
            Self::Rows { stride } => row * stride + panel * 16,
            Self::Tiles { panel: by_panel, row: by_row } => {
                (panel * by_panel + row / 16 * by_row) * 256 + row % 16 * 16
            }
        }
    }
}

/// A part of the depth, with its part of the panels.
#[derive(Clone, Copy)]
pub struct Span<'a, E> {
    /// First element of each row of the left operand to use; a multiple of 32.
    pub first_k: usize,
    /// Depth; a multiple of 32.
    pub depth: usize,
    /// The panels, as far apart as the product says, each `depth` deep from its start.
    pub panels: &'a [E],
    /// Panels that the next product reads, as far apart, if they come from memory: asked for meanwhile by tables with [`Isa::ASKS_FOR_NEXT`].
    pub next: &'a [E],
}

/// Work that is done beside a product on tiles, which leave most of a core to vectors.
pub trait Beside {
    /// A little of it, worth four products of tiles. A product may call it any number of times: often once for two by two tiles of a step along
    /// the depth, never where it goes by depth blocks. Whoever began the work ends it.
    fn step(&mut self);
}

/// `out[r, p * 16 + c] (+)= sum over spans, then k, of lhs[first_row + r, first_k + k] * panels[p][k, c]`, for `n_rows` rows and `n_panels` panels of
/// 16 columns. Each sum is taken span by span in ascending k, from zero or from what `out` holds.
pub struct Product<'a, L, E> {
    /// The left operand, in the layout of [`LhsElement`], rows `lhs_depth` long.
    pub lhs: &'a [L],
    /// Length of a row of `lhs`.
    pub lhs_depth: usize,
    /// First row to use; a multiple of the row block.
    pub first_row: usize,
    /// Rows to compute.
    pub n_rows: usize,
    /// The parts of the depth, at least one.
    pub spans: &'a [Span<'a, E>],
    /// Elements from one panel to the next.
    pub panel_stride: usize,
    /// Panels to compute.
    pub n_panels: usize,
    /// The result.
    pub out: &'a mut [f32],
    /// Where its elements lie; plain vectors take rows alone.
    pub layout: SumLayout,
    /// Whether to start from what `out` holds.
    pub accumulate: bool,
    /// What vectors have to do meanwhile, on tables that may leave them time for it ([`Isa::MULTIPLIES_BESIDE`]).
    pub beside: Option<&'a mut dyn Beside>,
    /// Where the sums go in the end, instead of `out`, which then holds what they are on the way; only where
    /// [`Isa::SUMS_IN_TILES`] is true.
    pub finished: Option<SharedRows<'a>>,
}

impl<L: LhsElement, E> Product<'_, L, E> {
    /// Panics unless every element that the product touches lies inside its slice; the unchecked loads below rest on it.
    #[inline(always)]
    pub fn check(&self) {
        assert!(self.n_rows > 0 && self.n_panels > 0 && !self.spans.is_empty(), "an empty product");
        assert!(self.first_row.is_multiple_of(L::ROW_BLOCK));
        assert!(L::buffer_len(self.first_row + self.n_rows, self.lhs_depth) <= self.lhs.len());
        for Span { first_k, depth, panels, .. } in self.spans {
            assert!(*depth > 0 && depth.is_multiple_of(32) && first_k.is_multiple_of(32));
            assert!(first_k + depth <= self.lhs_depth);
            assert!((self.n_panels - 1) * self.panel_stride + depth * 16 <= panels.len());
        }
        match self.layout {
            SumLayout::Rows { stride } => assert!(self.n_panels * 16 <= stride),
            // Tiles are whole, whatever rows are asked for.
            SumLayout::Tiles { .. } => {
                assert!(self.layout.index((self.n_rows - 1) | 15, self.n_panels - 1) + 16 <= self.out.len());
            }
        }
        assert!(self.layout.index(self.n_rows - 1, self.n_panels - 1) + 16 <= self.out.len());
        if let Some(rows) = &self.finished {
            assert_eq!(rows.dim(), [self.n_rows, 16 * self.n_panels], "finished rows");
        }
    }
}

/// The product on plain vectors: every (row, panel) is one accumulator, blocked so that they fill the registers. A kernel of its own, so that it
/// is compiled once and not into every caller.
impl<I: Isa, E: PanelElement> Kernel<I> for Product<'_, f32, E> {
    #[inline(always)]
    fn run(self, isa: I) {
        self.check();
        let Self {
            lhs,
            lhs_depth,
            first_row,
            n_rows,
            spans,
            panel_stride,
            n_panels,
            out,
            layout,
            accumulate,
            finished,
            ..
        } = self;
        assert!(finished.is_none(), "plain vectors store sums alone");
        let out_stride = layout.row_stride();
        for (i, span) in spans.iter().enumerate() {
            let n_blocks =
                if n_rows < BLOCKED_ROWS { 1 } else { span.depth.div_ceil(BLOCK_BYTES / size_of::<[E; 16]>()) };
            for block in 0..n_blocks {
                let [first, end] = [block, block + 1].map(|i| (i * span.depth / n_blocks).next_multiple_of(2));
                let mut args = OneSpan {
                    lhs,
                    lhs_depth,
                    first_row,
                    first_k: span.first_k + first,
                    n_rows,
                    panels: &span.panels[first * 16..],
                    next: span.next,
                    panel_stride,
                    n_panels,
                    depth: end - first,
                    out: &mut *out,
                    out_stride,
                    accumulate: accumulate || i > 0 || block > 0,
                };
                match I::ACCUMULATORS {
                    // Of twelve rows by two the compiler keeps the broadcasts of all rows at once, in memory.
                    24.. => sweep::<I, E, 8, 3, 4, 6>(isa, &mut args),
                    // Five rows by two registers leave six for weights, what they widen to, and the broadcast.
                    6.. if E::WIDENS => sweep_even::<I, E, 5>(isa, &mut args),
                    // f32 needs none to be widened.
                    6.. => sweep_even::<I, E, 6>(isa, &mut args),
                    _ => sweep::<I, E, 3, 1, 1, 3>(isa, &mut args),
                }
            }
        }
    }
}

/// Bytes of a panel, about, that many rows meet one after the other: where they go by one panel, as on `avx2`, it stays in a first cache of 48 KiB
/// meanwhile; three of `avx512` stay in the second.
const BLOCK_BYTES: usize = 28 << 10;

/// How many rows are many.
const BLOCKED_ROWS: usize = 32;

/// A product of one span whose sums lie in rows; fields as in [`Product`] and [`Span`].
struct OneSpan<'a, E> {
    lhs: &'a [f32],
    lhs_depth: usize,
    first_row: usize,
    first_k: usize,
    n_rows: usize,
    panels: &'a [E],
    next: &'a [E],
    panel_stride: usize,
    n_panels: usize,
    depth: usize,
    out: &'a mut [f32],
    out_stride: usize,
    accumulate: bool,
}

impl<'a, E> OneSpan<'a, E> {
    /// What is asked for while panel `panel` is read: the panel some KiB after it, of this span or of what is read next, if that is known.
    #[inline(always)]
    fn ahead(&self, panel: usize) -> Option<&'a [[E; 32]]> {
        let distance = (BYTES_AHEAD / (self.depth * size_of::<[E; 16]>())).clamp(1, self.n_panels);
        let (panels, first) = match panel + distance {
            _ if self.next.is_empty() => return None,
            ahead if ahead < self.n_panels => (self.panels, ahead),
            ahead => (self.next, ahead - self.n_panels),
        };
        Some(panels.get(first * self.panel_stride..)?.get(..self.depth * 16)?.as_chunks().0)
    }
}

/// How far ahead of what is read memory is asked for.
const BYTES_AHEAD: usize = 8 << 10;

/// Rows in blocks of `TALL` by `NARROW` panels; the rest, and small batches, in rows of `SHORT` by `WIDE` panels so that
/// several streams of weights are in flight.
#[inline(always)]
fn sweep<I: Isa, E: PanelElement, const TALL: usize, const NARROW: usize, const SHORT: usize, const WIDE: usize>(
    isa: I,
    args: &mut OneSpan<'_, E>,
) {
    let n_tall = args.n_rows / TALL * TALL;
    rows::<I, E, TALL, NARROW>(isa, args, 0, n_tall);
    let n_short = n_tall + (args.n_rows - n_tall) / SHORT * SHORT;
    rows::<I, E, SHORT, WIDE>(isa, args, n_tall, n_short);
    rows::<I, E, 1, WIDE>(isa, args, n_short, args.n_rows);
}

/// Rows in blocks of `TALL` at most, five or six, as even as can be, by one panel: so a panel is read and widened once for the few rows of decode, and
/// no block is much smaller than others, for it takes as long. One row or two go by two panels.
#[inline(always)]
fn sweep_even<I: Isa, E: PanelElement, const TALL: usize>(isa: I, args: &mut OneSpan<'_, E>) {
    let n_rows = args.n_rows;
    match n_rows {
        1 => return rows::<I, E, 1, 2>(isa, args, 0, 1),
        2 => return rows::<I, E, 2, 2>(isa, args, 0, 2),
        _ => (),
    }
    let n_blocks = n_rows.div_ceil(TALL);
    let (len, n_longer) = (n_rows / n_blocks, n_rows % n_blocks);
    let longer = n_longer * (len + 1);
    for panel in 0..args.n_panels {
        of_len::<I, E, TALL>(isa, args, len + 1, 0..longer, panel);
        of_len::<I, E, TALL>(isa, args, len, longer..n_rows, panel);
    }
}

/// Rows `rows` by one panel in blocks of `len`, `TALL` at most.
#[inline(always)]
fn of_len<I: Isa, E: PanelElement, const TALL: usize>(
    isa: I,
    args: &mut OneSpan<'_, E>,
    len: usize,
    rows: Range<usize>,
    panel: usize,
) {
    let panels = panel..panel + 1;
    match len {
        _ if rows.is_empty() => (),
        3 => run_apart(isa, Blocks::<E, 3, 1> { args, rows, panels }),
        4 => run_apart(isa, Blocks::<E, 4, 1> { args, rows, panels }),
        5 => run_apart(isa, Blocks::<E, 5, 1> { args, rows, panels }),
        _ => run_apart(isa, Blocks::<E, TALL, 1> { args, rows, panels }),
    }
}

/// Some rows by some panels, `ROWS` by `PANELS` at a time. A kernel that is run apart where several shapes meet, lest the compiler keep sums in memory.
struct Blocks<'a, 'b, E, const ROWS: usize, const PANELS: usize> {
    args: &'b mut OneSpan<'a, E>,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl<I: Isa, E: PanelElement, const ROWS: usize, const PANELS: usize> Kernel<I> for Blocks<'_, '_, E, ROWS, PANELS> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { args, rows, panels } = self;
        for panel in panels.step_by(PANELS) {
            for row in rows.clone().step_by(ROWS) {
                block::<I, E, ROWS, PANELS>(isa, args, row, panel);
            }
        }
    }
}

/// Rows `first..end`, `ROWS` by `PANELS` panels at a time; panels that are left one by one.
#[inline(always)]
fn rows<I: Isa, E: PanelElement, const ROWS: usize, const PANELS: usize>(
    isa: I,
    args: &mut OneSpan<'_, E>,
    first: usize,
    end: usize,
) {
    if first == end {
        return;
    }
    let mut panel = 0;
    while panel + PANELS <= args.n_panels {
        for row in (first..end).step_by(ROWS) {
            block::<I, E, ROWS, PANELS>(isa, args, row, panel);
        }
        panel += PANELS;
    }
    for panel in panel..args.n_panels {
        for row in (first..end).step_by(ROWS) {
            block::<I, E, ROWS, 1>(isa, args, row, panel);
        }
    }
}

/// `ROWS` rows by `PANELS` panels, all sums in registers.
#[inline(always)]
fn block<I: Isa, E: PanelElement, const ROWS: usize, const PANELS: usize>(
    isa: I,
    args: &mut OneSpan<'_, E>,
    row: usize,
    panel: usize,
) {
    let mut sums = [[isa.splat(0.0); PANELS]; ROWS];
    let first_out = row * args.out_stride + panel * 16;
    if args.accumulate {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (p, sum) in sums.iter_mut().enumerate() {
                *sum = isa.load(args.out[first_out + r * args.out_stride + p * 16..].first_chunk().unwrap());
            }
        }
    }
    let mut lhs: [&[f32]; ROWS] = [&[]; ROWS];
    for (r, lhs) in lhs.iter_mut().enumerate() {
        let first = <f32 as LhsElement>::index(args.first_row + row + r, args.first_k, args.lhs_depth);
        *lhs = &args.lhs[first..][..args.depth];
    }
    let mut panels: [&[[E; 32]]; PANELS] = [&[]; PANELS];
    for (p, chunks) in panels.iter_mut().enumerate() {
        *chunks = args.panels[(panel + p) * args.panel_stride..][..args.depth * 16].as_chunks().0;
    }
    let mut ahead = panels;
    // Of f32 nobody knows what comes next; and where more rows meet a panel it costs 5% of a product from the caches.
    let asks = I::ASKS_FOR_NEXT && E::WIDENS && ROWS <= 4;
    if asks && row == 0 {
        for (p, ahead) in ahead.iter_mut().enumerate() {
            *ahead = args.ahead(panel + p).unwrap_or(panels[p]);
        }
    }
    let mut evens = [isa.splat(0.0); PANELS];
    let mut odds = evens;
    for pair in 0..args.depth / 2 {
        for p in 0..PANELS {
            // SAFETY: each slice of `panels` has depth / 2 chunks, by its construction above.
            (evens[p], odds[p]) = E::pair(isa, unsafe { panels[p].get_unchecked(pair) });
            if asks {
                // Without a branch, for where there is one the compiler keeps sums in memory. SAFETY: as above.
                isa.prefetch(unsafe { ahead[p].get_unchecked(pair) });
            }
        }
        // Panels inside of rows: a broadcast is used up before the next is made, and no register waits.
        for r in 0..ROWS {
            // SAFETY: each slice of `lhs` is `depth` long, by its construction above.
            let x = isa.splat(unsafe { *lhs[r].get_unchecked(2 * pair) });
            for p in 0..PANELS {
                sums[r][p] = isa.mul_add(x, evens[p], sums[r][p]);
            }
        }
        for r in 0..ROWS {
            // SAFETY: as above; `depth` is even.
            let x = isa.splat(unsafe { *lhs[r].get_unchecked(2 * pair + 1) });
            for p in 0..PANELS {
                sums[r][p] = isa.mul_add(x, odds[p], sums[r][p]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (p, sum) in sums.iter().enumerate() {
            isa.store(*sum, args.out[first_out + r * args.out_stride + p * 16..].first_chunk_mut().unwrap());
        }
    }
}
