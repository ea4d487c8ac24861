//! From the scores of a strip over a chunk to weights, their maximum and their sum.

use std::ops::Range;

use super::block::Block;
use super::scratch::{AttentionScratch, strip_layout};
use super::soon::Lines;
use crate::cpu::isa::Isa;
use crate::cpu::lhs::LhsElement;
use crate::cpu::math::exp2;
use crate::spec::contract::{CHUNK_LEN, PANEL_COLS};

/// Panels of scores of a chunk.
const N_PANELS: usize = CHUNK_LEN / PANEL_COLS;

/// Rows whose maxima are taken before the first of them gets its weights. A row waits for its maximum, sixteen rows do not wait for each other; and
/// their scores stay in the first cache.
const BATCH: usize = 16;

impl<L: LhsElement, O: LhsElement> Block<'_, '_, L, O> {
    /// Turns the scores of rows `strip`, of which a row's visible keys count, into weights `2^(s * factor - max)`, zero elsewhere in the tiles of
    /// keys `tiles`; leaves maxima and sums. A sum is taken in sixteen lanes, before the weights are rounded. Where keys and values are `CODES` the
    /// products become scores first, and the weights are multiplied with the values' scales last.
    #[inline(always)]
    pub(super) fn softmax<I: Isa<Lhs = L>, const CODES: bool>(
        &mut self,
        isa: I,
        chunk: usize,
        strip: &Range<usize>,
        tiles: &Range<usize>,
    ) {
        // Positions ascend: the first row sees least ahead, the last least behind.
        let ends = [self.visible(chunk, strip.start), self.visible(chunk, strip.end - 1)];
        self.scratch.all_see = ends[1].start <= tiles.start && tiles.end <= ends[0].end;
        let n_pairs = tiles.len().div_ceil(2 * PANEL_COLS);
        let mut soon = self.chunk_values(chunk, strip, tiles).lines(strip.len() * n_pairs);
        for first in (0..strip.len()).step_by(BATCH) {
            let rows = first..strip.len().min(first + BATCH);
            for row in rows.clone() {
                if CODES {
                    self.scale_scores(isa, tiles, row);
                }
                let scores = Scores::new::<I>(&self.scratch.scores, row, self.visible_of(chunk, strip, tiles, row));
                self.scratch.chunk_max[row] = scores.max(isa) * self.score_factor::<CODES>();
            }
            for row in rows {
                self.weights::<I, CODES>(isa, chunk, (strip, tiles), row, &mut soon);
            }
        }
    }

    /// Keys that row `row` of a strip sees; of most chunks every row sees all, and nothing is divided.
    #[inline(always)]
    fn visible_of(&self, chunk: usize, strip: &Range<usize>, tiles: &Range<usize>, row: usize) -> Range<usize> {
        if self.scratch.all_see { tiles.clone() } else { self.visible(chunk, strip.start + row) }
    }

    /// What a product is still to be multiplied with to be a score.
    #[inline(always)]
    fn score_factor<const CODES: bool>(&self) -> f32 {
        if CODES { 1.0 } else { self.args.geometry.exponent_factor() }
    }

