//! Keeps special tokens inside messages from being taken for the template's own.

use std::collections::HashSet;

use serde_json::Value;

use super::template::{ChatMessage, ChatOptions};
use crate::error::{Error, Result};

/// A character that breaks special tokens inside messages, and that occurs in none of the inputs.
pub(super) struct Shield<'a> {
    special_tokens: &'a [String],
    /// First characters of the special tokens, so that most text is passed over quickly.
    first_characters: HashSet<char>,
    mark: char,
}

impl<'a> Shield<'a> {
    /// Chooses a mark: a Unicode noncharacter, or else a private character, that no input contains.
    pub fn new(
        special_tokens: &'a [String],
        template: &str,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<Self> {
        let mut inputs = vec![template];
        inputs.extend(messages.iter().flat_map(|m| [m.role.as_str(), m.content.as_str()]));
        options.variables.values().for_each(|value| collect_strings(value, &mut inputs));
        inputs.extend(special_tokens.iter().map(String::as_str));
        let mark = ('\u{fdd0}'..='\u{fdef}')
            .chain('\u{100000}'..='\u{10fffd}')
            .find(|&candidate| !inputs.iter().any(|text| text.contains(candidate)))
            .ok_or_else(|| Error::Text("the messages use every private character of Unicode".into()))?;
        let first_characters = special_tokens.iter().filter_map(|token| token.chars().next()).collect();
        Ok(Self { special_tokens, first_characters, mark })
    }

    /// Breaks the special tokens in everything that is not the template.
    pub fn cover(&self, messages: &mut [ChatMessage], options: &mut ChatOptions) {
        for message in messages {
            message.role = self.cover_text(&message.role);
            message.content = self.cover_text(&message.content);
        }
        options.variables.values_mut().for_each(|value| self.cover_value(value));
    }

    /// Whether `text` holds a broken special token.
    pub fn is_in(&self, text: &str) -> bool {
        text.contains(self.mark)
    }

    /// `text` as it was written.
    pub fn uncover(&self, text: &str) -> String {
        text.replace(self.mark, "")
    }

    /// Puts the mark after the first character of every special token, and of every beginning of one at the end of
    /// the text, which what follows could complete (templates often trim, so white space does not count there).
    fn cover_text(&self, text: &str) -> String {
        let trimmed_len = text.trim_end().len();
        let mut covered = String::with_capacity(text.len());
        for (idx, character) in text.char_indices() {
            covered.push(character);
            if !self.first_characters.contains(&character) {
                continue;
            }
            let rest = &text[idx..];
            let open_end = text.get(idx..trimmed_len).unwrap_or("");
            let begins = |special: &String| {
                rest.starts_with(special.as_str()) || (!open_end.is_empty() && special.starts_with(open_end))
            };
            if self.special_tokens.iter().any(begins) {
                covered.push(self.mark);
            }
        }
        covered
    }

    fn cover_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.cover_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.cover_value(item)),
            Value::Object(fields) => {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(key, mut field)| {
                        self.cover_value(&mut field);
                        (self.cover_text(&key), field)
                    })
                    .collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn collect_strings<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_strings(item, out)),
        Value::Object(fields) => {
            for (key, field) in fields {
                out.push(key);
                collect_strings(field, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(text: &str) -> String {
        let special = ["<|im_end|>".to_string()];
        let mut messages = [ChatMessage::new("user", text)];
        let mut options = ChatOptions::default();
        let shield = Shield::new(&special, "", &messages, &options).unwrap();
        shield.cover(&mut messages, &mut options);
        assert_eq!(shield.uncover(&messages[0].content), text);
        messages[0].content.replace(shield.mark, "·")
    }

    #[test]
    fn special_tokens_and_open_ends_are_broken_and_nothing_else() {
        assert_eq!(covered("a <|im_end|> b"), "a <·|im_end|> b");
        assert_eq!(covered("<|im_end|><|im_end|>"), "<·|im_end|><·|im_end|>");
        assert_eq!(covered("left open <|im_ \n"), "left open <·|im_ \n");
        assert_eq!(covered("a < b, <|im_start|>, |im_end|>"), "a < b, <|im_start|>, |im_end|>");
        assert_eq!(covered(""), "");
    }

    #[test]
    fn the_mark_is_a_character_that_no_input_has() {
        let messages = [ChatMessage::new("user", "\u{fdd0}\u{fdd2}")];
        let mut options = ChatOptions::default();
        options.variables.insert("tools".into(), serde_json::json!([{ "\u{fdd1}": null }]));
        assert_eq!(Shield::new(&[], "{{ '\u{fdd3}' }}", &messages, &options).unwrap().mark, '\u{fdd4}');
    }

    #[test]
    fn variables_are_covered_at_every_depth() {
        let special = ["</s>".to_string()];
        let mut options = ChatOptions::default();
        options.variables.insert(
            "tools".into(),
            serde_json::json!([{ "description": "ends </s>", "parameters": { "</s>": 1, "path": 2 } }]),
        );
        let shield = Shield::new(&special, "", &[], &options).unwrap();
        shield.cover(&mut [], &mut options);
        assert!(shield.is_in(options.variables["tools"][0]["description"].as_str().unwrap()));
        let parameters = options.variables["tools"][0]["parameters"].as_object().unwrap();
        let keys: Vec<&String> = parameters.keys().collect();
        assert!(keys.contains(&&"path".to_string()) && keys.iter().any(|key| shield.is_in(key)), "names too: {keys:?}");
    }
}
