//! `y[M, N] = x[M, K] W[N, K]^T`: packed panels, tasks of some panels by some rows, and what happens to a sum once it
//! is there.

use super::disjoint::{Disjoint, SharedRows};
use super::isa::{Isa, Kernel};
use super::lhs::LhsElement;
use super::math::silu;
use super::matrix::{Block, Matrix};
use super::parallel::{first_task, for_each_task_before};
use super::product::{FEW_ROWS, TILE_ROWS};
use super::team::NextReads;
use crate::spec::contract::PANEL_COLS;

/// What becomes of the sums.
pub enum Epilogue<'a, L> {
    /// `out = sums + bias`, `[M][stride]`.
    Store {
        /// `[M][stride]`
        out: Disjoint<'a, f32>,
        /// Elements from one row to the next.
        stride: usize,
        /// `[N]`, or none.
        bias: Option<&'a [f32]>,
    },
    /// `out += sums`, `[M][stride]`: the residual stream.
    Add {
        /// `[M][stride]`
        out: Disjoint<'a, f32>,
        /// Elements from one row to the next.
        stride: usize,
    },
    /// `out = silu(gate) * up`, from panels that alternate, as the left operand of the next product.
    SiluGate {
        /// Left operand, rows `depth` long.
        out: Disjoint<'a, L>,
        /// `N / 2`, padded.
        depth: usize,
    },
}

/// One matmul: rows of a left operand with packed weights.
pub struct Matmul<'a, I: Isa, W: Matrix> {
    /// The left operand, rows K long, padded to a multiple of 32.
    pub lhs: &'a [W::Lhs<I>],
    /// M
    pub n_rows: usize,
    /// The weights.
    pub weights: &'a W,
    /// What becomes of the sums.
    pub epilogue: Epilogue<'a, W::Lhs<I>>,
    /// The weights that the same threads meet as many rows with next, if that is known.
    pub next: Option<&'a W>,
}

/// Elements of the buffer that each thread needs.
pub fn scratch_len<I: Isa>() -> usize {
    I::TASK_ROWS * (I::TASK_PANELS + 1) * PANEL_COLS
}

/// Tasks per thread below which they become narrower.
const TASKS_PER_THREAD: usize = 4;

/// Wide tasks of few rows have a multiple of this many panels: kernels read two, three, four or six at once then.
const STREAMS: usize = 12;

/// How a matmul is cut into tasks; follows from lengths alone.
struct Cut {
    /// Rows of a task, a multiple of 32.
    rows: usize,
    /// Panels of a task, an even number.
    panels: usize,
    n_row_blocks: usize,
    n_groups: usize,
}

impl Cut {
    /// Even parts, none above what the table likes, and enough of them for all threads where there is enough to do.
    fn new<I: Isa>(n_rows: usize, n_panels: usize, n_threads: usize) -> Self {
        const { assert!(I::TASK_ROWS.is_multiple_of(32)) };
        let n_row_blocks = n_rows.div_ceil(I::TASK_ROWS);
        let rows = n_rows.div_ceil(n_row_blocks).next_multiple_of(32).min(I::TASK_ROWS);
        let wanted = (TASKS_PER_THREAD * n_threads).div_ceil(n_row_blocks);
        let n_groups = wanted.min(n_panels / I::MIN_TASK_PANELS).max(n_panels.div_ceil(I::TASK_PANELS));
        let panels = n_panels.div_ceil(n_groups);
        let step = if n_rows <= FEW_ROWS && panels > 2 * STREAMS { STREAMS } else { 2 };
        let panels = panels.next_multiple_of(step).min(I::TASK_PANELS / step * step);
        Self { rows, panels, n_row_blocks: n_rows.div_ceil(rows), n_groups: n_panels.div_ceil(panels) }
    }

    /// Row block and group of panels of the task `i`. Each thread has rows of its own as far as they go, and takes them
    /// by one group of panels after the other: so all threads pass the same panels at about the same time.
    fn task(&self, i: usize, n_threads: usize) -> (usize, usize) {
        let n_parts = n_threads.min(self.n_row_blocks);
        let part = ((i / self.n_groups + 1) * n_parts - 1) / self.n_row_blocks;
        let [first, end] = [part, part + 1].map(|part| part * self.n_row_blocks / n_parts);
        let within = i - first * self.n_groups;
        (first + within % (end - first), within / (end - first))
    }
}

