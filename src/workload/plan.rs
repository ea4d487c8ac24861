//! A workload, spelled out: which sessions, which turns, how many tokens, before anything runs.

use std::time::Duration;

use super::scale::Scale;
use crate::error::{Error, Result};

/// What the caller chooses about a workload.
#[derive(Debug, Clone)]
pub struct WorkloadOptions {
    /// Seed of every draw.
    pub seed: u64,
    /// Ratio on every length.
    pub scale: Scale,
    /// Factor on every gap between turns; 0 waits for nothing.
    pub gap_scale: f64,
    /// Sessions, or for a trace how many of its sessions run at once; `None` leaves it to the workload.
    pub n_sessions: Option<usize>,
    /// Most turns of a session; `None` leaves it to the workload.
    pub n_turns: Option<usize>,
    /// Context at which a session ends, before scaling; `None` leaves it to the workload.
    pub context: Option<usize>,
    /// Longest context of the model, in tokens as they are.
    pub max_len: usize,
}

/// A workload ready to run. Lengths are scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The workload's name, and for a trace its file.
    pub workload: String,
    /// What is being run, in a sentence.
    pub title: String,
    /// Seed of its draws and of its tokens.
    pub seed: u64,
    /// Context at which sessions end, scaled.
    pub context_cap: usize,
    /// Sessions that run at once.
    pub concurrency: usize,
    /// The sessions, in the order in which they start.
    pub sessions: Vec<SessionPlan>,
    /// What a reader must know: what was left out, and why.
    pub notes: Vec<String>,
}

/// One session and all its turns.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionPlan {
    /// Number of the session in its plan, subagents included.
    pub idx: usize,
    /// The role that reports group by: `coder`, `researcher`, `keep`.
    pub group: &'static str,
    /// Prefixes are shared inside a tenant only.
    pub tenant: String,
    /// How long after the beginning of the run it starts at the earliest, scaled.
    pub start: Duration,
    /// What the first prompt starts with.
    pub opening: Opening,
    /// The turns, in order.
    pub turns: Vec<TurnPlan>,
}

/// The beginning of a session's first prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Nothing that another session has.
    Own,
    /// The tenant's system prompt and tool definitions: this many tokens.
    System(usize),
    /// A fork of the parent session, cut to this many tokens.
    Fork(usize),
}

impl SessionPlan {
    /// A session without turns that starts at once.
    pub(super) fn new(idx: usize, group: &'static str, opening: Opening) -> Self {
        Self { idx, group, tenant: "tenant-0".into(), start: Duration::ZERO, opening, turns: Vec::new() }
    }
}

impl Opening {
    /// Tokens that come from elsewhere.
    pub fn len(self) -> usize {
        match self {
            Self::Own => 0,
            Self::System(len) | Self::Fork(len) => len,
        }
    }

    /// Whether the whole prompt is the session's own.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// One turn: wait, prompt, generate.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnPlan {
    /// What the turn answers.
    pub kind: TurnKind,
    /// How long the session was idle before it, scaled.
    pub wait: Duration,
    /// Subagents that run to their end after the wait and before the prompt.
    pub children: Vec<SessionPlan>,
    /// Where the prompt comes from.
    pub prompt: Prompt,
    /// Tokens of the whole prompt.
    pub prompt_len: usize,
    /// Tokens of the prompt that a cache which forgets nothing would have: those that an earlier request of the tenant
    /// has computed, less the last one of a prompt that is known whole, whose logits are wanted.
    pub ideal_cached: usize,
    /// Tokens to generate, at least 1.
    pub output_len: usize,
}

/// What a turn answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnKind {
    /// The first prompt of a session.
    First,
    /// A later prompt: the result of a tool, or a person.
    Later,
    /// The first prompt after a long silence.
    Resume,
    /// The results of subagents.
    Join,
}

