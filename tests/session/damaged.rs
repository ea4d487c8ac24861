//! The real model's folder, damaged: refused by name before any work, and never a panic.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use longhaul::Error;
use longhaul::engine::Engine;
use tempfile::TempDir;

use crate::smollm2::model_dir;

const WEIGHTS: &str = "model.safetensors";

/// A copy of the model's folder.
fn copy() -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model_dir()?).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let weights = folder.path().join(WEIGHTS);
    Some((folder, weights))
}

/// What is wrong with the folder.
#[track_caller]
fn problems(dir: &Path) -> Vec<String> {
    match Engine::builder().model_dir(dir).kv_budget_bytes(16 << 20).build() {
        Err(Error::Model { path, problems }) if path == dir && !problems.is_empty() => problems,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a damaged model was taken"),
    }
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn flipped_bits_and_truncation() {
    let Some((folder, weights)) = copy() else { return };
    let file = open(&weights);
    let len = file.metadata().unwrap().len();
    let read = |at: u64, n: usize| {
        let mut bytes = vec![0; n];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    let header_len = u64::from_le_bytes(read(0, 8).try_into().unwrap());
    let header = String::from_utf8(read(8, header_len as usize)).unwrap();
    let find = |word: &str| 8 + header.find(word).expect(word) as u64;
    // A bit of the header's length, a bracket, a quote, a name, a type, an offset; and what the error names.
    let name = "model.layers.0";
    let header_places = [0, 5, 8, 9, find("BF16"), find("data_offsets\":[") + 15].map(|at| (at, WEIGHTS));
    for (at, named) in header_places.into_iter().chain([(find(name), name)]) {
        let before = read(at, 1);
        file.write_all_at(&[before[0] ^ 1], at).unwrap();
        let found = problems(folder.path());
        assert!(found[0].contains(named), "byte {at}: {found:?}");
        file.write_all_at(&before, at).unwrap();
    }

    // A flipped bit of a weight leaves a number, which nobody can tell from another, unless it makes an infinity or
    // NaN.
    let nan_at = 8 + header_len + 2 * 1_000_003;
    let before = read(nan_at, 2);
    file.write_all_at(&half::bf16::NAN.to_le_bytes(), nan_at).unwrap();
    let found = problems(folder.path());
    assert!(found.len() == 1 && found[0].contains("not finite at element"), "{found:?}");
    file.write_all_at(&before, nan_at).unwrap();

    for shorter in [len - 1, len / 2, 8 + header_len, 100, 7, 0] {
        file.set_len(shorter).unwrap();
        assert!(problems(folder.path())[0].contains(WEIGHTS), "{shorter} bytes");
    }
}
