//! Which programs there are: a folder of NEFFs, and the manifest that `python -m kernels.compile` writes beside them.
//!
//! Trainium runs programs of fixed shapes, compiled ahead of time for a set of sizes, the buckets. A [`Request`] says
//! what a call needs; [`Catalog::find`] gives the smallest bucket that takes it and how much is to be padded, or an
//! error that names what is missing and the command that builds it. [`default_dir`] is where programs are looked for. A
//! program is checked when it is loaded: its SHA-256, the hash inside the NEFF, and that the file says the same as the
//! manifest.
//!
//! # The manifest
//! `manifest.json`, UTF-8, at most 16 MiB:
//!
//! ```json
//! {"schema": 1, "programs": [{
//!     "kernel": "matmul",
//!     "arguments": {"m": 4, "k": 576, "n": 192, "weights": "bfloat16"},
//!     "tensors": [{"name": "x", "kind": "input", "dtype": "bfloat16", "shape": [128, 5, 4]}],
//!     "target": "trn2", "lnc": 1, "compiler": "2.28.0", "nki": "0.7.0",
//!     "key": "64 hexadecimal digits", "neff": "matmul-0123456789abcdef.neff", "sha256": "64 hexadecimal digits"}]}
//! ```
//!
//! Each field is an [`Entry`]'s. Nothing else may stand there. `arguments` are counts and names; a kernel stands there
//! once with the same arguments, target and LNC. `neff` is the name of a file in the same folder; `key` and `sha256`
//! are lower-case.

mod error;
mod manifest;
mod request;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use self::error::{CatalogError, Problem};
pub use self::manifest::Entry;
pub use self::request::{Fit, Padding, Request};
use super::neff::{HashState, Neff};

/// The manifest's name in its folder.
pub const MANIFEST: &str = "manifest.json";

/// The variable that names the folder of programs.
const DIR_VARIABLE: &str = "LONGHAUL_PROGRAMS";

/// The folder of programs where nothing names one, in the working folder; `kernels/compile.py` writes there too.
const DEFAULT_DIR: &str = "programs";

/// Where programs are looked for, and who said so: the folder that `LONGHAUL_PROGRAMS` names, else `programs` in the
/// working folder. It need not be there.
pub fn default_dir() -> (PathBuf, &'static str) {
    dir_of(std::env::var_os(DIR_VARIABLE))
}

fn dir_of(variable: Option<OsString>) -> (PathBuf, &'static str) {
    match variable.filter(|dir| !dir.is_empty()) {
        Some(dir) => (dir.into(), DIR_VARIABLE),
        None => (DEFAULT_DIR.into(), "default"),
    }
}

/// A folder of compiled programs.
#[derive(Debug, Clone)]
pub struct Catalog {
    dir: PathBuf,
    entries: Vec<Entry>,
}

impl Catalog {
    /// Reads the manifest of a folder. The programs are not opened.
    ///
    /// # Errors
    /// [`CatalogError::Io`] when it cannot be read, [`CatalogError::Unsound`] when it does not follow its schema.
    pub fn open(dir: &Path) -> Result<Self, CatalogError> {
        Ok(Self { dir: dir.into(), entries: manifest::read(&dir.join(MANIFEST))? })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All programs, in the manifest's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The programs that differ from the request in their bucket at most, smallest first: for a caller who may also cut
    /// a call in pieces.
    pub fn buckets(&self, request: &Request) -> Vec<&Entry> {
        let mut buckets: Vec<&Entry> = self.entries.iter().filter(|e| request.is_kind_of(e)).collect();
        buckets.sort_by_key(|e| request.at_least.iter().map(|(name, _)| e.count(name)).collect::<Vec<_>>());
        buckets
    }

    /// The program with the smallest bucket that the request fits into: the smallest product of the counts that may be
    /// larger. Of equal ones the first in the order of [`Catalog::buckets`].
    ///
    /// # Errors
    /// [`CatalogError::Missing`] when there is none.
    pub fn find(&self, request: &Request) -> Result<Fit<'_>, CatalogError> {
        let buckets = self.buckets(request);
        let fits = buckets.iter().filter_map(|entry| Some(Fit { entry, padding: request.padding(entry)? }));
        fits.min_by_key(Fit::size).ok_or_else(|| CatalogError::Missing {
            wanted: request.words(),
            dir: self.dir.clone(),
            nearest: buckets.iter().map(|entry| request.bucket_words(entry)).collect(),
            command: request.command(&self.dir),
        })
    }

