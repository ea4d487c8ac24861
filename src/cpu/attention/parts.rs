//! The states that tasks of a split block leave for whoever merges them.

use super::plan::state_len;
use super::state::State;
use super::unit::Unit;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::product::SumLayout;
use crate::spec::contract::PANEL_COLS;

/// One task's states: of each of its chunks, or of all of them.
pub struct ChunkStates<'a> {
    pub parts: &'a Disjoint<'a, f32>,
    /// First element of the parts.
    pub first: usize,
    pub n_rows: usize,
    pub head_dim: usize,
}

impl ChunkStates<'_> {
    /// The state of the task's chunk `i`: `[rows]` maxima, `[rows]` sums, `[rows][head_dim]` values.
    ///
    /// # Safety
    /// As [`Disjoint::slice`].
    #[inline(always)]
    pub unsafe fn state(&self, i: usize) -> State<'_> {
        let len = state_len(self.n_rows, self.head_dim);
        // SAFETY: passed on to the caller.
        let state = unsafe { self.parts.slice(self.first + i * len, len) };
        let (max, state) = state.split_at_mut(self.n_rows);
        let (sum, values) = state.split_at_mut(self.n_rows);
        State { max, sum, values }
    }

    /// Stores the state of a unit, whose values lie as `layout` says.
    #[inline(always)]
    pub fn store(&self, unit: &Unit<'_>, (max, sum): (&[f32], &[f32]), values: &[f32], layout: SumLayout) {
        // SAFETY: the plan gives each task states of its own, and a task computes one unit after the other.
        let out = unsafe { self.state(unit.chunk - unit.keys.task.first_chunk as usize) };
        let n_rows = unit.strip.len();
        out.max[unit.strip.clone()].copy_from_slice(&max[..n_rows]);
        out.sum[unit.strip.clone()].copy_from_slice(&sum[..n_rows]);
        let rows = unit.strip.start * self.head_dim..unit.strip.end * self.head_dim;
        for (row, out) in out.values[rows].chunks_exact_mut(self.head_dim).enumerate() {
            for (panel, out) in out.as_chunks_mut::<PANEL_COLS>().0.iter_mut().enumerate() {
                *out = *values[layout.index(row, panel)..].first_chunk().unwrap();
            }
        }
    }
}
