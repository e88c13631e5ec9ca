//! Owns: `/`, the status as a page for people: one file, no script, light and dark, phone width.
//! May not: show more than the status holds; leave any text unescaped.

use super::chart::{self, Bar};
use crate::calendar::{date_text, rfc3339};
use crate::daemon::quoting::{count, html, size, span};
use crate::types::status::{
    Hour, KeyLine, KeyState, QuotaLine, Status, TABLES, TierLine, WEEK_HOURS,
};
use crate::types::{DAY_MS, HOUR_MS, UnixMs, build};
use std::fmt::Write as _;

/// The policy of the reply knows its hash.
pub(super) const STYLE: &str = include_str!("page.css");
/// Bars of the day charts.
const DAY_HOURS: i64 = 24;
/// First size of the page's buffer.
const PAGE_BYTES_USUAL: usize = 24 * 1_024;

/// The whole page.
pub(super) fn render(status: &Status) -> String {
    let mut page = Page { out: String::with_capacity(PAGE_BYTES_USUAL), now_ms: status.at_ms };
    let _ = write!(
        page.out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"30\"><meta name=\"color-scheme\" content=\"light dark\">\
         <link rel=\"icon\" href=\"data:,\"><title>svs-bot: {}</title><style>{STYLE}</style></head><body>",
        if status.ready { "ready" } else { "not ready" },
    );
    page.header(status);
    page.out.push_str("<main>");
    page.tiles(status);
    page.charts(status);
    page.keys(&status.keys);
    page.quota(&status.quota, &status.lasts);
    page.slots(status);
    page.sync(status);
    page.troubles(status);
    page.out.push_str("</main></body></html>\n");
    page.out
}

struct Page {
    out: String,
    now_ms: UnixMs,
}

impl Page {
    fn text(&mut self, text: &str) {
        html(&mut self.out, text);
    }

    fn header(&mut self, status: &Status) {
        let (class, word) = if status.ready { ("good", "ready") } else { ("bad", "not ready") };
        let _ = write!(self.out, "<header><h1>svs-bot</h1><p class=\"state {class}\">{word}</p>");
        if !status.reason.is_empty() {
            self.out.push_str("<p class=\"reason\">");
            self.text(&status.reason);
            self.out.push_str("</p>");
        }
        let up = status.started_ms.map(|started_ms| span(self.now_ms - started_ms));
        let _ = write!(
            self.out,
            "<p class=\"quiet\">version {} · up {} · as of {}</p></header>",
            build::VERSION,
            up.as_deref().unwrap_or("–"),
            short(self.now_ms),
        );
    }

    fn tiles(&mut self, status: &Status) {
        let counts = &status.counts;
        let ago = |at_ms: Option<UnixMs>| at_ms.map(|at_ms| span(self.now_ms - at_ms));
        let oldest = ago(counts.inbox_oldest_ms).map(|age| format!("oldest {age}"));
        let poll = ago(status.last_poll_ms).map(|age| format!("{age} ago"));
        let intake = if status.webhook { "webhook" } else { "polling" };
        let disk = status.disk.map(|disk| format!("{} free", size(disk.free_bytes)));
        let parked = |rows: u64| (rows > 0).then(|| format!("{rows} given up"));
        let tiles = [
            ("questions", count(counts.inbox), oldest.or_else(|| parked(counts.inbox_parked))),
            ("to send", count(counts.outbox), parked(counts.outbox_parked)),
            ("conversations", count(counts.sessions), None),
            ("slots", format!("{}/{}", counts.vip_used, status.vip_slots), None),
            ("Telegram", poll.unwrap_or_else(|| "never".to_owned()), Some(intake.to_owned())),
            ("memory", status.rss_bytes.map_or_else(|| "–".to_owned(), size), None),
            ("database", size(counts.database_bytes), disk),
            ("to Supabase", self.backlog(status), None),
        ];
        self.out.push_str("<section class=\"tiles\">");
        for (name, value, note) in tiles {
            let _ = write!(self.out, "<div><span>{name}</span><b>");
            self.text(&value);
            self.out.push_str("</b><small>");
            self.text(note.as_deref().unwrap_or_default());
            self.out.push_str("</small></div>");
        }
        self.out.push_str("</section>");
    }

    fn backlog(&self, status: &Status) -> String {
        if status.sync.enabled { count(status.sync.pending.iter().sum()) } else { "off".to_owned() }
    }