    /// Reads a program and checks it, in little memory.
    ///
    /// # Errors
    /// [`CatalogError::Io`] when it cannot be read; [`CatalogError::Unsound`] when it is another file than the manifest
    /// tells of, is damaged, or says something else than the manifest.
    pub fn verify(&self, entry: &Entry) -> Result<Neff, CatalogError> {
        let path = self.dir.join(&entry.neff);
        check(entry, &path, open(&path)?)
    }

    /// Reads a program into memory and checks it: what was checked is what is returned.
    ///
    /// # Errors
    /// As [`Catalog::verify`].
    pub fn load(&self, entry: &Entry) -> Result<Vec<u8>, CatalogError> {
        let path = self.dir.join(&entry.neff);
        let mut bytes = Vec::new();
        open(&path)?.read_to_end(&mut bytes).map_err(|e| CatalogError::io(&path, e))?;
        check(entry, &path, bytes.as_slice())?;
        Ok(bytes)
    }
}

fn open(path: &Path) -> Result<File, CatalogError> {
    if !std::fs::metadata(path).map_err(|e| CatalogError::io(path, e))?.is_file() {
        return Err(CatalogError::io(path, "not a regular file"));
    }
    File::open(path).map_err(|e| CatalogError::io(path, e))
}

/// Reads a NEFF to the end of its file and holds it against its entry.
fn check(entry: &Entry, path: &Path, file: impl Read) -> Result<Neff, CatalogError> {
    let mut file = Hashed { file, hash: Sha256::new() };
    let neff = Neff::read(&mut file);
    // What the reader did not want counts as well.
    std::io::copy(&mut file, &mut std::io::sink()).map_err(|e| CatalogError::io(path, e))?;
    let found: String = file.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != entry.sha256 {
        return Err(Problem::Sha256 { wanted: entry.sha256.clone(), found }.at(path));
    }
    let neff = neff.map_err(|error| Problem::Neff(error).at(path))?;
    difference(entry, &neff).map_or(Ok(neff), |difference| Err(difference.at(path)))
}

/// The first thing about which a NEFF and its entry differ.
fn difference(entry: &Entry, neff: &Neff) -> Option<Problem> {
    let differs = |what: &str, found: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display| {
        let (found, wanted) = (found.to_string(), wanted.to_string());
        (found != wanted).then(|| Problem::Differs { what: what.into(), found, wanted })
    };
    let tensor = |t: &super::neff::Tensor| format!("{} {} {:?}", t.kind, t.dtype, t.shape);
    let missing = "nothing".to_owned();
    let in_neff = |name: &str| neff.tensors.iter().find(|t| t.name == name).map_or(missing.clone(), tensor);
    let in_entry = |name: &str| entry.tensors.iter().find(|t| t.name == name).map_or(missing.clone(), tensor);
    differs("the hash", &neff.hash, &HashState::Right)
        .or_else(|| differs("the target", &neff.target_name, &entry.target.neff_name()))
        .or_else(|| differs("the LNC", &neff.header.lnc, &entry.lnc))
        .or_else(|| {
            let names = entry.tensors.iter().chain(&neff.tensors).map(|t| t.name.as_str());
            names.into_iter().find_map(|n| differs(&format!("the tensor \"{n}\""), &in_neff(n), &in_entry(n)))
        })
        .or_else(|| {
            let call = neff.call.as_ref()?;
            let words = |kernel: &str, arguments: &_| format!("{kernel} {arguments:?}");
            let wanted = words(&entry.kernel, &entry.arguments);
            differs("the kernel", &words(&call.kernel, &call.arguments), &wanted)
        })
}

/// A file that is hashed while it is read.
struct Hashed<R> {
    file: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_the_folder() {
        assert_eq!(dir_of(Some("/mine".into())), (PathBuf::from("/mine"), "LONGHAUL_PROGRAMS"));
        assert_eq!(dir_of(Some("".into())), dir_of(None));
        assert_eq!(dir_of(None).0, Path::new("programs"));
    }
}
