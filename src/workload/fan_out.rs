//! `fan-out` (W4): parents whose subagents fork from them, work at once, and are dropped at the join.
//!
//! Two shapes: a supervisor with four researchers, and a coding agent with 1 to 12 coding subagents.

use super::growth::{Growth, Step, cap_note};
use super::plan::{Opening, Plan, SessionPlan, TurnKind, WorkloadOptions};
use super::quantiles::{APPEND, FIRST_INPUT_LEN, MAX_SUBAGENTS, OUTPUT, RESEARCH, Rng, SUBAGENT, SYSTEM_LEN};
use crate::error::Result;

const KEY: u64 = 4;

/// Share of a researcher's prompt that the supervisor's has: the ideal hit rate of fan-out research as observed.
const RESEARCH_SHARED: f64 = 0.478;

/// Rounds of research unless the caller says otherwise.
const DEFAULT_ROUNDS: usize = 2;

/// Lays the workload out: `n_sessions` supervisors and as many coding parents (one of each by default), all at once.
///
/// # Errors
/// When no turn fits into the context.
pub fn plan(options: &WorkloadOptions) -> Result<Plan> {
    let n = options.n_sessions.unwrap_or(1);
    let mut layout = Layout { options, cap: options.context_cap(None), n_sessions: 0, n_capped: 0 };
    let mut sessions = Vec::new();
    for parent in 0..n {
        sessions.push(layout.supervisor());
        sessions.push(layout.coding_parent(parent > 0));
    }
    Plan {
        workload: "fan-out".into(),
        title: format!(
            "supervisors with researchers and coding agents with subagents ({n} of each), forked and dropped at the join"
        ),
        seed: options.seed,
        context_cap: layout.cap,
        concurrency: sessions.len(),
        sessions,
        notes: cap_note(layout.n_capped, layout.cap).into_iter().collect(),
    }
    .checked()
}

struct Layout<'a> {
    options: &'a WorkloadOptions,
    cap: usize,
    n_sessions: usize,
    n_capped: usize,
}

impl<'a> Layout<'a> {
    fn supervisor(&mut self) -> SessionPlan {
        let (input, output, n_researchers) = RESEARCH;
        let options = self.options;
        let idx = self.next_idx();
        let mut growth = Growth::new(options, self.cap, SessionPlan::new(idx, "supervisor", Opening::Own));
        growth.push(Step::new(TurnKind::First, options.wait(0.0), input, output), 0);
        for _ in 0..options.n_turns.unwrap_or(DEFAULT_ROUNDS) {
            let mut join = Step::new(TurnKind::Join, options.wait(0.0), output * n_researchers, output);
            if growth.fits(&join) {
                join.children = (0..n_researchers).map(|_| self.researcher()).collect();
            }
            let computed = growth.computed();
            if !growth.push(join, computed) {
                break;
            }
        }
        self.finish(growth)
    }

    fn researcher(&mut self) -> SessionPlan {
        let (input, output, _) = RESEARCH;
        let shared = self.options.scale.total((input as f64 * RESEARCH_SHARED) as usize);
        let mut growth = self.child("researcher", shared);
        growth.push(Step::new(TurnKind::First, self.options.wait(0.0), input, output), shared);
        self.finish(growth)
    }

    fn coding_parent(&mut self, system_known: bool) -> SessionPlan {
        let options = self.options;
        let idx = self.next_idx();
        let mut rng = Rng::new(options.seed, &[KEY, idx as u64]);
        let shared = options.scale.total(SYSTEM_LEN);
        let mut growth = Growth::new(options, self.cap, SessionPlan::new(idx, "coder", Opening::System(shared)));
        let first = Step::new(TurnKind::First, options.wait(0.0), FIRST_INPUT_LEN, OUTPUT.draw(&mut rng));
        growth.push(first, if system_known { shared } else { 0 });
        let n_children = 1 + rng.below(MAX_SUBAGENTS);
        let report_len = OUTPUT.draw(&mut rng);
        let mut join = Step::new(TurnKind::Join, options.wait(0.0), report_len * n_children, OUTPUT.draw(&mut rng));
        if growth.fits(&join) {
            join.children = (0..n_children).map(|_| self.subagent()).collect();
        }
        let computed = growth.computed();
        growth.push(join, computed);
        self.finish(growth)
    }

    fn subagent(&mut self) -> SessionPlan {
        let (first_input, shared, n_turns) = SUBAGENT;
        let options = self.options;
        let mut rng = Rng::new(options.seed, &[KEY, self.n_sessions as u64]);
        let shared = options.scale.total(shared);
        let mut growth = self.child("subagent", shared);
        growth.push(Step::new(TurnKind::First, options.wait(0.0), first_input, OUTPUT.draw(&mut rng)), shared);
        for _ in 1..options.n_turns.unwrap_or(n_turns) {
            let step = Step::new(TurnKind::Later, options.wait(0.0), APPEND.draw(&mut rng), OUTPUT.draw(&mut rng));
            let computed = growth.computed();
            if !growth.push(step, computed) {
                break;
            }
        }
        self.finish(growth)
    }

    fn child(&mut self, group: &'static str, shared: usize) -> Growth<'a> {
        let plan = SessionPlan::new(self.next_idx(), group, Opening::Fork(shared));
        Growth::new(self.options, self.cap, plan)
    }

    fn next_idx(&mut self) -> usize {
        self.n_sessions += 1;
        self.n_sessions - 1
    }

    fn finish(&mut self, growth: Growth<'_>) -> SessionPlan {
        let (session, capped) = growth.finish();
        self.n_capped += usize::from(capped);
        session
    }
}
