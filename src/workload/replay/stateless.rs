//! Clients without state: each turn is a new session that gets the whole prompt, and what is known of it is found by
//! its tokens.

use super::super::plan::{Prompt, SessionPlan};
use super::super::tokens::{Run, Transcript};
use super::Replay;
use crate::error::Result;
use crate::spec::TokenId;

impl Replay<'_> {
    /// Runs a recorded session; returns how many turns completed.
    pub(super) fn stateless(&self, plan: &SessionPlan) -> usize {
        let mut transcript = Transcript::default();
        for (turn_idx, turn) in plan.turns.iter().enumerate() {
            if !self.wait(turn) {
                return turn_idx;
            }
            let prompt = self.whole_prompt(&mut transcript, plan, turn_idx);
            let mut session = self.open(plan);
            let prepared = match (&mut session, prompt) {
                (Ok(session), Ok(prompt)) => Ok((session, prompt)),
                (Err(error), _) => Err(error.clone()),
                (_, Err(error)) => Err(error),
            };
            let record = self.turn(prepared, plan, turn_idx);
            if let Ok(session) = &session {
                transcript.answered(session.tokens().get(turn.prompt_len).copied());
            }
            drop(session);
            if !self.keep(record) {
                return turn_idx;
            }
        }
        plan.turns.len()
    }

    fn whole_prompt(&self, transcript: &mut Transcript, plan: &SessionPlan, turn_idx: usize) -> Result<Vec<TokenId>> {
        match &plan.turns[turn_idx].prompt {
            Prompt::Blocks(blocks) => self.minter.blocks(blocks),
            Prompt::Whole { source, prefix_len, fresh_len } => {
                transcript.push(&self.minter, plan.idx, (*source, *prefix_len), *fresh_len)
            }
            Prompt::Append(len) | Prompt::Recompute(len) => Ok(self.minter.run(Run::Turn(plan.idx, turn_idx), *len)),
        }
    }
}
