//! The operator's guides name everything there is: each setting, command, alert and metric.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use svs_bot::config::names::SETTINGS;

const GUIDES: &[&str] = &["docs/operations.md", "docs/operations.zh.md"];
const LINKED: &[&str] = &[
    "README.md",
    "docs/README.zh.md",
    "docs/operations.md",
    "docs/operations.zh.md",
    "docs/architecture.md",
    "docs/TESTING.md",
    "docs/events.md",
    "docs/THREATS.md",
    "docs/scaling.md",
    "CHANGELOG.md",
];

#[test]
fn every_setting_is_in_both_guides() {
    check(SETTINGS.iter().map(|setting| setting.name.to_owned()).collect());
}

#[test]
fn every_alert_is_in_both_guides() {
    let alerts = read("scripts/prometheus-alerts.yml");
    check(
        alerts
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- alert: "))
            .map(str::to_owned)
            .collect(),
    );
}

#[test]
fn every_metric_is_in_both_guides() {
    let source = read("src/daemon/metrics.rs");
    let metrics = source.split('"').flat_map(|text| text.split([' ', '{', '\n']));
    let is_metric = |word: &&str| {
        word.starts_with("svs_bot_") && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    check(
        metrics.filter(is_metric).filter(|word| *word != "svs_bot_").map(str::to_owned).collect(),
    );
}

#[test]
fn every_command_is_in_both_guides() {
    let source = read("src/cli.rs");
    let words = source.lines().filter_map(|line| line.trim().split_once(", \""));
    let words = words.filter_map(|(_, rest)| rest.split_once("\" {"));
    check(words.map(|(word, _)| format!("svs-bot {word}")).collect());
}

#[test]
fn every_link_leads_to_a_file() {
    for name in LINKED {
        let text = read(name);
        let folder = Path::new(name).parent().expect("a file is in a folder");
        for link in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = root().join(folder).join(target);
            assert!(path.exists(), "{name}: {link}: there is no such file");
        }
    }
}

fn check(names: BTreeSet<String>) {
    assert!(names.len() > 8, "only {names:?}: is the source still written as this test reads it?");
    for guide in GUIDES {
        let text = read(guide);
        let missing: Vec<&String> = names.iter().filter(|name| !text.contains(*name)).collect();
        assert!(missing.is_empty(), "{guide}: does not name {missing:?}");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
