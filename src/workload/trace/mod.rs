//! `trace` (W6): recorded lengths, replayed by clients without state that send the whole prompt every turn and rely on
//! the prefix index.
//!
//! Two forms, told apart by the first character: CSV with the columns
//! `session,turn,prefix_len,input_len,output_len,wait_before_ms` (a turn's prompt is `prefix_len` tokens seen before in
//! the session, then `input_len` new ones), and Mooncake's JSON lines with `timestamp` in milliseconds, `input_length`,
//! `output_length` and the `hash_ids` of 512-token blocks.
//!
//! The whole file is read and checked before any work.

mod csv_sessions;
mod mooncake;

use std::path::Path;

use super::plan::{Plan, SessionPlan, WorkloadOptions};
use crate::error::{Error, Result};

/// Sessions of a trace that run at once unless the caller says otherwise.
pub const DEFAULT_CONCURRENCY: usize = 4;

/// Longest length that a trace may name: beyond it a file is taken for garbage.
const MAX_LEN: i64 = 1 << 32;

/// Reads the trace `path` and lays it out.
///
/// # Errors
/// A file that cannot be read; the first line that is wrong, with its number; a trace of which nothing fits into the
/// context.
pub fn plan(path: &Path, options: &WorkloadOptions) -> Result<Plan> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let cap = options.context_cap(None);
    let replay = if text.trim_start().starts_with('{') {
        mooncake::parse(&text).and_then(|lines| mooncake::sessions(&lines, options, cap))
    } else {
        csv_sessions::parse(&text).and_then(|turns| csv_sessions::sessions(&turns, options, cap))
    };
    let Sessions { sessions, notes } = replay.map_err(|e| Error::Workload(format!("{}, {e}", path.display())))?;
    let concurrency = options.n_sessions.unwrap_or(DEFAULT_CONCURRENCY);
    Plan {
        workload: format!("trace {name}"),
        title: format!(
            "{} recorded sessions, {concurrency} at once, every turn a new request with its whole prompt",
            sessions.len()
        ),
        seed: options.seed,
        context_cap: cap,
        concurrency,
        sessions,
        notes,
    }
    .checked()
}

/// What a trace came to.
struct Sessions {
    sessions: Vec<SessionPlan>,
    notes: Vec<String>,
}

/// What is wrong, and in which line.
fn at_line(line: u64, problem: impl std::fmt::Display) -> Error {
    Error::Workload(format!("line {line}: {problem}"))
}

/// A field that counts something, as a `usize`.
fn count(line: u64, name: &str, value: i64) -> Result<usize> {
    match value {
        0..=MAX_LEN => Ok(value as usize),
        ..0 => Err(at_line(line, format!("{name} is {value}, and nothing counts below 0"))),
        _ => Err(at_line(line, format!("{name} is {value}, which is beyond any context"))),
    }
}

#[cfg(test)]
mod tests;
