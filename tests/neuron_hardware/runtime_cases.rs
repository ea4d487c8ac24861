//! The cases of library and runtime. They assert; a panic or an error is the case's failure.

use std::ffi::CStr;

use longhaul::neuron::nrt::{Nrt, OPTIONAL_SYMBOLS, Placement, STATUSES, Status};
use longhaul::neuron::{NeuronError, Result, inspect};
use serde_json::json;

use crate::bench::{Bench, Log, error_of};

const TENSOR: &CStr = c"suite";

pub fn library(nrt: &Nrt, log: &Log) -> Result<()> {
    let found = inspect()?;
    let family = found.instance.as_ref().ok().and_then(|i| i.family_name());
    let mut facts = serde_json::to_value(&found).expect("text and numbers have a JSON form");
    facts["family"] = json!(family);
    log.set_facts(facts);
    if found.sdk.is_none() {
        log.note(format!("version {} is not known here", found.version));
    }
    log.note(format!(
        "lacks {} of {} optional functions: {:?}",
        found.missing_symbols.len(),
        OPTIONAL_SYMBOLS.len(),
        found.missing_symbols
    ));
    for (what, error) in
        [("the instance", found.instance.as_ref().err()), ("cores", found.visible_cores.as_ref().err())]
    {
        if let Some(error) = error {
            log.note(format!("does not tell {what}: {error}"));
        }
    }
    // Its names of statuses against ours; they are for people, so another spelling is no failure.
    for info in STATUSES {
        match nrt.status_text(Status(info.code)) {
            Ok(text) if text != info.name => {
                log.note(format!("status {} is {text:?} there, {} here", info.code, info.name))
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn before_init(nrt: &Nrt, log: &Log) -> Result<()> {
    let result = nrt.tensor_allocate(Placement::Device(0), 64, TENSOR);
    log.note(error_of(result).to_string());
    Ok(())
}

pub fn start(bench: &Bench) -> Result<()> {
    bench.log.note(format!("logical cores of this process: {:?}", bench.runtime.n_cores()));
    match bench.core.memory() {
        Ok(memory) => {
            bench.log.note(format!("memory of core 0: {} of {} bytes in use", memory.used_bytes, memory.limit_bytes));
            assert!(memory.used_bytes <= memory.limit_bytes && memory.limit_bytes > 0, "{memory:?}");
            let size = 64 << 20;
            let tensor = bench.core.allocate("suite", size)?;
            let more = bench.core.memory()?.used_bytes.saturating_sub(memory.used_bytes);
            drop(tensor);
            let left = bench.core.memory()?.used_bytes.saturating_sub(memory.used_bytes);
            bench.log.note(format!("{size} bytes more: {more} more in use, {left} after they were freed"));
        }
        Err(missing @ NeuronError::MissingSymbol { .. }) => bench.log.note(missing.to_string()),
        Err(error) => return Err(error),
    }
    Ok(())
}

pub fn no_such_core(bench: &Bench) -> Result<()> {
    let library = bench.runtime.library();
    bench.log.note(error_of(library.tensor_allocate(Placement::Device(4095), 64, TENSOR)).to_string());
    bench.log.note(error_of(library.memory_stats(4095)).to_string());
    bench.core.allocate("afterwards", 64)?.write(0, &[1; 64])
}
