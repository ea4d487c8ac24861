//! What can be wrong with the tensors of a checkpoint.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::shard::{Shard, StoredTensor};
use crate::dtype::Dtype;
use crate::spec::ModelConfig;
use crate::spec::tensors::{EMBEDDING, LM_HEAD, expected};

/// The tensors of all shards by name, each with the shard that holds it.
pub(super) type Catalogue<'a> = BTreeMap<&'a str, (&'a Shard, &'a StoredTensor)>;

/// Puts the tensors of all shards under their names, and holds them against the index.
pub(super) fn catalogue<'a>(
    shards: &'a [Shard],
    weight_map: Option<&BTreeMap<String, String>>,
    problems: &mut Vec<String>,
) -> Catalogue<'a> {
    let mut catalogue = Catalogue::new();
    for shard in shards {
        for (name, tensor) in &shard.tensors {
            if let Some((other, _)) = catalogue.insert(name, (shard, tensor)) {
                problems.push(format!("{name} is in two files, {} and {}", other.file_name, shard.file_name));
            }
            let place = weight_map.map(|map| map.get(name));
            if place.is_some_and(|place| place != Some(&shard.file_name)) {
                problems.push(format!("{name} is in {}, and the index does not say so", shard.file_name));
            }
        }
    }
    let opened = |file: &String| shards.iter().any(|s| s.file_name == *file);
    for (name, file) in weight_map.into_iter().flatten() {
        if opened(file) && !catalogue.contains_key(name.as_str()) {
            problems.push(format!("{name} is not in {file}, where the index has it"));
        }
    }
    catalogue
}

/// Holds the tensors against what the configuration expects: none missing when `is_complete`, none too many, each of
/// the right shape and of an element type that can be read.
pub(super) fn against_config(
    config: &ModelConfig,
    catalogue: &Catalogue<'_>,
    is_complete: bool,
    problems: &mut Vec<String>,
) {
    let specs = expected(config);
    for spec in &specs {
        let Some((_, tensor)) = catalogue.get(spec.name.as_str()) else {
            if is_complete {
                problems.push(format!("{} is missing", spec.name));
            }
            continue;
        };
        let is_vector = spec.k == 1 && tensor.shape == [spec.n];
        if !is_vector && tensor.shape != [spec.n, spec.k] {
            let wanted = if spec.k == 1 { vec![spec.n] } else { vec![spec.n, spec.k] };
            problems.push(format!("{} has shape {:?}, and config.json asks for {wanted:?}", spec.name, tensor.shape));
        }
        if let Err(dtype) = &tensor.dtype {
            problems.push(format!("{} is stored as {dtype}; bf16, f16 and f32 can be read", spec.name));
        }
    }
    let names: HashMap<&str, ()> = specs.iter().map(|s| (s.name.as_str(), ())).collect();
    for (&name, entry) in catalogue.iter().filter(|(name, _)| !names.contains_key(*name)) {
        if name == LM_HEAD && config.tied_embeddings {
            if !repeats_embedding(entry, catalogue) {
                problems.push(format!("{LM_HEAD} differs from {EMBEDDING}, and config.json says that they are tied"));
            }
        } else if !is_harmless(name) {
            problems.push(format!("{name} is unexpected: config.json does not ask for it"));
        }
    }
}

/// Tensors that some checkpoints carry and that follow from the configuration.
pub(super) fn is_harmless(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

/// A tied model may store its output matrix again, if it is the embedding bit for bit.
fn repeats_embedding(&(shard, head): &(&Shard, &StoredTensor), catalogue: &Catalogue<'_>) -> bool {
    catalogue.get(EMBEDDING).is_some_and(|(other, embedding)| {
        (head.dtype == embedding.dtype && head.shape == embedding.shape) && shard.bytes(head) == other.bytes(embedding)
    })
}

/// Bytes that one task scans.
const SCAN_BYTES: usize = 1 << 18;

/// Names every tensor that holds a NaN or an infinity. Reads all weights once, in parallel.
pub(super) fn non_finite(catalogue: &Catalogue<'_>) -> Vec<String> {
    let entries: Vec<_> = catalogue.iter().filter(|(name, _)| !is_harmless(name)).collect();
    let report = |(name, (shard, tensor)): &(&&str, &(&Shard, &StoredTensor))| {
        let dtype = *tensor.dtype.as_ref().ok()?;
        let bytes = shard.bytes(tensor);
        let first_chunk = bytes.par_chunks(SCAN_BYTES).position_first(|chunk| has_non_finite(dtype, chunk))?;
        let start = first_chunk * SCAN_BYTES;
        let idx = start / dtype.size_bytes() + non_finite_elements(dtype, &bytes[start..]).next()?;
        let more = match non_finite_elements(dtype, &bytes[start..]).count() {
            1 => String::new(),
            n => format!(", the first of {n}"),
        };
        Some(format!("{name} is not finite at element {idx} of {:?}{more}", tensor.shape))
    };
    entries.par_iter().filter_map(report).collect()
}

/// Whether some element has all exponent bits set. Without branches, so that it runs at the speed of memory.
fn has_non_finite(dtype: Dtype, bytes: &[u8]) -> bool {
    match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().fold(false, |found, b| found | is_f32_non_finite(*b)),
        Dtype::Bf16 => bytes.as_chunks().0.iter().fold(false, |found, b| found | is_bf16_non_finite(*b)),
        Dtype::F16 => bytes.as_chunks().0.iter().fold(false, |found, b| found | is_f16_non_finite(*b)),
    }
}

/// Indices of the elements that are not finite.
fn non_finite_elements(dtype: Dtype, bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.chunks_exact(dtype.size_bytes()).enumerate().filter(move |(_, b)| has_non_finite(dtype, b)).map(|(i, _)| i)
}

fn is_f32_non_finite(bytes: [u8; 4]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    u32::from_le_bytes(bytes) & EXPONENT == EXPONENT
}

fn is_bf16_non_finite(bytes: [u8; 2]) -> bool {
    const EXPONENT: u16 = 0x7f80;
    u16::from_le_bytes(bytes) & EXPONENT == EXPONENT
}

fn is_f16_non_finite(bytes: [u8; 2]) -> bool {
    const EXPONENT: u16 = 0x7c00;
    u16::from_le_bytes(bytes) & EXPONENT == EXPONENT
}
