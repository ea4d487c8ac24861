//! What a benchmark leaves behind: a table in the terminal, `report.json` for programs, `report.html` for people.
//!
//! # Schema of `report.json`, version 1
//! An object with these members; the types in this module give the fields of each.
//!
//! | member | what |
//! |---|---|
//! | `schema_version` | 1; it rises when a member changes its meaning or goes away, not when one is added |
//! | `identity` | [`Identity`]: commit, model and weight hash, machine, kernel table, threads, KV dtype and budget, workload, seed, scale |
//! | `interrupted` | whether the run was cut short; everything else is about what ran |
//! | `wall_s` | seconds from the first session's start to the last one's end |
//! | `notes` | sentences that a reader of the numbers must know |
//! | `prompt_tokens` | [`PromptTokens`]: sums over all turns that got a first token |
//! | `memory` | [`Memory`]: KV pages before and after |
//! | `metrics` | a list of [`Metric`]: key, name, part, formula, unit, and `value`, either `{"number": x}` or `{"distribution": {..}}` |
//! | `sessions` | a list of [`SessionRecord`] |
//! | `turns` | a list of [`TurnRecord`], in the order in which they were accepted; times in milliseconds |

mod draw;
mod html;
mod plots;
mod table;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::metrics::{Metric, metrics, prompt_totals};
use super::plan::Plan;
use super::record::{Outcome, SessionRecord, TurnRecord};
use super::replay::Replayed;
use super::scale::Scale;
use crate::error::{Error, Result};

/// Version of the schema of `report.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// A benchmark, measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What ran, on what.
    pub identity: Identity,
    /// Whether it was cut short.
    pub interrupted: bool,
    /// Seconds that it took.
    pub wall_s: f64,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// What was cached, of what.
    pub prompt_tokens: PromptTokens,
    /// KV pages before and after.
    pub memory: Memory,
    /// What it came to.
    pub metrics: Vec<Metric>,
    /// The sessions.
    pub sessions: Vec<SessionRecord>,
    /// The turns.
    pub turns: Vec<TurnRecord>,
}

/// Everything that a number depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// Version of this crate.
    pub version: &'static str,
    /// Commit that it was built from, or `unknown`.
    pub commit: &'static str,
    /// Workload, and for a trace its file.
    pub workload: String,
    /// What the workload is, in a sentence.
    pub title: String,
    /// Seed of the workload.
    pub seed: u64,
    /// Ratio on its lengths, as `1/16`.
    pub scale: String,
    /// Factor on its gaps.
    pub gap_scale: f64,
    /// Sessions, subagents included.
    pub n_sessions: usize,
    /// Sessions at once, subagents not counted.
    pub concurrency: usize,
    /// Turns that were to run.
    pub n_turns: usize,
    /// Context at which a session ends, scaled.
    pub context_cap: usize,
    /// The model.
    pub model: String,
    /// Whether its weights are random, so that its text is noise.
    pub synthetic: bool,
    /// SHA-256 of its weights; none for random ones, which their seed identifies.
    pub weights_sha256: Option<String>,
    /// What its matrices run as.
    pub weights_dtype: String,
    /// Backend and kernel table: `cpu/avx2`.
    pub kernels: String,
    /// Threads of a step.
    pub n_threads: usize,
    /// Element type of keys and values.
    pub kv_dtype: String,
    /// Bytes of keys and values.
    pub kv_budget_bytes: u64,
    /// Bytes of one token's keys and values.
    pub kv_bytes_per_token: usize,
    /// Most rows of a step.
    pub max_step_tokens: usize,
    /// The machine.
    pub machine: MachineIdentity,
    /// When it began, in seconds since 1970 (UTC).
    pub began_unix_s: u64,
}

/// The machine that it ran on.
#[derive(Debug, Clone, Serialize)]
pub struct MachineIdentity {
    /// The CPU, as it names itself.
    pub cpu: String,
    /// Logical cores.
    pub n_cores: usize,
    /// Cores that this process may use.
    pub threads_allowed: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes that this process may use.
    pub memory_limit_bytes: u64,
}

