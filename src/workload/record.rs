//! What was measured of a turn and of a session.

use std::time::Duration;

use super::plan::TurnKind;

/// One turn as it ran. Times are milliseconds.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TurnRecord {
    /// Session, numbered over the whole plan.
    pub session: usize,
    /// Role of the session.
    pub group: &'static str,
    /// Index of the turn in its session.
    pub turn: usize,
    /// What it answers.
    pub kind: TurnKind,
    /// How long the session was idle before, as simulated.
    pub wait_ms: f64,
    /// Request accepted, since the beginning of the run.
    pub start_ms: f64,
    /// Accepted until the engine took it up.
    pub queue_ms: f64,
    /// Accepted until the first token; none if there was none.
    pub ttft_ms: Option<f64>,
    /// Accepted until the end.
    pub total_ms: f64,
    /// Tokens of the whole prompt, the context that it continues included.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were new to the session.
    pub appended_tokens: usize,
    /// Tokens of the prompt that were found computed.
    pub cached_tokens: usize,
    /// Tokens that a cache which forgets nothing would have found.
    pub ideal_tokens: usize,
    /// Tokens of the prompt that were computed.
    pub prefilled_tokens: usize,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Time of every generated token, since the request was accepted.
    pub token_ms: Vec<f64>,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "reason")]
pub enum Outcome {
    /// All its tokens were generated.
    Done,
    /// The run was interrupted.
    Interrupted,
    /// The engine refused or failed it.
    Failed(String),
}

/// One session as it ran.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SessionRecord {
    /// Number in the plan.
    pub session: usize,
    /// Its role.
    pub group: &'static str,
    /// Began, since the beginning of the run.
    pub start_ms: f64,
    /// Ended, since the beginning of the run.
    pub end_ms: f64,
    /// Turns that completed.
    pub completed_turns: usize,
    /// Turns that it should have had.
    pub planned_turns: usize,
}

impl TurnRecord {
    /// Time per output token: `(total - TTFT) / (n - 1)`; none below two tokens.
    pub fn tpot_ms(&self) -> Option<f64> {
        match (self.ttft_ms, self.token_ms.last()) {
            (Some(ttft), Some(last)) if self.token_ms.len() > 1 => {
                Some((last - ttft) / (self.token_ms.len() - 1) as f64)
            }
            _ => None,
        }
    }

    /// Gaps between following tokens.
    pub fn gaps_ms(&self) -> impl Iterator<Item = f64> {
        self.token_ms.windows(2).map(|w| w[1] - w[0])
    }

    /// Whether it completed.
    pub fn is_done(&self) -> bool {
        self.outcome == Outcome::Done
    }
}

/// A duration in milliseconds.
pub(super) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
