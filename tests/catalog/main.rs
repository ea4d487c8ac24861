//! Catalogs: the manifest that `kernels/compile.py` writes, choosing programs, and files that are not what it says.

mod choosing;
mod compiled;
mod forged;
#[path = "../common/python.rs"]
mod python;

use std::path::Path;

use longhaul::neuron::catalog::{Catalog, MANIFEST};
use longhaul::neuron::neff::write::Program;
use longhaul::neuron::neff::{Argument, KernelCall, Kind, Target, Tensor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A matmul of `[m, 576]` and `[192, 576]`.
fn matmul(m: u64, weights: &str) -> Program {
    let mut arguments = [("m", m), ("k", 576), ("n", 192)].map(|(name, n)| (name.into(), Argument::Count(n))).to_vec();
    arguments.push(("weights".into(), Argument::Text(weights.into())));
    let tensor = |name: &str, kind, dtype: &str, shape: &[usize]| Tensor {
        name: name.into(),
        kind,
        dtype: dtype.into(),
        shape: shape.into(),
    };
    Program {
        name: format!("matmul-{m}-{weights}"),
        call: KernelCall { kernel: "matmul".into(), arguments: arguments.into_iter().collect() },
        tensors: vec![
            tensor("x", Kind::Input, "bfloat16", &[128, 5, m as usize]),
            tensor("weights", Kind::Input, weights, &[128, 2, 5, 128]),
            tensor("out", Kind::Output, "bfloat16", &[128, 2, m as usize]),
        ],
        target: Target::Trn2,
        lnc: 1,
        compiler: "test".into(),
    }
}

/// An entry of a manifest, and its file.
fn entry(program: &Program) -> (Value, Vec<u8>) {
    let neff = program.neff();
    let hash = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
    let key = hash(format!("{program:?}").as_bytes());
    let entry = json!({
        "kernel": program.call.kernel, "arguments": program.call.arguments, "tensors": program.tensors, "target": program.target,
        "lnc": program.lnc, "compiler": program.compiler, "nki": "simulator", "key": key,
        "neff": format!("{}-{}.neff", program.call.kernel, &key[..16]), "sha256": hash(&neff),
    });
    (entry, neff)
}

/// A folder with a manifest of these programs.
fn folder(programs: &[Program]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut entries = Vec::new();
    for program in programs {
        let (entry, neff) = entry(program);
        std::fs::write(folder.path().join(entry["neff"].as_str().unwrap()), neff).unwrap();
        entries.push(entry);
    }
    write_manifest(folder.path(), &json!({"schema": 1, "programs": entries}));
    folder
}

fn write_manifest(folder: &Path, manifest: &Value) {
    std::fs::write(folder.join(MANIFEST), manifest.to_string()).unwrap();
}

fn open(folder: &TempDir) -> Catalog {
    Catalog::open(folder.path()).unwrap()
}
