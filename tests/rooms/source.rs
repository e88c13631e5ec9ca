//! Reads Rust source far enough to know which names it uses: comments, texts and test modules are left out.

use std::collections::BTreeSet;

/// What one file names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// First names after `crate::` (or as many `super::` as lead there).
    pub(crate) rooms: BTreeSet<String>,
    /// Every path of two or more names, as written: `std::env::var`, `Instant::now`.
    pub(crate) paths: BTreeSet<String>,
    /// Names that begin a path or a `use`.
    pub(crate) roots: BTreeSet<String>,
}

/// The names in a file whose module path has `depth` names (`engine/quota.rs` has two, `net.rs` one).
pub(crate) fn names(text: &str, depth: usize) -> Names {
    let tokens = without_tests(tokens(text));
    let mut names = Names::default();
    let mut at = 0;
    let mut scopes: Vec<bool> = Vec::new();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => scopes.push(is_module_brace(&tokens, at)),
            "}" => drop(scopes.pop()),
            _ => {}
        }
        let starts = is_name(token) && !follows_path(&tokens, at);
        if !starts {
            at += 1;
            continue;
        }
        let inner = scopes.iter().filter(|module| **module).count();
        let is_use = at > 0 && tokens.get(at - 1).is_some_and(|before| before == "use");
        let mut found = Vec::new();
        let end = read_tree(&tokens, at, &mut Vec::new(), &mut found);
        for path in found {
            record(&mut names, &path, depth + inner, is_use);
        }
        at = end.max(at + 1);
    }
    names
}

fn record(names: &mut Names, path: &[String], depth: usize, is_use: bool) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() && !is_use {
        return;
    }
    names.roots.insert(first.clone());
    names.paths.insert(path.join("::"));
    let supers = path.iter().take_while(|name| *name == "super").count();
    let room = match first.as_str() {
        "crate" => rest.first(),
        "super" if supers >= depth => path.get(supers),
        _ => None,
    };
    names.rooms.extend(room.cloned());
}

/// Reads a path, and the tree of a `use a::{b, c::d}`; the index after it.
fn read_tree(
    tokens: &[String],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> usize {
    let kept = prefix.len();
    while let Some(token) = tokens.get(at) {
        if is_name(token) {
            prefix.push(token.clone());
            at += 1;
            if tokens.get(at).is_some_and(|next| next == "::") {
                at += 1;
                continue;
            }
        } else if token == "{" && prefix.len() > kept {
            at += 1;
            while tokens.get(at).is_some_and(|next| next != "}") {
                let next = read_tree(tokens, at, prefix, found);
                at = next.max(at + 1);
            }
            prefix.truncate(kept);
            return at + 1;
        }
        break;
    }
    found.push(prefix.clone());
    prefix.truncate(kept);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_') && token != "use" && token != "as"
}

/// Whether the token continues a path (`a::b`), so that it begins none; `::std::x` begins one.
fn follows_path(tokens: &[String], at: usize) -> bool {
    at >= 2
        && tokens.get(at - 1).is_some_and(|before| before == "::")
        && tokens.get(at - 2).is_some_and(|before| is_name(before) || before == ">")
}

fn is_module_brace(tokens: &[String], at: usize) -> bool {
    at >= 2 && tokens.get(at - 2).is_some_and(|word| word == "mod")
}

/// Cuts out `#[cfg(test)] mod x { … }`: what tests use is the tests' business.
fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let marked = MARK
            .iter()
            .enumerate()
            .all(|(n, mark)| tokens.get(at + n).is_some_and(|token| token == mark));
        if !marked {
            kept.push(token.clone());
            at += 1;
            continue;
        }
        at += MARK.len();
        let mut open = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.as_str() {
                "{" => open += 1,
                "}" => open = open.saturating_sub(1),
                ";" if open == 0 => break,
                _ => continue,
            }
            if open == 0 {
                break;
            }
        }
    }
    kept
}

/// Names, `::` and single characters; comments, texts, characters and lifetimes are dropped.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied().unwrap_or('\0');
        if c == '/' && next == '/' {
            at = skip_until(&chars, at, |c| c == '\n');
        } else if c == '/' && next == '*' {
            at = skip_block(&chars, at);
        } else if c == '"' {
            at = skip_text(&chars, at + 1);
        } else if c == '\'' {
            at = skip_quote(&chars, at);
        } else if c.is_alphabetic() || c == '_' {
            let end = skip_until(&chars, at, |c| !c.is_alphanumeric() && c != '_');
            let word: String = chars.iter().skip(at).take(end - at).collect();
            match raw_text_end(&chars, end, &word) {
                Some(after) => at = after,
                None => {
                    out.push(word);
                    at = end;
                }
            }
        } else if c == ':' && next == ':' {
            out.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                out.push(c.to_string());
            }
            at += 1;
        }
    }
    out
}

fn skip_until(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    chars.iter().skip(from).position(|c| stop(*c)).map_or(chars.len(), |n| from + n)
}

fn skip_block(chars: &[char], from: usize) -> usize {
    let mut open = 0_usize;
    let mut at = from;
    while let Some(&c) = chars.get(at) {
        match (c, chars.get(at + 1)) {
            ('/', Some('*')) => (open, at) = (open + 1, at + 2),
            ('*', Some('/')) => (open, at) = (open - 1, at + 2),
            _ => at += 1,
        }
        if open == 0 {
            break;
        }
    }
    at
}

fn skip_text(chars: &[char], mut at: usize) -> usize {
    while let Some(&c) = chars.get(at) {
        at += if c == '\\' { 2 } else { 1 };
        if c == '"' {
            break;
        }
    }
    at
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn skip_quote(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => skip_until(chars, at + 3, |c| c == '\'') + 1,
        (Some(_), Some('\'')) => at + 3,
        _ => skip_until(chars, at + 1, |c| !c.is_alphanumeric() && c != '_'),
    }
}

/// The end of `r#"…"#` and its relatives, when `word` opens one.
fn raw_text_end(chars: &[char], at: usize, word: &str) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return (matches!(word, "b" | "c") && chars.get(at) == Some(&'"'))
            .then(|| skip_text(chars, at + 1));
    }
    let hashes = chars.iter().skip(at).take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let mut end = at + hashes + 1;
    while end < chars.len() {
        let closes =
            chars.get(end) == Some(&'"') && (1..=hashes).all(|n| chars.get(end + n) == Some(&'#'));
        end += 1;
        if closes {
            return Some(end + hashes);
        }
    }
    Some(end)
}
