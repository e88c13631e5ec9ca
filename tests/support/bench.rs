//! The loop without its shell: a core over a database in memory, its workers played by the test, and a
//! clock that is a number.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::VecDeque;
use svs_bot::config::{Config, KeySetting, LangSetting, Limit, StreamSetting};
use svs_bot::daemon::core::Core;
use svs_bot::daemon::event::{AskJob, Asked, Event, Fetched, Job, SendFailure, SetupResult};
use svs_bot::store::Store;
use svs_bot::store::outbox::Sending;
use svs_bot::types::model::{Finish, ModelFailure, Reply, Usage};
use svs_bot::types::{Group, MessageId, Now, Secret, UpdateId, User, UserId};
use svs_bot::wire::telegram::{TelegramError, read_update};

/// 2026-11-10, 12:00 in California.
pub(crate) const START_MS: i64 = 1_794_340_800_000;
pub(crate) const PERSON: i64 = 42;

pub(crate) struct Bench {
    pub(crate) core: Core,
    pub(crate) now_ms: i64,
    pub(crate) update: i64,
    pub(crate) message: i64,
    /// Jobs that nobody has reported on, polls and calls without consequences left out.
    pub(crate) jobs: Vec<Job>,
    /// Bodies of the calls without consequences.
    pub(crate) calls: Vec<String>,
}

impl Bench {
    pub(crate) fn start(change: fn(&mut Config)) -> Self {
        Self::over(Store::in_memory().unwrap(), change)
    }

    /// The same over a database that has something in it.
    pub(crate) fn over(store: Store, change: fn(&mut Config)) -> Self {
        let key = |secret: &str| KeySetting {
            secret: Secret::new(secret),
            group: Group::A,
            project: Some(secret.to_owned()),
        };
        let mut config = Config {
            bot_token: Secret::new("123456:turns"),
            keys: vec![key("key-one"), key("key-two")],
            key_rpm: Limit::Unlimited,
            lite_rpd: Limit::Unlimited,
            key_min_interval_ms: 0,
            owner_ids: vec![UserId(PERSON)],
            stream: StreamSetting::Off,
            lang: LangSetting::En,
            supabase: None,
            http_addr: None,
            ..Config::sample()
        };
        change(&mut config);
        let now = Now { unix_ms: START_MS };
        let core = Core::with_dice(store, config, false, false, &[7; 32], now).unwrap();
        let mut bench = Self {
            core,
            now_ms: START_MS,
            update: 0,
            message: 0,
            jobs: Vec::new(),
            calls: Vec::new(),
        };
        bench.turn([]);
        bench
    }

    /// Turns until nothing happens by itself any more.
    pub(crate) fn turn(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut events: VecDeque<Event> = events.into_iter().collect();
        // Ready, keys, and what each of these leads to: far fewer than this.
        for _ in 0..32 {
            let turn = self.core.turn(&mut events, Now { unix_ms: self.now_ms }).unwrap();
            for job in turn.jobs {
                match job {
                    Job::Me => {
                        let user = User {
                            id: UserId(123_456),
                            is_bot: true,
                            username: Some("turns_bot".to_owned()),
                            first_name: "turns".to_owned(),
                            language_code: None,
                        };
                        events.push_back(Event::Ready(SetupResult::Me(Ok((user, true)))));
                    }
                    Job::RemoveWebhook => {
                        events.push_back(Event::Ready(SetupResult::WebhookGone(Ok(false))));
                    }
                    Job::CheckKey { secret } => {
                        events.push_back(Event::KeyChecked { secret, result: Ok(()) });
                    }
                    Job::Call { purpose, request } => {
                        self.calls.extend(request.body);
                        events.push_back(Event::Called { purpose, result: Ok(()) });
                    }
                    Job::Poll { .. } => {}
                    other => self.jobs.push(other),
                }
            }
            if events.is_empty() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    pub(crate) fn after(&mut self, ms: i64) {
        self.now_ms += ms;
        self.turn([]);
    }

    pub(crate) fn update(&mut self, body: &str) {
        self.update += 1;
        let json = format!(r#"{{"update_id":{},{body}}}"#, self.update);
        let incoming = read_update(json.as_bytes()).map_err(|error| error.why);
        assert!(incoming.is_ok(), "{incoming:?}");
        let fetched = Fetched { id: UpdateId(self.update), incoming, raw: String::new() };
        self.turn([Event::Polled(Ok(vec![fetched]))]);
    }

    pub(crate) fn says(&mut self, text: &str) {
        self.message += 1;
        let (message, at_s) = (self.message, self.now_ms / 1_000);
        let entities = match text.strip_prefix('/') {
            Some(word) => {
                let length = word.split(' ').next().map_or(0, str::len) + 1;
                format!(r#","entities":[{{"type":"bot_command","offset":0,"length":{length}}}]"#)
            }
            None => String::new(),
        };
        self.update(&format!(
            r#""message":{{"message_id":{message},"date":{at_s},
               "chat":{{"id":{PERSON},"type":"private","first_name":"Ann"}},
               "from":{{"id":{PERSON},"is_bot":false,"first_name":"Ann","language_code":"en"}},
               "text":"{text}"{entities}}}"#
        ));
    }

    /// A part of an album, in a private chat.
    pub(crate) fn shows(&mut self, album: &str, file: &str, caption: &str) {
        self.message += 1;
        let (message, at_s) = (self.message, self.now_ms / 1_000);
        self.update(&format!(
            r#""message":{{"message_id":{message},"date":{at_s},"media_group_id":"{album}",
               "chat":{{"id":{PERSON},"type":"private","first_name":"Ann"}},
               "from":{{"id":{PERSON},"is_bot":false,"first_name":"Ann","language_code":"en"}},
               "photo":[{{"file_id":"{file}","file_unique_id":"{file}","width":9,"height":9,"file_size":99}}],
               "caption":"{caption}"}}"#
        ));
    }

