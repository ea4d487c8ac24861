//! The states that tasks of a split block leave for whoever merges them.

use super::plan::state_len;
use super::state::State;
use super::unit::Unit;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::product::SumLayout;
use crate::spec::contract::PANEL_COLS;

/// One task's states: of each of its chunks, or of all of them.
pub struct ChunkStates<'a> {
    parts: &'a Disjoint<'a, f32>,
    /// First element of the parts.
    first: usize,
    n_rows: usize,
    head_dim: usize,
}

impl<'a> ChunkStates<'a> {
    /// States of `n_rows` rows of `head_dim` elements, from element `first` of the parts on.
    ///
    /// # Safety
    /// While this lives, nobody else touches the states that are asked of it.
    #[inline(always)]
    pub unsafe fn new(parts: &'a Disjoint<'a, f32>, first: usize, n_rows: usize, head_dim: usize) -> Self {
        Self { parts, first, n_rows, head_dim }
    }

    /// The state of the task's chunk `i`: `[rows]` maxima, `[rows]` sums, `[rows][head_dim]` values.
    #[inline(always)]
    pub fn state(&mut self, i: usize) -> State<'_> {
        let len = state_len(self.n_rows, self.head_dim);
        // SAFETY: nobody else's, promised whoever made this; and one at a time, for `self` is borrowed exclusively.
        let state = unsafe { self.parts.slice(self.first + i * len, len) };
        let (max, state) = state.split_at_mut(self.n_rows);
        let (sum, values) = state.split_at_mut(self.n_rows);
        State { max, sum, values }
    }

    /// Stores the state of a unit, whose values lie as `layout` says.
    #[inline(always)]
    pub fn store(&mut self, unit: &Unit<'_>, (max, sum): (&[f32], &[f32]), values: &[f32], layout: SumLayout) {
        let (n_rows, head_dim) = (unit.strip.len(), self.head_dim);
        let out = self.state(unit.chunk - unit.keys.task.first_chunk as usize);
        out.max[unit.strip.clone()].copy_from_slice(&max[..n_rows]);
        out.sum[unit.strip.clone()].copy_from_slice(&sum[..n_rows]);
        let rows = unit.strip.start * head_dim..unit.strip.end * head_dim;
        for (row, out) in out.values[rows].chunks_exact_mut(head_dim).enumerate() {
            for (panel, out) in out.as_chunks_mut::<PANEL_COLS>().0.iter_mut().enumerate() {
                *out = *values[layout.index(row, panel)..].first_chunk().unwrap();
            }
        }
    }
}
