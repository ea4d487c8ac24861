//! Compiling the programs that the cases need, with `kernels/compile.py`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longhaul::neuron::catalog::{Catalog, Entry};
use longhaul::neuron::neff::Target;
use longhaul::neuron::neff::write::Program;
use serde::Serialize;
use serde_json::json;

use crate::environment::Python;
use crate::process::{Ended, start};
use crate::run::Options;

/// The longest that compiling may take.
const TIME_LIMIT: Duration = Duration::from_secs(2 * 3600);

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

/// What became of the programs that the catalog lacked.
#[derive(Debug, Serialize)]
pub struct Compilation {
    pub python: PathBuf,
    pub n_wanted: usize,
    pub n_compiled: usize,
    pub seconds: f64,
    /// What the compiler said if something failed.
    pub error: Option<String>,
}

/// The catalog's entry for a wanted program.
pub fn entry<'a>(catalog: &'a Catalog, wanted: &Program, target: Target, lnc: u32) -> Option<&'a Entry> {
    let call = &wanted.call;
    catalog.entries().iter().find(|entry| {
        (&entry.kernel, &entry.arguments, entry.target, entry.lnc) == (&call.kernel, &call.arguments, target, lnc)
    })
}

/// Compiles what is not in the folder yet; `None` if nothing is to be done, or nobody there to do it.
///
/// # Errors
/// When the list of programs cannot be written.
pub fn compile(
    options: &Options,
    aws: Option<&Python>,
    wanted: &[Program],
    target: Target,
    lnc: u32,
) -> std::io::Result<Option<Compilation>> {
    let (python, stand_in) = match (&options.compiler, aws) {
        (Compiler::StandIn(python), _) => (python.as_path(), true),
        (Compiler::Aws, Some(python)) => (python.path.as_path(), false),
        _ => return Ok(None),
    };
    let missing = missing(&options.programs, wanted, target, lnc);
    if missing.is_empty() {
        return Ok(None);
    }
    let list = options.out.join("wanted.json");
    let calls: Vec<_> =
        missing.iter().map(|w| json!({"kernel": w.call.kernel, "arguments": w.call.arguments})).collect();
    std::fs::write(&list, json!(calls).to_string())?;
    let mut command = Command::new(python);
    command.args(["-m", "kernels.compile", "--target", &target.to_string(), "--lnc", &lnc.to_string()]);
    command.arg("--programs").arg(&list).arg("--out").arg(&options.programs);
    command.args(stand_in.then_some("--stand-in")).current_dir(env!("CARGO_MANIFEST_DIR"));
    let begun = Instant::now();
    let error = match start(&mut command, TIME_LIMIT) {
        Ok(Ended { success: true, .. }) => None,
        Ok(Ended { how, printed, .. }) => Some(format!("{how}:\n{printed}")),
        Err(error) => Some(format!("{}: {error}", python.display())),
    };
    let left = self::missing(&options.programs, wanted, target, lnc).len();
    let (n_wanted, n_compiled) = (missing.len(), missing.len() - left);
    Ok(Some(Compilation { python: python.into(), n_wanted, n_compiled, seconds: begun.elapsed().as_secs_f64(), error }))
}

/// The wanted programs that a folder does not have.
fn missing<'a>(programs: &Path, wanted: &'a [Program], target: Target, lnc: u32) -> Vec<&'a Program> {
    let have = Catalog::open(programs).ok();
    let lacks = |w: &&Program| have.as_ref().is_none_or(|catalog| entry(catalog, w, target, lnc).is_none());
    wanted.iter().filter(lacks).collect()
}
