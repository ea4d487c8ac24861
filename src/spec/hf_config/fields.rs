//! Reads fields of a JSON object by name and type, and remembers everything that is wrong with them.

use serde_json::{Map, Value};

/// Largest size that a configuration may name: products of two of them never overflow.
const MAX_SIZE: usize = 1 << 28;

/// A JSON object whose fields are read one by one. A field that is `null` counts as absent.
pub(super) struct Fields<'a> {
    /// Where the object stands, for messages: `config.json`.
    place: String,
    object: &'a Map<String, Value>,
    problems: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(place: impl Into<String>, object: &'a Map<String, Value>) -> Self {
        Self { place: place.into(), object, problems: Vec::new() }
    }

    /// Whether the field is there at all, `null` included.
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// The field's value, unless absent or `null`.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|v| !v.is_null())
    }

    /// A whole number from 0 up.
    pub(super) fn count(&mut self, name: &str) -> Option<usize> {
        self.integer(name, 0)
    }

    /// A whole number from 1 up.
    pub(super) fn size(&mut self, name: &str) -> Option<usize> {
        self.integer(name, 1)
    }

    /// A whole number from 1 up, which must be there. What stands in for a wrong one is never used: the problem is
    /// noted.
    pub(super) fn required_size(&mut self, name: &str) -> usize {
        if self.value(name).is_none() {
            self.problem(format!("{name} is missing"));
        }
        self.size(name).unwrap_or(1)
    }

    /// A finite number above 0.
    pub(super) fn positive(&mut self, name: &str) -> Option<f64> {
        let value = self.value(name)?;
        let number = value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
        self.noted(number, name, "a number above 0", value)
    }

    /// A truth value; false when absent.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.value(name) else { return false };
        self.noted(value.as_bool(), name, "true or false", value).unwrap_or(false)
    }

    /// A string.
    pub(super) fn word(&mut self, name: &str) -> Option<&'a str> {
        let value = self.value(name)?;
        self.noted(value.as_str(), name, "a string", value)
    }

    /// A JSON object.
    pub(super) fn object(&mut self, name: &str) -> Option<&'a Map<String, Value>> {
        let value = self.value(name)?;
        self.noted(value.as_object(), name, "an object", value)
    }

    /// Notes that something is wrong here.
    pub(super) fn problem(&mut self, what: impl std::fmt::Display) {
        self.problems.push(format!("{}: {what}", self.place));
    }

    /// Takes over what was found wrong elsewhere.
    pub(super) fn absorb(&mut self, problems: Vec<String>) {
        self.problems.extend(problems);
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn into_problems(self) -> Vec<String> {
        self.problems
    }

    fn integer(&mut self, name: &str, least: usize) -> Option<usize> {
        let value = self.value(name)?;
        let number = value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| (least..=MAX_SIZE).contains(n));
        self.noted(number, name, &format!("a whole number from {least} to {MAX_SIZE}"), value)
    }

    fn noted<T>(&mut self, read: Option<T>, name: &str, wanted: &str, value: &Value) -> Option<T> {
        if read.is_none() {
            self.problem(format!("{name} must be {wanted}, and is {}", excerpt(value)));
        }
        read
    }
}

/// A value as JSON, cut where it gets long.
pub(super) fn excerpt(value: &Value) -> String {
    const MAX_CHARS: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MAX_CHARS { text } else { text.chars().take(MAX_CHARS).chain("...".chars()).collect() }
}
