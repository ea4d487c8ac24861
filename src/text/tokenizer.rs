//! The tokenizer of a model folder, read from `tokenizer.json` by Hugging Face's crate.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use tokenizers::{Encoding, Token};

use super::shield::Shield;
use crate::error::{Error, Result};
use crate::spec::TokenId;

/// The file that [`Tokenizer::from_dir`] reads.
pub(super) const FILE_NAME: &str = "tokenizer.json";

/// What special tokens (control tokens such as `<|im_end|>`) mean when they stand in a text as characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They are text: what a user or a tool wrote can end no turn and begin none.
    AsText,
    /// They become control tokens: for text that the program itself made.
    Parse,
}

/// A tokenizer. Cloning shares it; it can be used from many threads.
///
/// Tokens that `tokenizer.json` adds without calling them special (`<tool_call>` in some models) are found in either
/// mode, as in Hugging Face and llama.cpp. Bytes that the vocabulary cannot express (SmolLM2 lacks 21, all of them
/// control characters or beginnings of unassigned characters) are left out, likewise.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
}

struct Inner {
    /// Finds special tokens in text.
    parse: tokenizers::Tokenizer,
    /// The same tokenizer, blind to them.
    as_text: tokenizers::Tokenizer,
    special_tokens: Vec<String>,
    special_ids: HashSet<TokenId>,
    prefix: Vec<TokenId>,
    vocab: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a Hugging Face folder.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Text`] if it is not a tokenizer.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        Self::from_json(&bytes).map_err(|e| Error::Text(format!("{}: {e}", path.display())))
    }

    /// Reads the content of a `tokenizer.json`. Truncation and padding that it asks for are switched off: no token is
    /// lost and none is made up.
    ///
    /// # Errors
    /// [`Error::Text`] with what is wrong.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let mut parse = tokenizers::Tokenizer::from_bytes(json).map_err(text_error)?;
        parse.with_truncation(None).map_err(text_error)?;
        parse.with_padding(None);
        let mut as_text = parse.clone();
        as_text.set_encode_special_tokens(true);
        let special = parse.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
        let (special_ids, special_tokens) = special.map(|(id, token)| (id, token.content)).unzip();
        let prefix = prefix_of(&parse).map_err(text_error)?;
        let vocab = parse.get_vocab(true).into_values().max().map_or(0, |largest| largest as usize + 1);
        Ok(Self { inner: Arc::new(Inner { parse, as_text, special_tokens, special_ids, prefix, vocab }) })
    }

    /// The tokens of `text`, nothing added before or after (see [`prefix`](Self::prefix)).
    ///
    /// # Errors
    /// [`Error::Text`] if the tokenizer cannot take it.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<TokenId>> {
        let tokenizer = match special {
            SpecialTokens::AsText => &self.inner.as_text,
            SpecialTokens::Parse => &self.inner.parse,
        };
        Ok(tokenizer.encode_fast(text, false).map_err(text_error)?.get_ids().to_vec())
    }

    /// The tokens of text that has not been checked to be UTF-8, such as a file's.
    ///
    /// # Errors
    /// [`Error::Text`] that names the first bad byte and where it is.
    pub fn encode_bytes(&self, text: &[u8], special: SpecialTokens) -> Result<Vec<TokenId>> {
        let text = std::str::from_utf8(text).map_err(|e| {
            let at = e.valid_up_to();
            Error::Text(format!("the text is not UTF-8: byte {:#04x} at offset {at}", text[at]))
        })?;
        self.encode(text, special)
    }

    /// The text of `tokens`; incomplete characters come out as U+FFFD. For tokens that arrive one by one see
    /// [`TextStream`](super::TextStream).
    ///
    /// # Errors
    /// [`Error::Vocabulary`] for an id that the tokenizer does not have.
    pub fn decode(&self, tokens: &[TokenId], skip_special: bool) -> Result<String> {
        self.check(tokens)?;
        self.inner.parse.decode(tokens, skip_special).map_err(text_error)
    }

    /// Size of the vocabulary, special tokens included: one more than the largest id. A model's embedding may have more
    /// rows than that, as padding.
    pub fn vocab(&self) -> usize {
        self.inner.vocab
    }

    /// The id of a token by its exact text in the vocabulary, for example `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<TokenId> {
        self.inner.parse.token_to_id(token)
    }

    /// Tokens that the model expects before a plain text, at the start of a context (the begin token of Llama 3, none
    /// for SmolLM2). Chat templates write their own.
    pub fn prefix(&self) -> &[TokenId] {
        &self.inner.prefix
    }

    /// The texts of all special tokens.
    pub(super) fn special_tokens(&self) -> &[String] {
        &self.inner.special_tokens
    }

    /// The tokens of a rendered template in which `shield` has broken what must stay text. (A tokenizer that marks the
    /// start of a text with a space, as some of SentencePiece's do, does so after each control token here.)
    pub(super) fn encode_shielded(&self, text: &str, shield: &Shield) -> Result<Vec<TokenId>> {
        if !shield.is_in(text) {
            return self.encode(text, SpecialTokens::Parse);
        }
        let encoding = self.inner.parse.encode(text, false).map_err(text_error)?;
        let mut tokens = Vec::with_capacity(encoding.len());
        let mut plain_from = 0;
        for (&id, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            if self.inner.special_ids.contains(&id) {
                let plain = shield.uncover(&text[plain_from..start]);
                tokens.extend(self.encode(&plain, SpecialTokens::AsText)?);
                tokens.push(id);
                plain_from = end;
            }
        }
        tokens.extend(self.encode(&shield.uncover(&text[plain_from..]), SpecialTokens::AsText)?);
        Ok(tokens)
    }

    fn check(&self, tokens: &[TokenId]) -> Result<()> {
        match tokens.iter().find(|&&token| token as usize >= self.inner.vocab) {
            Some(&token) => Err(Error::Vocabulary { token, vocab: self.inner.vocab }),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab", &self.inner.vocab).finish_non_exhaustive()
    }
}

/// What the tokenizer adds before a text, and not what it may add behind it. The text is one token made up, since no
/// vocabulary need have any word.
fn prefix_of(tokenizer: &tokenizers::Tokenizer) -> Result<Vec<TokenId>, tokenizers::Error> {
    let text = Encoding::from_tokens(vec![Token::new(0, "a".into(), (0, 1))], 0);
    let encoding = tokenizer.post_process(text, None, true)?;
    let n_added = encoding.get_special_tokens_mask().iter().take_while(|is_added| **is_added == 1).count();
    Ok(encoding.get_ids()[..n_added].to_vec())
}

fn text_error(error: tokenizers::Error) -> Error {
    Error::Text(error.to_string())
}
