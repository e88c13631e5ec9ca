//! Owns: Telegram as the simulator plays it: updates with their offset, messages that were shown.

use std::collections::{BTreeMap, VecDeque};
use svs_bot::store::outbox::{Kind, Sending};
use svs_bot::wire::Response;
use svs_bot::wire::telegram::{self, TelegramError};

/// A waiting long poll.
pub struct Poll {
    pub life: u32,
    pub limit: u32,
    pub until_ms: i64,
}

#[derive(Default)]
pub struct Telegram {
    next_update: i64,
    next_message: i64,
    /// Updates that nobody confirmed.
    pub waiting: VecDeque<(i64, String)>,
    pub poll: Option<Poll>,
    pub confirmed: u64,
    /// Texts of messages by chat and id, so that edits find theirs.
    texts: BTreeMap<(i64, i64), String>,
    /// Keeps `texts` bounded over simulated years.
    order: VecDeque<(i64, i64)>,
}

/// What a send did.
pub enum Done {
    /// Shown anew under this id.
    New(i64),
    /// An existing message reads so now.
    Edited(i64),
    /// Nothing to show.
    Gone,
    Refused(TelegramError),
}

impl Telegram {
    pub fn new() -> Self {
        Self { next_update: 100_000, next_message: 1, ..Self::default() }
    }

    pub fn message_id(&mut self) -> i64 {
        self.next_message += 1;
        self.next_message
    }

    /// A person does something: `body` is the update without its number.
    pub fn happens(&mut self, body: &str) -> i64 {
        let id = self.next_update;
        self.next_update += 1;
        self.waiting.push_back((id, format!("{{\"update_id\":{id},{body}}}")));
        id
    }

    /// Confirms everything below; the numbers of what is forgotten.
    pub fn confirm(&mut self, offset: i64) -> Vec<i64> {
        let mut gone = Vec::new();
        while self.waiting.front().is_some_and(|(id, _)| *id < offset) {
            if let Some((id, _)) = self.waiting.pop_front() {
                gone.push(id);
            }
        }
        self.confirmed += gone.len() as u64;
        gone
    }

    pub fn page(&self, limit: u32) -> Vec<String> {
        self.waiting.iter().take(limit as usize).map(|(_, text)| text.clone()).collect()
    }

    /// A preview, by its method.
    pub fn preview(&mut self, path: &str, chat: i64) -> i64 {
        if path.contains("raft") || path.contains("edit") {
            return 0;
        }
        let id = self.message_id();
        self.keep(chat, id, String::new());
        id
    }

    pub fn carry_out(&mut self, sending: &Sending) -> Done {
        let what = &sending.what;
        let (chat, message) = (what.lane.chat.0, what.message.0);
        match what.kind {
            Kind::Delete => {
                self.texts.remove(&(chat, message));
                Done::Gone
            }
            Kind::Edit | Kind::Rich if message != 0 => match self.texts.get_mut(&(chat, message)) {
                None => Done::Refused(refused(400, "Bad Request: message to edit not found", 0)),
                Some(text) if *text == what.text => Done::Refused(refused(
                    400,
                    "Bad Request: message is not modified: specified new message content and reply markup are exactly the same",
                    0,
                )),
                Some(text) => {
                    text.clone_from(&what.text);
                    Done::Edited(message)
                }
            },
            Kind::Send | Kind::Document | Kind::Rich | Kind::Edit => {
                let id = self.message_id();
                self.keep(chat, id, what.text.clone());
                Done::New(id)
            }
        }
    }

    fn keep(&mut self, chat: i64, id: i64, text: String) {
        self.texts.insert((chat, id), text);
        self.order.push_back((chat, id));
        if self.order.len() > 5_000
            && let Some(old) = self.order.pop_front()
        {
            self.texts.remove(&old);
        }
    }
}

/// A refusal as Telegram writes it, read as the bot reads it.
pub fn refused(status: u16, description: &str, retry_after_s: u32) -> TelegramError {
    let parameters = if retry_after_s > 0 {
        format!(",\"parameters\":{{\"retry_after\":{retry_after_s}}}")
    } else {
        String::new()
    };
    let body = format!(
        "{{\"ok\":false,\"error_code\":{status},\"description\":\"{description}\"{parameters}}}"
    );
    read(status, body)
}

/// A page of whoever stands before Telegram.
pub fn door(status: u16) -> TelegramError {
    read(status, format!("<html><body><h1>{status}</h1></body></html>"))
}

fn read(status: u16, body: String) -> TelegramError {
    let response = Response { status, body: body.into_bytes(), ..Response::default() };
    telegram::read_reply(&response).expect_err("a refusal is an error")
}
