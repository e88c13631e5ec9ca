//! Owns: `/`, the status as a page for people: one file, no script, light and dark, phone width.
//! May not: show more than the status holds; leave any text unescaped.

use super::chart::{self, Bar, Frame};
use crate::calendar::{date_text, rfc3339, weekday};
use crate::daemon::cause;
use crate::daemon::quoting::{count, html, size, span};
use crate::types::status::{
    Hour, KeyLine, KeyState, QuotaLine, Status, TABLES, TierLine, WEEK_HOURS,
};
use crate::types::{DAY_MS, HOUR_MS, UnixMs, build};
use crate::wire::postgrest::fault;
use std::fmt::Write as _;

/// The policy of the reply knows its hash.
pub(super) const STYLE: &str = include_str!("page.css");
/// What to do about keys that Google refuses for good, and about a synchronisation that fails.
const FOR_DEAD_KEYS: &str = "Dead keys stay dead: make new ones at aistudio.google.com/apikey.";
const FOR_FAILED_SYNC: &str = "; what to do: svs-bot check";
/// As in `scripts/prometheus-alerts.yml`.
const FOR_GEMINI: &str =
    "svs-bot check names the cause: network, name service, firewall, or Google&#39;s own trouble";
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
            let todo = cause::of(status).map(|cause| cause.todo).unwrap_or_default();
            for (class, text) in [("reason", status.reason.as_str()), ("quiet", todo)] {
                let _ = write!(self.out, "<p class=\"{class}\">");
                self.text(text);
                self.out.push_str("</p>");
            }
        }
        if let Some(why) = &status.gemini_error {
            self.out.push_str("<p class=\"reason\">");
            self.text(&format!("gemini gives no answers: {why}"));
            let _ = write!(self.out, "</p><p class=\"quiet\">{FOR_GEMINI}</p>");
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
            (
                "questions waiting",
                count(counts.inbox),
                oldest.or_else(|| parked(counts.inbox_parked)),
            ),
            ("messages to send", count(counts.outbox), parked(counts.outbox_parked)),
            ("conversations", count(counts.sessions), None),
            ("VIP slots", format!("{}/{}", counts.vip_used, status.vip_slots), None),
            ("Telegram heard", poll.unwrap_or_else(|| "never".to_owned()), Some(intake.to_owned())),
            ("memory", status.rss_bytes.map_or_else(|| "–".to_owned(), size), None),
            ("database", size(counts.database_bytes), disk),
            ("rows for Supabase", self.backlog(status), None),
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
        for (title, hours) in [("Last day", DAY_HOURS), ("Last week", WEEK_HOURS)] {
            let _ = write!(
                self.out,
                "<section><h2>{title} <small>by the hour, UTC</small></h2><div class=\"charts\">"
            );
            let first = this - hours + 1;
            let window = filled(&status.hours, first, hours);
            let marks = marks(first, hours);
            for chart in &CHARTS {
                let bars: Vec<Bar> = window
                    .iter()
                    .map(|hour| Bar {
                        value: (chart.value)(hour),
                        title: format!(
                            "{}: {}{}",
                            hour_text(hour.hour),
                            (chart.label)((chart.value)(hour)),
                            chart.unit
                        ),
                    })
                    .collect();
                let peak = bars.iter().map(|bar| bar.value).max().unwrap_or(0);
                let peak = if peak == 0 {
                    "nothing".to_owned()
                } else {
                    format!("peak {}{}", (chart.label)(peak), chart.unit)
                };
                let frame = Frame {
                    caption: chart.caption,
                    peak: &peak,
                    label: chart.label,
                    marks: &marks,
                };
                chart::bars(&mut self.out, &frame, &bars);
            }
            self.out.push_str("</div></section>");
        }
    }

    fn keys(&mut self, keys: &[KeyLine]) {
        let has_dead = keys.iter().any(|key| key.state == KeyState::Dead);
        let note = if has_dead { FOR_DEAD_KEYS } else { "" };
        let heads = ["", "group", "key", "state", "back", "why, project"];
        self.noted_table("Keys", note, &heads, keys, |page, key| {
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
            page.cell(&key.about());
        });
    }

    fn quota(&mut self, quota: &[QuotaLine], lasts: &[TierLine]) {
        // Google counts every project's day by one clock, so one sentence is enough.
        let resets_ms = quota.iter().map(|line| line.resets_ms).max();
        let again = resets_ms.map(|at_ms| format!("All start again {}.", self.in_span(at_ms)));
        let lasts = lasts.iter().map(|line| {
            let until = match line.ends_ms {
                None => "lasts the day".to_owned(),
                Some(at_ms) if at_ms <= self.now_ms => "is used up".to_owned(),
                Some(at_ms) => format!("lasts {}", self.until(at_ms)),
            };
            format!("{} {until}", line.tier.name())
        });
        let lasts = lasts.collect::<Vec<_>>().join(" · ");
        let lasts = (!lasts.is_empty()).then(|| format!("At this rate {lasts}."));
        let note = lasts.into_iter().chain(again).collect::<Vec<_>>().join(" ");
        let heads = ["model and project", ">used", "", ">forecast for today"];
        self.noted_table("Quotas today", &note, &heads, quota, |page, line| {
            page.out.push_str("<td class=\"two\"><span>");
            page.text(&line.model);
            page.out.push_str("</span> <small>");
            page.text(&line.project);
            page.out.push_str("</small></td>");
            let forecast = forecast(line, page.now_ms);
            let class = match line.limit_today {
                Some(limit) if line.used_today >= limit => "bad",
                Some(limit) if forecast > limit => "fair",
                _ => "good",
            };
            let used = match line.limit_today {
                Some(limit) => format!("{} of {limit}", line.used_today),
                None => line.used_today.to_string(),
            };
            page.number(&used, "");
            page.out.push_str("<td class=\"bar quiet\">");
            match line.limit_today {
                Some(limit) => chart::meter(&mut page.out, line.used_today, limit, class),
                None => page.out.push_str("no limit"),
            }
            page.out.push_str("</td>");
            let warned = if class == "fair" { class } else { "" };
            let _ = write!(
                page.out,
                "<td class=\"number two {warned}\"><span>≈ {}</span>",
                count(forecast)
            );
            if let Some(at_ms) = line.ends_ms {
                page.out.push_str(" <small>");
                let until = page.until(at_ms);
                page.text(&until);
                page.out.push_str("</small>");
            }
            page.out.push_str("</td>");
        });
    }

    fn slots(&mut self, status: &Status) {
        let heads = ["name", "rounds", "last word"];
        self.table("VIP slots", &heads, &status.vips, |page, vip| {
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
            (Some(age), Some(error)) => {
                format!("all sent {age} ago; since then: {error}{FOR_FAILED_SYNC}")
            }
            (None, Some(error)) => format!("never all sent: {error}{FOR_FAILED_SYNC}"),
            (None, None) => "never all sent".to_owned(),
        };
        let why = &sync.parked_reason;
        let aside = match why.as_str() {
            "" => String::new(),
            why => format!("; set aside: {} ({why})", fault::meaning(why)),
        };
        let note = note + &aside;
        self.noted_table(
            "Supabase",
            &note,
            &["table", ">to send", ">set aside"],
            &rows,
            |page, row| {
                page.cell(row.0);
                page.number(&row.1.to_string(), "");
                page.number(&row.2.to_string(), "");
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
        // A head that begins with `>` stands over numbers.
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
            let _ = match head.strip_prefix('>') {
                Some(head) => write!(self.out, "<th class=\"number\">{head}</th>"),
                None => write!(self.out, "<th>{head}</th>"),
            };
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

    /// A cell that stands right, under the others of its column.
    fn number(&mut self, text: &str, class: &str) {
        let _ = write!(self.out, "<td class=\"number {class}\">");
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

/// One of the charts.
struct Chart {
    caption: &'static str,
    /// Behind a figure in words.
    unit: &'static str,
    /// How an hour is read.
    value: fn(&Hour) -> u64,
    label: fn(u64) -> String,
}

const CHARTS: [Chart; 4] = [
    Chart { caption: "Answers", unit: " an hour", value: |hour| hour.answers, label: count },
    Chart {
        caption: "Average latency",
        unit: "",
        value: |hour| hour.answer_ms.checked_div(hour.answers).unwrap_or(0),
        label: chart::millis,
    },
    Chart { caption: "Tokens", unit: " an hour", value: |hour| hour.tokens, label: count },
    Chart { caption: "Backlog", unit: " rows", value: |hour| hour.backlog, label: count },
];

/// Labels of the lower axis: every sixth hour of a day, each midnight of a week.
fn marks(first: i64, hours: i64) -> Vec<(usize, String)> {
    const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let every = if hours <= DAY_HOURS { 6 } else { 24 };
    // A label too near the right edge would leave the drawing.
    let last = hours - hours / 24;
    let hours = (0..last).zip(first..).filter(|(_, hour)| hour.rem_euclid(every) == 0);
    let text = |hour: i64| {
        if every == 6 {
            return format!("{:02}:00", hour.rem_euclid(24));
        }
        let day = usize::try_from(weekday(hour.div_euclid(24))).unwrap_or(0);
        (*WEEKDAYS.get(day).unwrap_or(&"")).to_owned()
    };
    hours.filter_map(|(at, hour)| Some((usize::try_from(at).ok()?, text(hour)))).collect()
}

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
mod tests;
