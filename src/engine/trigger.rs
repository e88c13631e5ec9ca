//! Owns: is this message for us: command, mention, keyword, reply, private chat.
//! May not: answer, or know who may command.

use super::policy::{Keyword, Policy};
use crate::types::{ChatKind, EntityKind, Message};

/// Longest text in which keywords are looked for, in characters; Telegram's own limit is 4096.
const KEYWORD_CHARS_MAX: usize = 8_192;

/// Why a message is for us, or that it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// `/name args`, addressed to us or to nobody.
    Command {
        /// Lower-case, without `/` and `@bot`.
        name: String,
        /// What follows, trimmed.
        args: String,
        /// Whether it names this bot.
        addressed: bool,
    },
    /// A command for another bot.
    OthersCommand,
    /// A keyword, in its listed spelling.
    Keyword(String),
    /// An @mention or text mention of the bot.
    Mention,
    /// A reply to a message of the bot.
    Reply,
    /// A private chat needs none.
    Private,
    /// Not for us, unless a session says otherwise.
    None,
}

/// Reads a message's trigger.
pub fn trigger(policy: &Policy, message: &Message) -> Trigger {
    if let Some(command) = command(policy, message) {
        return command;
    }
    if message.chat_kind == ChatKind::Private {
        return Trigger::Private;
    }
    if mentions(policy, message) {
        return Trigger::Mention;
    }
    if let Some(keyword) = keyword(policy, &message.text) {
        return Trigger::Keyword(keyword.listed.clone());
    }
    match &message.reply_to {
        Some(reply) if reply.from == Some(policy.bot) => Trigger::Reply,
        _ => Trigger::None,
    }
}

/// The question without the mention of the bot; the whole text when nothing else is left.
pub fn question_text(policy: &Policy, message: &Message) -> String {
    let mut kept = String::with_capacity(message.text.len());
    let mut unit = 0;
    let spans: Vec<(usize, usize)> = message
        .entities
        .iter()
        .filter(|entity| match &entity.kind {
            EntityKind::Mention => {
                is_our_name(policy, &utf16(&message.text, entity.offset, entity.length))
            }
            _ => false,
        })
        .map(|entity| (entity.offset, entity.offset.saturating_add(entity.length)))
        .collect();
    for c in message.text.chars() {
        if !spans.iter().any(|(from, to)| (*from..*to).contains(&unit)) {
            kept.push(c);
        }
        unit += c.len_utf16();
    }
    let trimmed = kept.trim();
    if trimmed.is_empty() { message.text.trim().to_owned() } else { trimmed.to_owned() }
}

fn command(policy: &Policy, message: &Message) -> Option<Trigger> {
    let length = match message.entities.iter().find(|entity| entity.offset == 0) {
        Some(first) if first.kind == EntityKind::BotCommand => first.length,
        // A server that marks nothing at all does not know commands: then the slash says it.
        None if message.entities.is_empty() => unmarked_command(&message.text)?,
        _ => return None,
    };
    let word = utf16(&message.text, 0, length);
    let args = utf16(&message.text, length, usize::MAX).trim().to_owned();
    let (name, target) = match word.trim_start_matches('/').split_once('@') {
        Some((name, target)) => (name, Some(target)),
        None => (word.trim_start_matches('/'), None),
    };
    let addressed = target.is_some_and(|target| target.eq_ignore_ascii_case(&policy.bot_name));
    if target.is_some() && !addressed {
        return Some(Trigger::OthersCommand);
    }
    Some(Trigger::Command { name: name.to_lowercase(), args, addressed })
}

/// The length of a command that a text begins with, by Telegram's own rule.
fn unmarked_command(text: &str) -> Option<usize> {
    let word = text.split_whitespace().next().filter(|word| text.starts_with(word))?;
    let name = word.strip_prefix('/')?;
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    name.split('@').take(3).all(is_name).then_some(word.len())
}

fn mentions(policy: &Policy, message: &Message) -> bool {
    message.entities.iter().any(|entity| match &entity.kind {
        EntityKind::Mention => {
            is_our_name(policy, &utf16(&message.text, entity.offset, entity.length))
        }
        EntityKind::TextMention(user) => *user == policy.bot,
        _ => false,
    })
}

fn is_our_name(policy: &Policy, mention: &str) -> bool {
    !policy.bot_name.is_empty()
        && mention.strip_prefix('@').is_some_and(|name| name.eq_ignore_ascii_case(&policy.bot_name))
}

fn keyword<'a>(policy: &'a Policy, text: &str) -> Option<&'a Keyword> {
    if text.is_empty() {
        return None;
    }
    let folded: String =
        text.chars().take(KEYWORD_CHARS_MAX).flat_map(char::to_lowercase).collect();
    policy.keywords.iter().find(|keyword| {
        !keyword.folded.is_empty()
            && folded.match_indices(&keyword.folded).any(|(at, found)| {
                !keyword.whole_word
                    || (!touches(folded.get(..at).and_then(|s| s.chars().next_back()))
                        && !touches(folded.get(at + found.len()..).and_then(|s| s.chars().next())))
            })
    })
}

