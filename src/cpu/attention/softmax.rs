//! From the scores of a strip over a chunk to weights, their maximum and their sum.
//!
//! A step takes half a row, so that products on tiles find something to do for vectors beside each of theirs
//! (`pipeline`): it computes the weights of some keys of one row, and meanwhile looks for the maximum of the next,
//! which has to be known before that row's first weight.

use std::ops::Range;

use super::scales::Scales;
use super::scratch::{Strip, strip_layout};
use super::unit::Unit;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::math::exp2;
use crate::spec::contract::{CHUNK_LEN, PANEL_COLS};

/// Panels of scores of a chunk.
const N_PANELS: usize = CHUNK_LEN / PANEL_COLS;

/// Panels of a step.
const STEP_PANELS: usize = 8;

/// The softmax of a strip, under way: turns the scores of the keys that a row sees into weights `2^(s * factor - max)`,
/// zero elsewhere in the unit's tiles; leaves maxima and sums. A sum is taken in sixteen lanes, before the weights are
/// rounded. Where keys and values are `CODES` the products become scores first, and the weights are multiplied with the
/// values' scales last.
pub struct Softmax<'a, I: Isa, const CODES: bool> {
    unit: Unit<'a>,
    all_see: bool,
    strip: &'a mut Strip<I::Lhs>,
    /// What the codes stand for, where there are any.
    scales: &'a Scales,
    /// What a product is still to be multiplied with to be a score.
    factor: f32,
    /// The row whose weights are computed, and the panel where the next step begins.
    row: usize,
    panel: usize,
    sum: I::V,
    /// The largest product so far of the row after it.
    next_max: I::V,
}

impl<'a, I: Isa, const CODES: bool> Softmax<'a, I, CODES> {
    /// Begins: looks for the first row's maximum.
    #[inline(always)]
    pub fn new(isa: I, unit: Unit<'a>, strip: &'a mut Strip<I::Lhs>, scales: &'a Scales) -> Self {
        let mut softmax = Self {
            all_see: unit.all_see(),
            factor: if CODES { 1.0 } else { unit.keys.geometry.exponent_factor() },
            row: 0,
            panel: unit.tiles.start / PANEL_COLS,
            sum: isa.splat(0.0),
            next_max: isa.splat(f32::NEG_INFINITY),
            unit,
            strip,
            scales,
        };
        let panels = softmax.panels();
        if softmax.all_see {
            softmax.look_for_max::<false>(isa, 0, panels);
        } else {
            softmax.look_for_max::<true>(isa, 0, panels);
        }
        softmax.leave_max(isa, 0);
        softmax
    }

    /// Whether nothing is left to do.
    #[inline(always)]
    fn is_done(&self) -> bool {
        self.row == self.unit.strip.len()
    }

    /// Half a row, if any is left.
    #[inline(always)]
    pub fn step(&mut self, isa: I) {
        if self.is_done() {
            return;
        }
        if self.all_see {
            self.step_of::<false>(isa);
        } else {
            self.step_of::<true>(isa);
        }
    }

    /// All that is left.
    #[inline(always)]
    pub fn finish(&mut self, isa: I) {
        while !self.is_done() {
            self.step(isa);
        }
    }

    /// Panels of the unit's tiles: an even number.
    #[inline(always)]
    fn panels(&self) -> Range<usize> {
        self.unit.tiles.start / PANEL_COLS..self.unit.tiles.end / PANEL_COLS
    }

    #[inline(always)]
    fn step_of<const MASKED: bool>(&mut self, isa: I) {
        let (all, next) = (self.panels(), self.row + 1);
        let is_last = next == self.unit.strip.len();
        let panels = self.panel..(self.panel + STEP_PANELS).min(all.end);
        if !is_last {
            self.look_for_max::<MASKED>(isa, next, panels.clone());
        }
        self.weigh::<MASKED>(isa, panels.clone());
        self.panel = panels.end;
        if panels.end < all.end {
            return;
        }
        self.strip.sum[self.row] = isa.reduce_add(self.sum);
        if !is_last {
            self.leave_max(isa, next);
        }
        (self.row, self.panel, self.sum) = (next, all.start, isa.splat(0.0));
    }

    /// The largest product of a row that counts, among some panels and those before.
    #[inline(always)]
    fn look_for_max<const MASKED: bool>(&mut self, isa: I, row: usize, panels: Range<usize>) {
        if CODES {
            self.scale(isa, row, panels.clone());
        }
        let mut first = panels.start;
        while first + STEP_PANELS <= panels.end {
            self.max_of::<MASKED, STEP_PANELS>(isa, row, first);
            first += STEP_PANELS;
        }
        while first < panels.end {
            self.max_of::<MASKED, 1>(isa, row, first);
            first += 1;
        }
    }

