//! The product on plain vectors.
//!
//! How rows and panels are blocked changes no bit: each sum is one accumulator that takes its products in ascending k.

use std::ops::Range;

use super::{ASKING_ROWS, Element, EvenBlocks, Product, even_blocks};
use crate::cpu::isa::{Isa, Kernel, run_apart};
use crate::cpu::lhs::LhsElement;

/// The product on plain vectors: every (row, panel) is one accumulator, blocked so that they fill the registers. A kernel of its own, so that it
/// is compiled once and not into every caller.
impl<I: Isa, E: Element> Kernel<I> for Product<'_, f32, E> {
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
                    6.. if E::WIDENS && I::ASKS_AHEAD && n_rows <= ASKING_ROWS => {
                        sweep_even::<I, E, 5, true>(isa, &mut args)
                    }
                    6.. if E::WIDENS => sweep_even::<I, E, 5, false>(isa, &mut args),
                    // f32 needs none to be widened.
                    6.. => sweep_even::<I, E, 6, false>(isa, &mut args),
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
    /// What is asked for while panel `panel` is read: as much from some KiB further on, behind the panels from what is read next. None if that ends
    /// before.
    #[inline(always)]
    fn ahead(&self, panel: usize) -> Option<&'a [[E; 32]]> {
        let distance = (BYTES_AHEAD / size_of::<E>()).min(self.panels.len());
        let first = panel * self.panel_stride + distance;
        let (memory, first) = match first.checked_sub(self.panels.len()) {
            Some(first) => (self.next, first),
            None => (self.panels, first),
        };
        Some(memory.get(first..)?.get(..self.depth * 16)?.as_chunks().0)
    }
}

/// How far ahead of what is read memory is asked for, if panels go on so far; else what is read next is asked for in the same places. Each line of codes is
/// asked for twice, once with each two rows.
const BYTES_AHEAD: usize = 8 << 10;

/// Rows in blocks of `TALL` by `NARROW` panels; the rest, and small batches, in rows of `SHORT` by `WIDE` panels so that
/// several streams of weights are in flight.
#[inline(always)]
fn sweep<I: Isa, E: Element, const TALL: usize, const NARROW: usize, const SHORT: usize, const WIDE: usize>(
    isa: I,
    args: &mut OneSpan<'_, E>,
) {
    let n_tall = args.n_rows / TALL * TALL;
    rows::<I, E, TALL, NARROW, false>(isa, args, 0, n_tall);
    let n_short = n_tall + (args.n_rows - n_tall) / SHORT * SHORT;
    rows::<I, E, SHORT, WIDE, false>(isa, args, n_tall, n_short);
    rows::<I, E, 1, WIDE, false>(isa, args, n_short, args.n_rows);
}

/// Rows in even blocks of `TALL` at most by one panel, which is read and widened once for the few rows of decode. One row or two go by two panels.
/// Where it `ASKS`, memory is asked for ahead of what is read, which costs a product from the caches 5%.
#[inline(always)]
fn sweep_even<I: Isa, E: Element, const TALL: usize, const ASKS: bool>(isa: I, args: &mut OneSpan<'_, E>) {
    const { assert!(TALL == 5 || TALL == 6, "blocks are of three to six rows") };
    let n_rows = args.n_rows;
    match n_rows {
        1 => return rows::<I, E, 1, 2, ASKS>(isa, args, 0, 1),
        2 => return rows::<I, E, 2, 2, ASKS>(isa, args, 0, 2),
        _ => (),
    }
    let blocks = even_blocks(n_rows, TALL);
    for panel in 0..args.n_panels {
        for blocks in &blocks {
            of_len::<I, E, TALL, ASKS>(isa, args, blocks, panel);
        }
    }
}

/// Rows by one panel, in blocks of `TALL` at most.
#[inline(always)]
fn of_len<I: Isa, E: Element, const TALL: usize, const ASKS: bool>(
    isa: I,
    args: &mut OneSpan<'_, E>,
    blocks: &EvenBlocks,
    panel: usize,
) {
    let rows = blocks.rows.clone();
    match blocks.len {
        _ if rows.is_empty() => (),
        3 => run_apart(isa, Blocks::<E, 3, ASKS> { args, rows, panel }),
        4 => run_apart(isa, Blocks::<E, 4, ASKS> { args, rows, panel }),
        5 => run_apart(isa, Blocks::<E, 5, ASKS> { args, rows, panel }),
        _ => run_apart(isa, Blocks::<E, TALL, ASKS> { args, rows, panel }),
    }
}

/// Rows by one panel, `ROWS` at a time: a kernel that is run apart, for where several shapes meet in a function the compiler keeps sums in memory.
struct Blocks<'a, 'b, E, const ROWS: usize, const ASKS: bool> {
    args: &'b mut OneSpan<'a, E>,
    rows: Range<usize>,
    panel: usize,
}

impl<I: Isa, E: Element, const ROWS: usize, const ASKS: bool> Kernel<I> for Blocks<'_, '_, E, ROWS, ASKS> {
    #[inline(always)]
    fn run(self, isa: I) {
        for row in self.rows.step_by(ROWS) {
            block::<I, E, ROWS, 1, ASKS>(isa, self.args, row, self.panel);
        }
    }
}

/// Rows `first..end`, `ROWS` by `PANELS` panels at a time; panels that are left one by one.
#[inline(always)]
fn rows<I: Isa, E: Element, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
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
            block::<I, E, ROWS, PANELS, ASKS>(isa, args, row, panel);
        }
        panel += PANELS;
    }
    for panel in panel..args.n_panels {
        for row in (first..end).step_by(ROWS) {
            block::<I, E, ROWS, 1, ASKS>(isa, args, row, panel);
        }
    }
}

/// `ROWS` rows by `PANELS` panels, all sums in registers.
#[inline(always)]
fn block<I: Isa, E: Element, const ROWS: usize, const PANELS: usize, const ASKS: bool>(
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
    if ASKS && row == 0 {
        for (p, ahead) in ahead.iter_mut().enumerate() {
            *ahead = args.ahead(panel + p).unwrap_or(panels[p]);
        }
    }
    let mut evens = [isa.splat(0.0); PANELS];
    let mut odds = evens;
    for pair in 0..args.depth / 2 {
        for p in 0..PANELS {
            // SAFETY: each slice of `panels` has depth / 2 chunks, by its construction above.
            (evens[p], odds[p]) = E::rows(isa, unsafe { panels[p].get_unchecked(pair) });
            if ASKS {
                // Without a branch, for where there is one the compiler keeps sums in memory.
                // SAFETY: what `OneSpan::ahead` answers has depth / 2 chunks too.
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
