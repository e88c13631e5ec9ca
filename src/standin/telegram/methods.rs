//! Owns: the methods that put something into a chat (api-reference A4–A6).
//! May not: answer polls or questions about the bot.

use super::params::{Params, Upload};
use super::state::{Sent, State};
use super::text::{self, Formatted, spans_data};
use super::{Answer, Data, Options, Refusal, map};

/// Text of a message, after parsing.
const TEXT_UNITS_MAX: usize = 4_096;
/// Caption, after parsing.
const CAPTION_UNITS_MAX: usize = 1_024;
/// Largest file that getFile gives out.
const FILE_BYTES_MAX: usize = 20 << 20;
/// Uploads kept for getFile; larger ones are counted and dropped.
const UPLOAD_KEPT_BYTES_MAX: usize = 1 << 20;
const NOT_MODIFIED: &str = "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message";
const LATE: &str = "query is too old and response timeout expired or query ID is invalid";
const ACTIONS: [&str; 11] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
];
/// Methods that are taken and change nothing that can be seen here.
const TRUE_METHODS: [&str; 12] = [
    "setmyname",
    "setmydescription",
    "setmyshortdescription",
    "setchatmenubutton",
    "setmessagereaction",
    "pinchatmessage",
    "unpinchatmessage",
    "leavechat",
    "setmydefaultadministratorrights",
    "close",
    "logout",
    "unpinallchatmessages",
];

impl State {
    /// Carries out any method but getUpdates.
    pub(super) fn run(
        &mut self,
        options: &Options,
        method: &str,
        params: &Params,
        now_ms: i64,
    ) -> Answer {
        match method {
            "sendmessage" => self.send_message(params, now_ms),
            "sendrichmessage" if options.knows_rich => self.send_rich(params, now_ms),
            "editmessagetext" if options.knows_rich && !params.get("rich_message").is_empty() => {
                self.edit_rich(params, now_ms)
            }
            "editmessagetext" => self.edit_message(params, now_ms),
            "editmessagereplymarkup" => self.edit_markup(params, now_ms),
            "deletemessage" => self.delete_message(params),
            "sendchataction" => self.send_action(params),
            "sendmessagedraft" if options.knows_drafts => self.send_draft(params),
            "senddocument" => self.send_file("document", params, now_ms),
            "sendphoto" => self.send_file("photo", params, now_ms),
            "answercallbackquery" => self.answer_callback(params),
            "getfile" => self.get_file(params),
            "setwebhook" => self.set_webhook(params),
            "deletewebhook" => self.delete_webhook(params),
            _ if TRUE_METHODS.contains(&method) => Ok("true".into()),
            _ => self.ask(method, params),
        }
    }

    /// The chat of a call, when the bot may write there.
    fn target(&mut self, params: &Params) -> Result<i64, Refusal> {
        let wanted = params.get("chat_id");
        if wanted.is_empty() {
            return Err(Refusal::bad("chat_id is empty"));
        }
        let bot_id = self.bot_id;
        let chat = match wanted.strip_prefix('@') {
            Some(name) => self.chat_by_name(name),
            None => wanted.parse().ok().and_then(|id| self.known_chat(id)),
        };
        let chat = chat.ok_or_else(|| Refusal::bad("chat not found"))?;
        if chat.id == bot_id {
            return Err(Refusal::new(403, "Forbidden: the bot can't send messages to the bot"));
        }
        if let Some(why) = &chat.forbidden {
            return Err(Refusal::new(403, format!("Forbidden: {why}")));
        }
        if let Some(new) = chat.migrated_to {
            let mut refusal = Refusal::bad("group chat was upgraded to a supergroup chat");
            refusal.parameters = Some(map([("migrate_to_chat_id", new.into())]));
            return Err(refusal);
        }
        if let Some(why) = &chat.muted {
            return Err(Refusal::bad(why));
        }
        Ok(chat.id)
    }

