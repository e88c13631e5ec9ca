//! Owns: instants as people and JSON write them: RFC 3339 UTC, HTTP dates, spans like `3h 5m`.
//! May not: know a time zone or read a clock.

use super::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, UnixMs};

/// A day of the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year, astronomical.
    pub year: i64,
    /// 1–12.
    pub month: i64,
    /// 1–31.
    pub day: i64,
}

/// The date that lies `days` after 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub fn date_of_day(days: i64) -> Date {
    // Years begin in March here, so that the leap day is the last day of a year.
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Date { year, month, day }
}

/// `2026-11-22`
pub fn day_text(days: i64) -> String {
    let Date { year, month, day } = date_of_day(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-22T23:12:14Z`; milliseconds are cut off.
pub fn rfc3339(at_ms: UnixMs) -> String {
    let (hour, minute, second) = time_of(at_ms);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", day_text(at_ms.div_euclid(DAY_MS)))
}

/// `2026-11-22T23:12:14.005Z`, for log lines.
pub fn rfc3339_ms(at_ms: UnixMs) -> String {
    let mut text = rfc3339(at_ms);
    text.pop();
    text.push_str(&format!(".{:03}Z", at_ms.rem_euclid(SECOND_MS)));
    text
}

/// `Sun, 22 Nov 2026 23:12:14 GMT` (RFC 9110, 5.6.7).
pub fn http_date(at_ms: UnixMs) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = at_ms.div_euclid(DAY_MS);
    let Date { year, month, day } = date_of_day(days);
    let weekday = pick(&WEEKDAYS, days.rem_euclid(7));
    let month = pick(&MONTHS, month - 1);
    let (hour, minute, second) = time_of(at_ms);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// A span for people, two units at most: `42s`, `3m 5s`, `2h 10m`, `6d 1h`; never negative.
pub fn span_text(span_ms: i64) -> String {
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

fn time_of(at_ms: UnixMs) -> (i64, i64, i64) {
    let in_day = at_ms.rem_euclid(DAY_MS);
    (in_day / HOUR_MS, in_day % HOUR_MS / MINUTE_MS, in_day % MINUTE_MS / SECOND_MS)
}

fn pick(names: &[&'static str], at: i64) -> &'static str {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_the_calendar_says() {
        for (at_ms, plain, http) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
            (951_782_400_000, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_389_134_005, "2026-11-22T23:12:14Z", "Sun, 22 Nov 2026 23:12:14 GMT"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(rfc3339(at_ms), plain);
            assert_eq!(http_date(at_ms), http);
        }
        assert_eq!(rfc3339_ms(1_795_389_134_005), "2026-11-22T23:12:14.005Z");
    }

    #[test]
    fn spans_have_at_most_two_units() {
        for (span_ms, want) in [
            (-5, "0s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (185_000, "3m 5s"),
            (2 * HOUR_MS + 10 * MINUTE_MS + 9_000, "2h 10m"),
            (6 * DAY_MS + HOUR_MS, "6d 1h"),
        ] {
            assert_eq!(span_text(span_ms), want);
        }
    }
}
