//! Well-formed files with a model that cannot be run.

use std::collections::BTreeMap;

use longhaul::Error;
use longhaul::dtype::Dtype;
use longhaul::spec::Checkpoint;
use serde_json::json;

use super::folder::{Folder, INDEX, SINGLE, Tensor, tiny_config, with};

const UP: &str = "model.layers.0.mlp.up_proj.weight";

#[test]
fn no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    assert!(matches!(Checkpoint::open(&absent), Err(Error::Io { path, .. }) if path == absent));
    let file = dir.path().join("model.gguf");
    std::fs::write(&file, "GGUF").unwrap();
    let error = Checkpoint::open(&file).unwrap_err().to_string();
    assert!(error.contains("model.gguf") && error.contains("not a folder"), "{error}");
}

#[test]
fn missing_files_are_all_named() {
    let folder = Folder::tiny();
    let problems = folder.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("config.json: ") && problems[1].contains(SINGLE) && problems[1].contains(INDEX));

    folder.write_config();
    folder.write("pytorch_model.bin", "pickle");
    folder.assert_problem(&[SINGLE, "pytorch_model.bin must be converted"]);
    std::fs::create_dir(folder.file(SINGLE)).unwrap();
    folder.assert_problem(&[SINGLE, "not a regular file"]);
}

#[test]
fn a_config_that_cannot_be_read() {
    let folder = Folder::tiny();
    folder.write_single();
    for (text, words) in [
        (&b"<html>"[..], &["config.json", "not JSON"][..]),
        (b"", &["config.json", "not JSON"]),
        (b"\xff\xfe{}", &["config.json", "not UTF-8"]),
        (b"[]", &["config.json", "object"]),
        (b"{}", &["config.json", "unknown architecture"]),
    ] {
        folder.write("config.json", text);
        folder.assert_problem(words);
    }
    folder.write_config();
    folder.write("generation_config.json", "{");
    folder.assert_problem(&["generation_config.json", "not JSON"]);
}

#[test]
fn a_config_that_disagrees_with_the_weights() {
    let mut folder = Folder::tiny();
    folder.config = with(tiny_config(), json!({"intermediate_size": 13, "num_hidden_layers": 2}));
    folder.write_single();
    let problems = folder.problems();
    let shape =
        |name: &str, found: &str, wanted: &str| format!("{name} has shape {found}, and config.json asks for {wanted}");
    assert!(problems.contains(&shape(UP, "[12, 8]", "[13, 8]")), "{problems:#?}");
    assert!(problems.contains(&shape("model.layers.0.mlp.down_proj.weight", "[8, 12]", "[8, 13]")));
    assert!(problems.contains(&"model.layers.1.self_attn.q_proj.weight is missing".to_owned()));
    assert_eq!(problems.len(), 3 + 9, "three shapes, and nine tensors of a second layer");

    let mut folder = Folder::of(with(tiny_config(), json!({"num_hidden_layers": 2})), Dtype::Bf16);
    folder.config = tiny_config();
    folder.write_single();
    let problems = folder.problems();
    assert!(
        problems.len() == 9 && problems.iter().all(|p| p.starts_with("model.layers.1.") && p.contains("unexpected"))
    );
}

#[test]
fn missing_and_unexpected_tensors() {
    let mut folder = Folder::tiny();
    let bias = Tensor { dtype: safetensors::Dtype::BF16, shape: vec![8], bytes: vec![0; 16] };
    folder.tensors.insert("model.layers.0.self_attn.q_proj.bias".into(), bias);
    folder.tensors.remove("model.norm.weight").unwrap();
    folder.write_single();
    let problems = folder.problems();
    assert!(problems[0] == "model.norm.weight is missing" && problems[1].contains("q_proj.bias is unexpected"));
    assert_eq!(problems.len(), 2);
}

#[test]
fn wrong_ranks_and_element_types() {
    let mut folder = Folder::tiny();
    folder.tensors.get_mut("model.norm.weight").unwrap().shape = vec![2, 4];
    folder.write_single();
    folder.assert_problem(&["model.norm.weight", "[2, 4]", "[8]"]);

    for (dtype, name) in [(safetensors::Dtype::I16, "I16"), (safetensors::Dtype::U16, "U16")] {
        let mut folder = Folder::tiny();
        folder.tensors.get_mut(UP).unwrap().dtype = dtype;
        folder.write_single();
        folder.assert_problem(&[UP, name, "bf16"]);
    }
}

#[test]
fn an_output_matrix_that_differs_from_the_embedding_it_is_tied_to() {
    let mut folder = Folder::tiny();
    let mut head = folder.tensors["model.embed_tokens.weight"].clone();
    head.bytes[0] ^= 1;
    folder.tensors.insert("lm_head.weight".into(), head);
    folder.write_single();
    folder.assert_problem(&["lm_head.weight", "tied"]);
}

