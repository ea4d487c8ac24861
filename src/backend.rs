//! The one seam: what a device offers. Object-safe, so that the backend is a fact of run time and never of the build.
//!
//! The backend owns what lies in its memory and hands out handles. Serving teams with an engine of their own use
//! [`PackedMatrix`] and [`KvPages`] alone; the [`Engine`](crate::engine::Engine) uses [`Model`], whole steps at a time,
//! because a launch on Trainium costs 50 to 300 microseconds and ten of them a layer would drown a decode step.
//!
//! The kernels alone:
//! ```
#![doc = include_str!("../examples/kernels.rs")]
//! ```
//!
//! # Errors of devices
//!
//! What computes on a device may find more in its way than its arguments, beside the errors that are listed with each
//! method: there is no compiled program for the call ([`Error::Unavailable`](crate::Error::Unavailable)), the program
//! is damaged ([`Error::Program`](crate::Error::Program)), or the device failed
//! ([`Error::Device`](crate::Error::Device)). What the call was to write is undefined then.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3};

use crate::error::Result;
use crate::spec::{
    AttentionArgs, KvDtype, KvSpec, Logits, ModelConfig, PageId, Slot, StepBatch, WeightDtype, WeightSource, WeightView,
};

/// What a backend can do, and its limits: the one place where they stand.
#[derive(Debug, Clone)]
pub struct Caps {
    /// The backend and its kernel table, as reports name it: `cpu/avx2`.
    pub name: String,
    /// Tokens of a KV page.
    pub page_len: usize,
    /// Tokens of an attention chunk; `page_len` divides it.
    pub chunk_len: usize,
    /// Sizes of a head that attention takes; `None` where it takes every multiple of 16.
    pub head_dims: Option<&'static [usize]>,
    /// Types that weights may be packed as; [`WeightDtype::Int8`] stands for any length of a group.
    pub weight_dtypes: Vec<WeightDtype>,
    /// Types that keys and values may be stored as.
    pub kv_dtypes: Vec<KvDtype>,
    /// Threads or cores that a step uses.
    pub n_threads: usize,
    /// Bytes of memory that the backend may use; 0 where it does not know.
    pub memory_bytes: u64,
}

/// How a model is brought onto a backend.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// What the matrices run as; `None` is bf16 where all of them are stored so, else f32. A loaded model tells which
    /// ([`Model::options`]).
    pub weights: Option<WeightDtype>,
    /// What keys and values are stored as, one of [`Caps::kv_dtypes`].
    pub kv: KvDtype,
    /// KV pages to allocate.
    pub n_pages: usize,
    /// Most rows that one step may have; sizes the scratch memory.
    pub max_step_tokens: usize,
    /// Most logit rows that one step may ask for.
    pub max_logit_rows: usize,
}

/// A device that runs the kernels and the model.
pub trait Backend: Send + Sync {
    /// What it can do.
    fn caps(&self) -> &Caps;

    /// Packs a weight matrix `W[N, K]` the way the kernel wants it, as `dtype`, one of [`Caps::weight_dtypes`].
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a matrix without rows or columns, for bytes that are not as many
    /// as its shape and type want, and for a length of groups that no kernel takes;
    /// [`Error::Unavailable`](crate::Error::Unavailable) for a type that the backend has no kernel for, and where there
    /// is no memory for it; [those of devices](self#errors-of-devices).
    fn pack(&self, weight: &WeightView<'_>, dtype: WeightDtype) -> Result<Box<dyn PackedMatrix>>;

    /// Allocates `n_pages` KV pages.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a number of layers or heads that is 0, and on the CPU for a size
    /// of heads that its kernels do not take; [`Error::Unavailable`](crate::Error::Unavailable) for a type or a size of
    /// heads that the device has no kernel for, and where there is no memory for that many pages; [those of
    /// devices](self#errors-of-devices).
    fn kv(&self, spec: &KvSpec, n_pages: usize) -> Result<Box<dyn KvPages>>;

    /// Brings a model's weights in and allocates its pages and scratch memory; everything that a step needs.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) where the weights are not of the shapes that the configuration asks
    /// for; [`Error::Unavailable`](crate::Error::Unavailable) where the device has no memory for that many pages or
    /// rows.
    fn load(&self, config: &ModelConfig, weights: &dyn WeightSource, options: LoadOptions) -> Result<Box<dyn Model>>;
}

/// A weight matrix `W[N, K]`, packed.
pub trait PackedMatrix: Send + Sync {
    /// Outputs, N.
    fn n(&self) -> usize;

    /// Inputs, K.
    fn k(&self) -> usize;

    /// What the weights are stored as.
    fn dtype(&self) -> WeightDtype;

    /// `out[M, N] = x[M, K] W[N, K]^T`, accumulated in f32, for any M from 1 up. A row of `out` depends on the same row
    /// of `x` alone, bit for bit. Cost: `2 M N K` operations, `N K` weights read once for M up to 16. Fastest where the
    /// rows of both begin at cache lines, as in a [`Buffer`](crate::cpu::Buffer).
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) when the shapes disagree; [those of
    /// devices](self#errors-of-devices).
    fn matmul(&self, x: ArrayView2<'_, f32>, out: ArrayViewMut2<'_, f32>) -> Result<()>;
}

/// Keys and values in pages, on the device, for all layers of a model.
///
/// Which page holds what is the caller's affair (`longhaul::kv` is ours). Contents of a slot that was never appended
/// are undefined and never reach a result.
pub trait KvPages: Send {
    /// Layers, heads and element type.
    fn spec(&self) -> &KvSpec;

    /// Number of pages.
    fn n_pages(&self) -> usize;

