//! Owns: days, dates, RFC 3339 and the Pacific day that Gemini's quotas turn by (api-reference B6).
//! May not: read a clock, name any room but `types`.
//! Invariant: pure integer arithmetic (proleptic Gregorian, no leap seconds) that never panics,
//! whatever the number or text.

use crate::types::{DAY_MS, HOUR_MS, SECOND_MS, UnixMs};

/// One day in seconds.
pub const DAY_S: i64 = DAY_MS / SECOND_MS;
/// One second in microseconds, the resolution of a PostgreSQL timestamp.
pub const SECOND_US: i64 = 1_000_000;
/// 9999-12-31T23:59:59Z in seconds: the last second that RFC 3339 can write.
const LAST_SECOND: i64 = 253_402_300_799;
/// 0000-01-01T00:00:00Z in seconds: the first one.
const FIRST_SECOND: i64 = -62_167_219_200;
/// Pacific Standard Time, east of UTC.
const PACIFIC_STANDARD_S: i64 = -8 * 3_600;
/// The UTC hour at which Pacific daylight saving begins: 02:00 standard time.
const PACIFIC_BEGIN_UTC_H: i64 = 10;
/// The UTC hour at which it ends: 02:00 daylight time.
const PACIFIC_END_UTC_H: i64 = 9;
/// As HTTP writes them, in every language.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A date of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// Astronomical year; 0 is 1 BC.
    pub year: i64,
    /// 1–12
    pub month: i64,
    /// 1–31
    pub day: i64,
}

/// A written point of time, with or without the zone it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Microseconds since 1970-01-01T00:00 of the clock that wrote it; digits past the sixth are cut.
    pub local_us: i64,
    /// Seconds east of UTC, where the text says.
    pub offset_s: Option<i32>,
}

impl Written {
    /// Microseconds since the epoch; a text without a zone is taken to be `default_offset_s` east.
    pub fn unix_us(self, default_offset_s: i32) -> i64 {
        self.local_us - i64::from(self.offset_s.unwrap_or(default_offset_s)) * SECOND_US
    }
}

/// The instant as RFC 3339 UTC with milliseconds: `2026-01-31T08:05:09.120Z`.
/// Instants outside the years 0–9999 are written as the nearest one inside.
pub fn rfc3339(unix_ms: UnixMs) -> String {
    let (second, ms) = split(unix_ms, SECOND_MS);
    format!("{}.{ms:03}Z", seconds_text(second))
}

/// The same with microseconds, as `chat_history.created_at` carries it: `2026-01-31T08:05:09.120456Z`.
pub fn rfc3339_us(unix_us: i64) -> String {
    let mut text = String::with_capacity(WALL_US.len() + 1);
    push_wall_us(&mut text, unix_us);
    text.push('Z');
    text
}

/// What the wall clock of UTC shows, digit by digit: [`push_wall_us`].
const WALL_US: [u8; 26] = *b"0000-00-00T00:00:00.000000";

/// Appends what the wall clock of UTC shows, without a zone: `2026-01-31T08:05:09.120456`. Each row that is
/// synchronised bears such a time, so it costs no formatting.
pub fn push_wall_us(out: &mut String, unix_us: i64) {
    let (second, us) = split(unix_us, SECOND_US);
    let Date { year, month, day } = date_from_days(second.div_euclid(DAY_S));
    let of_day = second.rem_euclid(DAY_S);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let mut text = WALL_US;
    let mut places = text.iter_mut().rev();
    let numbers = [(us, 6), (second, 2), (minute, 2), (hour, 2), (day, 2), (month, 2), (year, 4)];
    for (mut number, width) in numbers {
        for place in places.by_ref().take(width) {
            *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
        // What stands between two numbers.
        places.next();
    }
    out.push_str(std::str::from_utf8(&text).unwrap_or_default());
}

/// The instant of an RFC 3339 text, which must name its zone; digits past the millisecond are cut.
pub fn parse_rfc3339(text: &str) -> Option<UnixMs> {
    let written = parse_written(text)?;
    written.offset_s?;
    Some(written.unix_us(0).div_euclid(1_000))
}

/// A time as RFC 3339 or PostgreSQL writes it: date, `T` or a blank, time to the second with any
/// number of further digits, then `Z`, `+08:00`, `+0800`, `+08` or nothing.
pub fn parse_written(text: &str) -> Option<Written> {
    let mut rest = Scan(text.trim().as_bytes());
    let date = rest.date()?;
    if !matches!(rest.next()?, b'T' | b't' | b' ') {
        return None;
    }
    let hour = rest.digits(2)?;
    rest.expect(b':')?;
    let minute = rest.digits(2)?;
    rest.expect(b':')?;
    let second = rest.digits(2)?;
    // 60 is a leap second; it is written as the first second of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let fraction_us = rest.fraction_us()?;
    let offset_s = rest.offset_s()?;
    let local_s = days_from_date(date) * DAY_S + hour * 3_600 + minute * 60 + second;
    Some(Written { local_us: local_s * SECOND_US + fraction_us, offset_s })
}

/// The instant of a reply's `Date`, to the second: `Sun, 22 Nov 2026 23:12:14 GMT` (RFC 9110, 5.6.7);
/// the two obsolete forms are not read.
pub fn parse_http_date(text: &str) -> Option<UnixMs> {
    let mut words = text.trim().split_once(", ")?.1.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let (time, zone) = (words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    if zone != "GMT" {
        return None;
    }
    parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))
}

