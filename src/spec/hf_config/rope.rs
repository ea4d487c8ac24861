//! RoPE as Hugging Face configures it: `rope_theta` and `rope_scaling` at the top level, or newer `rope_parameters`.

use super::fields::Fields;
use crate::spec::{RopeConfig, RopeScaling};

/// What every family falls back to without a `rope_theta`.
const DEFAULT_THETA: f64 = 10_000.0;

pub(super) fn rope(fields: &mut Fields<'_>) -> RopeConfig {
    let top_level_theta = fields.positive("rope_theta");
    let name = if fields.value("rope_parameters").is_some() { "rope_parameters" } else { "rope_scaling" };
    if name == "rope_parameters" && fields.value("rope_scaling").is_some_and(|v| Some(v) != fields.value(name)) {
        fields.problem("rope_parameters and rope_scaling are both given, and differ");
    }
    let Some(object) = fields.object(name) else {
        return RopeConfig { theta: top_level_theta.unwrap_or(DEFAULT_THETA), scaling: RopeScaling::None };
    };

    let original_max_len = fields.positive("original_max_position_embeddings");
    let mut rope = Fields::new(format!("config.json: {name}"), object);
    let theta = rope.positive("rope_theta");
    if let (Some(inner), Some(outer)) = (theta, top_level_theta)
        && inner != outer
    {
        rope.problem(format!("rope_theta is {inner} here and {outer} at the top level"));
    }
    let theta = theta.or(top_level_theta).unwrap_or(DEFAULT_THETA);
    let scaling = scaling(&mut rope, original_max_len);
    fields.absorb(rope.into_problems());
    RopeConfig { theta, scaling }
}

fn scaling(rope: &mut Fields<'_>, original_max_len: Option<f64>) -> RopeScaling {
    if rope.positive("partial_rotary_factor").is_some_and(|f| f != 1.0) {
        rope.problem("a partial_rotary_factor other than 1 is not supported");
    }
    match rope.word("rope_type").or_else(|| rope.word("type")) {
        None if rope.has("factor") => {
            rope.problem("rope_type is missing");
            RopeScaling::None
        }
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear { factor: factor(rope) },
        Some("llama3") => llama3(rope, original_max_len),
        Some(other) => {
            rope.problem(format!("RoPE type \"{other}\" is not supported; default, linear and llama3 are"));
            RopeScaling::None
        }
    }
}

fn llama3(rope: &mut Fields<'_>, original_max_len: Option<f64>) -> RopeScaling {
    let low_freq_factor = required(rope, "low_freq_factor");
    let high_freq_factor = required(rope, "high_freq_factor");
    if low_freq_factor >= high_freq_factor {
        rope.problem(format!(
            "low_freq_factor must be below high_freq_factor, and they are {low_freq_factor} and {high_freq_factor}"
        ));
    }
    let original_max_len = match original_max_len {
        Some(length) if !rope.has("original_max_position_embeddings") => length,
        _ => required(rope, "original_max_position_embeddings"),
    };
    RopeScaling::Llama3 { factor: factor(rope), low_freq_factor, high_freq_factor, original_max_len }
}

fn factor(rope: &mut Fields<'_>) -> f64 {
    let factor = required(rope, "factor");
    if factor < 1.0 {
        rope.problem(format!("factor must be at least 1, and is {factor}"));
    }
    factor
}

/// A number that must be there. What stands in for a wrong one is never used: the problem is noted.
fn required(rope: &mut Fields<'_>, name: &str) -> f64 {
    if rope.value(name).is_none() {
        rope.problem(format!("{name} is missing"));
    }
    rope.positive(name).unwrap_or(f64::NAN)
}