    #[inline(always)]
    fn weights<I: Isa<Lhs = L>, const CODES: bool>(
        &mut self,
        isa: I,
        chunk: usize,
        (strip, tiles): (&Range<usize>, &Range<usize>),
        row: usize,
        soon: &mut Lines<'_>,
    ) {
        let (scale, shift) = (isa.splat(self.score_factor::<CODES>()), isa.splat(-self.scratch.chunk_max[row]));
        let visible = self.visible_of(chunk, strip, tiles, row);
        let AttentionScratch { scores, probs, chunk_sum, widened, .. } = &mut *self.scratch;
        let scores = Scores::new::<I>(scores, row, visible);
        let all_count = scores.visible.start <= tiles.start && tiles.end <= scores.visible.end;
        let mut sum = isa.splat(0.0);
        for panel in (tiles.start / PANEL_COLS..tiles.end / PANEL_COLS).step_by(2) {
            let (mut a, mut b) = if all_count {
                (scores.all_weights(isa, panel, scale, shift), scores.all_weights(isa, panel + 1, scale, shift))
            } else {
                (scores.weights(isa, panel, scale, shift), scores.weights(isa, panel + 1, scale, shift))
            };
            sum = isa.add(isa.add(sum, a), b);
            soon.ask(isa);
            if CODES {
                a = widened.scaled_weights(isa, a, panel * PANEL_COLS, &scores.visible);
                b = widened.scaled_weights(isa, b, (panel + 1) * PANEL_COLS, &scores.visible);
            }
            let out = &mut probs[L::index(row, panel * PANEL_COLS, CHUNK_LEN)..];
            L::store_pair(isa, a, b, out.first_chunk_mut().unwrap());
        }
        chunk_sum[row] = isa.reduce_add(sum);
    }
}

/// The scores of a row, of which some count.
struct Scores<'a> {
    /// From the row's first on.
    scores: &'a [f32],
    /// Elements from one panel's to the next's.
    stride: usize,
    /// Keys that count.
    visible: Range<usize>,
}

impl<'a> Scores<'a> {
    /// Those of row `row` of a strip.
    #[inline(always)]
    fn new<I: Isa>(scores: &'a [f32], row: usize, visible: Range<usize>) -> Self {
        let layout = strip_layout::<I>(N_PANELS);
        Self { scores: &scores[layout.index(row, 0)..], stride: layout.index(0, 1), visible }
    }

    /// Panels that have keys that count.
    #[inline(always)]
    fn panels(&self) -> Range<usize> {
        self.visible.start / PANEL_COLS..self.visible.end.div_ceil(PANEL_COLS)
    }

    /// The largest that counts. Rounding keeps order and the scale is positive, so the largest product with it is that of the largest score.
    #[inline(always)]
    fn max<I: Isa>(&self, isa: I) -> f32 {
        let panels = self.panels();
        let mut max = isa.splat(f32::NEG_INFINITY);
        if panels.start * PANEL_COLS == self.visible.start && panels.end * PANEL_COLS == self.visible.end {
            for panel in panels {
                max = isa.max(isa.load(self.all(panel)), max);
            }
        } else {
            for panel in panels {
                max = isa.max(self.load(isa, panel), max);
            }
        }
        isa.reduce_max(max)
    }

    /// Sixteen scores, minus infinity for keys that do not count.
    #[inline(always)]
    fn load<I: Isa>(&self, isa: I, panel: usize) -> I::V {
        let (scores, first) = (self.all(panel), panel * PANEL_COLS);
        if self.visible.start <= first && first + PANEL_COLS <= self.visible.end {
            return isa.load(scores);
        }
        let mut lanes = [f32::NEG_INFINITY; PANEL_COLS];
        for (i, lane) in lanes.iter_mut().enumerate() {
            if self.visible.contains(&(first + i)) {
                *lane = scores[i];
            }
        }
        isa.load(&lanes)
    }

    /// Sixteen scores, all of which count.
    #[inline(always)]
    fn all(&self, panel: usize) -> &[f32; PANEL_COLS] {
        self.scores[panel * self.stride..].first_chunk().unwrap()
    }

    /// Sixteen weights of keys that all count.
    #[inline(always)]
    fn all_weights<I: Isa>(&self, isa: I, panel: usize, scale: I::V, shift: I::V) -> I::V {
        exp2(isa, isa.mul_add(isa.load(self.all(panel)), scale, shift))
    }

    /// Sixteen weights, zero for keys that do not count.
    #[inline(always)]
    fn weights<I: Isa>(&self, isa: I, panel: usize, scale: I::V, shift: I::V) -> I::V {
        if self.visible.is_empty() || !self.panels().contains(&panel) {
            return isa.splat(0.0);
        }
        exp2(isa, isa.mul_add(self.load(isa, panel), scale, shift))
    }
}
