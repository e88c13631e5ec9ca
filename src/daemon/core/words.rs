//! Owns: numbers and times as the words that sentences take.
//! May not: hold a sentence (speech does).

use crate::calendar;
use crate::engine::speech::{self, Speech};
use crate::types::status::{KeyLine, KeyState, QuotaLine, TierLine};
use crate::types::{DAY_MS, HOUR_MS, Lang, MINUTE_MS, UnixMs};

/// Lines of `/keys` and `/usage`; more do not fit a message that anybody reads.
const LINES_MAX: usize = 60;

/// `zh` or `en`, for rows and Telegram.
pub(super) fn code(lang: Lang) -> &'static str {
    match lang {
        Lang::Zh => "zh",
        Lang::En => "en",
    }
}

/// Whole minutes, at least one.
pub(super) fn minutes(ms: i64) -> u32 {
    u32::try_from(ms.div_euclid(MINUTE_MS) + 1).unwrap_or(1)
}

/// When something comes back: how long from now, and the clock time of UTC.
pub(super) fn until(lang: Lang, at_ms: UnixMs, now_ms: UnixMs) -> String {
    let clock = clock(at_ms);
    let span = span(lang, at_ms - now_ms);
    match lang {
        Lang::Zh => format!("{span}后（UTC {clock}）"),
        Lang::En => format!("in {span} ({clock} UTC)"),
    }
}

/// The clock time of UTC.
fn clock(at_ms: UnixMs) -> String {
    calendar::rfc3339(at_ms).chars().skip(11).take(5).collect()
}

/// An instant as date and clock time of UTC.
pub(super) fn date(at_ms: UnixMs) -> String {
    calendar::rfc3339(at_ms).chars().take(16).collect::<String>().replace('T', " ") + " UTC"
}

/// A span of time in its two largest units.
pub(super) fn span(lang: Lang, ms: i64) -> String {
    let (days, hours, minutes) = (ms / DAY_MS, ms % DAY_MS / HOUR_MS, ms % HOUR_MS / MINUTE_MS);
    match (lang, days, hours) {
        (Lang::Zh, 0, 0) => format!("{}分钟", minutes.max(1)),
        (Lang::Zh, 0, _) => format!("{hours}小时{minutes}分钟"),
        (Lang::Zh, ..) => format!("{days}天{hours}小时"),
        (Lang::En, 0, 0) => format!("{} min", minutes.max(1)),
        (Lang::En, 0, _) => format!("{hours} h {minutes} min"),
        (Lang::En, ..) => format!("{days} d {hours} h"),
    }
}

/// A size in the unit a person would choose.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KB", bytes / 1_024),
        _ => format!("{}.{} MB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

/// What `/keys` says.
pub(super) fn keys(lang: Lang, keys: &[KeyLine], now_ms: UnixMs) -> String {
    let ready = keys.iter().filter(|key| key.state == KeyState::Ready).count();
    let mut text = speech::say(lang, &Speech::KeysHeader { ready, total: keys.len() });
    for key in keys.iter().take(LINES_MAX) {
        let until = key.until_ms.map(|at| until(lang, at, now_ms));
        let line = speech::say(
            lang,
            &Speech::KeyLine {
                n: key.n as usize,
                group: key.group.label(),
                last4: &key.last4,
                state: match key.state {
                    KeyState::Ready => speech::KeyState::Ready,
                    KeyState::Resting => speech::KeyState::Resting,
                    KeyState::Spent => speech::KeyState::Spent,
                    KeyState::Parked => speech::KeyState::Parked,
                    KeyState::Dead => speech::KeyState::Dead,
                },
                until: until.as_deref(),
            },
        );
        text.push('\n');
        text.push_str(&line);
        if !key.reason.is_empty() {
            text.push_str(" · ");
            text.push_str(&key.reason);
        }
    }
    text
}

/// The lines of `/usage`: each project and model that was used today, how long each tier lasts, and
/// the week.
pub(super) fn usage_lines(
    lang: Lang,
    quota: &[QuotaLine],
    lasts: &[TierLine],
    week: &[i64],
    now_ms: UnixMs,
) -> Vec<String> {
    let mut lines: Vec<String> = quota
        .iter()
        .filter(|line| line.used_today > 0)
        .take(LINES_MAX)
        .map(|line| {
            let limit = line.limit_today.map_or_else(|| "∞".to_owned(), |limit| limit.to_string());
            format!("{} · {}: {}/{limit}", line.project, line.model, line.used_today)
        })
        .collect();
    lines.extend(lasts.iter().map(|line| {
        let until = line.ends_ms.map(|at_ms| clock(at_ms) + " UTC");
        let now = line.ends_ms.is_some_and(|at_ms| at_ms <= now_ms);
        speech::say(lang, &Speech::QuotaLasts { tier: line.tier, until: until.as_deref(), now })
    }));
    lines.push(format!("7d {}", sparkline(week)));
    lines
}

fn sparkline(values: &[i64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    values
        .iter()
        .map(|value| {
            let at = usize::try_from(value.clamp(&0, &most) * 7 / most).unwrap_or(0);
            BARS.get(at).copied().unwrap_or('▁')
        })
        .collect()
}
