//! Owns: a place on the earth's clock: what is its offset from UTC at an instant.
//! May not: open files itself (the door is `source`), read a clock.
//! Invariant: never panics, whatever the bytes of a zone file say.

use super::Zone;
use super::source::Environment;
use crate::calendar::{DAY_S, Date, date_from_days, days_from_date, month_days, nth_weekday};

/// What a time zone setting takes, for messages.
pub const ZONE_TAKES: &str =
    "a time zone like +08:00, UTC, or Asia/Shanghai where the system has zoneinfo";
/// Beyond this many seconds from 1970 (30 million years) an instant is damage, not time.
const INSTANT_S_MAX: i64 = 1_000_000_000_000_000;
/// The widest offset that RFC 9636 allows a zone to have.
const OFFSET_S_MAX: i64 = 26 * 3_600;

impl Zone {
    /// UTC.
    pub const UTC: Self = Self::Fixed(0);

    /// The zone of a setting or option: `+08:00`, `UTC`, or a name of the system's zoneinfo.
    pub fn parse(text: &str, environment: &Environment) -> Option<Self> {
        let text = text.trim();
        if text.starts_with(['+', '-']) {
            return fixed(text).map(Self::Fixed);
        }
        if ["UTC", "GMT", "Z"].iter().any(|name| name.eq_ignore_ascii_case(text)) {
            return Some(Self::UTC);
        }
        let bytes = environment.zone_bytes(text)?;
        is_sound(&bytes).then(|| Self::Named(text.to_owned(), bytes))
    }

    /// The zone of the machine, UTC where it has none.
    pub(super) fn of_machine(environment: &Environment) -> Self {
        match environment.localtime_bytes() {
            Some(bytes) if is_sound(&bytes) => Self::Named("localtime".to_owned(), bytes),
            _ => Self::UTC,
        }
    }

    /// Seconds east of UTC at an instant in Unix seconds.
    pub fn offset_s(&self, unix_s: i64) -> i32 {
        match self {
            Self::Fixed(offset_s) => *offset_s,
            Self::Named(_, bytes) => Table::read(bytes)
                .and_then(|table| table.offset_s(unix_s.clamp(-INSTANT_S_MAX, INSTANT_S_MAX)))
                .and_then(|offset_s| i32::try_from(offset_s).ok())
                .unwrap_or(0),
        }
    }

    /// The instant at which this zone's clock shows `local_s` (seconds since 1970-01-01T00:00 of
    /// that clock). Of a time shown twice it is the earlier one; a time that is skipped is read as
    /// if the clock had not been changed yet.
    pub fn unix_s_of_local(&self, local_s: i64) -> i64 {
        let local_s = local_s.clamp(-INSTANT_S_MAX, INSTANT_S_MAX);
        // No zone is a whole day from UTC, and none changes its clock twice in two days.
        let before = local_s - i64::from(self.offset_s(local_s - DAY_S));
        let after = local_s - i64::from(self.offset_s(local_s + DAY_S));
        let shows_it = |unix_s: i64| unix_s + i64::from(self.offset_s(unix_s)) == local_s;
        if !shows_it(before) && shows_it(after) { after } else { before }
    }

    /// The minute of the day, 0–1439, that this zone's clock shows.
    pub fn minute_of_day(&self, unix_s: i64) -> u32 {
        let unix_s = unix_s.clamp(-INSTANT_S_MAX, INSTANT_S_MAX);
        let local_s = unix_s + i64::from(self.offset_s(unix_s));
        u32::try_from(local_s.rem_euclid(DAY_S) / 60).unwrap_or(0)
    }
}

/// `+08:00`, `+0800`, `+08`, `-3:30` in seconds; at most 18 hours.
fn fixed(text: &str) -> Option<i32> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let rest = text.strip_prefix(['+', '-'])?;
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None => rest.split_at_checked(2).unwrap_or((rest, "")),
    };
    let number = |text: &str| {
        let is_plain = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
        if is_plain { text.parse::<i32>().ok() } else { None }
    };
    let minutes = match minutes {
        "" if !rest.contains(':') => 0,
        text => number(text).filter(|_| text.len() == 2)?,
    };
    let offset_s = number(hours)? * 3_600 + minutes * 60;
    (minutes < 60 && offset_s <= 18 * 3_600).then_some(sign * offset_s)
}

