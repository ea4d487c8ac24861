//! What the page cache promises, over the memory of a [`Rig`].

mod rig;

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::spec::TokenId;
use rig::{PAGE_LEN, Rig};

#[derive(Debug, Clone)]
enum Op {
    Open(Option<&'static str>),
    Append(usize, Vec<TokenId>),
    /// Two contexts in one step.
    AppendBoth([(usize, Vec<TokenId>); 2]),
    Fork(usize),
    Rewind(usize, usize),
    Forget(usize, usize),
    Close(usize),
    EvictAll,
}

fn op() -> impl Strategy<Value = Op> {
    let tenant = prop_oneof![Just(None), Just(Some("a")), Just(Some("a")), Just(Some("b"))];
    let append = || (any::<usize>(), prop::collection::vec(0u32..2, 1..14));
    prop_oneof![
        3 => tenant.prop_map(Op::Open),
        6 => append().prop_map(|(at, more)| Op::Append(at, more)),
        4 => [append(), append()].prop_map(Op::AppendBoth),
        2 => any::<usize>().prop_map(Op::Fork),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(at, len)| Op::Rewind(at, len)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(at, len)| Op::Forget(at, len)),
        3 => any::<usize>().prop_map(Op::Close),
        1 => Just(Op::EvictAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_interleavings_hold_the_invariants(ops in prop::collection::vec(op(), 1..60), n_pages in 1usize..16) {
        let mut rig = Rig::new(n_pages);
        for op in ops {
            let n = rig.contexts.len();
            match op {
                Op::Open(tenant) => { rig.open(tenant); }
                Op::EvictAll => { rig.cache.evict_all(); }
                _ if n == 0 => {}
                Op::Append(at, more) => {
                    let live = rig.cache.live_pages();
                    if let Err(e) = rig.append(at % n, &more) {
                        let exhausted = matches!(e, Error::KvExhausted { .. });
                        prop_assert!(exhausted);
                        prop_assert!(rig.cache.live_pages() <= live + 1);
                    }
                }
                Op::AppendBoth([(a, _), (b, _)]) if a % n == b % n => {}
                Op::AppendBoth(both) => {
                    let computed = both.each_ref().map(|(at, more)| rig.compute(at % n, more).is_ok());
                    for ((at, _), computed) in both.iter().zip(computed) {
                        if computed {
                            rig.commit(at % n);
                        }
                    }
                }
                Op::Fork(at) => { rig.fork(at % n); }
                Op::Rewind(at, len) => { let len = len % (rig.contexts[at % n].tokens.len() + 1); rig.rewind(at % n, len); }
                Op::Forget(at, len) => {
                    let context = &mut rig.contexts[at % n];
                    context.tokens.truncate(len % (context.tokens.len() + 1));
                    rig.cache.forget(&mut context.table, context.tokens.len());
                    context.tokens.truncate(context.table.len());
                }
                Op::Close(at) => rig.close(at % n),
            }
            rig.audit();
        }
        while !rig.contexts.is_empty() {
            rig.close(0);
        }
        rig.audit();
        prop_assert_eq!(rig.cache.live_pages(), 0);
        rig.cache.evict_all();
        prop_assert_eq!(rig.cache.free_pages(), n_pages);
        prop_assert_eq!(rig.cache.index.n_tenants(), 0);
    }
}

fn run(range: std::ops::Range<u32>) -> Vec<TokenId> {
    range.collect()
}

#[test]
fn a_shared_prefix_is_found_to_the_token() {
    let mut rig = Rig::new(64);
    let first = rig.open(Some("a"));
    assert_eq!(rig.append(first, &run(0..30)).unwrap(), 30);
    let shares_29 = [run(0..29), vec![99; 5]].concat();
    let second = rig.open(Some("a"));
    assert_eq!(rig.append(second, &shares_29).unwrap(), 5, "the live session's partly filled tail is found");
    rig.close(first);
    let third = rig.open(Some("a"));
    assert_eq!(rig.append(third, &shares_29).unwrap(), 0, "a finished prefix is found");
    rig.audit();
}

#[test]
fn only_the_same_tenant_finds_a_prefix() {
    let mut rig = Rig::new(64);
    for (tenant, computed) in [(Some("a"), 20), (Some("b"), 20), (None, 20), (Some("a"), 0), (Some("b"), 0), (None, 20)]
    {
        let at = rig.open(tenant);
        assert_eq!(rig.append(at, &run(0..20)).unwrap(), computed, "{tenant:?}");
        rig.close(at);
    }
}

#[test]
fn a_fork_copies_nothing_until_one_of_the_two_writes() {
    let mut rig = Rig::new(64);
    let parent = rig.open(Some("a"));
    rig.append(parent, &run(0..30)).unwrap();
    let live = rig.cache.live_pages();
    let fork = rig.fork(parent);
    assert_eq!((rig.cache.live_pages(), rig.cache.copied_pages()), (live, 0));
    rig.append(parent, &[7]).unwrap();
    assert_eq!(rig.cache.copied_pages(), 1, "the first to write copies the shared tail");
    rig.append(fork, &[8]).unwrap();
    assert_eq!(rig.cache.copied_pages(), 1, "the other has it to itself by then");
    rig.audit();
}

#[test]
fn pages_are_handed_out_in_ascending_order_whatever_became_of_those_before() {
    let mut cache = PageCache::new(6, PAGE_LEN);
    for tenant in [None, Some("a"), Some("b"), None] {
        let (mut table, tokens) = (cache.open(tenant), run(0..6 * PAGE_LEN as u32));
        cache.reserve(&mut table, tokens.len()).unwrap();
        assert!(table.pages().is_sorted(), "{:?} of {tenant:?}", table.pages());
        cache.commit(&mut table, &tokens, tokens.len());
        cache.close(table);
    }
}

#[test]
fn eviction_takes_the_least_recently_released_leaf_first_and_never_a_live_page() {
    let mut rig = Rig::new(8);
    let [old, young, live] = [(100, 4), (200, 8), (300, 16)].map(|(base, n)| {
        let at = rig.open(Some("a"));
        rig.append(at, &run(base..base + n)).unwrap();
        at
    });
    assert_eq!((old, young, live), (0, 1, 2));
    rig.close(old); // the last one, `live`, moves to its place
    rig.close(young);
    assert_eq!((rig.cache.free_pages(), rig.cache.retained_pages(), rig.cache.live_pages()), (1, 3, 4));
    rig.append(0, &run(0..8)).unwrap();
    assert_eq!(rig.cache.evicted_pages(), 1);
    let probe = |rig: &mut Rig, tokens: Vec<TokenId>| {
        let mut table = rig.cache.open(Some("a"));
        let found = rig.cache.reuse(&mut table, &tokens);
        rig.cache.close(table);
        found
    };
    assert_eq!(probe(&mut rig, run(100..104)), 0, "the oldest went");
    assert_eq!(probe(&mut rig, run(200..208)), 8, "the younger one stayed whole");
    rig.append(0, &run(0..4)).unwrap();
    assert_eq!(probe(&mut rig, run(200..208)), 4, "its leaf went before its parent");
    let error = rig.append(0, &run(0..9)).unwrap_err();
    assert!(matches!(error, Error::KvExhausted { wanted: 3, free: 1, total: 8 }), "{error:?}");
    assert_eq!(rig.cache.live_pages(), 7);
    rig.audit();
}

#[test]
fn a_tenant_is_forgotten_with_its_last_page_and_no_other_is() {
    let mut rig = Rig::new(3);
    for tenant in ["a", "b"] {
        let at = rig.open(Some(tenant));
        rig.append(at, &run(0..4)).unwrap();
        rig.close(at);
    }
    let at = rig.open(None);
    for n_tenants in [2, 1, 0] {
        rig.append(at, &run(0..4)).unwrap();
        assert_eq!(rig.cache.index.n_tenants(), n_tenants);
        rig.audit();
    }
}

#[test]
fn twins_that_compute_the_same_page_end_up_sharing_it() {
    let mut rig = Rig::new(64);
    let (a, b) = (rig.open(Some("a")), rig.open(Some("a")));
    for at in [a, b] {
        assert_eq!(rig.compute(at, &run(0..8)).unwrap(), 8, "neither has been committed");
    }
    rig.commit(a);
    rig.commit(b);
    assert_eq!(rig.contexts[a].table.pages(), rig.contexts[b].table.pages());
    assert_eq!(rig.cache.live_pages(), 2);
    rig.audit();
}

#[test]
#[should_panic(expected = "a commit of 9 tokens to a table of 0 in 8 slots, of 12 tokens")]
fn what_no_page_holds_cannot_be_committed() {
    let mut cache = PageCache::new(4, PAGE_LEN);
    let mut table = cache.open(Some("a"));
    cache.reserve(&mut table, 8).unwrap();
    cache.commit(&mut table, &run(0..12), 9);
}

#[test]
fn a_full_pool_still_lets_a_rewound_context_write_in_place() {
    let mut rig = Rig::new(2);
    let at = rig.open(Some("a"));
    rig.append(at, &run(0..8)).unwrap();
    rig.rewind(at, 6);
    rig.append(at, &[9, 9]).unwrap();
    rig.audit();
    assert_eq!(rig.cache.copied_pages(), 0);
}
