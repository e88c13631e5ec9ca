//! Owns: the same control over HTTP, for scripts and benches in other languages.
//! May not: be reachable from beyond loopback (the server binds nowhere else).
//!
//! `POST /control/NAME` with a JSON object, or with one object a line for `push`. Names:
//! `push` an update (with `?every_us=N` one after the other at that pace, whatever the bot does) · `text {chat, user, text | fields}` · `chat {id, …}` · `user {id, …}` ·
//! `deliver {to}` (where a webhook's deliveries go) · `file {file_id, path, text | size}` · `fault {method, chat, times, …}` · `clear_faults` ·
//! `sent {after, limit}` · `wait {total, timeout_ms}` · `calls {limit}` · `state` · `totals` ·
//! `html {text}` (what the parser makes of a text).

use super::super::html;
use super::http::{Reply, Request, lock};
use super::state::{Chat, Fault, Outcome, Sent};
use super::text::spans_data;
use super::{Data, Inner, map};
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Longest `wait`.
const WAIT_MS_MAX: u64 = 600_000;
/// Largest file that `file` makes up.
const SIZE_MAX: u64 = 64 << 20;

impl Inner {
    pub(super) fn control(&self, name: &str, request: &Request) -> Reply {
        if name == "push" {
            return self.control_push(&request.body, request.query("every_us"));
        }
        let mut asked = Data::parse(&request.body).unwrap_or(map([]));
        for (key, value) in &request.query {
            let number = value.parse().map(i64::into);
            asked.set(key, number.unwrap_or_else(|_| Data::from(value.as_str())));
        }
        match self.control_named(name, &asked) {
            Some(data) => Reply::json(200, data.render()),
            None => Reply::json(404, "{\"error\":\"no such control, or something is missing\"}"),
        }
    }

    fn control_push(&self, body: &[u8], every_us: Option<&str>) -> Reply {
        let every = every_us.and_then(|text| text.parse().ok()).map(Duration::from_micros);
        let (begun, begun_ms) = (Instant::now(), (self.options.clock)());
        let mut ids = Vec::new();
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            if let Some(every) = every {
                // From the beginning, so that one that is late makes the next no later.
                let due = every.saturating_mul(u32::try_from(ids.len()).unwrap_or(u32::MAX));
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            match lock(&self.state).push_line(line) {
                Ok(id) => ids.push(id.map_or(Data::Null, Data::from)),
                Err(why) => return Reply::json(400, map([("error", why.into())]).render()),
            }
            if every.is_some() {
                self.changed.notify_all();
            }
        }
        self.changed.notify_all();
        let told = map([("update_ids", ids.into()), ("begun_ms", begun_ms.into())]);
        Reply::json(200, told.render())
    }

    fn control_named(&self, name: &str, asked: &Data) -> Option<Data> {
        let done = map([("ok", true.into())]);
        match name {
            "text" => {
                let (chat, user) = (asked.at("chat").int()?, asked.at("user").int()?);
                let mut fields = map([]);
                for (key, value) in asked.at("fields").map().into_iter().flatten() {
                    fields.set(key, value.clone());
                }
                if let Some(text) = asked.at("text").text() {
                    fields.set("text", text);
                }
                let now_ms = (self.options.clock)();
                let id = lock(&self.state).push_message(chat, user, fields, now_ms);
                self.changed.notify_all();
                Some(map([("message_id", id.into())]))
            }
            "chat" => {
                let id = asked.at("id").int()?;
                change_chat(lock(&self.state).chat(id), asked);
                Some(done)
            }
            "user" => {
                lock(&self.state).set_user(asked.at("id").int()?, asked.clone());
                Some(done)
            }
            "file" => {
                let size = asked.at("size").count().unwrap_or(0).min(SIZE_MAX);
                // With a size, hex and text are how the file begins: `%PDF-`, say.
                let mut bytes = unhex(asked.at("hex").str());
                bytes.extend_from_slice(asked.at("text").str().as_bytes());
                bytes.resize(bytes.len().max(usize::try_from(size).ok()?), b'x');
                let (id, path) = (asked.at("file_id").text()?, asked.at("path").text()?);
                lock(&self.state).put_file(id, path, bytes);
                Some(done)
            }
            "fault" => {
                lock(&self.state).push_fault(read_fault(asked)?);
                Some(done)
            }
            "deliver" => {
                asked.at("to").text()?.clone_into(&mut lock(&self.state).deliver_to);
                Some(done)
            }
            "clear_faults" => {
                lock(&self.state).clear_faults();
                Some(done)
            }
            "wait" => self.control_wait(asked),
            "html" => Some(match html::parse(asked.at("text").text()?) {
                Ok((text, spans)) => {
                    map([("text", text.into()), ("entities", spans_data(&spans).into())])
                }
                Err(why) => map([("error", why.into())]),
            }),
            _ => self.control_read(name, asked),
        }
    }

    fn control_wait(&self, asked: &Data) -> Option<Data> {
        let wanted = asked.at("total").count()?;
        let wait_ms = asked.at("timeout_ms").count().unwrap_or(10_000).min(WAIT_MS_MAX);
        let wait = Duration::from_millis(wait_ms);
        let (state, _) = self
            .changed
            .wait_timeout_while(lock(&self.state), wait, |it| it.sent_total < wanted && !it.ending)
            .unwrap_or_else(PoisonError::into_inner);
        let total = i64::try_from(state.sent_total).unwrap_or(i64::MAX);
        Some(map([("ok", (wanted <= state.sent_total).into()), ("total", total.into())]))
    }

