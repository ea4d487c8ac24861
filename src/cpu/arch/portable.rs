//! The `portable` table: arrays of sixteen, left to the compiler's vectoriser. It does not fuse multiply and add, since
//! not every target has the instruction.

use crate::cpu::isa::{Isa, Kernel, Target};
use crate::cpu::product::Product;
use crate::cpu::quant::{Dots, Line, QuantProduct};

/// Any CPU.
#[derive(Clone, Copy)]
pub struct Portable(());

#[inline(always)]
fn lanes(f: impl Fn(usize) -> f32) -> [f32; 16] {
    let mut out = [0.0; 16];
    for (i, o) in out.iter_mut().enumerate() {
        *o = f(i);
    }
    out
}

impl Target for Portable {
    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        kernel.run(self);
    }
}

impl Isa for Portable {
    type V = [f32; 16];
    type Lhs = f32;
    const NAME: &'static str = "portable";
    const REGISTER_ROOF: &'static str = "portable-reg";
    const L1_ROOF: &'static str = "portable-l1";
    const ACCUMULATORS: usize = 3;
    const ATTENTION_ROWS: usize = 24;
    const CODE_ROWS: usize = usize::MAX;
    const TASK_PANELS: usize = 6;
    const TASK_ROWS: usize = 96;

    fn detect() -> Result<Self, String> {
        Ok(Self(()))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }

    #[inline(always)]
    fn load(self, x: &[f32; 16]) -> [f32; 16] {
        *x
    }

    #[inline(always)]
    fn store(self, x: [f32; 16], out: &mut [f32; 16]) {
        *out = x;
    }

    #[inline(always)]
    fn load_pairs(self, x: &[u16; 32]) -> ([f32; 16], [f32; 16]) {
        let widen = |bits: u16| f32::from_bits(u32::from(bits) << 16);
        (lanes(|i| widen(x[2 * i])), lanes(|i| widen(x[2 * i + 1])))
    }

    #[inline(always)]
    fn store_bf16(self, x: [f32; 16], out: &mut [u16; 16]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = half::bf16::from_f32(x).to_bits();
        }
    }

    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        lanes(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn select_lt(self, x: [f32; 16], limit: [f32; 16], a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        lanes(|i| if x[i] < limit[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn scale_unless_lt(
        self,
        x: [f32; 16],
        limit: [f32; 16],
        p: [f32; 16],
        _n: [f32; 16],
        biased: [f32; 16],
    ) -> [f32; 16] {
        lanes(|i| if x[i] < limit[i] { 0.0 } else { p[i] * f32::from_bits(biased[i].to_bits() << 23) })
    }

    #[inline(always)]
    fn store_low_bytes(self, x: [f32; 16], out: &mut [u8; 16]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = x.to_bits() as u8;
        }
    }

    #[inline(always)]
    fn product(self, args: Product<'_, f32, u16>) {
        self.run(args);
    }

    #[inline(always)]
    fn code_product(self, args: Product<'_, f32, u8>) {
        self.run(args);
    }

    fn quant_product(self, args: QuantProduct<'_>) {
        self.run(args);
    }
}

impl Dots for Portable {
    type Float = Self;
    type Sums = [i32; 16];
    type Codes = [u32; 16];

    #[inline(always)]
    fn float(self) -> Self {
        self
    }

    #[inline(always)]
    fn zero(self) -> [i32; 16] {
        [0; 16]
    }

    #[inline(always)]
    fn start_int8(self, lhs_sum: i32) -> [i32; 16] {
        [-128 * lhs_sum; 16]
    }

    #[inline(always)]
    fn codes(self, line: &Line) -> [u32; 16] {
        line.0
    }

    #[inline(always)]
    fn prefetch(self, _: *const Line) {}

    #[inline(always)]
    fn nibbles(self, codes: [u32; 16]) -> ([u32; 16], [u32; 16]) {
        let (mut low, mut high) = (codes, codes);
        for (low, high) in low.iter_mut().zip(&mut high) {
            *low &= 0x0f0f_0f0f;
            *high = (*high >> 4) & 0x0f0f_0f0f;
        }
        (low, high)
    }

    #[inline(always)]
    fn dot_int8(self, mut sums: [i32; 16], weights: [u32; 16], lhs: &[u8; 4]) -> [i32; 16] {
        for (i, x) in lhs.iter().enumerate() {
            let x = i32::from(*x as i8);
            for (sum, w) in sums.iter_mut().zip(&weights) {
                *sum = sum.wrapping_add((w >> (8 * i) & 0xff) as i32 * x);
            }
        }
        sums
    }

    #[inline(always)]
    fn dot_int4(self, sums: [i32; 16], weights: [u32; 16], lhs: &[u8; 4]) -> [i32; 16] {
        self.dot_int8(sums, weights, lhs)
    }

    #[inline(always)]
    fn to_f32(self, sums: [i32; 16]) -> [f32; 16] {
        lanes(|i| sums[i] as f32)
    }
}
