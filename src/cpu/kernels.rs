//! The two public kernels, for teams with an engine of their own: a packed matrix, and KV pages.

use std::io;
use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};

use super::attention::{Attention, AttentionPlan, AttentionScratch, Geometry, PlanLimits};
use super::buffer::Buffer;
use super::disjoint::Disjoint;
use super::isa::Isa;
use super::lhs::LhsElement;
use super::matmul::{self, Epilogue, Matmul};
use super::matrix::Matrix;
use super::pages::{Pages, StoreToken};
use super::parallel::{Pool, for_each_task};
use super::pointwise::{CopyRow, LhsRow};
use super::state::block_rows;
use crate::backend::{KvPages, PackedMatrix};
use crate::error::{Error, Result};
use crate::spec::contract::PAGE_LEN;
use crate::spec::{AttentionArgs, KvSpec, PageId, Slot, WeightDtype, check_matmul};

/// Rows that one task rounds into a left operand.
const TASK_ROWS: usize = 16;

/// Weights on a kernel table.
pub struct CpuMatrix<I: Isa, W: Matrix> {
    isa: I,
    pool: Pool,
    weights: W,
    /// Buffers of calls that are over, for calls to come.
    idle: Mutex<Vec<MatmulBuffers<I, W>>>,
}

struct MatmulBuffers<I: Isa, W: Matrix> {
    lhs: Buffer<W::Lhs<I>>,
    operand: W::Operand,
    sums: Vec<Buffer<f32>>,
}

impl<I: Isa, W: Matrix> CpuMatrix<I, W> {
    /// A matrix that runs on `pool`.
    pub fn new(isa: I, pool: Pool, weights: W) -> Self {
        Self { isa, pool, weights, idle: Mutex::default() }
    }

    /// Buffers with room for `n_rows` rows: those of a call that is over, if there are any.
    fn buffers(&self, n_rows: usize) -> io::Result<MatmulBuffers<I, W>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffers = match idle {
            Some(buffers) => buffers,
            None => {
                let sums = || Buffer::try_zeroed(matmul::scratch_len::<I>());
                let sums = (0..self.pool.n_threads()).map(|_| sums()).collect::<io::Result<_>>()?;
                MatmulBuffers { lhs: Buffer::default(), operand: W::Operand::default(), sums }
            }
        };
        let len = <W::Lhs<I>>::buffer_len(n_rows, <W::Lhs<I>>::row_len(self.k()));
        if buffers.lhs.len() < len {
            buffers.lhs = Buffer::try_zeroed(len)?;
        }
        W::make_room(&mut buffers.operand, n_rows, self.k())?;
        Ok(buffers)
    }

    fn run(&self, x: &[f32], out: &mut [f32], buffers: &mut MatmulBuffers<I, W>) {
        let (isa, k) = (self.isa, self.weights.k());
        let depth = <W::Lhs<I>>::row_len(k);
        let n_rows = x.len() / k;
        let lhs = Disjoint::new(&mut buffers.lhs);
        for_each_task(&mut buffers.sums, n_rows.div_ceil(TASK_ROWS), |_, task| {
            for row in task * TASK_ROWS..n_rows.min((task + 1) * TASK_ROWS) {
                // SAFETY: each row is one task's own, and all are as long.
                isa.run(CopyRow { x: &x[row * k..][..k], out: unsafe { LhsRow::new(&lhs, row, depth) } });
            }
        });
        let epilogue = Epilogue::Store { out: Disjoint::new(out), stride: self.weights.n(), bias: None };
        let matmul = Matmul { lhs: &buffers.lhs, n_rows, weights: &self.weights, epilogue, next: None };
        matmul.run(isa, &mut buffers.operand, &mut buffers.sums, |sums| sums);
    }
}

impl<I: Isa, W: Matrix> PackedMatrix for CpuMatrix<I, W> {
    fn n(&self) -> usize {
        self.weights.n()
    }

    fn k(&self) -> usize {
        self.weights.k()
    }

    fn dtype(&self) -> WeightDtype {
        self.weights.dtype()
    }

