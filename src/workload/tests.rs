use std::collections::BTreeSet;

use super::plan::{Opening, Plan, Prompt, SessionPlan, TurnKind};
use super::*;
use crate::error::Result;

type Build = fn(&WorkloadOptions) -> Result<Plan>;

const WORKLOADS: [Build; 3] = [coding_loop::plan, fan_out::plan, idle_resume::plan];

fn options(scale: &str, max_len: usize) -> WorkloadOptions {
    let scale = scale.parse().unwrap();
    WorkloadOptions { seed: 3, scale, gap_scale: 0.0, n_sessions: Some(3), n_turns: None, context: None, max_len }
}

#[test]
fn a_plan_is_a_function_of_its_seed() {
    for plan in WORKLOADS {
        let options = options("1/16", 8192);
        assert_eq!(plan(&options).unwrap(), plan(&options).unwrap());
        assert_ne!(plan(&options).unwrap(), plan(&WorkloadOptions { seed: 4, ..options }).unwrap());
    }
}

#[test]
fn contexts_add_up_and_stay_under_the_cap() {
    for (plan, scale, max_len) in
        WORKLOADS.into_iter().flat_map(|p| [(p, "1/16", 8192), (p, "1", 262_144), (p, "1/500", 600)])
    {
        let plan = plan(&options(scale, max_len)).unwrap();
        assert_eq!(plan.all_sessions().iter().map(|s| s.idx).collect::<BTreeSet<_>>().len(), plan.all_sessions().len());
        plan.all_sessions().into_iter().for_each(|session| check(session, plan.context_cap));
    }
}

fn check(session: &SessionPlan, cap: usize) {
    let mut context = session.opening.len();
    for turn in &session.turns {
        assert_eq!(turn.prompt_len, context + turn.fresh_len(), "{session:?}");
        assert!(turn.ideal_cached < turn.prompt_len && turn.output_len > 0);
        if turn.kind != TurnKind::First {
            assert_eq!(turn.ideal_cached, context - 1, "all but the last generated token is computed");
        }
        context = turn.prompt_len + turn.output_len;
        assert!(context <= cap, "{context} of {cap}");
    }
}

#[test]
fn coding_sessions_share_the_scaled_system_prompt() {
    let plan = coding_loop::plan(&options("1/16", 8192)).unwrap();
    let system = plan.sessions[0].opening.len();
    assert_eq!(system, 931);
    for (idx, session) in plan.sessions.iter().enumerate() {
        assert_eq!(session.opening, Opening::System(system));
        assert_eq!(session.turns[0].prompt_len, 1500);
        assert_eq!(session.turns[0].ideal_cached, if idx == 0 { 0 } else { system });
    }
}

#[test]
fn scaling_does_not_drift() {
    let uncapped = |scale| WorkloadOptions { context: Some(10_000_000), ..options(scale, usize::MAX) };
    let (whole, scaled) = (coding_loop::plan(&uncapped("1")).unwrap(), coding_loop::plan(&uncapped("1/16")).unwrap());
    for (whole, scaled) in whole.sessions.iter().zip(&scaled.sessions) {
        assert_eq!((whole.turns.len(), scaled.turns.len()), (45, 45));
        for (whole, scaled) in whole.turns.iter().zip(&scaled.turns) {
            assert_eq!(scaled.prompt_len, options("1/16", 0).scale.total(whole.prompt_len));
        }
    }
}

#[test]
fn both_modes_of_an_idle_session_have_the_same_lengths() {
    let plan = idle_resume::plan(&options("1/64", 8192)).unwrap();
    let of = |group| -> Vec<_> {
        let sessions = plan.sessions.iter().filter(|s| s.group == group);
        sessions.flat_map(|s| s.turns.iter().map(|t| (t.prompt_len, t.output_len, t.ideal_cached))).collect()
    };
    assert_eq!(of("keep"), of("recompute"));
    assert_eq!(of("keep").len(), 3 * 3 * 4);
    let recomputed = plan.sessions.iter().flat_map(|s| &s.turns).filter(|t| matches!(t.prompt, Prompt::Recompute(_)));
    assert_eq!(recomputed.count(), 3 * 3 * 3);
}

#[test]
fn subagents_fork_inside_their_parents_context() {
    let plan = fan_out::plan(&options("1/16", 8192)).unwrap();
    for parent in &plan.sessions {
        let mut context = 0;
        for turn in &parent.turns {
            for child in &turn.children {
                assert!(matches!(child.opening, Opening::Fork(len) if len > 0 && len < context), "{:?}", child.opening);
            }
            context = turn.prompt_len + turn.output_len;
        }
        assert!(parent.turns.iter().any(|t| !t.children.is_empty()));
    }
}

#[test]
fn a_context_that_nothing_fits_into_is_an_error() {
    for plan in WORKLOADS {
        let error = plan(&options("1", 100)).unwrap_err().to_string();
        assert!(error.contains("smaller --scale"), "{error}");
    }
}
