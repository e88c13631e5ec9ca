//! Owns: the Bot API as the server behind api.telegram.org answers it (api-reference A).
//! May not: parse what the bot would send as Markdown; the bot sends HTML.
//! Invariant: an update leaves the queue only when a higher offset confirms it, or a webhook takes it.

mod control;
mod deliver;
mod methods;
mod params;
mod poll;
mod profile;
mod rich;
mod state;
mod text;

pub use state::{Call, Chat, Fault, Outcome, Sent};

use super::data::{Data, map};
use super::http::{self, Reply, Server, Service, lock};
use super::{Clock, Journal, data};
use crate::types::{Secret, UnixMs};
use params::Params;
use state::State;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Non-file parameters of one call (api-reference A1).
const PARAMETERS_BYTES_MAX: usize = 1 << 20;

/// How to play Telegram.
pub struct Options {
    /// Port on loopback, 0 for any.
    pub port: u16,
    /// The one token that is accepted.
    pub token: Secret,
    /// The bot's username, without `@`.
    pub username: String,
    /// How many sent messages and calls are remembered; totals count all.
    pub keep_last: usize,
    /// Whether the server is new enough for `sendMessageDraft`.
    pub knows_drafts: bool,
    /// Whether it is new enough for `sendRichMessage` (Bot API 10.1).
    pub knows_rich: bool,
    /// Where the time comes from.
    pub clock: Clock,
    /// Whether, under `/control/`, the stand-in is steered over HTTP: [`CONTROL`] for scripts.
    pub control: Option<Control>,
    /// Every call and reply, but for empty polls.
    pub journal: Option<Journal>,
}

/// A refusal in Telegram's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    code: u16,
    text: String,
    parameters: Option<Data>,
}

impl Refusal {
    fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), parameters: None }
    }
    fn bad(text: &str) -> Self {
        Self::new(400, format!("Bad Request: {text}"))
    }
    fn flood(seconds: i64) -> Self {
        Self {
            code: 429,
            text: format!("Too Many Requests: retry after {seconds}"),
            parameters: Some(map([("retry_after", seconds.into())])),
        }
    }
}

/// JSON text of `result`, or the refusal.
type Answer = Result<String, Refusal>;

struct Inner {
    options: Options,
    state: Mutex<State>,
    changed: Condvar,
}

/// The way to steer a stand-in over HTTP. A value and not a flag, so that a binary that never
/// names [`CONTROL`] does not carry it.
pub struct Control(fn(&Inner, &str, &http::Request) -> Reply);

/// Steering over HTTP, for the process that scripts and benches use.
pub const CONTROL: Control = Control(Inner::control);

/// A running stand-in; dropping it stops it.
pub struct Telegram {
    inner: Arc<Inner>,
    server: Server,
}

