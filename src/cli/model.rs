//! Which model, on how many threads, with how much memory: the arguments that `generate` and `bench` share.

use std::path::{Path, PathBuf};

use clap::Args;
use longhaul::engine::Engine;
use longhaul::spec::synthetic::Preset;
use longhaul::spec::{KvDtype, WeightDtype};
use longhaul::{Error, Result};

use super::progress::{Progress, spinner};

/// Where `scripts/fetch-smollm2` puts the model.
pub const FETCHED: &str = "models/smollm2-135m";

/// The model that needs no download.
const DEFAULT_PRESET: &str = "smollm2-135m";

/// Seed of synthetic weights: one model for every run.
const WEIGHTS_SEED: u64 = 0;

/// The model and what it may use.
#[derive(Args)]
pub struct ModelArguments {
    /// Hugging Face model folder [default: models/smollm2-135m if it is there]
    #[arg(long, value_name = "DIR", conflicts_with = "synthetic")]
    pub model: Option<PathBuf>,
    /// Random weights in the shape of a model: smollm2-135m, llama-3.2-1b, llama-3.1-8b, qwen3-0.6b [default:
    /// smollm2-135m if no folder is given or fetched]
    #[arg(long, value_name = "NAME")]
    pub synthetic: Option<Preset>,
    /// What the matrices run as
    #[arg(
        long,
        value_name = "auto|bf16|f32|int8|int4",
        default_value = "auto",
        value_parser = parse_weights,
        long_help = "What the matrices run as: auto (bf16 if all are stored so, else f32), bf16, f32, int8 (one scale for 64 inputs of an \
                     output), int8-gN (one for N, a multiple of 32), int8-channel (one for all) or int4 (groups of 32). int8 and int4 lose quality; BENCHMARKS.md says how much"
    )]
    pub weights: Weights,
    /// What keys and values are stored as
    #[arg(
        long,
        value_name = "bf16|int8",
        default_value_t,
        long_help = "What keys and values are stored as: bf16, or int8 (one scale for each token and head), which takes about half the memory. \
                     int8 loses quality; BENCHMARKS.md says how much"
    )]
    pub kv: KvDtype,
    /// Threads [default: as many as this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub threads: Option<u32>,
    /// Memory for keys and values, as 512MiB or 2GiB [default: the engine's]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub kv_budget: Option<u64>,
}

/// What matrices run as; `None` as the checkpoint has them.
#[derive(Debug, Clone, Copy)]
pub struct Weights(pub Option<WeightDtype>);

/// The model chosen.
pub enum Source {
    /// A folder.
    Folder(PathBuf),
    /// Random weights.
    Synthetic(Preset),
}

impl ModelArguments {
    /// The model that the arguments name, or the default.
    ///
    /// # Errors
    /// When the library does not know the default synthetic model.
    pub fn source(&self) -> Result<Source> {
        Ok(match (&self.model, self.synthetic) {
            (Some(dir), _) => Source::Folder(dir.clone()),
            (None, Some(preset)) => Source::Synthetic(preset),
            (None, None) if Path::new(FETCHED).is_dir() => Source::Folder(FETCHED.into()),
            (None, None) => Source::Synthetic(DEFAULT_PRESET.parse()?),
        })
    }

    /// Loads the model, with a spinner on a terminal.
    ///
    /// # Errors
    /// Whatever is wrong with the model, or does not fit.
    pub fn engine(&self, source: &Source, progress: Progress) -> Result<Engine> {
        let builder = match source {
            Source::Folder(dir) => Engine::builder().model_dir(dir),
            Source::Synthetic(preset) => Engine::builder().synthetic(*preset, WEIGHTS_SEED),
        };
        let mut builder = builder.weights(self.weights.0).kv(self.kv);
        if let Some(n) = self.threads {
            builder = builder.threads(n as usize);
        }
        if let Some(bytes) = self.kv_budget {
            builder = builder.kv_budget_bytes(bytes);
        }
        let spinner = spinner(progress, format!("loading {source}"));
        let engine = builder.build();
        spinner.finish_and_clear();
        let engine = engine?;
        for note in &engine.info().notes {
            eprintln!("longhaul: {note}");
        }
        Ok(engine)
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(dir) => write!(f, "{}", dir.display()),
            Self::Synthetic(preset) => write!(f, "synthetic {preset}"),
        }
    }
}

/// Reads `auto`, or what matrices can run as.
fn parse_weights(text: &str) -> Result<Weights> {
    Ok(Weights(if text == "auto" { None } else { Some(text.parse()?) }))
}

/// Reads `512MiB`, `2GiB`, `1.5GB` or plain bytes.
fn parse_bytes(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let factor: f64 = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kib" | "k" => 1024.0,
        "mib" | "m" => 1_048_576.0,
        "gib" | "g" => 1_073_741_824.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        unit => return Err(Error::argument(format!("unknown unit {unit:?}; write KiB, MiB or GiB"))),
    };
    match digits.parse::<f64>() {
        Ok(n) if n.is_finite() && n > 0.0 && n * factor < 1e18 => Ok((n * factor) as u64),
        _ => Err(Error::argument("write a size like 512MiB or 2GiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("512MiB").unwrap(), 512 << 20);
        assert_eq!(parse_bytes("1.5 GiB").unwrap(), 3 << 29);
        assert_eq!(parse_bytes("1000").unwrap(), 1000);
        for bad in ["", "GiB", "-1GiB", "0", "2 parsecs", "1e40", "nan"] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }
}
