//! The dialect of Jinja that Hugging Face's chat templates are written in: trimmed blocks, Python's string methods,
//! loop controls, and the functions that transformers adds.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;

const TEMPLATE: &str = "chat template";

/// An environment that holds the one template.
pub(super) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_filter("tojson", tojson);
    environment.add_template_owned(TEMPLATE, without_generation_tags(source).into_owned())?;
    Ok(environment)
}

/// Renders the environment's template.
pub(super) fn render(environment: &Environment, context: &serde_json::Value) -> Result<String, Error> {
    environment.get_template(TEMPLATE)?.render(Serde(context))
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`; Jinja's own filter would escape for HTML.
fn tojson(value: Value, args: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = args.get("indent")?;
    args.assert_all_used()?;
    let mut json = Vec::new();
    let written = match indent {
        Some(n_spaces) => {
            let spaces = " ".repeat(n_spaces);
            let style = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, style))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, SpacedFormatter)),
    };
    written.map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}")))?;
    Ok(Value::from(String::from_utf8_lossy(&json).into_owned()))
}

/// Python's default separators, `, ` and `: `.
struct SpacedFormatter;

impl serde_json::ser::Formatter for SpacedFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// Some templates mark the assistant's text with `{% generation %}`, which transformers uses in training and drops
/// here.
fn without_generation_tags(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return source.into();
    }
    let mut pieces = source.split("{%");
    let mut out = pieces.next().unwrap_or_default().to_string();
    for piece in pieces {
        out.push_str("{%");
        let (tag, rest) = piece.split_once("%}").unwrap_or((piece, ""));
        let tag_name = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match tag_name {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        out.push_str(&piece[tag.len()..piece.len() - rest.len()]);
        out.push_str(rest);
    }
    out.into()
}

/// The date in UTC by the codes of `strftime` that templates use. A prompt with a date changes every day, and so misses
/// the prefixes of the day before.
fn strftime_now(format: String) -> Result<String, Error> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    strftime(&format, since_epoch.as_secs())
}

fn strftime(format: &str, unix_seconds: u64) -> Result<String, Error> {
    const MONTHS: &str = "January February March April May June July August September October November December";
    const DAYS: &str = "Thursday Friday Saturday Sunday Monday Tuesday Wednesday"; // day 0 was a Thursday
    let (n_days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let (year, month, day) = civil_date(n_days);
    let month_name = MONTHS.split(' ').nth(month as usize - 1).unwrap_or_default();
    let day_name = DAYS.split(' ').nth((n_days % 7) as usize).unwrap_or_default();
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        out += &match characters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('B') => month_name.to_string(),
            Some('b') => month_name[..3].to_string(),
            Some('A') => day_name.to_string(),
            Some('a') => day_name[..3].to_string(),
            Some('H') => format!("{:02}", second / 3600),
            Some('M') => format!("{:02}", second / 60 % 60),
            Some('S') => format!("{:02}", second % 60),
            Some('%') => "%".to_string(),
            other => {
                let code = other.map_or(String::new(), String::from);
                return Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now: unknown code %{code}")));
            }
        };
    }
    Ok(out)
}

/// Year, month and day of a day counted from 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms",
/// `civil_from_days`): years begin in March, so that a leap day comes last.
fn civil_date(n_days: u64) -> (u64, u64, u64) {
    let days = n_days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str) -> Result<String, Error> {
        render(&environment(source)?, &serde_json::json!({ "x": {"b": [1, "é<"], "a": {}}, "s": " Hi </s> " }))
    }

    #[test]
    fn tojson_writes_what_python_writes() {
        assert_eq!(rendered("{{ x | tojson }}").unwrap(), r#"{"b": [1, "é<"], "a": {}}"#);
        let indented = "{\n    \"b\": [\n        1,\n        \"é<\"\n    ],\n    \"a\": {}\n}";
        assert_eq!(rendered("{{ x | tojson(indent=4) }}").unwrap(), indented);
    }

    #[test]
    fn templates_find_pythons_methods_and_loop_controls() {
        let source = "{{ s.strip().startswith('Hi') }} {{ s.split('</s>')[0] }}";
        assert_eq!(rendered(source).unwrap(), "True  Hi ");
        let source = "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}";
        assert_eq!(rendered(source).unwrap(), "01");
    }

    #[test]
    fn generation_tags_leave_their_content() {
        let source = "a{%- generation -%} b {%- endgeneration %}\nc{% if add_generation %}d{% endif %}{{ '%}{%' }}";
        assert_eq!(rendered(source).unwrap(), "abc%}{%");
    }

    #[test]
    fn a_template_can_refuse() {
        let error = rendered("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn dates_are_right_around_leap_days_and_unknown_codes_are_named() {
        let all = "%Y-%m-%d %y %b %B %a %A %H:%M:%S %%";
        assert_eq!(strftime(all, 0).unwrap(), "1970-01-01 70 Jan January Thu Thursday 00:00:00 %");
        assert_eq!(strftime("%A %d %b %Y", 951_782_400).unwrap(), "Tuesday 29 Feb 2000");
        assert_eq!(strftime("%d %b %Y %H:%M:%S", 1_709_251_199).unwrap(), "29 Feb 2024 23:59:59");
        assert_eq!(strftime("%d %b %Y", 1_709_251_200).unwrap(), "01 Mar 2024");
        assert!(strftime("%Q", 0).unwrap_err().to_string().contains("%Q"));
        assert!(strftime("50%", 0).is_err());
    }
}
