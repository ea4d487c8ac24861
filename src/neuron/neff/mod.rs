//! NEFF, the file of a compiled program: what it takes and gives, for which chip, and whether it is whole; read without
//! a device.
//!
//! A NEFF is a header of 1,024 bytes and a tar archive, gzipped or not. [`Neff::read`] takes it from any reader in one
//! pass: files of gigabytes cost no memory beyond the few small members that are kept, and no size in the file is
//! believed. What exceeds a limit is a [`NeffError`] that names it. AWS documents the header and what is in the archive
//! in "Work with NEFF files"; `tensor_map.json` and the order of the hash's bytes were read from public files. At load,
//! what libnrt says of a program's tensors is authoritative.
//!
//! [`write`](mod@write) makes well-formed NEFFs without a program in them, for tests and tools.

mod archive;
mod body;
mod error;
mod header;
mod json;
mod members;
pub mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use self::error::NeffError;
pub use self::header::{HEADER_BYTES, Header};
pub(in crate::neuron) use self::json::{shape, unique};
use self::members::Members;
use crate::error::{Error, Result};

/// What a NEFF says about its program.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Neff {
    /// The first 1,024 bytes.
    pub header: Header,
    /// Whether the archive is gzipped.
    pub compressed: bool,
    /// Whether the header's hash is that of the data.
    pub hash: HashState,
    /// The chip that it was compiled for, as the file names it: `cayman`.
    pub target_name: String,
    /// The same, if it is one that we know.
    pub target: Option<Target>,
    /// The compiler's version, from `info.json` or else the header.
    pub compiler: Option<String>,
    /// Physical cores that the program runs on: those with a tensor map.
    pub n_cores: usize,
    /// Inputs and outputs, each once though several cores have it.
    pub tensors: Vec<Tensor>,
    /// In a NEFF made for the fake runtime, the kernel that stands for the program.
    pub call: Option<KernelCall>,
}

impl Neff {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Program`] with a [`NeffError`]'s text when it is no sound NEFF.
    pub fn open(path: &Path) -> Result<Self> {
        if !std::fs::metadata(path).map_err(|e| Error::io(path, e))?.is_file() {
            return Err(Error::io(path, "not a regular file"));
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        Self::read(file).map_err(|e| e.at(path))
    }

    /// Reads a header and as much data as it says, and no further. A wrong hash is not an error: it is told by
    /// [`Neff::hash`].
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(mut source: impl Read) -> Result<Self, NeffError> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        source
            .by_ref()
            .take(HEADER_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| NeffError::Read(e.to_string()))?;
        let bytes: &[u8; HEADER_BYTES] = bytes.as_slice().try_into().map_err(|_| NeffError::Truncated {
            what: "the header",
            wanted: HEADER_BYTES as u64,
            found: bytes.len() as u64,
        })?;
        let header = Header::parse(bytes)?;
        let body::Data { found: members, compressed, hash } = body::read(source, &header, Members::scan)?;
        let n_cores = members.n_cores();
        if n_cores == 0 {
            return Err(NeffError::Missing("sgNN/tensor_map.json, a core's inputs and outputs"));
        }
        let target_name = members.target.ok_or(NeffError::Missing("target in kelf-0.json"))?;
        let built = Some(&header.build_version).filter(|v| !v.is_empty());
        Ok(Self {
            compressed,
            hash,
            target: Target::of_name(&target_name),
            target_name,
            compiler: members.compiler.or_else(|| built.cloned()),
            n_cores,
            tensors: members.tensors,
            call: members.call,
            header,
        })
    }

    /// The tensors that it reads.
    pub fn inputs(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter().filter(|t| t.kind == Kind::Input)
    }

    /// The tensors that it writes.
    pub fn outputs(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter().filter(|t| t.kind == Kind::Output)
    }
}

/// An input or output of a program.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Its name, by which it is bound.
    pub name: String,
    /// Whether the program reads or writes it.
    pub kind: Kind,
    /// Type of its elements, as the compiler calls it: `bfloat16`.
    pub dtype: String,
    /// Its dimensions.
    #[serde(deserialize_with = "shape")]
    pub shape: Vec<usize>,
}

impl Tensor {
    /// Bytes of the tensor; `None` for a type that is not known here, or a size that no memory has.
    pub fn size_bytes(&self) -> Option<usize> {
        let element = match self.dtype.as_str() {
            "float32" | "int32" | "uint32" => 4,
            "bfloat16" | "float16" | "int16" | "uint16" => 2,
            "float8_e3m4" | "float8_e4m3" | "float8_e5m2" | "int8" | "uint8" | "bool" => 1,
            "int64" | "uint64" => 8,
            _ => return None,
        };
        self.shape.iter().try_fold(element, |bytes: usize, n| bytes.checked_mul(*n))
    }
}

/// What a program does with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It reads it.
    Input,
    /// It writes it.
    Output,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// A generation of chips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// trn1 and inf2, `sunda` in a NEFF.
    Trn1,
    /// trn2, `cayman` in a NEFF.
    Trn2,
    /// trn3, `mariana` in a NEFF.
    Trn3,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Trn1, Self::Trn2, Self::Trn3];

    /// What a NEFF calls it.
    pub const fn neff_name(self) -> &'static str {
        match self {
            Self::Trn1 => "sunda",
            Self::Trn2 => "cayman",
            Self::Trn3 => "mariana",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.neff_name() == name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Trn1 => "trn1",
            Self::Trn2 => "trn2",
            Self::Trn3 => "trn3",
        })
    }
}

/// Whether the hash in the header is that of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HashState {
    /// It is.
    Right,
    /// It is not: the file was changed after it was made.
    Wrong,
    /// The package version is one whose hash is not known here.
    Unknown,
}

impl fmt::Display for HashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Unknown => "unknown package version",
        })
    }
}

/// One of the kernels in `kernels/`, and the arguments that it was compiled with: the member `longhaul.json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelCall {
    /// Compile-time arguments, by name.
    #[serde(deserialize_with = "unique")]
    pub arguments: BTreeMap<String, Argument>,
    /// The kernel's name.
    pub kernel: String,
}

/// A compile-time argument.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(untagged, expecting = "an argument that is neither a count nor a text")]
pub enum Argument {
    /// A number of things.
    Count(u64),
    /// A name, such as that of an element type.
    Text(String),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => n.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