    fn matmul(&self, x: ArrayView2<'_, f32>, mut out: ArrayViewMut2<'_, f32>) -> Result<()> {
        check_matmul([self.n(), self.k()], x.dim(), out.dim())?;
        let m = x.nrows();
        if m == 0 {
            return Ok(());
        }
        let x = x.as_standard_layout();
        let x = x.as_slice().expect("standard layout is one slice");
        let mut buffers = self.buffers(m).map_err(|e| Error::Unavailable {
            what: format!("memory for a product of {m} rows"),
            why: e.to_string(),
        })?;
        self.pool.run_step(|| match out.as_slice_mut() {
            Some(out) => self.run(x, out, &mut buffers),
            None => {
                let mut dense = ndarray::Array2::zeros((m, self.n()));
                self.run(x, dense.as_slice_mut().expect("a new array is one slice"), &mut buffers);
                out.assign(&dense);
            }
        });
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(buffers);
        Ok(())
    }
}

/// KV pages on a kernel table.
pub struct CpuPages<I: Isa> {
    isa: I,
    pool: Pool,
    /// The pages themselves.
    pub pages: Pages,
    workspace: Option<Workspace<I>>,
}

/// What attention works in, for one geometry and lengths up to its limits.
struct Workspace<I: Isa> {
    geometry: Geometry,
    limits: PlanLimits,
    plan: AttentionPlan,
    threads: Vec<AttentionScratch<I::Lhs>>,
}

impl<I: Isa> CpuPages<I> {
    /// Allocates pages that work on `pool`.
    pub fn new(isa: I, pool: Pool, spec: &KvSpec, n_pages: usize) -> Result<Self> {
        Ok(Self { isa, pool, pages: Pages::new(spec, n_pages)?, workspace: None })
    }

    /// The workspace for these arguments: the last one, if it has room; else one with room for both, so that calls may
    /// take turns.
    fn workspace(&mut self, geometry: Geometry, n_tokens: usize, max_len: usize) -> Result<Workspace<I>> {
        let (mut max_step_tokens, mut max_len) = (n_tokens.next_power_of_two(), max_len.next_power_of_two());
        if let Some(last) = self.workspace.take().filter(|last| last.geometry.group == geometry.group) {
            if last.limits.max_step_tokens >= n_tokens && last.limits.max_len >= max_len {
                return Ok(Workspace { geometry, ..last });
            }
            max_step_tokens = max_step_tokens.max(last.limits.max_step_tokens);
            max_len = max_len.max(last.limits.max_len);
        }
        let n_threads = self.pool.n_threads();
        let rows = block_rows::<I>(&geometry);
        let limits =
            PlanLimits { max_step_tokens, max_len, n_threads, block_rows: rows, min_block_rows: I::ATTENTION_ROWS };
        let plan = AttentionPlan::new(&geometry, limits).map_err(|e| Error::Unavailable {
            what: format!("memory for attention of {n_tokens} tokens in contexts of up to {max_len}"),
            why: e.to_string(),
        })?;
        let scratch = || AttentionScratch::new(&geometry, rows, I::ATTENTION_ROWS);
        Ok(Workspace { geometry, limits, plan, threads: (0..n_threads).map(|_| scratch()).collect() })
    }
}

impl<I: Isa> KvPages for CpuPages<I> {
    fn spec(&self) -> &KvSpec {
        self.pages.spec()
    }

    fn n_pages(&self) -> usize {
        self.pages.n_pages()
    }

    fn append(&mut self, layer: usize, k: ArrayView3<'_, f32>, v: ArrayView3<'_, f32>, at: &[Slot]) -> Result<()> {
        self.spec().check_append(layer, [k.dim(), v.dim()], at, (self.n_pages(), PAGE_LEN))?;
        let (k, v) = (k.as_standard_layout(), v.as_standard_layout());
        let (k, v) = (k.as_slice().expect("one slice"), v.as_slice().expect("one slice"));
        let row = self.spec().n_kv_heads * self.spec().head_dim;
        let writer = self.pages.writer(layer);
        for ((k, v), at) in k.chunks_exact(row).zip(v.chunks_exact(row)).zip(at) {
            // SAFETY: the pages are borrowed exclusively, and this thread alone writes.
            let token = unsafe { StoreToken::new(&writer, *at, k, v) };
            self.isa.run(token);
        }
        Ok(())
    }

