//! `longhaul bench`: lay a workload out, run it, write it down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use longhaul::engine::Engine;
use longhaul::workload::{
    Interrupt, Plan, Replayed, Report, ReportFolder, Scale, WorkloadOptions, coding_loop, fan_out, idle_resume, replay,
    trace,
};
use longhaul::{Error, Result};

use super::identity::identity;
use super::model::ModelArguments;
use super::progress::{Progress, ReplayBar, spinner};
use super::{Ended, print, print_json, signal};

/// How often a wish to interrupt is passed on to turns that were just starting.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);

/// Arguments of `bench`.
#[derive(Args)]
pub struct BenchArguments {
    /// The workload
    #[arg(value_enum)]
    workload: Workload,
    /// The file of `trace`: CSV with session,turn,prefix_len,input_len,output_len,wait_before_ms, or Mooncake JSON
    /// lines
    #[arg(value_name = "FILE", required_if_eq("workload", "trace"))]
    file: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    /// Ratio on every length (prompts, outputs, context cap); at the default, coding-loop takes a few minutes on two
    /// cores
    #[arg(long, value_name = "RATIO", default_value = "1/16")]
    scale: Scale,
    /// Factor on the gaps between turns; 0 does not wait
    #[arg(long, value_name = "FACTOR", default_value_t = 0.0, allow_negative_numbers = true, value_parser = parse_gap_scale)]
    gap_scale: f64,
    /// Sessions; for a trace, how many of its sessions run at once [default: the workload's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sessions: Option<u32>,
    /// Most turns of a session; for Mooncake lines, most requests [default: the workload's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turns: Option<u32>,
    /// Context at which a session ends, before scaling [default: the workload's, at most the model's]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// Seed of lengths, gaps and token ids
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Folder for report.json and report.html
    #[arg(long, value_name = "DIR", default_value = "longhaul-report")]
    out: PathBuf,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Coding agents on one system prompt, contexts growing turn by turn
    CodingLoop,
    /// Parents whose subagents fork from them and are dropped at the join
    FanOut,
    /// Contexts that fall silent and come back: kept, or computed again
    IdleResume,
    /// A recorded trace, replayed by clients that send the whole prompt every turn
    Trace,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the benchmark from running, or its report from being written.
pub fn run(arguments: &BenchArguments) -> Result<Ended> {
    let progress = Progress::new(arguments.json);
    let source = arguments.model.source()?;
    let mut options = arguments.options()?;
    if arguments.workload == Workload::Trace {
        // It can be told wrong before a model is loaded, which may take a while.
        options.max_len = usize::MAX;
        arguments.plan(&options)?;
    }
    let folder = ReportFolder::open(&arguments.out)?;
    let engine = arguments.model.engine(&source, progress)?;
    let weights_sha256 = weights_sha256(&engine, progress)?;
    options.max_len = engine.info().config.max_len;
    let plan = arguments.plan(&options)?;
    let replayed = replay(&engine, &plan, progress)?;
    let identity = identity(&plan, &options, &source, engine.info(), weights_sha256);
    let report = Report::new(identity, &plan, options.scale, replayed, engine.info().notes.clone());
    engine.shutdown()?;
    let paths = folder.write(&report)?;
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.table())?;
        let [json, html] = paths.map(|p| p.display().to_string());
        print(&format!("Report: {json} and {html}\n"))?;
    }
    Ok(ended(&report))
}

/// How the run ended, failures told on stderr.
fn ended(report: &Report) -> Ended {
    let n_failed = report.failures().count();
    if let Some((turn, reason)) = report.failures().next() {
        let (session, turn) = (turn.session, turn.turn);
        eprintln!("longhaul: turns that failed: {n_failed}; the first is turn {turn} of session {session}: {reason}");
    }
    match (report.interrupted, n_failed) {
        (true, _) => Ended::Interrupted,
        (false, 0) => Ended::Done,
        (false, _) => Ended::Incomplete,
    }
}

/// Runs the plan in a thread of its own, and passes Ctrl-C on.
fn replay(engine: &Engine, plan: &Plan, progress: Progress) -> Result<Replayed> {
    let interrupt = Arc::new(Interrupt::new());
    let asked = Arc::clone(&interrupt);
    signal::on_interrupt(move || asked.set())?;
    let bar = ReplayBar::new(progress, plan.work_tokens(), plan.n_turns());
    let replayed = std::thread::scope(|scope| {
        let running = scope.spawn(|| replay::run(engine, plan, &interrupt, &bar));
        while !running.is_finished() {
            if interrupt.is_set() {
                interrupt.set();
            }
            std::thread::sleep(INTERRUPT_POLL);
        }
        running.join().map_err(|_| Error::Workload("the replay ended in a defect; please report it".into()))
    });
    bar.finish();
    replayed?
}

fn weights_sha256(engine: &Engine, progress: Progress) -> Result<Option<String>> {
    let spinner = spinner(progress, "hashing the weights".into());
    let hash = engine.weights_hash().map(|hash| hash.map(str::to_string));
    spinner.finish_and_clear();
    hash
}

/// Reads a factor from 0 up.
fn parse_gap_scale(text: &str) -> Result<f64> {
    let factor = text.parse::<f64>().ok().filter(|f| f.is_finite() && *f >= 0.0);
    factor.ok_or_else(|| Error::argument("write a number from 0 up"))
}

impl BenchArguments {
    /// What is wrong with these arguments together, if anything.
    pub fn usage_problem(&self) -> Option<&'static str> {
        (self.file.is_some() && self.workload != Workload::Trace).then_some("only the workload `trace` takes a FILE")
    }

    fn options(&self) -> Result<WorkloadOptions> {
        let options = WorkloadOptions {
            seed: self.seed,
            scale: self.scale,
            gap_scale: self.gap_scale,
            n_sessions: self.sessions.map(|n| n as usize),
            n_turns: self.turns.map(|n| n as usize),
            context: self.context.map(|n| n as usize),
            max_len: 0,
        };
        options.validate()?;
        Ok(options)
    }

    fn plan(&self, options: &WorkloadOptions) -> Result<Plan> {
        match (self.workload, &self.file) {
            (Workload::Trace, Some(file)) => trace::plan(file, options),
            (Workload::Trace, None) => Err(Error::argument("`bench trace` needs a FILE")),
            (Workload::CodingLoop, _) => coding_loop::plan(options),
            (Workload::FanOut, _) => fan_out::plan(options),
            (Workload::IdleResume, _) => idle_resume::plan(options),
        }
    }
}
