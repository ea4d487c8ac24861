use serde_json::{Value, json};

use super::*;
use crate::spec::{Preset, RopeConfig, RopeScaling};

/// `config.json` as published with Llama-3.2-1B-Instruct, cut to the fields that say something about the model.
fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": false, "mlp_bias": false,
        "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
        "intermediate_size": 8192, "max_position_embeddings": 131072, "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "tie_word_embeddings": true, "vocab_size": 128256
    })
}

fn qwen(architecture: &str, model_type: &str) -> Value {
    json!({
        "architectures": [architecture], "model_type": model_type, "eos_token_id": 151645, "hidden_act": "silu",
        "hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
        "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null, "tie_word_embeddings": true,
        "use_sliding_window": false, "vocab_size": 151936
    })
}

fn mistral() -> Value {
    let mut config = with(llama(), json!({"architectures": ["MistralForCausalLM"], "model_type": "mistral"}));
    config.as_object_mut().unwrap().remove("rope_scaling");
    config
}

/// `config` with fields replaced.
fn with(mut config: Value, fields: Value) -> Value {
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    config
}

fn without(mut config: Value, field: &str) -> Value {
    config.as_object_mut().unwrap().remove(field).unwrap();
    config
}

#[track_caller]
fn read(config: Value) -> ModelConfig {
    parse(&config.to_string(), None).unwrap()
}

#[track_caller]
fn problems(config: Value) -> Vec<String> {
    parse(&config.to_string(), None).unwrap_err()
}

/// Checks that there is one problem, and that it names all of `words`.
#[track_caller]
fn assert_problem(config: Value, words: &[&str]) {
    let problems = problems(config);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(words.iter().all(|w| problems[0].contains(w)), "{problems:?} should name {words:?}");
}

#[test]
fn llama_as_published() {
    assert_eq!(read(llama()), Preset::Llama32_1b.config());
}

#[test]
fn qwen3_as_published_with_end_tokens_of_both_files() {
    let generation = json!({"eos_token_id": [151645, 151643], "temperature": 0.6}).to_string();
    let config = with(qwen("Qwen3ForCausalLM", "qwen3"), json!({"head_dim": 128, "attention_bias": false}));
    assert_eq!(parse(&config.to_string(), Some(&generation)).unwrap(), Preset::Qwen3_06b.config());
}

#[test]
fn newer_rope_parameters_mean_the_same() {
    let mut rope = llama()["rope_scaling"].clone();
    rope["rope_theta"] = json!(500_000.0);
    let newer = with(without(without(llama(), "rope_theta"), "rope_scaling"), json!({ "rope_parameters": rope }));
    assert_eq!(read(newer), read(llama()));

    let plain =
        with(mistral(), json!({"rope_theta": null, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}));
    assert_eq!(read(plain).rope, RopeConfig { theta: 1e6, scaling: RopeScaling::None });
}

#[test]
fn rope_types() {
    let linear = with(llama(), json!({"rope_scaling": {"type": "linear", "factor": 2}}));
    assert_eq!(read(linear).rope.scaling, RopeScaling::Linear { factor: 2.0 });
    assert_eq!(read(without(mistral(), "rope_theta")).rope.theta, 10_000.0);

    let rope = |rope: Value| with(llama(), json!({ "rope_scaling": rope }));
    assert_problem(rope(json!({"rope_type": "yarn", "factor": 4.0})), &["rope_scaling", "yarn", "not supported"]);
    assert_problem(rope(json!({"factor": 4.0})), &["rope_type is missing"]);
    assert_problem(rope(json!({"rope_type": "linear", "factor": 0.5})), &["factor must be at least 1"]);
    assert_problem(rope(json!({"rope_type": "linear", "factor": "2"})), &["factor must be a number"]);
    assert_problem(rope(json!("linear")), &["rope_scaling must be an object"]);
    assert_problem(rope(json!({"rope_type": "default", "rope_theta": 1e4})), &["rope_theta", "10000", "500000"]);
    let missing = problems(rope(json!({"rope_type": "llama3"})));
    let names = ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings", "factor"];
    assert!(missing.len() == 4 && names.iter().all(|n| missing.iter().any(|p| p.contains(n))), "{missing:?}");
    let mut crossed = llama();
    crossed["rope_scaling"]["low_freq_factor"] = json!(4.0);
    assert_problem(crossed, &["low_freq_factor must be below"]);
}

#[test]
fn qwen2_has_biases_and_qwen3_has_norms() {
    let (qwen2, qwen3) = (read(qwen("Qwen2ForCausalLM", "qwen2")), read(qwen("Qwen3ForCausalLM", "qwen3")));
    assert!(qwen2.qkv_bias && !qwen2.qk_norm && qwen2.head_dim == 64);
    assert!(!qwen3.qkv_bias && qwen3.qk_norm && qwen3.head_dim == 128, "128 is the default of Qwen3");
}