impl Telegram {
    /// Starts answering.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(options: Options) -> io::Result<Self> {
        let port = options.port;
        let state = Mutex::new(State::new(&options));
        let inner = Arc::new(Inner { options, state, changed: Condvar::new() });
        let server = Server::start(port, Arc::clone(&inner) as Arc<dyn Service>)?;
        Ok(Self { inner, server })
    }

    /// What goes into `TELEGRAM_API_URL`.
    pub fn url(&self) -> String {
        self.server.url()
    }
    /// Connections that are open or still being answered, a waiting poll among them.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }

    /// A person writes; the chat comes into being when it is new. Returns the message's id.
    pub fn push_text(&self, chat: i64, user: i64, text: &str) -> i64 {
        self.push_message(chat, user, map([("text", text.into())]))
    }

    /// A person sends a message of these fields; what is missing (`message_id`, `date`, `from`,
    /// `chat`, entities of commands and mentions) is filled in. `topic` and `reply_to` are short
    /// for what Telegram writes at length.
    pub fn push_message(&self, chat: i64, user: i64, fields: Data) -> i64 {
        let now_ms = (self.inner.options.clock)();
        let id = self.state().push_message(chat, user, fields, now_ms);
        self.inner.changed.notify_all();
        id
    }

    /// Queues an update as it is; `update_id` is set where there is none. Returns that id, or none
    /// when the type is not among the allowed ones.
    pub fn push_raw(&self, update: Data) -> Option<i64> {
        let id = self.state().push_update(update);
        self.inner.changed.notify_all();
        id
    }

    /// Changes what is known of a chat, which comes into being when it is new.
    pub fn chat<T>(&self, id: i64, change: impl FnOnce(&mut Chat) -> T) -> T {
        change(self.state().chat(id))
    }

    /// Makes a file downloadable under `file_id`.
    pub fn put_file(&self, file_id: &str, path: &str, bytes: Vec<u8>) {
        self.state().put_file(file_id, path, bytes);
    }

    /// What goes wrong next.
    pub fn fault(&self, fault: Fault) {
        self.state().push_fault(fault);
    }

    /// The remembered messages of the bot, oldest first, as they read now.
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.values().cloned().collect()
    }

    /// The remembered messages of the bot after that number.
    pub fn sent_after(&self, number: u64) -> Vec<Sent> {
        self.state().sent.range(number.saturating_add(1)..).map(|(_, sent)| sent.clone()).collect()
    }

    /// Sets a person; `id`, `is_bot` and `first_name` are filled in.
    pub fn set_user(&self, id: i64, user: Data) {
        self.state().set_user(id, user);
    }

    /// How many messages the bot has ever sent.
    pub fn sent_total(&self) -> u64 {
        self.state().sent_total
    }

    /// The remembered calls but for getUpdates, oldest first, refused ones as well.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.iter().cloned().collect()
    }

    /// Waits until `wanted` messages have ever been sent; false when the time is over first.
    pub fn wait_for_sent(&self, wanted: u64, timeout: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .inner
            .changed
            .wait_timeout_while(state, timeout, |it| it.sent_total < wanted && !it.ending)
            .unwrap_or_else(PoisonError::into_inner);
        wanted <= state.sent_total
    }

    /// Updates that no offset has confirmed.
    pub fn pending(&self) -> usize {
        self.state().updates.len()
    }
}

impl Service for Inner {
    fn answer(&self, request: &http::Request) -> Reply {
        if let Some(rest) = request.path.strip_prefix("/control/") {
            return self.options.control.as_ref().map_or_else(
                || refuse(&Refusal::new(404, "Not Found")),
                |control| (control.0)(self, rest, request),
            );
        }
        if let Some(rest) = request.path.strip_prefix("/file/bot") {
            return self.download(rest);
        }
        let Some((token, method)) =
            request.path.strip_prefix("/bot").and_then(|rest| rest.split_once('/'))
        else {
            return refuse(&Refusal::new(404, "Not Found"));
        };
        if let Err(refusal) = self.check_token(token) {
            return refuse(&refusal);
        }
        let method = method.strip_prefix("test/").unwrap_or(method).to_ascii_lowercase();
        let params = match Params::read(request) {
            Ok(params) if params.bytes() <= PARAMETERS_BYTES_MAX => params,
            Ok(_) => return refuse(&Refusal::new(413, "Request Entity Too Large: parameters")),
            Err(refusal) => return refuse(&refusal),
        };
        self.call(&method, &params)
    }

    fn now_ms(&self) -> UnixMs {
        (self.options.clock)()
    }

    fn stop(&self) {
        lock(&self.state).ending = true;
        self.changed.notify_all();
    }
}

impl Inner {
    fn check_token(&self, token: &str) -> Result<(), Refusal> {
        let shaped = token.split_once(':').is_some_and(|(id, rest)| {
            !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty()
        });
        if !shaped {
            return Err(Refusal::new(404, "Not Found"));
        }
        if token != self.options.token.expose() {
            return Err(Refusal::new(401, "Unauthorized"));
        }
        Ok(())
    }

