//! The members that tell what a program is.

use std::collections::{BTreeSet, HashMap};

use serde::de::DeserializeOwned;

use super::archive::Archive;
use super::json::{Info, Kelf, MAX_TENSORS, TensorMap};
use super::{KernelCall, NeffError, Tensor};

/// Bytes of a member that is read. An entry of a tensor map takes some 350, and there is one for each constant too.
const MAX_MEMBER_BYTES: u64 = 2 << 20;

/// Bytes of a [`KernelCall`].
const MAX_CALL_BYTES: u64 = 64 << 10;

/// Cores of a program. libnrt's own limit is not documented.
const MAX_CORES: usize = 64;

/// What the members said.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub target: Option<String>,
    pub compiler: Option<String>,
    pub call: Option<KernelCall>,
    /// Tensors of all cores, each once, in the order of the first map that has it.
    pub tensors: Vec<Tensor>,
    cores: BTreeSet<usize>,
    seen: BTreeSet<&'static str>,
    tensor_idx: HashMap<String, usize>,
}

impl Members {
    /// Reads an archive to its end.
    pub fn scan(archive: &mut Archive<'_>) -> Result<Self, NeffError> {
        let mut members = Self::default();
        while let Some(member) = archive.next_member()? {
            let name = member.name.as_str();
            if name == "kelf-0.json" {
                members.first("kelf-0.json")?;
                let Kelf { target } = parse(name, &archive.content(&member, MAX_MEMBER_BYTES)?)?;
                members.target = target.map(|word| word.0);
            } else if name == "info.json" {
                members.first("info.json")?;
                let Info { tool_version } = parse(name, &archive.content(&member, MAX_MEMBER_BYTES)?)?;
                members.compiler = tool_version.map(|word| word.0);
            } else if name == "longhaul.json" {
                members.first("longhaul.json")?;
                members.call = Some(parse(name, &archive.content(&member, MAX_CALL_BYTES)?)?);
            } else if let Some(core) = tensor_map_of(name) {
                let TensorMap(tensors) = parse(name, &archive.content(&member, MAX_MEMBER_BYTES)?)?;
                members.add_core(name, core, tensors)?;
            } else {
                archive.skip(&member)?;
            }
        }
        Ok(members)
    }

    /// Physical cores that have a tensor map.
    pub fn n_cores(&self) -> usize {
        self.cores.len()
    }

    fn first(&mut self, name: &'static str) -> Result<(), NeffError> {
        self.seen.insert(name).then_some(()).ok_or_else(|| NeffError::Duplicate(name.into()))
    }

    /// Adds the tensors that other cores do not have too.
    fn add_core(&mut self, member: &str, core: usize, tensors: Vec<Tensor>) -> Result<(), NeffError> {
        if !self.cores.insert(core) {
            return Err(NeffError::Duplicate(member.into()));
        }
        too_large("cores with a tensor map", self.cores.len(), MAX_CORES)?;
        for tensor in tensors {
            match self.tensor_idx.get(&tensor.name) {
                Some(&idx) if self.tensors[idx] == tensor => {}
                Some(_) => return Err(NeffError::Conflict { member: member.into(), tensor: tensor.name }),
                None => {
                    self.tensor_idx.insert(tensor.name.clone(), self.tensors.len());
                    self.tensors.push(tensor);
                }
            }
        }
        too_large("tensors of the program", self.tensors.len(), MAX_TENSORS)
    }
}

fn too_large(what: &str, size: usize, limit: usize) -> Result<(), NeffError> {
    let error = || NeffError::TooLarge { what: what.into(), size: size as u64, limit: limit as u64 };
    (size <= limit).then_some(()).ok_or_else(error)
}

/// The core whose tensor map has this name: `sgNN/tensor_map.json`.
fn tensor_map_of(name: &str) -> Option<usize> {
    let core = name.strip_prefix("sg")?.strip_suffix("/tensor_map.json")?;
    (core.len() >= 2 && core.bytes().all(|b| b.is_ascii_digit())).then(|| core.parse().ok())?
}

fn parse<T: DeserializeOwned>(member: &str, json: &[u8]) -> Result<T, NeffError> {
    serde_json::from_slice(json).map_err(|e| NeffError::Member { member: member.into(), reason: e.to_string() })
}
