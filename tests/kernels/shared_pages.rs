//! Sequences that share their first pages: each gets the bits that it gets alone, which are the emulation's.

use longhaul::spec::KvDtype;
use longhaul::spec::contract::{CHUNK_LEN, PAGE_LEN};
use ndarray::{Axis, Slice};
use proptest::prelude::*;

use crate::common::{backends, open};
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract::{arithmetic, assert_same_bits};
use crate::table;

/// Pages that every family shares at most, and pages of a member's own.
const SHARED: usize = 5;
const OWN: usize = 2;

/// Sequences of one family: the first `shared` pages are the same, the rest is each one's own.
fn family(of: &Sequence, others: impl Iterator<Item = Sequence>, shared: usize) -> Vec<Sequence> {
    let fork = |mut sequence: Sequence| {
        let same = Slice::from(..shared * of.page_len);
        sequence.k.slice_axis_mut(Axis(0), same).assign(&of.k.slice_axis(Axis(0), same));
        sequence.v.slice_axis_mut(Axis(0), same).assign(&of.v.slice_axis(Axis(0), same));
        sequence.pages[..shared].copy_from_slice(&of.pages[..shared]);
        sequence
    };
    others.map(fork).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: n_cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_gets_the_bits_that_it_gets_alone(
        heads in (1..=3usize, 1..=8usize, prop::sample::select(vec![16, 64])),
        shared in 1..=SHARED,
        lens in prop::collection::vec(1..=PAGE_LEN * OWN, 1..9),
        n_tokens in prop_oneof![4 => Just(1), 1 => Just(3)],
        kv in prop::sample::select(vec![KvDtype::Bf16, KvDtype::Int8]),
        not_finite in any::<bool>(),
        n_threads in 1..=3usize,
        seed in 0..1_000u64,
    ) {
        let (n_kv_heads, group, head_dim) = heads;
        for backend in backends() {
            let backend = open(table(&*backend), n_threads);
            let page_len = backend.caps().page_len;
            let new = |i: usize, n_tokens: usize, kv_len: usize| {
                let shape = Shape { n_kv_heads, group, head_dim, n_tokens, kv_len, kv };
                let pages = (i * (SHARED + OWN)) as u32..;
                Sequence::new(&*backend, seed + i as u64, shape, pages)
            };
            let mut root = new(0, 1, (shared + OWN) * page_len);
            if not_finite {
                // In the first page, which all of them see.
                root.v[[0, 0, 0]] = f32::INFINITY;
            }
            let len = |i: usize| (shared * page_len + lens[i]).max(n_tokens);
            let members = family(&root, (0..lens.len()).map(|i| new(i + 1, n_tokens, len(i))), shared);
            // A prompt among them that has nothing to do with them.
            let stranger = new(lens.len() + 1, 40, 300);
            let mut pages = root.shape.pages(&*backend, (lens.len() + 2) * (SHARED + OWN));
            let mut batch: Vec<&Sequence> = std::iter::once(&root).chain(&members).collect();
            batch.insert(batch.len() / 2, &stranger);
            batch.iter().for_each(|sequence| sequence.store(&mut *pages));
            let together = attend(&mut *pages, &batch, None);
            for (i, (sequence, found)) in batch.iter().zip(&together).enumerate() {
                let alone = attend(&mut *pages, &[sequence], None).remove(0);
                let emulated = sequence.emulated(arithmetic(&*backend).unwrap(), None);
                for (wanted, what) in [(alone, "alone"), (emulated, "emulated")] {
                    let same = |(f, w): (&f32, &f32)| f.to_bits() == w.to_bits() || f.is_nan() && w.is_nan();
                    prop_assert!(found.iter().zip(&wanted).all(same), "{}, sequence {i}: not as {what}", table(&*backend));
                }
            }
        }
    }
}

#[test]
fn more_rows_than_a_strip_share_pages() {
    const GROUP: usize = 8;
    const N_MEMBERS: usize = 20;
    let shape =
        |n_tokens, kv_len| Shape { n_kv_heads: 2, group: GROUP, head_dim: 16, n_tokens, kv_len, kv: KvDtype::Bf16 };
    for backend in backends() {
        let backend = open(table(&*backend), 3);
        let page_len = backend.caps().page_len;
        let shared = 2 * CHUNK_LEN / page_len;
        let new = |i: usize, n_tokens: usize, kv_len: usize| {
            Sequence::new(&*backend, i as u64, shape(n_tokens, kv_len), (i * (shared + 1)) as u32..)
        };
        let root = new(0, 1, 2 * CHUNK_LEN + 1);
        let members = family(&root, (1..N_MEMBERS).map(|i| new(i, 1, 2 * CHUNK_LEN + i)), shared);
        // A long context first: the room for states that it leaves is what lets so many rows share.
        let long = new(N_MEMBERS, N_MEMBERS, 4_000);
        let mut pages = long.shape.pages(&*backend, N_MEMBERS * (shared + 1) + long.pages.len());
        let batch: Vec<&Sequence> = std::iter::once(&root).chain(&members).collect();
        batch.iter().chain([&&long]).for_each(|sequence| sequence.store(&mut *pages));
        attend(&mut *pages, &[&long], None);
        for (sequence, found) in batch.iter().zip(attend(&mut *pages, &batch, None)) {
            let emulated = sequence.emulated(arithmetic(&*backend).unwrap(), None);
            assert_same_bits(found.view(), emulated.view(), table(&*backend));
        }
    }
}

/// `PROPTEST_CASES`, or a number that takes seconds.
fn n_cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
}
