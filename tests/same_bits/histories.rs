//! However a prompt came into its pages, its logits are those of the plain run.

use longhaul::spec::{KvDtype, WeightDtype};
use proptest::prelude::*;

use crate::common::{backends, open};
use crate::contexts::Contexts;
use crate::tiny::tiny;
use crate::{MAX_STEP_TOKENS, load, plain, prompt};

/// Prompts in one model.
const N_SEQS: usize = 3;

/// Something that happens to the sequences of a model.
#[derive(Debug, Clone)]
enum Event {
    /// A step, and how many tokens each sequence appends.
    Step([usize; N_SEQS]),
    /// A sequence forgets its last tokens, and will compute them again.
    Rewind { seq: usize, n_tokens: usize },
    /// A page moves elsewhere, by a copy or by way of bytes.
    Relocate { seq: usize, page_idx: usize, as_bytes: bool },
    /// A sequence starts over from another's prefix.
    Fork { from: usize, to: usize },
}

fn event() -> impl Strategy<Value = Event> {
    // Nothing, decode rows, chunks; MAX_STEP_TOKENS holds three of the largest.
    let n_tokens = || prop_oneof![Just(0), Just(1), Just(1), 2..20usize, 20..=130usize];
    let seq = 0..N_SEQS;
    prop_oneof![
        6 => [n_tokens(), n_tokens(), n_tokens()].prop_map(Event::Step),
        1 => (seq.clone(), 1..300usize).prop_map(|(seq, n_tokens)| Event::Rewind { seq, n_tokens }),
        2 => (seq.clone(), 0..2usize, any::<bool>())
            .prop_map(|(seq, page_idx, as_bytes)| Event::Relocate { seq, page_idx, as_bytes }),
        1 => (seq.clone(), seq).prop_map(|(from, to)| Event::Fork { from, to }),
    ]
}

/// `PROPTEST_CASES`, or a number that takes seconds.
fn n_cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: n_cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_history_changes_a_bit(
        family in 0..5usize,
        weights in prop::sample::select(vec![None, Some(WeightDtype::INT8), Some(WeightDtype::Int4)]),
        kv in prop::sample::select(KvDtype::ALL.to_vec()),
        n_threads in 1..=3usize,
        salt in 0..1000usize,
        lengths in [200..400usize, 200..400usize, 1..300usize],
        // Less than a page, or one and more.
        n_common in prop_oneof![0..60usize, 256..390usize],
        events in prop::collection::vec(event(), 0..12),
    ) {
        let config = &tiny()[family];
        for backend in backends() {
            let table = backend.caps().name.strip_prefix("cpu/").unwrap();
            // Prompts begin alike, for forks.
            let prompts = std::array::from_fn::<_, N_SEQS, _>(|i| {
                let mut tokens = prompt(config, lengths[i], i as u32);
                let n_common = n_common.min(lengths[i]);
                tokens[..n_common].copy_from_slice(&prompt(config, n_common, 9));
                let expected = plain(&mut *load(&*backend, config, weights, kv), &tokens);
                (tokens, expected)
            });
            let model = load(&*open(table, n_threads), config, weights, kv);
            let mut contexts = Contexts::new(model, salt, &prompts);
            // After the events, whatever is left.
            let rest = std::iter::repeat(&Event::Step([MAX_STEP_TOKENS / N_SEQS; N_SEQS]));
            for event in events.iter().chain(rest) {
                match *event {
                    Event::Step(n_tokens) => prop_assert_eq!(contexts.step(&n_tokens), None, "{}: {:?}", table, event),
                    Event::Rewind { seq, n_tokens } => contexts.rewind(seq, n_tokens),
                    Event::Relocate { seq, page_idx, as_bytes } => contexts.relocate(seq, page_idx, as_bytes),
                    Event::Fork { from, to } => contexts.fork(from, to),
                }
                if contexts.done() {
                    break;
                }
            }
        }
    }
}
