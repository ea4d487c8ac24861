//! Text in and out of tokens: tokenizer, incremental detokenizer, chat template (cargo feature `text`).
//!
//! - [`Tokenizer`] reads `tokenizer.json` and encodes text; [`SpecialTokens`] says whether `<|im_end|>` inside the text
//!   is a control token or ten ordinary characters.
//! - [`TextStream`] turns tokens into text as they come and never splits a character.
//! - [`ChatTemplate`] renders messages with the model's own Jinja template.
//! - [`TextModel`] holds both of a model folder, and encodes a chat so that what people wrote stays text.

mod jinja;
mod shield;
mod stream;
mod template;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::path::Path;

pub use stream::TextStream;
pub use template::{ChatMessage, ChatOptions, ChatTemplate};
pub use tokenizer::{SpecialTokens, Tokenizer};

use crate::error::{Error, Result};
use crate::spec::TokenId;
use shield::Shield;

/// The tokenizer and the chat template of a model folder.
#[derive(Debug, Clone)]
pub struct TextModel {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template; base models have none.
    pub template: Option<ChatTemplate>,
}

impl TextModel {
    /// Reads both from a Hugging Face folder; `None` if it has no `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Text`] or [`Error::Io`] for a file that is there and cannot be used.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>> {
        if !dir.join(tokenizer::FILE_NAME).exists() {
            return Ok(None);
        }
        Ok(Some(Self { tokenizer: Tokenizer::from_dir(dir)?, template: ChatTemplate::from_dir(dir)? }))
    }

    /// The tokens of a chat: those of the rendered template, where only the template's own text can make control
    /// tokens. A message that contains `<|im_end|>` is encoded as those characters and cannot end its turn.
    ///
    /// Method: a mark that occurs nowhere in the input goes into every special token's text inside messages and
    /// variables; the template is rendered, control tokens are found, and the text between them is encoded
    /// without the mark. Marking whole messages instead would upset templates that trim or test their content.
    ///
    /// # Errors
    /// [`Error::Text`] if the model has no chat template, or if the template refuses the messages.
    pub fn encode_chat(&self, messages: &[ChatMessage], options: &ChatOptions) -> Result<Vec<TokenId>> {
        let Some(template) = &self.template else {
            return Err(Error::Text("the model folder has no chat template; append plain text instead".into()));
        };
        let mut messages = messages.to_vec();
        let mut options = options.clone();
        let shield = Shield::new(self.tokenizer.special_tokens(), template.source(), &messages, &options)?;
        shield.cover(&mut messages, &mut options);
        let rendered = template.render(&messages, &options)?;
        self.tokenizer.encode_shielded(&rendered, &shield)
    }
}
