//! What fails, fails alone.

use std::time::Duration;

use longhaul::Error;
use longhaul::engine::{Engine, GenerateOptions, Sampling};
use longhaul::spec::TokenId;

use crate::toy::{Fault, PAGE_LEN, Remote, Toy, VOCAB, continuation, engine, greedy, prompt, prompted};

/// Lets one step fail: the first that computes the token `mark` at position `at`, in whichever row that is.
fn fault_once(remote: &Remote, mark: TokenId, at: u32, fault: impl Fn(usize) -> Fault + Send + 'static) {
    let mut done = false;
    remote.on_step(move |batch| {
        let ragged = batch.ragged();
        let hit = (0..ragged.n_seqs()).find_map(|seq| {
            let row = ragged.rows(seq).start + (at.checked_sub(batch.starts[seq])? as usize);
            (ragged.rows(seq).contains(&row) && batch.tokens[row] == mark && !done).then_some(row)
        });
        hit.map_or(Fault::None, |row| {
            done = true;
            fault(row)
        })
    });
}

fn generate(session: &mut longhaul::engine::Session, n: usize) -> Result<Vec<TokenId>, Error> {
    session.generate(greedy(n))?.map(|g| g.map(|g| g.token)).collect()
}

#[test]
fn a_panic_in_a_step_fails_its_sessions_and_no_other() {
    let narrow = (Fault::Narrow(1), "96 logits in a row, of 97 tokens");
    for (fault, message) in [(Fault::Panic, "the toy broke"), (Fault::Fail, "the toy refused"), narrow] {
        let (engine, remote) = engine(1_000);
        let (early_prompt, tokens) = (prompt(1, 20), prompt(2, 100));
        let mut bystander = prompted(&engine, "a", &early_prompt);
        bystander.prefill().unwrap();
        let mut session = prompted(&engine, "a", &tokens);
        // The second chunk fails; the first is committed by then.
        fault_once(&remote, tokens[64], 64, move |_| fault);
        let error = generate(&mut session, 10).unwrap_err();
        assert!(matches!(&error, Error::Step(why) if why.contains(message)), "{error}");
        assert_eq!((session.tokens(), session.pending()), (tokens.as_slice(), 36), "back to the last good length");
        assert_eq!(generate(&mut session, 10).unwrap(), continuation(&tokens, 10), "a retry works");
        assert_eq!(generate(&mut bystander, 10).unwrap(), continuation(&early_prompt, 10));
        assert_eq!(engine.stats().failed_steps, 1);
    }
}

#[test]
fn nan_logits_fail_their_session_and_no_other() {
    let (engine, remote) = engine(1_000);
    let prompts = [prompt(1, 30), prompt(2, 30)];
    let mut sessions = prompts.each_ref().map(|p| prompted(&engine, "a", p));
    // The prompt's last, whose logits are wanted: before that the prompt may be split, where the other session decodes
    // already.
    fault_once(&remote, prompts[0][29], 29, Fault::Nan);
    let results = std::thread::scope(|scope| {
        let running = sessions.each_mut().map(|session| scope.spawn(|| generate(session, 20)));
        running.map(|thread| thread.join().unwrap())
    });
    let failed = matches!(&results[0], Err(Error::Step(why)) if why.contains("NaN") && why.contains("position 30"));
    assert!(failed, "{results:?}");
    assert_eq!(results[1].as_ref().unwrap(), &continuation(&prompts[1], 20));
    assert_eq!(sessions[0].pending(), 30, "nothing of it is trusted");
    let mut other = prompted(&engine, "a", &prompts[0]);
    other.prefill().unwrap();
    assert_eq!(other.usage().cached_tokens, 0, "nor found by others");
    assert_eq!(generate(&mut sessions[0], 20).unwrap(), continuation(&prompts[0], 20));
}