/// Sums over the turns that got a first token.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PromptTokens {
    /// Prompt tokens.
    pub prompt: usize,
    /// Found computed.
    pub cached: usize,
    /// What a cache that forgets nothing would have found.
    pub ideal: usize,
}

/// KV pages over the run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Memory {
    /// Pages in the pool.
    pub n_pages: usize,
    /// Free before the run.
    pub free_before: usize,
    /// Free when the last session had ended; the rest is retained for later sessions.
    pub free_after: usize,
    /// Free once the retained prefixes were dropped too.
    pub free_emptied: usize,
    /// Pages evicted during the run.
    pub evicted_pages: u64,
    /// Whether every page that was free before is free again.
    pub back_to_start: bool,
}

impl Report {
    /// Sums a replay up. `notes` come after the plan's own.
    pub fn new(identity: Identity, plan: &Plan, scale: Scale, replayed: Replayed, notes: Vec<String>) -> Self {
        let (cached, ideal, prompt) = prompt_totals(&replayed.turns);
        let memory = Memory {
            n_pages: replayed.before.n_pages,
            free_before: replayed.before.free_pages,
            free_after: replayed.after.free_pages,
            free_emptied: replayed.emptied.free_pages,
            evicted_pages: replayed.after.evicted_pages - replayed.before.evicted_pages,
            back_to_start: replayed.emptied.free_pages >= replayed.before.free_pages,
        };
        let mut all_notes = plan.notes.clone();
        if identity.synthetic {
            all_notes.push("The model's weights are random: its speed is real, its text is noise.".into());
        }
        all_notes.extend(notes);
        Self {
            schema_version: SCHEMA_VERSION,
            identity,
            interrupted: replayed.interrupted,
            wall_s: replayed.wall.as_secs_f64(),
            notes: all_notes,
            prompt_tokens: PromptTokens { prompt, cached, ideal },
            memory,
            metrics: metrics(plan, &replayed, scale),
            sessions: replayed.sessions,
            turns: replayed.turns,
        }
    }

    /// Turns that failed, each with its reason.
    pub fn failures(&self) -> impl Iterator<Item = (&TurnRecord, &str)> {
        self.turns.iter().filter_map(|t| match &t.outcome {
            Outcome::Failed(reason) => Some((t, reason.as_str())),
            _ => None,
        })
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        table::render(self)
    }

    /// The page, self-contained.
    ///
    /// # Errors
    /// When a plot cannot be drawn.
    pub fn html(&self) -> Result<String> {
        html::render(self)
    }
}

/// A folder that reports go to, known to be writable before any work.
#[derive(Debug)]
pub struct ReportFolder(PathBuf);

impl ReportFolder {
    /// Makes the folder `path` if there is none, and writes a file to see that it can.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be made or written to.
    pub fn open(path: &Path) -> Result<Self> {
        let hint =
            |e: std::io::Error| Error::io(path, format!("no report can be written here ({e}); give another --out"));
        std::fs::create_dir_all(path).map_err(hint)?;
        let probe = path.join(".writable");
        std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(hint)?;
        Ok(Self(path.to_path_buf()))
    }

    /// Writes `report.json` and `report.html`, replacing earlier ones as a whole; returns their paths.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be written.
    pub fn write(&self, report: &Report) -> Result<[PathBuf; 2]> {
        let json =
            serde_json::to_string(report).map_err(|e| Error::Workload(format!("the report has no JSON form: {e}")))?;
        Ok([self.put("report.json", &json)?, self.put("report.html", &report.html()?)?])
    }

    fn put(&self, name: &str, text: &str) -> Result<PathBuf> {
        let (path, part) = (self.0.join(name), self.0.join(format!("{name}.part")));
        std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &path)).map_err(|e| Error::io(&path, e))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests;
