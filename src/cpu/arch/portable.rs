//! The `portable` table: arrays of sixteen, left to the compiler's vectoriser. It does not fuse multiply and add, since not every target has
//! the instruction.

use crate::cpu::isa::{Isa, Kernel};
use crate::cpu::product::Product;

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

impl Isa for Portable {
    type V = [f32; 16];
    type Lhs = f32;
    const NAME: &'static str = "portable";
    const REGISTER_ROOF: &'static str = "portable-reg";
    const L1_ROOF: &'static str = "portable-l1";
    const ACCUMULATORS: usize = 3;
    const ATTENTION_ROWS: usize = 24;
    const TASK_PANELS: usize = 6;
    const TASK_ROWS: usize = 96;

    fn detect() -> Result<Self, String> {
        Ok(Self(()))
    }

    #[inline(always)]
    fn run(self, kernel: impl Kernel<Self>) {
        kernel.run(self);
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
    fn power_of_two(self, x: [f32; 16]) -> [f32; 16] {
        lanes(|i| f32::from_bits(x[i].to_bits() << 23))
    }

    #[inline(always)]
    fn product(self, args: Product<'_, f32, u16>) {
        self.run(args);
    }
}
