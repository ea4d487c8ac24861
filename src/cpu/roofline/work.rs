//! What the roofs are made of: arithmetic in registers, our product on operands in the first cache, and reads.

use super::sample::Work;
use crate::cpu::buffer::Buffer;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::{Product, Span, SumLayout};

/// Panels and depth of a product whose operands stay in the first cache; its rows are those of attention, as long as
/// they fit.
const L1_PANELS: usize = 4;
const L1_DEPTH: usize = 128;
const MAX_L1_ROWS: usize = 32;

/// Arithmetic that never leaves the registers.
pub struct Registers<I> {
    pub isa: I,
}

impl<I: Isa> Work for Registers<I> {
    fn once(&mut self) -> usize {
        self.isa.register_loop()
    }
}

/// Our product, operands in the first cache.
pub struct FirstCache<I: Isa> {
    isa: I,
    lhs: Buffer<I::Lhs>,
    panels: Buffer<u16>,
    out: Buffer<f32>,
}

impl<I: Isa> FirstCache<I> {
    pub fn new(isa: I) -> Self {
        Self {
            isa,
            lhs: Buffer::zeroed(I::Lhs::buffer_len(l1_rows::<I>(), L1_DEPTH)),
            panels: Buffer::zeroed(L1_PANELS * L1_DEPTH * 16),
            out: Buffer::zeroed(l1_rows::<I>() * L1_PANELS * 16),
        }
    }
}

impl<I: Isa> Work for FirstCache<I> {
    fn once(&mut self) -> usize {
        const TIMES: usize = 100;
        let Self { isa, lhs, panels, out } = self;
        isa.run(Repeat { lhs, panels, out, times: TIMES });
        TIMES * 2 * l1_rows::<I>() * L1_PANELS * 16 * L1_DEPTH
    }
}

fn l1_rows<I: Isa>() -> usize {
    I::ATTENTION_ROWS.min(MAX_L1_ROWS)
}

struct Repeat<'a, L> {
    lhs: &'a [L],
    panels: &'a [u16],
    out: &'a mut [f32],
    times: usize,
}

impl<I: Isa> Kernel<I> for Repeat<'_, I::Lhs> {
    #[inline(always)]
    fn run(self, isa: I) {
        isa.begin_products(l1_rows::<I>());
        for _ in 0..self.times {
            isa.product(Product {
                lhs: self.lhs,
                lhs_depth: L1_DEPTH,
                first_row: 0,
                n_rows: l1_rows::<I>(),
                span: Span { first_k: 0, depth: L1_DEPTH, panels: self.panels },
                panel_stride: L1_DEPTH * 16,
                n_panels: L1_PANELS,
                out: &mut *self.out,
                layout: SumLayout::Rows { stride: L1_PANELS * 16 },
                accumulate: false,
                beside: None,
                finished: None,
            });
        }
        isa.end_products();
    }
}

/// Reads memory once, from end to end.
pub type ReadWay<I> = fn(I, &[f32]);

/// Ways to do so, of which the fastest counts: several streams at once, line by line, and memory asked for ahead of
/// what is read, by which some CPUs read more and others less.
pub fn read_ways<I: Isa>() -> [ReadWay<I>; 6] {
    fn read<I: Isa, const STREAMS: usize, const ASKS: bool>(isa: I, data: &[f32]) {
        isa.run(ReadOnce::<STREAMS, ASKS>(data));
    }
    [
        read::<I, 1, false>,
        read::<I, 2, false>,
        read::<I, 4, false>,
        read::<I, 8, false>,
        read::<I, 1, true>,
        read::<I, 4, true>,
    ]
}

/// Sequential reads, one of the ways.
pub struct Reads<'a, I> {
    pub isa: I,
    pub data: &'a [f32],
    pub way: ReadWay<I>,
}

impl<I: Isa> Work for Reads<'_, I> {
    fn once(&mut self) -> usize {
        (self.way)(self.isa, self.data);
        size_of_val(self.data)
    }
}

/// How far ahead memory is asked for: a page, beyond which the hardware foresees nothing by itself.
const LINES_AHEAD: usize = 64;

/// In `STREAMS` streams, and asking for memory ahead where it `ASKS`.
struct ReadOnce<'a, const STREAMS: usize, const ASKS: bool>(&'a [f32]);

impl<I: Isa, const STREAMS: usize, const ASKS: bool> Kernel<I> for ReadOnce<'_, STREAMS, ASKS> {
    #[inline(always)]
    fn run(self, isa: I) {
        let (lines, _) = self.0.as_chunks::<16>();
        let len = lines.len() / STREAMS;
        // Eight sums, so that none waits for the last addition to itself.
        let mut sums = [isa.splat(0.0); 8];
        let steps = 8 / STREAMS;
        for first in (0..len / steps * steps).step_by(steps) {
            for stream in 0..STREAMS {
                for step in 0..steps {
                    let line = stream * len + first + step;
                    if ASKS {
                        isa.prefetch(&lines[(line + LINES_AHEAD).min(lines.len() - 1)]);
                    }
                    let sum = &mut sums[stream * steps + step];
                    *sum = isa.add(*sum, isa.load(&lines[line]));
                }
            }
        }
        let mut lanes = [0.0; 16];
        for sum in sums {
            isa.store(sum, &mut lanes);
            std::hint::black_box(&lanes);
        }
    }
}
