//! `docs/events.md` and the log calls of the source name the same events, with the same levels and fields.

#![allow(clippy::unwrap_used, reason = "in a test, what cannot be had fails it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Levels and fields of one event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    levels: BTreeSet<String>,
    fields: BTreeSet<String>,
}

#[test]
fn every_event_has_its_row_and_every_row_its_event() {
    let (called, told) = (called(), told());
    assert!(
        called.len() > 30,
        "only {called:?}: are log calls still written as this test reads them?"
    );
    for (name, event) in &called {
        let row = told
            .get(name)
            .unwrap_or_else(|| panic!("docs/events.md lacks a row for {name}: {event:?}"));
        assert_eq!(row, event, "{name}: the row of docs/events.md (left) and the source");
    }
    let idle: Vec<_> = told.keys().filter(|name| !called.contains_key(*name)).collect();
    assert!(idle.is_empty(), "docs/events.md names events that nothing logs: {idle:?}");
}

#[test]
fn a_log_call_is_read_whole() {
    let text = "log::warn!(\n target: \"a.b\", one = 1, two:% = f(x, y), three;\n \"text; {}\", z);
        log::info!(target: \"c\", \"words, and = more\");
        // log::info!(\"in a comment\")
        log::error!(target: \"a.b\", \"again\");";
    let mut events = BTreeMap::new();
    read_calls(text, "here", &mut events);
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let want = [
        (
            "a.b",
            Event { levels: words(&["warn", "error"]), fields: words(&["one", "two", "three"]) },
        ),
        ("c", Event { levels: words(&["info"]), fields: words(&[]) }),
    ];
    assert_eq!(events, want.map(|(name, event)| (name.to_owned(), event)).into());
}

/// What the source logs.
fn called() -> BTreeMap<String, Event> {
    let mut events = BTreeMap::new();
    walk(&root().join("src"), &mut events);
    // Not by a macro: it must work while everything else fails.
    let panic = Event { levels: ["error".to_owned()].into(), fields: BTreeSet::new() };
    events.insert("panic".to_owned(), panic);
    events
}

fn walk(dir: &Path, events: &mut BTreeMap<String, Event>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            walk(&path, events);
        } else if name.ends_with(".rs") && !name.contains("tests") {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            read_calls(text, &path.display().to_string(), events);
        }
    }
}

fn read_calls(text: &str, place: &str, events: &mut BTreeMap<String, Event>) {
    let code: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    for call in code.split("log::").skip(1) {
        let Some((level, rest)) = call.split_once("!(") else { continue };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            continue;
        }
        let rest = rest.trim_start();
        let target = rest.strip_prefix("target: \"").and_then(|rest| rest.split_once('"'));
        let (name, rest) = target
            .unwrap_or_else(|| panic!("{place}: a log call without target: {level}!({rest:.80}"));
        let event = events.entry(name.to_owned()).or_default();
        event.levels.insert(level.to_owned());
        let rest = rest.trim_start_matches(',').trim_start();
        // Fields end with the first semicolon before the message.
        if !rest.starts_with('"') {
            let fields = rest.split_once(';').map_or("", |(fields, _)| fields);
            event.fields.extend(names(fields));
        }
    }
}

/// `a = 1, b:% = f(x, y), c` → a, b, c
fn names(fields: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in fields.chars() {
        depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let name = |part: &String| {
        let name = part.trim().split([':', ' ', '=']).next().unwrap_or_default();
        (!name.is_empty()).then(|| name.to_owned())
    };
    parts.iter().filter_map(name).collect()
}

/// What the guide tells.
fn told() -> BTreeMap<String, Event> {
    let text = fs::read_to_string(root().join("docs/events.md")).unwrap();
    let table = text.split("## Events").nth(1).expect("a section of events");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut events = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, levels, fields, when, _] = cells[..] else { panic!("{row}: not four cells") };
        assert!(!when.is_empty(), "{name}: when?");
        let levels = levels.split(", ").map(str::to_owned).collect();
        let fields = fields.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let again = events.insert(name.trim_matches('`').to_owned(), Event { levels, fields });
        assert!(again.is_none(), "{name}: two rows");
    }
    events
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