    #[inline(always)]
    fn max_of<const MASKED: bool, const N: usize>(&mut self, isa: I, row: usize, first: usize) {
        let visible = if MASKED { self.visible(row) } else { 0..0 };
        let scores = panels_of::<I, N>(&self.strip.scores, row, first);
        let mut max = self.next_max;
        for (i, scores) in scores.into_iter().enumerate() {
            let mut x = isa.load(scores);
            if MASKED {
                x = hide(isa, x, first + i, &visible);
            }
            max = isa.max(x, max);
        }
        self.next_max = max;
    }

    /// Leaves the maximum of a row. Rounding keeps order and the factor is positive, so the largest product with it is
    /// that of the largest score.
    #[inline(always)]
    fn leave_max(&mut self, isa: I, row: usize) {
        self.strip.max[row] = isa.reduce_max(self.next_max) * self.factor;
        self.next_max = isa.splat(f32::NEG_INFINITY);
    }

    /// Multiplies the products of a row with what the codes of the keys stand for.
    #[inline(always)]
    fn scale(&mut self, isa: I, row: usize, panels: Range<usize>) {
        let layout = strip_layout::<I>(N_PANELS);
        for panel in panels {
            let scores = self.strip.scores[layout.index(row, panel)..].first_chunk_mut().unwrap();
            isa.store(isa.mul(isa.load(scores), isa.load(self.scales.factors(panel))), scores);
        }
    }

    /// The weights of some panels of the row.
    #[inline(always)]
    fn weigh<const MASKED: bool>(&mut self, isa: I, panels: Range<usize>) {
        let mut first = panels.start;
        while first + STEP_PANELS <= panels.end {
            self.weights_of::<MASKED, STEP_PANELS>(isa, first);
            first += STEP_PANELS;
        }
        while first < panels.end {
            self.weights_of::<MASKED, 2>(isa, first);
            first += 2;
        }
    }

    #[inline(always)]
    fn weights_of<const MASKED: bool, const N: usize>(&mut self, isa: I, first: usize) {
        let visible = if MASKED { self.visible(self.row) } else { self.unit.tiles.clone() };
        let (factor, shift) = (isa.splat(self.factor), isa.splat(-self.strip.max[self.row]));
        let Strip { scores, probs, .. } = &mut *self.strip;
        let scores = panels_of::<I, N>(scores, self.row, first);
        let pair_len = I::Lhs::index(0, 2 * PANEL_COLS, CHUNK_LEN);
        let probs = &mut probs[I::Lhs::index(self.row, first * PANEL_COLS, CHUNK_LEN)..];
        let probs = &mut probs[..(N / 2 - 1) * pair_len + 2 * PANEL_COLS];
        let mut sum = self.sum;
        for pair in 0..N / 2 {
            let mut weights = [sum; 2];
            for (i, weight) in weights.iter_mut().enumerate() {
                let mut exponent = isa.mul_add(isa.load(scores[2 * pair + i]), factor, shift);
                if MASKED {
                    exponent = hide(isa, exponent, first + 2 * pair + i, &visible);
                }
                *weight = exp2(isa, exponent);
            }
            let [mut a, mut b] = weights;
            sum = isa.add(isa.add(sum, a), b);
            if CODES {
                let key = (first + 2 * pair) * PANEL_COLS;
                a = self.scales.scaled_weights(isa, a, key, &visible);
                b = self.scales.scaled_weights(isa, b, key + PANEL_COLS, &visible);
            }
            let out = probs[pair * pair_len..][..2 * PANEL_COLS].first_chunk_mut().unwrap();
            I::Lhs::store_pair(isa, a, b, out);
        }
        self.sum = sum;
    }

    /// Keys of the chunk that a row of the strip sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> Range<usize> {
        self.unit.keys.visible(self.unit.chunk, self.unit.strip.start + row)
    }
}

/// The scores of a row in `N` panels.
#[inline(always)]
fn panels_of<I: Isa, const N: usize>(scores: &[f32], row: usize, first: usize) -> [&[f32; PANEL_COLS]; N] {
    let layout = strip_layout::<I>(N_PANELS);
    let stride = layout.index(0, 1);
    // One check for all of them.
    let scores = &scores[layout.index(row, first)..][..(N - 1) * stride + PANEL_COLS];
    std::array::from_fn(|i| scores[i * stride..].first_chunk().unwrap())
}

/// Lanes of a panel, minus infinity for keys that do not count.
#[inline(always)]
fn hide<I: Isa>(isa: I, x: I::V, panel: usize, visible: &Range<usize>) -> I::V {
    const LANES: [f32; PANEL_COLS] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let key = isa.add(isa.load(&LANES), isa.splat((panel * PANEL_COLS) as f32));
    let hidden = isa.splat(f32::NEG_INFINITY);
    let x = isa.select_lt(key, isa.splat(visible.end as f32), x, hidden);
    isa.select_lt(key, isa.splat(visible.start as f32), hidden, x)
}
