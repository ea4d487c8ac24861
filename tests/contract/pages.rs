//! Pages as bytes: export, import, copies.

use half::bf16;
use longhaul::Error;
use longhaul::backend::{Backend, KvPages};
use longhaul::spec::{KvDtype, KvSpec, PageId, Slot};
use ndarray::{Array3, ArrayView1};

use super::sequence::{Sequence, Shape, attend};
use super::{Backends, assert_same_bits, name, noise, stored, takes_heads_of};

/// Heads of an odd size, if the backend takes them.
fn spec(backend: &dyn Backend, dtype: KvDtype) -> KvSpec {
    let head_dim = if takes_heads_of(backend, 48) { 48 } else { 64 };
    KvSpec { n_layers: 2, n_kv_heads: 3, head_dim, dtype }
}

/// Fills a page of all layers; `[layer][k|v]` what went in.
fn append(kv: &mut dyn KvPages, page_len: usize, page: PageId, seed: u64) -> Vec<[Array3<f32>; 2]> {
    let spec = *kv.spec();
    let slots: Vec<Slot> = (0..page_len).map(|slot_idx| Slot { page, slot_idx }).collect();
    let array = |salt| Array3::from_shape_simple_fn((page_len, spec.n_kv_heads, spec.head_dim), noise(seed + salt));
    let layers: Vec<_> = (0..spec.n_layers as u64).map(|layer| [array(2 * layer), array(2 * layer + 1)]).collect();
    for (layer, [k, v]) in layers.iter().enumerate() {
        kv.append(layer, k.view(), v.view(), &slots).unwrap();
    }
    layers
}

/// A token's key or value of one head as bytes.
fn canonical(head: ArrayView1<'_, f32>, dtype: KvDtype) -> Vec<u8> {
    if dtype == KvDtype::Bf16 {
        return head.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
    }
    let largest = head.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    let code = |x: &f32| (x * (127.0 / largest)).round_ties_even() as i8;
    head.iter().map(|x| code(x).to_le_bytes()[0]).chain((largest / 127.0).to_le_bytes()).collect()
}

fn export(kv: &dyn KvPages, page: u32) -> Vec<u8> {
    let mut bytes = vec![0xee; kv.page_bytes()];
    kv.export_page(PageId(page), &mut bytes).unwrap();
    bytes
}

pub fn an_exported_page_is_in_the_canonical_layout(backends: &Backends) {
    for (backend, dtype) in stored(backends) {
        let page_len = backend.caps().page_len;
        let mut kv = backend.kv(&spec(backend, dtype), 3).unwrap();
        let layers = append(&mut *kv, page_len, PageId(1), 7);
        let bytes = export(&*kv, 1);
        // [layer][k|v][slot][kv_head][head_dim], each array in the order of its own index.
        let heads = layers.iter().flatten().flat_map(|x| x.rows());
        let wanted: Vec<u8> = heads.into_iter().flat_map(|head| canonical(head, dtype)).collect();
        assert_eq!(bytes.len(), page_len * kv.spec().bytes_per_token());
        assert!(bytes == wanted, "{}", name(backend));
        assert!(export(&*kv, 0).iter().chain(&export(&*kv, 2)).all(|b| *b == 0), "other pages are untouched");
    }
}

pub fn an_imported_page_is_the_exported_one_everywhere(backends: &Backends) {
    for dtype in KvDtype::ALL {
        let storing = || stored(backends).filter(|(_, kv)| *kv == dtype).map(|(backend, _)| backend);
        let exported: Vec<_> = storing()
            .map(|backend| {
                let mut kv = backend.kv(&spec(backend, dtype), 1).unwrap();
                append(&mut *kv, backend.caps().page_len, PageId(0), 8);
                export(&*kv, 0)
            })
            .collect();
        for (backend, bytes) in storing().flat_map(|backend| exported.iter().map(move |bytes| (backend, bytes))) {
            let mut kv = backend.kv(&spec(backend, dtype), 2).unwrap();
            assert_eq!(bytes.len(), backend.caps().page_len * kv.spec().bytes_per_token());
            kv.import_page(PageId(1), bytes).unwrap();
            assert!(export(&*kv, 1) == *bytes, "{} {dtype}", name(backend));
        }
    }
}