/// What [`parse_http_date`] reads.
pub fn http_date(unix_ms: UnixMs) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let days = utc_day(unix_ms);
    let Date { year, month, day } = date_from_days(days);
    let name = |names: &[&'static str], at: i64| {
        usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or_default()
    };
    let (weekday, month) = (name(&DAYS, weekday(days)), name(&MONTHS, month - 1));
    let second = unix_ms.div_euclid(SECOND_MS).rem_euclid(DAY_S);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Days since the epoch of a date text like `2026-01-31`.
pub fn parse_date(text: &str) -> Option<i64> {
    let mut rest = Scan(text.trim().as_bytes());
    let date = rest.date()?;
    rest.0.is_empty().then(|| days_from_date(date))
}

/// The date text of a day: `2026-01-31`. Days outside the years 0–9999 are written as the nearest.
pub fn date_text(days: i64) -> String {
    let days = days.clamp(FIRST_SECOND.div_euclid(DAY_S), LAST_SECOND.div_euclid(DAY_S));
    let Date { year, month, day } = date_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The UTC day of an instant, in days since the epoch.
pub fn utc_day(unix_ms: UnixMs) -> i64 {
    unix_ms.div_euclid(DAY_MS)
}

/// Days since the epoch of a date (Howard Hinnant's algorithm: years begin in March, so that the
/// leap day comes last).
pub fn days_from_date(date: Date) -> i64 {
    let year = if date.month <= 2 { date.year - 1 } else { date.year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (date.month + 9).rem_euclid(12);
    let day_of_year = (153 * month_from_march + 2) / 5 + date.day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The date of a day since the epoch.
pub fn date_from_days(days: i64) -> Date {
    // An i64 of days is far beyond any instant in ms; saturating keeps the promise not to panic.
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day }
}

/// The weekday of a day since the epoch; 0 is Sunday.
pub fn weekday(days: i64) -> i64 {
    // 1970-01-01 was a Thursday.
    (days.rem_euclid(7) + 4) % 7
}

/// The number of days in a month.
pub fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year.rem_euclid(4) == 0
            && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) =>
        {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The `nth` (1–5) given weekday of a month, in days since the epoch; the fifth is the last one
/// where a month has only four.
pub fn nth_weekday(year: i64, month: i64, nth: i64, wanted: i64) -> i64 {
    let first = days_from_date(Date { year, month, day: 1 });
    let mut day = (wanted - weekday(first)).rem_euclid(7) + (nth - 1) * 7;
    if day >= month_days(year, month) {
        day -= 7;
    }
    first + day
}

/// The calendar day in California at an instant, in days since the epoch: Gemini's quota day.
pub fn pacific_day(unix_ms: UnixMs) -> i64 {
    // Instants beyond what RFC 3339 can write are damage, not time; the nearest one inside serves.
    let unix_ms = unix_ms.clamp(FIRST_SECOND * SECOND_MS, LAST_SECOND * SECOND_MS);
    unix_ms.saturating_add(pacific_offset_ms(unix_ms)).div_euclid(DAY_MS)
}

/// The first instant of the next day in California: later than `unix_ms`, within the years 0–9999.
pub fn pacific_midnight_after(unix_ms: UnixMs) -> UnixMs {
    pacific_day_start(pacific_day(unix_ms) + 1)
}

/// The first instant of a day in California.
pub fn pacific_day_start(day: i64) -> UnixMs {
    let day = day.clamp(FIRST_SECOND / DAY_S, LAST_SECOND / DAY_S);
    let standard = day.saturating_mul(DAY_MS).saturating_sub(PACIFIC_STANDARD_S * SECOND_MS);
    // Clocks change at 02:00, so the hour before standard midnight tells which clock rules there.
    let daylight = standard.saturating_sub(HOUR_MS);
    if pacific_offset_ms(daylight) == PACIFIC_STANDARD_S * SECOND_MS { standard } else { daylight }
}

/// Milliseconds east of UTC in California: the rule of 2007, the second Sunday of March to the
/// first of November.
fn pacific_offset_ms(unix_ms: UnixMs) -> i64 {
    let year = date_from_days(unix_ms.div_euclid(DAY_MS)).year;
    let begin = nth_weekday(year, 3, 2, 0).saturating_mul(DAY_MS) + PACIFIC_BEGIN_UTC_H * HOUR_MS;
    let end = nth_weekday(year, 11, 1, 0).saturating_mul(DAY_MS) + PACIFIC_END_UTC_H * HOUR_MS;
    let daylight = begin <= unix_ms && unix_ms < end;
    PACIFIC_STANDARD_S * SECOND_MS + if daylight { HOUR_MS } else { 0 }
}

/// Whole seconds, kept inside what RFC 3339 can write, and what is left.
fn split(instant: i64, per_second: i64) -> (i64, i64) {
    let second = instant.div_euclid(per_second);
    let inside = second.clamp(FIRST_SECOND, LAST_SECOND);
    let rest = if inside == second { instant.rem_euclid(per_second) } else { 0 };
    (inside, rest)
}

fn seconds_text(second: i64) -> String {
    let of_day = second.rem_euclid(DAY_S);
    let (hour, minute, second_of_minute) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{}T{hour:02}:{minute:02}:{second_of_minute:02}", date_text(second.div_euclid(DAY_S)))
}

/// The rest of a text, read byte by byte.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }
    /// Exactly `count` decimal digits; `count` is at most 4 here, so nothing overflows.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let mut number = 0;
        for _ in 0..count {
            let byte = self.next()?;
            if !byte.is_ascii_digit() {
                return None;
            }
            number = number * 10 + i64::from(byte - b'0');
        }
        Some(number)
    }
    /// `2026-01-31`, only dates that exist.
    fn date(&mut self) -> Option<Date> {
        let year = self.digits(4)?;
        self.expect(b'-')?;
        let month = self.digits(2)?;
        self.expect(b'-')?;
        let day = self.digits(2)?;
        let exists = (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
        exists.then_some(Date { year, month, day })
    }
    /// `.123456789` as microseconds; 0 where there is none.
    fn fraction_us(&mut self) -> Option<i64> {
        if self.0.first() != Some(&b'.') {
            return Some(0);
        }
        self.next()?;
        let (mut us, mut unit, mut count) = (0, SECOND_US / 10, 0);
        while let Some(digit) = self.0.first().filter(|byte| byte.is_ascii_digit()) {
            us += i64::from(digit - b'0') * unit;
            unit /= 10;
            count += 1;
            self.next()?;
        }
        (count > 0).then_some(us)
    }
    /// The zone at the end: none is `Some(None)`, nonsense is `None`.
    fn offset_s(&mut self) -> Option<Option<i32>> {
        let sign = match self.next() {
            None => return Some(None),
            Some(b'Z' | b'z') => return self.0.is_empty().then_some(Some(0)),
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        let hours = self.digits(2)?;
        if self.0.first() == Some(&b':') {
            self.next()?;
        }
        let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
        let inside = hours < 24 && minutes < 60 && self.0.is_empty();
        inside.then(|| i32::try_from(sign * (hours * 3_600 + minutes * 60)).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_are_each_others_inverse() {
        let cases = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (20_784, "2026-11-27"),
            (47_541, "2100-03-01"),
            (-719_528, "0000-01-01"),
            (2_932_896, "9999-12-31"),
        ];
        for (days, text) in cases {
            assert_eq!(date_text(days), text, "{days}");
            assert_eq!(parse_date(text), Some(days), "{text}");
        }
        for days in (-800_000..800_000).step_by(97) {
            assert_eq!(days_from_date(date_from_days(days)), days);
        }
    }

    #[test]
    fn instants_are_written_as_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_785_492_309_120, "2026-07-31T10:05:09.120Z"),
            (i64::MAX, "9999-12-31T23:59:59.000Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ];
        for (unix_ms, text) in cases {
            assert_eq!(rfc3339(unix_ms), text);
        }
        assert_eq!(rfc3339_us(1_785_492_309_120_456), "2026-07-31T10:05:09.120456Z");
        assert_eq!(rfc3339_us(i64::MAX), "9999-12-31T23:59:59.000000Z");
    }

    #[test]
    fn written_times_of_every_old_version_are_read() {
        let noon = 1_769_860_800_000_000; // 2026-01-31T12:00:00Z
        let cases = [
            ("2026-01-31T12:00:00Z", Some((noon, Some(0)))),
            ("2026-01-31t12:00:00z", Some((noon, Some(0)))),
            ("2026-01-31T12:00:00.123456789Z", Some((noon + 123_456, Some(0)))),
            ("2026-01-31T12:00:00.5+08:00", Some((noon + 500_000, Some(28_800)))),
            ("2026-01-31T12:00:00-0330", Some((noon, Some(-12_600)))),
            ("2026-01-31 12:00:00+00", Some((noon, Some(0)))),
            ("2026-01-31T12:00:00", Some((noon, None))),
            ("2026-01-31 12:00:00.1", Some((noon + 100_000, None))),
            ("2026-02-29T12:00:00Z", None),
            ("2026-13-01T12:00:00Z", None),
            ("2026-01-31T24:00:00Z", None),
            ("2026-01-31T12:00:00.Z", None),
            ("2026-01-31T12:00:00+8", None),
            ("2026-01-31T12:00:00Zx", None),
            ("2026-01-31", None),
            ("", None),
            ("昨天", None),
        ];
        for (text, wanted) in cases {
            let found = parse_written(text).map(|written| (written.local_us, written.offset_s));
            assert_eq!(found, wanted, "{text}");
        }
    }

    #[test]
    fn an_instant_needs_its_zone_and_survives_the_round_trip() {
        assert_eq!(parse_rfc3339("2026-01-31T12:00:00+08:00"), Some(1_769_832_000_000));
        assert_eq!(parse_rfc3339("2026-01-31T12:00:00"), None);
        for unix_ms in [0, -1, 1_785_492_309_120, 253_402_300_799_999] {
            assert_eq!(parse_rfc3339(&rfc3339(unix_ms)), Some(unix_ms));
        }
    }

    #[test]
    fn the_quota_day_turns_at_midnight_in_california() {
        // Daylight saving of 2026: 8 March to 1 November.
        let cases = [
            ("2026-01-15T07:59:59.999Z", "2026-01-14", "2026-01-15T08:00:00.000Z"),
            ("2026-01-15T08:00:00.000Z", "2026-01-15", "2026-01-16T08:00:00.000Z"),
            ("2026-03-08T08:00:00.000Z", "2026-03-08", "2026-03-09T07:00:00.000Z"),
            ("2026-03-08T09:59:59.999Z", "2026-03-08", "2026-03-09T07:00:00.000Z"),
            ("2026-03-08T10:00:00.000Z", "2026-03-08", "2026-03-09T07:00:00.000Z"),
            ("2026-03-09T06:59:59.999Z", "2026-03-08", "2026-03-09T07:00:00.000Z"),
            ("2026-07-04T06:59:59.999Z", "2026-07-03", "2026-07-04T07:00:00.000Z"),
            ("2026-11-01T07:00:00.000Z", "2026-11-01", "2026-11-02T08:00:00.000Z"),
            ("2026-11-01T09:00:00.000Z", "2026-11-01", "2026-11-02T08:00:00.000Z"),
            ("2026-11-02T07:59:59.999Z", "2026-11-01", "2026-11-02T08:00:00.000Z"),
            ("2026-12-31T12:00:00.000Z", "2026-12-31", "2027-01-01T08:00:00.000Z"),
        ];
        for (at, day, turns) in cases {
            let unix_ms = parse_rfc3339(at).unwrap();
            assert_eq!(date_text(pacific_day(unix_ms)), day, "{at}");
            assert_eq!(rfc3339(pacific_midnight_after(unix_ms)), turns, "{at}");
        }
    }

    #[test]
    fn every_quota_day_of_ten_years_begins_where_the_one_before_ends() {
        let mut at = parse_rfc3339("2024-01-01T08:00:00Z").unwrap();
        for _ in 0..3_653 {
            let next = pacific_midnight_after(at);
            assert!((23..=25).contains(&((next - at) / HOUR_MS)));
            assert_eq!(pacific_day(next - 1), pacific_day(at));
            assert_eq!(pacific_day(next), pacific_day(at) + 1);
            at = next;
        }
    }

    #[test]
    fn the_date_of_a_reply_is_read() {
        for (text, want) in [
            ("Sun, 22 Nov 2026 23:12:14 GMT", Some(1_795_389_134_000)),
            (" Thu, 01 Jan 1970 00:00:00 GMT ", Some(0)),
            ("Sun, 22 Nov 2026 23:12:14 UTC", None),
            ("Sunday, 22-Nov-26 23:12:14 GMT", None),
            ("Sun Nov 22 23:12:14 2026", None),
            ("Sun, 99 Nov 2026 23:12:14 GMT", None),
            ("", None),
        ] {
            assert_eq!(parse_http_date(text), want, "{text}");
            if let Some(unix_ms) = want {
                assert_eq!(http_date(unix_ms), text.trim());
            }
        }
    }

    #[test]
    fn no_number_makes_it_panic() {
        for unix_ms in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            let _ = (pacific_day(unix_ms), pacific_midnight_after(unix_ms), weekday(unix_ms));
            let _ = (date_from_days(unix_ms), date_text(unix_ms), rfc3339_us(unix_ms));
        }
    }
}