    pub(crate) fn presses(&mut self, data: &str, message: &str) {
        self.update(&format!(
            r#""callback_query":{{"id":"77","data":"{data}","chat_instance":"1",{message}
               "from":{{"id":{PERSON},"is_bot":false,"first_name":"Ann","language_code":"en"}}}}"#
        ));
    }

    pub(crate) fn presses_stop(&mut self, draft: i64) {
        self.update(&format!(
            r#""stopped_message_generation":{{"chat":{{"id":{PERSON},"type":"private"}},"draft_id":{draft}}}"#
        ));
    }

    pub(crate) fn take<T>(&mut self, wanted: impl Fn(Job) -> Result<T, Job>) -> Option<T> {
        for at in 0..self.jobs.len() {
            match wanted(self.jobs.remove(at)) {
                Ok(found) => return Some(found),
                Err(other) => self.jobs.insert(at, other),
            }
        }
        None
    }

    pub(crate) fn asked(&mut self) -> Option<AskJob> {
        self.take(|job| match job {
            Job::Ask(job) => Ok(*job),
            other => Err(other),
        })
    }

    pub(crate) fn sending(&mut self) -> Option<Sending> {
        self.take(|job| match job {
            Job::Send(sending) => Ok(*sending),
            other => Err(other),
        })
    }

    /// The draft or message in which a growing answer is to be shown.
    pub(crate) fn preview(&mut self) -> Option<String> {
        self.take(|job| match job {
            Job::Preview { request, .. } => Ok(request.body.unwrap()),
            other => Err(other),
        })
    }

    pub(crate) fn grows(&mut self, inbox: i64, text: &str) {
        self.turn([Event::Grown { inbox, text: text.to_owned() }]);
    }

    pub(crate) fn shown(&mut self, inbox: i64) {
        self.turn([Event::Previewed { inbox, result: Ok(MessageId(0)) }]);
    }

    pub(crate) fn answers(&mut self, inbox: i64, result: Result<&str, ModelFailure>) {
        let result = result.map(|text| Reply {
            text: text.to_owned(),
            finish: Finish::Stop,
            usage: Usage { input: 90, output: 10 },
            model: "gemini-3.5-flash-lite".to_owned(),
        });
        self.turn([Event::Asked(Box::new(Asked { inbox, result, took_ms: 900 }))]);
    }

    /// Telegram takes everything that is sent, until nothing is for a while; the texts.
    pub(crate) fn sends_all(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..5 {
            while let Some(sending) = self.sending() {
                texts.push(sending.what.plain.clone());
                self.sent(sending, Ok(()));
            }
            self.after(1_000);
        }
        texts
    }

    pub(crate) fn sent(&mut self, sending: Sending, result: Result<(), TelegramError>) {
        self.message += 1;
        let id = MessageId(self.message);
        let result = result.map(|()| id).map_err(SendFailure::Telegram);
        // A chat is written to once a second.
        self.now_ms += 1_500;
        self.turn([Event::Sent { sending: Box::new(sending), result, took_ms: 50 }]);
    }

    /// The message does not get through.
    pub(crate) fn fails(&mut self, sending: Sending, failure: SendFailure) {
        self.turn([Event::Sent { sending: Box::new(sending), result: Err(failure), took_ms: 50 }]);
    }

    /// One number out of the database.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.core.store.read(|db| db.query_row(sql, [], |row| row.get(0))).unwrap()
    }

    /// One round: a question, answered and sent.
    pub(crate) fn round(&mut self, n: usize) -> AskJob {
        self.says(&format!("question {n}"));
        let job = self.asked().unwrap();
        self.answers(job.inbox, Ok(&format!("answer {n}")));
        assert_eq!(self.sends_all(), [format!("answer {n}")]);
        job
    }
}