#[test]
fn windows_of_mistral() {
    assert_eq!(read(mistral()).sliding_window, Some(4096), "the default of the family");
    assert_eq!(read(with(mistral(), json!({"sliding_window": null}))).sliding_window, None);
    assert_eq!(read(with(mistral(), json!({"sliding_window": 100}))).sliding_window, Some(100));
    assert_problem(with(mistral(), json!({"sliding_window": 0})), &["sliding_window", "from 1"]);
}

#[test]
fn windows_of_qwen() {
    let window = |fields: Value| with(qwen("Qwen2ForCausalLM", "qwen2"), fields);
    let on = json!({"use_sliding_window": true, "sliding_window": 512});
    assert_eq!(read(window(json!({"sliding_window": 512}))).sliding_window, None, "not in use");
    assert_eq!(read(window(on.clone())).sliding_window, None, "max_window_layers is the number of layers");
    assert_eq!(read(with(window(on.clone()), json!({"max_window_layers": 0}))).sliding_window, Some(512));
    assert_problem(with(window(on.clone()), json!({"max_window_layers": 20})), &["8 of 28 layers", "512"]);

    let all = vec!["sliding_attention"; 28];
    assert_eq!(read(with(window(on.clone()), json!({"layer_types": all.clone()}))).sliding_window, Some(512));
    assert_problem(window(json!({ "layer_types": all })), &["28 of 28 layers", "none"]);
    assert_problem(window(json!({"layer_types": ["full_attention"]})), &["layer_types", "28"]);
}

#[test]
fn end_tokens_are_a_union() {
    let tokens = |config: Value, generation: Value| {
        let config = with(llama(), json!({ "eos_token_id": config })).to_string();
        parse(&config, Some(&json!({ "eos_token_id": generation }).to_string())).map(|c| c.end_tokens)
    };
    assert_eq!(tokens(json!(7), json!([8, 7])), Ok(vec![8, 7]));
    assert_eq!(tokens(json!([1, 2]), json!(3)), Ok(vec![3, 1, 2]));
    assert_eq!(tokens(json!(null), json!(null)), Ok(vec![]));
    assert!(tokens(json!(1), json!("</s>")).unwrap_err()[0].starts_with("generation_config.json: eos_token_id"));
    assert!(tokens(json!(200_000), json!(1)).unwrap_err()[0].contains("outside the vocabulary"));
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_are_known() {
    let gpt2 = json!({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 768});
    assert_problem(gpt2, &["unknown architecture", "GPT2LMHeadModel", "MistralForCausalLM"]);
    let classifier = with(llama(), json!({"architectures": ["LlamaForSequenceClassification"]}));
    assert_problem(classifier, &["unknown architecture", "LlamaForSequenceClassification"]);
    assert_problem(with(llama(), json!({"model_type": "qwen2"})), &["LlamaForCausalLM", "qwen2"]);
    assert_problem(json!({}), &["unknown architecture", "absent"]);
    assert_eq!(read(without(llama(), "architectures")), read(llama()), "model_type is enough");
}

#[test]
fn settings_that_change_the_computation_are_not_ignored() {
    for (field, value) in [
        ("hidden_act", json!("gelu")),
        ("attention_bias", json!(true)),
        ("mlp_bias", json!(true)),
        ("rope_interleaved", json!(true)),
        ("partial_rotary_factor", json!(0.5)),
        ("quantization_config", json!({"quant_method": "gptq"})),
    ] {
        assert_problem(with(llama(), json!({ field: value })), &["config.json", field, "not supported"]);
    }
}

#[test]
fn numbers_are_checked_alone_and_against_each_other() {
    for field in ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"] {
        assert_problem(without(llama(), field), &[field, "missing"]);
        for wrong in [json!(0), json!(-1), json!(1.5), json!("8"), json!(u64::MAX), json!([8])] {
            assert_problem(with(llama(), json!({ field: wrong.clone() })), &[field, &wrong.to_string()]);
        }
    }
    assert_problem(with(llama(), json!({"num_key_value_heads": 5})), &["num_key_value_heads 5", "32"]);
    assert_problem(with(llama(), json!({"head_dim": 63})), &["head_dim", "even"]);
    assert_problem(with(without(llama(), "head_dim"), json!({"hidden_size": 2049})), &["head_dim", "2049"]);
    assert_problem(with(llama(), json!({"num_hidden_layers": 1_000_000})), &["num_hidden_layers", "1000000"]);
    assert_problem(with(llama(), json!({"rms_norm_eps": 0})), &["rms_norm_eps"]);
    assert_problem(with(llama(), json!({"rms_norm_eps": 1e-300})), &["rms_norm_eps"]);
}

#[test]
fn all_problems_are_listed_at_once() {
    let config = with(without(llama(), "vocab_size"), json!({"hidden_act": "relu", "rope_theta": -1}));
    assert_eq!(problems(config).len(), 3);
}

#[test]
fn text_that_is_no_json_object() {
    for text in ["", "{", "[1, 2]", "\u{0}", "{\"a\": 1e999}", &"[".repeat(100_000)] {
        let problems = parse(text, None).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with("config.json: "), "{problems:?}");
    }
    let problems = parse(&llama().to_string(), Some("nonsense")).unwrap_err();
    assert!(problems[0].starts_with("generation_config.json: not JSON"), "{problems:?}");
}
