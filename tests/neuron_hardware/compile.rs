//! Compiling the programs that the cases need, with `kernels/compile.py`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longhaul::neuron::catalog::{Catalog, Entry};
use longhaul::neuron::neff::Target;
use serde::Serialize;

use crate::environment::Python;
use crate::programs::Wanted;
use crate::run::{Ended, start};

/// The longest that compiling one of these small programs may take.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// Who compiles.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// AWS's wheels, in the Python that has them.
    Aws,
    /// `kernels/compile.py` in this Python makes programs for the stand-in.
    StandIn(PathBuf),
    /// Nobody: programs are there already.
    None,
}

/// What became of a program.
#[derive(Debug, Serialize)]
pub struct Compiled {
    pub program: String,
    pub seconds: f64,
    /// What the compiler said if it failed.
    pub error: Option<String>,
}

/// The catalog's entry for a wanted program.
pub fn entry<'a>(catalog: &'a Catalog, wanted: &Wanted, target: Target, lnc: u32) -> Option<&'a Entry> {
    let call = &wanted.call;
    catalog.entries().iter().find(|entry| {
        (&entry.kernel, &entry.arguments, entry.target, entry.lnc) == (&call.kernel, &call.arguments, target, lnc)
    })
}

/// Compiles what is not in the folder yet.
pub fn compile(
    compiler: &Compiler,
    aws: Option<&Python>,
    wanted: &[Wanted],
    target: Target,
    lnc: u32,
    out: &Path,
) -> Vec<Compiled> {
    let (python, stand_in) = match (compiler, aws) {
        (Compiler::StandIn(python), _) => (python.as_path(), true),
        (Compiler::Aws, Some(python)) => (python.path.as_path(), false),
        _ => return Vec::new(),
    };
    let have = Catalog::open(out).ok();
    let missing =
        wanted.iter().filter(|w| have.as_ref().is_none_or(|catalog| entry(catalog, w, target, lnc).is_none()));
    let compiled = missing.map(|wanted| {
        let words: Vec<String> = wanted.call.arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut command = Command::new(python);
        command.args(["-m", "kernels.compile", "--program", &wanted.call.kernel]).args(&words);
        command.args(["--target", &target.to_string(), "--lnc", &lnc.to_string(), "--out"]).arg(out);
        if stand_in {
            command.arg("--stand-in");
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let program = format!("{} {}", wanted.call.kernel, words.join(" "));
        let begun = Instant::now();
        let error = match start(&mut command, TIME_LIMIT) {
            Ok(Ended { success: true, .. }) => None,
            Ok(Ended { how, printed, .. }) => Some(format!("{how}:\n{printed}")),
            Err(error) => Some(format!("{}: {error}", python.display())),
        };
        Compiled { program, seconds: begun.elapsed().as_secs_f64(), error }
    });
    compiled.collect()
}
