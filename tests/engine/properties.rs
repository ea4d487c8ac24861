//! Whatever a set of sessions goes through, each gives what a fresh computation of its tokens gives.

use longhaul::Error;
use longhaul::engine::Session;
use longhaul::spec::TokenId;
use proptest::prelude::*;

use crate::toy::{continuation, engine, greedy, logprob, session};

#[derive(Debug, Clone)]
enum Op {
    Open(bool),
    Append(usize, Vec<TokenId>),
    Prefill(usize),
    Generate(usize, usize, usize),
    /// All at once.
    GenerateAll(usize, usize),
    Score(usize, Vec<TokenId>),
    Fork(usize),
    Rewind(usize, usize),
    Drop(usize),
    DropRetained,
}

/// Few tokens, so that contexts agree for a while and part inside pages.
fn tokens(max_len: usize) -> impl Strategy<Value = Vec<TokenId>> {
    prop::collection::vec(0u32..2, 1..max_len)
}

fn op() -> impl Strategy<Value = Op> {
    let at = any::<usize>();
    prop_oneof![
        2 => any::<bool>().prop_map(Op::Open),
        6 => (at, tokens(60)).prop_map(|(at, tokens)| Op::Append(at, tokens)),
        4 => at.prop_map(Op::Prefill),
        4 => (at, 1usize..40, 0usize..60).prop_map(|(at, n, read)| Op::Generate(at, n, read)),
        2 => (1usize..40, 0usize..60).prop_map(|(n, read)| Op::GenerateAll(n, read)),
        2 => (at, tokens(30)).prop_map(|(at, tokens)| Op::Score(at, tokens)),
        2 => at.prop_map(Op::Fork),
        3 => (at, any::<usize>()).prop_map(|(at, len)| Op::Rewind(at, len)),
        2 => at.prop_map(Op::Drop),
        1 => Just(Op::DropRetained),
    ]
}

/// The session, and the tokens that it must have.
type Pair = (Session, Vec<TokenId>);

fn exhausted<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::KvExhausted { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Starts a generation of `n` tokens on each session that has a context, then reads up to `read` of each.
fn generate(pairs: &mut [Pair], n: usize, read: usize) {
    let started = pairs.iter_mut().filter(|(_, expected)| !expected.is_empty());
    let running: Vec<_> = started.map(|(s, expected)| (s.generate(greedy(n)).unwrap(), expected)).collect();
    for (generation, expected) in running {
        let truth = continuation(expected, n);
        let mut n_read = 0;
        for generated in generation.take(read) {
            let Some(generated) = exhausted(generated) else { break };
            assert_eq!(generated.token, truth[n_read], "token {n_read} behind {expected:?}");
            n_read += 1;
        }
        expected.extend_from_slice(&truth[..n_read]);
    }
}

fn score((session, expected): &mut Pair, tokens: &[TokenId]) {
    if expected.is_empty() {
        return;
    }
    let Some(scores) = exhausted(session.score(tokens)) else { return };
    for (score, &token) in scores.into_iter().zip(tokens) {
        assert!((score - logprob(expected, token)).abs() < 1e-5);
        expected.push(token);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_gives_what_a_fresh_computation_gives(ops in prop::collection::vec(op(), 1..50), n_pages in 4usize..60) {
        let (engine, _) = engine(n_pages);
        let mut pairs: Vec<Pair> = Vec::new();
        for op in ops {
            let n = pairs.len();
            match op {
                Op::Open(tenant) => pairs.push((session(&engine, if tenant { "a" } else { "b" }), Vec::new())),
                Op::DropRetained => engine.drop_retained().unwrap(),
                _ if n == 0 => {}
                Op::Append(at, tokens) => {
                    let (session, expected) = &mut pairs[at % n];
                    session.append_tokens(&tokens).unwrap();
                    expected.extend(tokens);
                }
                Op::Prefill(at) => { exhausted(pairs[at % n].0.prefill()); }
                Op::Generate(at, n_tokens, read) => generate(&mut pairs[at % n..][..1], n_tokens, read),
                Op::GenerateAll(n_tokens, read) => generate(&mut pairs, n_tokens, read),
                Op::Score(at, tokens) => score(&mut pairs[at % n], &tokens),
                Op::Fork(at) => {
                    let (session, expected) = &pairs[at % n];
                    let fork = (session.fork().unwrap(), expected.clone());
                    pairs.push(fork);
                }
                Op::Rewind(at, len) => {
                    let (session, expected) = &mut pairs[at % n];
                    let len = len % (expected.len() + 1);
                    session.rewind(len).unwrap();
                    expected.truncate(len);
                }
                Op::Drop(at) => { pairs.swap_remove(at % n); }
            }
            for (session, expected) in &pairs {
                prop_assert_eq!(session.tokens(), expected);
            }
        }
        pairs.clear();
        let stats = engine.stats();
        prop_assert_eq!((stats.live_pages, stats.live_sessions, stats.running_requests), (0, 0, 0));
        engine.drop_retained().unwrap();
        prop_assert_eq!(engine.stats().free_pages, n_pages);
        engine.shutdown().unwrap();
    }
}
