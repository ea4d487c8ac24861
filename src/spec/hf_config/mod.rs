//! Reads `config.json` and `generation_config.json` of a Hugging Face folder into a [`ModelConfig`].
//!
//! What transformers leaves to a default is filled in with the same default. A setting that would change what is
//! computed and that the forward pass does not know is a problem, never ignored; settings of training, caching and
//! sampling are ignored.

mod fields;
mod rope;

use serde_json::{Map, Value};

use self::fields::{Fields, excerpt};
use super::{Architecture, ModelConfig, TokenId};

/// What transformers takes for an absent `sliding_window` (`null` means none).
const DEFAULT_WINDOW: usize = 4096;

/// What transformers takes for an absent `max_window_layers`.
const DEFAULT_MAX_WINDOW_LAYERS: usize = 28;

/// Most layers that a configuration may name.
const MAX_LAYERS: usize = 4096;

/// Reads a configuration from the text of `config.json` and, if there is one, of `generation_config.json`.
///
/// # Errors
/// Everything that is wrong, one sentence each, naming file and field: not JSON, an unknown architecture, a RoPE type
/// or another setting that is not supported, numbers that are missing or contradict each other.
pub fn parse(config: &str, generation: Option<&str>) -> Result<ModelConfig, Vec<String>> {
    let object = json_object("config.json", config).map_err(|problem| vec![problem])?;
    let mut fields = Fields::new("config.json", &object);
    let Some(architecture) = architecture(&mut fields) else { return Err(fields.into_problems()) };
    reject_variants(&mut fields);
    let config = model_config(&mut fields, architecture, generation);
    if fields.is_clean() {
        reject_inconsistent(&mut fields, &config);
    }
    let problems = fields.into_problems();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn json_object(file: &str, text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(format!("{file}: a JSON object is expected, and it is {}", excerpt(&other))),
        Err(error) => Err(format!("{file}: not JSON: {error}")),
    }
}

/// The family, by the class in `architectures` and, where that is absent, by `model_type`.
fn architecture(fields: &mut Fields<'_>) -> Option<Architecture> {
    const KNOWN: [(&str, &str, Architecture); 4] = [
        ("LlamaForCausalLM", "llama", Architecture::Llama),
        ("MistralForCausalLM", "mistral", Architecture::Mistral),
        ("Qwen2ForCausalLM", "qwen2", Architecture::Qwen2),
        ("Qwen3ForCausalLM", "qwen3", Architecture::Qwen3),
    ];
    let class = fields.value("architectures").map(|v| v.get(0).unwrap_or(v));
    let model_type = fields.value("model_type");
    let by_class = KNOWN.iter().find(|(name, ..)| class.is_some_and(|c| c == name));
    let by_type = KNOWN.iter().find(|(_, name, _)| model_type.is_some_and(|t| t == name));
    let known = match (class, model_type) {
        (Some(_), None) => by_class,
        (None, Some(_)) => by_type,
        _ => by_class.filter(|c| by_type.is_some_and(|t| t.2 == c.2)),
    };
    if known.is_none() {
        let shown = |v: Option<&Value>| v.map_or("absent".to_owned(), excerpt);
        fields.problem(format!(
            "unknown architecture: architectures is {} and model_type is {}; supported are {}",
            shown(fields.value("architectures")),
            shown(model_type),
            KNOWN.map(|(name, ..)| name).join(", ")
        ));
    }
    known.map(|k| k.2)
}

/// Settings that change what is computed, and that the forward pass does not have.
fn reject_variants(fields: &mut Fields<'_>) {
    if let Some(activation) = fields.word("hidden_act")
        && !["silu", "swish"].contains(&activation)
    {
        fields.problem(format!("hidden_act \"{activation}\" is not supported; silu is"));
    }
    for name in ["attention_bias", "mlp_bias", "rope_interleaved", "use_mrope"] {
        if fields.flag(name) {
            fields.problem(format!("{name} is not supported"));
        }
    }
    if fields.positive("partial_rotary_factor").is_some_and(|f| f != 1.0) {
        fields.problem("a partial_rotary_factor other than 1 is not supported");
    }
    if fields.value("quantization_config").is_some() {
        fields.problem("quantized weights (quantization_config) are not supported; bf16, f16 and f32 are");
    }
}

fn model_config(fields: &mut Fields<'_>, architecture: Architecture, generation: Option<&str>) -> ModelConfig {
    let d_model = fields.required_size("hidden_size");
    let n_layers = fields.required_size("num_hidden_layers");
    let n_heads = fields.required_size("num_attention_heads");
    let n_kv_heads = match architecture {
        Architecture::Llama => fields.size("num_key_value_heads").unwrap_or(n_heads),
        _ => fields.required_size("num_key_value_heads"),
    };
    ModelConfig {
        architecture,
        d_model,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim: head_dim(fields, architecture, d_model, n_heads),
        d_ff: fields.required_size("intermediate_size"),
        vocab: fields.required_size("vocab_size"),
        max_len: fields.required_size("max_position_embeddings"),
        norm_eps: fields.positive("rms_norm_eps").unwrap_or(1e-6) as f32,
        rope: rope::rope(fields),
        sliding_window: sliding_window(fields, architecture, n_layers),
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
        tied_embeddings: fields.flag("tie_word_embeddings"),
        end_tokens: end_tokens(fields, generation),
    }
}

