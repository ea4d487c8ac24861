//! `idle-resume` (W2): contexts that fall silent and come back, kept in memory or computed again.
//!
//! Each context runs twice with the same lengths: `keep` holds its session through the silence, `recompute` gives it
//! up, with every page that the engine retains, and pays for the whole context on return. One session at a time, so
//! that giving up one does not take the pages of another.

use super::growth::{Growth, Step, cap_note};
use super::plan::{Opening, Plan, SessionPlan, TurnKind, WorkloadOptions};
use super::quantiles::{APPEND, IDLE_CONTEXTS, IDLE_S, OUTPUT, Rng};
use crate::error::Result;

const KEY: u64 = 2;

/// Lays the workload out: per mode and context `n_sessions` sessions (one by default), one after the other.
///
/// # Errors
/// When no context fits into the model.
pub fn plan(options: &WorkloadOptions) -> Result<Plan> {
    let cap = options.context_cap(None);
    let mut sessions = Vec::new();
    let mut notes = Vec::new();
    let mut n_capped = 0;
    for context in IDLE_CONTEXTS {
        if options.scale.total(context) >= cap {
            notes.push(format!("The context of {context} tokens is left out: at this scale it passes {cap} tokens."));
            continue;
        }
        for (group, copy) in (0..options.n_sessions.unwrap_or(1)).flat_map(|copy| [("keep", copy), ("recompute", copy)])
        {
            let (session, capped) = session(options, cap, Idle { idx: sessions.len(), group, context, copy });
            n_capped += usize::from(capped);
            sessions.push(session);
        }
    }
    notes.extend(cap_note(n_capped, cap));
    Plan {
        workload: "idle-resume".into(),
        title: "contexts that fall silent and come back: kept in memory, or computed again".into(),
        seed: options.seed,
        context_cap: cap,
        concurrency: 1,
        sessions,
        notes,
    }
    .checked()
}

/// A session that goes idle.
struct Idle {
    idx: usize,
    group: &'static str,
    context: usize,
    copy: usize,
}

fn session(options: &WorkloadOptions, cap: usize, idle: Idle) -> (SessionPlan, bool) {
    // Both modes draw from one stream, so that they differ in nothing but the mode.
    let mut rng = Rng::new(options.seed, &[KEY, idle.context as u64, idle.copy as u64]);
    let mut growth = Growth::new(options, cap, SessionPlan::new(idle.idx, idle.group, Opening::Own));
    growth.push(Step::new(TurnKind::First, options.wait(0.0), idle.context, OUTPUT.draw(&mut rng)), 0);
    for idle_s in IDLE_S.into_iter().cycle().take(options.n_turns.map_or(IDLE_S.len(), |n| n.saturating_sub(1))) {
        let mut step = Step::new(TurnKind::Resume, options.wait(idle_s), APPEND.draw(&mut rng), OUTPUT.draw(&mut rng));
        step.recompute = idle.group == "recompute";
        let computed = growth.computed();
        if !growth.push(step, computed) {
            break;
        }
    }
    growth.finish()
}
