//! A case in its own process: runs it, catches what it throws, and leaves the result in a file.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use fake_nrt::client::Fake;
use longhaul::neuron::backend::{NeuronOptions, open};
use longhaul::neuron::device::Runtime;
use longhaul::neuron::neff::Target;
use longhaul::neuron::nrt::Nrt;
use longhaul::neuron::{NeuronError, Result};
use serde::{Deserialize, Serialize};

use crate::bench::{Bench, Log};
use crate::cases::{self, Run};
use crate::contract::Backends;
use crate::contract_programs::PAGE_LEN;
use crate::report::Measured;

/// Names the case.
pub const CASE: &str = "LONGHAUL_SUITE_CASE";
/// The file of the result.
pub const RESULT: &str = "LONGHAUL_SUITE_RESULT";
/// The chip that programs are for; empty if it is none that the kernels run on.
pub const TARGET: &str = "LONGHAUL_SUITE_TARGET";
/// Set where the library is the stand-in, which is then asked whether all was freed.
pub const STAND_IN: &str = "LONGHAUL_SUITE_STAND_IN";

/// What a case leaves.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct CaseResult {
    pub error: Option<String>,
    pub fault: Option<String>,
    pub notes: Vec<String>,
    pub measured: Vec<Measured>,
    /// What the library tells; of the first case.
    pub facts: Option<serde_json::Value>,
}

/// Runs the case that the environment names; nothing if it names none.
pub fn run() {
    let (Ok(name), Ok(file)) = (std::env::var(CASE), std::env::var(RESULT)) else { return };
    let case = cases::all().find(|case| case.name == name).expect("the suite names one of its cases");
    let log = Log::default();
    // Everything is dropped in here: closing a runtime may fail as well.
    let outcome = catch_unwind(AssertUnwindSafe(|| in_case(&case.run, &log)));
    let (error, fault) = match outcome {
        Ok(Ok(())) => (None, None),
        Ok(Err(error)) => {
            let fault = error.status().and_then(|s| serde_json::to_value(s.fault()).ok());
            (Some(error.to_string()), fault.and_then(|f| f.as_str().map(String::from)))
        }
        Err(panic) => (Some(message(&*panic)), None),
    };
    let (notes, measured, facts) = log.into_parts();
    let result = CaseResult { error, fault, notes, measured, facts };
    let json = serde_json::to_string(&result).expect("text and numbers have a JSON form");
    std::fs::write(&file, json).expect("the suite's folder can be written");
}

fn in_case(run: &Run, log: &Log) -> Result<()> {
    match run {
        Run::Library(body) => body(&Nrt::open()?, log)?,
        Run::Device(body) | Run::Program(_, body) => {
            let bench = Bench::start(log)?;
            body(&bench)?;
            let runtime = bench.runtime.clone();
            drop(bench);
            end(runtime)?;
        }
        Run::Contract(case) => {
            let runtime = Runtime::start()?;
            contract(&runtime, *case)?;
            end(runtime)?;
        }
    }
    check_stand_in();
    Ok(())
}

/// Runs a case of the contract. It panics at whatever it does not like; where that was the loss of the device, this is
/// the error.
fn contract(runtime: &Runtime, case: fn(&Backends)) -> Result<()> {
    let outcome = catch_unwind(|| {
        let (target, lnc, programs) = given();
        let (programs, target, lnc, page_len) = (Some(programs), Some(target), Some(lnc), Some(PAGE_LEN));
        let backend =
            open(&NeuronOptions { programs, target, lnc, page_len, core: 0 }).unwrap_or_else(|e| panic!("{e}"));
        case(&[backend]);
    });
    match (outcome, runtime.lost()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(failure)) => Err(NeuronError::Status(failure)),
        (Err(panic), None) => resume_unwind(panic),
    }
}

/// Closes the runtime, with nothing left that was made with it.
fn end(runtime: Runtime) -> Result<()> {
    // What failed while things were dropped.
    runtime.check()?;
    drop(runtime);
    let again = Runtime::start();
    assert!(matches!(again, Err(NeuronError::Closed)), "the runtime starts once per process: {again:?}");
    Ok(())
}

/// What the suite gave this process: the chip and the LNC that programs are for, and their folder.
///
/// # Panics
/// If it did not.
pub fn given() -> (Target, u32, PathBuf) {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let target = serde_json::from_value(variable(TARGET).into()).expect("the suite names a chip");
    let lnc = variable("NEURON_LOGICAL_NC_CONFIG").parse().expect("the suite sets it");
    (target, lnc, variable("LONGHAUL_PROGRAMS").into())
}

/// The stand-in tells whether something is left, and whether something was done that AWS does not document.
fn check_stand_in() {
    if std::env::var_os(STAND_IN).is_none() {
        return;
    }
    let fake = Fake::open(std::env::var("LONGHAUL_LIBNRT").expect("set with the other").as_ref());
    let c = fake.counters();
    assert_eq!(fake.violations(), [""; 0]);
    let left = (c.tensors, c.storages, c.programs, c.sets, c.descriptions, c.is_open);
    assert_eq!(left, (0, 0, 0, 0, 0, 0), "{c:?}");
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_string()
}
