//! `coding-loop` (W1): coding agents that share a system prompt and tools, and grow their contexts turn by turn.

use super::growth::{Growth, Step, cap_note};
use super::plan::{Opening, Plan, SessionPlan, TurnKind, WorkloadOptions};
use super::quantiles::{
    APPEND, CONTEXT_CAP, FIRST_INPUT_LEN, N_TURNS, OUTPUT, Rng, SYSTEM_LEN, TOOL_GAP_CAP_S, TOOL_GAP_S,
};
use crate::error::Result;

/// Sessions unless the caller says otherwise: at a scale of 1/16 they run a few minutes on two cores.
pub const DEFAULT_SESSIONS: usize = 4;

/// Stream of draws of this workload.
const KEY: u64 = 1;

/// Lays the workload out: live sessions, all at once.
///
/// # Errors
/// When no turn fits into the context.
pub fn plan(options: &WorkloadOptions) -> Result<Plan> {
    let n_sessions = options.n_sessions.unwrap_or(DEFAULT_SESSIONS);
    let cap = options.context_cap(Some(CONTEXT_CAP));
    let (sessions, capped): (Vec<_>, Vec<_>) = (0..n_sessions).map(|idx| session(options, cap, idx)).unzip();
    let shared_note = (n_sessions > 1).then(|| {
        "The ideal counts the shared system prompt once; sessions that start together may each compute it.".to_string()
    });
    Plan {
        workload: "coding-loop".into(),
        title: format!(
            "coding agents ({n_sessions} at once) on one system prompt and tools, contexts that grow to {cap} tokens"
        ),
        seed: options.seed,
        context_cap: cap,
        concurrency: n_sessions,
        sessions,
        notes: cap_note(capped.iter().filter(|c| **c).count(), cap).into_iter().chain(shared_note).collect(),
    }
    .checked()
}

fn session(options: &WorkloadOptions, cap: usize, idx: usize) -> (SessionPlan, bool) {
    let mut rng = Rng::new(options.seed, &[KEY, idx as u64]);
    let shared = options.scale.total(SYSTEM_LEN);
    let mut growth = Growth::new(options, cap, SessionPlan::new(idx, "coder", Opening::System(shared)));
    let first = Step::new(TurnKind::First, options.wait(0.0), FIRST_INPUT_LEN, OUTPUT.draw(&mut rng));
    let mut fits = growth.push(first, if idx == 0 { 0 } else { shared });
    for _ in 1..options.n_turns.unwrap_or(N_TURNS) {
        if !fits {
            break;
        }
        let wait = options.wait(TOOL_GAP_S.at(rng.unit()).min(TOOL_GAP_CAP_S));
        let step = Step::new(TurnKind::Later, wait, APPEND.draw(&mut rng), OUTPUT.draw(&mut rng));
        let computed = growth.computed();
        fits = growth.push(step, computed);
    }
    growth.finish()
}
