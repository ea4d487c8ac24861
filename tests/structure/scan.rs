//! Reads Rust as text: enough to tell code from comments and strings, and to follow paths through the module tree.

/// The source with comments, strings and character literals blanked out; lines stay where they are.
pub fn code_only(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let n_bytes = match blank_len(rest, out.chars().next_back()) {
            0 => {
                out.push(c);
                c.len_utf8()
            }
            n_bytes => {
                out.extend(rest[..n_bytes].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                n_bytes
            }
        };
        rest = &rest[n_bytes..];
    }
    out
}

/// Bytes of the comment or literal that `text` starts with; 0 if it starts with code. `before` is the character before
/// it.
fn blank_len(text: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(is_word);
    let hashes = text.strip_prefix('r').map_or(0, |t| t.len() - t.trim_start_matches('#').len());
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        comment_len(text)
    } else if !in_word && text.starts_with('r') && text[1 + hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = 2 + hashes;
        text[start..].find(&end).map_or(text.len(), |i| start + i + end.len())
    } else if text.starts_with('"') {
        quoted_len(text, '"')
    } else if text.starts_with('\'') && (text[1..].starts_with('\\') || text.chars().nth(2) == Some('\'')) {
        quoted_len(text, '\'')
    } else {
        0
    }
}

/// Bytes of a block comment, nested ones included.
fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Bytes of a literal between two `quote`s, in which a backslash escapes one character.
fn quoted_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return i + c.len_utf8();
        }
    }
    text.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, `::` and single other characters of `code`.
pub fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let n_bytes = match c {
            _ if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            _ => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(n_bytes);
        tokens.push(token);
        rest = behind.trim_start();
    }
    tokens
}

