//! Writes NEFFs that are well formed and hold no program, for tests and tools: what the fake runtime runs.
//!
//! The specification is the docstring of `kernels/neff.py`; that writer and this one make the same bytes
//! (`kernels/golden/stand-in.neff`). The steps are separate functions, so that a test can change the archive and seal
//! it again.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use sha2::Sha256;

use super::archive::{checksum, field, padding};
use super::body::words_reversed;
use super::header::{HEADER_BYTES, offset};
use super::{KernelCall, Target, Tensor};

/// A program to write.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name, of which the header keeps 255 bytes.
    pub name: String,
    /// What it computes.
    pub call: KernelCall,
    /// Its inputs and outputs, which all cores have.
    pub tensors: Vec<Tensor>,
    /// The chip.
    pub target: Target,
    /// Physical cores of a logical core.
    pub lnc: u32,
    /// The compiler's version, of which the header keeps 127 bytes.
    pub compiler: String,
}

impl Program {
    /// The NEFF with its archive as it is: header and data.
    pub fn neff(&self) -> Vec<u8> {
        self.seal(&self.archive())
    }

    /// The NEFF with its archive gzipped.
    pub fn gzipped_neff(&self) -> Vec<u8> {
        self.seal(&gzip(&self.archive()))
    }

    /// The members, by their paths, in the archive's order.
    pub fn members(&self) -> Vec<(String, Vec<u8>)> {
        let described =
            |t: &Tensor| sorted([("dtype", json!(t.dtype)), ("kind", json!(t.kind)), ("tf_shape", json!(t.shape))]);
        let tensor_map: BTreeMap<&str, _> = self.tensors.iter().map(|t| (t.name.as_str(), described(t))).collect();
        let mut members = vec![
            ("neff.json".to_owned(), json!(sorted([("name", json!(self.name)), ("version", json!("2.0"))]))),
            ("kelf-0.json".to_owned(), json!({ "target": self.target.neff_name() })),
            ("info.json".to_owned(), json!({ "tool_version": self.compiler })),
            ("hlo_stats.json".to_owned(), json!({})),
            ("longhaul.json".to_owned(), json!(self.call)), // its fields stand in the order of their names
        ];
        members.extend((0..self.lnc).map(|core| (format!("sg{core:02}/tensor_map.json"), json!(tensor_map))));
        members.into_iter().map(|(path, value)| (path, value.to_string().into_bytes())).collect()
    }

    /// The tar archive of [`members`](Self::members).
    pub fn archive(&self) -> Vec<u8> {
        archive(&self.members())
    }

    /// The header for `data`, with its hash, and the data.
    pub fn seal(&self, data: &[u8]) -> Vec<u8> {
        let mut neff = vec![0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| neff[at..at + bytes.len()].copy_from_slice(bytes);
        put(offset::PACKAGE_VERSION, &2_u64.to_le_bytes());
        put(offset::HEADER_SIZE, &(HEADER_BYTES as u64).to_le_bytes());
        put(offset::DATA_SIZE, &(data.len() as u64).to_le_bytes());
        put(offset::MAJOR, &2_u64.to_le_bytes());
        put(offset::MINOR, &0_u64.to_le_bytes());
        put(offset::BUILD_VERSION, at_most(&self.compiler, 127));
        put(offset::N_TPB, &1_u32.to_le_bytes());
        put(offset::HASH, &words_reversed(Md5::digest(data).into()));
        put(offset::UUID, &Sha256::digest(data)[..16]);
        put(offset::NAME, at_most(&self.name, 255));
        put(offset::REQUESTED_TPB, &1_u32.to_le_bytes());
        put(offset::TPB_PER_NODE, &[1]);
        put(offset::FEATURE_BITS, &0_u64.to_le_bytes());
        put(offset::LNC, &self.lnc.to_le_bytes());
        neff.extend_from_slice(data);
        neff
    }
}

/// A ustar archive of files, mode 0644, owner and time 0, closed by two zero blocks.
pub fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, content) in members {
        archive.extend_from_slice(&member_header(path, content.len() as u64));
        archive.extend_from_slice(content);
        archive.resize(archive.len() + padding(content.len() as u64) as usize, 0);
    }
    archive.resize(archive.len() + 2 * 512, 0);
    archive
}

/// A gzip stream of `data`.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).and_then(|()| encoder.finish()).expect("writing to memory does not fail")
}

/// The header block of a member of `size` bytes, of a path of at most 100.
pub fn member_header(path: &str, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(field::NAME.start, path);
    put(100, "0000644"); // mode
    put(108, "0000000"); // user
    put(116, "0000000"); // group
    put(field::SIZE.start, &format!("{size:011o}"));
    put(136, "00000000000"); // time
    put(field::TYPE, "0");
    put(field::MAGIC.start, "ustar");
    put(263, "00"); // version
    let sum = format!("{:06o}\0 ", checksum(&block));
    block[field::CHECKSUM].copy_from_slice(sum.as_bytes());
    block
}

/// An object with its keys in order, as both writers have them.
fn sorted<const N: usize>(fields: [(&str, Value); N]) -> BTreeMap<&str, Value> {
    BTreeMap::from(fields)
}

fn at_most(text: &str, n: usize) -> &[u8] {
    &text.as_bytes()[..text.len().min(n)]
}
