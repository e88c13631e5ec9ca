//! Owns: the format of the settings file (contract §1): `KEY=value` lines, both ways.
//! May not: open files, know any setting.
//! Invariant: no text of a line ever leaves in an error, only its number.

use std::collections::BTreeMap;

/// A settings file, read. It cannot be printed: any value may be a secret.
#[derive(Default)]
pub struct Lines {
    /// Every name with its last value.
    pub values: BTreeMap<String, String>,
    /// Lines that could not be read: their number from 1, and why.
    pub bad: Vec<(usize, &'static str)>,
    /// Names given more than once: the last line counts.
    pub repeated: Vec<String>,
}

/// Reads a settings file: optional `export `, `#` comments on lines of their own or after a blank,
/// single quotes (nothing inside is special) or double quotes (`\n \r \t \" \\ \$` are), CRLF and a
/// byte order mark tolerated, nothing expanded.
pub fn parse(bytes: &[u8]) -> Lines {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut lines = Lines::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match str::from_utf8(line).map_err(|_| "not UTF-8 text").and_then(read_line) {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                if lines.values.insert(name.to_owned(), value).is_some() {
                    lines.repeated.push(name.to_owned());
                }
            }
            Err(why) => lines.bad.push((index + 1, why)),
        }
    }
    lines
}

/// One line that [`parse`] reads back as this name and value.
pub fn line(name: &str, value: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-+./:,@%=~".contains(c);
    if value.chars().all(bare) {
        return format!("{name}={value}\n");
    }
    let mut text = format!("{name}=\"");
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '"' | '\\' | '$' => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text.push_str("\"\n");
    text
}

fn read_line(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err("a control character");
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => line,
    };
    let Some((name, value)) = line.split_once('=') else {
        return Err("not KEY=value");
    };
    let name = name.trim_end();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !is_name {
        return Err("a name takes letters, digits and underscores");
    }
    read_value(value).map(|value| Some((name, value)))
}

fn read_value(value: &str) -> Result<String, &'static str> {
    let trimmed = value.trim_start();
    let mut chars = trimmed.chars();
    match chars.next() {
        Some('\'') => {
            let (inside, after) =
                chars.as_str().split_once('\'').ok_or("a quote that is not closed")?;
            only_comment(after)?;
            Ok(inside.to_owned())
        }
        Some('"') => double_quoted(chars),
        // `KEY= # comment` is empty; `KEY=#1` is not.
        Some('#') if trimmed.len() < value.len() => Ok(String::new()),
        _ => Ok(before_comment(trimmed).trim_end().to_owned()),
    }
}

fn double_quoted(mut chars: std::str::Chars<'_>) -> Result<String, &'static str> {
    let mut text = String::new();
    loop {
        match chars.next().ok_or("a quote that is not closed")? {
            '"' => break,
            '\\' => match chars.next().ok_or("a quote that is not closed")? {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                c @ ('"' | '\\' | '$') => text.push(c),
                c => text.extend(['\\', c]),
            },
            c => text.push(c),
        }
    }
    only_comment(chars.as_str())?;
    Ok(text)
}

fn only_comment(after: &str) -> Result<(), &'static str> {
    let rest = after.trim_start();
    let is_comment = rest.starts_with('#') && rest.len() < after.len();
    if rest.is_empty() || is_comment { Ok(()) } else { Err("text after the closing quote") }
}

fn before_comment(value: &str) -> &str {
    let mut after_blank = false;
    for (at, c) in value.char_indices() {
        if c == '#' && after_blank {
            return value.get(..at).unwrap_or(value);
        }
        after_blank = c == ' ' || c == '\t';
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, wanted: &[(&str, &str)]) {
        let lines = parse(file.as_bytes());
        let found: Vec<_> = lines.values.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, wanted, "{file:?}");
        assert_eq!(lines.bad, [], "{file:?}");
    }

    #[test]
    fn good_lines_are_read() {
        let cases: [(&str, &[(&str, &str)]); 20] = [
            ("", &[]),
            ("A=1", &[("A", "1")]),
            ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
            ("\u{feff}A=1\n", &[("A", "1")]),
            ("  export   A=1", &[("A", "1")]),
            ("exported=1", &[("exported", "1")]),
            ("# A=1\n   # B=2\n\nC=3", &[("C", "3")]),
            ("A=1 # one", &[("A", "1")]),
            ("A=1#one", &[("A", "1#one")]),
            ("A= # nothing", &[("A", "")]),
            ("A=#1", &[("A", "#1")]),
            ("A=", &[("A", "")]),
            ("A = 1 ", &[("A", "1")]),
            ("A='a \"b\" $C \\n # d'", &[("A", "a \"b\" $C \\n # d")]),
            ("A=\"a 'b' $C \\\\ \\\" \\n\\d # e\" # f", &[("A", "a 'b' $C \\ \" \n\\d # e")]),
            ("A=$HOME/${B}", &[("A", "$HOME/${B}")]),
            ("A=a=b==", &[("A", "a=b==")]),
            ("A=1\nA=2", &[("A", "2")]),
            ("A=你好，世界", &[("A", "你好，世界")]),
            ("A=it's", &[("A", "it's")]),
        ];
        for (file, wanted) in cases {
            check(file, wanted);
        }
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_the_others_are_read() {
        let cases: [(&[u8], &str); 9] = [
            (b"hunter2", "not KEY=value"),
            (b"export hunter2", "not KEY=value"),
            (b"=hunter2", "letters"),
            (b"2A=hunter2", "letters"),
            (b"A B=hunter2", "letters"),
            (b"A=\"hunter2", "not closed"),
            (b"A='hunter2' and", "after the closing"),
            (b"A=\xFFhunter2", "UTF-8"),
            (b"A=hunter2\x00", "control"),
        ];
        for (bad, why) in cases {
            let file = [b"X=1\n\n", bad, b"\nY=2\n"].concat();
            let lines = parse(&file);
            let [(number, found)] = lines.bad.as_slice() else { panic!("{bad:?}") };
            assert_eq!(*number, 3);
            assert!(found.contains(why) && !found.contains("hunter2"), "{found}");
            assert_eq!(lines.values.len(), 2, "{bad:?}");
        }
    }

    #[test]
    fn a_name_given_twice_is_told() {
        assert_eq!(parse(b"A=1\nB=1\nA=2\n").repeated, ["A"]);
    }

    #[test]
    fn a_written_line_is_read_back_as_it_was() {
        for value in
            ["", "plain", "1:a_b-c", "two words", "a\nb\r\tc", "q\"q'q\\", "$A `b` #c", "你好 #"]
        {
            let text = line("A", value);
            assert_eq!(text.matches('\n').count(), 1, "{value:?}");
            check(&text, &[("A", value)]);
        }
    }
}
