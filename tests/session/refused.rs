//! Bad input to sessions on the real backend: one typed error each, and what was there before goes on.

use longhaul::Error;
use longhaul::dtype::Dtype;
use longhaul::engine::{Engine, SessionOptions};
use longhaul::spec::PageId;
use longhaul::spec::synthetic::Preset;

use crate::tiny::{MAX_LEN, PAGE_LEN, alone, config, engine, generate, greedy, model, prompt, prompted};

#[test]
fn tokens_that_do_not_exist_and_contexts_that_do_not_fit() {
    let engine = engine(10);
    let vocab = config().vocab;
    let mut session = engine.session(SessionOptions::default()).unwrap();
    assert!(matches!(session.generate(greedy(1)), Err(Error::Argument(why)) if why.contains("prompt is empty")));
    assert!(matches!(session.score(&[1]), Err(Error::Argument(_))));
    session.prefill().unwrap();

    let tokens = prompt(1, 50);
    session.append_tokens(&tokens).unwrap();
    for token in [vocab as u32, u32::MAX] {
        let error = session.append_tokens(&[1, token, 2]).unwrap_err();
        assert!(matches!(error, Error::Vocabulary { token: t, vocab: v } if (t, v) == (token, vocab)), "{error}");
        assert!(matches!(session.score(&[token]), Err(Error::Vocabulary { .. })));
    }
    let error = session.append_tokens(&prompt(2, MAX_LEN)).unwrap_err();
    assert!(matches!(error, Error::ContextLength { wanted, limit: MAX_LEN } if wanted == MAX_LEN + 50), "{error}");
    assert!(session.rewind(51).is_err());
    assert_eq!(session.tokens(), tokens, "nothing of it was appended");
    assert_eq!(generate(&mut session, 5), alone(&engine, &tokens, 5));
}

#[test]
fn a_kv_budget_smaller_than_a_session_fails_that_session_alone() {
    let engine = engine(6);
    let small = prompt(1, 2 * PAGE_LEN - 20);
    let mut holder = prompted(&engine, &small);
    holder.prefill().unwrap();
    let large = prompt(2, 5 * PAGE_LEN);
    let mut session = prompted(&engine, &large);
    let error = session.generate(greedy(1)).unwrap().finish().unwrap_err();
    assert!(matches!(error, Error::KvExhausted { total: 6, .. }), "{error}");
    assert_eq!((session.tokens(), engine.stats().live_pages), (large.as_slice(), 2), "nothing lost, nothing held");
    let drawn = generate(&mut holder, 10);
    session.rewind(3 * PAGE_LEN).unwrap();
    let of_rest = generate(&mut session, 10);
    drop((session, holder));
    assert_eq!(drawn, alone(&engine, &small, 10));
    assert_eq!(of_rest, alone(&engine, &large[..3 * PAGE_LEN], 10));
}

#[test]
fn a_kv_budget_smaller_than_a_page_is_refused_when_the_engine_is_built() {
    let built = Engine::builder().synthetic(Preset::SmolLm2_135m, 1).kv_budget_bytes(1_000).build();
    assert!(matches!(built, Err(Error::Argument(why)) if why.contains("1000 bytes") && why.contains("one page")));
}

/// What a page held before it was handed out never reaches a result, NaN included.
#[test]
fn a_recycled_page_full_of_nan_changes_nothing() {
    let tokens = prompt(1, 300);
    let clean = alone(&engine(10), &tokens, 40);
    let mut model = model(10);
    let pages = model.kv();
    let nan: Vec<u8> = half::bf16::NAN.to_le_bytes().repeat(pages.page_bytes() / Dtype::Bf16.size_bytes());
    for page in 0..10 {
        pages.import_page(PageId(page), &nan).unwrap();
    }
    let engine = Engine::builder().model(model).build().unwrap();
    assert_eq!(alone(&engine, &tokens, 40), clean);
}