    /// `message_thread_id`; General is addressed by omission, its id 1 is refused.
    fn topic(&mut self, chat: i64, params: &Params) -> Result<i64, Refusal> {
        let topic = params.int("message_thread_id", 0, 0, i64::MAX);
        let chat = self.chat(chat);
        if chat.closed_topics.contains(&topic) {
            return Err(Refusal::bad("TOPIC_CLOSED"));
        }
        if topic != 0 && !chat.topics.contains(&topic) {
            return Err(Refusal::bad("message thread not found"));
        }
        Ok(topic)
    }

    /// The message to reply to; none also where it is gone and that was allowed.
    fn reply_to(&mut self, chat: i64, params: &Params) -> Result<Option<i64>, Refusal> {
        let legacy = params.int("reply_to_message_id", 0, 0, i64::MAX);
        let asked = params.get("reply_parameters");
        if asked.is_empty() && legacy == 0 {
            return Ok(None);
        }
        let (wanted, lenient, other) = if asked.is_empty() {
            (legacy, params.is_true("allow_sending_without_reply"), chat)
        } else {
            let told = Data::parse(asked.as_bytes())
                .map_err(|_| Refusal::bad("can't parse reply parameters JSON object"))?;
            let id = told.at("message_id").int().unwrap_or(0);
            let other = told.at("chat_id").int().unwrap_or(chat);
            (id, told.at("allow_sending_without_reply").is_true() && other == chat, other)
        };
        if self.known_chat(other).is_some_and(|chat| chat.holds(wanted)) {
            return Ok(Some(wanted));
        }
        if lenient { Ok(None) } else { Err(Refusal::bad("message to be replied not found")) }
    }

    fn send_message(&mut self, params: &Params, now_ms: i64) -> Answer {
        if params.get("text").is_empty() {
            return Err(Refusal::bad("message text is empty"));
        }
        let formatted = text::read(params, "text", "entities", TEXT_UNITS_MAX)?;
        if formatted.text.is_empty() {
            return Err(Refusal::bad("text must be non-empty"));
        }
        let sent = self.new_message("sendmessage", params, formatted, now_ms)?;
        self.chat(sent.chat).next_message = sent.id + 1;
        let reply = self.message_data(&sent, now_ms).render();
        self.note_sent(sent);
        Ok(reply)
    }

    /// A message that has passed every check but is not in the chat yet.
    pub(super) fn new_message(
        &mut self,
        method: &str,
        params: &Params,
        formatted: Formatted,
        now_ms: i64,
    ) -> Result<Sent, Refusal> {
        let chat = self.target(params)?;
        let topic = self.topic(chat, params)?;
        let reply_to = self.reply_to(chat, params)?;
        let raw = if params.get("text").is_empty() { "caption" } else { "text" };
        Ok(Sent {
            at_ms: now_ms,
            method: method.to_owned(),
            chat,
            id: self.chat(chat).next_message,
            topic,
            text: formatted.text,
            raw: params.get(raw).to_owned(),
            parse_mode: params.get("parse_mode").to_owned(),
            entities: formatted.spans,
            reply_to,
            markup: markup(params)?,
            ..Sent::default()
        })
    }

    pub(super) fn message_data(&mut self, sent: &Sent, now_ms: i64) -> Data {
        let mut message = map([
            ("message_id", sent.id.into()),
            ("date", (sent.at_ms / 1_000).into()),
            ("chat", self.chat(sent.chat).data()),
        ]);
        if self.chat(sent.chat).kind == "channel" {
            message.set("sender_chat", self.chat(sent.chat).data());
        } else {
            message.set("from", self.bot.clone());
        }
        let is_file = !sent.file_id.is_empty();
        let (words, entities) =
            if is_file { ("caption", "caption_entities") } else { ("text", "entities") };
        if !sent.text.is_empty() {
            message.set(words, sent.text.as_str());
        }
        if !sent.entities.is_empty() {
            message.set(entities, spans_data(&sent.entities));
        }
        if sent.topic != 0 {
            message.set("message_thread_id", sent.topic);
            message.set("is_topic_message", true);
        }
        if let Some(other) = sent.reply_to {
            let told = map([
                ("message_id", other.into()),
                ("date", (sent.at_ms / 1_000).into()),
                ("chat", self.chat(sent.chat).data()),
            ]);
            message.set("reply_to_message", told);
        }
        if !sent.markup.is_empty() {
            message.set("reply_markup", Data::parse(sent.markup.as_bytes()).unwrap_or_default());
        }
        if sent.edits != 0 {
            message.set("edit_date", now_ms / 1_000);
        }
        message
    }

