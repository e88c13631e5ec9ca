use super::*;
use crate::daemon::http::example;

#[test]
fn the_page_stands_alone_and_escapes_everything() {
    let page = render(&example::busy());
    for forbidden in ["<script", "<img", "http://", "https://", "\x1b", "javascript:", " style="] {
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
        "≈ 22",
        "At this rate lite lasts the day · flash lasts until about 02:00 UTC.",
        "<small>until about 02:00 UTC</small>",
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
    for tag in ["section", "table", "tr", "td", "th", "div", "svg", "figure", "p", "span", "b"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_forecast_goes_on_as_the_day_did() {
    let line = |used_today, left_h: i64| QuotaLine {
        project: String::new(),
        groups: vec![crate::types::Group::A],
        model: String::new(),
        used_today,
        limit_today: None,
        resets_ms: left_h * HOUR_MS,
        ends_ms: None,
    };
    for (used, left_h, want) in [(10, 12, 20), (10, 24, 480), (10, 0, 10), (0, 5, 0), (10, 99, 480)]
    {
        assert_eq!(forecast(&line(used, left_h), 0), want, "{used} {left_h}");
    }
}