#[test]
fn weights_that_are_not_finite() {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut folder = Folder::of(tiny_config(), dtype);
            let size = dtype.size_bytes();
            dtype.narrow(&[bad], &mut folder.tensors.get_mut(UP).unwrap().bytes[37 * size..38 * size]);
            folder.write_single();
            folder.assert_problem(&[UP, "not finite at element 37 of [12, 8]"]);
        }
        // The largest finite number is fine.
        let mut folder = Folder::of(tiny_config(), dtype);
        let largest = [0xff, 0xff, 0x7f, 0x7f];
        let largest = match dtype {
            Dtype::F16 => &[0xff, 0x7b][..],
            Dtype::Bf16 => &[0x7f, 0x7f],
            Dtype::F32 => &largest,
        };
        folder.tensors.get_mut(UP).unwrap().bytes[..dtype.size_bytes()].copy_from_slice(largest);
        folder.write_single();
        assert!(folder.open().is_ok());
    }
}

#[test]
fn the_first_of_many_in_a_large_tensor() {
    // 600,000 bytes of embedding are scanned in three pieces; the numbers are in the second and the third.
    let mut folder = Folder::of(with(tiny_config(), json!({"vocab_size": 37_500})), Dtype::Bf16);
    let bytes = &mut folder.tensors.get_mut("model.embed_tokens.weight").unwrap().bytes;
    for element in [140_001, 150_000, 299_999] {
        bytes[2 * element + 1] = 0x7f;
        bytes[2 * element] = 0xc0;
    }
    folder.write_single();
    folder.assert_problem(&["model.embed_tokens.weight", "element 140001 of [37500, 8], the first of 3"]);
}

#[test]
fn everything_that_is_wrong_is_in_one_error() {
    let mut folder = Folder::tiny();
    folder.config = with(tiny_config(), json!({"hidden_act": "gelu", "rope_scaling": {"rope_type": "yarn"}}));
    folder.tensors.get_mut(UP).unwrap().bytes[..2].copy_from_slice(&[0xff, 0xff]);
    folder.write_sharded(2);
    std::fs::remove_file(folder.file("model-00002-of-00002.safetensors")).unwrap();
    let text = folder.open().unwrap_err().to_string();
    let up_is_left = folder.tensors.keys().position(|k| k == UP).unwrap() % 2 == 0;
    assert!(up_is_left, "the tensor with the NaN must be in the shard that is left");
    for word in ["gelu", "yarn", "model-00002-of-00002.safetensors: No such file", UP, "not finite"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert!(!text.contains("is missing"), "what the absent shard may hold is not held against the model: {text}");
}

#[test]
fn an_index_that_points_outside_of_the_folder() {
    let folder = Folder::tiny();
    folder.write_sharded(1);
    for file in ["../model.safetensors", "/etc/passwd", "", ".", "a/../../b.safetensors", ".."] {
        folder.write_index(&BTreeMap::from([(UP.to_owned(), file.to_owned())]));
        folder.assert_problem(&[INDEX, &format!("\"{file}\" does not stay inside")]);
    }
}

#[test]
fn an_index_that_disagrees_with_its_shards() {
    let folder = Folder::tiny();
    let names = folder.write_sharded(2);
    let index = std::fs::read_to_string(folder.file(INDEX)).unwrap();
    let weight_map = serde_json::from_str::<serde_json::Value>(&index).unwrap()["weight_map"].clone();
    let weight_map: BTreeMap<String, String> = serde_json::from_value(weight_map).unwrap();

    let other = names.iter().find(|n| **n != weight_map[UP]).unwrap().clone();
    folder.write_index(&with_entry(&weight_map, UP, &other));
    folder.assert_problem(&[UP, &weight_map[UP], "the index does not say so"]);

    folder.write_index(&with_entry(&weight_map, "model.extra", &other));
    folder.assert_problem(&["model.extra is not in", &other]);

    folder.write_index(&with_entry(&weight_map, UP, "absent.safetensors"));
    let problems = folder.problems();
    assert!(problems.iter().any(|p| p.starts_with("absent.safetensors: No such file")), "{problems:?}");

    folder.write_index(&weight_map);
    std::fs::copy(folder.file(&names[0]), folder.file(&names[1])).unwrap();
    let problems = folder.problems();
    assert!(problems.iter().any(|p| p.contains("is in two files")), "{problems:?}");

    folder.write_index(&BTreeMap::new());
    assert_eq!(folder.problems().len(), folder.tensors.len(), "every tensor is missing");
    for text in ["", "[]", r#"{"weight_map": 3}"#, r#"{"weight_map": {"a": 3}}"#] {
        folder.write(INDEX, text);
        folder.assert_problem(&[INDEX, "not an index"]);
    }
}

fn with_entry(map: &BTreeMap<String, String>, name: &str, file: &str) -> BTreeMap<String, String> {
    let mut map = map.clone();
    map.insert(name.to_owned(), file.to_owned());
    map
}
