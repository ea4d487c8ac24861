//! From tokens to the text that may be shown: whole characters, and nothing of a stop string.

#[cfg(feature = "text")]
pub(super) use with_text::Emitter;
#[cfg(not(feature = "text"))]
pub(super) use without_text::Emitter;

use super::Inner;
use super::options::FinishReason;
use crate::error::Result;
use crate::spec::TokenId;

/// What a piece of text made visible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Visible {
    pub(super) text: String,
    /// The stop string that follows the text.
    pub(super) stop: Option<String>,
}

impl Inner {
    /// Makes text and looks for `stops` in it; `None` without a tokenizer.
    #[cfg(feature = "text")]
    pub(super) fn emitter(&self, stops: &[String]) -> Option<Emitter> {
        self.text.as_ref().map(|text| Emitter::new(text.tokenizer.clone(), stops.to_vec()))
    }

    /// Without a tokenizer there is no text.
    #[cfg(not(feature = "text"))]
    pub(super) fn emitter(&self, _stops: &[String]) -> Option<Emitter> {
        None
    }
}

impl Emitter {
    /// The text that becomes visible with `token`, which ends the generation if there is an `end`. With `matching`,
    /// stop strings count, and if one is complete it is the end.
    pub(super) fn emit(&mut self, token: TokenId, end: Option<&FinishReason>, matching: bool) -> Result<Visible> {
        let mut visible = match end {
            Some(FinishReason::EndToken | FinishReason::StopToken(_)) => Visible::default(),
            _ => self.push(token, matching)?,
        };
        if end.is_some() && visible.stop.is_none() {
            visible.text.push_str(&self.flush()?);
        }
        Ok(visible)
    }
}

#[cfg(feature = "text")]
mod with_text {
    use super::*;
    use crate::engine::stop::StopMatcher;
    use crate::text::{TextStream, Tokenizer};

    /// Makes text of tokens.
    pub(in crate::engine) struct Emitter {
        stream: TextStream,
        stops: StopMatcher,
    }

    impl Emitter {
        pub(in crate::engine) fn new(tokenizer: Tokenizer, stops: Vec<String>) -> Self {
            Self { stream: TextStream::new(tokenizer), stops: StopMatcher::new(stops) }
        }

        pub(super) fn push(&mut self, token: TokenId, matching: bool) -> Result<Visible> {
            // Embeddings may have rows that only pad them. A model can draw one; it is a token, and has no text.
            let piece = if self.stream.knows(token) { self.stream.push(token)? } else { String::new() };
            Ok(if matching { self.stops.push(&piece) } else { self.stops.pass(&piece) })
        }

        pub(super) fn flush(&mut self) -> Result<String> {
            let rest = self.stream.finish()?;
            Ok(self.stops.flush() + &rest)
        }
    }
}

#[cfg(not(feature = "text"))]
mod without_text {
    use super::*;

    /// There is no text without a tokenizer.
    pub(in crate::engine) enum Emitter {}

    impl Emitter {
        pub(super) fn push(&mut self, _: TokenId, _: bool) -> Result<Visible> {
            match *self {}
        }

        pub(super) fn flush(&mut self) -> Result<String> {
            match *self {}
        }
    }
}
