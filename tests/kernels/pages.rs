//! Pages as bytes: export, import, copies.

use half::bf16;
use longhaul::Error;
use longhaul::backend::KvPages;
use longhaul::dtype::Dtype;
use longhaul::spec::contract::PAGE_LEN;
use longhaul::spec::{KvSpec, PageId, Slot};
use ndarray::Array3;

use crate::common::backends;
use crate::sequence::{Sequence, Shape, attend};
use crate::{assert_same_bits, noise, table};

const SPEC: KvSpec = KvSpec { n_layers: 2, n_kv_heads: 3, head_dim: 48, dtype: Dtype::Bf16 };

/// Fills a page of all layers; `[layer][k|v]` what went in.
fn append(kv: &mut dyn KvPages, page: PageId, seed: u64) -> Vec<[Array3<f32>; 2]> {
    let slots: Vec<Slot> = (0..PAGE_LEN).map(|slot_idx| Slot { page, slot_idx }).collect();
    let array = |salt| Array3::from_shape_simple_fn((PAGE_LEN, SPEC.n_kv_heads, SPEC.head_dim), noise(seed + salt));
    let layers: Vec<_> = (0..SPEC.n_layers as u64).map(|layer| [array(2 * layer), array(2 * layer + 1)]).collect();
    for (layer, [k, v]) in layers.iter().enumerate() {
        kv.append(layer, k.view(), v.view(), &slots).unwrap();
    }
    layers
}

fn export(kv: &dyn KvPages, page: u32) -> Vec<u8> {
    let mut bytes = vec![0xee; kv.page_bytes()];
    kv.export_page(PageId(page), &mut bytes).unwrap();
    bytes
}

#[test]
fn an_exported_page_is_in_the_canonical_layout() {
    for backend in backends() {
        let mut kv = backend.kv(&SPEC, 3).unwrap();
        let layers = append(&mut *kv, PageId(1), 7);
        let bytes = export(&*kv, 1);
        // [layer][k|v][slot][kv_head][head_dim], each array in the order of its own index.
        let elements = layers.iter().flatten().flat_map(|x| x.iter());
        let wanted: Vec<u8> = elements.flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        assert_eq!(bytes.len(), PAGE_LEN * SPEC.bytes_per_token());
        assert!(bytes == wanted, "{}", table(&*backend));
        assert!(export(&*kv, 0).iter().chain(&export(&*kv, 2)).all(|b| *b == 0), "other pages are untouched");
    }
}

#[test]
fn an_imported_page_is_the_exported_one_on_every_table() {
    let exported: Vec<_> = backends()
        .iter()
        .map(|backend| {
            let mut kv = backend.kv(&SPEC, 1).unwrap();
            append(&mut *kv, PageId(0), 8);
            export(&*kv, 0)
        })
        .collect();
    for backend in backends() {
        for bytes in &exported {
            let mut kv = backend.kv(&SPEC, 2).unwrap();
            kv.import_page(PageId(1), bytes).unwrap();
            assert!(export(&*kv, 1) == *bytes, "{}", table(&*backend));
        }
    }
}

#[test]
fn every_bf16_survives_the_way_out_and_back() {
    for backend in backends() {
        let mut kv = backend.kv(&SPEC, 2).unwrap();
        let n = kv.page_bytes() as u32 / 2;
        let bytes: Vec<u8> = (0..n).flat_map(|i| ((i * 7) as u16).to_le_bytes()).collect();
        kv.import_page(PageId(0), &bytes).unwrap();
        kv.copy_page(PageId(0), PageId(1), PAGE_LEN).unwrap();
        assert!(export(&*kv, 0) == bytes && export(&*kv, 1) == bytes, "{}", table(&*backend));
    }
}

#[test]
fn attention_over_copied_and_imported_pages_has_the_same_bits() {
    let shape = Shape { n_kv_heads: 2, group: 3, head_dim: 32, n_tokens: 5, kv_len: 150 };
    for backend in backends() {
        let original = Sequence::new(9, shape, 0..);
        let mut kv = shape.pages(&*backend, 9);
        original.store(&mut *kv);
        let wanted = attend(&mut *kv, &[&original], None).remove(0);

        // The last page holds 22 keys; the rest of the copy is undefined.
        let copied = Sequence::new(9, shape, 3..);
        for (from, to, n_slots) in [(0, 3, 64), (1, 4, 64), (2, 5, 22)] {
            kv.copy_page(PageId(from), PageId(to), n_slots).unwrap();
        }
        let imported = Sequence::new(9, shape, 6..);
        for (from, to) in [(0, 6), (1, 7), (2, 8)] {
            let bytes = export(&*kv, from);
            kv.import_page(PageId(to), &bytes).unwrap();
        }
        for found in attend(&mut *kv, &[&copied, &imported], None) {
            assert_same_bits(found.view(), wanted.view(), table(&*backend));
        }
    }
}

#[test]
fn pages_and_lengths_that_do_not_exist_are_an_error() {
    for backend in backends() {
        let mut kv = backend.kv(&SPEC, 2).unwrap();
        let bytes = vec![0; kv.page_bytes()];
        assert!(matches!(kv.import_page(PageId(2), &bytes), Err(Error::Page { page: PageId(2), .. })));
        assert!(matches!(kv.copy_page(PageId(0), PageId(2), 1), Err(Error::Page { page: PageId(2), .. })));
        assert!(matches!(kv.copy_page(PageId(0), PageId(1), PAGE_LEN + 1), Err(Error::Argument(_))));
        assert!(matches!(kv.import_page(PageId(0), &bytes[1..]), Err(Error::Argument(_))));
        let x = Array3::zeros((1, SPEC.n_kv_heads, SPEC.head_dim));
        let at = Slot { page: PageId(0), slot_idx: PAGE_LEN };
        assert!(matches!(kv.append(0, x.view(), x.view(), &[at]), Err(Error::Page { .. })));
        let f16 = KvSpec { dtype: Dtype::F16, ..SPEC };
        assert!(matches!(backend.kv(&f16, 1), Err(Error::Unavailable { .. })));
    }
}
