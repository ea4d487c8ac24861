//! The backend for CPUs: one forward pass and one set of kernels, compiled once per kernel table.
//!
//! A table is an instruction set as a value (`isa`); the kernels are generic over it, so that a new one is a file in
//! `arch/`. Everything that multiplies goes through one loop (`product`), rows times packed panels (`panel`): weights,
//! keys and values lie in memory as its right operand. DESIGN.md, "Same bits", says what every table must keep.

// What other tables use is compiled where there is none too.
#![cfg_attr(longhaul_portable_alone, allow(dead_code, unused_imports))]

mod arch;
mod attention;
mod buffer;
mod columns;
mod disjoint;
mod forward;
mod isa;
mod kernels;
mod lhs;
mod machine;
mod math;
mod matmul;
mod matrix;
mod model;
mod pages;
mod panel;
mod parallel;
mod pointwise;
mod prefetch;
mod product;
mod quant;
pub mod roofline;
mod state;
mod team;
pub mod trial;
mod vocabulary;
mod weights;

use std::sync::Arc;

use crate::backend::{Backend, Caps, KvPages, LoadOptions, Model, PackedMatrix};
use crate::error::{Error, Result};
use crate::spec::contract::{CHUNK_LEN, PAGE_LEN};
use crate::spec::{KvDtype, KvSpec, ModelConfig, WeightDtype, WeightSource, WeightView};
use arch::TableVisitor;
use buffer::Arena;
pub use buffer::Buffer;
use columns::Columns;
use isa::Isa;
pub use machine::{Machine, machine};
use matrix::Matrix;
use panel::Panels;
use parallel::Pool;
use quant::QuantPanels;

/// The environment variable that forces a kernel table.
pub const TABLE_VARIABLE: &str = "LONGHAUL_ISA";

/// How the CPU backend is to run.
#[derive(Clone, Default)]
pub struct CpuOptions {
    /// The kernel table by name; by default what `LONGHAUL_ISA` says, else the best that this machine has.
    pub table: Option<String>,
    /// Threads, the caller's among them, which works too; by default as many as affinity and cgroup allow. Calls from
    /// several threads take turns. A caller that has denormals flushed to zero gets other bits.
    pub threads: Option<usize>,
    /// The embedder's pool, whose threads compute then, in place of our own and of the caller's; `threads` is ignored.
    /// A call from outside of the pool costs two wakes of a thread.
    pub pool: Option<Arc<rayon::ThreadPool>>,
}

/// A kernel table of this build, and whether this machine can run it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableStatus {
    /// The name, as in `LONGHAUL_ISA`.
    pub name: &'static str,
    /// Whether it can run here.
    pub available: bool,
    /// Whether it is the one that runs unless another is forced.
    pub chosen: bool,
    /// Why it cannot run, or is not chosen though no better one can; empty for others.
    pub why: String,
    /// The roof of its arithmetic, as [`roofline`] names it.
    pub roof: &'static str,
}

/// All kernel tables of this build, in the order in which they are tried: best first, but for those that do not pay on
/// this CPU.
pub fn tables() -> Vec<TableStatus> {
    struct Statuses(Vec<TableStatus>);
    impl TableVisitor for Statuses {
        fn visit<I: Isa>(&mut self, table: Result<I, String>) {
            let available = table.is_ok();
            let why = table.and_then(I::pays).err().unwrap_or_default();
            let chosen = why.is_empty() && !self.0.iter().any(|t| t.chosen);
            self.0.push(TableStatus { name: I::NAME, available, chosen, why, roof: I::REGISTER_ROOF });
        }
    }
    let mut statuses = Statuses(Vec::new());
    arch::for_each_table(&mut statuses);
    statuses.0
}

/// Opens the CPU backend.
///
/// # Errors
/// [`Error::Unavailable`] for a table that does not exist or that this machine cannot run; it says which can.
pub fn open(options: &CpuOptions) -> Result<Box<dyn Backend>> {
    let forced = options.table.clone().or_else(forced_table);
    let pool = match &options.pool {
        Some(pool) => Pool::from_embedder(pool.clone()),
        None => Pool::new(options.threads.unwrap_or_else(|| machine().threads_allowed).max(1))?,
    };
    let mut opener = Opener { forced, pool, backend: None };
    arch::for_each_table(&mut opener);
    opener.backend.ok_or_else(|| {
        let available: Vec<_> = tables().into_iter().filter(|t| t.available).map(|t| t.name).collect();
        let wanted = opener.forced.unwrap_or_default();
        let why = tables().into_iter().find(|t| t.name == wanted).map_or("there is no such table".into(), |t| t.why);
        Error::Unavailable {
            what: format!("the kernel table `{wanted}`"),
            why: format!("{why}; this machine can run {}", available.join(", ")),
        }
    })
}

