//! Owns: what the played server knows: chats, users, files, updates, sent messages, faults.
//! May not: answer calls (that is `methods`, `poll` and `profile`).

use super::super::html::Span;
use super::text::detected_entities;
use super::{Data, Options, data::map};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Updates that wait at most; older ones fall out, as after 24 hours on the real server.
const UPDATES_MAX: usize = 200_000;
/// Faults that wait at most.
const FAULTS_MAX: usize = 10_000;
/// Files kept at most.
const FILES_MAX: usize = 256;
/// Buttons pressed and not answered yet.
const CALLBACKS_MAX: usize = 10_000;
/// Deleted messages remembered for each chat.
const DELETED_MAX: usize = 1_000;
/// Types left out unless they are asked for by name (api-reference A2).
const NOT_BY_DEFAULT: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

/// One message of the bot.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Number among all ever sent, from 1.
    pub number: u64,
    /// When it was sent, by the stand-in's clock.
    pub at_ms: i64,
    /// Method in lower case.
    pub method: String,
    /// Where.
    pub chat: i64,
    /// Its id in the chat.
    pub id: i64,
    /// The topic, 0 for none.
    pub topic: i64,
    /// Text or caption after parsing, as a person reads it now.
    pub text: String,
    /// Text or caption as it came last.
    pub raw: String,
    /// `parse_mode` as it came last.
    pub parse_mode: String,
    /// Formatting as it is now.
    pub entities: Vec<Span>,
    /// The message it replies to.
    pub reply_to: Option<i64>,
    /// Keyboard as JSON text, empty for none.
    pub markup: String,
    /// How often it was edited.
    pub edits: u32,
    /// Taken away again.
    pub deleted: bool,
    /// `file_id` of a document or photo.
    pub file_id: String,
}

/// One call but getUpdates.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When it was answered.
    pub at_ms: i64,
    /// Method in lower case.
    pub method: String,
    /// Parameters as texts.
    pub params: BTreeMap<String, String>,
    /// HTTP status of the reply.
    pub status: u16,
    /// Description of a refusal.
    pub error: Option<String>,
}

/// What goes wrong, how often, and for whom.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Method in lower case, `file` for downloads; none: any but getUpdates.
    pub method: Option<String>,
    /// Only for this chat.
    pub chat: Option<i64>,
    /// How many calls.
    pub times: u32,
    /// What.
    pub outcome: Outcome,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// 429 with these seconds.
    Flood(i64),
    /// A refusal of this code and text; nothing is carried out.
    Refuse(u16, String),
    /// A page of a gateway instead of JSON; nothing is carried out.
    Page(u16, String),
    /// Carried out, but the connection closes without a reply.
    LoseReply,
    /// Not carried out, and the connection closes.
    HangUp,
    /// Carried out at once, answered after these milliseconds.
    Delay(u64),
}

/// What is known of a chat; change it at will.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// Its id.
    pub id: i64,
    /// `private`, `group`, `supergroup` or `channel`.
    pub kind: String,
    /// Title, or first name in private.
    pub title: String,
    /// Without `@`, empty for none.
    pub username: String,
    /// Topics are on.
    pub is_forum: bool,
    /// Known topics but General.
    pub topics: BTreeSet<i64>,
    /// Topics that take no messages.
    pub closed_topics: BTreeSet<i64>,
    /// The 403 that every message gets, such as `bot was blocked by the user`.
    pub forbidden: Option<String>,
    /// The 400 that every message gets, such as `not enough rights to send text messages to the chat`.
    pub muted: Option<String>,
    /// The group has become this supergroup.
    pub migrated_to: Option<i64>,
    /// Messages the bot ever sent here.
    pub sent_total: u64,
    pub(super) next_message: i64,
    pub(super) deleted: BTreeSet<i64>,
}

impl Chat {
    fn new(id: i64) -> Self {
        let kind = match id {
            1.. => "private",
            ..=-1_000_000_000_000 => "supergroup",
            _ => "group",
        };
        let title = if 0 < id { format!("User {id}") } else { format!("Chat {id}") };
        Self { id, kind: kind.into(), title, next_message: 1, ..Self::default() }
    }

