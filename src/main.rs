//! The command line of [`longhaul`]: `generate`, `bench` and `doctor`; `longhaul help` tells about each.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Errors go to stderr in one sentence that says what to
//! do; `--json` puts one JSON object on stdout. `LONGHAUL_LOG` sets what is logged to stderr (`longhaul=debug`),
//! `LONGHAUL_ISA` the kernel table.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
