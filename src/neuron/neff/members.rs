//! The members that tell what a program is: JSON, of which only what is needed is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::archive::Archive;
use super::{KernelCall, Kind, NeffError, Tensor};

/// Bytes of a member that is read. Tensor maps of whole models have some hundreds of entries of a hundred bytes.
const MAX_MEMBER_BYTES: u64 = 2 << 20;

/// Bytes of a [`KernelCall`].
const MAX_CALL_BYTES: u64 = 64 << 10;

/// Tensors of a program, cores of a program, dimensions of a tensor. libnrt's own limits are beyond these, or not documented.
const MAX_TENSORS: usize = 1 << 14;
const MAX_CORES: usize = 64;
const MAX_DIMENSIONS: usize = 32;

/// Bytes of a tensor's name: libnrt keeps them in 256, with a NUL.
const MAX_NAME_BYTES: usize = 255;

/// Bytes of a word: a type, a target, a version.
const MAX_WORD_BYTES: usize = 128;

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
                let Info { compiler_version } = parse(name, &archive.content(&member, MAX_MEMBER_BYTES)?)?;
                members.compiler = compiler_version.map(|word| word.0);
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

/// The descriptor of the graphs; other fields are the runtime's.
#[derive(serde::Deserialize)]
struct Kelf {
    target: Option<Word>,
}

/// Who compiled it. What else AWS's compiler writes there is not ours to check.
#[derive(serde::Deserialize)]
struct Info {
    compiler_version: Option<Word>,
}

/// A short text.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        if text.len() > MAX_WORD_BYTES {
            return Err(D::Error::custom(format_args!(
                "a text of {} bytes, and at most {MAX_WORD_BYTES} are read",
                text.len()
            )));
        }
        Ok(Self(text))
    }
}

/// `{name: {"dtype", "kind", "shape", ...}}`.
struct TensorMap(Vec<Tensor>);

#[derive(serde::Deserialize)]
struct Entry {
    dtype: Word,
    kind: Kind,
    shape: Shape,
}

impl<'de> Deserialize<'de> for TensorMap {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Tensors;
        impl<'de> Visitor<'de> for Tensors {
            type Value = TensorMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<TensorMap, M::Error> {
                let (mut tensors, mut names) = (Vec::new(), BTreeSet::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
                        let n = name.len();
                        return Err(M::Error::custom(format_args!(
                            "a tensor's name of {n} bytes, or with a NUL in it"
                        )));
                    }
                    if !names.insert(name.clone()) {
                        return Err(M::Error::custom(format_args!("the tensor \"{name}\" is there twice")));
                    }
                    if names.len() > MAX_TENSORS {
                        return Err(M::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
                    }
                    let Entry { dtype, kind, shape } = map.next_value()?;
                    tensors.push(Tensor { name, kind, dtype: dtype.0, shape: shape.0 });
                }
                Ok(TensorMap(tensors))
            }
        }
        source.deserialize_map(Tensors)
    }
}

/// Dimensions, not more than a tensor can have.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        shape(source).map(Self)
    }
}

/// Deserialises dimensions.
pub(in crate::neuron) fn shape<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<usize>, D::Error> {
    struct Dimensions;
    impl<'de> Visitor<'de> for Dimensions {
        type Value = Vec<usize>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("dimensions")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Vec<usize>, S::Error> {
            let mut shape = Vec::new();
            while let Some(dimension) = seq.next_element()? {
                if shape.len() == MAX_DIMENSIONS {
                    return Err(S::Error::custom(format_args!("a tensor of more than {MAX_DIMENSIONS} dimensions")));
                }
                shape.push(dimension);
            }
            Ok(shape)
        }
    }
    source.deserialize_seq(Dimensions)
}

/// Deserialises a map whose keys are there once each.
pub(in crate::neuron) fn unique<'de, D, V>(source: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(std::marker::PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("values by name")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut found = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, V>()? {
                if found.contains_key(&key) {
                    return Err(M::Error::custom(format_args!("\"{key}\" is there twice")));
                }
                found.insert(key, value);
            }
            Ok(found)
        }
    }
    source.deserialize_map(Unique(std::marker::PhantomData))
}
