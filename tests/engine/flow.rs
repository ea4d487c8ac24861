//! Many sessions at once: who moves, who waits, who stops.

use std::sync::{Barrier, mpsc};
use std::time::Duration;

use longhaul::Error;
use longhaul::engine::{FinishReason, GenerateOptions};

use crate::toy::{Fault, Remote, continuation, engine, greedy, prompt, prompted};

/// Holds every step until the sender is dropped or has sent for it.
fn gate(remote: &Remote) -> mpsc::Sender<()> {
    let (open, closed) = mpsc::channel();
    remote.on_step(move |_| {
        let _ = closed.recv();
        Fault::None
    });
    open
}

#[test]
fn two_hundred_sessions_from_several_threads() {
    let (engine, remote) = engine(4_000);
    let (open, all_submitted) = (gate(&remote), Barrier::new(9));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (engine, all_submitted) = (engine.clone(), &all_submitted);
            scope.spawn(move || {
                let tenant = ["a", "b"][thread % 2];
                let prompts: Vec<_> = (0..25).map(|i| prompt((thread * 100 + i) as u64, 5 + i)).collect();
                let mut sessions: Vec<_> = prompts.iter().map(|p| prompted(&engine, tenant, p)).collect();
                let running: Vec<_> = sessions.iter_mut().map(|s| s.generate(greedy(60)).unwrap()).collect();
                all_submitted.wait();
                for (generation, prompt) in running.into_iter().zip(&prompts) {
                    let tokens: Vec<_> = generation.map(|g| g.unwrap().token).collect();
                    assert_eq!(tokens, continuation(prompt, 60));
                }
            });
        }
        all_submitted.wait();
        drop(open);
    });
    assert!(remote.batches().iter().any(|batch| batch.starts.len() > 30), "rows of many sessions shared a step");
    let stats = engine.stats();
    assert_eq!((stats.live_sessions, stats.live_pages, stats.running_requests), (0, 0, 0));
    assert_eq!(stats.decoded_tokens, 200 * 59);
}

#[test]
fn decoding_sessions_keep_moving_beside_a_long_prompt() {
    let (engine, remote) = engine(2_000);
    let open = gate(&remote);
    let mut quick = prompted(&engine, "a", &prompt(1, 5));
    let mut slow = prompted(&engine, "a", &prompt(2, 5_000));
    let quick_generation = quick.generate(greedy(50)).unwrap();
    let slow_generation = slow.generate(greedy(1)).unwrap();
    drop(open);
    assert_eq!((quick_generation.count(), slow_generation.count()), (50, 1));
    let batches = remote.batches();
    let mixed: Vec<_> =
        batches.iter().filter(|b| b.starts.len() == 2 && b.row_offsets[1] == 1 && b.starts[0] >= 5).collect();
    assert!(mixed.len() >= 48, "the prompt is cut so that the other decodes beside it: {} steps", mixed.len());
    assert!(mixed.iter().all(|batch| batch.n_tokens() <= 64 / 4 + 1), "a quarter of the step for prompts");
    assert!(batches.iter().any(|batch| batch.n_tokens() == 64), "all of it when nobody decodes");
}

#[test]
fn prompts_share_a_step_evenly_and_leave_nothing_unused() {
    let (engine, remote) = engine(2_000);
    let open = gate(&remote);
    let prompts = [prompt(1, 3_000), prompt(2, 10), prompt(3, 2_000)];
    let mut sessions: Vec<_> = prompts.iter().map(|p| prompted(&engine, "a", p)).collect();
    let running: Vec<_> = sessions.iter_mut().map(|s| s.generate(greedy(1)).unwrap()).collect();
    drop(open);
    assert!(running.into_iter().all(|generation| generation.count() == 1));
    let batches = remote.batches();
    let n_total: usize = batches.iter().map(|batch| batch.n_tokens()).sum();
    assert_eq!(n_total, 5_010);
    assert!(batches.len() <= 5_010_usize.div_ceil(64) + 3, "{} steps are not full", batches.len());
    let even = batches.iter().filter(|batch| batch.row_offsets == [0, 32, 64]).count();
    assert!(even > 50, "two long prompts advance alike: {even} steps");
}

