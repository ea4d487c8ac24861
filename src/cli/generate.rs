//! `longhaul generate`: continue a prompt, or answer a chat.
//!
//! A synthetic model has no tokenizer and says nothing: each byte of the prompt is taken as a token, and token ids come
//! out.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use longhaul::engine::{Engine, FinishReason, GenerateOptions, Generated, Sampling, Session, SessionOptions, Usage};
use longhaul::spec::TokenId;
use longhaul::text::{ChatMessage, ChatOptions, SpecialTokens};
use longhaul::{Error, Result};
use serde::Serialize;

use super::model::{ModelArguments, Source};
use super::progress::{Progress, spinner};
use super::{Ended, print, print_json, signal};

/// Arguments of `generate`.
#[derive(Args)]
#[command(group = ArgGroup::new("text").args(["prompt", "prompt_file", "chat"]).required(true))]
pub struct GenerateArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Text to continue
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// File with the text to continue; `-` is standard input
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Message of a user to answer, through the model's chat template
    #[arg(long, value_name = "TEXT")]
    chat: Option<String>,
    /// System message of the chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Tokens before which no end token ends it
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_tokens: u32,
    /// Go on past end tokens
    #[arg(long)]
    ignore_end: bool,
    /// Text that ends it; may be given more than once
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Sampling temperature; 0 takes the likeliest token
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Sample among the K likeliest tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Sample among the likeliest tokens that make up this share
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Sample among tokens at least this likely, relative to the likeliest
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Divisor on the scores of tokens that were there before
    #[arg(long, value_name = "R")]
    repetition_penalty: Option<f32>,
    /// Seed of the sampling
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_seconds)]
    deadline: Option<Duration>,
    /// Print one JSON object at the end instead of streaming text
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    model: String,
    kernels: String,
    text: Option<String>,
    tokens: Vec<TokenId>,
    finish: String,
    prompt_tokens: usize,
    cached_tokens: usize,
    generated_tokens: usize,
    ttft_ms: Option<f64>,
    total_ms: f64,
    prefill_tokens_per_s: Option<f64>,
    decode_tokens_per_s: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the model, the prompt or the sampling.
pub fn run(arguments: &GenerateArguments) -> Result<Ended> {
    let options = arguments.options();
    let progress = Progress::new(arguments.json);
    let source = arguments.model.source()?;
    if matches!(source, Source::Synthetic(_)) {
        if arguments.chat.is_some() {
            return Err(Error::argument(
                "a synthetic model has no chat template; give --model DIR (scripts/fetch-smollm2 brings one)",
            ));
        }
        eprintln!(
            "longhaul: {source} has random weights and no tokenizer: bytes go in, token ids come out, and they are noise"
        );
    }
    // What is wrong with a file can be told before a model is loaded, which may take a while.
    let prompt = arguments.prompt()?;
    let engine = arguments.model.engine(&source, progress)?;
    let mut session = engine.session(SessionOptions::default())?;
    arguments.append(&engine, &mut session, &source, prompt.as_deref())?;
    let canceller = session.canceller();
    signal::on_interrupt(move || canceller.cancel())?;

    let mut answer = Streamed { quiet: arguments.json, ..Streamed::default() };
    let finish = stream(&mut session, options, &mut answer, progress);
    let finish = match finish {
        Err(Error::Cancelled) => FinishReason::Cancelled,
        Err(Error::Deadline) => FinishReason::Deadline,
        other => other?,
    };
    let usage = session.usage().clone();
    if arguments.json {
        print_json(&answer.into_answer(&engine, &finish, &usage))?;
    } else {
        print("\n")?;
        eprintln!("{}", summary(&usage, &finish));
    }
    Ok(match finish {
        FinishReason::Cancelled => Ended::Interrupted,
        FinishReason::Deadline => Ended::Incomplete,
        _ => Ended::Done,
    })
}

/// Generates to the end, each piece as it comes.
fn stream(
    session: &mut Session,
    options: GenerateOptions,
    answer: &mut Streamed,
    progress: Progress,
) -> Result<FinishReason> {
    let waiting = spinner(progress, format!("reading {} tokens", session.len()));
    let mut generation = session.generate(options)?;
    for generated in generation.by_ref() {
        waiting.finish_and_clear();
        answer.push(generated?)?;
    }
    waiting.finish_and_clear();
    generation.finish()
}

/// What has come so far.
#[derive(Default)]
struct Streamed {
    quiet: bool,
    tokens: Vec<TokenId>,
    text: Option<String>,
}