    fn attention(&mut self, args: &AttentionArgs<'_>, mut out_array: ArrayViewMut3<'_, f32>) -> Result<()> {
        args.validate(self.spec(), out_array.dim(), (self.n_pages(), PAGE_LEN))?;
        let (geometry, ragged) = (geometry(self.spec(), args), args.ragged);
        let (n_tokens, n_heads, head_dim) = args.q.dim();
        let max_len = (0..ragged.n_seqs()).map(|s| ragged.kv_len(s)).max().unwrap_or(0);
        if n_tokens == 0 {
            return Ok(());
        }
        let mut workspace = self.workspace(geometry, n_tokens, max_len)?;
        workspace.plan.make(&geometry, &ragged);
        let Workspace { plan, threads, .. } = &mut workspace;
        let row_len = n_heads * head_dim;
        let (isa, layer) = (self.isa, self.pages.layer(args.layer));
        let q = args.q.as_standard_layout();
        let q = q.as_slice().expect("one slice");
        let mut run = |out: &mut [f32]| {
            let out = Disjoint::new(out);
            let attention = Attention { geometry, q, q_stride: row_len, layer, ragged, out, out_depth: row_len };
            attention.run(isa, plan, threads, |scratch| scratch);
        };
        self.pool.run_step(|| match out_array.as_slice_mut() {
            Some(out) => run(out),
            None => {
                let mut dense = ndarray::Array3::zeros(out_array.dim());
                run(dense.as_slice_mut().expect("a new array is one slice"));
                out_array.assign(&dense);
            }
        });
        self.workspace = Some(workspace);
        Ok(())
    }

    fn copy_page(&mut self, from: PageId, to: PageId, n_slots: usize) -> Result<()> {
        if n_slots > PAGE_LEN {
            return Err(Error::argument(format!("a page has {PAGE_LEN} slots, not {n_slots}")));
        }
        self.pages.copy(from, to, n_slots)
    }

    fn page_bytes(&self) -> usize {
        self.pages.page_bytes()
    }

    fn export_page(&self, page: PageId, out: &mut [u8]) -> Result<()> {
        self.pages.export(page, out)
    }

    fn import_page(&mut self, page: PageId, bytes: &[u8]) -> Result<()> {
        self.pages.import(page, bytes)
    }
}

/// Heads and scale of a call that was validated.
fn geometry(spec: &KvSpec, args: &AttentionArgs<'_>) -> Geometry {
    let (_, n_heads, head_dim) = args.q.dim();
    let n_kv_heads = spec.n_kv_heads;
    Geometry { n_kv_heads, group: n_heads / n_kv_heads, head_dim, scale: args.scale, window: args.window }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::arch::{TableVisitor, for_each_table};
    use crate::spec::KvDtype;

    struct TakingTurns;

    impl TableVisitor for TakingTurns {
        fn visit<I: Isa>(&mut self, table: std::result::Result<I, String>) {
            let Ok(isa) = table else { return };
            let spec = KvSpec { n_layers: 1, n_kv_heads: 2, head_dim: 32, dtype: KvDtype::Bf16 };
            let geometry = Geometry { n_kv_heads: 2, group: 2, head_dim: 32, scale: 1.0, window: None };
            let mut pages = CpuPages::new(isa, Pool::new(1).unwrap(), &spec, 1).unwrap();
            let mut call = |n_tokens, max_len| {
                let workspace = pages.workspace(geometry, n_tokens, max_len).unwrap();
                let place = workspace.threads.as_ptr();
                pages.workspace = Some(workspace);
                place
            };
            call(512, 512);
            let for_both = call(1, 4_096);
            assert_eq!([call(512, 512), call(1, 4_096)], [for_both; 2], "{}", I::NAME);
        }
    }

    #[test]
    fn calls_that_take_turns_share_a_workspace() {
        for_each_table(&mut TakingTurns);
    }
}
