//! Tables: the example settings file says what the program does.

use super::*;
use crate::config::names::{REDIS_PARTS, SETTINGS};

const EXAMPLE: &str = include_str!("../../../scripts/svs-bot.env.example");

/// The example as the operator would have it after filling in the two required settings.
fn filled() -> String {
    let filled = EXAMPLE
        .replace("\nTELEGRAM_BOT_TOKEN=\n", "\nTELEGRAM_BOT_TOKEN=1:x\n")
        .replace("\nGROUP_A_KEYS=\n", "\nGROUP_A_KEYS=key-a-1\n");
    assert_ne!(filled, EXAMPLE);
    filled
}

fn load_text(name: &str, text: &str) -> Loaded {
    let folder = Folder::new(name);
    let file = folder.write("env", text);
    load(Some(&file), None, &folder.environment(&[("HOME", "/h")]))
        .unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

#[test]
fn every_setting_stands_in_the_example() {
    for setting in SETTINGS.iter().filter(|setting| !REDIS_PARTS.contains(&setting.name)) {
        let lines = EXAMPLE.lines().filter(|line| {
            line.trim_start_matches('#')
                .strip_prefix(setting.name)
                .is_some_and(|v| v.starts_with('='))
        });
        assert_eq!(lines.count(), 1, "{}", setting.name);
    }
}

#[test]
fn all_but_the_two_required_are_commented_out() {
    let set: Vec<_> =
        EXAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(set, ["TELEGRAM_BOT_TOKEN=", "GROUP_A_KEYS="]);
}

#[test]
fn the_filled_example_has_no_warning_and_shows_the_true_defaults() {
    let as_it_is = load_text("example", &filled());
    assert_eq!(as_it_is.warnings, Vec::<String>::new());
    let uncommented: String = filled()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_uppercase()) => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(uncommented.contains("\nWORKERS=16\n"));
    let with_all = load_text("example-all", &uncommented);
    assert_eq!(with_all.warnings, Vec::<String>::new());
    assert_eq!(with_all.config, as_it_is.config);
}
