//! Catalogs: the manifest that `kernels/compile.py` writes, choosing programs, and files that are not what it says.

mod choosing;
#[path = "../common/compiled.rs"]
mod common;
mod compiled;
mod forged;
#[path = "../common/python.rs"]
mod python;

use common::{entry, folder, write_manifest};
use longhaul::neuron::catalog::Catalog;
use longhaul::neuron::neff::write::Program;
use tempfile::TempDir;

/// A matmul of `[m, 576]` and `[192, 576]`.
fn matmul(m: u64, weights: &str) -> Program {
    common::matmul("matmul", [m as usize, 576, 192], weights)
}

fn open(folder: &TempDir) -> Catalog {
    Catalog::open(folder.path()).unwrap()
}
