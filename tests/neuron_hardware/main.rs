//! The hardware suite: what the tests on the stand-in ask of libnrt, asked of the real one, with a report to send back.
//!
//! ```sh
//! scripts/neuron-suite     # on a Trainium instance with AWS's SDK; the same as
//! cargo test --release --test neuron_hardware -- --ignored --exact suite --nocapture
//! ```
//!
//! It looks at the machine (`environment`), compiles the programs that its cases need if AWS's wheels are there
//! (`compile`), runs each case (`cases`; the last are the contract of every backend's kernels, `tests/contract`) in a
//! process of its own with a time limit (`run`, `child`), and writes `report.json` and `report.txt` (`report`). A
//! library that crashes, hangs or lies makes a case fail, and the report is written all the same.
//!
//! | variable | what |
//! |---|---|
//! | `LONGHAUL_LIBNRT` | the library, where it is not in the default places |
//! | `LONGHAUL_PROGRAMS` | the folder of compiled programs \[default: `programs`\] |
//! | `LONGHAUL_PYTHON` | the Python that has AWS's wheels, where neither `python3` nor a virtual environment in `/opt` does |
//! | `LONGHAUL_SUITE_OUT` | where the report goes \[default: `target/neuron-suite`\] |
//! | `LONGHAUL_SUITE_CASES` | names of cases with commas between, to run those alone |
//! | `LONGHAUL_SUITE_SECONDS` | the time limit of a case \[default: 300\] |
//! | `NEURON_RT_VISIBLE_CORES`, `NEURON_LOGICAL_NC_CONFIG` | the cores \[default: `0-1`, of one physical core each\] |
//!
//! **This has not run on hardware.** The other tests in here run it on the stand-in, so that its own code is tested.

mod bench;
mod cases;
mod child;
mod compile;
#[path = "../common/compiled.rs"]
mod compiled;
#[path = "../contract/mod.rs"]
mod contract;
#[path = "../common/contract_programs.rs"]
mod contract_programs;
mod environment;
#[path = "../neuron/kernel_cases/mod.rs"]
mod kernel_cases;
mod memory_cases;
mod process;
mod program_cases;
#[path = "../neuron/programs.rs"]
#[allow(dead_code)] // other tests use the rest
mod programs;
#[path = "../common/python.rs"]
mod python;
mod report;
mod run;
mod runtime_cases;
mod stand_in;

use std::path::{Path, PathBuf};
use std::time::Duration;

use longhaul::neuron::catalog;

use compile::Compiler;
use run::Options;

/// Runs the suite, prints the report and fails if a case did.
#[test]
#[ignore = "for a Trainium instance: scripts/neuron-suite"]
fn suite() -> Result<(), String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let options = Options {
        out: set("LONGHAUL_SUITE_OUT").map_or_else(|| root.join("target/neuron-suite"), PathBuf::from),
        programs: root.join(catalog::default_dir().0),
        compiler: Compiler::Aws,
        only: set("LONGHAUL_SUITE_CASES").map(|names| names.split(',').map(|n| n.trim().to_string()).collect()),
        time_limit: match set("LONGHAUL_SUITE_SECONDS") {
            Some(text) => Duration::from_secs(text.parse().map_err(|e| format!("LONGHAUL_SUITE_SECONDS={text}: {e}"))?),
            None => Duration::from_secs(300),
        },
        variables: Vec::new(),
        removed: &[],
    };
    let report = run::run(&options)?;
    println!("\n{}", report.text());
    println!("Please send {}: report.json and report.txt.", options.out.display());
    if report.failed() { Err("the report names what failed".into()) } else { Ok(()) }
}

/// A case, in the process that the suite started for it.
#[test]
#[ignore = "a case of the suite, which starts it"]
fn case() {
    child::run();
}
