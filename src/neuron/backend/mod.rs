//! The two public kernels on Trainium: packed matrices and KV pages, by programs that `kernels/compile.py` compiled.
//!
//! Weights and pages lie in device memory, in the layouts that the kernels read (`kernels/layouts.py`,
//! `kernels/attention_plan.py`); activations cross. A call looks its program up in the [catalog](super::catalog), the
//! smallest bucket that takes it, pads, writes, executes and reads; a call that no bucket takes is cut in pieces.
//! Programs are loaded at first use and kept.
//!
//! The kernel appends new keys and values in the same program that attends. So what [`KvPages::append`] takes waits on
//! the host for the [`KvPages::attention`] of its layer, which takes it along; what no attention took is written to the
//! pages by the host, a page at a time.
//!
//! Limits: weights, keys, values, activations and results are bf16 (sums f32); heads of 64 or 128; new tokens must be
//! finite. Not yet: a whole step as one program, which [`Backend::load`] says. This proves the kernels, not inference.
//!
//! **Run only against the stand-in for libnrt** (`tests/fake-nrt`), never on a Trainium.

mod attention;
mod launch;
mod layout;
mod matrix;
mod pages;
mod pending;
mod plan;
mod programs;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::layout::HEAD_DIMS;
use self::matrix::NeuronMatrix;
use self::pages::NeuronPages;
use self::programs::Programs;
use super::catalog::{Catalog, default_dir};
use super::device::{Core, Runtime};
use super::error::NeuronError;
use super::neff::Target;
use crate::backend::{Backend, Caps, KvPages, LoadOptions, Model, PackedMatrix};
use crate::error::{Error, Result};
use crate::spec::{KvDtype, KvSpec, ModelConfig, WeightDtype, WeightSource, WeightView};

/// The runtime's own variable for the number of physical cores that make a logical one.
const LNC_VARIABLE: &str = "NEURON_LOGICAL_NC_CONFIG";

/// Tokens of a page where the catalog has no attention to tell: the shortest that holds whole tiles of keys for each
/// size of a head.
const DEFAULT_PAGE_LEN: usize = 256;

/// How the Neuron backend is to run.
#[derive(Debug, Clone, Default)]
pub struct NeuronOptions {
    /// The folder of compiled programs and their manifest; by default that of [`default_dir`].
    pub programs: Option<PathBuf>,
    /// The logical core, by its index in this process.
    pub core: u32,
    /// The chip; by default what the runtime says.
    pub target: Option<Target>,
    /// Physical cores of a logical one; by default what `NEURON_LOGICAL_NC_CONFIG` says, else the runtime's default, 2.
    pub lnc: Option<u32>,
    /// Tokens of a KV page, if the programs are of several lengths.
    pub page_len: Option<usize>,
}

/// Opens the Neuron backend on one logical core. Starts the runtime, which a process has once.
///
/// # Errors
/// [`Error::Unavailable`] without libnrt, or on a chip that is not known or that the kernels are not for; [`Error::Io`]
/// without programs, and [`Error::Program`] for a manifest that is wrong; [`Error::Argument`] for a core that there is
/// not, or programs of several page lengths with none chosen. But for the chip's, all of them come before the runtime
/// is started, so that the process still has it.
pub fn open(options: &NeuronOptions) -> Result<Box<dyn Backend>> {
    let dir = options.programs.clone().unwrap_or_else(|| default_dir().0);
    let catalog = Catalog::open(&dir)?;
    let page_len = page_len(&catalog, options.page_len, &dir)?;
    let lnc = lnc(options.lnc)?;
    options.target.map_or(Ok(()), has_kernels)?;
    let core = Runtime::start_with(options.core)?.core(options.core)?;
    let target = options.target.map_or_else(|| target_of(&core), Ok)?;
    has_kernels(target)?;
    let memory_bytes = match core.memory() {
        Ok(memory) => memory.limit_bytes,
        Err(NeuronError::MissingSymbol { .. }) => 0, // not known
        Err(error) => return Err(error.into()),
    };
    let caps = Caps {
        name: format!("neuron/{target}"),
        page_len,
        chunk_len: page_len,
        head_dims: Some(&HEAD_DIMS),
        weight_dtypes: vec![WeightDtype::Bf16],
        kv_dtypes: vec![KvDtype::Bf16],
        n_threads: lnc as usize,
        memory_bytes,
    };
    Ok(Box::new(NeuronBackend { programs: Arc::new(Programs::new(core, catalog, target, lnc)), caps }))
}

