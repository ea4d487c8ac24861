//! What the suite found: JSON for machines, and a page of text.

use std::collections::BTreeMap;
use std::path::Path;

use longhaul::neuron::neff::Target;
use serde::{Deserialize, Serialize};

use crate::compile::Compilation;
use crate::environment::Environment;

/// The report. Paths and versions stand in it, no names of hosts or users beyond those paths.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Counts changes of this form.
    pub schema: u32,
    pub longhaul: &'static str,
    pub commit: String,
    pub began_unix_s: u64,
    /// Seconds that it took.
    pub seconds: f64,
    pub environment: Environment,
    /// What libnrt told before it was initialised: `longhaul::neuron::Inspection`. Null if there is none, or it
    /// crashed.
    pub library: serde_json::Value,
    /// The chip and the LNC that programs are for; `None` if the instance has none that our kernels run on.
    pub target: Option<Target>,
    pub lnc: u32,
    /// `None` if no program was missing, or nobody there to compile.
    pub compilation: Option<Compilation>,
    pub cases: Vec<CaseReport>,
}

/// What became of a case.
#[derive(Debug, Serialize)]
pub struct CaseReport {
    pub name: String,
    /// What it shows when it passes.
    pub shows: &'static str,
    pub outcome: Outcome,
    pub seconds: f64,
    /// What went wrong, or why it was not run.
    pub error: Option<String>,
    /// The kind of failure, if libnrt returned a status.
    pub fault: Option<String>,
    /// What it noticed.
    pub notes: Vec<String>,
    pub measured: Vec<Measured>,
    /// The end of what it printed, the library's log included, if it did not pass.
    pub printed: Option<String>,
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It was ended at the time limit.
    TimedOut,
    /// Its process ended before it did.
    Crashed,
    NotRun,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED OUT",
            Self::Crashed => "CRASHED",
            Self::NotRun => "not run",
        }
    }
}

/// A time or rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    pub what: String,
    pub unit: String,
    /// How often it was measured.
    pub n: usize,
    pub median: f64,
    pub best: f64,
}

impl Report {
    /// Whether something went wrong: a case, or that none could run.
    pub fn failed(&self) -> bool {
        let n = self.counts();
        !n.contains_key(&Outcome::Passed) || n.keys().any(|o| ![Outcome::Passed, Outcome::NotRun].contains(o))
    }

    fn counts(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        self.cases.iter().for_each(|case| *counts.entry(case.outcome).or_default() += 1);
        counts
    }

    /// The page of text.
    pub fn text(&self) -> String {
        let mut out = self.head() + "\n";
        for case in &self.cases {
            let why = case.error.as_deref().unwrap_or_default();
            let line = format!("{:<10}{:>8.2} s  {}  {why}", case.outcome.word(), case.seconds, case.name);
            out.push_str(&format!("{}\n", line.trim_end()));
            case.notes.iter().for_each(|note| out.push_str(&format!("{:<10}{note}\n", "")));
        }
        out.push('\n');
        for m in self.cases.iter().flat_map(|c| &c.measured) {
            let line = format!("{:<44}{:>12.3} {:<5} median of {}, best {:.3}", m.what, m.median, m.unit, m.n, m.best);
            out.push_str(&format!("{line}\n"));
        }
        let counts: Vec<String> = self.counts().iter().map(|(o, n)| format!("{n} {}", o.word())).collect();
        out.push_str(&format!("\n{} in {:.1} s\n", counts.join(", "), self.seconds));
        out
    }

    /// What it ran on.
    fn head(&self) -> String {
        let e = &self.environment;
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "not found".into());
        let library = match self.library.get("path").and_then(|path| path.as_str()) {
            Some(path) => {
                let number = |field: &str| self.library["version"][field].to_string();
                format!("{}, {path}", ["major", "minor", "patch", "maintenance"].map(number).join("."))
            }
            None => "none that answers".into(),
        };
        let target = self.target.map_or_else(|| "none that the kernels run on".into(), |t| t.to_string());
        let mut out = format!(
            "longhaul {} ({}), Neuron suite\nmachine: {}; {} cores; {}\ndriver: {}\nlibnrt: {library}\nchip: {target}, LNC {}\n\
             python: {}\n",
            self.longhaul,
            self.commit,
            or_none(&e.machine),
            e.n_cores,
            or_none(&e.system),
            or_none(&e.driver),
            self.lnc,
            e.python.as_ref().map_or_else(|| "none that has AWS's wheels".into(), ToString::to_string),
        );
        if let Some(c) = &self.compilation {
            out.push_str(&format!("compiled: {} of {} programs in {:.1} s\n", c.n_compiled, c.n_wanted, c.seconds));
            c.error.iter().for_each(|error| out.push_str(&format!("NOT COMPILED: {}\n", last_line(error))));
        }
        out
    }

    /// Writes both.
    pub fn write(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("report.json"), serde_json::to_string_pretty(self)? + "\n")?;
        std::fs::write(dir.join("report.txt"), self.text())
    }
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default()
}
