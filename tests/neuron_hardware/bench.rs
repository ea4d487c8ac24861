//! What cases work with: a core, programs, and a log.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Instant;

use longhaul::neuron::Result;
use longhaul::neuron::catalog::Catalog;
use longhaul::neuron::device::{Core, Runtime};
use longhaul::neuron::neff::Target;

use crate::compile::entry;
use crate::programs::Wanted;
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
    pub fn neff(&self, wanted: &Wanted) -> Vec<u8> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let target: Target =
            serde_json::from_value(variable(crate::child::TARGET).into()).expect("the suite looked for the program");
        let lnc = variable("NEURON_LOGICAL_NC_CONFIG").parse().expect("the suite sets it");
        let catalog = Catalog::open(&PathBuf::from(variable("LONGHAUL_PROGRAMS"))).unwrap_or_else(|e| panic!("{e}"));
        let entry = entry(&catalog, wanted, target, lnc).expect("the suite looked for the program");
        catalog.load(entry).unwrap_or_else(|e| panic!("{e}"))
    }
}
