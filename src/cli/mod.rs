//! Arguments, exit codes and how errors are told.

mod bench;
mod doctor;
mod generate;
mod identity;
mod model;
mod progress;
mod signal;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use longhaul::Result;

/// An inference core for long-horizon agents.
#[derive(Parser)]
#[command(name = "longhaul", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Continue a prompt or answer a chat, streaming text to stdout and its speed to stderr.
    Generate(generate::GenerateArguments),
    /// Replay an agent workload and report what it measured.
    Bench(bench::BenchArguments),
    /// Say what this machine can run, and why something is missing.
    Doctor(doctor::DoctorArguments),
}

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Everything that was asked for is done.
    Done,
    /// Part of it failed, which has been said.
    Incomplete,
    /// Ctrl-C.
    Interrupted,
}

/// Runs the program.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("LONGHAUL_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let ended = match arguments.command {
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Bench(arguments) => match arguments.usage_problem() {
            Some(problem) => Arguments::command().error(ErrorKind::ArgumentConflict, problem).exit(),
            None => bench::run(&arguments),
        },
        Command::Doctor(arguments) => doctor::run(&arguments),
    };
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::Incomplete) => ExitCode::FAILURE,
        Ok(Ended::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("longhaul: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to stdout. A reader that has gone away, as `head` does, is an error like any other and no panic.
///
/// # Errors
/// When stdout cannot be written.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| longhaul::Error::io("stdout", e))
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// When it has no JSON form or stdout cannot be written.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|e| longhaul::Error::argument(format!("no JSON form: {e}")))?;
    print(&(text + "\n"))
}
