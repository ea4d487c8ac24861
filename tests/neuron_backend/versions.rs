//! Every version of libnrt that we know, and one that has the core set alone.

use longhaul::backend::Backend;
use longhaul::dtype::Dtype;
use longhaul::spec::{KvSpec, PageId, WeightDtype};
use ndarray::{Array2, s};

use crate::contract::attention::exact;
use crate::contract::matmul::{multiply, pack, weights};
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract::{assert_close, assert_same_bits, noise};
use crate::stand_in::{PAGE_LEN, heads, matrix, on_the_stand_in};

/// Makes one test for each version, so that each has its name and its process.
macro_rules! versions {
    ($($test:ident: $version:literal,)*) => {$(
        #[test]
        fn $test() {
            let programs = [matrix(70, 150), heads(2, 2, 64, &[0])].concat();
            on_the_stand_in(concat!("versions::", stringify!($test)), $version, &programs, |backend, _| scenario(&*backend));
        }
    )*};
}

versions! {
    runtime_2_30: "2_30",
    runtime_2_31: "2_31",
    runtime_2_32: "2_32",
    runtime_2_33: "2_33",
    runtime_2_34: "2_34",
    runtime_2_35: "2_35",
    the_core_set_is_enough: "minimal",
}

/// A product in three pieces, a prompt, decode steps of two sequences, a page that goes out and back, and a copy.
fn scenario(backend: &dyn Backend) {
    let (matrix, x) = (
        pack(backend, &weights(70, 150, WeightDtype::Bf16), WeightDtype::Bf16),
        Array2::from_shape_simple_fn((130, 150), noise(1)),
    );
    let whole = multiply(&*matrix, x.view());
    let last = multiply(&*matrix, x.slice(s![129.., ..]));
    assert_same_bits(last.view(), whole.slice(s![129.., ..]), "a row alone");

    let shape = |n_tokens| Shape { n_kv_heads: 2, group: 2, head_dim: 64, n_tokens, kv_len: PAGE_LEN + 20 };
    let mut kv = shape(1).pages(backend, 8);
    let prompt = Sequence::new(backend, 1, shape(100), 0..);
    prompt.store(&mut *kv);
    let check = |sequence: &Sequence, found: &ndarray::Array3<f32>, what: &str| {
        let (wanted, tolerance) = exact(sequence, backend, None);
        assert_close(found.view(), wanted.view(), tolerance.view(), what);
    };
    check(&prompt, &attend(&mut *kv, &[&prompt], None)[0], "a prompt in pieces");

    let mut decode = [2, 4].map(|first| Sequence::new(backend, 1, shape(1), first..));
    for (sequence, (from, to)) in decode.iter_mut().zip([(0, 2), (1, 5)]) {
        sequence.k.assign(&prompt.k);
        sequence.v.assign(&prompt.v);
        kv.copy_page(PageId(from), PageId(to), PAGE_LEN).unwrap();
    }
    let mut bytes = vec![0; kv.page_bytes()];
    for (from, to) in [(0, 4), (1, 3)] {
        kv.export_page(PageId(from), &mut bytes).unwrap();
        kv.import_page(PageId(to), &bytes).unwrap();
    }
    let together = attend(&mut *kv, &[&decode[0], &decode[1]], None);
    for (sequence, found) in decode.iter().zip(&together) {
        check(sequence, found, "decode");
    }
    let spec = KvSpec { n_layers: 3, n_kv_heads: 2, head_dim: 64, dtype: Dtype::Bf16 };
    assert_eq!(backend.kv(&spec, 31).unwrap().page_bytes(), PAGE_LEN * spec.bytes_per_token());
}
