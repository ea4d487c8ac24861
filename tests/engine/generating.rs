//! What a generation gives, and when it ends.

use longhaul::Error;
use longhaul::engine::{FinishReason, GenerateOptions, Sampling};
use longhaul::spec::TokenId;

use crate::toy::{END_TOKEN, MAX_LEN, VOCAB, continuation, engine, greedy, logprob, prompt, prompted, session};

/// A prompt whose greedy continuation has the end token at a place between 3 and 40, and that place.
fn ending_prompt() -> (Vec<TokenId>, usize) {
    (0..)
        .map(|seed| prompt(seed, 10))
        .find_map(|p| Some((continuation(&p, 40).iter().position(|&t| t == END_TOKEN).filter(|&at| at > 3)?, p)))
        .map(|(at, p)| (p, at))
        .unwrap()
}

#[test]
fn greedy_tokens_come_with_their_logprobs_and_usage() {
    let (engine, _) = engine(100);
    let tokens = prompt(1, 150);
    let mut session = prompted(&engine, "a", &tokens);
    let mut generation = session.generate(greedy(30)).unwrap();
    let generated: Vec<_> = generation.by_ref().map(|g| g.unwrap()).collect();
    assert_eq!(generation.finish_reason(), Some(FinishReason::MaxTokens));
    drop(generation);
    let mut context = tokens.clone();
    for (generated, expected) in generated.iter().zip(continuation(&tokens, 30)) {
        assert_eq!(generated.token, expected);
        assert!((generated.logprob - logprob(&context, expected)).abs() < 1e-5);
        context.push(expected);
    }
    assert_eq!((session.tokens(), session.pending()), (context.as_slice(), 1), "the last token is pending");
    let usage = session.usage();
    assert_eq!((usage.prompt_tokens, usage.prefilled_tokens, usage.generated_tokens), (150, 150, 30));
    assert_eq!(usage.token_times.len(), 30);
    assert_eq!(usage.time_to_first_token, Some(usage.token_times[0]));
    assert!(usage.queue_time <= usage.token_times[0] && usage.token_times[29] <= usage.total_time);
    assert!(usage.token_times.is_sorted());
    session.prefill().unwrap();
    assert_eq!((session.usage().cached_tokens, session.usage().prefilled_tokens), (179, 1));
    assert_eq!(session.total_usage().generated_tokens, 30);
}

#[test]
fn scores_are_the_logprobs_of_the_given_tokens() {
    let (engine, _) = engine(100);
    let tokens = prompt(1, 300);
    let mut session = prompted(&engine, "a", &tokens[..20]);
    let scores = session.score(&tokens[20..]).unwrap();
    assert_eq!((scores.len(), session.len(), session.pending()), (280, 300, 0));
    for (i, score) in scores.iter().enumerate() {
        assert!((score - logprob(&tokens[..20 + i], tokens[20 + i])).abs() < 1e-5, "token {i}");
    }
    assert!(session.score(&[]).unwrap().is_empty());
    assert!(matches!(session.score(&[VOCAB as u32]), Err(Error::Vocabulary { .. })));
    assert_eq!(session.len(), 300);
    assert!(matches!(self::session(&engine, "a").score(&[1]), Err(Error::Argument(_))));
}

#[test]
fn end_and_stop_tokens_end_it_unless_it_is_too_early_or_they_are_ignored() {
    let (engine, _) = engine(1_000);
    let (tokens, at) = ending_prompt();
    let expected = continuation(&tokens, 40);
    let run = |options: GenerateOptions| {
        let mut session = prompted(&engine, "a", &tokens);
        let mut generation = session.generate(options).unwrap();
        let generated: Vec<_> = generation.by_ref().map(|g| g.unwrap().token).collect();
        (generated, generation.finish_reason().unwrap())
    };
    let base = GenerateOptions { max_tokens: 40, ..Default::default() };
    assert_eq!(run(base.clone()), (expected[..=at].to_vec(), FinishReason::EndToken));
    assert_eq!(run(GenerateOptions { ignore_end: true, ..base.clone() }), (expected.clone(), FinishReason::MaxTokens));
    let stop = expected[2];
    let first = expected.iter().position(|&t| t == stop).unwrap();
    let (generated, reason) = run(GenerateOptions { stop_tokens: vec![stop], ..base.clone() });
    assert_eq!((generated, reason), (expected[..=first].to_vec(), FinishReason::StopToken(stop)));
    let (generated, _) = run(GenerateOptions { min_tokens: at + 2, ..base });
    assert_eq!(generated[..at], expected[..at]);
    assert!(generated.len() > at + 1 && !generated[..at + 2].contains(&END_TOKEN));
}

