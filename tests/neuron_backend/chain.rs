//! From `kernels/compile.py`, with its stand-in compiler, over the manifest, the catalog and the stand-in for libnrt to
//! a result.

use std::process::Command;

use longhaul::reference;
use longhaul::spec::{KvDtype, WeightDtype};
use ndarray::Array2;

use crate::contract::attention::exact;
use crate::contract::matmul::{multiply, pack, weights};
use crate::contract::sequence::{Sequence, Shape, attend};
use crate::contract::{Errors, assert_close, errors, noise, to_f64};
use crate::isolated::{assert_clean, isolated};
use crate::python::python;
use crate::stand_in::backend;

#[test]
fn what_compile_py_writes_runs() {
    let Some(python) = python() else { return };
    isolated("chain::what_compile_py_writes_runs", "2_35", &[], |fake| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(&python);
        command.args(["-m", "kernels.compile", "--stand-in", "--model", "smollm2-135m", "--pages", "4"]);
        command.args(["--target", "trn2", "--lnc", "1", "--out"]).arg(folder.path());
        let compiled = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));

        let backend = backend(folder.path());
        let (w, x) = (weights(576, 576, WeightDtype::Bf16), Array2::from_shape_simple_fn((3, 576), noise(1)));
        let product = multiply(&*pack(&*backend, &w, WeightDtype::Bf16), x.view());
        let wanted = reference::matmul(to_f64(&x).view(), to_f64(&w).view(), None);
        let size = reference::matmul(to_f64(&x.abs()).view(), to_f64(&w.abs()).view(), None);
        let Errors { rounding, lhs, out } = errors(&*backend);
        let mut tolerance = size.mapv(|size| (578.0 * rounding + lhs) * size);
        tolerance.zip_mut_with(&wanted, |t, y| *t += out * (*t + y.abs()));
        assert_close(product.view(), wanted.view(), tolerance.view(), "the product");

        // A prompt that fills more than half of the first page, and a step of two sequences.
        assert_eq!(backend.caps().page_len, 2048, "SmolLM2 has few and small heads");
        let shape = Shape { n_kv_heads: 3, group: 3, head_dim: 64, n_tokens: 5, kv_len: 90, kv: KvDtype::Bf16 };
        let mut kv = shape.pages(&*backend, 3);
        let check = |kv: &mut dyn longhaul::backend::KvPages, sequences: &[&Sequence]| {
            for (sequence, found) in sequences.iter().zip(attend(kv, sequences, None)) {
                let (wanted, tolerance) = exact(sequence, &*backend, None);
                assert_close(found.view(), wanted.view(), tolerance.view(), "attention");
            }
        };
        let decode = |seed, page| Sequence::new(&*backend, seed, Shape { n_tokens: 1, kv_len: 7, ..shape }, page..);
        let (prompt, [first, second]) = (Sequence::new(&*backend, 1, shape, 0..), [decode(2, 1), decode(3, 2)]);
        prompt.store(&mut *kv);
        check(&mut *kv, &[&prompt]);
        first.store(&mut *kv);
        second.store(&mut *kv);
        check(&mut *kv, &[&first, &second]);
        drop((kv, backend));
        assert_clean(fake);
    });
}
