//! What cases work with: a core, programs, and a log.

use std::cell::RefCell;
use std::time::Instant;

use longhaul::neuron::catalog::{Catalog, Entry};
use longhaul::neuron::device::{Core, Runtime};
use longhaul::neuron::neff::write::Program;
use longhaul::neuron::{NeuronError, Result};

use crate::child;
use crate::compile::entry;
use crate::report::Measured;

/// What a case notices and measures.
#[derive(Debug, Default)]
pub struct Log {
    notes: RefCell<Vec<String>>,
    measured: RefCell<Vec<Measured>>,
    facts: RefCell<Option<serde_json::Value>>,
}

impl Log {
    pub fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }

    pub fn set_facts(&self, facts: serde_json::Value) {
        *self.facts.borrow_mut() = Some(facts);
    }

    /// Measures the microseconds of a call, or with `bytes` its MB/s: once to warm up, then `n` times.
    pub fn time(&self, what: &str, bytes: Option<usize>, n: usize, mut call: impl FnMut() -> Result<()>) -> Result<()> {
        call()?;
        let mut micros = Vec::with_capacity(n);
        for _ in 0..n {
            let begun = Instant::now();
            call()?;
            micros.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        micros.sort_by(f64::total_cmp);
        let (median, best) = (micros[n / 2], micros[0]);
        // Bytes per microsecond are megabytes per second.
        let rate = |t: f64| bytes.map_or(t, |bytes| bytes as f64 / t);
        let unit = if bytes.is_some() { "MB/s" } else { "us" }.into();
        self.measured.borrow_mut().push(Measured {
            what: what.into(),
            unit,
            n,
            median: rate(median),
            best: rate(best),
        });
        Ok(())
    }

    pub fn into_parts(self) -> (Vec<String>, Vec<Measured>, Option<serde_json::Value>) {
        (self.notes.into_inner(), self.measured.into_inner(), self.facts.into_inner())
    }
}

/// A started runtime.
pub struct Bench<'a> {
    pub runtime: Runtime,
    /// The first core of this process.
    pub core: Core,
    pub log: &'a Log,
}

impl<'a> Bench<'a> {
    pub fn start(log: &'a Log) -> Result<Self> {
        let runtime = Runtime::start()?;
        let core = runtime.core(0)?;
        Ok(Self { runtime, core, log })
    }

    /// The bytes of a program from the catalog.
    ///
    /// # Panics
    /// If it is not there, or not what the manifest says.
    pub fn neff(&self, wanted: &Program) -> Vec<u8> {
        let (catalog, entry) = program(wanted);
        catalog.load(&entry).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// A program's entry, and the catalog that it is in: the suite looked for both before it started the case.
///
/// # Panics
/// If they are not there.
pub fn program(wanted: &Program) -> (Catalog, Entry) {
    let (target, lnc, folder) = child::given();
    let catalog = Catalog::open(&folder).unwrap_or_else(|e| panic!("{e}"));
    let entry = entry(&catalog, wanted, target, lnc).expect("the suite looked for the program").clone();
    (catalog, entry)
}

/// The error of a call that must fail, and not so that the device is lost.
pub fn error_of<T: std::fmt::Debug>(result: Result<T>) -> NeuronError {
    let error = result.expect_err("it must fail");
    assert!(!error.fault().is_fatal(), "{error}");
    error
}