/// Some panels by some rows.
struct Task<'a, 'b, I: Isa, W: Matrix> {
    matmul: &'a Matmul<'b, I, W>,
    operand: &'a W::Operand,
    block: Block,
    sums: &'a mut [f32],
}

impl<I: Isa, W: Matrix> Kernel<I> for Task<'_, '_, I, W> {
    #[inline(always)]
    fn run(self, isa: I) {
        let Self { matmul, operand, block, sums } = self;
        let finished = matmul.finished_rows(&block);
        let is_finished = finished.is_some();
        matmul.weights.product(isa, matmul.lhs, operand, &block, sums, finished);
        if is_finished {
            return;
        }
        match &matmul.epilogue {
            Epilogue::Store { out, stride, bias } => matmul.store(isa, &block, sums, out, *stride, *bias),
            Epilogue::Add { out, stride } => matmul.add(isa, &block, sums, out, *stride),
            Epilogue::SiluGate { out, depth } => silu_gate(isa, &block, sums, out, *depth),
        }
    }
}

impl<I: Isa, W: Matrix> Matmul<'_, I, W> {
    /// Runs it, with `sums(state)` a buffer of [`scratch_len`] elements; panics where rows of the result would meet.
    pub fn run<S: Send>(
        &self,
        isa: I,
        operand: &mut W::Operand,
        states: &mut [S],
        sums: impl Fn(&mut S) -> &mut [f32] + Sync,
    ) {
        self.check();
        self.weights.prepare(isa, self.lhs, self.n_rows, operand, states);
        let (operand, n_panels) = (&*operand, self.weights.n_panels());
        let n_threads = states.len();
        let cut = Cut::new::<I>(self.n_rows, n_panels, n_threads);
        let task = |state: &mut S, i| {
            let (row_block, group) = cut.task(i, n_threads);
            let (first_row, first_panel) = (row_block * cut.rows, group * cut.panels);
            let (n_rows, n_panels) = (cut.rows.min(self.n_rows - first_row), cut.panels.min(n_panels - first_panel));
            let layout = self.weights.sum_layout(isa, self.n_rows, n_panels);
            let block = Block { first_row, n_rows, first_panel, n_panels, layout };
            isa.run(Task { matmul: self, operand, block, sums: sums(state) });
        };
        let next = |thread| self.next_reads(n_threads, thread);
        for_each_task_before(states, cut.n_groups * cut.n_row_blocks, task, next);
    }

    /// Panics if a column of one row could be a column of another: that tasks, which have rows and columns of their
    /// own, share nothing rests on it.
    fn check(&self) {
        match &self.epilogue {
            Epilogue::Store { stride, .. } | Epilogue::Add { stride, .. } => assert!(*stride >= self.weights.n()),
            Epilogue::SiluGate { depth, .. } => {
                assert!(<W::Lhs<I>>::rows_lie_apart(self.weights.n_panels().div_ceil(2) * PANEL_COLS, *depth));
            }
        }
    }

    /// What a thread reads first of the next weights, where few rows wait for memory.
    fn next_reads(&self, n_threads: usize, thread: usize) -> Option<NextReads> {
        let next = self.next.filter(|_| self.n_rows <= FEW_ROWS)?;
        let cut = Cut::new::<I>(self.n_rows, next.n_panels(), n_threads);
        Some(next.reads(first_task(cut.n_groups, n_threads, thread) * cut.panels))
    }

    /// Where the sums of a block can go at once: whole panels of a plain result, from matrices that store them.
    #[inline(always)]
    fn finished_rows(&self, block: &Block) -> Option<SharedRows<'_>> {
        let Epilogue::Store { out, stride, bias: None } = &self.epilogue else { return None };
        let (last, len) = self.columns(block, block.n_panels - 1);
        if !block.layout.has_whole_tiles() || !block.n_rows.is_multiple_of(TILE_ROWS) || len < PANEL_COLS {
            return None;
        }
        let first = block.first_panel * PANEL_COLS;
        // SAFETY: a task has its own rows and columns of `out`.
        Some(unsafe {
            SharedRows::new(out, block.first_row * stride + first, *stride, [block.n_rows, last + len - first])
        })
    }

    /// The part of an output row that panel `panel` of a block covers: all of it but for the last.
    #[inline(always)]
    fn columns(&self, block: &Block, panel: usize) -> (usize, usize) {
        let first = (block.first_panel + panel) * PANEL_COLS;
        (first, PANEL_COLS.min(self.weights.n() - first))
    }

    #[inline(always)]
    fn store(&self, isa: I, block: &Block, sums: &[f32], out: &Disjoint<'_, f32>, stride: usize, bias: Option<&[f32]>) {
        for row in 0..block.n_rows {
            self.prefetch(isa, block, row + ROWS_AHEAD, out, stride);
            for panel in 0..block.n_panels {
                let (first, len) = self.columns(block, panel);
                // SAFETY: a task has its own rows and columns of `out`.
                let out = unsafe { out.slice((block.first_row + row) * stride + first, len) };
                copy(isa, out, &sums[block.layout.index(row, panel)..][..len]);
                if let Some(bias) = bias {
                    add_assign(isa, out, &bias[first..first + len]);
                }
            }
        }
    }

    #[inline(always)]
    fn add(&self, isa: I, block: &Block, sums: &[f32], out: &Disjoint<'_, f32>, stride: usize) {
        for row in 0..block.n_rows {
            self.prefetch(isa, block, row + ROWS_AHEAD, out, stride);
            for panel in 0..block.n_panels {
                let (first, len) = self.columns(block, panel);
                // SAFETY: a task has its own rows and columns of `out`.
                let out = unsafe { out.slice((block.first_row + row) * stride + first, len) };
                add_assign(isa, out, &sums[block.layout.index(row, panel)..][..len]);
            }
        }
    }

    /// Asks for what a block covers of an output row, for each of its rows is in another page of memory.
    #[inline(always)]
    fn prefetch(&self, isa: I, block: &Block, row: usize, out: &Disjoint<'_, f32>, stride: usize) {
        if row < block.n_rows {
            for panel in 0..block.n_panels {
                let (first, len) = self.columns(block, panel);
                // SAFETY: a task has its own rows and columns of `out`.
                let out = unsafe { out.slice((block.first_row + row) * stride + first, len) };
                isa.prefetch_write(&out[len - 1]);
            }
        }
    }
}

