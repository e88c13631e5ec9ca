//! Owns: what people write, and what the model says to it.

use crate::plan::Dice;
use crate::telegram::Telegram;

/// What somebody did, as far as the witness must know.
pub struct Wrote {
    pub update: i64,
    pub chat: i64,
    pub user: i64,
    /// Stands in its text.
    pub token: String,
    /// In a group and with the keyword: a row of the registry, if it is taken up.
    pub keyword: bool,
}

/// Somebody writes something, somewhere.
pub fn write(dice: &mut Dice, telegram: &mut Telegram, chats: u32, at_s: i64) -> Wrote {
    let place = i64::try_from(dice.below(u64::from(chats))).unwrap_or(0);
    let group = place % 5 == 4;
    // A few people write in groups; in private each in their own chat.
    let user = if group { 1 + i64::try_from(dice.below(12)).unwrap_or(0) } else { 1 + place };
    let chat = if group { -1_000_000_000_000 - place } else { user };
    let topic = if group && place % 10 == 9 { dice.span(0, 2) * 7 } else { 0 };
    let message = telegram.message_id();
    let token = format!("q{message}q");
    let mut keyword = false;
    let mut kind = "message";
    let mut extra = String::new();
    let mut text = match dice.below(40) {
        0 => command("/status", &mut extra),
        1 => command("/help", &mut extra),
        2 => command("/reset", &mut extra),
        3 => command("/vip", &mut extra),
        4 => {
            kind = "edited_message";
            format!("edited {token}")
        }
        5 => format!("{token} 第一行\\n第二行 <b>&amp; \\\"quoted\\\" \\ud83d\\ude00"),
        6 => format!("{token} {}", "long words ".repeat(300)),
        7 => {
            extra = ",\"sticker\":{\"file_id\":\"s\"}".to_owned();
            String::new()
        }
        _ => format!("what about {token}"),
    };
    if group && extra.is_empty() && kind == "message" && dice.per_mille(600) {
        keyword = true;
        text = format!("simbot {text}");
    }
    if topic != 0 {
        extra.push_str(&format!(",\"message_thread_id\":{topic},\"is_topic_message\":true"));
    }
    let chat_kind = if group { "supergroup" } else { "private" };
    let forum = if topic == 0 { "" } else { ",\"is_forum\":true" };
    let body = format!(
        "\"{kind}\":{{\"message_id\":{message},\"date\":{at_s},\
         \"from\":{{\"id\":{user},\"is_bot\":false,\"first_name\":\"P{user}\",\"username\":\"p{user}\",\"language_code\":\"en\"}},\
         \"chat\":{{\"id\":{chat},\"type\":\"{chat_kind}\",\"title\":\"c\"{forum}}},\
         \"text\":\"{text}\"{extra}}}"
    );
    let update = telegram.happens(&body);
    Wrote { update, chat, user, token, keyword }
}

/// Somebody sends a picture, or an album of a few; now and then one that is larger than allowed.
pub fn show(dice: &mut Dice, telegram: &mut Telegram, chats: u32, at_s: i64) -> Vec<Wrote> {
    let place = i64::try_from(dice.below(u64::from(chats))).unwrap_or(0);
    let group = place % 5 == 4;
    let user = if group { 1 + i64::try_from(dice.below(12)).unwrap_or(0) } else { 1 + place };
    let chat = if group { -1_000_000_000_000 - place } else { user };
    let chat_kind = if group { "supergroup" } else { "private" };
    let parts = if dice.per_mille(300) { dice.span(2, 4) } else { 1 };
    let first = telegram.message_id();
    let token = format!("q{first}q");
    let mut all = Vec::new();
    for part in 0..parts {
        let message = if part == 0 { first } else { telegram.message_id() };
        let size = if dice.per_mille(50) { 900_000_000 } else { dice.span(1, 900_000) };
        let album =
            if parts > 1 { format!("\"media_group_id\":\"a{first}\",") } else { String::new() };
        let keyword = group && part == 0;
        let call = if keyword { "simbot " } else { "" };
        let caption = if part == 0 {
            format!(",\"caption\":\"{call}what is {token}\"")
        } else {
            String::new()
        };
        let body = format!(
            "\"message\":{{\"message_id\":{message},\"date\":{at_s},{album}\
             \"from\":{{\"id\":{user},\"is_bot\":false,\"first_name\":\"P{user}\",\"username\":\"p{user}\",\"language_code\":\"en\"}},\
             \"chat\":{{\"id\":{chat},\"type\":\"{chat_kind}\",\"title\":\"c\"}},\
             \"photo\":[{{\"file_id\":\"f{first}-{part}\",\"file_unique_id\":\"u{message}\",\"width\":9,\"height\":9,\"file_size\":{size}}}]{caption}}}"
        );
        let update = telegram.happens(&body);
        all.push(Wrote { update, chat, user, token: token.clone(), keyword });
    }
    all
}

fn command(name: &str, extra: &mut String) -> String {
    *extra = format!(
        ",\"entities\":[{{\"type\":\"bot_command\",\"offset\":0,\"length\":{}}}]",
        name.len()
    );
    name.to_owned()
}

/// The model's answer, sometimes longer than one message.
pub fn answer(dice: &mut Dice, question: &str) -> String {
    let start: String = question.chars().take(40).collect();
    match dice.below(12) {
        0 => format!("**{start}**\n\n{}", "A paragraph of some length.\n\n".repeat(300)),
        1 => format!("```rust\nfn main() {{}}\n```\n{start} <script> & *odd"),
        _ => format!("You ask: {start}. The answer is {}.", dice.below(1_000)),
    }
}