fn head_dim(fields: &mut Fields<'_>, architecture: Architecture, d_model: usize, n_heads: usize) -> usize {
    if fields.value("head_dim").is_some() {
        return fields.required_size("head_dim");
    }
    if architecture == Architecture::Qwen3 {
        return 128;
    }
    if !d_model.is_multiple_of(n_heads) {
        fields.problem(format!(
            "head_dim is missing, and num_attention_heads {n_heads} does not divide hidden_size {d_model}"
        ));
    }
    (d_model / n_heads).max(1)
}

/// The window, when every layer has it. Llama has none; Mistral has one unless it is `null`; Qwen has one from layer
/// `max_window_layers` on if `use_sliding_window` says so.
fn sliding_window(fields: &mut Fields<'_>, architecture: Architecture, n_layers: usize) -> Option<usize> {
    let is_qwen = matches!(architecture, Architecture::Qwen2 | Architecture::Qwen3);
    let is_used = fields.flag("use_sliding_window") && is_qwen || architecture == Architecture::Mistral;
    let window = match (is_used, fields.has("sliding_window")) {
        (false, _) => None,
        (true, false) => Some(DEFAULT_WINDOW),
        (true, true) => fields.size("sliding_window"),
    };
    let first = if is_qwen { fields.count("max_window_layers").unwrap_or(DEFAULT_MAX_WINDOW_LAYERS) } else { 0 };
    let default_count = if window.is_some() { n_layers.saturating_sub(first) } else { 0 };
    match n_window_layers(fields, n_layers).unwrap_or(default_count) {
        0 => None,
        n if n == n_layers && window.is_some() => window,
        n => {
            fields.problem(format!(
                "a sliding window in {n} of {n_layers} layers (window {}) is not supported; all or none is",
                window.map_or("none".to_owned(), |w| w.to_string())
            ));
            None
        }
    }
}

/// How many layers `layer_types`, if there is one, gives a window.
fn n_window_layers(fields: &mut Fields<'_>, n_layers: usize) -> Option<usize> {
    let value = fields.value("layer_types")?;
    let types = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |kind: &str| types.iter().filter(|t| *t == kind).count();
    let (full, sliding) = (count("full_attention"), count("sliding_attention"));
    if types.len() != n_layers || full + sliding != n_layers {
        fields.problem(format!(
            "layer_types must list full_attention or sliding_attention for each of {n_layers} layers, and is {}",
            excerpt(value)
        ));
        return Some(0);
    }
    Some(sliding)
}

/// Tokens that end a generation: those of `generation_config.json`, then those that `config.json` adds.
fn end_tokens(fields: &mut Fields<'_>, generation: Option<&str>) -> Vec<TokenId> {
    let mut tokens = Vec::new();
    match generation.map(|text| json_object("generation_config.json", text)) {
        Some(Ok(object)) => {
            let mut generation = Fields::new("generation_config.json", &object);
            collect_end_tokens(&mut generation, &mut tokens);
            fields.absorb(generation.into_problems());
        }
        Some(Err(problem)) => fields.absorb(vec![problem]),
        None => {}
    }
    collect_end_tokens(fields, &mut tokens);
    tokens
}

fn collect_end_tokens(fields: &mut Fields<'_>, tokens: &mut Vec<TokenId>) {
    let Some(value) = fields.value("eos_token_id") else { return };
    let ids = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    for id in ids {
        match id.as_u64().and_then(|id| TokenId::try_from(id).ok()) {
            Some(id) if tokens.contains(&id) => {}
            Some(id) => tokens.push(id),
            None => {
                fields.problem(format!("eos_token_id must be a token id or a list of them, and is {}", excerpt(value)))
            }
        }
    }
}

/// Numbers that are fine alone and contradict each other.
fn reject_inconsistent(fields: &mut Fields<'_>, config: &ModelConfig) {
    let ModelConfig { n_heads, n_kv_heads, head_dim, n_layers, vocab, .. } = *config;
    if n_layers > MAX_LAYERS {
        fields.problem(format!("num_hidden_layers is {n_layers}, and at most {MAX_LAYERS} are supported"));
    }
    if !n_heads.is_multiple_of(n_kv_heads) {
        fields.problem(format!("num_key_value_heads {n_kv_heads} does not divide num_attention_heads {n_heads}"));
    }
    if !head_dim.is_multiple_of(2) {
        fields.problem(format!("head_dim must be even for RoPE, and is {head_dim}"));
    }
    if !config.norm_eps.is_normal() {
        fields.problem("rms_norm_eps is outside the range of f32");
    }
    if let Some(token) = config.end_tokens.iter().find(|&&t| t as usize >= vocab) {
        fields.problem(format!("eos_token_id {token} is outside the vocabulary of {vocab} tokens (vocab_size)"));
    }
}

#[cfg(test)]
mod tests;
