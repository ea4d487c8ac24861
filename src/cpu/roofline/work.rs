//! What the roofs are made of: arithmetic in registers, our product on operands in the first cache, and reads.

use super::sample::Work;
use crate::cpu::buffer::Buffer;
use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::lhs::LhsElement;
use crate::cpu::product::{Product, Span, SumLayout};

/// Panels and depth of a product whose operands stay in the first cache; its rows are those of attention, as long as they fit.
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

/// Sequential reads in several streams.
pub struct Reads<'a, I> {
    pub isa: I,
    pub data: &'a [f32],
    pub n_streams: usize,
}

impl<I: Isa> Work for Reads<'_, I> {
    fn once(&mut self) -> usize {
        match self.n_streams {
            1 => self.isa.run(ReadOnce::<1>(self.data)),
            2 => self.isa.run(ReadOnce::<2>(self.data)),
            4 => self.isa.run(ReadOnce::<4>(self.data)),
            _ => self.isa.run(ReadOnce::<8>(self.data)),
        }
        size_of_val(self.data)
    }
}

struct ReadOnce<'a, const STREAMS: usize>(&'a [f32]);

impl<I: Isa, const STREAMS: usize> Kernel<I> for ReadOnce<'_, STREAMS> {
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
                    let sum = &mut sums[stream * steps + step];
                    *sum = isa.add(*sum, isa.load(&lines[stream * len + first + step]));
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