#[test]
fn sampling_is_a_function_of_seed_and_context() {
    let (engine, _) = engine(1_000);
    let tokens = prompt(1, 50);
    let run = |seed, skip: usize| {
        let sampling = Sampling { temperature: 1.5, top_p: Some(0.95), seed, ..Default::default() };
        let options = GenerateOptions { sampling, ..greedy(30 - skip) };
        let mut session = prompted(&engine, "a", &tokens);
        let first: Vec<_> = session.generate(options.clone()).unwrap().take(10).map(|g| g.unwrap().token).collect();
        let rest = session.generate(options).unwrap().map(|g| g.unwrap().token);
        first.into_iter().chain(rest).take(30).collect::<Vec<_>>()
    };
    assert_eq!(run(1, 0), run(1, 5), "in two requests, wherever they are cut");
    assert_ne!(run(1, 0), run(2, 0));
}

#[test]
fn it_ends_where_the_models_context_ends() {
    let (engine, _) = engine(MAX_LEN / 16 + 1);
    let mut session = prompted(&engine, "a", &prompt(1, MAX_LEN - 3));
    let mut generation = session.generate(greedy(100)).unwrap();
    assert_eq!(generation.by_ref().count(), 3);
    assert_eq!(generation.finish_reason(), Some(FinishReason::ContextFull));
    drop(generation);
    let full = session.generate(greedy(1)).unwrap_err_or_panic();
    assert!(matches!(full, Error::ContextLength { wanted, limit } if wanted == MAX_LEN + 1 && limit == MAX_LEN));
}

#[test]
fn bad_arguments_are_refused_and_nothing_is_lost() {
    let (engine, _) = engine(10);
    let mut session = session(&engine, "a");
    assert!(matches!(session.generate(greedy(1)), Err(Error::Argument(why)) if why.contains("empty")));
    let bad = session.append_tokens(&[1, VOCAB as u32, 2]);
    assert!(matches!(bad, Err(Error::Vocabulary { token: 97, vocab: 97 })));
    let bad = session.append_tokens(&vec![1; MAX_LEN + 1]);
    assert!(matches!(bad, Err(Error::ContextLength { .. })));
    assert!(session.is_empty());
    session.append_tokens(&[1, 2, 3]).unwrap();
    let with = |sampling| GenerateOptions { sampling, ..greedy(1) };
    for options in [
        greedy(0),
        GenerateOptions { min_tokens: 2, ..greedy(1) },
        GenerateOptions { stop_tokens: vec![97], ..greedy(1) },
        GenerateOptions { stop_strings: vec![String::new()], ..greedy(1) },
        GenerateOptions { stop_strings: vec!["x".into()], ..greedy(1) },
        with(Sampling { temperature: f32::NAN, ..Default::default() }),
        with(Sampling { temperature: -1.0, ..Default::default() }),
        with(Sampling { top_k: Some(0), ..Default::default() }),
        with(Sampling { top_p: Some(0.0), ..Default::default() }),
        with(Sampling { min_p: Some(1.1), ..Default::default() }),
        with(Sampling { repetition_penalty: Some(0.0), ..Default::default() }),
    ] {
        assert!(session.generate(options.clone()).is_err(), "{options:?}");
    }
    assert_eq!(session.generate(greedy(5)).unwrap().count(), 5);
}

#[test]
fn a_dropped_generation_stops_and_leaves_what_was_read() {
    let (engine, remote) = engine(100);
    let tokens = prompt(1, 20);
    let mut session = prompted(&engine, "a", &tokens);
    let read: Vec<_> = session.generate(greedy(1_000)).unwrap().take(7).map(|g| g.unwrap().token).collect();
    assert_eq!(session.tokens(), [tokens.clone(), read].concat());
    let n_steps = remote.batches().len();
    let expected = continuation(session.tokens(), 5);
    let generated: Vec<_> = session.generate(greedy(5)).unwrap().map(|g| g.unwrap().token).collect();
    assert_eq!(generated, expected);
    assert_eq!(remote.batches().len(), n_steps + 5, "nothing ran for the dropped one");
}

/// `Result::unwrap_err` wants `Debug` of what is not there.
trait UnwrapErr {
    fn unwrap_err_or_panic(self) -> Error;
}

impl<T> UnwrapErr for Result<T, Error> {
    fn unwrap_err_or_panic(self) -> Error {
        self.err().expect("an error")
    }
}
