//! Running a step, and what follows from its logits.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::options::{FinishReason, Generated};
use super::request::{Generating, Request, Work};
use super::sampler::{Row, Sampler, Weigh};
use super::scheduler::{Planned, Scheduler, guarded};
use crate::backend::Model;
use crate::error::{Error, Result};
use crate::spec::Logits;

impl Scheduler {
    /// Runs the planned batch. What ends with it, well or not, is left in `ending`.
    pub(super) fn step(&mut self) {
        let started = Instant::now();
        self.note_first_steps(started);
        let (model, batch, logits) = (&mut self.model, &self.batch, &mut self.logits);
        let vocab = self.shared.info.config.vocab;
        let outcome = guarded(|| {
            model.step(batch, logits)?;
            let (have, want) = (logits.n_rows(), batch.logit_rows.len());
            if have < want {
                return Err(Error::Step(format!(
                    "the backend returned {have} rows of logits where {want} were asked for"
                )));
            }
            // All rows are of one width.
            let width = if want > 0 { logits.row(0).len() } else { vocab };
            if width != vocab {
                return Err(Error::Step(format!("the backend returned {width} logits in a row, of {vocab} tokens")));
            }
            Ok(())
        });
        let step_ns = started.elapsed().as_nanos() as u64;
        let (n_seqs, n_tokens) = (self.planned.len(), self.batch.n_tokens());
        tracing::trace!(n_seqs, n_tokens, n_logits = self.batch.logit_rows.len(), step_ns, "step");
        let counters = &self.shared.counters;
        counters.steps.fetch_add(1, Relaxed);
        counters.step_ns.fetch_add(step_ns, Relaxed);
        if let Err(error) = outcome {
            counters.failed_steps.fetch_add(1, Relaxed);
            tracing::error!(n_seqs, n_tokens, %error, "step failed");
            self.ending.extend(self.planned.iter().map(|planned| (planned.request_idx, Err(error.clone()))));
            return;
        }
        for i in 0..self.planned.len() {
            self.settle(self.planned[i]);
        }
    }

    fn note_first_steps(&mut self, now: Instant) {
        for planned in &self.planned {
            let request = &mut self.running[planned.request_idx];
            if !request.started {
                request.started = true;
                request.usage.queue_time = now - request.accepted;
            }
        }
    }

    /// Commits what the step computed for one request, and acts on its logits.
    fn settle(&mut self, planned: Planned) {
        let request = &mut self.running[planned.request_idx];
        let n_computed = planned.kv_len - request.context.table.len();
        let decoding = request.is_decoding();
        let drawn = judge(request, &planned, &self.logits, &mut self.sampler, &*self.model);
        let context = &mut request.context;
        let mut kv = self.shared.kv();
        if let Err(error @ Error::Step(_)) = drawn {
            // Broken logits: what they were computed from may be broken too.
            kv.forget(&mut context.table, request.sound_len);
            self.ending.push((planned.request_idx, Err(error)));
            return;
        }
        kv.commit(&mut context.table, &context.tokens, planned.kv_len);
        drop(kv);
        let counters = &self.shared.counters;
        if decoding {
            counters.decoded_tokens.fetch_add(n_computed as u64, Relaxed);
        } else {
            counters.prefilled_tokens.fetch_add(n_computed as u64, Relaxed);
            request.usage.prefilled_tokens += n_computed;
        }
        if planned.n_logit_rows > 0 {
            request.sound_len = planned.kv_len;
        }
        let end = match drawn {
            Ok(Some((token, logprob))) => {
                advance(request, Generated { token, logprob, text: None }, self.shared.info.config.max_len)
            }
            Ok(None) => Ok((request.context.pending() == 0).then_some(None)),
            Err(error) => Err(error),
        };
        match end {
            Ok(None) => {}
            Ok(Some(reason)) => self.ending.push((planned.request_idx, Ok(reason))),
            Err(error) => self.ending.push((planned.request_idx, Err(error))),
        }
    }
}

/// Reads a request's logits: scores its tokens, or draws the next with its log-probability.
///
/// # Errors
/// [`Error::Step`] for broken logits, and for nothing else; [`Error::Argument`] where the request's options leave no
/// token to draw.
fn judge(
    request: &mut Request,
    planned: &Planned,
    logits: &Logits,
    sampler: &mut Sampler,
    model: &dyn Model,
) -> Result<Option<(u32, f32)>> {
    let tokens = &request.context.tokens;
    let first_position = request.wanted.end.min(planned.kv_len) - planned.n_logit_rows;
    let weigh: Weigh<'_> = &|logits, max, temperature, out| model.weigh(logits, max, temperature, out);
    let mut drawn = None;
    for i in 0..planned.n_logit_rows {
        let row = logits.row(planned.first_logit_row + i);
        let next = first_position + i + 1;
        match &mut request.work {
            Work::Prefill => {}
            Work::Score(logprobs) => {
                let row = Row { logits: row, context: &tokens[..next], banned: &[], weigh };
                logprobs.push(sampler.score(row, tokens[next])?);
            }
            Work::Generate(generating) => {
                let Generating { options, final_tokens, .. } = &**generating;
                let too_early = request.usage.generated_tokens < options.min_tokens;
                let banned = if too_early { final_tokens.as_slice() } else { &[] };
                let row = Row { logits: row, context: tokens, banned, weigh };
                drawn = Some(sampler.draw(row, &options.sampling)?);
            }
        }
    }
    Ok(drawn)
}

/// Appends a drawn token, sends it, and tells whether and why the generation ends. Where its text cannot be made it is
/// not appended.
fn advance(request: &mut Request, mut generated: Generated, max_len: usize) -> Result<Option<Option<FinishReason>>> {
    let Work::Generate(generating) = &mut request.work else { unreachable!("only generations draw") };
    let (token, usage, tokens) = (generated.token, &mut request.usage, &mut request.context.tokens);
    let (n_generated, len) = (usage.generated_tokens + 1, tokens.len() + 1);
    let options = &generating.options;
    let mut end = if generating.end_tokens.contains(&token) {
        Some(FinishReason::EndToken)
    } else if options.stop_tokens.contains(&token) {
        Some(FinishReason::StopToken(token))
    } else if n_generated >= options.max_tokens {
        Some(FinishReason::MaxTokens)
    } else {
        (len >= max_len).then_some(FinishReason::ContextFull)
    };
    if let Some(emitter) = &mut generating.emitter {
        let visible = emitter.emit(token, end.as_ref(), n_generated >= options.min_tokens)?;
        end = visible.stop.map(FinishReason::StopString).or(end);
        generated.text = Some(visible.text);
    }
    tokens.push(token);
    request.wanted = len - 1..len;
    let elapsed = request.accepted.elapsed();
    usage.generated_tokens = n_generated;
    usage.time_to_first_token.get_or_insert(elapsed);
    usage.token_times.push(elapsed);
    request.send(generated, end.clone());
    Ok(end.map(Some))
}
