//! Running the suite: every case in a process of its own, so that what misbehaves there ends there.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use longhaul::neuron::catalog::Catalog;
use longhaul::neuron::neff::Target;
use longhaul::neuron::neff::write::Program;

use crate::cases::{self, Case, LIBRARY};
use crate::child::{self, CaseResult};
use crate::compile::{Compiler, compile, entry};
use crate::environment::{self, Environment};
use crate::process::start;
use crate::report::{CaseReport, Outcome, Report};

/// After so many cases that hung, the rest is not run: a device that hangs, hangs in each.
const MAX_TIMED_OUT: usize = 2;

/// How the suite runs.
pub struct Options {
    /// Where the report goes.
    pub out: PathBuf,
    /// The folder of programs.
    pub programs: PathBuf,
    pub compiler: Compiler,
    /// The cases to run, or all.
    pub only: Option<Vec<String>>,
    /// For one case.
    pub time_limit: Duration,
    /// Variables of the cases' processes.
    pub variables: Vec<(&'static str, String)>,
    /// Beginnings of names of variables that these do not inherit.
    pub removed: &'static [&'static str],
}

/// Runs the suite and writes the report.
///
/// # Errors
/// When a case is named that is none, or the report cannot be written.
pub fn run(options: &Options) -> Result<Report, String> {
    let names: Vec<&str> = cases::all().map(|case| case.name).collect();
    if let Some(name) = options.only.iter().flatten().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no case {name}; there are {}", names.join(", ")));
    }
    let cannot = |e: std::io::Error| format!("{}: {e}", options.out.display());
    std::fs::create_dir_all(&options.out).map_err(cannot)?;
    let (begun, began_unix_s) =
        (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()));
    let machine = Environment::find();
    // The library is asked first, and what it tells decides which programs are compiled.
    let mut cases = cases::all();
    let first = cases.next().filter(|case| case.name == LIBRARY).expect("the table begins with it");
    let (library, result) = run_case(options, first, None);
    let facts = result.and_then(|r| r.facts).unwrap_or_default();
    let (target, lnc) = (target(&facts), options.lnc());
    let chosen: Vec<&Case> = cases.filter(|case| options.has(case)).collect();
    let mut wanted: Vec<Program> = Vec::new();
    for program in chosen.iter().flat_map(|case| case.wanted()) {
        if !wanted.iter().any(|w| w.call == program.call) {
            wanted.push(program);
        }
    }
    let python = machine.python.as_ref();
    let compilation = match target {
        Some(target) => compile(options, python, &wanted, target, lnc).map_err(cannot)?,
        None => None,
    };
    let mut report = Report {
        schema: 1,
        longhaul: env!("CARGO_PKG_VERSION"),
        commit: environment::commit(),
        began_unix_s,
        seconds: 0.0,
        environment: machine,
        library: facts,
        target,
        lnc,
        compilation,
        cases: vec![library],
    };
    for case in chosen {
        let done = match why_not(options, &report, case) {
            Some(why) => CaseReport::new(case, Outcome::NotRun, Some(why)),
            None => run_case(options, case, target).0,
        };
        report.cases.push(done);
        report.seconds = begun.elapsed().as_secs_f64();
        // After each, so that a machine that dies leaves what was known.
        report.write(&options.out).map_err(cannot)?;
    }
    report.seconds = begun.elapsed().as_secs_f64();
    report.write(&options.out).map_err(cannot)?;
    Ok(report)
}

/// The chip that programs are compiled for, by the library's word.
fn target(facts: &serde_json::Value) -> Option<Target> {
    match facts.get("family")?.as_str()? {
        "trn2" | "trn2u" => Some(Target::Trn2),
        "trn3" => Some(Target::Trn3),
        _ => None,
    }
}

