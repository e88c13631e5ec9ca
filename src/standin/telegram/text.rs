//! Owns: the rules for a message's text (api-reference A4, A9).
//! May not: know chats.

use super::super::html::{self, Span};
use super::params::Params;
use super::{Data, Refusal, map};

/// Raw bytes with markup.
const RAW_BYTES_MAX: usize = 32_768;
/// Names of entity types that only the server may set.
const DETECTED: [&str; 8] = [
    "mention",
    "hashtag",
    "cashtag",
    "bot_command",
    "url",
    "email",
    "phone_number",
    "bank_card_number",
];

/// Parsed text with its formatting.
pub(super) struct Formatted {
    pub(super) text: String,
    pub(super) spans: Vec<Span>,
}

/// Reads `text` or `caption` with its formatting.
pub(super) fn read(
    params: &Params,
    field: &str,
    entities: &str,
    units_max: usize,
) -> Result<Formatted, Refusal> {
    let raw = params.get(field);
    if RAW_BYTES_MAX < raw.len() {
        return Err(Refusal::bad("text is too long"));
    }
    let mode = params.get("parse_mode").to_ascii_lowercase();
    let parsed = match mode.as_str() {
        "" | "none" => (raw.to_owned(), read_entities(&params.json(entities))?),
        "html" => {
            html::parse(raw).map_err(|why| Refusal::bad(&format!("can't parse entities: {why}")))?
        }
        "markdown" | "markdownv2" => {
            return Err(Refusal::bad("this stand-in parses HTML only"));
        }
        _ => return Err(Refusal::bad("unsupported parse_mode")),
    };
    let formatted = fixed(&parsed.0, parsed.1);
    if units_max < units(&formatted.text) {
        let what = if field == "text" { "message" } else { "message caption" };
        return Err(Refusal::bad(&format!("{what} is too long")));
    }
    Ok(formatted)
}

/// Length in UTF-16 units.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

fn read_entities(list: &Data) -> Result<Vec<Span>, Refusal> {
    const KINDS: [&str; 12] = [
        "bold",
        "italic",
        "underline",
        "strikethrough",
        "spoiler",
        "code",
        "pre",
        "blockquote",
        "expandable_blockquote",
        "text_link",
        "text_mention",
        "custom_emoji",
    ];
    let mut spans = Vec::new();
    for entity in list.list() {
        let wanted = entity.at("type").str();
        if DETECTED.contains(&wanted) {
            continue;
        }
        let place = |key| entity.at(key).int().and_then(|at| usize::try_from(at).ok());
        let kind = KINDS.into_iter().find(|kind| *kind == wanted);
        let (Some(kind), Some(offset), Some(length)) = (kind, place("offset"), place("length"))
        else {
            return Err(Refusal::bad("can't parse MessageEntity: wrong type, offset or length"));
        };
        let argument = entity.any(&["url", "language", "custom_emoji_id"]).str().to_owned();
        spans.push(Span { kind, offset, length, argument });
    }
    Ok(spans)
}

/// Removes what the server removes and moves the formatting along.
fn fixed(text: &str, spans: Vec<Span>) -> Formatted {
    let kept = |letter: char| letter != '\r' && !('\u{2028}'..='\u{202e}').contains(&letter);
    let start = text.len() - text.trim_start_matches([' ', '\n', '\t', '\r']).len();
    let end = text.trim_end().len();
    let mut clean = String::with_capacity(text.len());
    // For each old UTF-16 unit the new one.
    let mut moved = Vec::with_capacity(text.len() + 1);
    let mut at = 0;
    for (index, letter) in text.char_indices() {
        moved.extend(std::iter::repeat_n(at, letter.len_utf16()));
        if index < start || end <= index || !kept(letter) {
            continue;
        }
        let letter = if letter < ' ' && letter != '\n' { ' ' } else { letter };
        clean.push(letter);
        at += letter.len_utf16();
    }
    let place = |unit: usize| moved.get(unit).copied().unwrap_or(at);
    let spans = spans
        .into_iter()
        .filter_map(|span| {
            let offset = place(span.offset);
            let length = place(span.offset.saturating_add(span.length)) - offset;
            (length != 0).then_some(Span { offset, length, ..span })
        })
        .collect();
    Formatted { text: clean, spans }
}

/// Spans as `entities` of a Message.
pub(super) fn spans_data(spans: &[Span]) -> Vec<Data> {
    let one = |span: &Span| {
        let mut entity = map([
            ("type", span.kind.into()),
            ("offset", span.offset.into()),
            ("length", span.length.into()),
        ]);
        let argument = span.argument.as_str();
        match span.kind {
            "text_link" => entity.set("url", argument),
            "pre" if !argument.is_empty() => entity.set("language", argument),
            "custom_emoji" => entity.set("custom_emoji_id", argument),
            "date_time" => entity.set("unix_time", argument.parse().unwrap_or(0_i64)),
            "text_mention" => {
                let user = map([
                    ("id", argument.parse().unwrap_or(0_i64).into()),
                    ("is_bot", false.into()),
                    ("first_name", "User".into()),
                ]);
                entity.set("user", user);
            }
            _ => {}
        }
        entity
    };
    spans.iter().map(one).collect()
}

/// Commands and mentions that Telegram finds in what a person writes.
pub(super) fn detected_entities(text: &str) -> Vec<Data> {
    let mut found = Vec::new();
    let mut before = ' ';
    let mut at = 0;
    for (index, letter) in text.char_indices() {
        let free = !(before.is_alphanumeric() || matches!(before, '_' | '/' | '<' | '>' | '@'));
        let rest = text.get(index..).unwrap_or_default();
        if free && matches!(letter, '/' | '@') {
            let word = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
            let mut length = 1 + rest.chars().skip(1).take_while(|byte| word(*byte)).count();
            let name = length - 1;
            let kind = if letter == '/' { "bot_command" } else { "mention" };
            if letter == '/' && rest.get(length..).is_some_and(|tail| tail.starts_with('@')) {
                let bot = rest.chars().skip(length + 1).take_while(|byte| word(*byte)).count();
                length += if (3..=32).contains(&bot) { bot + 1 } else { 0 };
            }
            let least = if letter == '/' { 1 } else { 3 };
            if (least..=64).contains(&name) {
                found.push(map([
                    ("type", kind.into()),
                    ("offset", at.into()),
                    ("length", length.into()),
                ]));
            }
        }
        at += letter.len_utf16();
        before = letter;
    }
    found
}
