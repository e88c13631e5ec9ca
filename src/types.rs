//! Owns: the words every room speaks: ids, time, secrets, roles, an incoming message, an answer.
//! May not: name any other room, do I/O, read a clock.

pub mod build;
pub mod model;
pub mod row;
pub mod status;

use std::fmt;

/// Milliseconds since the Unix epoch, UTC.
pub type UnixMs = i64;

/// One second in milliseconds.
pub const SECOND_MS: i64 = 1_000;
/// One minute in milliseconds.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// One hour in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// One day in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// The instant a decision is made at; only `daemon/clock.rs` makes one from the real clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Wall time, never stepping back within one process.
    pub unix_ms: UnixMs,
}

/// A text that cannot print: bot token, API key, password.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text itself, for a header or a URL and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The last four characters, the most that may ever be shown (contract §5.6).
    pub fn last4(&self) -> String {
        let count = self.0.chars().count();
        self.0.chars().skip(count.saturating_sub(4)).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(/** A chat: private > 0 (the user's id), groups < 0 (api-reference A1). */ ChatId);
id!(/** A person. */ UserId);
id!(/** A message inside its chat. */ MessageId);
id!(/** A forum topic; 0 is none or General, which is addressed by omission (api-reference A10). */ TopicId);
id!(/** An update of Telegram; may jump after an idle week (api-reference A2). */ UpdateId);

/// One conversation line whose questions are answered in order: a chat and, in forums, a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The chat.
    pub chat: ChatId,
    /// The forum topic, 0 for none.
    pub topic: TopicId,
}

/// What a person may do; the order is the priority, first is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs the bot.
    Owner,
    /// Long sessions, groups A and B.
    Vip,
    /// Groups B and C.
    Premium,
    /// Everyone, unless `DEFAULT_ROLE` says otherwise.
    Normal,
    /// No memory; each trigger alone.
    Guest,
    /// Never answered.
    Blocked,
}

impl Role {
    /// Every role, in order of priority.
    pub const ALL: [Self; 6] =
        [Self::Owner, Self::Vip, Self::Premium, Self::Normal, Self::Guest, Self::Blocked];

    /// The name in settings, commands, metrics and rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Vip => "vip",
            Self::Premium => "premium",
            Self::Normal => "normal",
            Self::Guest => "guest",
            Self::Blocked => "blocked",
        }
    }
    /// The role of that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(name))
    }
    /// 0 for the owner, growing; what the inbox is ordered by.
    pub fn priority(self) -> i64 {
        match self {
            Self::Owner => 0,
            Self::Vip => 1,
            Self::Premium => 2,
            Self::Normal => 3,
            Self::Guest => 4,
            Self::Blocked => 5,
        }
    }
}

/// How strong a model a question deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Chat and groups.
    Lite,
    /// Plain tasks.
    Flash,
    /// Complex tasks.
    Pro,
}

impl Tier {
    /// The word in JSON and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lite => "lite",
            Self::Flash => "flash",
            Self::Pro => "pro",
        }
    }
}

/// The group a Gemini key was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// `GROUP_A_KEYS`
    A,
    /// `GROUP_B_KEYS`
    B,
    /// `GROUP_C_KEYS`
    C,
    /// `GROUP_D_KEYS`
    D,
    /// `ROUTER_KEY_A`, `ROUTER_KEY_B`: the reserve.
    Router,
    /// Python-style names: serve every role.
    Ungrouped,
}

impl Group {
    /// Every group in the order keys are numbered (contract §3, `keys list`).
    pub const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::Router, Self::Ungrouped];

    /// The label of metrics and JSON: `A`–`D`, `R`, `-`.
    pub fn label(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
            Self::C => "C",
            Self::D => "D",
            Self::Router => "R",
            Self::Ungrouped => "-",
        }
    }
}

/// The language of a sentence to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lang {
    /// Simplified Chinese.
    Zh,
    /// English.
    En,
}

/// A message as far as the bot reads it (api-reference A10).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// Where.
    pub chat: ChatId,
    /// What kind of chat.
    pub chat_kind: ChatKind,
    /// The forum topic to answer in; 0 unless `is_topic_message` and not General.
    pub topic: TopicId,
    /// Its id inside the chat.
    pub id: MessageId,
    /// When, in Unix seconds, by Telegram's clock.
    pub date_s: i64,
    /// The sender, absent in channels.
    pub from: Option<User>,
    /// Whether authority may come from `from`: an ordinary message of a person, not forwarded,
    /// not on behalf of a chat, not via a bot.
    pub is_ordinary: bool,
    /// Whether it was forwarded from somewhere.
    pub is_forward: bool,
    /// Text or caption.
    pub text: String,
    /// Entities of the text or caption, UTF-16 offsets.
    pub entities: Vec<Entity>,
    /// Something to look at or listen to.
    pub media: Option<Media>,
    /// Album id.
    pub album: Option<String>,
    /// The message this one replies to.
    pub reply_to: Option<ReplyTo>,
    /// The part that the person quoted.
    pub quote: Option<String>,
    /// The group became the supergroup of this id.
    pub migrate_to: Option<ChatId>,
    /// A kind with nothing to answer (sticker, poll, join, pinned …), by its field name.
    pub service: Option<String>,
}

