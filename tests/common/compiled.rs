//! Programs of our kernels as `kernels/programs.py` describes them, and catalogs of them without a compiler: NEFFs that
//! hold no program, with their manifest, as `kernels/compile.py --stand-in` makes them.

// Each crate of tests uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;

use longhaul::neuron::catalog::MANIFEST;
use longhaul::neuron::neff::write::Program;
use longhaul::neuron::neff::{Argument, KernelCall, Kind, Target, Tensor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Partitions of a core.
const P: usize = 128;

/// A program for trn2, LNC 1.
fn program(kernel: &str, arguments: Vec<(&str, Argument)>, tensors: Vec<Tensor>) -> Program {
    let arguments: BTreeMap<String, Argument> =
        arguments.into_iter().map(|(name, value)| (name.into(), value)).collect();
    Program {
        name: format!("{kernel}-{arguments:?}"),
        call: KernelCall { kernel: kernel.into(), arguments },
        tensors,
        target: Target::Trn2,
        lnc: 1,
        compiler: "stand-in 1".into(),
    }
}

fn tensor(name: &str, kind: Kind, dtype: &str, shape: &[usize]) -> Tensor {
    Tensor { name: name.into(), kind, dtype: dtype.into(), shape: shape.into() }
}

fn count(n: usize) -> Argument {
    Argument::Count(n as u64)
}

/// `matmul` or `matmul_silu_gate` of `x[m, k]` and `W[n, k]`, for trn2, LNC 1.
pub fn matmul(kernel: &str, [m, k, n]: [usize; 3], weights: &str) -> Program {
    let (k_tiles, n_tiles) = (k.div_ceil(P), n.div_ceil(P));
    let parts = if kernel == "matmul" { 1 } else { 2 };
    let mut arguments = [("m", m), ("k", k), ("n", n)].map(|(name, n)| (name, count(n))).to_vec();
    arguments.push(("weights", Argument::Text(weights.into())));
    let mut tensors = vec![
        tensor("x", Kind::Input, "bfloat16", &[P, k_tiles, m]),
        tensor("weights", Kind::Input, weights, &[P, parts * n_tiles, k_tiles, P]),
        tensor("out", Kind::Output, "bfloat16", &[P, n_tiles, m]),
    ];
    if weights != "bfloat16" {
        tensors.push(tensor("scale", Kind::Input, "float32", &[P, parts * n_tiles]));
    }
    program(kernel, arguments, tensors)
}

/// What an attention program is compiled for: `kernels/attention_plan.py`.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    pub n_seqs: usize,
    pub q_len: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    pub page_len: usize,
    pub max_pages: usize,
    pub unroll: usize,
    pub window: usize,
    pub n_pages: usize,
}

/// `attention`, for trn2, LNC 1.
pub fn attention(bucket: Bucket) -> Program {
    let Bucket { n_seqs, q_len, n_heads, n_kv_heads, head_dim, page_len, max_pages, unroll, window, n_pages } = bucket;
    let (n_tokens, step) = (n_seqs * q_len, 2 * unroll);
    let k_pages = [n_pages, P, n_kv_heads, page_len * head_dim / P];
    let v_pages = [n_pages, P, page_len / P, n_kv_heads, head_dim];
    let input = |name: &str, dtype: &str, shape: &[usize]| tensor(name, Kind::Input, dtype, shape);
    let output = |name: &str, shape: &[usize]| tensor(name, Kind::Output, "bfloat16", shape);
    let tensors = vec![
        input("q", "bfloat16", &[head_dim, n_heads, n_tokens]),
        input("k_new", "bfloat16", &[head_dim, n_kv_heads, n_tokens]),
        input("v_new", "bfloat16", &[n_tokens, n_kv_heads * head_dim]),
        input("k_pages.must_alias_input", "bfloat16", &k_pages),
        input("v_pages.must_alias_input", "bfloat16", &v_pages),
        input("counts", "int32", &[n_seqs, 4 + step]),
        input("tables", "int32", &[n_seqs, 2, max_pages.div_ceil(step) + 1, step]),
        input("tails", "int32", &[n_seqs, (page_len - 1 + q_len).div_ceil(page_len)]),
        input("rows", "int32", &[n_tokens, 1]),
        input("bounds", "float32", &[P, n_seqs, 3]),
        output("out", &[n_tokens, n_heads, head_dim]),
        output("k_pages", &k_pages),
        output("v_pages", &v_pages),
    ];
    let arguments = [
        ("n_seqs", n_seqs),
        ("q_len", q_len),
        ("n_heads", n_heads),
        ("n_kv_heads", n_kv_heads),
        ("head_dim", head_dim),
        ("page_len", page_len),
        ("max_pages", max_pages),
        ("unroll", unroll),
        ("window", window),
        ("static_pages", 0),
        ("n_pages", n_pages),
    ];
    program("attention", arguments.map(|(name, n)| (name, count(n))).to_vec(), tensors)
}

/// An entry of a manifest, and its file.
pub fn entry(program: &Program) -> (Value, Vec<u8>) {
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
pub fn folder(programs: &[Program]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), programs);
    folder
}

/// Writes these programs and their manifest into a folder.
pub fn write(folder: &Path, programs: &[Program]) {
    let mut entries = Vec::new();
    for program in programs {
        let (entry, neff) = entry(program);
        std::fs::write(folder.join(entry["neff"].as_str().unwrap()), neff).unwrap();
        entries.push(entry);
    }
    write_manifest(folder, &json!({"schema": 1, "programs": entries}));
}

pub fn write_manifest(folder: &Path, manifest: &Value) {
    std::fs::write(folder.join(MANIFEST), manifest.to_string()).unwrap();
}