pub fn every_bit_survives_the_way_out_and_back(backends: &Backends) {
    for (backend, dtype) in stored(backends) {
        let page_len = backend.caps().page_len;
        let mut kv = backend.kv(&spec(backend, dtype), 2).unwrap();
        // All of bf16, with enough elements; as codes and scales, whatever it is.
        let n = kv.page_bytes() as u32 / 2;
        let bytes: Vec<u8> = (0..n).flat_map(|i| ((i * 7) as u16).to_le_bytes()).collect();
        kv.import_page(PageId(0), &bytes).unwrap();
        kv.copy_page(PageId(0), PageId(1), page_len).unwrap();
        assert!(export(&*kv, 0) == bytes && export(&*kv, 1) == bytes, "{} {dtype}", name(backend));
    }
}

pub fn attention_over_copied_and_imported_pages_has_the_same_bits(backends: &Backends) {
    for (backend, dtype) in stored(backends) {
        let page_len = backend.caps().page_len;
        // Two whole pages, and 22 keys in a third.
        let shape = Shape { n_kv_heads: 2, group: 3, head_dim: 64, n_tokens: 5, kv_len: 2 * page_len + 22, kv: dtype };
        let original = Sequence::new(backend, 9, shape, 0..);
        let mut kv = shape.pages(backend, 9);
        original.store(&mut *kv);
        let wanted = attend(&mut *kv, &[&original], None).remove(0);

        // The rest of the last copy is undefined.
        let copied = Sequence::new(backend, 9, shape, 3..);
        for (from, to, n_slots) in [(0, 3, page_len), (1, 4, page_len), (2, 5, 22)] {
            kv.copy_page(PageId(from), PageId(to), n_slots).unwrap();
        }
        let imported = Sequence::new(backend, 9, shape, 6..);
        for (from, to) in [(0, 6), (1, 7), (2, 8)] {
            let bytes = export(&*kv, from);
            kv.import_page(PageId(to), &bytes).unwrap();
        }
        for found in attend(&mut *kv, &[&copied, &imported], None) {
            assert_same_bits(found.view(), wanted.view(), name(backend));
        }
    }
}

pub fn pages_and_lengths_that_do_not_exist_are_an_error(backends: &Backends) {
    for (backend, dtype) in stored(backends) {
        let page_len = backend.caps().page_len;
        let mut kv = backend.kv(&spec(backend, dtype), 2).unwrap();
        let bytes = vec![0; kv.page_bytes()];
        assert!(matches!(kv.import_page(PageId(2), &bytes), Err(Error::Page { page: PageId(2), .. })));
        assert!(matches!(kv.copy_page(PageId(0), PageId(2), 1), Err(Error::Page { page: PageId(2), .. })));
        assert!(matches!(kv.copy_page(PageId(0), PageId(1), page_len + 1), Err(Error::Argument(_))));
        assert!(matches!(kv.import_page(PageId(0), &bytes[1..]), Err(Error::Argument(_))));
        let spec = *kv.spec();
        let x = Array3::zeros((1, spec.n_kv_heads, spec.head_dim));
        let at = Slot { page: PageId(0), slot_idx: page_len };
        assert!(matches!(kv.append(0, x.view(), x.view(), &[at]), Err(Error::Page { .. })));
    }
    for backend in backends {
        for dtype in KvDtype::ALL.into_iter().filter(|dtype| !backend.caps().kv_dtypes.contains(dtype)) {
            let error = backend.kv(&spec(&**backend, dtype), 1).err().unwrap();
            assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains(dtype.name())), "{error}");
        }
    }
}