/// The kind of a chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChatKind {
    /// One person.
    #[default]
    Private,
    /// A basic group.
    Group,
    /// A supergroup, perhaps with topics.
    Supergroup,
    /// A channel.
    Channel,
}

/// A person as Telegram names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The numeric id: the only thing authority comes from.
    pub id: UserId,
    /// Another bot.
    pub is_bot: bool,
    /// Without `@`.
    pub username: Option<String>,
    /// Always there, sometimes odd.
    pub first_name: String,
    /// IETF tag of the person's client.
    pub language_code: Option<String>,
}

impl User {
    /// What the person is called in rows and headers: username, else first name.
    pub fn name(&self) -> &str {
        self.username.as_deref().filter(|name| !name.is_empty()).unwrap_or(&self.first_name)
    }
}

/// A span of the text; offsets in UTF-16 code units (api-reference A9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Which kind.
    pub kind: EntityKind,
    /// First UTF-16 unit.
    pub offset: usize,
    /// Number of UTF-16 units.
    pub length: usize,
}

/// The kinds of entity that the bot looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityKind {
    /// `/cmd` or `/cmd@bot`.
    BotCommand,
    /// `@name`.
    Mention,
    /// A mention of a person without username.
    TextMention(UserId),
    /// Anything else, skipped.
    Other,
}

/// What a message replies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyTo {
    /// Its id.
    pub id: MessageId,
    /// Its sender.
    pub from: Option<UserId>,
    /// Its text or caption, empty where there is none.
    pub text: String,
}

/// A file in a message; only the reference, never the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// photo, voice, audio, document …
    pub kind: MediaKind,
    /// For getFile.
    pub file_id: String,
    /// As Telegram says it; 0 unknown.
    pub size: u64,
    /// As the sender's client says it.
    pub mime: Option<String>,
    /// Documents only.
    pub name: Option<String>,
    /// Seconds, for sound.
    pub duration_s: u32,
}

/// The kinds of media that a model can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// JPEG in several sizes; the largest under the limit.
    Photo,
    /// OGG/Opus.
    Voice,
    /// Music or another sound file.
    Audio,
    /// Anything sent as a file.
    Document,
    /// Video, video note, animation, sticker: not passed on.
    Unsupported,
}

impl MediaKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Photo, Self::Voice, Self::Audio, Self::Document, Self::Unsupported];

    /// The word in `chat_history.metadata` and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Voice => "voice",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Unsupported => "unsupported",
        }
    }
}

/// Every update type of Bot API 10.4 by its field (api-reference A2), and `other` for those to come:
/// the label of `svs_bot_updates_total`.
pub const UPDATE_KINDS: [&str; 30] = [
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "guest_message",
    "message_reaction",
    "message_reaction_count",
    "inline_query",
    "chosen_inline_result",
    "callback_query",
    "shipping_query",
    "pre_checkout_query",
    "purchased_paid_media",
    "poll",
    "poll_answer",
    "my_chat_member",
    "chat_member",
    "chat_join_request",
    "chat_boost",
    "removed_chat_boost",
    "managed_bot",
    "subscription",
    "stopped_message_generation",
    "widget_query",
    "shared_widget_query",
    "other",
];

/// An update, read (api-reference A2, A10).
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// Its number.
    pub id: UpdateId,
    /// The metric label: the update's own type where known, else `other`.
    pub kind: &'static str,
    /// What it holds.
    pub body: IncomingBody,
}

/// The update types that mean something to the bot.
#[derive(Clone, Debug, PartialEq)]
pub enum IncomingBody {
    /// A new message.
    Message(Box<Message>),
    /// A message as it reads now.
    Edited(Box<Message>),
    /// A pressed button.
    Callback(Callback),
    /// The bot's own standing in a chat changed.
    Membership {
        /// Where.
        chat: ChatId,
        /// Whether the bot can still speak there.
        can_speak: bool,
    },
    /// Someone pressed Stop under a draft.
    Stopped {
        /// Where.
        chat: ChatId,
        /// Which draft.
        draft: i64,
    },
    /// Nothing for us.
    Other,
}

/// A pressed inline button.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callback {
    /// To answer it by.
    pub id: String,
    /// Who pressed.
    pub from: User,
    /// Where the button stands.
    pub chat: ChatId,
    /// The message it stands under.
    pub message: MessageId,
    /// What the button carries, at most 64 bytes.
    pub data: String,
}

/// One piece of an answer, ready for Telegram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// HTML in Telegram's dialect, or plain text when `html` is false.
    pub text: String,
    /// The same without formatting, for the resend after `can't parse entities`.
    pub plain: String,
    /// Whether `text` is HTML.
    pub html: bool,
}

impl Part {
    /// A text without formatting.
    pub fn plain(text: String) -> Self {
        Self { plain: text.clone(), text, html: false }
    }
}

/// Errors named by the next step: settle, come back, or give up for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It worked.
    Done(T),
    /// Worth another try, not before this many milliseconds.
    Later {
        /// Least wait.
        after_ms: i64,
        /// Lower-case, no secret.
        why: String,
    },
    /// No repetition will help.
    Never {
        /// Lower-case, no secret.
        why: String,
    },
}