    /// Stores `k` and `v`, `[n_tokens, n_kv_heads, head_dim]`, of `layer` at the slots `at`, `[n_tokens]`, rounded or
    /// quantised to the stored type. A page fills from its first slot up: what slots after the last of these held is
    /// undefined afterwards.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a layer that there is not, and where the shapes of `k`, `v` and
    /// `at` disagree; [`Error::Page`](crate::Error::Page) for a slot that there is not. Nothing has been written then.
    /// [Those of devices](self#errors-of-devices).
    fn append(&mut self, layer: usize, k: ArrayView3<'_, f32>, v: ArrayView3<'_, f32>, at: &[Slot]) -> Result<()>;

    /// Causal attention over pages into `out`, `[n_tokens, n_heads, head_dim]`; append-prefill and decode alike.
    ///
    /// # Errors
    /// Whatever [`AttentionArgs::validate`] finds; `out` is untouched then. [Those of devices](self#errors-of-devices).
    /// The Neuron kernel takes finite numbers alone: [`Error::Argument`](crate::Error::Argument) for a query, and
    /// [`Error::Page`](crate::Error::Page) for the key or value of a row, that is not finite in bf16.
    fn attention(&mut self, args: &AttentionArgs<'_>, out: ArrayViewMut3<'_, f32>) -> Result<()>;

    /// Copies the first `n_slots` slots of every layer of page `from` to page `to`; later slots of `to` become
    /// undefined.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for more slots than a page has, [`Error::Page`](crate::Error::Page)
    /// for a page that there is not; nothing has been written then. [Those of devices](self#errors-of-devices).
    fn copy_page(&mut self, from: PageId, to: PageId, n_slots: usize) -> Result<()>;

    /// Bytes of an exported page: `page_len * spec.bytes_per_token()`.
    fn page_bytes(&self) -> usize;

    /// Writes page `page` in the canonical layout, little-endian: `[layer][k|v][slot][kv_head][head_dim]` in bf16; with
    /// [`KvDtype::Int8`] `[layer][k|v][slot][kv_head]` of `head_dim` codes, i8, and their scale, f32.
    ///
    /// # Errors
    /// [`Error::Page`](crate::Error::Page) for a page that there is not, [`Error::Argument`](crate::Error::Argument) if
    /// `out` is not [`page_bytes`](Self::page_bytes) long; nothing has been written then. [Those of
    /// devices](self#errors-of-devices).
    fn export_page(&self, page: PageId, out: &mut [u8]) -> Result<()>;

    /// Reads page `page` back from the canonical layout, bit for bit.
    ///
    /// The numbers are not looked at, and go out again as they came in. What [`append`](Self::append) never writes is
    /// multiplied like all else: a code of -128 stands for -128 times its scale, and a scale that is negative, infinite
    /// or NaN is that factor. So a NaN among them, or in bf16, makes NaN of the rows that see it. Who takes pages from
    /// elsewhere checks them before.
    ///
    /// # Errors
    /// [`Error::Page`](crate::Error::Page) for a page that there is not, [`Error::Argument`](crate::Error::Argument) if
    /// `bytes` are not [`page_bytes`](Self::page_bytes) long; the page is as before then. [Those of
    /// devices](self#errors-of-devices).
    fn import_page(&mut self, page: PageId, bytes: &[u8]) -> Result<()>;
}

/// A model on its backend.
pub trait Model: Send {
    /// The configuration that it was loaded with.
    fn config(&self) -> &ModelConfig;

    /// The options that it was loaded with, limits of a step among them, and in `weights` what its matrices run as.
    fn options(&self) -> &LoadOptions;

    /// Its KV pages, for copies, export and import.
    fn kv(&mut self) -> &mut dyn KvPages;

    /// Runs one ragged batch: appends its tokens' keys and values to their pages, and writes the logits of the rows
    /// that want them, `[config().vocab]` each; to the engine a step with rows of another width has failed.
    ///
    /// Once warm it allocates nothing. A row's logits depend on the tokens before it and on nothing else, bit for bit.
    ///
    /// # Errors
    /// Whatever [`StepBatch::validate`] finds, and a batch larger than the limits; nothing has been written then.
    fn step(&mut self, batch: &StepBatch, logits: &mut Logits) -> Result<()>;

    /// Leaves `exp((logit - max) / temperature)` of each logit in `out`, as long, and answers their sum: what it takes
    /// to draw a token or to score one, and a pass over some 10^5 numbers. `max` is their largest, a finite number; a
    /// logit that is NaN makes the sum NaN. The exponent is rounded to f32; beyond that relative errors are below 1e-6,
    /// and what is below 1e-37 may be 0.
    ///
    /// This is the definition; a backend may be faster.
    fn weigh(&self, logits: &[f32], max: f32, temperature: f32, out: &mut [f32]) -> f64 {
        out.iter_mut().zip(logits).for_each(|(weight, logit)| *weight = ((logit - max) / temperature).exp());
        out.iter().copied().map(f64::from).sum()
    }
}

/// The best backend of this machine that runs models, with `threads` threads or as many as the process may use. Today
/// that is the CPU: the Neuron backend ([`neuron::backend::open`](crate::neuron::backend::open)) has the kernels and no
/// model yet. The one place in the seam that knows which backends there are.
///
/// # Errors
/// [`Error::Unavailable`](crate::Error::Unavailable) if `LONGHAUL_ISA` forces a kernel table that this machine cannot
/// run.
pub fn detect(threads: Option<usize>) -> Result<Box<dyn Backend>> {
    crate::cpu::open(&crate::cpu::CpuOptions { threads, ..Default::default() })
}
