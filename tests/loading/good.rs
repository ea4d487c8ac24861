//! Folders that open, and what they give.

use longhaul::dtype::Dtype;
use longhaul::reference;
use longhaul::spec::{Architecture, Checkpoint, KvDtype, Synthetic, WeightDtype, WeightSource};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::folder::{Folder, SINGLE, Tensor, tiny_config, with};

/// Checks that the checkpoint has all tensors of the folder, bit for bit.
#[track_caller]
fn assert_holds(checkpoint: &Checkpoint, folder: &Folder, dtype: Dtype) {
    for (name, tensor) in &folder.tensors {
        let view = checkpoint.tensor(name).unwrap();
        assert_eq!((view.name, view.dtype), (name.as_str(), dtype));
        assert_eq!((view.n, view.k), (tensor.shape[0], tensor.shape.get(1).copied().unwrap_or(1)), "{name}");
        assert_eq!(*view.bytes, tensor.bytes, "{name}");
    }
}

#[test]
fn one_file_of_each_element_type_tied_and_untied() {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        for tied in [true, false] {
            let folder = Folder::of(with(tiny_config(), json!({ "tie_word_embeddings": tied })), dtype);
            assert_eq!(folder.tensors.contains_key("lm_head.weight"), !tied);
            folder.write_single();
            let checkpoint = folder.open().unwrap();
            assert_eq!(*checkpoint.config(), folder.model_config());
            assert_holds(&checkpoint, &folder, dtype);
        }
    }
}

#[test]
fn shards_hold_what_one_file_holds() {
    let folder = Folder::tiny();
    for n_shards in [1, 2, 5] {
        folder.write_sharded(n_shards);
        assert_holds(&folder.open().unwrap(), &folder, Dtype::Bf16);
    }
}

#[test]
fn every_family_opens() {
    for (class, model_type, architecture, n_tensors) in [
        ("LlamaForCausalLM", "llama", Architecture::Llama, 11),
        ("MistralForCausalLM", "mistral", Architecture::Mistral, 11),
        ("Qwen2ForCausalLM", "qwen2", Architecture::Qwen2, 14),
        ("Qwen3ForCausalLM", "qwen3", Architecture::Qwen3, 13),
    ] {
        let config = with(tiny_config(), json!({"architectures": [class], "model_type": model_type, "head_dim": 6}));
        let folder = Folder::of(config, Dtype::Bf16);
        assert_eq!(folder.tensors.len(), n_tensors, "{class}");
        folder.write_single();
        let checkpoint = folder.open().unwrap();
        assert_eq!(checkpoint.config().architecture, architecture);
        assert_holds(&checkpoint, &folder, Dtype::Bf16);
    }
}

#[test]
fn a_model_from_disk_computes_what_it_computes_from_memory() {
    let folder = Folder::tiny();
    folder.write_sharded(2);
    let (checkpoint, config) = (folder.open().unwrap(), folder.model_config());
    let step = |weights: &dyn WeightSource| reference::step(&config, weights, &[3, 1, 4], Some(KvDtype::Bf16)).unwrap();
    assert_eq!(step(&checkpoint), step(&Synthetic::from_config(config.clone(), 1)));
}

#[test]
fn end_tokens_come_from_generation_config_too() {
    let folder = Folder::tiny();
    folder.write_single();
    folder.write("generation_config.json", r#"{"eos_token_id": [5, 2], "do_sample": true}"#);
    assert_eq!(folder.open().unwrap().config().end_tokens, [5, 2]);
}

#[test]
fn harmless_extras_are_tolerated() {
    let mut folder = Folder::tiny();
    let inv_freq = Tensor { dtype: safetensors::Dtype::F32, shape: vec![2], bytes: vec![0; 8] };
    folder.tensors.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), inv_freq);
    let embedding = folder.tensors["model.embed_tokens.weight"].clone();
    folder.tensors.insert("lm_head.weight".into(), embedding);
    folder.write_single();
    let checkpoint = folder.open().unwrap();
    assert!(checkpoint.tensor("lm_head.weight").is_err(), "a tied model has no matrix of its own");
    assert_eq!(checkpoint.dtype_summary().to_string(), "tensors: 11 in bf16");
}

#[test]
fn one_file_wins_over_an_index() {
    let folder = Folder::tiny();
    folder.write_sharded(2);
    folder.write("model-00001-of-00002.safetensors", "broken");
    folder.write_single();
    assert!(folder.open().is_ok());
}

#[test]
#[cfg(unix)]
fn a_folder_of_symbolic_links_opens() {
    let (folder, blobs) = (Folder::tiny(), Folder::tiny());
    blobs.write_single();
    for name in ["config.json", SINGLE] {
        std::os::unix::fs::symlink(blobs.file(name), folder.file(name)).unwrap();
    }
    assert_holds(&folder.open().unwrap(), &folder, Dtype::Bf16);
}

#[test]
fn the_hash_is_that_of_the_files_one_after_the_other() {
    let folder = Folder::tiny();
    let names = folder.write_sharded(3);
    let bytes: Vec<u8> = names.iter().flat_map(|name| std::fs::read(folder.file(name)).unwrap()).collect();
    let wanted: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let checkpoint = folder.open().unwrap();
    assert_eq!(checkpoint.sha256().unwrap(), wanted);

    std::fs::remove_file(folder.file(&names[1])).unwrap();
    let error = checkpoint.sha256().unwrap_err().to_string();
    assert!(error.contains(&names[1]), "{error}");
    assert_holds(&checkpoint, &folder, Dtype::Bf16);
}

#[test]
fn a_rounding_is_announced() {
    let mut folder = Folder::of(tiny_config(), Dtype::F32);
    let half = Folder::of(tiny_config(), Dtype::F16);
    let name = "model.layers.0.mlp.up_proj.weight";
    folder.tensors.insert(name.into(), half.tensors[name].clone());
    folder.write_single();
    let summary = folder.open().unwrap().dtype_summary();
    assert_eq!(summary.to_string(), "tensors: 10 in f32, 1 in f16");
    let note = summary.rounding(Some(WeightDtype::Bf16)).unwrap();
    assert_eq!(note, "matrices rounded to bf16 (to nearest): 7 stored as f32, 1 stored as f16");
    assert_eq!(summary.rounding(Some(WeightDtype::F32)), None);
    assert_eq!(summary.rounding(None), None);
    let bf16 = Folder::tiny();
    bf16.write_single();
    let summary = bf16.open().unwrap().dtype_summary();
    assert_eq!(summary.rounding(Some(WeightDtype::Bf16)), None);
    assert_eq!(summary.rounding(Some(WeightDtype::Int4)).unwrap(), "matrices quantised to int4: 8 stored as bf16");
}
