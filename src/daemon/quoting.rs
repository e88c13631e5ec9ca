//! Owns: text made safe for where it is shown: JSON strings, HTML, terminals and log lines.
//! May not: know what the text means.
//! Invariant: no output holds a raw control character but the caller's own.

use crate::types::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

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

/// A span for people, two units at most: `42s`, `3m 5s`, `2h 10m`, `6d 1h`; never negative.
pub fn span(span_ms: i64) -> String {
    let span_ms = span_ms.max(0);
    let two = |big: i64, big_name: &str, small: i64, small_name: &str| {
        let rest = span_ms % big / small;
        if rest == 0 {
            format!("{}{big_name}", span_ms / big)
        } else {
            format!("{}{big_name} {rest}{small_name}", span_ms / big)
        }
    };
    match span_ms {
        DAY_MS.. => two(DAY_MS, "d", HOUR_MS, "h"),
        HOUR_MS.. => two(HOUR_MS, "h", MINUTE_MS, "m"),
        MINUTE_MS.. => two(MINUTE_MS, "m", SECOND_MS, "s"),
        _ => format!("{}s", span_ms / SECOND_MS),
    }
}

/// A size for people: `812 B`, `4.6 MB`, `1.2 GB` (of 1024).
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, so that no float is needed.
    let mut tenths = u128::from(bytes) * 10 / 1_024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS.get(unit).unwrap_or(&"TB"))
}

/// A count for people: `1234`, `12.3k`, `4.5M`.
pub fn count(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}.{}k", number / 1_000, number % 1_000 / 100),
        _ => format!("{}.{}M", number / 1_000_000, number % 1_000_000 / 100_000),
    }
}

fn push_u_escape(out: &mut String, c: char) {
    out.push_str(&format!("\\u{:04x}", u32::from(c)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        for (span_ms, want) in [
            (-5, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (185_000, "3m 5s"),
            (2 * HOUR_MS + 10 * MINUTE_MS + 9_000, "2h 10m"),
            (6 * DAY_MS + HOUR_MS, "6d 1h"),
        ] {
            assert_eq!(span(span_ms), want);
        }
        for (bytes, want) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KB"),
            (4_812_800, "4.5 MB"),
            (20 << 30, "20.0 GB"),
            (u64::MAX, "16777215.9 TB"),
        ] {
            assert_eq!(size(bytes), want);
        }
        for (number, want) in [(9_999, "9999"), (12_345, "12.3k"), (4_500_000, "4.5M")] {
            assert_eq!(count(number), want);
        }
    }

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
