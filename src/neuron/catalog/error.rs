//! What can be wrong with a catalog, or missing in it.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::neuron::neff::NeffError;

/// Everything that can be wrong with a catalog and its programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The manifest or a program could not be read.
    #[error("{path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The manifest or a program was read, and cannot be used.
    #[error("{path}: {problem}")]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// No program in the catalog is for what was asked.
    #[error("there is no program for {wanted} in {dir}{}; this builds it: {command}", there(.nearest))]
    Missing {
        /// The kernel and its arguments, target and LNC, in words.
        wanted: String,
        /// The catalog's folder.
        dir: PathBuf,
        /// Programs that differ in their bucket alone, in words.
        nearest: Vec<String>,
        /// The command that builds it.
        command: String,
    },
}

/// What can be wrong with a manifest or a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The manifest does not follow its schema; says where.
    #[error("{0}")]
    Manifest(String),
    /// An entry of the manifest that cannot be: its file outside of the folder, its hash no hash, itself there twice.
    #[error("program {idx} ({kernel}): {reason}")]
    Entry {
        /// Position among the programs, from 0.
        idx: usize,
        /// The entry's kernel.
        kernel: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program's file is not the one that the manifest tells of.
    #[error("the SHA-256 is {found}, and the manifest says {wanted}; compile it again")]
    Sha256 {
        /// What the manifest says.
        wanted: String,
        /// What it is.
        found: String,
    },
    /// A program's file is no sound NEFF.
    #[error("{0}")]
    Neff(NeffError),
    /// A program's file says something else than the manifest.
    #[error("{what} is {found} there, and {wanted} in the manifest")]
    Differs {
        /// What they disagree about.
        what: String,
        /// What the file says.
        found: String,
        /// What the manifest says.
        wanted: String,
    },
}

impl CatalogError {
    pub(super) fn io(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Io { path: path.into(), reason: reason.to_string() }
    }
}

impl Problem {
    /// The problem of the file at `path`.
    pub(super) fn at(self, path: &Path) -> CatalogError {
        CatalogError::Unsound { path: path.into(), problem: self }
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        let text = error.to_string();
        match error {
            CatalogError::Io { path, reason } => Self::Io { path, reason },
            CatalogError::Unsound { path, problem } => Self::Program { path, reason: problem.to_string() },
            CatalogError::Missing { wanted, .. } => {
                Self::Unavailable { what: format!("{wanted}, compiled,"), why: text }
            }
        }
    }
}

fn there(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(" (there is {})", nearest.join("; ")) }
}
