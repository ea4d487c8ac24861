//! How a row of the left operand meets panels in vectors.

use super::Element;
use crate::cpu::isa::{Bf16Pairs, Isa};
use crate::cpu::lhs::LhsElement;

/// An element of a left operand that vectors multiply with panels of `E`, two of the depth at a time.
pub trait Factor<I: Isa, E: Element>: LhsElement {
    /// Multiplications that two of the depth take.
    const STEPS: usize;

    /// Two rows of a panel as they are multiplied: for each of [`Factor::STEPS`] a vector.
    fn weights(isa: I, x: &[E; 32]) -> [I::V; 2];

    /// Adds a step of a row to its sums.
    fn step<const PANELS: usize>(
        isa: I,
        x: &[Self; 2],
        step: usize,
        weights: &[[I::V; 2]; PANELS],
        sums: &mut [I::V; PANELS],
    );
}

/// Widened panels, one element after the other.
impl<I: Isa, E: Element> Factor<I, E> for f32 {
    const STEPS: usize = 2;

    #[inline(always)]
    fn weights(isa: I, x: &[E; 32]) -> [I::V; 2] {
        let (evens, odds) = E::rows(isa, x);
        [evens, odds]
    }

    #[inline(always)]
    fn step<const PANELS: usize>(
        isa: I,
        x: &[f32; 2],
        step: usize,
        weights: &[[I::V; 2]; PANELS],
        sums: &mut [I::V; PANELS],
    ) {
        let x = isa.splat(x[step]);
        for p in 0..PANELS {
            sums[p] = isa.mul_add(x, weights[p][step], sums[p]);
        }
    }
}

/// By pairs of bf16, which codes are widened to.
impl<I: Bf16Pairs, E: PairElement> Factor<I, E> for u16 {
    const STEPS: usize = 1;

    #[inline(always)]
    fn weights(isa: I, x: &[E; 32]) -> [I::V; 2] {
        [E::pairs(isa, x); 2]
    }

    #[inline(always)]
    fn step<const PANELS: usize>(
        isa: I,
        x: &[u16; 2],
        _: usize,
        weights: &[[I::V; 2]; PANELS],
        sums: &mut [I::V; PANELS],
    ) {
        let x = isa.splat_pair(x);
        for p in 0..PANELS {
            sums[p] = isa.dot_pairs(weights[p][0], x, sums[p]);
        }
        sums[PANELS - 1] = isa.in_order(sums[PANELS - 1]);
    }
}

/// An element of panels that are multiplied by pairs of bf16.
pub trait PairElement: Element {
    /// Two rows of a panel as pairs.
    fn pairs<I: Bf16Pairs>(isa: I, x: &[Self; 32]) -> I::V;
}

/// bf16 as it lies.
impl PairElement for u16 {
    #[inline(always)]
    fn pairs<I: Bf16Pairs>(isa: I, x: &[u16; 32]) -> I::V {
        isa.pairs(x)
    }
}

/// Codes, widened.
impl PairElement for u8 {
    #[inline(always)]
    fn pairs<I: Bf16Pairs>(isa: I, x: &[u8; 32]) -> I::V {
        isa.pairs_of_codes(x)
    }
}
