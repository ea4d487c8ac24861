//! Long contexts: nothing is computed twice, nothing is copied early, and no bit shows how a context came to be.

use longhaul::spec::KvDtype;

use crate::tiny::{Drawn, PAGE_LEN, alone, engine, engine_of, generate, prompt, prompted};

#[test]
fn a_shared_prefix_is_not_recomputed_and_changes_no_bit() {
    let engine = engine(200);
    let shared = prompt(1, 4_096);
    let mut first = prompted(&engine, &[shared.as_slice(), &prompt(2, 100)].concat());
    generate(&mut first, 4);
    let tokens = [shared.as_slice(), &prompt(3, 77)].concat();
    let mut second = prompted(&engine, &tokens);
    let drawn = generate(&mut second, 32);
    let usage = second.usage();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.prefilled_tokens), (4_173, 4_096, 77));
    assert_eq!(usage.generated_tokens, 32);
    assert_eq!(drawn, alone(&engine, &tokens, 32));

    // The whole prompt is known: its last token is computed again, for its logits.
    let mut third = prompted(&engine, &tokens);
    assert_eq!(generate(&mut third, 32), drawn);
    assert_eq!((third.usage().cached_tokens, third.usage().prefilled_tokens), (4_172, 1));
}

#[test]
fn a_fork_of_a_long_session_copies_no_page_until_one_writes() {
    for kv in KvDtype::ALL {
        let engine = engine_of(kv, 300);
        let tokens = prompt(1, 8_000 + 3);
        let mut parent = prompted(&engine, &tokens);
        parent.prefill().unwrap();
        let before = engine.stats();
        let mut fork = parent.fork().unwrap();
        let after = engine.stats();
        assert_eq!((after.copied_pages, after.live_pages, after.steps), (0, before.live_pages, before.steps));
        assert_eq!(after.live_pages, tokens.len().div_ceil(PAGE_LEN));

        let branch = |session: &mut longhaul::engine::Session, token| -> Vec<Drawn> {
            session.append_tokens(&[token]).unwrap();
            let drawn = generate(session, 8);
            assert_eq!(session.usage().prefilled_tokens, 1);
            drawn
        };
        let of_fork = branch(&mut fork, 5);
        let stats = engine.stats();
        assert_eq!((stats.copied_pages, stats.live_pages), (1, before.live_pages + 1), "the last page alone");
        let of_parent = branch(&mut parent, 6);
        assert_eq!(engine.stats().copied_pages, 1, "the other one keeps it");
        assert_eq!(of_fork, alone(&engine, &[tokens.as_slice(), &[5]].concat(), 8));
        assert_eq!(of_parent, alone(&engine, &[tokens.as_slice(), &[6]].concat(), 8));
    }
}

#[test]
fn going_back_and_taking_another_way_leaves_no_trace() {
    for kv in KvDtype::ALL {
        let engine = engine_of(kv, 100);
        let tokens = prompt(1, 1_000);
        let mut session = prompted(&engine, &tokens);
        let mark = session.mark();
        let first = generate(&mut session, 100);
        session.rewind(mark).unwrap();
        let other = prompt(2, 150);
        session.append_tokens(&other).unwrap();
        assert_eq!(generate(&mut session, 20), alone(&engine, &[tokens.as_slice(), &other].concat(), 20));
        assert_eq!((session.usage().cached_tokens, session.usage().prefilled_tokens), (1_000, 150));
        session.rewind(mark).unwrap();
        assert_eq!(generate(&mut session, 100), first);
        session.rewind(70).unwrap();
        assert_eq!(generate(&mut session, 20), alone(&engine, &tokens[..70], 20));
        assert_eq!(session.usage().prefilled_tokens, 1, "the token to draw from");
    }
}
