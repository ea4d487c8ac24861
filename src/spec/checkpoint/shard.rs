//! One safetensors file, mapped into memory: which tensors it has, and where their bytes are.

use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use safetensors::tensor::Metadata;

use super::open_regular;
use crate::dtype::Dtype;

/// Bytes of the header's length at the start of a file.
const LENGTH_BYTES: usize = 8;

/// A mapped file.
#[derive(Debug)]
pub(super) struct Shard {
    /// Its name in the model folder.
    pub(super) file_name: String,
    /// Its tensors by name, in the order of their bytes.
    pub(super) tensors: Vec<(String, StoredTensor)>,
    map: Mmap,
}

/// A tensor of a mapped file.
#[derive(Debug, Clone)]
pub(super) struct StoredTensor {
    /// Its dimensions.
    pub(super) shape: Vec<usize>,
    /// Its element type, or the name of one that this crate does not read.
    pub(super) dtype: Result<Dtype, String>,
    /// Where its elements are in the file; as long as shape and element type say.
    range: Range<usize>,
}

impl Shard {
    /// Maps the file and reads its header. Every range in it lies inside the file.
    pub(super) fn open(dir: &Path, file_name: &str) -> Result<Self, String> {
        let named = |reason: &dyn std::fmt::Display| format!("{file_name}: {reason}");
        let file = open_regular(dir, file_name)?;
        // SAFETY: the map is read-only and lives as long as the slices of it. Its bytes are only ever read as `&[u8]`,
        // for which every bit pattern is valid, and every range is checked against its length below. What no program
        // can check is that nobody changes or truncates the file meanwhile; `Checkpoint` documents that as the
        // caller's part.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| named(&e))?;
        let tensors = read_header(&map).map_err(|e| named(&e))?;
        Ok(Self { file_name: file_name.to_owned(), tensors, map })
    }

    /// The elements of a tensor of this file, little-endian.
    pub(super) fn bytes(&self, tensor: &StoredTensor) -> &[u8] {
        &self.map[tensor.range.clone()]
    }
}

/// Reads the header: 8 bytes of length, then JSON. `Metadata` checks that ranges follow each other without gaps or
/// overlaps and are as long as shapes and types say; that the last one ends where the file ends is checked here,
/// because the sum in `SafeTensors::read_metadata` can overflow, which is a panic where overflow is checked.
fn read_header(file: &[u8]) -> Result<Vec<(String, StoredTensor)>, String> {
    let (length, rest) = file
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or_else(|| format!("not safetensors: only {} bytes, and the header's length takes 8", file.len()))?;
    let header_len = u64::from_le_bytes(*length);
    let (header, data) = usize::try_from(header_len)
        .ok()
        .and_then(|n| rest.split_at_checked(n))
        .ok_or_else(|| format!("the header is said to be {header_len} bytes long, and only {} follow", rest.len()))?;
    let metadata: Metadata = serde_json::from_slice(header).map_err(|e| format!("the header is wrong: {e}"))?;
    if metadata.data_len() != data.len() {
        let wanted = metadata.data_len();
        return Err(format!("the header promises {wanted} bytes of tensors, and {} follow", data.len()));
    }
    let data_start = LENGTH_BYTES + header.len();
    let stored = |name: String| {
        let info = metadata.info(&name)?;
        let (start, end) = info.data_offsets;
        let range = data_start + start..data_start + end;
        let tensor = StoredTensor { shape: info.shape.clone(), dtype: dtype(info.dtype), range };
        Some((name, tensor))
    };
    Ok(metadata.offset_keys().into_iter().filter_map(stored).collect())
}

fn dtype(stored: safetensors::Dtype) -> Result<Dtype, String> {
    match stored {
        safetensors::Dtype::F32 => Ok(Dtype::F32),
        safetensors::Dtype::F16 => Ok(Dtype::F16),
        safetensors::Dtype::BF16 => Ok(Dtype::Bf16),
        other => Err(other.to_string()),
    }
}
