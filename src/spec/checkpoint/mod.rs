//! A model folder of Hugging Face: configuration and memory-mapped weights, held against each other before any work.

mod check;
mod layout;
mod shard;
mod summary;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::layout::Layout;
use self::shard::{Shard, StoredTensor};
pub use self::summary::{DtypeCount, DtypeSummary};
use super::tensors::{TensorSpec, expected};
use super::{ModelConfig, WeightSource, WeightView, hf_config};
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// A checked model folder.
///
/// The weights stay in their files and are mapped into memory, so opening costs one pass over them and no copy. **The
/// files must not change while a checkpoint is open:** weights written over show through, and reading beyond the new
/// end of a file that was cut ends the process with SIGBUS, as with every memory map. Replacing a file by renaming
/// another over it is safe. Backends pack the weights while loading, so the checkpoint can be dropped as soon as the
/// model is there.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    config: ModelConfig,
    shards: Vec<Shard>,
    tensors: HashMap<String, Entry>,
}

/// A tensor that the configuration asks for.
#[derive(Debug)]
struct Entry {
    shard_idx: usize,
    stored: StoredTensor,
    dtype: Dtype,
    n: usize,
    k: usize,
}

impl Checkpoint {
    /// Opens a folder with `config.json`, perhaps `generation_config.json`, and `model.safetensors` or the shards of a
    /// `model.safetensors.index.json`.
    ///
    /// Tensors beyond those that the configuration asks for are an error, but for the frequencies of RoPE
    /// (`*rotary_emb.inv_freq`), which follow from it, and an output matrix of a tied model that repeats the embedding
    /// bit for bit.
    ///
    /// # Errors
    /// [`Error::Io`] if `dir` is no folder. Else [`Error::Model`] with everything that is wrong: the configuration
    /// ([`hf_config::parse`]), files that are missing or malformed, tensors that are missing, unexpected, in the wrong
    /// place or of a wrong shape or type, and tensors with an element that is not finite.
    pub fn open(dir: &Path) -> Result<Self> {
        if !std::fs::metadata(dir).map_err(|e| Error::io(dir, e))?.is_dir() {
            return Err(Error::io(dir, "not a folder; a model is a folder with config.json and model.safetensors"));
        }
        let mut problems = Vec::new();
        let config = noted(read_config(dir), &mut problems);
        let layout = noted(Layout::find(dir), &mut problems);
        let is_found = layout.is_some();
        let layout = layout.unwrap_or_default();
        let shards = open_shards(dir, &layout, &mut problems);
        let catalogue = check::catalogue(&shards, layout.weight_map.as_ref(), &mut problems);
        if let Some(config) = &config {
            let is_complete = is_found && shards.len() == layout.file_names.len();
            check::against_config(config, &catalogue, is_complete, &mut problems);
        }
        problems.extend(check::non_finite(&catalogue));
        match config {
            Some(config) if problems.is_empty() => {
                let tensors = entries(&config, &shards);
                Ok(Self { dir: dir.to_owned(), config, shards, tensors })
            }
            _ => Err(Error::Model { path: dir.to_owned(), problems }),
        }
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the weights are stored as.
    pub fn dtype_summary(&self) -> DtypeSummary {
        DtypeSummary::of(self.tensors.values().map(|e| (e.dtype, e.n, e.k)))
    }

    /// SHA-256 of the weight files' contents, one after the other in the order of their names, in hexadecimal: what
    /// `cat *.safetensors | sha256sum` says. Reads them from disk.
    ///
    /// # Errors
    /// [`Error::Io`] when a file can no longer be read.
    pub fn sha256(&self) -> Result<String> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        for shard in &self.shards {
            let path = self.dir.join(&shard.file_name);
            let mut file = File::open(&path).map_err(|e| Error::io(&path, e))?;
            loop {
                match file.read(&mut buffer).map_err(|e| Error::io(&path, e))? {
                    0 => break,
                    n => hash.update(&buffer[..n]),
                }
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl WeightSource for Checkpoint {
    /// The tensor, where it is mapped.
    ///
    /// # Errors
    /// [`Error::Argument`] for a tensor that the configuration does not have.
    fn tensor<'a>(&'a self, name: &'a str) -> Result<WeightView<'a>> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| Error::argument(format!("the model in {} has no tensor \"{name}\"", self.dir.display())))?;
        let bytes = self.shards[entry.shard_idx].bytes(&entry.stored).into();
        Ok(WeightView { name, n: entry.n, k: entry.k, dtype: entry.dtype, bytes })
    }
}

fn read_config(dir: &Path) -> Result<ModelConfig, Vec<String>> {
    const GENERATION: &str = "generation_config.json";
    let config = read_text(dir, "config.json");
    let generation = dir.join(GENERATION).exists().then(|| read_text(dir, GENERATION)).transpose();
    match (config, generation) {
        (Ok(config), Ok(generation)) => hf_config::parse(&config, generation.as_deref()),
        (config, generation) => Err([config.err(), generation.err()].into_iter().flatten().collect()),
    }
}

/// Opens the files that can be opened.
fn open_shards(dir: &Path, layout: &Layout, problems: &mut Vec<String>) -> Vec<Shard> {
    let opened = layout.file_names.iter().map(|name| Shard::open(dir, name).map_err(|problem| vec![problem]));
    opened.filter_map(|shard| noted(shard, problems)).collect()
}

/// The tensors of the configuration; all are there, since the check found nothing.
fn entries(config: &ModelConfig, shards: &[Shard]) -> HashMap<String, Entry> {
    let specs: HashMap<String, TensorSpec> = expected(config).into_iter().map(|s| (s.name.clone(), s)).collect();
    let stored = shards.iter().enumerate().flat_map(|(idx, shard)| shard.tensors.iter().map(move |t| (idx, t)));
    let entry = |(shard_idx, (name, stored)): (usize, &(String, StoredTensor))| {
        let &TensorSpec { n, k, .. } = specs.get(name)?;
        let dtype = *stored.dtype.as_ref().ok()?;
        Some((name.clone(), Entry { shard_idx, stored: stored.clone(), dtype, n, k }))
    };
    stored.filter_map(entry).collect()
}

/// The text of a small file of the folder, or what is wrong with it.
fn read_text(dir: &Path, file_name: &str) -> Result<String, String> {
    const MAX_BYTES: u64 = 64 << 20;
    let file = open_regular(dir, file_name)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| format!("{file_name}: {e}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{file_name}: larger than {} MiB", MAX_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|e| format!("{file_name}: not UTF-8: {e}"))
}

/// Opens a file of the folder, and waits for no pipe or device.
fn open_regular(dir: &Path, file_name: &str) -> Result<File, String> {
    let path = dir.join(file_name);
    let named = |e: std::io::Error| format!("{file_name}: {e}");
    if !std::fs::metadata(&path).map_err(named)?.is_file() {
        return Err(format!("{file_name}: not a regular file"));
    }
    File::open(&path).map_err(named)
}

/// The value, or its problems added to the list.
fn noted<T>(result: Result<T, Vec<String>>, problems: &mut Vec<String>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}
