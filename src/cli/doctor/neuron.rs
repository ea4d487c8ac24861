//! The Neuron side: libnrt, the instance behind it, and compiled programs. Nothing is initialised, so no core is taken
//! from anybody.

use std::collections::BTreeMap;
use std::path::PathBuf;

use comfy_table::Table;
use longhaul::neuron::catalog::{self, Catalog};
use longhaul::neuron::neff::Target;
use longhaul::neuron::nrt::{InstanceInfo, MemoryStats};
use longhaul::neuron::{Attempt, Inspection, NeuronError, inspect};
use serde::Serialize;

/// What there is of Neuron.
#[derive(Serialize)]
pub struct NeuronFinding {
    /// The library and what it tells; `None` if there is none that can be used.
    library: Option<Inspection>,
    /// Why there is none.
    why: Option<String>,
    /// Places where it was looked for in vain.
    tried: Vec<Attempt>,
    /// Whether the library is of a version whose interface is tested, on a stand-in: no version is tested on hardware.
    tested_on_stand_in: bool,
    /// The instance's family by name, if it is one that we know.
    family: Option<&'static str>,
    programs: ProgramsFinding,
}

/// Compiled programs.
#[derive(Serialize)]
struct ProgramsFinding {
    /// The folder that is looked at.
    dir: PathBuf,
    /// Who said so.
    found_by: &'static str,
    n_programs: usize,
    /// How many there are of each kind.
    kinds: Vec<ProgramKind>,
    /// Why there are none.
    why: Option<String>,
}

/// Programs that differ in their buckets alone.
#[derive(Serialize)]
struct ProgramKind {
    kernel: String,
    target: Target,
    lnc: u32,
    compiler: String,
    n_programs: usize,
}

/// Looks for it.
pub fn find() -> NeuronFinding {
    let programs = programs();
    match inspect() {
        Ok(library) => NeuronFinding {
            why: None,
            tried: library.passed_over.clone(),
            tested_on_stand_in: library.sdk.is_some(),
            family: library.instance.as_ref().ok().and_then(InstanceInfo::family_name),
            library: Some(library),
            programs,
        },
        Err(error) => {
            let (why, tried) = match error {
                NeuronError::NotFound { tried } => ("no libnrt that can be used".into(), tried),
                other => (other.to_string(), Vec::new()),
            };
            NeuronFinding { library: None, why: Some(why), tried, tested_on_stand_in: false, family: None, programs }
        }
    }
}

fn programs() -> ProgramsFinding {
    let (dir, found_by) = catalog::default_dir();
    let (entries, why) = match Catalog::open(&dir) {
        Ok(catalog) => (catalog.entries().to_vec(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let mut counts = BTreeMap::new();
    for entry in &entries {
        *counts.entry((entry.kernel.as_str(), entry.target, entry.lnc, entry.compiler.as_str())).or_default() += 1;
    }
    let kind = |((kernel, target, lnc, compiler), n_programs): ((&str, Target, u32, &str), usize)| ProgramKind {
        kernel: kernel.into(),
        target,
        lnc,
        compiler: compiler.into(),
        n_programs,
    };
    ProgramsFinding { dir, found_by, n_programs: entries.len(), kinds: counts.into_iter().map(kind).collect(), why }
}

/// The finding, for people.
pub fn table(found: &NeuronFinding) -> Table {
    let mut table = super::new_table();
    table.set_header(["Neuron", ""]);
    if let Some(library) = &found.library {
        table.add_row(["libnrt", &format!("{} ({})", library.path, library.found_by)]);
        let tested = match library.sdk {
            Some(sdk) => format!("of SDK {sdk}; tested on a stand-in, not on hardware"),
            None => "not one that is known here: not tested at all".into(),
        };
        table.add_row(["version", &format!("{}, {tested}", library.version)]);
        table.add_row(["missing functions", &or_none(&library.missing_symbols.join(", "))]);
        table.add_row(["instance", &instance(found.family, &library.instance)]);
        table.add_row(["logical cores", &cores(&library.total_cores, &library.visible_cores)]);
        table.add_row(["device memory", &memory(&library.memory)]);
    } else {
        table.add_row(["libnrt", found.why.as_deref().unwrap_or_default()]);
    }
    for Attempt { path, from, why } in &found.tried {
        table.add_row(["looked at", &format!("{path} ({from}): {why}")]);
    }
    table.add_row(["programs", &programs_text(&found.programs)]);
    table
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none".into() } else { text.into() }
}

fn unknown(why: &str) -> String {
    format!("not known: {why}")
}

fn instance(family: Option<&str>, instance: &Result<InstanceInfo, String>) -> String {
    match instance {
        Ok(info) => {
            let name = family.map_or_else(|| format!("family {}, not known here", info.family), Into::into);
            let InstanceInfo { size, arch_name, device_revision, .. } = info;
            format!("{name}, size {size}, architecture {arch_name:?}, revision {device_revision:?}")
        }
        Err(why) => unknown(why),
    }
}

fn cores(total: &Result<u32, String>, visible: &Result<u32, String>) -> String {
    let text = |count: &Result<u32, String>| count.as_ref().map_or_else(|why| unknown(why), u32::to_string);
    format!("{} on this instance; for this process: {}", text(total), text(visible))
}

fn memory(memory: &Result<Vec<MemoryStats>, String>) -> String {
    let core = |(idx, m): (usize, &MemoryStats)| {
        format!("core {idx}: {} of {} in use", super::gib(m.used_bytes), super::gib(m.limit_bytes))
    };
    match memory {
        Ok(cores) => or_none(&cores.iter().enumerate().map(core).collect::<Vec<_>>().join("; ")),
        Err(why) => unknown(why),
    }
}

fn programs_text(programs: &ProgramsFinding) -> String {
    let place = format!("in {} ({})", programs.dir.display(), programs.found_by);
    if let Some(why) = &programs.why {
        return format!("none {place}: {why}");
    }
    let kind = |k: &ProgramKind| {
        format!("{} {} for {}, LNC {}, compiler {}", k.n_programs, k.kernel, k.target, k.lnc, k.compiler)
    };
    let kinds: Vec<String> = programs.kinds.iter().map(kind).collect();
    format!("{} {place}: {}", programs.n_programs, or_none(&kinds.join("; ")))
}