/// Whether a neighbour makes a Latin keyword part of a longer word. A Chinese neighbour does not:
/// Chinese has no blanks between words.
fn touches(neighbour: Option<char>) -> bool {
    neighbour.is_some_and(|c| c == '_' || (c.is_alphanumeric() && !is_cjk(c)))
}

fn is_cjk(c: char) -> bool {
    matches!(u32::from(c), 0x2E80..=0x9FFF | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF)
}

/// The piece of `text` that begins at UTF-16 unit `offset` and is `length` units long; out of range is empty.
fn utf16(text: &str, offset: usize, length: usize) -> String {
    let end = offset.saturating_add(length);
    let mut unit = 0;
    text.chars()
        .filter(|c| {
            let at = unit;
            unit += c.len_utf16();
            (offset..end).contains(&at)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::*;
    use crate::types::{Entity, ReplyTo, UserId};

    fn group(text: &str, entities: &[(EntityKind, usize, usize)]) -> Message {
        Message {
            chat_kind: ChatKind::Supergroup,
            text: text.to_owned(),
            entities: entities
                .iter()
                .map(|(kind, offset, length)| Entity {
                    kind: kind.clone(),
                    offset: *offset,
                    length: *length,
                })
                .collect(),
            ..Message::default()
        }
    }

    fn check(text: &str, entities: &[(EntityKind, usize, usize)], want: Trigger) {
        assert_eq!(trigger(&policy(), &group(text, entities)), want, "{text}");
    }

    fn key(listed: &str) -> Trigger {
        Trigger::Keyword(listed.to_owned())
    }

    #[test]
    fn latin_keywords_are_whole_words_in_any_case() {
        check("hey ADMIN, help", &[], key("admin"));
        check("administrate", &[], Trigger::None);
        check("badmin", &[], Trigger::None);
        check("admin_x", &[], Trigger::None);
        check("Xiao Ai?", &[], key("xiao ai"));
        check("请叫admin来", &[], key("admin"));
    }

    #[test]
    fn chinese_keywords_count_anywhere() {
        check("请问小爱同学在吗", &[], key("小爱同学"));
        check("小爱", &[], Trigger::None);
    }

    #[test]
    fn mentions_are_read_by_utf16_units() {
        check("😀 @Svs_Bot hi", &[(EntityKind::Mention, 3, 8)], Trigger::Mention);
        check("😀 @svs_bo hi", &[(EntityKind::Mention, 3, 7)], Trigger::None);
        check("you there", &[(EntityKind::TextMention(UserId(42)), 0, 3)], Trigger::Mention);
        check("you there", &[(EntityKind::TextMention(UserId(43)), 0, 3)], Trigger::None);
        check("x", &[(EntityKind::Mention, 900, usize::MAX)], Trigger::None);
    }

    #[test]
    fn commands_for_other_bots_are_not_ours() {
        let command = |name: &str, args: &str, addressed| Trigger::Command {
            name: name.to_owned(),
            args: args.to_owned(),
            addressed,
        };
        check("/help", &[(EntityKind::BotCommand, 0, 5)], command("help", "", false));
        check("/help a", &[], command("help", "a", false));
        check("/help@other_bot", &[], Trigger::OthersCommand);
        check("/etc/passwd", &[], Trigger::None);
        check(" /help", &[], Trigger::None);
        check("/", &[], Trigger::None);
        check(
            "/Help@SVS_bot  a b ",
            &[(EntityKind::BotCommand, 0, 13)],
            command("help", "a b", true),
        );
        check("/help@other_bot", &[(EntityKind::BotCommand, 0, 15)], Trigger::OthersCommand);
        check("see /help", &[(EntityKind::BotCommand, 4, 5)], Trigger::None);
    }

    #[test]
    fn a_reply_to_the_bot_wakes_it_and_a_reply_to_others_does_not() {
        let mut message = group("and?", &[]);
        message.reply_to = Some(ReplyTo { from: Some(UserId(42)), ..ReplyTo::default() });
        assert_eq!(trigger(&policy(), &message), Trigger::Reply);
        message.reply_to = Some(ReplyTo { from: Some(UserId(7)), ..ReplyTo::default() });
        assert_eq!(trigger(&policy(), &message), Trigger::None);
    }

    #[test]
    fn the_mention_is_not_part_of_the_question() {
        let message = group("@svs_bot  what is 😀?", &[(EntityKind::Mention, 0, 8)]);
        assert_eq!(question_text(&policy(), &message), "what is 😀?");
        let only = group("@svs_bot", &[(EntityKind::Mention, 0, 8)]);
        assert_eq!(question_text(&policy(), &only), "@svs_bot");
    }
}
