//! The JSON in members, of which only what is needed is kept, and in which nothing may be there twice, or larger than a
//! program's can be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Kind, Tensor};

/// Tensors of a program, dimensions of a tensor. libnrt's own limits are beyond these, or not documented.
pub const MAX_TENSORS: usize = 1 << 14;
const MAX_DIMENSIONS: usize = 32;

/// Bytes of a tensor's name: libnrt keeps them in 256, with a NUL.
const MAX_NAME_BYTES: usize = 255;

/// Bytes of a word: a type, a target, a version.
const MAX_WORD_BYTES: usize = 128;

/// The descriptor of the graphs; other fields are the runtime's.
#[derive(serde::Deserialize)]
pub struct Kelf {
    pub target: Option<Word>,
}

/// Who compiled it. What else AWS's compiler writes there is not ours to check.
#[derive(serde::Deserialize)]
pub struct Info {
    pub tool_version: Option<Word>,
}

/// A short text.
pub struct Word(pub String);

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

/// `{name: {"dtype", "kind", "tf_shape", ...}}`.
pub struct TensorMap(pub Vec<Tensor>);

/// A tensor. Constants and what the program keeps to itself stand there as well, and have no `kind`.
#[derive(serde::Deserialize)]
struct Entry {
    kind: Option<Kind>,
    dtype: Option<Word>,
    tf_shape: Option<Shape>,
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
                    let Entry { kind, dtype, tf_shape } = map.next_value()?;
                    let Some(kind) = kind else { continue };
                    let Word(dtype) = dtype.ok_or_else(|| M::Error::missing_field("dtype"))?;
                    let Shape(shape) = tf_shape.ok_or_else(|| M::Error::missing_field("tf_shape"))?;
                    tensors.push(Tensor { name, kind, dtype, shape });
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
