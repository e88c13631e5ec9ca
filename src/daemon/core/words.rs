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
    let names = |list: &[u32]| list.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
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
                project: &key.project,
                shares_with: &names(&key.shares_with),
                inferred: key.inferred,
            },
        );
        text.push('\n');
        text.push_str(&line);
        for hold in &key.holds {
            // What ends with the key's own rest has its time there already.
            let own = hold.until_ms.filter(|_| hold.until_ms != key.until_ms);
            let until = own.map(|at_ms| self::until(lang, at_ms, now_ms));
            let models = hold.models.join(", ");
            let (why, word, until) = (hold.why, hold.word.as_str(), until.as_deref());
            let hold = speech::say(lang, &Speech::KeyHold { models: &models, why, word, until });
            if !hold.is_empty() {
                text.push_str(" · ");
                text.push_str(&hold);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Group;
    use crate::types::status::{Hold, KeyHold};

    /// 2026-11-23T21:00:00Z
    const NOW_MS: UnixMs = 1_795_467_600_000;

    #[test]
    fn the_list_of_keys_says_of_each_why_it_is_in_use_or_not_and_when_it_comes_back() {
        let flash = || vec!["gemini-3.8-flash".to_owned(), "gemini-3.6-flash".to_owned()];
        let lite = || vec!["gemini-3.5-flash-lite".to_owned()];
        let hold = |models, why, word: &str, until_ms| KeyHold {
            models,
            why,
            word: word.to_owned(),
            until_ms,
        };
        let tomorrow = Some(NOW_MS + 11 * HOUR_MS);
        let soon = Some(NOW_MS + 40_000);
        use KeyState::{Dead, Parked, Ready, Resting, Spent};
        let keys: Vec<KeyLine> = [
            (Ready, None, vec![], vec![], false),
            (Ready, None, vec![hold(flash(), Hold::Day, "", tomorrow)], vec![3], true),
            (
                Resting,
                soon,
                vec![hold(flash(), Hold::Day, "", tomorrow), hold(lite(), Hold::Minute, "", soon)],
                vec![2],
                true,
            ),
            (Spent, tomorrow, vec![hold(lite(), Hold::Day, "", tomorrow)], vec![1], false),
            (Parked, None, vec![hold(vec![], Hold::Parked, "", None)], vec![], false),
            (Dead, None, vec![hold(vec![], Hold::Dead, "leaked", None)], vec![], false),
            (Resting, soon, vec![hold(vec![], Hold::Doubted, "invalid", soon)], vec![], false),
            (Resting, soon, vec![hold(vec![], Hold::Storm, "", soon)], vec![], false),
        ]
        .into_iter()
        .zip(1..)
        .map(|((state, until_ms, holds, shares_with, inferred), n)| KeyLine {
            n,
            group: Group::A,
            last4: format!("x{n:03}"),
            state,
            until_ms,
            holds,
            project: "mine".to_owned(),
            shares_with,
            inferred,
        })
        .collect();
        let english = "Keys: 2 of 8 ready\n\
            1. [A] …x001 ready\n\
            2. [A] …x002 ready · seems to share a project with 3 · gemini-3.8-flash, gemini-3.6-flash: used up for today, back in 11 h 0 min (08:00 UTC)\n\
            3. [A] …x003 resting, back in 1 min (21:00 UTC) · seems to share a project with 2 · gemini-3.8-flash, gemini-3.6-flash: used up for today, back in 11 h 0 min (08:00 UTC) · gemini-3.5-flash-lite: used up for this minute\n\
            4. [A] …x004 used up for today, back in 11 h 0 min (08:00 UTC) · project mine, with 1 · gemini-3.5-flash-lite: used up for today\n\
            5. [A] …x005 parked until /revive 5\n\
            6. [A] …x006 dead, please replace · reported as leaked\n\
            7. [A] …x007 resting, back in 1 min (21:00 UTC) · not a valid key; I am having a second look\n\
            8. [A] …x008 resting, back in 1 min (21:00 UTC) · many projects were refused at once, so all keys pause";
        let chinese = "密钥：共 8 个，2 个可用\n\
            1. [A] …x001 可用\n\
            2. [A] …x002 可用 · 似乎与 3 号同属一个项目 · gemini-3.8-flash, gemini-3.6-flash：今日额度已用完，11小时0分钟后（UTC 08:00）恢复\n\
            3. [A] …x003 休息中，1分钟后（UTC 21:00）恢复 · 似乎与 2 号同属一个项目 · gemini-3.8-flash, gemini-3.6-flash：今日额度已用完，11小时0分钟后（UTC 08:00）恢复 · gemini-3.5-flash-lite：这一分钟的额度已用完\n\
            4. [A] …x004 今日额度已用完，11小时0分钟后（UTC 08:00）恢复 · 项目 mine，与 1 号共用 · gemini-3.5-flash-lite：今日额度已用完\n\
            5. [A] …x005 已停用，用 /revive 5 恢复\n\
            6. [A] …x006 已失效，请更换 · 密钥已被报告泄露\n\
            7. [A] …x007 休息中，1分钟后（UTC 21:00）恢复 · 密钥无效，正在复查\n\
            8. [A] …x008 休息中，1分钟后（UTC 21:00）恢复 · 许多项目同时被拒绝，所有密钥暂停使用";
        assert_eq!(super::keys(Lang::En, &keys, NOW_MS), english);
        assert_eq!(super::keys(Lang::Zh, &keys, NOW_MS), chinese);
    }
}
