//! Owns: text made safe for where it is shown: JSON strings, HTML, terminals and log lines.
//! May not: know what the text means.
//! Invariant: no output holds a raw control character but the caller's own.

/// Appends `text` as a JSON string, quotes included.
pub fn json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Also the separators that JavaScript and some log readers take for line ends.
            c if is_control(c) => push_u_escape(out, c),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends `text` for an HTML text node or a quoted attribute.
pub fn html(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_control(c) => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
}

/// `text` without anything that moves a cursor, colours, or turns the reading direction around.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_control(c) => push_u_escape(&mut out, c),
            c => out.push(c),
        }
    }
    out
}

/// Control characters, line separators, and the bidirectional overrides that forge what is read.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn push_u_escape(out: &mut String, c: char) {
    out.push_str(&format!("\\u{:04x}", u32::from(c)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_place() {
        for (text, as_json, as_html, as_plain) in [
            ("小爱", "\"小爱\"", "小爱", "小爱"),
            ("a\"b\\", "\"a\\\"b\\\\\"", "a&quot;b\\", "a\"b\\"),
            ("x\ny\r\t", "\"x\\ny\\r\\t\"", "x\u{FFFD}y\u{FFFD}\u{FFFD}", "x\\ny\\r\\t"),
            ("\x1b[31m", "\"\\u001b[31m\"", "\u{FFFD}[31m", "\\u001b[31m"),
            ("<b>&'", "\"<b>&'\"", "&lt;b&gt;&amp;&#39;", "<b>&'"),
            ("\u{202E}x\u{9b}", "\"\\u202ex\\u009b\"", "\u{FFFD}x\u{FFFD}", "\\u202ex\\u009b"),
        ] {
            let mut out = String::new();
            json(&mut out, text);
            assert_eq!(out, as_json);
            out.clear();
            html(&mut out, text);
            assert_eq!(out, as_html);
            assert_eq!(plain(text), as_plain);
        }
    }
}
