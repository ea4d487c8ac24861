//! Which files of a folder hold the weights: one `model.safetensors`, or the shards that an index lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::read_text;

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The weight files of a folder.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// File names relative to the folder, in order.
    pub(super) file_names: Vec<String>,
    /// The file of each tensor, when there is an index.
    pub(super) weight_map: Option<BTreeMap<String, String>>,
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Layout {
    /// Finds the weight files. A single file wins over an index, as in transformers.
    pub(super) fn find(dir: &Path) -> Result<Self, Vec<String>> {
        if dir.join(SINGLE_FILE).exists() {
            return Ok(Self { file_names: vec![SINGLE_FILE.into()], weight_map: None });
        }
        if dir.join(INDEX_FILE).exists() {
            return Self::from_index(dir);
        }
        let hint =
            if dir.join("pytorch_model.bin").exists() { "; pytorch_model.bin must be converted first" } else { "" };
        Err(vec![format!("there is neither {SINGLE_FILE} nor {INDEX_FILE}{hint}")])
    }

    fn from_index(dir: &Path) -> Result<Self, Vec<String>> {
        let text = read_text(dir, INDEX_FILE).map_err(|problem| vec![problem])?;
        let Index { weight_map } =
            serde_json::from_str(&text).map_err(|e| vec![format!("{INDEX_FILE}: not an index of shards: {e}")])?;
        let file_names: BTreeSet<&String> = weight_map.values().collect();
        let outside: Vec<String> = file_names
            .iter()
            .filter(|name| !stays_inside(name))
            .map(|name| format!("{INDEX_FILE}: \"{name}\" does not stay inside the model folder"))
            .collect();
        if !outside.is_empty() {
            return Err(outside);
        }
        let file_names = file_names.into_iter().cloned().collect();
        Ok(Self { file_names, weight_map: Some(weight_map) })
    }
}

/// Whether a path of an index, joined to the folder, names something in it. Symbolic links are followed all the same:
/// caches of downloaded models are made of them, and who can place one in the folder can place a file there.
fn stays_inside(name: &str) -> bool {
    let mut components = Path::new(name).components().peekable();
    components.peek().is_some() && components.all(|c| matches!(c, Component::Normal(_)))
}
