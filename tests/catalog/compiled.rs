//! The manifest and the NEFFs that `kernels/compile.py` writes with its stand-in compiler.

use std::collections::BTreeSet;
use std::process::Command;

use longhaul::neuron::catalog::{Catalog, Request};
use longhaul::neuron::neff::{HashState, Neff, Target};

use crate::python::python;

#[test]
fn what_compile_py_writes_is_a_catalog_of_sound_programs() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (target, lnc, weights) in [("trn2", "1", "bfloat16"), ("trn3", "2", "float8_e4m3")] {
        let mut command = Command::new(&python);
        command.args(["-m", "kernels.compile", "--stand-in", "--model", "llama-3.2-1b", "--pages", "64"]);
        command.args(["--target", target, "--lnc", lnc, "--weights", weights, "--out"]).arg(folder.path());
        let out = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let catalog = Catalog::open(folder.path()).unwrap();
    assert!(catalog.entries().len() > 60, "{} programs", catalog.entries().len());
    let mut kernels = BTreeSet::new();
    for entry in catalog.entries() {
        // SHA-256, hash, target, LNC, tensors and the kernel's arguments are compared in here.
        let neff = catalog.verify(entry).unwrap();
        assert_eq!((neff.hash, neff.n_cores as u32), (HashState::Right, entry.lnc));
        assert_eq!(neff.compiler.as_deref(), Some(entry.compiler.as_str()));
        assert_eq!(neff.inputs().count() + neff.outputs().count(), entry.tensors.len());
        assert!(neff.tensors.iter().all(|t| t.size_bytes().is_some()), "{:?}", neff.tensors);
        assert!(neff.call.is_some(), "the fake runtime knows what to run");
        assert_eq!(Neff::read(catalog.load(entry).unwrap().as_slice()).unwrap(), neff);
        kernels.insert((entry.kernel.as_str(), entry.target, entry.lnc));
    }
    let expected = ["attention", "matmul", "matmul_silu_gate"]
        .map(|kernel| [(kernel, Target::Trn2, 1), (kernel, Target::Trn3, 2)]);
    assert_eq!(kernels, expected.into_iter().flatten().collect());

    // The model's attention output: any number of rows up to the largest bucket.
    let request = |m| Request::matmul("matmul", Target::Trn2, 1, [m, 2048, 2048], "bfloat16");
    let chosen = [1, 3, 200, 1024].map(|m| catalog.find(&request(m)).unwrap().entry.count("m").unwrap());
    assert_eq!(chosen, [1, 4, 256, 1024]);
}