#[test]
fn options_that_leave_no_token_are_the_callers_error_and_what_was_computed_stays() {
    let (engine, _) = engine(1_000);
    let sampling = Sampling { repetition_penalty: Some(1e-39), ..Default::default() };
    let stop_tokens = (0..VOCAB as TokenId).collect();
    let penalised = (GenerateOptions { sampling, ..greedy(5) }, "repetition_penalty");
    let banned = (GenerateOptions { min_tokens: 1, stop_tokens, ..greedy(5) }, "min_tokens");
    for (seed, (options, option)) in [(1, penalised), (2, banned)] {
        let tokens = prompt(seed, 100);
        let mut session = prompted(&engine, "a", &tokens);
        let error = session.generate(options).unwrap().finish().unwrap_err();
        let is_named = |why: &str| why.contains(option) && why.contains("position 100");
        assert!(matches!(&error, Error::Argument(why) if is_named(why)), "{error}");
        assert_eq!((session.tokens(), session.pending()), (tokens.as_slice(), 0));
        let mut other = prompted(&engine, "a", &tokens);
        other.prefill().unwrap();
        assert_eq!(other.usage().cached_tokens, 100, "others find its prompt");
        assert_eq!(generate(&mut session, 5).unwrap(), continuation(&tokens, 5));
    }
    assert_eq!(engine.stats().failed_steps, 0);
}

#[test]
fn a_failed_score_leaves_the_context_as_it_was() {
    let (engine, remote) = engine(1_000);
    let tokens = prompt(1, 90);
    let mut session = prompted(&engine, "a", &tokens[..10]);
    fault_once(&remote, tokens[63], 63, Fault::Nan);
    assert!(matches!(session.score(&tokens[10..]), Err(Error::Step(_))));
    assert_eq!(session.tokens(), &tokens[..10]);
    assert_eq!(session.score(&tokens[10..]).unwrap().len(), 80);
}

#[test]
fn a_budget_smaller_than_one_session_is_an_error_and_the_session_lives() {
    let (engine, _) = engine(4);
    let tokens = prompt(1, 5 * PAGE_LEN);
    let mut session = prompted(&engine, "a", &tokens);
    let error = session.prefill().unwrap_err();
    assert!(matches!(error, Error::KvExhausted { total: 4, .. }), "{error}");
    assert_eq!((session.len(), engine.stats().live_pages), (tokens.len(), 0), "a prompt gives back what it had");
    session.rewind(3 * PAGE_LEN).unwrap();
    let error = session.generate(greedy(100)).unwrap().finish().unwrap_err();
    assert!(matches!(error, Error::KvExhausted { .. }));
    assert_eq!(session.len(), 4 * PAGE_LEN + 1, "all tokens that fit, and the one drawn from the last");
    assert_eq!(session.tokens()[3 * PAGE_LEN..], continuation(&tokens[..3 * PAGE_LEN], PAGE_LEN + 1));
    assert!(matches!(session.prefill(), Err(Error::KvExhausted { .. })));
    session.rewind(PAGE_LEN + 3).unwrap();
    let expected = continuation(&tokens[..PAGE_LEN + 3], 10);
    assert_eq!(generate(&mut session, 10).unwrap(), expected);
}

#[test]
fn an_error_that_was_read_is_still_how_it_ended() {
    let (engine, _) = engine(4);
    let mut session = prompted(&engine, "a", &prompt(1, 3 * PAGE_LEN));
    let mut generation = session.generate(greedy(100)).unwrap();
    let read = generation.by_ref().last().unwrap().unwrap_err();
    assert!(matches!(read, Error::KvExhausted { .. }), "{read}");
    assert_eq!(generation.finish().unwrap_err().to_string(), read.to_string());
    let mut generation = session.generate(GenerateOptions { deadline: Some(Duration::ZERO), ..greedy(1) }).unwrap();
    assert!(matches!(generation.next(), Some(Err(Error::Deadline))));
    assert!(matches!(generation.finish(), Err(Error::Deadline)));
}

#[test]
fn an_exhausted_pool_fails_who_needs_a_page_and_nobody_else() {
    let (engine, _) = engine(10);
    let held = prompt(1, 6 * PAGE_LEN);
    let mut holder = prompted(&engine, "a", &held);
    holder.prefill().unwrap();
    let tokens = prompt(2, 5 * PAGE_LEN);
    let mut late = prompted(&engine, "a", &tokens);
    assert!(matches!(late.prefill(), Err(Error::KvExhausted { .. })));
    assert_eq!(generate(&mut holder, 20).unwrap(), continuation(&held, 20));
    drop(holder);
    assert_eq!(generate(&mut late, 5).unwrap(), continuation(&tokens, 5), "a retry works once there is room");
}

#[test]
fn an_engine_without_pages_or_model_is_refused() {
    let built = Engine::builder().model(Box::new(Toy::new(0, Remote::default()))).build();
    assert!(matches!(built, Err(Error::Argument(_))));
    assert!(matches!(Engine::builder().build(), Err(Error::Argument(_))));
}
