//! What must not matter to attention: neighbours, places, and what lies where a query does not look.

use longhaul::backend::{Backend, KvPages};
use longhaul::spec::{KvDtype, PageId, Slot};
use ndarray::Array3;

use super::sequence::{Sequence, Shape, attend};
use super::{Backends, arithmetic, assert_same_bits, name, stored};

/// Pages of every pool here.
const N_PAGES: u32 = 24;

/// A chunk of a prompt that ends inside a page, in the second of its chunks.
pub const SHAPE: Shape = Shape { n_kv_heads: 2, group: 3, head_dim: 64, n_tokens: 21, kv_len: 330, kv: KvDtype::Bf16 };

/// The same in five of the longest pages that a backend has here.
const LONG: Shape = Shape { kv_len: 1_130, ..SHAPE };

const WINDOWS: [Option<usize>; 2] = [None, Some(50)];

/// The sequence in fresh pages, one after the other.
pub fn plain(backend: &dyn Backend, sequence: &Sequence, window: Option<usize>) -> Array3<f32> {
    let mut kv = sequence.shape.pages(backend, N_PAGES as usize);
    sequence.store(&mut *kv);
    attend(&mut *kv, &[sequence], window).remove(0)
}

/// Appends `x` as key and value of every slot of every page.
fn fill(kv: &mut dyn KvPages, page_len: usize, x: f32) {
    let slots = |page| (0..page_len).map(move |slot_idx| Slot { page: PageId(page), slot_idx });
    let slots: Vec<Slot> = (0..N_PAGES).flat_map(slots).collect();
    let x = Array3::from_elem((slots.len(), SHAPE.n_kv_heads, SHAPE.head_dim), x);
    kv.append(0, x.view(), x.view(), &slots).unwrap();
}

pub fn the_place_of_a_page_changes_no_bit(backends: &Backends) {
    let places = [[5, 4, 3, 2, 1], [23, 0, 22, 1, 21], [7, 19, 3, 11, 2]];
    for (backend, kv) in stored(backends) {
        let shape = Shape { kv, ..LONG };
        for window in WINDOWS {
            let wanted = plain(backend, &Sequence::new(backend, 1, shape, 0..), window);
            for places in places {
                let found = plain(backend, &Sequence::new(backend, 1, shape, places), window);
                assert_same_bits(found.view(), wanted.view(), &format!("{} {places:?}", name(backend)));
            }
        }
    }
}

pub fn neighbours_in_a_call_change_no_bit(backends: &Backends) {
    // Decode rows and chunks, short and long; two of them read the same pages.
    let lengths = [(1, 1), (21, 330), (1, 300), (65, 257), (3, 513), (1, 256)];
    for (backend, kv) in stored(backends) {
        let shape = Shape { kv, ..SHAPE };
        let mut first_page = 0;
        let mut sequences: Vec<Sequence> = Vec::new();
        for (seed, (n_tokens, kv_len)) in lengths.into_iter().enumerate() {
            let sequence = Sequence::new(backend, seed as u64, Shape { n_tokens, kv_len, ..shape }, first_page..);
            first_page += sequence.pages.len() as u32;
            sequences.push(sequence);
        }
        let twin = Sequence::new(backend, 1, shape, sequences[1].pages.iter().map(|p| p.0));
        sequences.push(twin);
        let mut kv = shape.pages(backend, N_PAGES as usize);
        sequences.iter().for_each(|s| s.store(&mut *kv));
        for window in WINDOWS {
            for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [2, 4, 0, 6, 1, 5, 3]] {
                let batch = attend(&mut *kv, &order.map(|i| &sequences[i]), window);
                for (i, found) in order.into_iter().zip(batch) {
                    let alone = attend(&mut *kv, &[&sequences[i]], window).remove(0);
                    assert_same_bits(found.view(), alone.view(), &format!("{} sequence {i}", name(backend)));
                }
            }
        }
    }
}