/// Whether a file is one that every instant can be looked up in.
fn is_sound(bytes: &[u8]) -> bool {
    let Some(table) = Table::read(bytes) else { return false };
    let kinds = table.times.len() / table.time_width;
    let offsets_are_sound = (0..kinds).all(|at| table.offset_of_kind(at).is_some());
    let footer_is_sound = table.footer.is_empty() || rule_offset_s(table.footer, 0).is_some();
    offsets_are_sound && footer_is_sound && table.offset_of_type(0).is_some()
}

/// The newest block of a TZif file (RFC 9636), still as bytes.
struct Table<'a> {
    times: &'a [u8],
    time_width: usize,
    kinds: &'a [u8],
    types: &'a [u8],
    footer: &'a str,
}

impl<'a> Table<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        let version = rest.magic()?;
        let old = Self::block(&mut rest, 4)?;
        if version < b'2' {
            return Some(old);
        }
        rest.magic()?;
        let new = Self::block(&mut rest, 8)?;
        let footer = str::from_utf8(rest.0).ok()?.strip_prefix('\n')?;
        Some(Self { footer: footer.split('\n').next()?, ..new })
    }

    fn block(rest: &mut Bytes<'a>, time_width: usize) -> Option<Self> {
        let [utc_count, standard_count, leap_count, time_count, type_count, name_bytes] = [
            rest.count()?,
            rest.count()?,
            rest.count()?,
            rest.count()?,
            rest.count()?,
            rest.count()?,
        ];
        let times = rest.take(time_count.checked_mul(time_width)?)?;
        let kinds = rest.take(time_count)?;
        let types = rest.take(type_count.checked_mul(6)?)?;
        rest.take(name_bytes)?;
        rest.take(leap_count.checked_mul(time_width + 4)?)?;
        rest.take(standard_count)?;
        rest.take(utc_count)?;
        Some(Self { times, time_width, kinds, types, footer: "" })
    }

    fn offset_s(&self, unix_s: i64) -> Option<i64> {
        let count = self.kinds.len();
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if self.time(middle)? <= unix_s { low = middle + 1 } else { high = middle }
        }
        if low == count && !self.footer.is_empty() {
            return rule_offset_s(self.footer, unix_s);
        }
        match low.checked_sub(1) {
            None => self.offset_of_type(0),
            Some(at) => self.offset_of_kind(at),
        }
    }

    fn time(&self, at: usize) -> Option<i64> {
        let start = at.checked_mul(self.time_width)?;
        let bytes = self.times.get(start..start + self.time_width)?;
        match bytes.len() {
            4 => bytes.try_into().ok().map(|bytes| i64::from(i32::from_be_bytes(bytes))),
            _ => bytes.try_into().ok().map(i64::from_be_bytes),
        }
    }

    fn offset_of_kind(&self, at: usize) -> Option<i64> {
        self.offset_of_type(usize::from(*self.kinds.get(at)?))
    }

    fn offset_of_type(&self, at: usize) -> Option<i64> {
        let bytes = self.types.get(at * 6..at * 6 + 4)?;
        let offset_s = i64::from(i32::from_be_bytes(bytes.try_into().ok()?));
        (offset_s.abs() <= OFFSET_S_MAX).then_some(offset_s)
    }
}

/// The rest of a file.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
    fn magic(&mut self) -> Option<u8> {
        let version = *self.take(20)?.strip_prefix(b"TZif")?.first()?;
        Some(version)
    }
    fn count(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    }
}

