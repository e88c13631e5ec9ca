//! Owns: an update's JSON → [`Incoming`] (api-reference A10).
//! May not: refuse what it can do without: a wrong-typed optional field is an absent one.

use super::rich;
use crate::json::{self, Ref};
use crate::types::{
    Callback, ChatId, ChatKind, Entity, EntityKind, Incoming, IncomingBody, Media, MediaKind,
    Message, MessageId, ReplyTo, TopicId, UPDATE_KINDS, UpdateId, User, UserId,
};

/// Entities looked at in one message; Telegram shows about a hundred.
const ENTITIES_MAX: usize = 256;
/// Members of a message that say what kind of content or event it is.
const SERVICES: [&str; 27] = [
    "sticker",
    "poll",
    "dice",
    "contact",
    "location",
    "venue",
    "game",
    "story",
    "invoice",
    "checklist",
    "new_chat_members",
    "left_chat_member",
    "new_chat_title",
    "new_chat_photo",
    "delete_chat_photo",
    "group_chat_created",
    "supergroup_chat_created",
    "channel_chat_created",
    "pinned_message",
    "forum_topic_created",
    "forum_topic_edited",
    "forum_topic_closed",
    "forum_topic_reopened",
    "video_chat_started",
    "video_chat_ended",
    "migrate_from_chat_id",
    "message_auto_delete_timer_changed",
];
/// Media that no model is given.
const UNSUPPORTED_MEDIA: [&str; 5] =
    ["animation", "video", "video_note", "paid_media", "live_photo"];

/// An update that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Its number, where that could be read.
    pub update_id: Option<UpdateId>,
    /// Lower-case, without people's words.
    pub why: String,
}

/// Reads one update.
///
/// # Errors
/// Not JSON, or without what every update has.
pub fn read_update(bytes: &[u8]) -> Result<Incoming, ReadError> {
    let failed = |update_id, why: String| ReadError { update_id, why };
    let value =
        json::parse_small(bytes).map_err(|error| failed(update_id_of(bytes), error.to_string()))?;
    let id = value
        .at("update_id")
        .need_i64("update_id")
        .map_err(|error| failed(None, error.to_string()))?;
    let id = UpdateId(id);
    let kind = UPDATE_KINDS.into_iter().find(|kind| !value.at(kind).is_null()).unwrap_or("other");
    let body =
        body(kind, value.at(kind)).map_err(|error| failed(Some(id), format!("{kind}.{error}")))?;
    Ok(Incoming { id, kind, body })
}

fn body(kind: &str, of: Ref<'_>) -> Result<IncomingBody, json::JsonError> {
    Ok(match kind {
        "message" => IncomingBody::Message(Box::new(message(of)?)),
        "edited_message" => IncomingBody::Edited(Box::new(message(of)?)),
        "callback_query" => match user(of.at("from")) {
            Some(from) => IncomingBody::Callback(Callback {
                id: of.at("id").need_str("id")?.to_owned(),
                from,
                chat: ChatId(of.at("message").at("chat").at("id").i64().unwrap_or(0)),
                message: MessageId(of.at("message").at("message_id").i64().unwrap_or(0)),
                data: text(of.at("data")),
            }),
            // Nobody pressed it: nobody may be taken for its presser.
            None => IncomingBody::Other,
        },
        "my_chat_member" => IncomingBody::Membership {
            chat: ChatId(of.at("chat").at("id").need_i64("chat.id")?),
            can_speak: can_speak(of.at("new_chat_member")),
        },
        "stopped_message_generation" => IncomingBody::Stopped {
            chat: ChatId(of.at("chat").at("id").need_i64("chat.id")?),
            draft: of.at("draft_id").i64().unwrap_or(0),
        },
        _ => IncomingBody::Other,
    })
}

/// In private `kicked` is "blocked the bot" and `member` is "unblocked it" (api-reference A10).
fn can_speak(member: Ref<'_>) -> bool {
    match member.at("status").str().unwrap_or_default() {
        "kicked" | "left" => false,
        "restricted" => member.at("can_send_messages").bool() != Some(false),
        _ => true,
    }
}

