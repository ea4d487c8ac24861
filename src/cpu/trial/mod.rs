//! Calls of the kernels at named shapes of real models, ready to be timed: what the benches and `longhaul doctor
//! --tables` measure.
//!
//! A shape says what it computes and what that costs; made ready on a backend it is a trial, which calls the kernel
//! again and again. What comes from memory rotates through more than [`ROTATED_BYTES`], so that no cache holds it.

mod attention;
mod comparison;
mod cost;
mod matmul;
mod pointwise;

pub use attention::{AttentionShape, AttentionTrial, Heads};
pub use comparison::{Comparison, SHARED_LEN, TableRate, compare};
pub use cost::{Bound, Ceiling, Cost, Share};
pub use matmul::{MatmulShape, MatmulTrial};
pub use pointwise::{PointwiseOp, PointwiseShape, PointwiseTrial};

use super::Buffer;

/// What must pass before the same bytes are read again, where memory is what is measured.
pub const ROTATED_BYTES: u64 = (1 << 30) + (1 << 28);

/// A kernel call that can be repeated.
pub trait Trial {
    /// Calls the kernel once.
    ///
    /// # Errors
    /// Whatever the kernel says.
    fn call(&mut self) -> crate::Result<()>;
}

/// bf16 numbers between -1 and 1, none smaller than 1/2, that look random: they neither become denormal nor overflow,
/// whatever is computed.
fn numbers(seed: u64) -> impl FnMut() -> u16 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Sign and mantissa; the exponent is that of 1/2.
        (state >> 48) as u16 & 0x807f | 0x3f00
    }
}

/// Rows of [`numbers`], in memory as kernels like it best.
fn rows(len: usize, seed: u64) -> Buffer<f32> {
    let mut rows = Buffer::zeroed(len);
    let mut next = numbers(seed);
    rows.fill_with(|| widen(next()));
    rows
}

/// The number that a bf16 is.
fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
