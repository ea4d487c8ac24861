//! The table of cases. Whoever adds a contract adds its lines here: the programs that it needs, and what it does with
//! them.

use longhaul::neuron::Result;
use longhaul::neuron::neff::write::Program;
use longhaul::neuron::nrt::Nrt;

use crate::bench::{Bench, Log};
use crate::contract::{self, Backends};
use crate::{
    contract_programs, kernel_cases, memory_cases as memory, program_cases as programs, runtime_cases as runtime,
};

/// The case that comes first: without a library nothing else runs.
pub const LIBRARY: &str = "library";

/// Something that is asked of the library.
pub struct Case {
    pub name: &'static str,
    /// What it shows when it passes.
    pub shows: &'static str,
    pub run: Run,
}

/// How a case runs.
pub enum Run {
    /// With the library opened and nothing initialised.
    Library(fn(&Nrt, &Log) -> Result<()>),
    /// On a started runtime.
    Device(fn(&Bench) -> Result<()>),
    /// With compiled programs: those of these cases of [`kernel_cases`].
    Program(&'static [&'static str], fn(&Bench) -> Result<()>),
    /// A case of the contract on the Neuron backend, with the programs of its name ([`contract_programs`]).
    Contract(fn(&Backends)),
}

impl Case {
    /// The programs that it needs.
    pub fn wanted(&self) -> Vec<Program> {
        match self.run {
            Run::Program(names, _) => names.iter().map(|name| kernel_cases::wanted(name)).collect(),
            Run::Contract(_) => contract_programs::of(self.name),
            Run::Library(_) | Run::Device(_) => Vec::new(),
        }
    }
}

const fn library(name: &'static str, shows: &'static str, run: fn(&Nrt, &Log) -> Result<()>) -> Case {
    Case { name, shows, run: Run::Library(run) }
}

const fn on_device(name: &'static str, shows: &'static str, run: fn(&Bench) -> Result<()>) -> Case {
    Case { name, shows, run: Run::Device(run) }
}

const fn program(
    name: &'static str,
    shows: &'static str,
    programs: &'static [&'static str],
    run: fn(&Bench) -> Result<()>,
) -> Case {
    Case { name, shows, run: Run::Program(programs, run) }
}

/// A case of [`kernel_cases`]. The name is a literal, so that a function can be made of it.
macro_rules! kernel {
    ($name:literal) => {
        program(
            $name,
            "the kernel's result is the reference's, within the tolerance that is computed from its sizes",
            &[$name],
            |bench| kernel_cases::run($name, &bench.core, &bench.neff(&kernel_cases::wanted($name))),
        )
    };
}

/// The cases of the contract.
macro_rules! contract_cases {
    ($($module:ident::$case:ident,)*) => {
        const CONTRACT: &[Case] = &[$(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            shows: "the backend's matrices and pages do what every backend's must (tests/contract)",
            run: Run::Contract(contract::$module::$case),
        }),*];
    };
}
contract::for_every_case!(contract_cases);

/// All cases, in order.
pub fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(CONTRACT)
}

/// Those that are not the contract's.
const CASES: &[Case] = &[
    library(LIBRARY, "libnrt opens and tells its version, the instance and its cores", runtime::library),
    library("before-init", "a call before nrt_init is an error, and does not crash", runtime::before_init),
    on_device("start", "the runtime starts, tells memory, closes, and starts once per process", runtime::start),
    on_device("tensors", "what is written is read, at any size and offset", memory::tensors),
    on_device(
        "slices",
        "slices, and slices of slices, lie where they should, and outlive their tensor",
        memory::slices,
    ),
    on_device("copy", "copies between tensors and inside of one", memory::copy),
    on_device("fill", "memset sets what it should and nothing beside it", memory::fill),
    on_device("many-tensors", "memory that was freed can be had again", memory::many_tensors),
    on_device(
        "out-of-memory",
        "too large an allocation is out of memory, and the next one works",
        memory::out_of_memory,
    ),
    on_device("no-such-core", "a core that is none is an error", runtime::no_such_core),
    on_device("no-program", "bytes that are no NEFF are an error, and the device is not lost", programs::no_program),
    program(
        "files",
        "a compiled program's file says the same as the manifest: names, types and shapes of tensors",
        &kernel_cases::CASES,
        programs::files,
    ),
    program(
        "load",
        "a program's tensors are those of the manifest",
        &["matmul-tails", "attention-append"],
        programs::load,
    ),
    program(
        "damaged-program",
        "a NEFF that is cut off is an error, and the whole one loads",
        &["matmul-tails"],
        programs::damaged_program,
    ),
    kernel!("matmul-decode"),
    kernel!("matmul-tails"),
    kernel!("matmul-fp8"),
    kernel!("silu-gate"),
    kernel!("attention-decode"),
    kernel!("attention-append"),
    kernel!("attention-window"),
    kernel!("attention-pages"),
    program("same-bits", "a program gives the same bits every time", &["matmul-tails"], programs::same_bits),
    program(
        "in-turn",
        "two programs on one core run in turn",
        &["matmul-tails", "attention-append"],
        programs::in_turn,
    ),
    program("threads", "several threads run programs on one core", &["matmul-tails"], programs::threads),
    program("two-cores", "two cores run at once", &["matmul-tails"], programs::two_cores),
    on_device("transfer-times", "how fast memory is written, read and copied", memory::transfer_times),
    program(
        "program-times",
        "what loading and executing cost",
        &["matmul-decode", "attention-decode"],
        programs::program_times,
    ),
];
