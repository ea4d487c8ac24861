//! One turn on a session: generate, and measure.

use super::super::plan::{SessionPlan, TurnPlan};
use super::super::record::{Outcome, TurnRecord, ms};
use super::Replay;
use crate::engine::{GenerateOptions, Session};
use crate::error::{Error, Result};
use crate::spec::TokenId;

impl Replay<'_> {
    /// Runs turn `turn_idx` of `plan`: appends `tokens` to the session and generates. A session or prompt that could
    /// not be made fails it.
    pub(super) fn turn(
        &self,
        prepared: Result<(&mut Session, Vec<TokenId>)>,
        plan: &SessionPlan,
        turn_idx: usize,
    ) -> TurnRecord {
        let turn = &plan.turns[turn_idx];
        let mut record = unmeasured(plan, turn_idx, self.now_ms());
        let result = prepared.and_then(|(session, tokens)| self.generate(session, &tokens, turn, &mut record));
        record.total_ms = self.now_ms() - record.start_ms;
        record.outcome = match result {
            Ok(()) => Outcome::Done,
            Err(Error::Cancelled) if self.interrupt.is_set() => Outcome::Interrupted,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        record
    }

    /// Generates what the turn wants, greedily and past any end token.
    fn generate(
        &self,
        session: &mut Session,
        tokens: &[TokenId],
        turn: &TurnPlan,
        record: &mut TurnRecord,
    ) -> Result<()> {
        let canceller = session.canceller();
        let _running = self.interrupt.running(canceller.clone());
        if self.interrupt.is_set() {
            return Err(Error::Cancelled);
        }
        session.append_tokens(tokens)?;
        let options = GenerateOptions { max_tokens: turn.output_len, ignore_end: true, ..GenerateOptions::default() };
        let mut n_tokens = 0;
        let result = session.generate(options)?.try_for_each(|generated| {
            generated?;
            let prefill = if n_tokens == 0 { turn.prompt_len - turn.ideal_cached } else { 0 };
            self.observer.advance(1 + prefill as u64);
            n_tokens += 1;
            if self.interrupt.is_set() {
                canceller.cancel();
            }
            Ok(())
        });
        measure(record, session);
        match result {
            Ok(()) if n_tokens == turn.output_len => Ok(()),
            Ok(()) if self.interrupt.is_set() => Err(Error::Cancelled),
            Ok(()) => Err(Error::Workload(format!("{n_tokens} tokens came of {} asked for", turn.output_len))),
            Err(error) => Err(error),
        }
    }
}

/// A record of which nothing has been measured yet.
fn unmeasured(plan: &SessionPlan, turn_idx: usize, start_ms: f64) -> TurnRecord {
    let turn = &plan.turns[turn_idx];
    TurnRecord {
        session: plan.idx,
        group: plan.group,
        turn: turn_idx,
        kind: turn.kind,
        wait_ms: ms(turn.wait),
        start_ms,
        queue_ms: 0.0,
        ttft_ms: None,
        total_ms: 0.0,
        prompt_tokens: turn.prompt_len,
        appended_tokens: turn.fresh_len(),
        cached_tokens: 0,
        ideal_tokens: turn.ideal_cached,
        prefilled_tokens: 0,
        generated_tokens: 0,
        token_ms: Vec::new(),
        outcome: Outcome::Interrupted,
    }
}

/// Takes over what the session counted.
fn measure(record: &mut TurnRecord, session: &Session) {
    let usage = session.usage();
    record.prompt_tokens = usage.prompt_tokens;
    record.cached_tokens = usage.cached_tokens;
    record.prefilled_tokens = usage.prefilled_tokens;
    record.generated_tokens = usage.generated_tokens;
    record.queue_ms = ms(usage.queue_time);
    record.ttft_ms = usage.time_to_first_token.map(ms);
    record.token_ms = usage.token_times.iter().copied().map(ms).collect();
}
