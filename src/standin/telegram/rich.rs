//! Owns: rich messages (api-reference A5, Bot API 10.1): what of them can be checked without laying
//! them out.
//! May not: render Markdown; a person's reading of one is the Markdown itself.

use super::params::Params;
use super::state::{Sent, State};
use super::text::Formatted;
use super::{Answer, Data, Refusal};

/// Characters of a rich message.
const CHARS_MAX: usize = 32_768;
/// How its content may be given; exactly one of them.
const CONTENTS: [&str; 3] = ["markdown", "html", "blocks"];

impl State {
    pub(super) fn send_rich(&mut self, params: &Params, now_ms: i64) -> Answer {
        let words = words(params)?;
        let formatted = Formatted { text: words.clone(), spans: Vec::new() };
        let sent = self.new_message("sendrichmessage", params, formatted, now_ms)?;
        let sent = Sent { raw: words, ..sent };
        self.chat(sent.chat).next_message = sent.id + 1;
        let reply = self.message_data(&sent, now_ms).render();
        self.note_sent(sent);
        Ok(reply)
    }

    pub(super) fn edit_rich(&mut self, params: &Params, now_ms: i64) -> Answer {
        let words = words(params)?;
        let sent = self.editable(params)?;
        if sent.raw == words {
            return Err(Refusal::bad("message is not modified"));
        }
        sent.text.clone_from(&words);
        sent.raw = words;
        sent.entities.clear();
        sent.parse_mode.clear();
        sent.edits += 1;
        let sent = sent.clone();
        Ok(self.message_data(&sent, now_ms).render())
    }
}

fn words(params: &Params) -> Result<String, Refusal> {
    let message = Data::parse(params.get("rich_message").as_bytes())
        .map_err(|_| Refusal::bad("can't parse rich message JSON object"))?;
    let given: Vec<&str> =
        CONTENTS.into_iter().filter(|name| *message.at(name) != Data::Null).collect();
    let [name] = given[..] else {
        return Err(Refusal::bad(
            "rich message must have exactly one of markdown, html and blocks",
        ));
    };
    let words = match name {
        "blocks" => message.at(name).render(),
        _ => message.at(name).str().to_owned(),
    };
    if words.trim().is_empty() {
        return Err(Refusal::bad("message text is empty"));
    }
    if words.chars().count() > CHARS_MAX {
        return Err(Refusal::bad("message is too long"));
    }
    Ok(words)
}