    /// The bot's message that an edit is about.
    pub(super) fn editable(&mut self, params: &Params) -> Result<&mut Sent, Refusal> {
        let chat = self.target(params)?;
        let id = params.int("message_id", 0, 0, i64::MAX);
        if id == 0 {
            return Err(Refusal::bad("message identifier is not specified"));
        }
        if !self.chat(chat).holds(id) {
            return Err(Refusal::bad("message to edit not found"));
        }
        let number = self.numbers.get(&(chat, id)).copied().unwrap_or(0);
        self.sent.get_mut(&number).ok_or_else(|| Refusal::bad("message can't be edited"))
    }

    fn edit_message(&mut self, params: &Params, now_ms: i64) -> Answer {
        if params.get("text").is_empty() {
            return Err(Refusal::bad("message text is empty"));
        }
        let formatted = text::read(params, "text", "entities", TEXT_UNITS_MAX)?;
        if formatted.text.is_empty() {
            return Err(Refusal::bad("text must be non-empty"));
        }
        let markup = markup(params)?;
        let sent = self.editable(params)?;
        let same = sent.text == formatted.text && sent.entities == formatted.spans;
        if same && sent.markup == markup {
            return Err(Refusal::bad(NOT_MODIFIED));
        }
        sent.text = formatted.text;
        sent.entities = formatted.spans;
        sent.raw = params.get("text").to_owned();
        sent.parse_mode = params.get("parse_mode").to_owned();
        sent.markup = markup;
        sent.edits += 1;
        let sent = sent.clone();
        Ok(self.message_data(&sent, now_ms).render())
    }

    fn edit_markup(&mut self, params: &Params, now_ms: i64) -> Answer {
        let markup = markup(params)?;
        let sent = self.editable(params)?;
        if sent.markup == markup {
            return Err(Refusal::bad(NOT_MODIFIED));
        }
        sent.markup = markup;
        sent.edits += 1;
        let sent = sent.clone();
        Ok(self.message_data(&sent, now_ms).render())
    }