    fn charts(&mut self, status: &Status) {
        let this = self.now_ms.div_euclid(HOUR_MS);
        for (title, hours, ends) in [
            ("Last day", DAY_HOURS, ("24 hours ago", "now")),
            ("Last week", WEEK_HOURS, ("7 days ago", "now")),
        ] {
            let _ = write!(self.out, "<section><h2>{title}</h2><div class=\"charts\">");
            let window = filled(&status.hours, this - hours + 1, hours);
            for (caption, unit, value) in CHARTS {
                let bars: Vec<Bar> = window
                    .iter()
                    .map(|hour| Bar {
                        value: value(hour),
                        title: format!("{}: {} {unit}", hour_text(hour.hour), value(hour)),
                    })
                    .collect();
                let peak = bars.iter().map(|bar| bar.value).max().unwrap_or(0);
                let peak = format!("peak {} {unit}", count(peak));
                chart::bars(&mut self.out, caption, &peak, ends, &bars);
            }
            self.out.push_str("</div></section>");
        }
    }

    fn keys(&mut self, keys: &[KeyLine]) {
        self.table("Keys", &["", "group", "key", "state", "back", "why"], keys, |page, key| {
            let class = match key.state {
                KeyState::Ready => "good",
                KeyState::Resting | KeyState::Parked => "fair",
                KeyState::Spent | KeyState::Dead => "bad",
            };
            let back = key.until_ms.map(|until_ms| page.in_span(until_ms)).unwrap_or_default();
            page.cell(&key.n.to_string());
            page.cell(key.group.label());
            page.cell(&format!("…{}", key.last4));
            let _ = write!(page.out, "<td class=\"{class}\">{}</td>", key.state.name());
            page.cell(&back);
            page.cell(&key.reason);
        });
    }

    fn quota(&mut self, quota: &[QuotaLine], lasts: &[TierLine]) {
        let heads = ["project", "model", "used", "of", "forecast", "lasts", "resets"];
        let lasts = lasts.iter().map(|line| {
            let until = line.ends_ms.map_or("the day".to_owned(), |at_ms| self.until(at_ms));
            format!("{} {until}", line.tier.name())
        });
        let lasts = lasts.collect::<Vec<_>>().join(" · ");
        let note =
            if lasts.is_empty() { lasts } else { format!("At this rate they last: {lasts}.") };
        self.noted_table("Quotas today", &note, &heads, quota, |page, line| {
            page.cell(&line.project);
            page.cell(&line.model);
            page.cell(&line.used_today.to_string());
            page.cell(&line.limit_today.map_or_else(|| "–".to_owned(), |limit| limit.to_string()));
            let forecast = forecast(line, page.now_ms);
            let class =
                if line.limit_today.is_some_and(|limit| forecast > limit) { "fair" } else { "" };
            let _ = write!(page.out, "<td class=\"{class}\">about {}</td>", count(forecast));
            let lasts = match (line.ends_ms, line.used_today) {
                (Some(at_ms), _) => page.until(at_ms),
                (None, 0) => String::new(),
                (None, _) => "the day".to_owned(),
            };
            page.cell(&lasts);
            let resets = page.in_span(line.resets_ms);
            page.cell(&resets);
        });
    }

    fn slots(&mut self, status: &Status) {
        let heads = ["name", "rounds", "last word"];
        self.table("Slots", &heads, &status.vips, |page, vip| {
            page.cell(&vip.name);
            page.cell(&format!("{}/{}", vip.rounds, vip.rounds_max));
            let ago = format!("{} ago", span(page.now_ms - vip.last_ms));
            page.cell(&ago);
        });
    }

    fn sync(&mut self, status: &Status) {
        let sync = &status.sync;
        if !sync.enabled {
            return;
        }
        let rows: Vec<(&str, u64, u64)> = TABLES
            .iter()
            .zip(sync.pending.iter().zip(&sync.parked))
            .map(|(table, (pending, parked))| (*table, *pending, *parked))
            .collect();
        let last = sync.last_success_ms.map(|at_ms| span(self.now_ms - at_ms));
        let note = match (last, &sync.last_error) {
            (Some(age), None) => format!("all sent {age} ago"),
            (Some(age), Some(error)) => format!("all sent {age} ago; since then: {error}"),
            (None, Some(error)) => format!("never all sent: {error}"),
            (None, None) => "never all sent".to_owned(),
        };
        self.noted_table(
            "Supabase",
            &note,
            &["table", "to send", "set aside"],
            &rows,
            |page, row| {
                page.cell(row.0);
                page.cell(&row.1.to_string());
                page.cell(&row.2.to_string());
            },
        );
    }

    fn troubles(&mut self, status: &Status) {
        let heads = ["when", "where", "what"];
        self.table("Last troubles", &heads, &status.troubles, |page, trouble| {
            let ago = format!("{} ago", span(page.now_ms - trouble.at_ms));
            page.cell(&ago);
            page.cell(&trouble.place);
            page.cell(&trouble.text);
        });
    }

    fn table<T>(
        &mut self,
        title: &str,
        heads: &[&str],
        rows: &[T],
        row: impl FnMut(&mut Self, &T),
    ) {
        self.noted_table(title, "", heads, rows, row);
    }