struct Opener {
    forced: Option<String>,
    pool: Pool,
    backend: Option<Box<dyn Backend>>,
}

impl TableVisitor for Opener {
    fn visit<I: Isa>(&mut self, table: Result<I, String>) {
        if self.backend.is_none()
            && let Some(isa) = wanted(table, self.forced.as_deref())
        {
            self.backend = Some(Box::new(CpuBackend::new(isa, self.pool.clone())));
        }
    }
}

/// The kernel table that `LONGHAUL_ISA` names, if it is set.
pub fn forced_table() -> Option<String> {
    std::env::var(TABLE_VARIABLE).ok().filter(|name| !name.is_empty())
}

/// The table, if it can run here and is the forced one, or pays where none is forced.
fn wanted<I: Isa>(table: Result<I, String>, forced: Option<&str>) -> Option<I> {
    let isa = table.ok()?;
    forced.map_or_else(|| isa.pays().is_ok(), |name| name == I::NAME).then_some(isa)
}

/// A kernel table and a pool.
struct CpuBackend<I> {
    isa: I,
    pool: Pool,
    caps: Caps,
}

impl<I: Isa> CpuBackend<I> {
    fn new(isa: I, pool: Pool) -> Self {
        let caps = Caps {
            name: format!("cpu/{}", I::NAME),
            page_len: PAGE_LEN,
            chunk_len: CHUNK_LEN,
            head_dims: None,
            weight_dtypes: vec![WeightDtype::Bf16, WeightDtype::F32, WeightDtype::INT8, WeightDtype::Int4],
            kv_dtypes: KvDtype::ALL.to_vec(),
            n_threads: pool.n_threads(),
            memory_bytes: machine().memory_limit_bytes,
        };
        Self { isa, pool, caps }
    }

    fn packed<W: Matrix>(&self, weight: &WeightView<'_>, dtype: WeightDtype) -> Result<Box<dyn PackedMatrix>> {
        let weights = self.pool.install(|| W::pack(&Columns::stacked(&[weight])?, dtype, &mut Arena::default()))?;
        Ok(Box::new(kernels::CpuMatrix::new(self.isa, self.pool.clone(), weights)))
    }
}

impl<I: Isa> Backend for CpuBackend<I> {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn pack(&self, weight: &WeightView<'_>, dtype: WeightDtype) -> Result<Box<dyn PackedMatrix>> {
        match dtype {
            WeightDtype::Bf16 => self.packed::<Panels<u16>>(weight, dtype),
            WeightDtype::F32 => self.packed::<Panels<f32>>(weight, dtype),
            WeightDtype::Int8 { .. } | WeightDtype::Int4 => self.packed::<QuantPanels>(weight, dtype),
        }
    }

    fn kv(&self, spec: &KvSpec, n_pages: usize) -> Result<Box<dyn KvPages>> {
        Ok(Box::new(kernels::CpuPages::new(self.isa, self.pool.clone(), spec, n_pages)?))
    }

    fn load(&self, config: &ModelConfig, source: &dyn WeightSource, options: LoadOptions) -> Result<Box<dyn Model>> {
        let dtype = options.weights.map_or_else(|| self.pool.install(|| weights::natural_dtype(config, source)), Ok)?;
        let (isa, pool) = (self.isa, self.pool.clone());
        Ok(match dtype {
            WeightDtype::Bf16 => {
                Box::new(model::CpuModel::<I, Panels<u16>>::load(isa, pool, config, source, dtype, options)?)
            }
            WeightDtype::F32 => {
                Box::new(model::CpuModel::<I, Panels<f32>>::load(isa, pool, config, source, dtype, options)?)
            }
            WeightDtype::Int8 { .. } | WeightDtype::Int4 => {
                Box::new(model::CpuModel::<I, QuantPanels>::load(isa, pool, config, source, dtype, options)?)
            }
        })
    }
}
