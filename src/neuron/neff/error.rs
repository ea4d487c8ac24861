//! What can be wrong with a NEFF.

use std::path::Path;

use crate::error::Error;

/// Everything that can be wrong with a NEFF, or with reading it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeffError {
    /// The source could not be read.
    #[error("cannot be read: {0}")]
    Read(String),
    /// The header is not one of a NEFF: nothing else in the format has a fixed value to know it by.
    #[error("not a NEFF: {0}")]
    NotNeff(String),
    /// A NEFF of a later format than any runtime that we know takes.
    #[error("NEFF version {major}.{minor} is not supported: versions up to {}.x are", super::header::MAX_MAJOR)]
    Version {
        /// Major version in the header.
        major: u64,
        /// Minor version in the header.
        minor: u64,
    },
    /// The file ends before the header says.
    #[error("cut off: {what} takes {wanted} bytes, and {found} are there")]
    Truncated {
        /// The header or the data.
        what: &'static str,
        /// Bytes that there should be.
        wanted: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// Something is larger than a NEFF's can be: an error before the memory or the time is spent.
    #[error("{what}: {size}, and at most {limit} are read")]
    TooLarge {
        /// What it is, and in which unit it is counted.
        what: String,
        /// How large it is, or says it is.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The archive is malformed.
    #[error("the archive is damaged at byte {offset}: {reason}")]
    Archive {
        /// Where, in the unpacked archive.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A member's content is wrong.
    #[error("{member}: {reason}")]
    Member {
        /// The member.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A member that every program has is not there.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// A member is there twice, so that readers could see different ones.
    #[error("{0} is there twice")]
    Duplicate(String),
    /// Two cores disagree about a tensor.
    #[error("{member}: the tensor \"{tensor}\" differs from that of another core")]
    Conflict {
        /// The tensor map that differs from those before it.
        member: String,
        /// The tensor.
        tensor: String,
    },
}

impl NeffError {
    /// As the crate's error, for the file at `path`.
    pub fn at(self, path: &Path) -> Error {
        match self {
            Self::Read(reason) => Error::io(path, reason),
            error => Error::Program { path: path.into(), reason: error.to_string() },
        }
    }
}
