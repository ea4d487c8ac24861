//! Keys and values in int8: whatever is stored, and whatever lay there before, attention has the bits of the emulation
//! on every table.

use longhaul::spec::contract::PAGE_LEN;
use longhaul::spec::{KvDtype, PageId, Slot};
use ndarray::{Array3, s};
use proptest::prelude::*;

use crate::common::{backends, open};
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract::{arithmetic, assert_same_or_nan};
use crate::table;

/// What becomes of a token's key and value of a head.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Counts as zeros.
    Tiny,
    /// Outweighs all others.
    Large,
    /// One element of many; the scale is NaN.
    NotFinite(f32),
}

fn kind() -> impl Strategy<Value = Kind> {
    let not_finite = prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    prop_oneof![Just(Kind::Tiny), Just(Kind::Large), not_finite.prop_map(Kind::NotFinite)]
}

fn shape() -> impl Strategy<Value = Shape> {
    let head_dim = prop::sample::select(vec![16, 32, 64, 80, 128]);
    // 40 rows of a token are more than a strip on vectors.
    let group = prop_oneof![8 => 1..=8usize, 1 => Just(40usize)];
    (1..=2usize, group, head_dim, 1..24usize, 0..700usize).prop_map(
        |(n_kv_heads, group, head_dim, n_tokens, before)| Shape {
            n_kv_heads,
            group,
            head_dim,
            n_tokens,
            kv_len: before + n_tokens,
            kv: KvDtype::Int8,
        },
    )
}

/// Pages of a pool: a whole run of the CPU's layout, and one that is shorter.
const N_PAGES: usize = 11;

/// Changes a token's key, or its value, in the first head.
fn change(x: &mut Array3<f32>, token: usize, kind: Kind) {
    let mut head = x.slice_mut(s![token, 0, ..]);
    match kind {
        Kind::Tiny => head.mapv_inplace(|x| x * 2f32.powi(-110)),
        Kind::Large => head.mapv_inplace(|x| x * 1e4),
        Kind::NotFinite(element) => head[token % 16] = element,
    }
}

/// An imported page is taken as it is.
#[test]
fn codes_and_scales_that_no_append_writes_are_multiplied_as_they_are() {
    for backend in backends() {
        // A single key has the weight 1, so what comes out is its value.
        let shape = Shape { n_kv_heads: 1, group: 1, head_dim: 64, n_tokens: 1, kv_len: 1, kv: KvDtype::Int8 };
        let sequence = Sequence::new(&*backend, 1, shape, 0..);
        let mut kv = shape.pages(&*backend, 1);
        for scale in [0.5, -2.0, f32::NAN] {
            let mut bytes = vec![0; kv.page_bytes()];
            let values = kv.page_bytes() / 2;
            bytes[values..][..64].fill(i8::MIN.to_le_bytes()[0]);
            bytes[values + 64..][..size_of::<f32>()].copy_from_slice(&scale.to_le_bytes());
            kv.import_page(PageId(0), &bytes).unwrap();
            let wanted = Array3::from_elem((1, 1, 64), -128.0 * scale);
            let found = attend(&mut *kv, &[&sequence], None).remove(0);
            assert_same_or_nan(found.view(), wanted.view(), table(&*backend));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: n_cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_stored_has_the_bits_of_the_emulation(
        shape in shape(),
        window in prop::option::of(1..300usize),
        seed in 0..1_000u64,
        changed in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), kind()), 0..4),
        stale in prop::sample::select(vec![0.5, 1e30, f32::NAN, f32::INFINITY]),
        moved in any::<bool>(),
    ) {
        for backend in backends() {
            let backend = open(table(&*backend), 1 + seed as usize % 2);
            let mut sequence = Sequence::new(&*backend, seed, shape, (0..6).rev());
            for (token, is_key, kind) in &changed {
                let x = if *is_key { &mut sequence.k } else { &mut sequence.v };
                change(x, token.index(shape.kv_len), *kind);
            }
            let mut kv = shape.pages(&*backend, N_PAGES);
            let slot = |i: usize| Slot { page: PageId((i / PAGE_LEN) as u32), slot_idx: i % PAGE_LEN };
            let slots: Vec<Slot> = (0..PAGE_LEN * N_PAGES).map(slot).collect();
            let before = Array3::from_elem((slots.len(), shape.n_kv_heads, shape.head_dim), stale);
            kv.append(0, before.view(), before.view(), &slots).unwrap();
            sequence.store(&mut *kv);
            if moved {
                // The first page as bytes, the last by a copy.
                let (first, last) = (sequence.pages[0], *sequence.pages.last().unwrap());
                let mut bytes = vec![0; kv.page_bytes()];
                kv.export_page(first, &mut bytes).unwrap();
                kv.import_page(PageId(6), &bytes).unwrap();
                kv.copy_page(last, PageId(7), (shape.kv_len - 1) % PAGE_LEN + 1).unwrap();
                sequence.pages[0] = PageId(6);
                *sequence.pages.last_mut().unwrap() = PageId(7);
            }
            let found = attend(&mut *kv, &[&sequence], window).remove(0);
            let wanted = sequence.emulated(arithmetic(&*backend).unwrap(), window);
            assert_same_or_nan(found.view(), wanted.view(), table(&*backend));
        }
    }
}

/// `PROPTEST_CASES`, or a number that takes seconds.
fn n_cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)
}
