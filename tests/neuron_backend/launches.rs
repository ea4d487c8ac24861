//! How many programs a call launches, and what crosses.

use fake_nrt::client::Fake;
use longhaul::backend::{Backend, KvPages};
use longhaul::spec::{KvDtype, Slot};
use ndarray::{Axis, concatenate, s};

use crate::contract::assert_close;
use crate::contract::attention::exact;
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract_programs::{PAGE_LEN, heads};
use crate::stand_in::on_the_stand_in;

const SHAPE: Shape =
    Shape { n_kv_heads: 2, group: 2, head_dim: 64, n_tokens: 1, kv_len: PAGE_LEN + 3, kv: KvDtype::Bf16 };

/// Appends a part of the tokens of several sequences in one call, as a step does.
fn append(kv: &mut dyn KvPages, sequences: &[&Sequence], part: impl Fn(&Sequence) -> std::ops::Range<usize>) {
    let slot = |s: &Sequence, j: usize| Slot { page: s.pages[j / PAGE_LEN], slot_idx: j % PAGE_LEN };
    let at: Vec<Slot> = sequences.iter().flat_map(|s| part(s).map(|j| slot(s, j))).collect();
    let together = |of: &dyn Fn(&Sequence) -> ndarray::Array3<f32>| {
        let parts: Vec<_> = sequences.iter().map(|s| of(s).slice_move(s![part(s), .., ..])).collect();
        concatenate(Axis(0), &parts.iter().map(|p| p.view()).collect::<Vec<_>>()).unwrap()
    };
    kv.append(0, together(&|s| s.k.clone()).view(), together(&|s| s.v.clone()).view(), &at).unwrap();
}

/// Attends, checks what comes out, and returns how often each function of libnrt was called.
fn calls(
    backend: &dyn Backend,
    fake: &Fake,
    kv: &mut dyn KvPages,
    sequences: &[&Sequence],
) -> impl Fn(&str) -> u64 + use<> {
    fake.plan("");
    let found = attend(kv, sequences, None);
    let calls = fake.calls();
    for (i, (sequence, found)) in sequences.iter().zip(found).enumerate() {
        let (wanted, tolerance) = exact(sequence, backend, None);
        assert_close(found.view(), wanted.view(), tolerance.view(), &format!("sequence {i}"));
    }
    move |name| calls.iter().find(|(n, _)| n == name).map_or(0, |(_, n)| *n)
}

/// Inputs of an attention program that cross: queries, keys, values, and the five parts of the plan.
const N_WRITES: u64 = 8;

#[test]
fn new_tokens_go_with_the_launch_and_decode_rows_together() {
    let programs = heads(2, 2, 64, &[0]);
    let name = "launches::new_tokens_go_with_the_launch_and_decode_rows_together";
    on_the_stand_in(name, "2_34", &programs, |backend, fake| {
        let mut kv = SHAPE.pages(&*backend, 31);
        let lengths = [PAGE_LEN + 3, 1, PAGE_LEN, PAGE_LEN + 1, 700, 40, 2 * PAGE_LEN];
        let sequence = |(i, kv_len): (usize, &usize)| {
            Sequence::new(&*backend, i as u64, Shape { kv_len: *kv_len, ..SHAPE }, 3 * i as u32..)
        };
        let sequences: Vec<Sequence> = lengths.iter().enumerate().map(sequence).collect();
        let all: Vec<&Sequence> = sequences.iter().collect();
        append(&mut *kv, &all, |s| 0..s.start());
        append(&mut *kv, &all, |s| s.start()..s.shape.kv_len);
        let of = calls(&*backend, fake, &mut *kv, &all);
        // Buckets of four sequences: four, and three with one of padding.
        assert_eq!((of("nrt_execute"), of("nrt_load")), (2, 1));
        assert_eq!((of("nrt_tensor_write"), of("nrt_tensor_read")), (2 * N_WRITES, 2), "no page crosses");

        // The same again: now the tokens lie in pages, and are read from there.
        let of = calls(&*backend, fake, &mut *kv, &all);
        assert_eq!((of("nrt_execute"), of("nrt_load")), (7, 1), "the program for one row is another");
        assert_eq!(of("nrt_tensor_read"), 7 * (2 + 1), "a page of keys, one of values, the result");
        assert_eq!(of("nrt_tensor_write"), 7 * (N_WRITES + 1), "the keys are put back");
    });
}

#[test]
fn a_prompt_goes_in_pieces_with_its_tokens() {
    let programs = heads(2, 2, 64, &[0]);
    on_the_stand_in("launches::a_prompt_goes_in_pieces_with_its_tokens", "2_34", &programs, |backend, fake| {
        let mut kv = SHAPE.pages(&*backend, 31);
        let shape = |n_tokens, kv_len| Shape { n_tokens, kv_len, ..SHAPE };
        let long = Sequence::new(&*backend, 1, shape(100, 300), [20, 4]);
        let short = Sequence::new(&*backend, 2, shape(5, 5), [9]);
        let all = [&long, &short];
        append(&mut *kv, &all, |s| 0..s.start());
        append(&mut *kv, &all, |s| s.start()..s.shape.kv_len);
        let of = calls(&*backend, fake, &mut *kv, &all);
        assert_eq!((of("nrt_execute"), of("nrt_load")), (4, 2), "48, 48 and 4; 5");
        assert_eq!((of("nrt_tensor_write"), of("nrt_tensor_read")), (4 * N_WRITES, 4), "no page crosses");
    });
}

/// Rows in the middle of a context, in a bucket with padding, whose keys the program writes behind them.
#[test]
fn asking_about_the_middle_of_a_context_changes_no_page() {
    let programs = heads(2, 2, 64, &[0]);
    on_the_stand_in(
        "launches::asking_about_the_middle_of_a_context_changes_no_page",
        "2_34",
        &programs,
        |backend, fake| {
            let mut kv = SHAPE.pages(&*backend, 31);
            let whole = Sequence::new(&*backend, 1, Shape { n_tokens: 40, kv_len: 2 * PAGE_LEN, ..SHAPE }, [3, 1]);
            append(&mut *kv, &[&whole], |s| 0..s.shape.kv_len);
            let exported = |kv: &mut dyn KvPages| {
                let mut bytes = vec![0; 2 * kv.page_bytes()];
                let (first, second) = bytes.split_at_mut(kv.page_bytes());
                kv.export_page(whole.pages[0], first).unwrap();
                kv.export_page(whole.pages[1], second).unwrap();
                bytes
            };
            let before = exported(&mut *kv);
            for kv_len in [10, PAGE_LEN - 1, PAGE_LEN + 1] {
                let mut middle = Sequence::new(&*backend, 1, Shape { n_tokens: 3, kv_len, ..SHAPE }, [3, 1]);
                middle.k.assign(&whole.k.slice(s![..kv_len, .., ..]));
                middle.v.assign(&whole.v.slice(s![..kv_len, .., ..]));
                let of = calls(&*backend, fake, &mut *kv, &[&middle]);
                assert_eq!(of("nrt_execute"), 1);
                assert!(exported(&mut *kv) == before, "up to {kv_len}");
            }
        },
    );
}