/// Every path of `source` that starts at `crate`, `super`, `self` or the crate's name, resolved from the crate's root.
/// `module` is where the source stands: `["engine", "plan"]` for `src/engine/plan.rs`.
pub fn paths(source: &str, module: &[&str]) -> Vec<Vec<String>> {
    let code = code_only(source);
    let tokens = tokens(&code);
    let mut here: Vec<&str> = module.to_vec();
    // Inline modules that are open, by the depth of braces around them.
    let (mut inline, mut depth) = (Vec::new(), 0);
    let mut found = Vec::new();
    for (i, &token) in tokens.iter().enumerate() {
        match token {
            "{" => {
                if let [.., "mod", name] = tokens[..i] {
                    here.push(name);
                    inline.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth -= 1;
                if inline.pop_if(|d| *d == depth).is_some() {
                    here.pop();
                }
            }
            "crate" | "longhaul" | "super" | "self"
                if tokens.get(i + 1) == Some(&"::") && starts_path(&tokens[..i]) =>
            {
                let base = if matches!(token, "super" | "self") { &here[..] } else { &[] };
                tree(&tokens, i, base.iter().map(|s| s.to_string()).collect(), &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Whether a path may start behind these tokens: not in the middle of one, and not at a macro's `$crate`.
fn starts_path(before: &[&str]) -> bool {
    !matches!(before.last(), Some(&"::" | &"$"))
}

/// Follows the path at token `at` from `base`, through braces, and returns the token behind it.
fn tree(tokens: &[&str], mut at: usize, mut base: Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    loop {
        match tokens.get(at).copied() {
            Some("{") => {
                at += 1;
                while let Some(&token) = tokens.get(at) {
                    match token {
                        "}" => return at + 1,
                        "," => at += 1,
                        _ => at = tree(tokens, at, base.clone(), found),
                    }
                }
                return at;
            }
            Some("super") => drop(base.pop()),
            Some("crate" | "longhaul" | "self") => {}
            Some(segment) => base.push(segment.to_string()),
            None => return at,
        }
        at += 1;
        if tokens.get(at) != Some(&"::") || tokens.get(at + 1) == Some(&"<") {
            break;
        }
        at += 1;
    }
    if tokens.get(at) == Some(&"as") {
        at += 2;
    }
    found.push(base);
    at
}

/// The source with the body of function `name` taken out, if it has one.
pub fn without_function(source: &str, name: &str) -> String {
    let code = code_only(source);
    let Some(start) = code.find(&format!("fn {name}(")) else { return code };
    let mut depth = 0;
    for (i, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return format!("{}{}", &code[..start], &code[start + i + 1..]),
            '}' => depth -= 1,
            _ => {}
        }
    }
    code
}

/// Whether code has an `unsafe` block, function or impl. The type of a function that is unsafe to call is none of them,
/// nor is an attribute.
pub fn has_unsafe(code: &str) -> bool {
    let tokens = tokens(code);
    let is_other =
        |at: usize| [&["extern", "fn", "("][..], &["("]].iter().any(|next| tokens[at + 1..].starts_with(next));
    tokens.iter().enumerate().any(|(at, token)| *token == "unsafe" && !is_other(at))
}

/// Lines, from 0, of `unsafe` without its reason: `// SAFETY:` in the 6 lines above a block or an impl, `# Safety` in
/// the 8 above a function or a trait.
pub fn unsafe_without_reason(source: &str) -> Vec<usize> {
    let code = code_only(source);
    let lines: Vec<&str> = source.lines().collect();
    let has_reason = |idx: usize, line: &str| {
        let is_function = ["unsafe fn", "unsafe extern", "unsafe trait"].iter().any(|start| line.contains(start));
        let (n_above, reason) = if is_function { (8, "# Safety") } else { (6, "SAFETY:") };
        lines[idx.saturating_sub(n_above)..idx].iter().any(|l| l.contains(reason))
    };
    let code_lines = code.lines().enumerate();
    code_lines.filter(|(i, l)| has_unsafe(l) && !has_reason(*i, l)).map(|(i, _)| i).collect()
}

#[test]
fn comments_and_literals_are_no_code() {
    let source = "a // crate::x\nb /* /* crate::y */ */ \"crate::z\\\"\" c r#\"crate::\"w\"# 'x' '\\'' &'a str \"é\"";
    assert_eq!(tokens(&code_only(source)), ["a", "b", "c", "&", "'", "a", "str"]);
    assert_eq!(code_only(source).lines().count(), 2);
}

#[test]
fn paths_are_resolved() {
    let found = |source: &str| paths(source, &["a", "b"]).iter().map(|p| p.join("::")).collect::<Vec<_>>();
    assert_eq!(found("use crate::{x, y::{z, self, w as v}, super_ty};"), ["x", "y::z", "y", "y::w", "super_ty"]);
    assert_eq!(found("use super::c; fn f() { super::super::d::<T>::e() }"), ["a::c", "d"]);
    assert_eq!(found("mod tests { use super::*; } use super::z;"), ["a::b::*", "a::z"]);
    assert_eq!(found("let x = crate::p::Q { n: self.n, m: self::k() };"), ["p::Q", "a::b::k"]);
    assert_eq!(found("pub(crate) fn f(&self); pub(super) x: longhaul::y::Z"), ["y::Z"]);
    assert_eq!(found("// crate::no\n\"crate::no\" $crate::no!()"), [""; 0]);
}

#[test]
fn a_function_can_be_taken_out() {
    assert_eq!(without_function("a fn f() { if x { y } } b", "f"), "a  b");
    assert_eq!(without_function("a fn g() {}", "f"), "a fn g() {}");
}

#[test]
fn the_type_of_an_unsafe_function_is_not_unsafe() {
    let has_unsafe = |source: &str| has_unsafe(&code_only(source));
    assert!(
        !has_unsafe("type A = Option<unsafe extern \"C\" fn(u8)>; // unsafe {}") && !has_unsafe("#[unsafe(no_mangle)]")
    );
    assert!(
        has_unsafe("pub unsafe extern \"C\" fn f() {}")
            && has_unsafe("unsafe { a }")
            && has_unsafe("unsafe impl A for B {}")
    );
}

#[test]
fn an_unsafe_without_a_reason_is_found() {
    assert_eq!(unsafe_without_reason("// SAFETY: one\nunsafe { a }\n\n\n\n\n\n\nunsafe impl B for C {}"), [8]);
    assert_eq!(unsafe_without_reason("/// # Safety\n/// two\nunsafe fn f() {}"), [0; 0]);
    assert_eq!(unsafe_without_reason("// SAFETY: no reason for a caller\nunsafe fn f() {}"), [1]);
    assert_eq!(unsafe_without_reason("// an unsafe thing\nlet unsafe_ = 1;"), [0; 0]);
}
