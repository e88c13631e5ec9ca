//! Owns: the wanted members of an object found while the others are passed over unread.
//! May not: judge what it passes over, but for its brackets and quotes.

use super::DEPTH_MAX;
use super::scan::end_of_value;

/// A number of fewer digits is below 2^53.
const EXACT_DIGITS: usize = 16;

/// The bytes of the members of these names in `bytes`, which must be one object to its end; `None` where it is none,
/// or one that only a parser can judge: nested too deep, or broken.
///
/// A tree of what nobody asks for costs twenty times what finding its end does. A name with an escape in it is another
/// name; of two members of one name the last counts, as for a parser.
#[must_use]
pub fn pick<'a, const N: usize>(
    bytes: &'a [u8],
    names: [&str; N],
) -> Option<[Option<&'a [u8]>; N]> {
    let mut found = [None; N];
    let mut rest = bytes.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
    if rest == b"}" {
        return Some(found);
    }
    // Each turn takes a member's bytes away.
    loop {
        let name = rest.get(..end_of_value(rest, DEPTH_MAX)?)?;
        let unquoted = name.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        rest = rest.get(name.len()..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let value = rest.get(..end_of_value(rest, DEPTH_MAX)?)?;
        if let Some(at) = names.iter().position(|name| name.as_bytes() == unquoted)
            && let Some(place) = found.get_mut(at)
        {
            *place = Some(value);
        }
        rest = rest.get(value.len()..)?.trim_ascii_start();
        match rest.split_first()? {
            (b',', after) => rest = after.trim_ascii_start(),
            (b'}', []) => return Some(found),
            _ => return None,
        }
    }
}

/// A picked whole number that a double carries exactly.
#[must_use]
pub fn picked_i64(bytes: &[u8]) -> Option<i64> {
    let digits = || std::str::from_utf8(bytes).ok();
    match digits()
        .filter(|digits| digits.len() < EXACT_DIGITS)
        .and_then(|digits| digits.parse().ok())
    {
        Some(number) => Some(number),
        // A long one, another spelling of a number, or none.
        None => super::parse_small(bytes).ok()?.root().i64(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Dice;
    use super::super::{parse, quote};
    use super::*;

    #[test]
    fn wanted_members_come_as_they_stand() {
        let cases: [(&str, Option<[Option<&str>; 2]>); 19] = [
            (r#"{"a":1,"b":{"a":2}}"#, Some([Some("1"), Some(r#"{"a":2}"#)])),
            (
                " {\n\"b\" : [\"]\", \"}\\\"\"] , \"a\" : null\r\n} ",
                Some([Some("null"), Some("[\"]\", \"}\\\"\"]")]),
            ),
            (r#"{"x":"a","a":"\\"}"#, Some([Some(r#""\\""#), None])),
            (r#"{"a":1,"a":2}"#, Some([Some("2"), None])),
            (r#"{"\u0061":1}"#, Some([None, None])),
            ("{}", Some([None, None])),
            ("{ }", Some([None, None])),
            ("", None),
            ("[]", None),
            (r#"[{"a":1}]"#, None),
            (r#"{"a":1"#, None),
            (r#"{"a":1,}"#, None),
            (r#"{"a":1}}"#, None),
            (r#"{"a":1} x"#, None),
            (r#"{"a":}"#, None),
            (r#"{"a" 1}"#, None),
            (r#"{a:1}"#, None),
            (r#"{"a":[1}"#, None),
            (r#"{"a":"1}"#, None),
        ];
        for (document, want) in cases {
            let got = pick(document.as_bytes(), ["a", "b"]);
            let got = got.map(|found| {
                found.map(|bytes| bytes.map(|bytes| std::str::from_utf8(bytes).unwrap()))
            });
            assert_eq!(got, want, "{document}");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        assert_eq!(pick(deep.as_bytes(), ["b"]), None);
    }

    #[test]
    fn what_is_picked_is_what_a_parser_finds() {
        let mut dice = Dice::new(29);
        for _ in 0..2_000 {
            let mut document = String::from("{");
            for name in ["a", "b", "c"] {
                if dice.below(3) > 0 {
                    document.push_str(if document.len() > 1 { " ," } else { "" });
                    quote(&mut document, name);
                    document.push(':');
                    document.push_str(&dice.json(3));
                }
            }
            document.push('}');
            let parsed = parse(document.as_bytes()).unwrap();
            let [b, a] =
                pick(document.as_bytes(), ["b", "a"]).unwrap_or_else(|| panic!("{document}"));
            for (picked, name) in [(a, "a"), (b, "b")] {
                let picked = picked.map(|bytes| parse(bytes).unwrap());
                let there = parsed.root().names().contains(&name);
                assert_eq!(picked, there.then(|| parsed.clone().take(name)), "{document}");
            }
            // Cut anywhere, it is no object any more.
            let cut = document.as_bytes().get(..dice.below(document.len())).unwrap();
            assert_eq!(pick(cut, ["a"]), None, "{document}");
        }
    }

    #[test]
    fn numbers_are_read_as_a_parser_reads_them() {
        let texts =
            "12 0 -1 -0 5e9 1e2 1.5 9007199254740992 9007199254740993 1e300 007 +1 \"1\" true x";
        for text in texts.split(' ').chain([""]) {
            let want = parse(text.as_bytes()).ok().and_then(|value| value.root().i64());
            // What no parser takes may be read liberally: it is a number all the same.
            let want = want.or(match text {
                "007" => Some(7),
                "+1" => Some(1),
                _ => None,
            });
            assert_eq!(picked_i64(text.as_bytes()), want, "{text}");
        }
    }
}