/// Where a turn's prompt comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// The live session goes on: these many new tokens are appended to its context, on a first turn to its [`Opening`].
    Append(usize),
    /// As [`Prompt::Append`], but the session was given up while idle: its pages are gone, and a new one gets the whole
    /// context.
    Recompute(usize),
    /// A client without state sends the whole prompt in a new session: `prefix_len` tokens of an earlier turn's prompt,
    /// then `fresh_len` new ones.
    Whole {
        /// The earlier turn of the session; `None` when `prefix_len` is 0.
        source: Option<usize>,
        /// Tokens taken from it.
        prefix_len: usize,
        /// New tokens.
        fresh_len: usize,
    },
    /// A client without state sends a prompt made of blocks that all prompts of the trace draw from.
    Blocks(Vec<Block>),
}

/// A piece of a prompt that other prompts may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// What names its content.
    pub hash_id: u64,
    /// Which continuation of the blocks before it this is: two different ones differ in their first token.
    pub branch_idx: usize,
    /// Tokens of it that the prompt has.
    pub len: usize,
}

impl TurnPlan {
    /// Tokens of the prompt that are new to the session.
    pub fn fresh_len(&self) -> usize {
        match &self.prompt {
            Prompt::Append(fresh_len) | Prompt::Recompute(fresh_len) | Prompt::Whole { fresh_len, .. } => *fresh_len,
            Prompt::Blocks(_) => self.prompt_len - self.ideal_cached,
        }
    }
}

impl WorkloadOptions {
    /// Context at which sessions end, scaled, given what the workload itself would choose (before scaling).
    pub(super) fn context_cap(&self, default: Option<usize>) -> usize {
        self.context.or(default).map_or(self.max_len, |c| self.scale.total(c).min(self.max_len))
    }

    /// A gap of `seconds`, scaled.
    pub(super) fn wait(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds * self.gap_scale)
    }

    /// # Errors
    /// On numbers that no workload can be made from.
    pub fn validate(&self) -> Result<()> {
        let problem = if !(self.gap_scale.is_finite() && (0.0..=1e6).contains(&self.gap_scale)) {
            "the gap scale must be a number from 0 up, at most a million"
        } else if self.n_sessions == Some(0) {
            "a workload needs at least one session: give --sessions 1 or more"
        } else if self.n_turns == Some(0) {
            "a session needs at least one turn: give --turns 1 or more"
        } else {
            return Ok(());
        };
        Err(Error::Workload(problem.into()))
    }
}

impl Plan {
    /// All sessions, subagents after their parents.
    pub fn all_sessions(&self) -> Vec<&SessionPlan> {
        fn collect<'a>(sessions: &'a [SessionPlan], out: &mut Vec<&'a SessionPlan>) {
            for session in sessions {
                out.push(session);
                session.turns.iter().for_each(|t| collect(&t.children, out));
            }
        }
        let mut out = Vec::new();
        collect(&self.sessions, &mut out);
        out
    }

    /// Turns of all sessions.
    pub fn n_turns(&self) -> usize {
        self.all_sessions().iter().map(|s| s.turns.len()).sum()
    }

    /// Tokens that an ideal cache leaves to compute, and those to generate: the work, for progress and its time left.
    pub fn work_tokens(&self) -> u64 {
        let turns = self.all_sessions().into_iter().flat_map(|s| &s.turns);
        turns.map(|t| (t.prompt_len - t.ideal_cached + t.output_len) as u64).sum()
    }

    /// Cached and whole prompt tokens under a cache that forgets nothing.
    pub fn ideal(&self) -> (usize, usize) {
        let turns = self.all_sessions().into_iter().flat_map(|s| &s.turns);
        turns.fold((0, 0), |(cached, prompt), t| (cached + t.ideal_cached, prompt + t.prompt_len))
    }

    /// # Errors
    /// When nothing is left to run.
    pub(super) fn checked(self) -> Result<Self> {
        if self.n_turns() == 0 {
            let notes = self.notes.join(" ");
            return Err(Error::Workload(format!(
                "no turn of {} fits into a context of {} tokens; give a smaller --scale. {notes}",
                self.workload, self.context_cap
            )));
        }
        Ok(self)
    }
}
