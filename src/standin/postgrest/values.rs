//! Owns: column types: what PostgreSQL takes, and how it gives it back (api-reference C2, C5).
//! May not: know tables.

use super::Data;
use super::errors::{Failure, coded};
use crate::calendar::rfc3339;
use crate::types::UnixMs;

/// The types in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    BigInt,
    Integer,
    /// `varchar(n)`, or `text` for 0.
    Text(usize),
    Json,
    /// Without a zone: any offset in the input is dropped.
    Timestamp,
}

impl Kind {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "bigint" => Self::BigInt,
            "integer" => Self::Integer,
            "jsonb" => Self::Json,
            "timestamp" => Self::Timestamp,
            _ => Self::Text(0),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::Integer => "integer",
            Self::Text(0) => "text",
            Self::Text(_) => "character varying",
            Self::Json => "jsonb",
            Self::Timestamp => "timestamp without time zone",
        }
    }

    /// The value as it is stored; null passes.
    pub(super) fn cast(self, value: Data) -> Result<Data, Failure> {
        if value == Data::Null {
            return Ok(value);
        }
        if has_nul(&value) {
            return Err(coded(400, "22P05", "unsupported Unicode escape sequence"));
        }
        match self {
            Self::Json => Ok(value),
            Self::BigInt | Self::Integer => self.whole(&value),
            Self::Text(most) => {
                let text = value.text().map_or_else(|| value.render(), str::to_owned);
                if most != 0 && most < text.chars().count() {
                    let text = format!("value too long for type character varying({most})");
                    return Err(coded(400, "22001", &text));
                }
                Ok(text.into())
            }
            Self::Timestamp => timestamp(value.str()).map(Data::from).ok_or_else(|| {
                let text = format!("invalid input syntax for type timestamp: \"{}\"", value.str());
                coded(400, "22007", &text)
            }),
        }
    }

    fn whole(self, value: &Data) -> Result<Data, Failure> {
        let text = value.text().map_or_else(|| value.render(), |text| text.trim().to_owned());
        let Ok(number) = text.parse::<i64>() else {
            let name = self.name();
            let text = format!("invalid input syntax for type {name}: \"{text}\"");
            return Err(coded(400, "22P02", &text));
        };
        if self == Self::Integer && i32::try_from(number).is_err() {
            let text = format!("value \"{number}\" is out of range for type integer");
            return Err(coded(400, "22003", &text));
        }
        Ok(number.into())
    }
}

fn has_nul(value: &Data) -> bool {
    match value {
        Data::Text(text) => text.contains('\0'),
        Data::List(list) => list.iter().any(has_nul),
        Data::Map(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// `2026-11-22T10:00:00.25`, whatever offset stood behind it.
fn timestamp(text: &str) -> Option<String> {
    let text = text.trim();
    let (date, rest) = text.split_once(['T', ' ', 't']).unwrap_or((text, "00:00:00"));
    let mut fields = date.splitn(3, '-');
    let mut field = |least: u32, most: u32| {
        let number: u32 = fields.next()?.parse().ok()?;
        (least..=most).contains(&number).then_some(number)
    };
    let (year, month, day) = (field(1, 9_999)?, field(1, 12)?, field(1, 31)?);
    let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
    let (time, _) = rest.split_at_checked(end)?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut fields = clock.splitn(3, ':');
    let mut field = |most: u32| {
        let number: u32 = fields.next().unwrap_or("0").parse().ok()?;
        (number <= most).then_some(number)
    };
    let (hour, minute, second) = (field(24)?, field(59)?, field(60)?);
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction = fraction.get(..6).unwrap_or(fraction).trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{point}{fraction}"
    ))
}

/// `now()` of a session in UTC.
pub(super) fn now_text(now_ms: UnixMs) -> String {
    timestamp(&rfc3339(now_ms)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, given: &str, stored: &str) {
        let given = Data::parse(given.as_bytes()).unwrap();
        let found = match kind.cast(given) {
            Ok(value) => value.render(),
            Err(failure) => failure.body.at("code").str().to_owned(),
        };
        assert_eq!(found, stored);
    }

    #[test]
    fn an_offset_is_dropped_not_applied() {
        check(Kind::Timestamp, r#""2026-11-22T10:00:00+08:00""#, r#""2026-11-22T10:00:00""#);
    }
    #[test]
    fn a_fraction_keeps_six_digits_without_trailing_zeros() {
        check(
            Kind::Timestamp,
            r#""2026-11-22 10:00:00.1234567Z""#,
            r#""2026-11-22T10:00:00.123456""#,
        );
    }
    #[test]
    fn a_month_of_thirteen_is_no_time() {
        check(Kind::Timestamp, r#""2026-13-22""#, "22007");
    }
    #[test]
    fn a_bigint_is_exact() {
        check(Kind::BigInt, "9223372036854775807", "9223372036854775807");
    }
    #[test]
    fn a_word_is_no_bigint() {
        check(Kind::BigInt, r#""x""#, "22P02");
    }
    #[test]
    fn varchar_counts_characters() {
        check(Kind::Text(2), r#""你好""#, r#""你好""#);
        check(Kind::Text(2), r#""你好吗""#, "22001");
    }
    #[test]
    fn no_nul_in_text_or_json() {
        check(Kind::Text(0), r#""a\u0000""#, "22P05");
        check(Kind::Json, r#"{"a":["\u0000"]}"#, "22P05");
    }
    #[test]
    fn now_is_the_time_in_utc() {
        assert_eq!(now_text(1_795_334_400_250), "2026-11-22T08:00:00.25");
    }
}