    pub(super) fn data(&self) -> Data {
        let name = if self.kind == "private" { "first_name" } else { "title" };
        let mut chat = map([
            ("id", self.id.into()),
            ("type", self.kind.as_str().into()),
            (name, self.title.as_str().into()),
        ]);
        if !self.username.is_empty() {
            chat.set("username", self.username.as_str());
        }
        if self.is_forum {
            chat.set("is_forum", true);
        }
        chat
    }

    /// Whether a message of that id stands in the chat.
    pub(super) fn holds(&self, message: i64) -> bool {
        0 < message && message < self.next_message && !self.deleted.contains(&message)
    }

    pub(super) fn take_message_id(&mut self) -> i64 {
        self.next_message += 1;
        self.next_message - 1
    }

    pub(super) fn forget_message(&mut self, message: i64) {
        self.deleted.insert(message);
        if DELETED_MAX < self.deleted.len() {
            self.deleted.pop_first();
        }
    }
}

/// A downloadable file.
pub(super) struct Stored {
    pub(super) file_id: String,
    pub(super) path: String,
    pub(super) bytes: Arc<Vec<u8>>,
}

pub(super) struct Update {
    pub(super) id: i64,
    pub(super) json: String,
    /// Deliveries keep the order of a chat.
    pub(super) chat: i64,
    pub(super) under_way: bool,
    pub(super) tries: u32,
    pub(super) not_before_ms: i64,
}

pub(super) struct State {
    pub(super) ending: bool,
    pub(super) bot: Data,
    pub(super) bot_id: i64,
    pub(super) updates: VecDeque<Update>,
    next_update: i64,
    pub(super) allowed: Vec<String>,
    pub(super) webhook: String,
    pub(super) webhook_hits: u64,
    pub(super) webhook_secret: String,
    pub(super) webhook_connections: i64,
    /// Unix seconds and words of the last failed delivery.
    pub(super) webhook_error: (i64, String),
    /// Where deliveries really go; empty: nowhere.
    pub(super) deliver_to: String,
    pub(super) delivering: bool,
    pub(super) deliveries_total: u64,
    pub(super) poll: super::poll::Poll,
    chats: BTreeMap<i64, Chat>,
    users: BTreeMap<i64, Data>,
    pub(super) sent: BTreeMap<u64, Sent>,
    pub(super) sent_total: u64,
    /// Number in `sent` by chat and message id.
    pub(super) numbers: BTreeMap<(i64, i64), u64>,
    pub(super) calls: VecDeque<Call>,
    pub(super) calls_total: u64,
    keep_last: usize,
    faults: Vec<Fault>,
    pub(super) files: VecDeque<Stored>,
    pub(super) callbacks: BTreeSet<String>,
    /// Commands by scope and language.
    pub(super) commands: BTreeMap<(String, String), Data>,
}

impl State {
    pub(super) fn new(options: &Options) -> Self {
        let token = options.token.expose();
        let bot_id = token.split(':').next().and_then(|id| id.parse().ok()).unwrap_or(1);
        let bot = map([
            ("id", Data::from(bot_id)),
            ("is_bot", true.into()),
            ("first_name", "Xiao Ai".into()),
            ("username", options.username.as_str().into()),
        ]);
        Self {
            ending: false,
            bot,
            bot_id,
            updates: VecDeque::new(),
            next_update: 100_000_001,
            allowed: Vec::new(),
            webhook: String::new(),
            webhook_hits: 0,
            webhook_secret: String::new(),
            webhook_connections: 40,
            webhook_error: (0, String::new()),
            deliver_to: String::new(),
            delivering: false,
            deliveries_total: 0,
            poll: super::poll::Poll::default(),
            chats: BTreeMap::new(),
            users: BTreeMap::new(),
            sent: BTreeMap::new(),
            sent_total: 0,
            numbers: BTreeMap::new(),
            calls: VecDeque::new(),
            calls_total: 0,
            keep_last: options.keep_last.max(1),
            faults: Vec::new(),
            files: VecDeque::new(),
            callbacks: BTreeSet::new(),
            commands: BTreeMap::new(),
        }
    }