/// The chip, as the runtime names it.
fn target_of(core: &Core) -> Result<Target> {
    let info = core.runtime().library().instance_info()?;
    match info.family_name() {
        Some("trn1" | "inf2") => Ok(Target::Trn1),
        Some("trn2" | "trn2u") => Ok(Target::Trn2),
        Some("trn3") => Ok(Target::Trn3),
        _ => Err(Error::Unavailable {
            what: "the Neuron backend".into(),
            why: format!(
                "the instance is of family {}, {}, which is not known; name the chip",
                info.family, info.arch_name
            ),
        }),
    }
}

/// Refuses a chip that `kernels/compile.py` makes no programs for.
fn has_kernels(target: Target) -> Result<()> {
    match target {
        Target::Trn1 => Err(Error::Unavailable {
            what: "the Neuron backend".into(),
            why: format!("the kernels are for trn2 and trn3, and this is {target}"),
        }),
        Target::Trn2 | Target::Trn3 => Ok(()),
    }
}

fn lnc(chosen: Option<u32>) -> Result<u32> {
    match (chosen, variable(LNC_VARIABLE)) {
        (Some(lnc), _) => Ok(lnc),
        (None, Some(text)) => {
            text.parse().map_err(|_| Error::argument(format!("{LNC_VARIABLE} is {text:?}, which is no number")))
        }
        (None, None) => Ok(2),
    }
}

/// The page length of the catalog's attention programs.
fn page_len(catalog: &Catalog, chosen: Option<usize>, dir: &Path) -> Result<usize> {
    let programs = catalog.entries().iter().filter(|e| e.kernel == "attention");
    let mut lengths: Vec<u64> = programs.filter_map(|e| e.count("page_len")).collect();
    lengths.sort_unstable();
    lengths.dedup();
    match (chosen, lengths.as_slice()) {
        (Some(chosen), _) => Ok(chosen),
        (None, []) => Ok(DEFAULT_PAGE_LEN),
        (None, [one]) => Ok(*one as usize),
        (None, several) => Err(Error::argument(format!(
            "the programs in {} are for pages of {several:?} tokens: choose one length",
            dir.display()
        ))),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Programs on a core.
struct NeuronBackend {
    programs: Arc<Programs>,
    caps: Caps,
}

impl Backend for NeuronBackend {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn pack(&self, weight: &WeightView<'_>, dtype: WeightDtype) -> Result<Box<dyn PackedMatrix>> {
        if dtype != WeightDtype::Bf16 {
            let why = "the Neuron kernels are reached with weights of bf16".into();
            return Err(Error::Unavailable { what: format!("weights of {dtype}"), why });
        }
        Ok(Box::new(NeuronMatrix::pack(self.programs.clone(), weight)?))
    }

    fn kv(&self, spec: &KvSpec, n_pages: usize) -> Result<Box<dyn KvPages>> {
        Ok(Box::new(NeuronPages::new(self.programs.clone(), spec, self.caps.page_len, n_pages)?))
    }

    fn load(&self, _: &ModelConfig, _: &dyn WeightSource, _: LoadOptions) -> Result<Box<dyn Model>> {
        Err(Error::Unavailable {
            what: format!("a model on {}", self.caps.name),
            why: "a step there must be one program, since each launch costs 50 to 300 microseconds, and that program does not exist yet; \
                  matrices and KV pages work, and models run on the CPU"
                .into(),
        })
    }
}
