//! The manifest that `kernels/compile.py` writes.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use serde::Deserialize;

use super::{CatalogError, Problem};
use crate::neuron::neff::{Argument, Target, Tensor, unique};

/// The only schema so far.
const SCHEMA: u64 = 1;

/// Bytes of a manifest, of which a program takes about one thousand.
const MAX_BYTES: u64 = 16 << 20;

/// A compiled program, as the manifest tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The kernel in `kernels/`: `matmul`, `matmul_silu_gate`, `attention`.
    pub kernel: String,
    /// What it was compiled for, by the names that the kernel has for its compile-time arguments: the bucket's counts,
    /// and types.
    #[serde(deserialize_with = "unique")]
    pub arguments: BTreeMap<String, Argument>,
    /// Inputs and outputs, in the order in which the kernel takes and gives them.
    pub tensors: Vec<Tensor>,
    /// The chip.
    pub target: Target,
    /// Physical cores of a logical core, 1 or 2.
    pub lnc: u32,
    /// The compiler's version.
    pub compiler: String,
    /// NKI's version.
    pub nki: String,
    /// SHA-256 of all that the program depends on: sources, tensors, target, LNC, versions.
    pub key: String,
    /// The NEFF's name in the manifest's folder.
    pub neff: String,
    /// SHA-256 of the NEFF.
    pub sha256: String,
}

impl Entry {
    /// A compile-time count; `None` if the kernel has no such argument, or it is a name.
    pub fn count(&self, name: &str) -> Option<u64> {
        match self.arguments.get(name)? {
            Argument::Count(n) => Some(*n),
            Argument::Text(_) => None,
        }
    }

    /// What cannot be about an entry by itself.
    fn problem(&self) -> Option<String> {
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut names = HashSet::new();
        if self.kernel.is_empty() {
            Some("the kernel has no name".into())
        } else if !stands_in_the_folder(&self.neff) {
            Some(format!("{:?} is not the name of a file in the manifest's folder", self.neff))
        } else if !is_hash(&self.sha256) {
            Some(format!("sha256 is {:?}, which is none", self.sha256))
        } else if !is_hash(&self.key) {
            Some(format!("key is {:?}, which is no SHA-256", self.key))
        } else if !(1..=2).contains(&self.lnc) {
            Some(format!("lnc is {}, and there are 1 and 2", self.lnc))
        } else {
            let twice = self.tensors.iter().find(|t| !names.insert(&t.name));
            twice.map(|tensor| format!("the tensor {:?} is there twice", tensor.name))
        }
    }
}

/// Whether a name, joined to a folder, is that of a file right in it. Symbolic links are followed all the same: who can
/// place one there can place a file.
fn stands_in_the_folder(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let is_one = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    is_one && !name.contains(['/', '\\', '\0', ':'])
}

/// Reads the manifest at `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, CatalogError> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u64,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Manifest {
        #[serde(rename = "schema")]
        _schema: u64,
        programs: Vec<Entry>,
    }
    let wrong = |e: serde_json::Error| Problem::Manifest(e.to_string()).at(path);
    let json = bytes(path)?;
    let Schema { schema } = serde_json::from_slice(&json).map_err(wrong)?;
    if schema != SCHEMA {
        let problem = Problem::Manifest(format!("schema {schema}, and only schema {SCHEMA} is known"));
        return Err(problem.at(path));
    }
    let Manifest { programs, .. } = serde_json::from_slice(&json).map_err(wrong)?;
    let (mut keys, mut files, mut buckets) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (idx, entry) in programs.iter().enumerate() {
        let again = |what: &str| Some(format!("{what} is there twice"));
        let problem = entry.problem().or_else(|| {
            if !keys.insert(&entry.key) {
                again("its key")
            } else if !files.insert(&entry.neff) {
                again("its file")
            } else if !buckets.insert((&entry.kernel, &entry.arguments, entry.target, entry.lnc)) {
                again("its bucket")
            } else {
                None
            }
        });
        if let Some(reason) = problem {
            return Err(Problem::Entry { idx, kernel: entry.kernel.clone(), reason }.at(path));
        }
    }
    Ok(programs)
}

fn bytes(path: &Path) -> Result<Vec<u8>, CatalogError> {
    let failed = |e: std::io::Error| CatalogError::io(path, e);
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(CatalogError::io(path, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Problem::Manifest(format!("larger than {} MiB", MAX_BYTES >> 20)).at(path));
    }
    Ok(bytes)
}
