//! Owns: small SVG charts, drawn by the server, coloured by the page's style sheet.
//! May not: load or run anything; know what the figures mean.

use crate::daemon::quoting;
use std::fmt::Write as _;

/// Size of the drawing; it scales to its place.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 72.0;
/// Room above the highest bar.
const TOP: f64 = 4.0;
/// A bar that is not nothing is at least so high.
const BAR_MIN: f64 = 1.0;

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// How high, in the chart's own unit.
    pub(super) value: u64,
    /// What a pointer held over it reads.
    pub(super) title: String,
}

/// Appends a figure: caption, largest value, bars from old to new, a label at either end.
pub(super) fn bars(out: &mut String, caption: &str, peak: &str, ends: (&str, &str), bars: &[Bar]) {
    out.push_str("<figure><figcaption><b>");
    quoting::html(out, caption);
    out.push_str("</b> <span>");
    quoting::html(out, peak);
    out.push_str("</span></figcaption>");
    let _ = write!(
        out,
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label=""#
    );
    quoting::html(out, caption);
    out.push_str("\">");
    let highest = bars.iter().map(|bar| bar.value).max().unwrap_or(0).max(1);
    let step = WIDTH / as_f64(bars.len().max(1) as u64);
    // One path for all bars keeps a week of hours at a few kilobytes.
    let mut path = String::new();
    for (at, bar) in bars.iter().enumerate() {
        if bar.value == 0 {
            continue;
        }
        let height = (as_f64(bar.value) / as_f64(highest) * (HEIGHT - TOP)).max(BAR_MIN);
        let (x, y) = (step * as_f64(at as u64), HEIGHT - height);
        let _ = write!(path, "M{x:.1} {HEIGHT}V{y:.1}h{:.1}V{HEIGHT}z", step * 0.82);
    }
    let _ = write!(out, r#"<path class="base" d="M0 {HEIGHT}H{WIDTH}"/><path d="{path}"/>"#);
    // Titles only where there are few bars: hours of a day, days of a week.
    if bars.len() <= 31 {
        for (at, bar) in bars.iter().enumerate() {
            let x = step * as_f64(at as u64);
            let _ = write!(
                out,
                r#"<rect x="{x:.1}" y="0" width="{step:.1}" height="{HEIGHT}"><title>"#
            );
            quoting::html(out, &bar.title);
            out.push_str("</title></rect>");
        }
    }
    out.push_str("</svg><div class=\"ends\"><span>");
    quoting::html(out, ends.0);
    out.push_str("</span><span>");
    quoting::html(out, ends.1);
    out.push_str("</span></div></figure>");
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is coarser than 2^53")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(values: &[u64]) -> String {
        let list: Vec<Bar> =
            values.iter().map(|value| Bar { value: *value, title: format!("<{value}>") }).collect();
        let mut out = String::new();
        bars(&mut out, "a<b", "peak & more", ("then", "now"), &list);
        out
    }

    #[test]
    fn bars_stand_in_proportion_and_nothing_draws_nothing() {
        let chart = draw(&[0, 10, 5, 1_000_000]);
        assert_eq!(chart.matches("h65.6").count(), 3);
        assert!(chart.contains("V4.0h"), "the highest reaches the top");
        assert!(chart.contains("V71.0h"), "the lowest can still be seen");
        assert!(chart.contains("<title>&lt;10&gt;</title>") && chart.contains("a&lt;b"));
        assert!(!draw(&[]).contains('h'.to_string().repeat(2).as_str()));
        assert!(draw(&[0; 7]).contains(r#"<path d=""/>"#));
        assert!(draw(&[u64::MAX, 0]).contains("V4.0h"));
        assert!(!draw(&[1; 168]).contains("<title>"));
    }
}