/// Why a case cannot be run.
fn why_not(options: &Options, report: &Report, case: &Case) -> Option<String> {
    let earlier = &report.cases;
    if earlier[0].outcome != Outcome::Passed {
        return Some("there is no library to run it on".into());
    }
    if let Some(broken) = earlier.iter().find(|c| c.fault.as_deref() == Some("instance")) {
        return Some(format!("{} said that the instance is broken", broken.name));
    }
    if earlier.iter().filter(|c| c.outcome == Outcome::TimedOut).count() >= MAX_TIMED_OUT {
        return Some(format!("{MAX_TIMED_OUT} cases before it hung"));
    }
    let wanted = case.wanted();
    if wanted.is_empty() {
        return None;
    }
    let Some(target) = report.target else { return Some("our kernels do not run on this instance's chip".into()) };
    match Catalog::open(&options.programs) {
        Err(error) => Some(error.to_string()),
        Ok(catalog) => {
            let missing = wanted.iter().find(|w| entry(&catalog, w, target, report.lnc).is_none())?;
            let call = &missing.call;
            Some(format!("no program for {} {:?} in {}", call.kernel, call.arguments, options.programs.display()))
        }
    }
}

impl Options {
    fn has(&self, case: &Case) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == case.name))
    }

    /// A variable as the cases see it.
    fn variable(&self, name: &str) -> Option<String> {
        let own = self.variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        let inherits = !self.removed.iter().any(|prefix| name.starts_with(prefix));
        own.or_else(|| inherits.then(|| std::env::var(name).ok()).flatten()).filter(|value| !value.is_empty())
    }

    /// Physical cores of a logical one. One, unless said otherwise: any number of KV heads can be compiled for that.
    fn lnc(&self) -> u32 {
        self.variable("NEURON_LOGICAL_NC_CONFIG").and_then(|n| n.parse().ok()).unwrap_or(1)
    }
}

/// Runs a case. Its result is missing if its process ended before it had one.
fn run_case(options: &Options, case: &Case, target: Option<Target>) -> (CaseReport, Option<CaseResult>) {
    let file = options.out.join("case.json");
    let failed = |what: String| (CaseReport::new(case, Outcome::Failed, Some(what)), None);
    // A result of the case before would be taken for this one's.
    if let Err(error) = std::fs::remove_file(&file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return failed(format!("{}: {error}", file.display()));
    }
    let mut command = match std::env::current_exe() {
        Ok(executable) => Command::new(executable),
        Err(error) => return failed(format!("the suite's executable cannot be found: {error}")),
    };
    command.args(["case", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    for (name, _) in std::env::vars_os() {
        if options.removed.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    for (name, default) in [("NEURON_RT_VISIBLE_CORES", "0-1"), ("NEURON_LOGICAL_NC_CONFIG", "1")] {
        command.env(name, options.variable(name).unwrap_or_else(|| default.into()));
    }
    command.envs(options.variables.iter().map(|(name, value)| (name, value)));
    command.env(child::CASE, case.name).env(child::RESULT, &file).env("LONGHAUL_PROGRAMS", &options.programs);
    command.env(child::TARGET, target.map(|t| t.to_string()).unwrap_or_default());
    let begun = Instant::now();
    let ended = match start(&mut command, options.time_limit) {
        Ok(ended) => ended,
        Err(error) => return failed(format!("its process does not start: {error}")),
    };
    let result: Option<CaseResult> = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
    let (outcome, error) = match &result {
        _ if ended.timed_out => (Outcome::TimedOut, Some(ended.how)),
        Some(CaseResult { error: Some(error), .. }) => (Outcome::Failed, Some(error.clone())),
        Some(_) if ended.success => (Outcome::Passed, None),
        _ => (Outcome::Crashed, Some(ended.how)),
    };
    let mut done = CaseReport::new(case, outcome, error);
    done.seconds = begun.elapsed().as_secs_f64();
    done.printed = (outcome != Outcome::Passed).then_some(ended.printed);
    if let Some(result) = &result {
        (done.notes, done.measured, done.fault) = (result.notes.clone(), result.measured.clone(), result.fault.clone());
    }
    (done, result)
}

impl CaseReport {
    fn new(case: &Case, outcome: Outcome, error: Option<String>) -> Self {
        let (fault, notes, measured, printed) = Default::default();
        Self {
            name: case.name.into(),
            shows: case.shows,
            outcome,
            seconds: 0.0,
            error,
            fault,
            notes,
            measured,
            printed,
        }
    }
}
