//! Symmetric groups of 8 bits: rows of activations, keys and values.

use crate::cpu::isa::Isa;
use crate::cpu::math::ROUNDING;
use crate::cpu::pointwise::load_padded;
use crate::spec::contract::QUANT_TINY;

/// How a group of numbers becomes codes from -127 to 127: with `a = max |x|` the scale `a / 127` and the codes
/// `round(x * (127 / a))`.
#[derive(Clone, Copy)]
pub struct Symmetric {
    /// What a code of 1 stands for: 0 for a group that counts as zeros, NaN for one with an element that is not finite,
    /// whose codes say nothing.
    pub scale: f32,
    /// What an element is multiplied with.
    inverse: f32,
}

impl Symmetric {
    /// The scale of the group `x`.
    #[inline(always)]
    pub fn of<I: Isa>(isa: I, x: &[f32]) -> Self {
        let zero = isa.splat(0.0);
        let (mut max, mut invalid) = (zero, zero);
        for k in (0..x.len()).step_by(16) {
            let x = load_padded(isa, x, k);
            max = isa.max(max, isa.max(x, isa.sub(zero, x)));
            // 0, or NaN where an element is not finite.
            invalid = isa.add(invalid, isa.mul(x, zero));
        }
        let (max, invalid) = (isa.reduce_max(max), isa.reduce_add(invalid));
        let (scale, inverse) = if max < QUANT_TINY { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) };
        Self { scale: scale + invalid, inverse }
    }

    /// The codes of sixteen of its elements.
    #[inline(always)]
    pub fn codes<I: Isa>(self, isa: I, x: I::V, out: &mut [u8; 16]) {
        isa.store_low_bytes(isa.add(isa.mul(x, isa.splat(self.inverse)), isa.splat(ROUNDING)), out);
    }
}
