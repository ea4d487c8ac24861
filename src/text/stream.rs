//! Tokens to text, one token at a time.

use super::Tokenizer;
use crate::error::Result;
use crate::spec::TokenId;

/// An incremental detokenizer: gives text out as soon as its characters are complete, and special tokens not at all.
/// All that it gave out, joined, is what [`Tokenizer::decode`] makes of all tokens at once (where bytes are not UTF-8,
/// up to the number of U+FFFD that stand for them).
///
/// Method: a token's text depends on the one before it (leading spaces, bytes of one character), so the tokens of the
/// last text that was given out are kept and decoded again as context. Text that ends in U+FFFD may be an incomplete
/// character and waits for the next token.
#[derive(Debug, Clone)]
pub struct TextStream {
    tokenizer: Tokenizer,
    /// `[n_context + n_waiting]` tokens: those of the last text given out, then those that have given none yet.
    tokens: Vec<TokenId>,
    n_context: usize,
}

impl TextStream {
    /// A stream that has seen no token.
    pub fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, tokens: Vec::new(), n_context: 0 }
    }

    /// Whether the tokenizer has this token.
    pub fn knows(&self, token: TokenId) -> bool {
        (token as usize) < self.tokenizer.vocab()
    }

    /// Takes the next token and returns the characters that it completed, often one word, sometimes nothing.
    ///
    /// # Errors
    /// [`Error::Vocabulary`](crate::Error::Vocabulary) for an id that the tokenizer does not have; the stream stays as
    /// it was.
    pub fn push(&mut self, token: TokenId) -> Result<String> {
        self.tokens.push(token);
        let text = self.waiting_text().inspect_err(|_| {
            self.tokens.pop();
        })?;
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.tokens.drain(..self.n_context);
        self.n_context = self.tokens.len();
        Ok(text)
    }

    /// Ends the text: returns what still waited, an incomplete character as U+FFFD, and begins anew.
    ///
    /// # Errors
    /// None that [`push`](Self::push) would not have reported.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.waiting_text()?;
        self.tokens.clear();
        self.n_context = 0;
        Ok(text)
    }

    /// What the tokens after the context add to its text.
    fn waiting_text(&self) -> Result<String> {
        let context = self.tokenizer.decode(&self.tokens[..self.n_context], true)?;
        let mut text = self.tokenizer.decode(&self.tokens, true)?;
        Ok(text.split_off(floor_char_boundary(&text, context.len())))
    }
}

/// `len`, or the nearest place before it where no character is cut. Decoders that spell bytes out can turn a context
/// followed by an incomplete character into a run of U+FFFD, in which `len` falls anywhere.
fn floor_char_boundary(text: &str, len: usize) -> usize {
    (0..=len.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}
