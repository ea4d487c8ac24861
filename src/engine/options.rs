//! What a session and a generation may be asked for, and what a generation answers.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::spec::TokenId;

/// How a session is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Whose session it is. Prefixes are shared among sessions of one tenant and never beyond, not even by timing.
    pub tenant: String,
    /// Whether it reuses prefixes that its tenant's sessions have computed, and leaves its own for them.
    pub prefix_cache: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { tenant: String::new(), prefix_cache: true }
    }
}

impl SessionOptions {
    /// The default options for `tenant`.
    pub fn tenant(tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), ..Self::default() }
    }
}

/// How a generation goes on and when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate, at least 1.
    pub max_tokens: usize,
    /// End and stop tokens cannot be drawn, and stop strings are not looked for, before this many tokens are generated.
    /// Where that leaves no token, the generation ends with [`Error::Argument`].
    pub min_tokens: usize,
    /// Takes the model's end tokens for ordinary ones.
    pub ignore_end: bool,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Tokens that end the generation, beside the model's end tokens.
    pub stop_tokens: Vec<TokenId>,
    /// Strings that end the generation when the text since its start contains one. Needs a tokenizer.
    pub stop_strings: Vec<String>,
    /// Time after which the generation ends with [`Error::Deadline`], counted from its start.
    pub deadline: Option<Duration>,
}

impl Default for GenerateOptions {
    /// Up to 512 tokens, greedily, until an end token.
    fn default() -> Self {
        Self {
            max_tokens: 512,
            min_tokens: 0,
            ignore_end: false,
            sampling: Sampling::default(),
            stop_tokens: Vec::new(),
            stop_strings: Vec::new(),
            deadline: None,
        }
    }
}

/// How a token is drawn from the logits. In this order: repetition penalty, temperature, top-k, top-p, min-p, draw.
///
/// The default is greedy: the most probable token, the smallest id among equals.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// Divisor of the logits; 0 is greedy.
    pub temperature: f32,
    /// Keeps the `k` most probable tokens.
    pub top_k: Option<usize>,
    /// Keeps the fewest most probable tokens whose probabilities sum to `p`, in (0, 1].
    pub top_p: Option<f32>,
    /// Keeps tokens at least `p` times as probable as the most probable one, `p` in [0, 1].
    pub min_p: Option<f32>,
    /// Divides positive logits of tokens that the context contains, and multiplies negative ones (Keskar et al. 2019,
    /// CTRL). One so far from 1 that a logit becomes infinite, or that none is left, ends the generation with
    /// [`Error::Argument`].
    pub repetition_penalty: Option<f32>,
    /// Key of the generator, with the token's position: the same context, options and seed draw the same tokens.
    pub seed: u64,
}

impl GenerateOptions {
    pub(super) fn validate(&self, vocab: usize) -> Result<()> {
        if self.max_tokens == 0 || self.min_tokens > self.max_tokens {
            return Err(Error::argument(format!(
                "max_tokens must be at least 1 and at least min_tokens; they are {} and {}",
                self.max_tokens, self.min_tokens
            )));
        }
        if let Some(&token) = self.stop_tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(Error::Vocabulary { token, vocab });
        }
        if self.stop_strings.iter().any(String::is_empty) {
            return Err(Error::argument("a stop string must not be empty"));
        }
        self.sampling.validate()
    }
}

impl Sampling {
    fn validate(&self) -> Result<()> {
        let Self { temperature, top_k, top_p, min_p, repetition_penalty, .. } = self;
        let problem = if !(temperature.is_finite() && *temperature >= 0.0) {
            format!("temperature must be 0 or more, not {temperature}")
        } else if *top_k == Some(0) {
            "top_k must be at least 1".into()
        } else if let Some(p) = top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            format!("top_p must be more than 0 and at most 1, not {p}")
        } else if let Some(p) = min_p.filter(|p| !(0.0..=1.0).contains(p)) {
            format!("min_p must be from 0 to 1, not {p}")
        } else if let Some(r) = repetition_penalty.filter(|r| !(r.is_finite() && *r > 0.0)) {
            format!("repetition_penalty must be more than 0, not {r}")
        } else {
            return Ok(());
        };
        Err(Error::Argument(problem))
    }
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The token; it stands in the session's context. The end or stop token that ends the generation is among them.
    pub token: TokenId,
    /// The characters that became visible with it, `None` without a tokenizer. Never a part of a character, nor of a
    /// stop string: they are held back until it is clear what they are, so a token may show nothing and a later one
    /// more.
    pub text: Option<String>,
    /// `ln p(token | context)` under the model, before penalty, temperature and truncation.
    pub logprob: f32,
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model drew one of its end tokens.
    EndToken,
    /// It drew one of the stop tokens.
    StopToken(TokenId),
    /// The text contained this stop string. Its tokens stand in the context, its text is not shown.
    StopString(String),
    /// As many tokens as were asked for.
    MaxTokens,
    /// The context is as long as the model takes.
    ContextFull,
    /// The caller cancelled it.
    Cancelled,
    /// Its deadline passed.
    Deadline,
}