    fn control_read(&self, name: &str, asked: &Data) -> Option<Data> {
        let state = lock(&self.state);
        let after = asked.at("after").count().unwrap_or(0);
        let limit = usize::try_from(asked.at("limit").count().unwrap_or(u64::MAX)).ok();
        let limit = limit.unwrap_or(usize::MAX);
        let big = |number: u64| Data::from(i64::try_from(number).unwrap_or(i64::MAX));
        Some(match name {
            "sent" => {
                let all = state.sent.range(after.saturating_add(1)..).take(limit);
                let all: Vec<Data> = all.map(|(_, sent)| sent_data(sent)).collect();
                map([("total", big(state.sent_total)), ("sent", all.into())])
            }
            "calls" => {
                let skip = state.calls.len().saturating_sub(limit);
                let all = state.calls.iter().skip(skip).map(|call| {
                    let mut params = map([]);
                    for (key, value) in &call.params {
                        params.set(key, value.as_str());
                    }
                    map([
                        ("at_ms", call.at_ms.into()),
                        ("method", call.method.as_str().into()),
                        ("params", params),
                        ("status", u32::from(call.status).into()),
                        ("error", call.error.as_deref().map_or(Data::Null, Data::from)),
                    ])
                });
                let all: Vec<Data> = all.collect();
                map([("total", big(state.calls_total)), ("calls", all.into())])
            }
            "totals" => {
                let mut totals = map([]);
                for (chat, count) in state.totals() {
                    totals.set(&chat.to_string(), big(count));
                }
                totals
            }
            "state" => map([
                ("pending", state.updates.len().into()),
                ("first_poll_ms", state.poll.first_ms.map_or(Data::Null, Data::from)),
                ("polls", big(state.poll.total)),
                ("conflicts", big(state.poll.conflicts)),
                ("sent_total", big(state.sent_total)),
                ("calls_total", big(state.calls_total)),
                ("webhook", state.webhook.as_str().into()),
                ("webhook_hits", big(state.webhook_hits)),
                ("deliveries_total", big(state.deliveries_total)),
                ("commands", menus(&state.commands)),
            ]),
            _ => return None,
        })
    }
}

fn menus(commands: &std::collections::BTreeMap<(String, String), Data>) -> Data {
    let mut all = map([]);
    for ((scope, language), list) in commands {
        all.set(&format!("{scope} {language}"), list.clone());
    }
    all
}

fn sent_data(sent: &Sent) -> Data {
    let number = i64::try_from(sent.number).unwrap_or(i64::MAX);
    map([
        ("number", number.into()),
        ("at_ms", sent.at_ms.into()),
        ("method", sent.method.as_str().into()),
        ("chat", sent.chat.into()),
        ("id", sent.id.into()),
        ("topic", sent.topic.into()),
        ("text", sent.text.as_str().into()),
        ("raw", sent.raw.as_str().into()),
        ("parse_mode", sent.parse_mode.as_str().into()),
        ("entities", spans_data(&sent.entities).into()),
        ("reply_to", sent.reply_to.map_or(Data::Null, Data::from)),
        ("edits", sent.edits.into()),
        ("deleted", sent.deleted.into()),
        ("file_id", sent.file_id.as_str().into()),
    ])
}

fn change_chat(chat: &mut Chat, asked: &Data) {
    for (key, place) in
        [("kind", &mut chat.kind), ("title", &mut chat.title), ("username", &mut chat.username)]
    {
        if let Some(text) = asked.at(key).text() {
            text.clone_into(place);
        }
    }
    let numbers =
        |list: &Data| -> BTreeSet<i64> { list.list().iter().filter_map(Data::int).collect() };
    for (key, value) in asked.map().into_iter().flatten() {
        match key.as_str() {
            "is_forum" => chat.is_forum = value.is_true(),
            "topics" => chat.topics = numbers(value),
            "closed_topics" => chat.closed_topics = numbers(value),
            "forbidden" => chat.forbidden = value.text().map(str::to_owned),
            "muted" => chat.muted = value.text().map(str::to_owned),
            "migrated_to" => chat.migrated_to = value.int(),
            _ => {}
        }
    }
}

/// `{"method","chat","times", "flood": s | "refuse": [code, text] | "page": [status, html] |
/// "lose_reply": true | "hang_up": true | "delay_ms": n}`
fn read_fault(asked: &Data) -> Option<Fault> {
    let pair = |list: &Data| match list.list() {
        [code, text] => Some((u16::try_from(code.int()?).ok()?, text.text()?.to_owned())),
        _ => None,
    };
    let outcome = if let Some(seconds) = asked.at("flood").int() {
        Outcome::Flood(seconds)
    } else if let Some((code, text)) = pair(asked.at("refuse")) {
        Outcome::Refuse(code, text)
    } else if let Some((status, page)) = pair(asked.at("page")) {
        Outcome::Page(status, page)
    } else if let Some(ms) = asked.at("delay_ms").count() {
        Outcome::Delay(ms)
    } else if asked.at("lose_reply").is_true() {
        Outcome::LoseReply
    } else if asked.at("hang_up").is_true() {
        Outcome::HangUp
    } else {
        return None;
    };
    let times = asked.at("times").count().and_then(|times| u32::try_from(times).ok());
    Some(Fault {
        method: asked.at("method").text().map(str::to_owned),
        chat: asked.at("chat").int(),
        times: times.unwrap_or(1),
        outcome,
    })
}

/// Bytes from pairs of digits; whatever is none ends them.
fn unhex(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2).map_while(|at| text.get(at..at + 2));
    pairs.map_while(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}