    /// One method, with the faults that wait for it.
    fn call(&self, method: &str, params: &Params) -> Reply {
        let fault = lock(&self.state).take_fault(method, params.chat_id());
        let mut delay_ms = 0;
        let mut lose_reply = false;
        match fault {
            Some(Outcome::Delay(ms)) => delay_ms = ms,
            Some(Outcome::LoseReply) => lose_reply = true,
            Some(Outcome::HangUp) => return Reply::hang_up(),
            Some(Outcome::Page(status, page)) => {
                let body = page.into_bytes();
                return Reply { status, kind: "text/html", body, ..Reply::default() };
            }
            Some(Outcome::Flood(seconds)) => {
                return self.finish(method, params, Err(Refusal::flood(seconds)));
            }
            Some(Outcome::Refuse(code, text)) => {
                return self.finish(method, params, Err(Refusal::new(code, text)));
            }
            None => {}
        }
        let answer = if method == "getupdates" {
            self.get_updates(params)
        } else {
            let now_ms = (self.options.clock)();
            lock(&self.state).run(&self.options, method, params, now_ms)
        };
        let reply = self.finish(method, params, answer);
        if lose_reply {
            return Reply::hang_up();
        }
        Reply { delay_ms, ..reply }
    }

    fn finish(&self, method: &str, params: &Params, answer: Answer) -> Reply {
        let status = answer.as_ref().map_or_else(|refusal| refusal.code, |_| 200);
        if method != "getupdates" {
            let error = answer.as_ref().err().map(|refusal| refusal.text.clone());
            let now_ms = (self.options.clock)();
            let fields = params.fields.clone();
            lock(&self.state).note_call(Call {
                at_ms: now_ms,
                method: method.to_owned(),
                params: fields,
                status,
                error,
            });
            self.changed.notify_all();
        }
        let reply = match &answer {
            Ok(result) => {
                let mut body = String::with_capacity(result.len() + 24);
                body.push_str("{\"ok\":true,\"result\":");
                body.push_str(result);
                body.push('}');
                Reply::json(200, body)
            }
            Err(refusal) => refuse(refusal),
        };
        let empty_poll = method == "getupdates" && answer.as_deref() == Ok("[]");
        if let Some(journal) = self.options.journal.as_ref().filter(|_| !empty_poll) {
            let body = String::from_utf8_lossy(&reply.body);
            journal("telegram", method, &params.data(), status, &body);
        }
        reply
    }

    fn download(&self, rest: &str) -> Reply {
        let Some((token, path)) = rest.split_once('/') else {
            return refuse(&Refusal::new(404, "Not Found"));
        };
        if let Err(refusal) = self.check_token(token) {
            return refuse(&refusal);
        }
        let mut state = lock(&self.state);
        let fault = state.take_fault("file", None);
        let Some(bytes) = state.file_bytes(path) else {
            return refuse(&Refusal::new(404, "Not Found"));
        };
        drop(state);
        let delay_ms = if let Some(Outcome::Delay(ms)) = fault { ms } else { 0 };
        let body = bytes.as_ref().clone();
        if matches!(fault, Some(Outcome::LoseReply | Outcome::HangUp)) {
            let half = body.get(..body.len() / 2).unwrap_or_default().to_vec();
            return Reply { status: 200, body: half, cut: true, ..Reply::default() };
        }
        Reply { status: 200, kind: "application/octet-stream", delay_ms, body, ..Reply::default() }
    }
}

fn refuse(refusal: &Refusal) -> Reply {
    let mut body = map([
        ("ok", false.into()),
        ("error_code", u32::from(refusal.code).into()),
        ("description", refusal.text.as_str().into()),
    ]);
    let mut headers = Vec::new();
    if let Some(parameters) = &refusal.parameters {
        if let Some(seconds) = parameters.at("retry_after").int() {
            headers.push(("Retry-After", seconds.to_string()));
        }
        body.set("parameters", parameters.clone());
    }
    Reply { headers, ..Reply::json(refusal.code, body.render()) }
}