#[test]
fn scores_share_the_logits_of_a_step() {
    let (engine, remote) = engine(2_000);
    let open = gate(&remote);
    let prompts = [1, 2, 3, 4].map(|seed| prompt(seed, 3_000 + 16 * seed as usize));
    let mut sessions = prompts.each_ref().map(|p| prompted(&engine, "a", &p[..1]));
    let together = Barrier::new(5);
    std::thread::scope(|scope| {
        for (session, tokens) in sessions.iter_mut().zip(&prompts) {
            scope.spawn(|| {
                together.wait();
                assert_eq!(session.score(&tokens[1..]).unwrap().len(), tokens.len() - 1);
            });
        }
        together.wait();
        // A step at a time until all are there, slowly enough for a thread that comes late.
        while engine.stats().running_requests < 4 && remote.batches().len() < 60 {
            open.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(open);
    });
    // A step of the toy has 48 rows of logits; a page for each would leave nothing to the longest. All 12,000 rows are
    // 250 such steps, of which those before the last score came are not counted.
    let all = remote.batches().iter().filter(|batch| batch.starts.len() == 4).count();
    assert!(all > 20, "four scores advance together: {all} steps");
}

#[test]
fn a_score_beside_prompts_has_the_logits_that_they_leave() {
    let (engine, remote) = engine(2_000);
    let open = gate(&remote);
    let mut reader = prompted(&engine, "a", &prompt(1, 6_000));
    let mut scored = prompted(&engine, "a", &prompt(2, 1));
    let tokens = prompt(3, 3_000);
    std::thread::scope(|scope| {
        scope.spawn(|| reader.generate(greedy(1)).unwrap().count());
        scope.spawn(|| scored.score(&tokens).unwrap());
        while engine.stats().running_requests < 2 && remote.batches().len() < 40 {
            open.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(open);
    });
    // Half of a step's 64 rows are the score's, and it wants a row of logits for each.
    let full = remote.batches().iter().filter(|batch| batch.starts.len() == 2 && batch.logit_rows.len() == 32).count();
    assert!(full > 5, "{full} steps");
}

#[test]
fn a_reader_that_stops_reading_stops_its_own_session_only() {
    let (engine, _) = engine(1_000);
    let (lazy_prompt, eager_prompt) = (prompt(1, 10), prompt(2, 10));
    let mut lazy = prompted(&engine, "a", &lazy_prompt);
    let mut eager = prompted(&engine, "a", &eager_prompt);
    let mut lazy_generation = lazy.generate(greedy(500)).unwrap();
    let first = lazy_generation.next().unwrap().unwrap().token;
    let tokens: Vec<_> = eager.generate(greedy(2_000)).unwrap().map(|g| g.unwrap().token).collect();
    assert_eq!(tokens, continuation(&eager_prompt, 2_000));
    let decoded = engine.stats().decoded_tokens;
    assert!(decoded < 2_000 + 70, "{decoded} tokens decoded: the lazy one ran ahead");
    let rest = lazy_generation.map(|g| g.unwrap().token);
    let tokens: Vec<_> = std::iter::once(first).chain(rest).collect();
    assert_eq!(tokens, continuation(&lazy_prompt, 500), "and goes on when it is read again");
}

#[test]
fn cancelling_ends_the_request_and_leaves_the_session_usable() {
    let (engine, _) = engine(1_000);
    let mut session = prompted(&engine, "a", &prompt(1, 10));
    let canceller = session.canceller();
    canceller.cancel(); // nothing runs, nothing happens
    let mut generation = session.generate(greedy(10_000)).unwrap();
    let mut tokens = Vec::new();
    let error = loop {
        match generation.next().expect("an error ends it") {
            Ok(generated) => tokens.push(generated.token),
            Err(error) => break error,
        }
        if tokens.len() == 10 {
            let canceller = canceller.clone();
            std::thread::spawn(move || canceller.cancel());
        }
    };
    assert!(matches!(error, Error::Cancelled));
    assert!(generation.next().is_none());
    assert_eq!(generation.finish_reason(), Some(FinishReason::Cancelled));
    drop(generation);
    assert_eq!(session.len(), 10 + tokens.len(), "what was read is kept");
    let expected = continuation(session.tokens(), 5);
    assert_eq!(session.generate(greedy(5)).unwrap().map(|g| g.unwrap().token).collect::<Vec<_>>(), expected);
}

#[test]
fn cancelling_a_prefill_keeps_what_is_computed() {
    let (engine, remote) = engine(1_000);
    let mut session = prompted(&engine, "a", &prompt(1, 5_000));
    let canceller = session.canceller();
    let mut n_steps = 0;
    remote.on_step(move |_| {
        n_steps += 1;
        if n_steps == 3 {
            canceller.cancel();
        }
        Fault::None
    });
    assert!(matches!(session.prefill(), Err(Error::Cancelled)));
    assert_eq!(session.pending(), 5_000 - 3 * 64);
    session.prefill().unwrap();
    assert_eq!(session.usage().cached_tokens, 3 * 64);
}

#[test]
fn a_deadline_ends_the_request_and_leaves_the_session_usable() {
    let (engine, _) = engine(1_000);
    let mut session = prompted(&engine, "a", &prompt(1, 10));
    let deadline = Some(Duration::from_millis(20));
    let mut generation = session.generate(GenerateOptions { deadline, ..greedy(10_000) }).unwrap();
    // Nobody reads, so it pauses, and the deadline passes while the engine has nothing else to do.
    std::thread::sleep(Duration::from_millis(40));
    let error = generation.by_ref().find_map(Result::err).unwrap();
    assert!(matches!(error, Error::Deadline));
    assert_eq!(generation.finish_reason(), Some(FinishReason::Deadline));
    drop(generation);
    let expected = continuation(session.tokens(), 5);
    assert_eq!(session.generate(greedy(5)).unwrap().map(|g| g.unwrap().token).collect::<Vec<_>>(), expected);
}

#[test]
fn a_deadline_of_nothing_still_answers() {
    let (engine, _) = engine(100);
    let mut session = prompted(&engine, "a", &prompt(1, 10));
    let options = GenerateOptions { deadline: Some(Duration::ZERO), ..greedy(5) };
    assert!(matches!(session.generate(options).unwrap().finish(), Err(Error::Deadline)));
    let options = GenerateOptions { deadline: Some(Duration::MAX), ..greedy(5) };
    assert_eq!(session.generate(options).unwrap().finish().unwrap(), FinishReason::MaxTokens);
}

#[test]
fn shutting_down_ends_open_requests_and_later_ones() {
    let (engine, remote) = engine(1_000);
    let open = gate(&remote);
    let tokens = prompt(1, 10);
    let mut session = prompted(&engine, "a", &tokens);
    let generation = session.generate(greedy(10)).unwrap();
    let other = engine.clone();
    let stopping = std::thread::spawn(move || other.shutdown());
    drop(open);
    match generation.finish() {
        Err(Error::ShutDown) | Ok(FinishReason::MaxTokens) => {}
        other => panic!("{other:?}"),
    }
    stopping.join().unwrap().unwrap();
    assert_eq!(session.tokens()[..10], tokens, "the context is given back");
    assert!(matches!(session.prefill(), Err(Error::ShutDown)));
    assert!(matches!(engine.session(Default::default()), Err(Error::ShutDown)));
    drop(session);
    assert_eq!(engine.stats().live_pages, 0);
    engine.shutdown().unwrap();
}

#[test]
fn a_session_outlives_the_engine_handle() {
    let (engine, _) = engine(100);
    let tokens = prompt(1, 10);
    let mut session = prompted(&engine, "a", &tokens);
    drop(engine);
    let generated: Vec<_> = session.generate(greedy(3)).unwrap().map(|g| g.unwrap().token).collect();
    assert_eq!(generated, continuation(&tokens, 3));
}

#[test]
fn handles_go_where_they_are_needed() {
    fn sent<T: Send>() {}
    fn shared<T: Send + Sync>() {}
    sent::<longhaul::engine::Session>();
    sent::<longhaul::engine::Generation<'_>>();
    shared::<longhaul::engine::Engine>();
    shared::<longhaul::engine::Canceller>();
}
