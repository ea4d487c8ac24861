//! `longhaul doctor`: what this machine can run.

mod comparison;
mod models;
mod neff;
mod neuron;
mod roofs;
mod tables;

use std::path::PathBuf;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use longhaul::Result;
use longhaul::cpu::roofline::{self, Roof};
use longhaul::cpu::trial;
use longhaul::spec::synthetic::Preset;
use longhaul::workload::report::MachineIdentity;
use serde::Serialize;

use self::comparison::ComparisonFinding;
use self::models::ModelFinding;
use self::neuron::NeuronFinding;
use self::tables::{BackendFinding, TableFinding};
use super::identity::machine;
use super::{Ended, print, print_json};

/// Arguments of `doctor`.
#[derive(Args)]
pub struct DoctorArguments {
    /// Hugging Face model folder to tell about [default: the fetched one if it is there, and the synthetic ones]
    #[arg(long, value_name = "DIR", conflicts_with = "synthetic")]
    model: Option<PathBuf>,
    /// Synthetic model to tell about
    #[arg(long, value_name = "NAME")]
    synthetic: Option<Preset>,
    /// Measure what this machine can do at most; takes some seconds and 1.25 GiB
    #[arg(long)]
    roofline: bool,
    /// Measure each kernel table at shapes of real models, and mark where the chosen one is not the best; takes under a
    /// minute and some GiB
    #[arg(long)]
    tables: bool,
    /// A compiled program for Trainium to tell about, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "synthetic", "roofline", "tables"])]
    neff: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the doctor found.
#[derive(Serialize)]
struct Findings {
    machine: MachineIdentity,
    backends: Vec<BackendFinding>,
    tables: Vec<TableFinding>,
    /// The table that LONGHAUL_ISA forces, if it is set.
    forced_table: Option<String>,
    neuron: NeuronFinding,
    models: Vec<ModelFinding>,
    /// Empty unless asked for.
    roofs: Vec<Roof>,
    /// Empty unless asked for.
    comparisons: Vec<ComparisonFinding>,
}

/// Runs the command.
///
/// # Errors
/// When the named model or program cannot be opened, or stdout cannot be written.
pub fn run(arguments: &DoctorArguments) -> Result<Ended> {
    if let Some(path) = &arguments.neff {
        return neff::run(path, arguments.json);
    }
    let machine = machine();
    let findings = Findings {
        backends: tables::backends(),
        tables: tables::find(),
        forced_table: longhaul::cpu::forced_table(),
        neuron: neuron::find(),
        models: models::find(arguments.model.as_deref(), arguments.synthetic, &machine)?,
        comparisons: if arguments.tables {
            trial::compare(machine.threads_allowed)?.into_iter().map(Into::into).collect()
        } else {
            Vec::new()
        },
        roofs: if arguments.roofline { roofline::measure(machine.threads_allowed) } else { Vec::new() },
        machine,
    };
    if arguments.json {
        print_json(&findings)?;
    } else {
        print(&text(&findings))?;
    }
    Ok(Ended::Done)
}

fn text(findings: &Findings) -> String {
    let m = &findings.machine;
    let mut out = format!(
        "machine: {}, {} cores ({} usable by this process), {} of memory ({} usable)\n",
        m.cpu,
        m.n_cores,
        m.threads_allowed,
        gib(m.memory_bytes),
        gib(m.memory_limit_bytes)
    );
    if let Some(name) = &findings.forced_table {
        out.push_str(&format!("LONGHAUL_ISA is set and forces the table {name}\n"));
    }
    out.push_str(&format!("{}\n", tables::table(&findings.backends, &findings.tables)));
    out.push_str(&format!("{}\n", neuron::table(&findings.neuron)));
    out.push_str(&format!("{}\n", models::table(&findings.models)));
    if !findings.roofs.is_empty() {
        out.push_str(&format!("{}\n", roofs::table(&findings.roofs)));
    }
    if !findings.comparisons.is_empty() {
        out.push_str(&format!("{}\n", comparison::table(&findings.comparisons)));
    }
    out
}

/// An empty table in the doctor's style.
fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}
