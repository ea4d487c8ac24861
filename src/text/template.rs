//! Chat templates as Hugging Face folders carry them.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::jinja;
use crate::error::{Error, Result};

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// How a chat is rendered.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatOptions {
    /// End with the beginning of the assistant's turn, so that the model answers; true by default.
    pub add_generation_prompt: bool,
    /// Further variables for the template, `tools` or `enable_thinking` for example.
    pub variables: Map<String, Value>,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self { add_generation_prompt: true, variables: Map::new() }
    }
}

/// A model's chat template. Cloning shares it.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    environment: minijinja::Environment<'static>,
    source: String,
    /// `bos_token`, `eos_token` and the like, which templates use as variables.
    special_tokens: Map<String, Value>,
}

impl ChatTemplate {
    /// Reads the template of a Hugging Face folder: `chat_template.jinja` if it is there, else the field
    /// `chat_template` of `tokenizer_config.json`, and of several templates there the one named `default`. `None` if
    /// there is none.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that is there and cannot be read, [`Error::Text`] for one that is not JSON or not
    /// Jinja.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>> {
        let config_path = dir.join("tokenizer_config.json");
        let config = match read_if_there(&config_path)? {
            Some(json) => serde_json::from_str(&json)
                .map_err(|e| Error::Text(format!("{} is not JSON: {e}", config_path.display())))?,
            None => Value::Null,
        };
        let template_path = dir.join("chat_template.jinja");
        let (path, source) = match read_if_there(&template_path)? {
            Some(source) => (template_path, Some(source)),
            None => (config_path, template_in(&config["chat_template"])),
        };
        let Some(source) = source else { return Ok(None) };
        match Self::new(&source, special_tokens(&config)) {
            Ok(template) => Ok(Some(template)),
            Err(error) => Err(Error::Text(format!("{}: {error}", path.display()))),
        }
    }

    /// A template from its source, with the variables that name special tokens (`eos_token` and so on).
    ///
    /// # Errors
    /// [`Error::Text`] if it is not Jinja.
    pub fn new(source: &str, special_tokens: Map<String, Value>) -> Result<Self> {
        let environment =
            jinja::environment(source).map_err(|e| Error::Text(format!("the chat template does not parse: {e}")))?;
        Ok(Self { inner: Arc::new(Inner { environment, source: source.to_string(), special_tokens }) })
    }

    /// The chat as one text. To tokenise it so that messages stay text, use
    /// [`TextModel::encode_chat`](super::TextModel::encode_chat).
    ///
    /// # Errors
    /// [`Error::Text`] if the template refuses the messages.
    pub fn render(&self, messages: &[ChatMessage], options: &ChatOptions) -> Result<String> {
        // Hugging Face always defines these three.
        let mut context = Map::from_iter([
            ("tools".to_string(), Value::Null),
            ("documents".to_string(), Value::Null),
            ("messages".to_string(), json!(messages)),
        ]);
        context.insert("add_generation_prompt".into(), options.add_generation_prompt.into());
        context.extend(self.inner.special_tokens.clone());
        context.extend(options.variables.clone());
        jinja::render(&self.inner.environment, &Value::Object(context))
            .map_err(|e| Error::Text(format!("the chat template refuses the messages: {e}")))
    }

    /// The template itself.
    pub fn source(&self) -> &str {
        &self.inner.source
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

/// `chat_template` is a string, or a list of `{"name": .., "template": ..}`.
fn template_in(field: &Value) -> Option<String> {
    let named_default = || field.as_array()?.iter().find(|entry| entry["name"] == "default");
    field.as_str().or_else(|| named_default()?["template"].as_str()).map(str::to_string)
}

/// Every `*_token` of `tokenizer_config.json`: a string, or an object with the string as `content`.
fn special_tokens(config: &Value) -> Map<String, Value> {
    let fields = config.as_object().into_iter().flatten().filter(|(key, _)| key.ends_with("_token"));
    fields
        .filter_map(|(key, token)| {
            let text = token.as_str().or_else(|| token["content"].as_str())?;
            Some((key.clone(), text.into()))
        })
        .collect()
}
