//! Owns: small SVG charts, drawn by the server, coloured by the page's style sheet.
//! May not: load or run anything; know what the figures mean.

use crate::daemon::quoting;
use std::fmt::Write as _;

/// Size of the drawing; it scales to its place as a whole, so that letters keep their shape.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 116.0;
/// Left of the bars: the labels of the upright axis.
const LEFT: f64 = 38.0;
/// Above the bars: half a label's height.
const TOP: f64 = 8.0;
/// The base line; the labels of the lower axis stand below it.
const BASE: f64 = 98.0;
/// A bar that is not nothing is at least so high.
const BAR_MIN: f64 = 1.0;
/// Part of its step that a bar fills.
const BAR_WIDTH: f64 = 0.8;
/// More bars are too narrow to be pointed at one by one, and their titles too many bytes.
const TITLES_MAX: usize = 31;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// How high, in the chart's own unit.
    pub(super) value: u64,
    /// What a pointer held over it reads.
    pub(super) title: String,
}

/// What stands around the bars.
pub(super) struct Frame<'a> {
    /// What is drawn.
    pub(super) caption: &'a str,
    /// The one figure worth reading first.
    pub(super) peak: &'a str,
    /// A height of the upright axis in words.
    pub(super) label: fn(u64) -> String,
    /// Labels below, each centred under the left edge of its bar.
    pub(super) marks: &'a [(usize, String)],
}

/// Appends a figure: caption, largest value, both axes, bars from old to new.
pub(super) fn bars(out: &mut String, frame: &Frame<'_>, bars: &[Bar]) {
    out.push_str("<figure><figcaption><b>");
    quoting::html(out, frame.caption);
    out.push_str("</b> <span>");
    quoting::html(out, frame.peak);
    out.push_str("</span></figcaption>");
    let _ = write!(out, r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label=""#);
    quoting::html(out, &format!("{}: {}", frame.caption, frame.peak));
    out.push_str("\">");
    let top = ceiling(bars.iter().map(|bar| bar.value).max().unwrap_or(0));
    axes(out, frame, top, bars.len());
    let step = (WIDTH - LEFT) / as_f64(bars.len().max(1) as u64);
    // One path for all bars keeps a week of hours at a few kilobytes.
    let mut path = String::new();
    for (at, bar) in bars.iter().enumerate() {
        if bar.value == 0 {
            continue;
        }
        let height = (as_f64(bar.value) / as_f64(top) * (BASE - TOP)).max(BAR_MIN);
        let (x, y) = (LEFT + step * as_f64(at as u64), BASE - height);
        let _ = write!(path, "M{x:.1} {BASE}V{y:.1}h{:.1}V{BASE}z", step * BAR_WIDTH);
    }
    let _ = write!(out, r#"<path d="{path}"/>"#);
    if bars.len() <= TITLES_MAX {
        for (at, bar) in bars.iter().enumerate() {
            let x = LEFT + step * as_f64(at as u64);
            let _ = write!(
                out,
                r#"<rect x="{x:.1}" y="{TOP}" width="{step:.1}" height="{}"><title>"#,
                BASE - TOP
            );
            quoting::html(out, &bar.title);
            out.push_str("</title></rect>");
        }
    }
    out.push_str("</svg></figure>");
}

/// Three lines with their heights, and the marks below.
fn axes(out: &mut String, frame: &Frame<'_>, top: u64, count: usize) {
    for (value, y) in [(top, TOP), (top / 2, (TOP + BASE) / 2.0), (0, BASE)] {
        let class = if value == 0 { "base" } else { "grid" };
        let _ = write!(
            out,
            r#"<path class="{class}" d="M{LEFT} {y}H{WIDTH}"/><text x="{:.0}" y="{:.1}" class="up">"#,
            LEFT - 5.0,
            y + 3.5,
        );
        quoting::html(out, &(frame.label)(value));
        out.push_str("</text>");
    }
    let step = (WIDTH - LEFT) / as_f64(count.max(1) as u64);
    for (at, text) in frame.marks {
        let x = LEFT + step * as_f64(*at as u64);
        let _ = write!(out, r#"<path class="grid" d="M{x:.1} {BASE}v3"/>"#);
        let _ = write!(out, r#"<text x="{x:.1}" y="{:.0}">"#, HEIGHT - 5.0);
        quoting::html(out, text);
        out.push_str("</text>");
    }
}

/// The next even round number, so that the axis and its half read well.
fn ceiling(value: u64) -> u64 {
    let mut unit: u64 = 1;
    loop {
        for digits in [2, 4, 6, 8, 10] {
            let round = unit.saturating_mul(digits);
            if round >= value {
                return round;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// Appends a bar of `used` out of `limit`; the class colours it.
pub(super) fn meter(out: &mut String, used: u64, limit: u64, class: &str) {
    let part = (as_f64(used) / as_f64(limit.max(1))).clamp(0.0, 1.0) * 100.0;
    let _ = write!(
        out,
        r#"<svg class="meter {class}" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{part:.0}%"><path class="track" d="M0 0H100V8H0z"/><path d="M0 0H{part:.1}V8H0z"/></svg>"#
    );
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is coarser than 2^53")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

/// `350 ms`, `1.5 s`, `40 s`.
pub(super) fn millis(millis: u64) -> String {
    match millis {
        0 => "0".to_owned(),
        1..1_000 => format!("{millis} ms"),
        1_000..10_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} s", millis / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(values: &[u64]) -> String {
        let list: Vec<Bar> =
            values.iter().map(|value| Bar { value: *value, title: format!("<{value}>") }).collect();
        let mut out = String::new();
        let marks = [(0, "<then>".to_owned())];
        let frame = Frame {
            caption: "a<b",
            peak: "peak & more",
            label: |value| format!("{value} &"),
            marks: &marks,
        };
        bars(&mut out, &frame, &list);
        out
    }

    #[test]
    fn bars_stand_in_proportion_and_nothing_draws_nothing() {
        let chart = draw(&[0, 10, 5, 1_000_000]);
        assert_eq!(chart.matches("h56.4V").count(), 3);
        assert!(chart.contains("V8.0h"), "the highest reaches the top");
        assert!(chart.contains("V97.0h"), "the lowest can still be seen");
        assert!(chart.contains("<title>&lt;10&gt;</title>") && chart.contains("a&lt;b"));
        for label in [">1000000 &amp;<", ">500000 &amp;<", ">0 &amp;<", ">&lt;then&gt;<"] {
            assert!(chart.contains(label), "{label}");
        }
        assert!(draw(&[0; 7]).contains(r#"<path d=""/>"#));
        assert!(draw(&[u64::MAX, 0]).contains("V8.0h"));
        assert!(!draw(&[1; 168]).contains("<title>"));
    }

    #[test]
    fn an_axis_ends_at_a_round_number_with_a_round_half() {
        for (value, want) in
            [(0, 2), (2, 2), (3, 4), (9, 10), (11, 20), (61, 80), (4_100, 6_000), (10_000, 10_000)]
        {
            assert_eq!(ceiling(value), want, "{value}");
        }
        assert_eq!(ceiling(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_meter_never_leaves_its_track() {
        for (used, limit, want) in
            [(0, 10, "H0.0V"), (5, 10, "H50.0V"), (9, 3, "H100.0V"), (1, 0, "H100.0V")]
        {
            let mut out = String::new();
            meter(&mut out, used, limit, "good");
            assert!(out.contains(want), "{out}");
        }
    }
}
