//! What is computed, and what is found.

use longhaul::engine::SessionOptions;
use longhaul::spec::TokenId;

use crate::toy::{PAGE_LEN, continuation, engine, greedy, prompt, prompted, session};

/// Generates one token behind the prompt; returns (cached, prefilled) prompt tokens.
fn cost(engine: &longhaul::engine::Engine, tenant: &str, prompt: &[TokenId]) -> (usize, usize) {
    let mut session = prompted(engine, tenant, prompt);
    let tokens: Vec<_> = session.generate(greedy(1)).unwrap().map(|g| g.unwrap().token).collect();
    assert_eq!(tokens, continuation(prompt, 1));
    assert_eq!(session.usage().prompt_tokens, prompt.len());
    (session.usage().cached_tokens, session.usage().prefilled_tokens)
}

#[test]
fn a_shared_prefix_is_never_recomputed() {
    let (engine, _) = engine(1_000);
    let shared = prompt(1, 4_096 + 7);
    let with = |seed, n| [shared.clone(), prompt(seed, n)].concat();
    assert_eq!(cost(&engine, "a", &with(2, 300)), (0, 4_403));
    assert_eq!(cost(&engine, "a", &with(3, 200)), (4_103, 200), "to the token, behind a finished session");
    let mut live = prompted(&engine, "a", &with(4, 50));
    live.prefill().unwrap();
    assert_eq!(cost(&engine, "a", &with(4, 60)), (4_103 + 50, 10), "and behind a live one");
    assert_eq!(cost(&engine, "a", &with(3, 200)), (4_302, 1), "a fully cached prompt recomputes its last token");
}

#[test]
fn only_the_same_tenant_finds_a_prefix() {
    let (engine, _) = engine(100);
    let tokens = prompt(1, 100);
    assert_eq!(cost(&engine, "a", &tokens), (0, 100));
    assert_eq!(cost(&engine, "b", &tokens), (0, 100), "another tenant: no hit");
    assert_eq!(cost(&engine, "a", &tokens), (99, 1), "the same tenant: hit");
}

#[test]
fn a_session_without_prefix_cache_neither_finds_nor_leaves_anything() {
    let (engine, _) = engine(100);
    let tokens = prompt(1, 100);
    for _ in 0..2 {
        let mut session = engine.session(SessionOptions { prefix_cache: false, ..Default::default() }).unwrap();
        session.append_tokens(&tokens).unwrap();
        session.prefill().unwrap();
        assert_eq!(session.usage().prefilled_tokens, 100);
    }
    assert_eq!(engine.stats().free_pages, 100);
}

#[test]
fn a_fork_copies_no_page_until_one_of_the_two_writes() {
    let (engine, _) = engine(1_000);
    let tokens = prompt(1, 8_003);
    let mut parent = prompted(&engine, "a", &tokens);
    parent.prefill().unwrap();
    let before = engine.stats();
    let mut fork = parent.fork().unwrap();
    let after = engine.stats();
    assert_eq!((after.live_pages, after.copied_pages), (before.live_pages, 0));
    for (session, token) in [(&mut parent, 5), (&mut fork, 6)] {
        session.append_tokens(&[token]).unwrap();
        session.prefill().unwrap();
        assert_eq!(session.usage().prefilled_tokens, 1);
    }
    assert_eq!(engine.stats().copied_pages, 1, "only the last page, by the first to write");
    for (mut session, token) in [(parent, 5), (fork, 6)] {
        let context = [tokens.as_slice(), &[token]].concat();
        let generated: Vec<_> = session.generate(greedy(20)).unwrap().map(|g| g.unwrap().token).collect();
        assert_eq!(generated, continuation(&context, 20));
    }
}

#[test]
fn siblings_that_start_together_compute_their_prefix_once() {
    let (engine, _) = engine(1_000);
    let shared = prompt(1, 2_000);
    std::thread::scope(|scope| {
        for i in 0..8 {
            let (engine, shared) = (&engine, &shared);
            scope.spawn(move || cost(engine, "a", &[shared.as_slice(), &prompt(10 + i, 30)].concat()));
        }
    });
    let computed = engine.stats().prefilled_tokens;
    assert!(computed < 2_000 + 8 * (30 + PAGE_LEN as u64), "{computed} tokens computed");
}

#[test]
fn rewinding_and_going_on_computes_only_what_is_new() {
    let (engine, _) = engine(100);
    let tokens = prompt(1, 200);
    let mut session = prompted(&engine, "a", &tokens);
    session.prefill().unwrap();
    let mark = session.mark();
    session.append_tokens(&prompt(2, 50)).unwrap();
    session.prefill().unwrap();
    session.rewind(mark).unwrap();
    session.append_tokens(&prompt(3, 5)).unwrap();
    session.prefill().unwrap();
    assert_eq!((session.usage().cached_tokens, session.usage().prefilled_tokens), (200, 5));
    session.rewind(mark).unwrap();
    session.append_tokens(&prompt(2, 50)).unwrap();
    session.prefill().unwrap();
    assert_eq!(session.usage().prefilled_tokens, 0, "the abandoned branch is still there");
    let expected = continuation(session.tokens(), 8);
    let generated: Vec<_> = session.generate(greedy(8)).unwrap().map(|g| g.unwrap().token).collect();
    assert_eq!(generated, expected);
    assert!(session.rewind(10_000).is_err());
}

#[test]
fn retained_prefixes_give_way_and_live_sessions_do_not() {
    let (engine, _) = engine(20);
    let mut live = prompted(&engine, "a", &prompt(1, 10 * PAGE_LEN));
    live.prefill().unwrap();
    cost(&engine, "a", &prompt(2, 5 * PAGE_LEN));
    cost(&engine, "b", &prompt(3, 4 * PAGE_LEN));
    assert_eq!(engine.stats().retained_pages, 9);
    assert_eq!(
        cost(&engine, "c", &prompt(4, 3 * PAGE_LEN)),
        (0, 3 * PAGE_LEN),
        "takes the free page and two of the oldest"
    );
    assert_eq!(engine.stats().evicted_pages, 2);
    assert_eq!(cost(&engine, "b", &prompt(3, 4 * PAGE_LEN)).1, 1, "the younger prefix is whole");
    assert_eq!(cost(&engine, "a", &prompt(1, 10 * PAGE_LEN)).1, 1, "so is the live session's");
    let expected = continuation(live.tokens(), 3);
    let generated: Vec<_> = live.generate(greedy(3)).unwrap().map(|g| g.unwrap().token).collect();
    assert_eq!(generated, expected);
}

#[test]
fn memory_is_back_to_the_start_when_all_is_dropped() {
    let (engine, _) = engine(50);
    let mut a = prompted(&engine, "a", &prompt(1, 100));
    a.prefill().unwrap();
    let b = a.fork().unwrap();
    drop((a, b, session(&engine, "c")));
    let stats = engine.stats();
    assert_eq!((stats.live_sessions, stats.live_pages, stats.retained_pages), (0, 0, 7));
    engine.drop_retained().unwrap();
    assert_eq!(engine.stats().free_pages, 50);
}
