//! Text in and out of sessions.

use super::Inner;
use super::session::Session;
use crate::error::{Error, Result};
use crate::text::{ChatMessage, ChatOptions, SpecialTokens, TextModel};

impl Session {
    /// Queues text behind the context. Returns how many tokens it became. Nothing is added to it: a model that wants a
    /// begin token before a plain text has it in [`Tokenizer::prefix`](crate::text::Tokenizer::prefix), for whoever
    /// begins a context.
    ///
    /// # Errors
    /// [`Error::Text`] without a tokenizer, [`Error::ContextLength`]; nothing is appended then.
    pub fn append_text(&mut self, text: &str, special: SpecialTokens) -> Result<usize> {
        let tokens = self.engine.text()?.tokenizer.encode(text, special)?;
        self.append_tokens(&tokens)?;
        Ok(tokens.len())
    }

    /// Queues messages behind the context, as the model's chat template renders them; what looks like a special token
    /// inside a message stays text. Returns how many tokens they became.
    ///
    /// # Errors
    /// [`Error::Text`] without a tokenizer or a chat template, or if the template refuses the messages;
    /// [`Error::ContextLength`].
    pub fn append_chat(&mut self, messages: &[ChatMessage], options: &ChatOptions) -> Result<usize> {
        let tokens = self.engine.text()?.encode_chat(messages, options)?;
        self.append_tokens(&tokens)?;
        Ok(tokens.len())
    }
}

impl super::Engine {
    /// The tokenizer and chat template, if the engine has them.
    pub fn text(&self) -> Option<&TextModel> {
        self.inner.text.as_ref()
    }
}

impl Inner {
    fn text(&self) -> Result<&TextModel> {
        self.text
            .as_ref()
            .ok_or_else(|| Error::Text("this engine has no tokenizer: build it from a model folder".into()))
    }
}