pub fn a_row_alone_has_the_bits_that_it_has_in_a_chunk(backends: &Backends) {
    for (backend, kv) in stored(backends) {
        let shape = Shape { kv, ..SHAPE };
        let sequence = Sequence::new(backend, 3, shape, 0..);
        let mut kv = shape.pages(backend, N_PAGES as usize);
        sequence.store(&mut *kv);
        for window in WINDOWS {
            let chunk = attend(&mut *kv, &[&sequence], window).remove(0);
            for t in 0..SHAPE.n_tokens {
                let shape = Shape { n_tokens: 1, kv_len: sequence.start() + t + 1, ..shape };
                let mut row = Sequence::new(backend, 3, shape, 0..);
                row.q.assign(&sequence.q.slice(ndarray::s![t..t + 1, .., ..]));
                let alone = attend(&mut *kv, &[&row], window).remove(0);
                let what = format!("{} token {t}, window {window:?}", name(backend));
                assert_same_bits(alone.view(), chunk.slice(ndarray::s![t..t + 1, .., ..]), &what);
            }
        }
    }
}

pub fn what_lies_in_other_pages_and_later_slots_changes_no_bit(backends: &Backends) {
    for (backend, kv) in stored(backends) {
        let shape = Shape { kv, ..LONG };
        for window in WINDOWS {
            let sequence = Sequence::new(backend, 4, shape, [9, 2, 17, 4, 11]);
            let wanted = plain(backend, &sequence, window);
            for garbage in [1e30, f32::INFINITY, f32::NAN] {
                // Before: other pages, and the slots behind the last key. The other pages once more after.
                let mut kv = shape.pages(backend, N_PAGES as usize);
                fill(&mut *kv, backend.caps().page_len, garbage);
                sequence.store(&mut *kv);
                let found = attend(&mut *kv, &[&sequence], window).remove(0);
                assert_same_bits(found.view(), wanted.view(), &format!("{} {garbage}", name(backend)));
            }
        }
    }
}

pub fn keys_before_the_window_and_after_the_query_change_no_bit(backends: &Backends) {
    let window = Some(50);
    for (backend, kv) in stored(backends) {
        let shape = Shape { kv, ..SHAPE };
        let mut sequence = Sequence::new(backend, 5, shape, 0..);
        let wanted = plain(backend, &sequence, window);
        let seen_by_none = ..sequence.start() + 1 - 50;
        for x in [&mut sequence.k, &mut sequence.v] {
            x.slice_mut(ndarray::s![seen_by_none, .., ..]).fill(f32::NAN);
        }
        let found = plain(backend, &sequence, window);
        assert_same_bits(found.view(), wanted.view(), &format!("{}: before", name(backend)));

        // The last token's key is seen by the last query alone; not finite, where new tokens may be that.
        let last = SHAPE.kv_len - 1;
        let garbage = if arithmetic(backend).is_some() { f32::NAN } else { 1e30 };
        for x in [&mut sequence.k, &mut sequence.v] {
            x.slice_mut(ndarray::s![last, .., ..]).fill(garbage);
        }
        let found = plain(backend, &sequence, window);
        let others = ndarray::s![..SHAPE.n_tokens - 1, .., ..];
        assert_same_bits(found.slice(others), wanted.slice(others), &format!("{}: after", name(backend)));
        let own = ndarray::s![SHAPE.n_tokens - 1, .., ..];
        let (found, wanted) = (found.slice(own), wanted.slice(own));
        let mut changed = found.iter().zip(wanted).map(|(f, w)| f != w);
        // A large key may count for nothing in a head, NaN cannot.
        let is_used = if garbage.is_nan() { changed.all(|c| c) } else { changed.any(|c| c) };
        assert!(is_used, "what is seen is used");
    }
}

pub fn a_recycled_page_is_as_good_as_a_new_one(backends: &Backends) {
    for (backend, kv) in stored(backends) {
        let shape = Shape { kv, ..SHAPE };
        let sequence = Sequence::new(backend, 6, shape, (0..6).rev());
        let wanted = plain(backend, &sequence, None);
        let mut kv = shape.pages(backend, N_PAGES as usize);
        fill(&mut *kv, backend.caps().page_len, f32::NAN);
        sequence.store(&mut *kv);
        for _ in 0..2 {
            let found = attend(&mut *kv, &[&sequence], None).remove(0);
            assert_same_bits(found.view(), wanted.view(), name(backend));
            sequence.store(&mut *kv);
        }
    }
}
