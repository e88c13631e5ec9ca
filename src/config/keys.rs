//! Owns: the lists of Gemini keys: groups, projects, repeats.
//! May not: show a key; a key is named by its setting and its position there, from 1.

use super::KeySetting;
use super::names::UNGROUPED;
use super::parse::Reader;
use super::value;
use crate::types::{Group, Secret};

/// The longest key or project that is taken: far above any real one, far below a header's bound.
const KEY_BYTES_MAX: usize = 512;
/// The most keys in all groups together.
const KEYS_MAX: usize = 1_000;
/// Where keys are listed, in the order in which they are numbered (contract §3).
const LISTS: [(&str, Group); 7] = [
    ("GROUP_A_KEYS", Group::A),
    ("GROUP_B_KEYS", Group::B),
    ("GROUP_C_KEYS", Group::C),
    ("GROUP_D_KEYS", Group::D),
    ("ROUTER_KEY_A", Group::Router),
    ("ROUTER_KEY_B", Group::Router),
    (UNGROUPED, Group::Ungrouped),
];

/// All keys, repeats dropped; at least one or a problem.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<KeySetting> {
    let mut keys: Vec<KeySetting> = Vec::new();
    // Where each key of `keys` was first listed.
    let mut places: Vec<String> = Vec::new();
    let mut refused = 0;
    for (setting, group) in LISTS {
        for found in reader.all(setting) {
            for (index, item) in value::list(value::unquoted(&found.value)).enumerate() {
                let place = format!("key {} of {}", index + 1, found.name);
                match one(item, group) {
                    Ok(key) => add(key, place, &mut keys, &mut places, reader),
                    Err(why) => {
                        refused += 1;
                        reader.problem(&found.name, format!("key {}: {why}", index + 1));
                    }
                }
            }
        }
    }
    let is_unread = LISTS
        .iter()
        .any(|(setting, _)| reader.is_given(setting) && reader.found(setting).is_none());
    if keys.is_empty() && refused == 0 && !is_unread {
        reader.problem(
            "GROUP_A_KEYS",
            "no Gemini key is set: takes keys, comma-separated, here or in any other group, or \
             one as GEMINI_API_KEY",
        );
    }
    if keys.len() > KEYS_MAX {
        let count = keys.len();
        reader
            .problem("GROUP_A_KEYS", format!("got {count} keys in all: takes at most {KEYS_MAX}"));
    }
    keys
}

/// `key` or `key@project`.
fn one(item: &str, group: Group) -> Result<KeySetting, &'static str> {
    let (key, project) = match value::unquoted(item).split_once('@') {
        Some((key, project)) => (key.trim(), Some(project.trim())),
        None => (value::unquoted(item), None),
    };
    if key.is_empty() {
        return Err("is empty: takes KEY or KEY@PROJECT");
    }
    if project.is_some_and(str::is_empty) {
        return Err("has an @ without a project after it: takes KEY or KEY@PROJECT");
    }
    if key.len() > KEY_BYTES_MAX || project.is_some_and(|text| text.len() > KEY_BYTES_MAX) {
        return Err("is too long: takes at most 512 characters");
    }
    if !key.is_ascii() || project.is_some_and(|text| !text.is_ascii()) {
        return Err("has characters that are not ASCII: takes it as Google shows it");
    }
    let is_clean = |text: &str| value::is_header_text(text) && !text.contains(['"', '\'']);
    if !is_clean(key) || project.is_some_and(|text| !is_clean(text) || text.contains('@')) {
        return Err("has a blank, a quote or a second @ inside: takes keys between commas");
    }
    Ok(KeySetting { secret: Secret::new(key), group, project: project.map(str::to_owned) })
}

/// Adds a key unless it is known. The first place counts; another group is worth a warning, and a
/// project that only the repeat names is taken over.
fn add(
    key: KeySetting,
    place: String,
    keys: &mut Vec<KeySetting>,
    places: &mut Vec<String>,
    reader: &mut Reader<'_>,
) {
    let known = keys.iter_mut().zip(places.iter()).find(|(known, _)| known.secret == key.secret);
    let Some((known, first)) = known else {
        keys.push(key);
        places.push(place);
        return;
    };
    if known.group != key.group {
        reader.warnings.push(format!("{place}: the same as {first}: the first one counts"));
    }
    if known.project.is_none() {
        known.project = key.project;
    }
}