    pub(super) fn chat(&mut self, id: i64) -> &mut Chat {
        self.chats.entry(id).or_insert_with(|| Chat::new(id))
    }

    pub(super) fn known_chat(&mut self, id: i64) -> Option<&mut Chat> {
        self.chats.get_mut(&id)
    }

    pub(super) fn chat_by_name(&mut self, name: &str) -> Option<&mut Chat> {
        self.chats.values_mut().find(|chat| chat.username.eq_ignore_ascii_case(name))
    }

    /// Totals of every chat the bot ever spoke in.
    pub(super) fn totals(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        let spoken = self.chats.values().filter(|chat| chat.sent_total != 0);
        spoken.map(|chat| (chat.id, chat.sent_total))
    }

    /// A person, made up when nobody has set them.
    pub(super) fn user(&self, id: i64) -> Data {
        self.users.get(&id).cloned().unwrap_or_else(|| {
            map([
                ("id", id.into()),
                ("is_bot", false.into()),
                ("first_name", format!("User {id}").into()),
                ("username", format!("user{id}").into()),
                ("language_code", "en".into()),
            ])
        })
    }

    /// Sets a person; `id`, `is_bot` and `first_name` are filled in.
    pub(super) fn set_user(&mut self, id: i64, mut user: Data) {
        user.set("id", id);
        for (key, value) in self.user(id).map().into_iter().flatten() {
            if matches!(key.as_str(), "is_bot" | "first_name") && *user.at(key) == Data::Null {
                user.set(key, value.clone());
            }
        }
        self.users.insert(id, user);
    }

    pub(super) fn push_message(&mut self, chat: i64, user: i64, fields: Data, now_ms: i64) -> i64 {
        let from = self.user(user);
        let place = self.chat(chat);
        let given = fields.at("message_id").int();
        let id = given.unwrap_or_else(|| place.take_message_id());
        place.next_message = place.next_message.max(id + 1);
        let kind = if place.kind == "channel" { "channel_post" } else { "message" };
        let mut message = map([
            ("message_id", id.into()),
            ("date", (now_ms / 1_000).into()),
            ("chat", place.data()),
        ]);
        if kind == "message" {
            message.set("from", from);
        }
        for (key, value) in fields.map().into_iter().flatten() {
            match (key.as_str(), value.int()) {
                ("topic", Some(topic)) => {
                    self.chat(chat).topics.insert(topic);
                    message.set("message_thread_id", topic);
                    message.set("is_topic_message", true);
                }
                ("reply_to", Some(other)) => {
                    let told = self.told_message(chat, other, now_ms);
                    message.set("reply_to_message", told);
                }
                _ => message.set(key, value.clone()),
            }
        }
        for (text, entities) in [("text", "entities"), ("caption", "caption_entities")] {
            if let Some(words) = message.at(text).text()
                && *message.at(entities) == Data::Null
            {
                let found = detected_entities(words);
                if !found.is_empty() {
                    message.set(entities, found);
                }
            }
        }
        self.push_update(map([(kind, message)]));
        id
    }

    /// A message as `reply_to_message` shows it.
    fn told_message(&mut self, chat: i64, id: i64, now_ms: i64) -> Data {
        let mut told = map([
            ("message_id", id.into()),
            ("date", (now_ms / 1_000).into()),
            ("chat", self.chat(chat).data()),
        ]);
        if let Some(sent) = self.numbers.get(&(chat, id)).and_then(|it| self.sent.get(it)) {
            told.set("text", sent.text.as_str());
            told.set("from", self.bot.clone());
        }
        told
    }

    /// An update as text: it goes out byte for byte when it brings its own id, so that what our
    /// own reader would repair reaches the bot as it is.
    pub(super) fn push_line(&mut self, line: &[u8]) -> Result<Option<i64>, String> {
        let update = Data::parse(line)?;
        let has_id = update.at("update_id").int().is_some();
        let id = self.push_update(update);
        if let Some(last) = self.updates.back_mut().filter(|_| has_id && id.is_some()) {
            last.json = String::from_utf8_lossy(line).into_owned();
        }
        Ok(id)
    }

