//! `longhaul doctor`: what this machine can run.

use std::path::PathBuf;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use longhaul::Result;
use longhaul::cpu::roofline::{self, Roof};
use longhaul::dtype::Dtype;
use longhaul::spec::checkpoint::Checkpoint;
use longhaul::spec::synthetic::Preset;
use longhaul::spec::{KvSpec, ModelConfig};
use longhaul::workload::report::MachineIdentity;
use serde::Serialize;

use super::identity::machine;
use super::model::{FETCHED, Source};
use super::{Ended, neff, print, print_json};

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
    /// A compiled program for Trainium to tell about, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "synthetic", "roofline"])]
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
    models: Vec<ModelFinding>,
    /// Empty unless asked for.
    roofs: Vec<Roof>,
}

#[derive(Serialize)]
struct BackendFinding {
    name: &'static str,
    available: bool,
    why: &'static str,
}

/// A kernel table of the CPU backend.
#[derive(Serialize)]
struct TableFinding {
    name: &'static str,
    available: bool,
    chosen: bool,
    why: String,
}

/// What a model costs in keys and values.
#[derive(Serialize)]
struct ModelFinding {
    name: String,
    n_layers: usize,
    n_kv_heads: usize,
    head_dim: usize,
    weights_bytes: u64,
    kv_bytes_per_token: usize,
    /// The model's own limit.
    max_len: usize,
    /// Tokens whose keys and values fit beside the weights into the memory that this process may use.
    fitting_tokens: u64,
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
    let tables = longhaul::cpu::tables();
    let models = arguments.models()?.into_iter().map(|(name, config)| model(name, &config, &machine)).collect();
    let tables =
        tables.into_iter().map(|t| TableFinding { name: t.name, available: t.available, chosen: t.chosen, why: t.why });
    let forced_table = std::env::var("LONGHAUL_ISA").ok().filter(|name| !name.is_empty());
    let roofs = if arguments.roofline { roofline::measure(machine.threads_allowed) } else { Vec::new() };
    let findings = Findings { machine, backends: backends(), tables: tables.collect(), forced_table, models, roofs };
    if arguments.json {
        print_json(&findings)?;
    } else {
        print(&text(&findings))?;
    }
    Ok(Ended::Done)
}

fn backends() -> Vec<BackendFinding> {
    let neuron = "models run on CPUs only; the Trainium backend has the two kernels and no model yet";
    vec![
        BackendFinding { name: "cpu", available: true, why: "" },
        BackendFinding { name: "neuron", available: false, why: neuron },
    ]
}

impl DoctorArguments {
    fn models(&self) -> Result<Vec<(String, ModelConfig)>> {
        let folder = |dir: PathBuf| -> Result<_> {
            let config = Checkpoint::open(&dir)?.config().clone();
            Ok((Source::Folder(dir).to_string(), config))
        };
        let synthetic = |preset: Preset| (Source::Synthetic(preset).to_string(), preset.config());
        match (&self.model, self.synthetic) {
            (Some(dir), _) => Ok(vec![folder(dir.clone())?]),
            (None, Some(preset)) => Ok(vec![synthetic(preset)]),
            (None, None) => {
                let fetched = PathBuf::from(FETCHED);
                let mut models = if fetched.is_dir() { vec![folder(fetched)?] } else { Vec::new() };
                models.extend(Preset::ALL.into_iter().map(synthetic));
                Ok(models)
            }
        }
    }
}

fn model(name: String, config: &ModelConfig, machine: &MachineIdentity) -> ModelFinding {
    let (n_layers, n_kv_heads, head_dim) = (config.n_layers, config.n_kv_heads, config.head_dim);
    let kv_bytes_per_token = KvSpec { n_layers, n_kv_heads, head_dim, dtype: Dtype::Bf16 }.bytes_per_token();
    let weights_bytes = n_weights(config) * Dtype::Bf16.size_bytes() as u64;
    let fitting_tokens = machine.memory_limit_bytes.saturating_sub(weights_bytes) / kv_bytes_per_token as u64;
    ModelFinding {
        name,
        n_layers,
        n_kv_heads,
        head_dim,
        weights_bytes,
        kv_bytes_per_token,
        max_len: config.max_len,
        fitting_tokens,
    }
}

/// Elements of all matrices; norms and biases are small beside them.
fn n_weights(config: &ModelConfig) -> u64 {
    let attention = config.d_model * (2 * config.d_q() + 2 * config.d_kv());
    let layers = config.n_layers * (attention + 3 * config.d_model * config.d_ff);
    let embeddings = config.vocab * config.d_model * if config.tied_embeddings { 1 } else { 2 };
    (layers + embeddings) as u64
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
    let mut tables = Table::new();
    tables.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    tables.set_header(["backend or kernel table", "here", "why"]);
    for backend in &findings.backends {
        tables.add_row([backend.name, if backend.available { "available" } else { "missing" }, backend.why]);
    }
    for table in &findings.tables {
        let here = match (table.available, table.chosen) {
            (_, true) => "chosen",
            (true, false) => "available",
            (false, false) => "missing",
        };
        tables.add_row([&format!("cpu/{}", table.name), here, &table.why]);
    }
    let mut models = Table::new();
    models.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    models.set_header([
        "model",
        "weights (bf16)",
        "KV per token (bf16)",
        "model's longest context",
        "tokens that fit in memory",
        "longest context here",
    ]);
    for model in &findings.models {
        let longest = (model.max_len as u64).min(model.fitting_tokens);
        models.add_row([
            model.name.clone(),
            gib(model.weights_bytes),
            format!("{} bytes", model.kv_bytes_per_token),
            model.max_len.to_string(),
            model.fitting_tokens.to_string(),
            if longest == 0 { "none: the weights do not fit".into() } else { longest.to_string() },
        ]);
    }
    out.push_str(&format!("{tables}\n{models}\n"));
    if !findings.roofs.is_empty() {
        out.push_str(&format!("{}\n", roofs_table(&findings.roofs)));
    }
    out
}

fn roofs_table(roofs: &[Roof]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["roof", "unit", "1 thread: median", "best", "all threads: median", "best"]);
    for roof in roofs {
        let rates = [roof.one_thread.median, roof.one_thread.best, roof.all_threads.median, roof.all_threads.best];
        table.add_row(
            [roof.name, roof.unit].map(String::from).into_iter().chain(rates.map(|rate| format!("{rate:.1}"))),
        );
    }
    table
}

fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1 << 30))
}