    fn noted_table<T>(
        &mut self,
        title: &str,
        note: &str,
        heads: &[&str],
        rows: &[T],
        mut row: impl FnMut(&mut Self, &T),
    ) {
        let _ = write!(self.out, "<section><h2>{title}</h2>");
        if !note.is_empty() {
            self.out.push_str("<p class=\"quiet\">");
            self.text(note);
            self.out.push_str("</p>");
        }
        if rows.is_empty() {
            self.out.push_str("<p class=\"quiet\">none</p></section>");
            return;
        }
        self.out.push_str("<div class=\"wide\"><table><thead><tr>");
        for head in heads {
            let _ = write!(self.out, "<th>{head}</th>");
        }
        self.out.push_str("</tr></thead><tbody>");
        for each in rows {
            self.out.push_str("<tr>");
            row(self, each);
            self.out.push_str("</tr>");
        }
        self.out.push_str("</tbody></table></div></section>");
    }

    fn cell(&mut self, text: &str) {
        self.out.push_str("<td>");
        self.text(text);
        self.out.push_str("</td>");
    }

    /// When something ends, as a forecast.
    fn until(&self, at_ms: UnixMs) -> String {
        if at_ms <= self.now_ms {
            return "used up".to_owned();
        }
        let clock: String = rfc3339(at_ms).chars().skip(11).take(5).collect();
        format!("until about {clock} UTC")
    }

    fn in_span(&self, at_ms: UnixMs) -> String {
        format!("in {}", span(at_ms - self.now_ms))
    }
}

/// Caption, unit, and how an hour is read.
type ChartRow = (&'static str, &'static str, fn(&Hour) -> u64);

const CHARTS: [ChartRow; 4] = [
    ("Answers", "an hour", |hour| hour.answers),
    ("Latency", "ms on average", |hour| hour.answer_ms.checked_div(hour.answers).unwrap_or(0)),
    ("Tokens", "an hour", |hour| hour.tokens),
    ("Backlog", "rows", |hour| hour.backlog),
];

/// `count` hours from `first` on, zeros where nothing was counted.
fn filled(hours: &[Hour], first: i64, count: i64) -> Vec<Hour> {
    (first..first + count)
        .map(|at| {
            let known = hours.iter().find(|hour| hour.hour == at).copied();
            known.unwrap_or(Hour { hour: at, ..Hour::default() })
        })
        .collect()
}

/// What the use of a day comes to when it goes on as it did so far.
fn forecast(line: &QuotaLine, now_ms: UnixMs) -> u64 {
    let left_ms = (line.resets_ms - now_ms).clamp(0, DAY_MS);
    // The first minutes of a day tell nothing; half an hour is the least to judge by.
    let passed_ms = (DAY_MS - left_ms).max(HOUR_MS / 2);
    let total = i128::from(line.used_today) * i128::from(DAY_MS) / i128::from(passed_ms);
    u64::try_from(total).unwrap_or(u64::MAX).max(line.used_today)
}

/// `2026-11-22 23:12 UTC`
fn short(at_ms: UnixMs) -> String {
    let text: String = rfc3339(at_ms).chars().take(16).collect();
    text.replace('T', " ") + " UTC"
}

fn hour_text(hour: i64) -> String {
    format!("{} {:02}:00 UTC", date_text(hour.div_euclid(24)), hour.rem_euclid(24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::http::example;

    #[test]
    fn the_page_stands_alone_and_escapes_everything() {
        let page = render(&example::busy());
        for forbidden in
            ["<script", "<img", "http://", "https://", "\x1b", "javascript:", " style="]
        {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for part in [
            "…x9Qa",
            "resting",
            "in 40s",
            "reported as leaked",
            "&lt;img src=x&gt;",
            "4.5 MB",
            "gemini-3.8-flash",
            "2/3",
            "3.0 GB free",
            "1239",
            "about 22",
            "At this rate they last: lite the day · flash until about 02:00 UTC.",
            "<td>until about 02:00 UTC</td>",
            "<td>the day</td>",
            "Last week",
            "connection refused",
            "ready",
            "小明",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(page.len() < 64 * 1_024, "{}", page.len());
    }

    #[test]
    fn a_bot_that_never_ran_has_a_page_too() {
        let page = render(&Status::default());
        assert!(page.contains("not ready") && page.contains("none"));
    }

    #[test]
    fn tags_are_balanced() {
        let page = render(&example::busy());
        for tag in ["section", "table", "tr", "td", "th", "div", "svg", "figure", "p", "span", "b"]
        {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_forecast_goes_on_as_the_day_did() {
        let line = |used_today, left_h: i64| QuotaLine {
            project: String::new(),
            model: String::new(),
            used_today,
            limit_today: None,
            resets_ms: left_h * HOUR_MS,
            ends_ms: None,
        };
        for (used, left_h, want) in
            [(10, 12, 20), (10, 24, 480), (10, 0, 10), (0, 5, 0), (10, 99, 480)]
        {
            assert_eq!(forecast(&line(used, left_h), 0), want, "{used} {left_h}");
        }
    }
}
