//! How a live session's context grows turn by turn: scaled on cumulative totals, ended at the cap.

use std::time::Duration;

use super::plan::{Prompt, SessionPlan, TurnKind, TurnPlan, WorkloadOptions};

/// A session whose turns are being laid out.
pub struct Growth<'a> {
    options: &'a WorkloadOptions,
    cap: usize,
    /// Tokens so far, before scaling.
    unscaled: usize,
    /// Tokens so far.
    len: usize,
    /// Whether a turn did not fit, which ends the session.
    capped: bool,
    plan: SessionPlan,
}

/// What a turn adds, before scaling of lengths.
pub struct Step {
    /// What it answers.
    pub kind: TurnKind,
    /// Idle time before it, scaled.
    pub wait: Duration,
    /// Tokens appended; of a first turn, the whole prompt.
    pub input: usize,
    /// Tokens generated.
    pub output: usize,
    /// Subagents that run before it.
    pub children: Vec<SessionPlan>,
    /// Whether the context was given up while idle.
    pub recompute: bool,
}

impl Step {
    /// A turn that only appends and generates.
    pub fn new(kind: TurnKind, wait: Duration, input: usize, output: usize) -> Self {
        Self { kind, wait, input, output, children: Vec::new(), recompute: false }
    }
}

impl<'a> Growth<'a> {
    /// Starts `plan`, which has no turns yet, ending at `cap` tokens.
    pub fn new(options: &'a WorkloadOptions, cap: usize, plan: SessionPlan) -> Self {
        Self { options, cap, unscaled: 0, len: 0, capped: false, plan }
    }

    /// Whether `step` would pass the cap.
    pub fn fits(&self, step: &Step) -> bool {
        let (fresh, output) = self.scaled(step);
        !self.capped && self.len + fresh + output <= self.cap
    }

    /// Adds a turn of which an ideal cache has `cached` tokens; a turn that does not fit ends the session.
    pub fn push(&mut self, step: Step, cached: usize) -> bool {
        if !self.fits(&step) {
            self.capped = true;
            return false;
        }
        let (fresh, output_len) = self.scaled(&step);
        let prompt_len = self.len + fresh;
        let fresh = fresh - if self.plan.turns.is_empty() { self.plan.opening.len() } else { 0 };
        self.plan.turns.push(TurnPlan {
            kind: step.kind,
            wait: step.wait,
            children: step.children,
            prompt: if step.recompute { Prompt::Recompute(fresh) } else { Prompt::Append(fresh) },
            prompt_len,
            ideal_cached: cached.min(prompt_len - 1),
            output_len,
        });
        self.unscaled += step.input + step.output;
        self.len = prompt_len + output_len;
        true
    }

    /// Tokens that a following turn finds computed: all but the last one generated.
    pub fn computed(&self) -> usize {
        self.len.saturating_sub(1)
    }

    /// The session, and whether the cap ended it.
    pub fn finish(self) -> (SessionPlan, bool) {
        (self.plan, self.capped)
    }

    /// Tokens added to the prompt, and generated. A first prompt has a token of its own and an output has one, at any
    /// scale.
    fn scaled(&self, step: &Step) -> (usize, usize) {
        let scale = self.options.scale;
        let least = if self.plan.turns.is_empty() { self.plan.opening.len() + 1 } else { 0 };
        let fresh = scale.span(self.unscaled, step.input).max(least);
        (fresh, scale.span(self.unscaled + step.input, step.output).max(1))
    }
}

/// The note for sessions that the cap ended, if it ended any.
pub fn cap_note(n_capped: usize, cap: usize) -> Option<String> {
    (n_capped > 0)
        .then(|| format!("{n_capped} sessions end early: their next turn would pass {cap} tokens of context."))
}
