//! A backend on the stand-in, and programs for it.

use std::path::Path;

use fake_nrt::client::Fake;
use longhaul::backend::Backend;
use longhaul::neuron::backend::{NeuronOptions, open};
use longhaul::neuron::neff::Target;
use longhaul::neuron::neff::write::Program;

use crate::compiled::{Bucket, attention, folder, matmul};
use crate::contract::Backends;
use crate::isolated::{assert_clean, isolated};

/// Tokens of a page.
pub const PAGE_LEN: usize = 256;

/// Buckets of M.
const M: [usize; 4] = [1, 4, 16, 64];

/// Buckets of sequences and new tokens of each; the longest case has more.
const SEQUENCES: [(usize, usize); 4] = [(1, 1), (4, 1), (1, 8), (1, 48)];

/// Programs of a matrix.
pub fn matrix(n: usize, k: usize) -> Vec<Program> {
    M.map(|m| matmul([m, n, k], "bfloat16")).to_vec()
}

/// Programs of attention, over 32 pages.
pub fn heads(n_kv_heads: usize, group: usize, head_dim: usize, windows: &[usize]) -> Vec<Program> {
    let all = windows.iter().flat_map(|window| SEQUENCES.map(|shape| (*window, shape)));
    let bucket = |(window, (n_seqs, q_len))| Bucket {
        n_seqs,
        q_len,
        n_heads: n_kv_heads * group,
        n_kv_heads,
        head_dim,
        page_len: PAGE_LEN,
        max_pages: 5,
        unroll: 1,
        window,
        n_pages: 32,
    };
    all.map(|of| attention(bucket(of))).collect()
}

/// What the contract's cases need.
fn contract_programs() -> Vec<Program> {
    let sizes = [1, 31, 32, 33, 576].into_iter().flat_map(|k| [1, 15, 16, 17, 48, 200].map(|n| (n, k)));
    let matrices = sizes.chain([(48, 200), (20, 40), (3, 8)]).flat_map(|(n, k)| matrix(n, k));
    let geometries = [1, 3, 4, 8].into_iter().flat_map(|group| [64, 128].map(|head_dim| (group, head_dim)));
    let of_two = geometries.flat_map(|(group, head_dim)| heads(2, group, head_dim, &[0, 40]));
    let others = [heads(1, 3, 64, &[0, 1, 100, 300]), heads(2, 3, 64, &[50]), heads(3, 1, 64, &[0])];
    matrices.chain(of_two).chain(others.into_iter().flatten()).collect()
}

/// The backend with the programs of a folder, in a process whose libnrt is the stand-in.
pub fn backend(programs: &Path) -> Box<dyn Backend> {
    let (programs, target, lnc) = (Some(programs.into()), Some(Target::Trn2), Some(1));
    open(&NeuronOptions { programs, target, lnc, ..Default::default() }).unwrap()
}

/// Runs a case of the contract, and asserts that nothing is left of it. `name` is that of the test, at the root of this executable.
pub fn contract(name: &str, case: impl FnOnce(&Backends)) {
    on_the_stand_in(name, "2_34", &contract_programs(), |backend, _| {
        let backends = [backend];
        case(&backends);
    });
}

/// Runs `body` in a process of its own with a backend on a version of the stand-in, and asserts that nothing is left of it.
pub fn on_the_stand_in(name: &str, version: &str, programs: &[Program], body: impl FnOnce(Box<dyn Backend>, &Fake)) {
    isolated(name, version, &[], |fake| {
        let folder = folder(programs);
        body(backend(folder.path()), fake);
        assert_clean(fake);
    });
}