/// The offset by a POSIX rule like `CST-8` or `PST8PDT,M3.2.0,M11.1.0`: what holds after the last
/// change that the file lists.
fn rule_offset_s(rule: &str, unix_s: i64) -> Option<i64> {
    let mut rest = Rule(rule);
    rest.name()?;
    let standard_s = -rest.clock()?;
    if rest.0.is_empty() {
        return Some(standard_s);
    }
    rest.name()?;
    let daylight_s = if rest.0.starts_with([',']) { standard_s + 3_600 } else { -rest.clock()? };
    let begin = rest.change()?;
    let end = rest.change()?;
    let year = date_from_days((unix_s + standard_s).div_euclid(DAY_S)).year;
    let begin_s = begin.local_s(year) - standard_s;
    let end_s = end.local_s(year) - daylight_s;
    let is_daylight = if begin_s < end_s {
        begin_s <= unix_s && unix_s < end_s
    } else {
        // South of the equator summer lasts over the new year.
        unix_s < end_s || begin_s <= unix_s
    };
    rest.0.is_empty().then_some(if is_daylight { daylight_s } else { standard_s })
}

/// A day of the year on which clocks change, and the local second of that day.
struct Change {
    day: ChangeDay,
    second: i64,
}

enum ChangeDay {
    /// `Mm.w.d`: month, week (5 is the last), weekday.
    Weekday(i64, i64, i64),
    /// `Jn`: 1–365, the leap day is never counted.
    Julian(i64),
    /// `n`: 0–365, the leap day is counted.
    Zero(i64),
}

impl Change {
    fn local_s(&self, year: i64) -> i64 {
        let new_year = days_from_date(Date { year, month: 1, day: 1 });
        let day = match self.day {
            ChangeDay::Weekday(month, week, weekday) => nth_weekday(year, month, week, weekday),
            ChangeDay::Julian(day) => {
                let leap = i64::from(day >= 60 && month_days(year, 2) == 29);
                new_year + day - 1 + leap
            }
            ChangeDay::Zero(day) => new_year + day,
        };
        day * DAY_S + self.second
    }
}

struct Rule<'a>(&'a str);

impl Rule<'_> {
    fn skip(&mut self, wanted: char) -> bool {
        match self.0.strip_prefix(wanted) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
    /// `CST` or `<+0330>`.
    fn name(&mut self) -> Option<()> {
        if self.skip('<') {
            self.0 = self.0.split_once('>')?.1;
            return Some(());
        }
        let rest = self.0.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let found = self.0.len() - rest.len() >= 3;
        self.0 = rest;
        found.then_some(())
    }
    /// At most three digits.
    fn number(&mut self) -> Option<i64> {
        let count = self.0.bytes().take(3).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.parse().ok()
    }
    /// `[+-]hh[:mm[:ss]]` in seconds; up to 167 hours.
    fn clock(&mut self) -> Option<i64> {
        let sign = if self.skip('-') { -1 } else { 1 };
        if sign == 1 {
            self.skip('+');
        }
        let mut second = self.number()? * 3_600;
        if self.skip(':') {
            second += self.number()? * 60;
            if self.skip(':') {
                second += self.number()?;
            }
        }
        (second <= 168 * 3_600).then_some(sign * second)
    }
    /// `,M3.2.0/2`
    fn change(&mut self) -> Option<Change> {
        if !self.skip(',') {
            return None;
        }
        let day = if self.skip('M') {
            let month = self.number()?;
            let week = self.skip('.').then(|| self.number())??;
            let weekday = self.skip('.').then(|| self.number())??;
            let is_sound = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday <= 6;
            is_sound.then_some(ChangeDay::Weekday(month, week, weekday))?
        } else if self.skip('J') {
            self.number().filter(|day| (1..=365).contains(day)).map(ChangeDay::Julian)?
        } else {
            self.number().filter(|day| *day <= 365).map(ChangeDay::Zero)?
        };
        let second = if self.skip('/') { self.clock()? } else { 2 * 3_600 };
        Some(Change { day, second })
    }
}

#[cfg(test)]
#[path = "zone_tests.rs"]
mod tests;
