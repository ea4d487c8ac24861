//! What pages hold, as products and softmax take it.

use super::scales::Scales;
use super::scratch::Strip;
use super::softmax::Softmax;
use super::unit::Unit;
use crate::cpu::isa::Isa;
use crate::cpu::pages::{Head, Int8Head};
use crate::cpu::product::Product;

/// An element of keys and values in a page.
pub trait Stored: Copy + 'static {
    /// Key panels and value panels of a head that holds such elements.
    fn panels(head: Head<'_>) -> (&[Self], &[Self]);

    /// Rows times panels.
    fn product<I: Isa>(isa: I, args: Product<'_, I::Lhs, Self>);

    /// The scores of a unit become weights.
    fn softmax<I: Isa>(isa: I, unit: &Unit<'_>, strip: &mut Strip<I::Lhs>, scales: &Scales);
}

/// bf16, as its bits.
impl Stored for u16 {
    #[inline(always)]
    fn panels(head: Head<'_>) -> (&[u16], &[u16]) {
        head.bf16()
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, args: Product<'_, I::Lhs, u16>) {
        isa.product(args);
    }

    #[inline(always)]
    fn softmax<I: Isa>(isa: I, unit: &Unit<'_>, strip: &mut Strip<I::Lhs>, scales: &Scales) {
        Softmax::<I, false>::new(isa, unit.clone(), strip, scales).finish(isa);
    }
}

/// Codes, i8 as bytes.
impl Stored for u8 {
    #[inline(always)]
    fn panels(head: Head<'_>) -> (&[u8], &[u8]) {
        let Int8Head { keys, values, .. } = head.int8();
        (keys, values)
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, args: Product<'_, I::Lhs, u8>) {
        isa.code_product(args);
    }

    #[inline(always)]
    fn softmax<I: Isa>(isa: I, unit: &Unit<'_>, strip: &mut Strip<I::Lhs>, scales: &Scales) {
        Softmax::<I, true>::new(isa, unit.clone(), strip, scales).finish(isa);
    }
}
