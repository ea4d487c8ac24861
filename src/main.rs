//! The command line: `generate`, `bench` and `doctor`.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