impl Streamed {
    fn push(&mut self, generated: Generated) -> Result<()> {
        self.tokens.push(generated.token);
        let piece = match &generated.text {
            Some(text) => {
                self.text.get_or_insert_default().push_str(text);
                text.clone()
            }
            None => format!("{} ", generated.token),
        };
        if self.quiet { Ok(()) } else { print(&piece) }
    }

    fn into_answer(self, engine: &Engine, finish: &FinishReason, usage: &Usage) -> Answer {
        Answer {
            model: engine.info().model.clone(),
            kernels: engine.info().backend.clone(),
            text: self.text,
            tokens: self.tokens,
            finish: finish_name(finish),
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            generated_tokens: usage.generated_tokens,
            ttft_ms: usage.time_to_first_token.map(|t| t.as_secs_f64() * 1e3),
            total_ms: usage.total_time.as_secs_f64() * 1e3,
            prefill_tokens_per_s: prefill_rate(usage),
            decode_tokens_per_s: decode_rate(usage),
        }
    }
}

impl GenerateArguments {
    /// The text to continue; none for a chat.
    fn prompt(&self) -> Result<Option<String>> {
        let Some(path) = &self.prompt_file else { return Ok(self.prompt.clone()) };
        let text = if path.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(path)
        };
        text.map(Some).map_err(|e| Error::io(path, e))
    }

    fn append(&self, engine: &Engine, session: &mut Session, source: &Source, prompt: Option<&str>) -> Result<()> {
        if let Some(chat) = &self.chat {
            let message = |role: &str, content: &String| ChatMessage { role: role.into(), content: content.clone() };
            let system = self.system.iter().map(|s| message("system", s));
            let messages: Vec<_> = system.chain([message("user", chat)]).collect();
            session.append_chat(&messages, &ChatOptions::default())?;
        } else if let Some(prompt) = prompt {
            match source {
                Source::Synthetic(_) => {
                    session.append_tokens(&prompt.bytes().map(TokenId::from).collect::<Vec<_>>())?
                }
                Source::Folder(_) => {
                    session.append_tokens(engine.text().map_or(&[], |text| text.tokenizer.prefix()))?;
                    session.append_text(prompt, SpecialTokens::AsText)?;
                }
            }
        }
        Ok(())
    }

    fn options(&self) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens as usize,
            min_tokens: self.min_tokens as usize,
            ignore_end: self.ignore_end,
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
            },
            stop_strings: self.stop.clone(),
            deadline: self.deadline,
            ..GenerateOptions::default()
        }
    }
}

/// Reads seconds from 0 up.
fn parse_seconds(text: &str) -> Result<Duration> {
    let seconds = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    seconds.ok_or_else(|| Error::argument("write seconds from 0 up"))
}

fn summary(usage: &Usage, finish: &FinishReason) -> String {
    let rate = |rate: Option<f64>| rate.map_or("-".into(), |r| format!("{r:.1} tokens/s"));
    let ttft = usage.time_to_first_token.map_or("-".into(), |t| format!("{:.1} ms", t.as_secs_f64() * 1e3));
    format!(
        "prompt {} tokens ({} cached), first token after {ttft} ({}); generated {} tokens at {}; ended by {}",
        usage.prompt_tokens,
        usage.cached_tokens,
        rate(prefill_rate(usage)),
        usage.generated_tokens,
        rate(decode_rate(usage)),
        finish_name(finish)
    )
}

/// Prefilled tokens over the time to the first token.
fn prefill_rate(usage: &Usage) -> Option<f64> {
    usage.time_to_first_token.map(|t| usage.prefilled_tokens as f64 / t.as_secs_f64().max(1e-9))
}

/// Tokens after the first over the time since the first.
fn decode_rate(usage: &Usage) -> Option<f64> {
    let (first, last) = (usage.token_times.first()?, usage.token_times.last()?);
    let n = usage.token_times.len() - 1;
    (n > 0).then(|| n as f64 / (*last - *first).as_secs_f64().max(1e-9))
}

fn finish_name(finish: &FinishReason) -> String {
    match finish {
        FinishReason::EndToken => "end token".into(),
        FinishReason::StopToken(token) => format!("stop token {token}"),
        FinishReason::StopString(text) => format!("stop string {text:?}"),
        FinishReason::MaxTokens => "max tokens".into(),
        FinishReason::ContextFull => "full context".into(),
        FinishReason::Cancelled => "cancellation".into(),
        FinishReason::Deadline => "deadline".into(),
    }
}
