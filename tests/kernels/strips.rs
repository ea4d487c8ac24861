//! Attention of more rows than a table takes through a chunk together: strip after strip has the bits of the emulation,
//! whatever the window hides from some of them, and wherever strips cut a token's group of heads in two.

use longhaul::spec::KvDtype;
use proptest::prelude::*;

use crate::common::{backends, open};
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract::{arithmetic, assert_same_or_nan};
use crate::table;

/// With as many heads one thread has tasks enough without smaller blocks, which would be a strip each.
const N_KV_HEADS: usize = 4;

/// Rows of a block: from more than one strip of `amx` to more than three.
const ROWS: std::ops::Range<usize> = 130..420;

fn shape() -> impl Strategy<Value = Shape> {
    let group = prop::sample::select(vec![1, 3, 5, 8]);
    let head_dim = prop::sample::select(vec![16, 48]);
    (ROWS, group, head_dim, 0..400usize).prop_map(|(rows, group, head_dim, before)| {
        let n_tokens = rows / group;
        let kv_len = before + n_tokens;
        Shape { n_kv_heads: N_KV_HEADS, group, head_dim, n_tokens, kv_len, kv: KvDtype::Bf16 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: n_cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn strips_of_a_block_have_the_bits_of_the_emulation(
        shape in shape(),
        window in prop::option::of(prop::sample::select(vec![1, 20, 300])),
        not_finite in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(vec![f32::NAN, f32::INFINITY]))),
        seed in 0..1_000u64,
    ) {
        for backend in backends() {
            let backend = open(table(&*backend), 1);
            let mut sequence = Sequence::new(&*backend, seed, shape, 0..);
            if let Some((token, value)) = &not_finite {
                sequence.v[[token.index(shape.kv_len), 0, 3]] = *value;
            }
            let mut kv = shape.pages(&*backend, sequence.pages.len());
            sequence.store(&mut *kv);
            let found = attend(&mut *kv, &[&sequence], window).remove(0);
            let wanted = sequence.emulated(arithmetic(&*backend).unwrap(), window);
            assert_same_or_nan(found.view(), wanted.view(), table(&*backend));
        }
    }
}

/// `PROPTEST_CASES`, or a number that takes seconds.
fn n_cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(16)
}