    fn delete_message(&mut self, params: &Params) -> Answer {
        let chat = self.target(params)?;
        let id = params.int("message_id", 0, 0, i64::MAX);
        if !self.chat(chat).holds(id) {
            return Err(Refusal::bad("message to delete not found"));
        }
        self.chat(chat).forget_message(id);
        let number = self.numbers.get(&(chat, id)).copied().unwrap_or(0);
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.deleted = true;
        }
        Ok("true".into())
    }

    fn send_action(&mut self, params: &Params) -> Answer {
        if !ACTIONS.contains(&params.get("action")) {
            return Err(Refusal::bad("wrong parameter action in request"));
        }
        let chat = self.target(params)?;
        self.topic(chat, params)?;
        Ok("true".into())
    }

    fn send_draft(&mut self, params: &Params) -> Answer {
        let chat = self.target(params)?;
        if self.chat(chat).kind != "private" {
            return Err(Refusal::bad("TEXTDRAFT_PEER_INVALID"));
        }
        if params.int("draft_id", 0, i64::MIN, i64::MAX) == 0 {
            return Err(Refusal::bad("draft_id must be non-zero"));
        }
        self.topic(chat, params)?;
        text::read(params, "text", "entities", TEXT_UNITS_MAX)?;
        Ok("true".into())
    }

    fn send_file(&mut self, kind: &str, params: &Params, now_ms: i64) -> Answer {
        let named = params.get(kind);
        let upload = params.files.get(named.strip_prefix("attach://").unwrap_or(kind));
        let known = self.files.iter().any(|file| file.file_id == named);
        if upload.is_none() && !known {
            let text = if named.is_empty() {
                format!("there is no {kind} in the request")
            } else {
                "wrong file identifier/HTTP URL specified".into()
            };
            return Err(Refusal::bad(&text));
        }
        let formatted = text::read(params, "caption", "caption_entities", CAPTION_UNITS_MAX)?;
        let mut sent = self.new_message(&format!("send{kind}"), params, formatted, now_ms)?;
        sent.file_id = match upload {
            Some(_) => format!("standin-{}-{}", sent.chat, sent.id),
            None => named.to_owned(),
        };
        let upload = upload.cloned().unwrap_or_default();
        let mut message = self.message_data(&sent, now_ms);
        message.set(kind, file_data(kind, &sent.file_id, &upload));
        self.chat(sent.chat).next_message = sent.id + 1;
        if !known && upload.bytes.len() <= UPLOAD_KEPT_BYTES_MAX {
            let path = format!("{kind}s/{}", sent.file_id);
            self.put_file(&sent.file_id, &path, upload.bytes);
        }
        self.note_sent(sent);
        Ok(message.render())
    }

    fn answer_callback(&mut self, params: &Params) -> Answer {
        if self.callbacks.remove(params.get("callback_query_id")) {
            Ok("true".into())
        } else {
            Err(Refusal::bad(LATE))
        }
    }

    fn get_file(&mut self, params: &Params) -> Answer {
        let wanted = params.get("file_id");
        let Some(file) = self.files.iter().find(|file| file.file_id == wanted) else {
            let text = "wrong file_id or the file is temporarily unavailable";
            return Err(Refusal::bad(text));
        };
        if FILE_BYTES_MAX < file.bytes.len() {
            return Err(Refusal::bad("file is too big"));
        }
        let data = map([
            ("file_id", wanted.into()),
            ("file_unique_id", unique(wanted).into()),
            ("file_size", file.bytes.len().into()),
            ("file_path", file.path.as_str().into()),
        ]);
        Ok(data.render())
    }
}

fn unique(file_id: &str) -> String {
    format!("u-{file_id}")
}

fn file_data(kind: &str, file_id: &str, upload: &Upload) -> Data {
    let mut file = map([
        ("file_id", file_id.into()),
        ("file_unique_id", unique(file_id).into()),
        ("file_size", upload.bytes.len().into()),
    ]);
    if kind == "photo" {
        file.set("width", 90_i64);
        file.set("height", 90_i64);
        return Data::List(vec![file]);
    }
    if !upload.name.is_empty() {
        file.set("file_name", upload.name.as_str());
        file.set("mime_type", upload.kind.as_str());
    }
    file
}

/// The keyboard as canonical JSON text; only inline ones are shown in a Message.
fn markup(params: &Params) -> Result<String, Refusal> {
    let given = params.get("reply_markup");
    if given.is_empty() {
        return Ok(String::new());
    }
    let data = Data::parse(given.as_bytes())
        .map_err(|_| Refusal::bad("can't parse reply keyboard markup JSON object"))?;
    let Some(keyboard) = data.map() else {
        return Err(Refusal::bad("object expected as reply markup"));
    };
    for button in data.at("inline_keyboard").list().iter().flat_map(Data::list) {
        if button.at("text").str().is_empty() {
            return Err(Refusal::bad(
                "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
            ));
        }
        if 64 < button.at("callback_data").str().len() {
            return Err(Refusal::bad("BUTTON_DATA_INVALID"));
        }
    }
    let inline = keyboard.contains_key("inline_keyboard");
    Ok(if inline { data.render() } else { String::new() })
}