    pub(super) fn push_update(&mut self, mut update: Data) -> Option<i64> {
        let kind = update.map()?.keys().find(|key| *key != "update_id")?.clone();
        self.learn(update.at(&kind));
        let wanted = if self.allowed.is_empty() {
            !NOT_BY_DEFAULT.contains(&kind.as_str())
        } else {
            self.allowed.contains(&kind)
        };
        if !wanted {
            return None;
        }
        let id = update.at("update_id").int().unwrap_or(self.next_update);
        self.next_update = id + 1;
        update.set("update_id", id);
        if UPDATES_MAX <= self.updates.len() {
            self.updates.pop_front();
        }
        let body = update.at(&kind);
        let place = if *body.at("chat") == Data::Null { body.at("message") } else { body };
        let chat = place.at("chat").at("id").int().unwrap_or(0);
        let json = update.render();
        let fresh = Update { id, json, chat, under_way: false, tries: 0, not_before_ms: 0 };
        self.updates.push_back(fresh);
        Some(id)
    }

    /// Learns chat, message number and button from what an update tells.
    fn learn(&mut self, body: &Data) {
        let message = if *body.at("chat") == Data::Null { body.at("message") } else { body };
        if let Some(id) = message.at("chat").at("id").int() {
            let told = message.at("chat");
            let (kind, forum) = (told.at("type").str().to_owned(), told.at("is_forum").is_true());
            let chat = self.chat(id);
            if !kind.is_empty() {
                chat.kind = kind;
            }
            chat.is_forum |= forum;
            if let Some(number) = message.at("message_id").int() {
                chat.next_message = chat.next_message.max(number + 1);
            }
            if message.at("is_topic_message").is_true()
                && let Some(topic) = message.at("message_thread_id").int()
            {
                chat.topics.insert(topic);
            }
        }
        if let (Some(id), true) = (body.at("id").text(), *body.at("from") != Data::Null) {
            if CALLBACKS_MAX <= self.callbacks.len() {
                self.callbacks.pop_first();
            }
            self.callbacks.insert(id.to_owned());
        }
    }

    pub(super) fn note_sent(&mut self, mut sent: Sent) {
        self.sent_total += 1;
        sent.number = self.sent_total;
        self.chat(sent.chat).sent_total += 1;
        self.numbers.insert((sent.chat, sent.id), sent.number);
        self.sent.insert(sent.number, sent);
        if self.keep_last < self.sent.len()
            && let Some((_, old)) = self.sent.pop_first()
        {
            self.numbers.remove(&(old.chat, old.id));
        }
    }

    pub(super) fn note_call(&mut self, call: Call) {
        self.calls_total += 1;
        if self.keep_last <= self.calls.len() {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(super) fn put_file(&mut self, file_id: &str, path: &str, bytes: Vec<u8>) {
        self.files.retain(|file| file.file_id != file_id);
        if FILES_MAX <= self.files.len() {
            self.files.pop_front();
        }
        let (file_id, path) = (file_id.to_owned(), path.to_owned());
        self.files.push_back(Stored { file_id, path, bytes: Arc::new(bytes) });
    }

    pub(super) fn file_bytes(&self, path: &str) -> Option<Arc<Vec<u8>>> {
        self.files.iter().find(|file| file.path == path).map(|file| Arc::clone(&file.bytes))
    }

    pub(super) fn push_fault(&mut self, mut fault: Fault) {
        fault.method = fault.method.map(|method| method.to_ascii_lowercase());
        if self.faults.len() < FAULTS_MAX && fault.times != 0 {
            self.faults.push(fault);
        }
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// The first fault that fits, one use of it.
    pub(super) fn take_fault(&mut self, method: &str, chat: Option<i64>) -> Option<Outcome> {
        let at = self.faults.iter().position(|fault| {
            let by_method = match &fault.method {
                Some(wanted) => wanted == method,
                None => method != "getupdates" && method != "file",
            };
            by_method && (fault.chat.is_none() || fault.chat == chat)
        })?;
        let fault = self.faults.get_mut(at)?;
        fault.times -= 1;
        let outcome = fault.outcome.clone();
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(outcome)
    }
}