fn message(of: Ref<'_>) -> Result<Message, json::JsonError> {
    let chat = of.at("chat");
    let id = of.at("message_id").need_i64("message_id")?;
    let from = user(of.at("from"));
    let has = |name: &str| !of.at(name).is_null();
    let is_forward = [
        "forward_origin",
        "forward_date",
        "forward_from",
        "forward_from_chat",
        "forward_sender_name",
    ]
    .into_iter()
    .any(has);
    let odd = is_forward
        || has("sender_chat")
        || has("via_bot")
        || has("sender_business_bot")
        || has("business_connection_id")
        || has("ephemeral_message_id")
        || of.at("is_automatic_forward").bool() == Some(true)
        || id == 0;
    let (words, spans) =
        if has("text") { ("text", "entities") } else { ("caption", "caption_entities") };
    let words = match of.at("rich_message") {
        rich if rich.is_object() && !has(words) => rich::words(rich),
        _ => text(of.at(words)),
    };
    let entities = entities(of.at(spans), &words);
    Ok(Message {
        chat: ChatId(chat.at("id").need_i64("chat.id")?),
        chat_kind: chat_kind(chat.at("type").str().unwrap_or_default()),
        topic: topic(of),
        id: MessageId(id),
        date_s: of.at("date").i64().unwrap_or(0),
        is_ordinary: !odd && from.as_ref().is_some_and(|from| !from.is_bot),
        // On behalf of a chat, `from` is a fake person: nobody forwarded it (api-reference A10).
        is_forward: is_forward && !has("sender_chat"),
        from,
        text: words,
        entities,
        media: media(of),
        album: of.at("media_group_id").str().map(str::to_owned),
        reply_to: reply(of.at("reply_to_message")),
        quote: of.at("quote").at("text").str().map(without_nul),
        migrate_to: of.at("migrate_to_chat_id").i64().map(ChatId),
        service: SERVICES.into_iter().find(|name| has(name)).map(str::to_owned),
    })
}

fn chat_kind(name: &str) -> ChatKind {
    match name {
        "private" => ChatKind::Private,
        "group" => ChatKind::Group,
        "channel" => ChatKind::Channel,
        // A kind to come is treated as the one that needs a trigger.
        _ => ChatKind::Supergroup,
    }
}

/// Only real topics are answered in; General has id 1 and is addressed by omission, and plain reply
/// threads carry an id that must not be echoed (api-reference A10).
fn topic(of: Ref<'_>) -> TopicId {
    let is_topic = of.at("is_topic_message").bool() == Some(true);
    match of.at("message_thread_id").i64() {
        Some(id) if is_topic && id > 1 => TopicId(id),
        _ => TopicId(0),
    }
}

fn user(of: Ref<'_>) -> Option<User> {
    Some(User {
        id: UserId(of.at("id").i64()?),
        is_bot: of.at("is_bot").bool() == Some(true),
        username: of.at("username").str().filter(|name| !name.is_empty()).map(without_nul),
        first_name: text(of.at("first_name")),
        language_code: of.at("language_code").str().map(without_nul),
    })
}

/// Spans inside the text; others cannot be looked at.
fn entities(of: Ref<'_>, text: &str) -> Vec<Entity> {
    let mut spans = of.list().take(ENTITIES_MAX).filter_map(entity).peekable();
    if spans.peek().is_none() {
        return Vec::new();
    }
    let units = text.encode_utf16().count();
    spans
        .filter(|span| span.offset.checked_add(span.length).is_some_and(|end| end <= units))
        .collect()
}

fn entity(of: Ref<'_>) -> Option<Entity> {
    let kind = match of.at("type").str()? {
        "bot_command" => EntityKind::BotCommand,
        "mention" => EntityKind::Mention,
        "text_mention" => EntityKind::TextMention(UserId(of.at("user").at("id").i64()?)),
        _ => EntityKind::Other,
    };
    Some(Entity {
        kind,
        offset: usize::try_from(of.at("offset").i64()?).ok()?,
        length: usize::try_from(of.at("length").i64()?).ok()?,
    })
}

fn media(of: Ref<'_>) -> Option<Media> {
    if let Some(photo) = of.at("photo").list().max_by_key(|size| {
        let side = |name: &str| i64::from(size.at(name).u32().unwrap_or(0));
        (side("width").saturating_mul(side("height")), size.at("file_size").i64().unwrap_or(0))
    }) {
        return file(photo, MediaKind::Photo);
    }
    for (name, kind) in [("voice", MediaKind::Voice), ("audio", MediaKind::Audio)] {
        if !of.at(name).is_null() {
            return file(of.at(name), kind);
        }
    }
    // An animation also comes as a document.
    if let Some(name) = UNSUPPORTED_MEDIA.into_iter().find(|name| !of.at(name).is_null()) {
        return file(of.at(name), MediaKind::Unsupported).or(Some(Media {
            kind: MediaKind::Unsupported,
            file_id: String::new(),
            size: 0,
            mime: None,
            name: None,
            duration_s: 0,
        }));
    }
    match of.at("document") {
        document if document.is_null() => None,
        document => file(document, MediaKind::Document),
    }
}

fn file(of: Ref<'_>, kind: MediaKind) -> Option<Media> {
    Some(Media {
        kind,
        file_id: of.at("file_id").str()?.to_owned(),
        size: of.at("file_size").i64().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        mime: of.at("mime_type").str().map(without_nul),
        name: of.at("file_name").str().map(without_nul),
        duration_s: of.at("duration").u32().unwrap_or(0),
    })
}

