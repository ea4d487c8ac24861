//! Text out of a generation, with a tokenizer of 97 two-letter words.

use longhaul::engine::{Engine, FinishReason, GenerateOptions};
use longhaul::spec::TokenId;
use longhaul::text::{SpecialTokens, TextModel};

use crate::toy::{Remote, Toy, VOCAB, continuation, greedy, prompt, prompted};

fn word(token: TokenId) -> String {
    let letter = |i: u32| char::from(b'a' + i as u8);
    format!("{}{}", letter(token / 10), letter(10 + token % 10))
}

fn words(tokens: &[TokenId]) -> String {
    tokens.iter().map(|&t| word(t)).collect()
}

fn engine() -> Engine {
    engine_with_words(VOCAB as u32)
}

/// An engine whose tokenizer has the first `n_words` of the model's tokens.
fn engine_with_words(n_words: u32) -> Engine {
    let vocab: serde_json::Map<String, serde_json::Value> = (0..n_words).map(|t| (word(t), t.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[a-z]{2}"}, "behavior": "Isolated", "invert": false},
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "ak"}
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let text = TextModel::from_dir(dir.path()).unwrap().unwrap();
    Engine::builder().model(Box::new(Toy::new(500, Remote::default()))).text(text).build().unwrap()
}

#[test]
fn text_comes_with_the_tokens() {
    let engine = engine();
    let tokens = prompt(1, 10);
    let mut session = engine.session(Default::default()).unwrap();
    assert_eq!(session.append_text(&words(&tokens), SpecialTokens::AsText).unwrap(), 10);
    assert_eq!(session.tokens(), tokens);
    let (text, reason) = session.generate(greedy(20)).unwrap().into_text().unwrap();
    assert_eq!((text, reason), (words(&continuation(&tokens, 20)), FinishReason::MaxTokens));
}

#[test]
fn a_stop_string_split_across_tokens_is_not_shown() {
    let engine = engine();
    let tokens = prompt(1, 10);
    let expected = continuation(&tokens, 20);
    let text = words(&expected);
    // From the middle of the sixth word to the middle of the eighth.
    let stop = text[11..15].to_string();
    let shown = &text[..text.find(&stop).unwrap()];
    let n_tokens = (shown.len() + stop.len()).div_ceil(2);
    let options = GenerateOptions { stop_strings: vec!["never".into(), stop.clone()], ..greedy(20) };
    let mut session = prompted(&engine, "a", &tokens);
    let (text, reason) = session.generate(options.clone()).unwrap().into_text().unwrap();
    assert_eq!((text.as_str(), reason), (shown, FinishReason::StopString(stop)));
    assert_eq!(session.tokens()[10..], expected[..n_tokens], "its tokens stand in the context");
    let options = GenerateOptions { min_tokens: n_tokens + 1, ..options };
    session.rewind(10).unwrap();
    let (text, reason) = session.generate(options).unwrap().into_text().unwrap();
    assert_eq!((text, reason), (words(&expected), FinishReason::MaxTokens), "too early, it is text like any other");
}

#[test]
fn what_might_have_become_a_stop_string_is_shown_at_the_end() {
    let engine = engine();
    let tokens = prompt(1, 10);
    let text = words(&continuation(&tokens, 5));
    let stop = text[text.len() - 1..].to_string() + "!";
    let mut session = prompted(&engine, "a", &tokens);
    let options = GenerateOptions { stop_strings: vec![stop], ..greedy(5) };
    assert_eq!(session.generate(options).unwrap().into_text().unwrap(), (text, FinishReason::MaxTokens));
}

#[test]
fn a_token_that_only_pads_the_embedding_has_no_text() {
    let tokens = prompt(1, 10);
    let expected = continuation(&tokens, 40);
    let n_words = 60;
    let known: Vec<TokenId> = expected.iter().copied().filter(|&token| token < n_words).collect();
    assert!(!known.is_empty() && known.len() < expected.len(), "the toy draws both");
    let engine = engine_with_words(n_words);
    for stop_strings in [vec![], vec!["never".into()]] {
        let mut session = prompted(&engine, "a", &tokens);
        let options = GenerateOptions { stop_strings, ..greedy(40) };
        let (text, reason) = session.generate(options).unwrap().into_text().unwrap();
        assert_eq!((text, reason), (words(&known), FinishReason::MaxTokens));
        assert_eq!(session.tokens()[10..], expected);
    }
}