/// How many rows ahead of the one that is written the next is asked for.
const ROWS_AHEAD: usize = 2;

/// `a = b`, where a panel is one vector but for the last; a call of `memcpy` costs more.
#[inline(always)]
fn copy<I: Isa>(isa: I, a: &mut [f32], b: &[f32]) {
    match (a.first_chunk_mut(), b.first_chunk()) {
        (Some(a), Some(b)) => isa.store(isa.load(b), a),
        _ => a.copy_from_slice(b),
    }
}

/// `a += b`
#[inline(always)]
fn add_assign<I: Isa>(isa: I, a: &mut [f32], b: &[f32]) {
    let (a16, a_tail) = a.as_chunks_mut::<16>();
    let (b16, b_tail) = b.as_chunks::<16>();
    for (a, b) in a16.iter_mut().zip(b16) {
        isa.store(isa.add(isa.load(a), isa.load(b)), a);
    }
    for (a, b) in a_tail.iter_mut().zip(b_tail) {
        *a += b;
    }
}

/// [`Epilogue::SiluGate`] of a block whose sums lie as it says.
#[inline(always)]
pub fn silu_gate<I: Isa, L: LhsElement>(isa: I, block: &Block, sums: &[f32], out: &Disjoint<'_, L>, depth: usize) {
    for row in 0..block.n_rows {
        for gate in (0..block.n_panels).step_by(2) {
            let up = isa.load(sums[block.layout.index(row, gate + 1)..].first_chunk().unwrap());
            let gated = silu(isa, isa.load(sums[block.layout.index(row, gate)..].first_chunk().unwrap()));
            let k = (block.first_panel + gate) / 2 * PANEL_COLS;
            // SAFETY: a task has its own rows and columns of `out`.
            let out = unsafe { out.slice(L::index(block.first_row + row, k, depth), PANEL_COLS) };
            L::store(isa, isa.mul(gated, up), out.first_chunk_mut().unwrap());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_block_meets_every_group_once() {
        for (n_row_blocks, n_groups, n_threads) in [(1, 1, 1), (1, 9, 4), (7, 3, 2), (8, 28, 2), (5, 4, 3), (3, 2, 8)] {
            let cut = Cut { rows: 32, panels: 2, n_row_blocks, n_groups };
            let mut tasks: Vec<_> = (0..n_row_blocks * n_groups).map(|i| cut.task(i, n_threads)).collect();
            tasks.sort_unstable();
            let all = (0..n_row_blocks).flat_map(|block| (0..n_groups).map(move |group| (block, group)));
            assert!(tasks.into_iter().eq(all), "{n_row_blocks} by {n_groups} on {n_threads} threads");
        }
    }
}
