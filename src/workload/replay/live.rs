//! Sessions that stay open: each turn appends to a context that the engine holds.

use std::thread::Builder;

use super::super::plan::{Opening, Prompt, SessionPlan, TurnPlan};
use super::super::tokens::Run;
use super::Replay;
use crate::engine::Session;
use crate::error::{Error, Result};
use crate::spec::TokenId;

/// A subagent's session, forked from its parent, and its first prompt beyond what they share.
pub(super) struct Forked {
    session: Session,
    prompt: Vec<TokenId>,
}

impl Replay<'_> {
    /// Runs a live session; returns how many turns completed.
    pub(super) fn live(&self, plan: &SessionPlan, parent: Option<Result<Forked>>) -> usize {
        let opened = match parent {
            Some(forked) => forked.map(|f| (f.session, f.prompt)),
            None => self.first_prompt(plan).and_then(|prompt| Ok((self.open(plan)?, prompt))),
        };
        let (mut session, mut prompt) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.keep(self.turn(Err(error), plan, 0));
                return 0;
            }
        };
        for (turn_idx, turn) in plan.turns.iter().enumerate() {
            if !self.wait(turn) {
                return turn_idx;
            }
            self.children(&session, turn);
            let prepared =
                if turn_idx == 0 { Ok(std::mem::take(&mut prompt)) } else { self.next(&mut session, plan, turn_idx) };
            let record = self.turn(prepared.map(|tokens| (&mut session, tokens)), plan, turn_idx);
            if !self.keep(record) {
                return turn_idx;
            }
        }
        plan.turns.len()
    }

    /// Tokens of a first prompt, as its opening says; sessions part right after what they share.
    fn first_prompt(&self, plan: &SessionPlan) -> Result<Vec<TokenId>> {
        let mut tokens = match plan.opening {
            Opening::System(len) => self.minter.run(Run::System, len),
            Opening::Own | Opening::Fork(_) => Vec::new(),
        };
        let fresh_len = plan.turns.first().map_or(0, TurnPlan::fresh_len);
        tokens.extend(self.minter.branch(Run::Turn(plan.idx, 0), fresh_len, plan.idx)?);
        Ok(tokens)
    }

    /// Tokens that a later turn appends. A context that was given up comes back in a new session, with all its tokens.
    fn next(&self, session: &mut Session, plan: &SessionPlan, turn_idx: usize) -> Result<Vec<TokenId>> {
        let turn = &plan.turns[turn_idx];
        let fresh = self.minter.run(Run::Turn(plan.idx, turn_idx), turn.fresh_len());
        if !matches!(turn.prompt, Prompt::Recompute(_)) {
            return Ok(fresh);
        }
        let tokens = [session.tokens(), &fresh].concat();
        *session = self.open(plan)?;
        self.engine.drop_retained()?;
        Ok(tokens)
    }

    /// Runs the subagents of a turn, all at once, to their end.
    fn children(&self, parent: &Session, turn: &TurnPlan) {
        let mut taken: Vec<TokenId> = Vec::new();
        std::thread::scope(|scope| {
            for child in &turn.children {
                let forked = self.fork(parent, child, &mut taken);
                if let Err(error) = Builder::new().spawn_scoped(scope, move || self.session(child, Some(forked))) {
                    let what = "a thread for a subagent".into();
                    self.session(child, Some(Err(Error::Unavailable { what, why: error.to_string() })));
                }
            }
        });
    }

    /// Forks `parent` for `child`, cut to what they share; what follows differs from the parent and from the children
    /// before.
    fn fork(&self, parent: &Session, child: &SessionPlan, taken: &mut Vec<TokenId>) -> Result<Forked> {
        let shared = child.opening.len();
        let apart: Vec<_> = taken.iter().chain(parent.tokens().get(shared)).copied().collect();
        let fresh_len = child.turns.first().map_or(0, TurnPlan::fresh_len);
        let prompt = self.minter.run_apart(Run::Turn(child.idx, 0), fresh_len, &apart)?;
        taken.extend(prompt.first());
        let mut session = parent.fork()?;
        session.rewind(shared)?;
        Ok(Forked { session, prompt })
    }
}