fn reply(of: Ref<'_>) -> Option<ReplyTo> {
    let words = ["text", "caption"].into_iter().find_map(|name| of.at(name).str());
    Some(ReplyTo {
        id: MessageId(of.at("message_id").i64()?),
        from: of.at("from").at("id").i64().map(UserId),
        text: words.map_or_else(|| rich::words(of.at("rich_message")), without_nul),
    })
}

fn text(of: Ref<'_>) -> String {
    of.str().map(without_nul).unwrap_or_default()
}

/// PostgreSQL cannot hold U+0000, and nobody misses it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// The number of an update whose rest cannot be read.
fn update_id_of(bytes: &[u8]) -> Option<UpdateId> {
    json::member_number(bytes, "update_id").map(UpdateId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: &str) -> Message {
        let update = format!(r#"{{"update_id":5,"message":{message}}}"#);
        match read_update(update.as_bytes()).unwrap().body {
            IncomingBody::Message(message) => *message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_in_a_topic_is_read_whole() {
        let message = read(
            r#"{"message_id":55,"date":1795300000,"from":{"id":7001,"is_bot":false,"first_name":"Ana","username":"anak","language_code":"de"},
            "chat":{"id":-1001234500001,"type":"supergroup","is_forum":true},"message_thread_id":42,"is_topic_message":true,
            "text":"/ask@lab_bot why?","entities":[{"type":"bot_command","offset":0,"length":12},{"type":"new_kind","offset":1,"length":2},{"type":"url","offset":-1,"length":2},{"type":"url","offset":1,"length":9000000000000000},{"type":"url","offset":17,"length":1},{"type":7}],
            "reply_to_message":{"message_id":50,"date":1,"chat":{"id":-1,"type":"group"},"from":{"id":42,"is_bot":true,"first_name":"B"},"caption":"see"},
            "quote":{"text":"s","position":0}}"#,
        );
        assert_eq!(message.topic, TopicId(42));
        assert_eq!(message.chat_kind, ChatKind::Supergroup);
        assert!(message.is_ordinary && !message.is_forward);
        let kinds: Vec<_> = message.entities.iter().map(|entity| &entity.kind).collect();
        assert_eq!(kinds, [&EntityKind::BotCommand, &EntityKind::Other]);
        assert_eq!(message.reply_to.unwrap().text, "see");
        assert_eq!(message.quote.as_deref(), Some("s"));
        assert_eq!(message.from.unwrap().name(), "anak");
    }

    #[test]
    fn general_and_reply_threads_are_no_topics() {
        let at = |more: &str| {
            read(&format!(r#"{{"message_id":1,"chat":{{"id":-5,"type":"supergroup"}}{more}}}"#))
                .topic
        };
        assert_eq!(at(r#","message_thread_id":1,"is_topic_message":true"#), TopicId(0));
        assert_eq!(at(r#","message_thread_id":9"#), TopicId(0));
    }

    #[test]
    fn only_a_persons_own_message_is_ordinary() {
        let ordinary = |more: &str| {
            let from = r#""from":{"id":1,"is_bot":false,"first_name":"A"}"#;
            read(&format!(r#"{{"message_id":1,"chat":{{"id":1,"type":"private"}},{from}{more}}}"#))
                .is_ordinary
        };
        assert!(ordinary(""));
        for more in [
            r#","forward_origin":{"type":"hidden_user"}"#,
            r#","sender_chat":{"id":-1}"#,
            r#","via_bot":{"id":3}"#,
            r#","is_automatic_forward":true"#,
            r#","business_connection_id":"x""#,
        ] {
            assert!(!ordinary(more), "{more}");
        }
    }

    #[test]
    fn media_are_read_by_reference() {
        let media = |more: &str| {
            read(&format!(r#"{{"message_id":1,"chat":{{"id":1,"type":"private"}},{more}}}"#)).media
        };
        let photo = media(
            r#""photo":[{"file_id":"s","file_size":10,"width":1,"height":1},{"file_id":"l","width":9,"height":9},{"file_id":"m","file_size":20,"width":4,"height":4}]"#,
        );
        assert_eq!(photo.map(|media| media.file_id), Some("l".to_owned()));
        let gif = media(r#""animation":{"file_id":"a"},"document":{"file_id":"a"}"#);
        assert_eq!(gif.map(|media| media.kind), Some(MediaKind::Unsupported));
        let voice =
            media(r#""voice":{"file_id":"v","duration":3,"mime_type":"audio/ogg"}"#).unwrap();
        assert_eq!((voice.kind, voice.duration_s), (MediaKind::Voice, 3));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_number() {
        let check = |bytes: &[u8], id: Option<i64>, why: &str| {
            let error = read_update(bytes).unwrap_err();
            assert_eq!(error.update_id, id.map(UpdateId), "{why}");
            assert!(error.why.contains(why), "{}", error.why);
        };
        check(
            br#"{"update_id":9,"message":{"text":"hi"}}"#,
            Some(9),
            "message.message_id: missing",
        );
        check(br#"{"update_id":9,"message":{"message_id":"x"}}"#, Some(9), "got text");
        check(br#"{"update_id":9,"message":{"#, Some(9), "not JSON");
        check(br#"{"message":{}}"#, None, "update_id: missing");
        let deep = format!(r#"{{"update_id":9,"x":{}"#, "[".repeat(99));
        check(deep.as_bytes(), Some(9), "nested deeper");
    }

    #[test]
    fn types_to_come_are_other() {
        let incoming = read_update(br#"{"update_id":1,"brand_new":{"x":1}}"#).unwrap();
        assert_eq!((incoming.kind, incoming.body), ("other", IncomingBody::Other));
        let poll = read_update(br#"{"update_id":1,"poll":{"id":"1"}}"#).unwrap();
        assert_eq!((poll.kind, poll.body), ("poll", IncomingBody::Other));
    }

    #[test]
    fn what_is_odd_but_not_needed_is_absent() {
        let message = read(
            r#"{"message_id":1,"date":"x","chat":{"id":1,"type":5},"from":{"id":"7"},"text":["no"],
            "entities":{"a":1},"photo":[],"voice":"v","reply_to_message":{"text":"t"},"quote":"q",
            "media_group_id":5,"message_thread_id":"9","is_topic_message":1,"migrate_to_chat_id":1.5}"#,
        );
        assert_eq!(
            message,
            Message {
                chat: ChatId(1),
                chat_kind: ChatKind::Supergroup,
                id: MessageId(1),
                ..Message::default()
            }
        );
        assert_eq!(read(r#"{"message_id":1,"chat":{"id":1},"text":"a\u0000b"}"#).text, "ab");
    }

    #[test]
    fn a_rich_message_is_read_by_its_words() {
        let rich = r#""rich_message":{"blocks":[{"type":"paragraph","text":["why ",{"type":"bold","text":"so"}]}]}"#;
        let message = read(&format!(
            r#"{{"message_id":1,"chat":{{"id":1}},{rich},"reply_to_message":{{"message_id":2,{rich}}}}}"#
        ));
        assert_eq!(
            (message.text.as_str(), message.reply_to.unwrap().text.as_str()),
            ("why so", "why so")
        );
    }

    #[test]
    fn the_other_updates_that_matter_are_read() {
        let check = |update: &str, want: IncomingBody| {
            let bytes = format!(r#"{{"update_id":1,{update}}}"#);
            assert_eq!(read_update(bytes.as_bytes()).unwrap().body, want, "{update}");
        };
        let member = |can_speak| IncomingBody::Membership { chat: ChatId(-5), can_speak };
        for (status, can_speak) in [
            (r#""status":"kicked""#, false),
            (r#""status":"left""#, false),
            (r#""status":"restricted","can_send_messages":false"#, false),
            (r#""status":"restricted""#, true),
            (r#""status":"member""#, true),
            (r#""status":"administrator""#, true),
        ] {
            let update = format!(
                r#""my_chat_member":{{"chat":{{"id":-5}},"new_chat_member":{{{status}}}}}"#
            );
            check(&update, member(can_speak));
        }
        check(
            r#""stopped_message_generation":{"chat":{"id":7},"draft_id":3}"#,
            IncomingBody::Stopped { chat: ChatId(7), draft: 3 },
        );
        check(
            r#""callback_query":{"id":"c","from":{"id":7,"first_name":"A"},"message":{"message_id":2,"date":0,"chat":{"id":-5}},"data":"y"}"#,
            IncomingBody::Callback(Callback {
                id: "c".into(),
                from: User { id: UserId(7), first_name: "A".into(), ..User::default() },
                chat: ChatId(-5),
                message: MessageId(2),
                data: "y".into(),
            }),
        );
        check(r#""callback_query":{"id":"c","data":"y"}"#, IncomingBody::Other);
        check(r#""channel_post":{"message_id":1,"chat":{"id":-5}}"#, IncomingBody::Other);
        let edited = format!(
            r#"{{"update_id":1,"edited_message":{}}}"#,
            r#"{"message_id":1,"chat":{"id":1}}"#
        );
        let body = read_update(edited.as_bytes()).unwrap().body;
        assert!(matches!(body, IncomingBody::Edited(_)));
    }
}
