//! Owns: the Gemini API as far as a chat needs it (api-reference B).
//! May not: be clever: the default answer says back what it heard, always the same way.
//! Invariant: quota is counted per project and model, never per key.

mod answer;
mod check;
mod control;
mod errors;
mod quota;

pub use errors::{Failure, failure};
pub use quota::Limits;

use super::data::{self, Data, map};
use super::http::{Reply, Request, Server, Service, lock};
use super::{Clock, Journal, http};
use crate::types::UnixMs;
use answer::Answer;
use quota::Quota;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};

/// Scripts that wait at most.
const SCRIPTS_MAX: usize = 10_000;

/// How to play Gemini.
pub struct Options {
    /// Port on loopback, 0 for any.
    pub port: u16,
    /// Each key and its project.
    pub keys: BTreeMap<String, String>,
    /// Any other key is a project of its own instead of invalid.
    pub any_key: bool,
    /// Limits by model; models that are not listed have none. Empty: the free tier's.
    pub limits: BTreeMap<String, Limits>,
    /// No limits at all.
    pub unlimited: bool,
    /// Milliseconds before the first byte of an answer.
    pub first_ms: u64,
    /// Milliseconds between the pieces of a stream.
    pub pace_ms: u64,
    /// Characters of a stream's piece; 0: all in one.
    pub piece_chars: usize,
    /// How many requests are remembered; counters count all.
    pub keep_last: usize,
    /// Where the time comes from.
    pub clock: Clock,
    /// Whether, under `/control/`, the stand-in is steered over HTTP: [`CONTROL`] for scripts.
    pub control: Option<Control>,
    /// Every call and reply but streams' pieces.
    pub journal: Option<Journal>,
}

/// What is to happen to the next requests that fit.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Only for this key.
    pub key: Option<String>,
    /// Only for this model.
    pub model: Option<String>,
    /// Only when the last turn holds this text.
    pub prompt: Option<String>,
    /// How many requests.
    pub times: u32,
    /// What.
    pub act: Act,
}

/// What is to happen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Act {
    /// The usual answer.
    #[default]
    Usual,
    /// This text.
    Say(String),
    /// Thoughts first, then this text.
    Think(String, String),
    /// An error body; see [`failure`].
    Fail(Failure),
    /// HTTP 200 with this object as it is.
    Raw(Data),
    /// No candidates, but this `blockReason`.
    BlockPrompt(String),
    /// A candidate that ends with this reason after that text, which may be empty.
    Finish(String, String),
    /// A stream that ends without `finishReason`; a whole reply is cut in the middle.
    Cut,
    /// A stream that says nothing more for these milliseconds, then ends as [`Act::Cut`].
    Stall(u64),
    /// An error in the middle of a stream, after HTTP 200.
    FailMidway(Failure),
    /// The usual answer, its first byte after these milliseconds.
    Slow(u64),
    /// Counted, but the connection closes without a reply.
    LoseReply,
    /// Not counted, and the connection closes.
    HangUp,
}

/// One remembered request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it came.
    pub at_ms: i64,
    /// Its key.
    pub key: String,
    /// The key's project.
    pub project: String,
    /// Its model.
    pub model: String,
    /// Whether as a stream.
    pub stream: bool,
    /// Bytes of the body.
    pub bytes: usize,
    /// The body.
    pub body: Data,
    /// HTTP status of the reply.
    pub status: u16,
}

#[derive(Default)]
struct State {
    quotas: BTreeMap<(String, String), Quota>,
    scripts: Vec<Script>,
    asked: VecDeque<Asked>,
    /// Requests ever, by status.
    totals: BTreeMap<u16, u64>,
}

struct Inner {
    options: Options,
    state: Mutex<State>,
}

/// The way to steer a stand-in over HTTP. A value and not a flag, so that a binary that never
/// names [`CONTROL`] does not carry it.
pub struct Control(fn(&Inner, &str, &Request) -> Reply);

/// Steering over HTTP, for the process that scripts and benches use.
pub const CONTROL: Control = Control(Inner::control);

/// A running stand-in; dropping it stops it.
pub struct Gemini {
    inner: Arc<Inner>,
    server: Server,
}

impl Gemini {
    /// Starts answering.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(options: Options) -> io::Result<Self> {
        let port = options.port;
        let inner = Arc::new(Inner { options, state: Mutex::default() });
        let server = Server::start(port, Arc::clone(&inner) as Arc<dyn Service>)?;
        Ok(Self { inner, server })
    }
    /// What goes into `GEMINI_API_URL`.
    pub fn url(&self) -> String {
        self.server.url()
    }
    /// Connections that are open or still being answered, a waiting poll among them.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }
    /// What is to happen next.
    pub fn script(&self, script: Script) {
        push_script(&mut lock(&self.inner.state), script);
    }
    /// The remembered requests, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.inner.state).asked.iter().cloned().collect()
    }
    /// How many requests ever got this status; 0 for the ones that got no reply.
    pub fn total(&self, status: u16) -> u64 {
        lock(&self.inner.state).totals.get(&status).copied().unwrap_or(0)
    }
}

fn push_script(state: &mut State, script: Script) {
    if state.scripts.len() < SCRIPTS_MAX && script.times != 0 {
        state.scripts.push(script);
    }
}

/// Key and project of a request.
struct Caller {
    key: String,
    project: String,
}

impl Service for Inner {
    fn answer(&self, request: &Request) -> Reply {
        if let Some(name) = request.path.strip_prefix("/control/") {
            return self.options.control.as_ref().map_or_else(
                || Reply::json(404, "{}"),
                |control| (control.0)(self, name, request),
            );
        }
        let caller = match self.caller(request) {
            Ok(caller) => caller,
            Err(failure) => return failure.reply(),
        };
        let path = ["/v1beta/", "/v1/"].iter().find_map(|base| request.path.strip_prefix(base));
        let path = path.unwrap_or_default();
        let Some(name) = path.strip_prefix("models") else {
            return failure("not_found", "", 0).reply();
        };
        match (request.method.as_str(), name.strip_prefix('/')) {
            ("GET", None) => self.list(request),
            ("GET", Some(model)) => match self.model_data(model) {
                Some(data) => Reply::json(200, data.render()),
                None => failure("model_not_found", model, 0).reply(),
            },
            ("POST", Some(call)) => {
                let (model, verb) = call.split_once(':').unwrap_or((call, ""));
                self.post(&caller, model, verb, request)
            }
            _ => failure("not_found", "", 0).reply(),
        }
    }

    fn now_ms(&self) -> UnixMs {
        (self.options.clock)()
    }
}

impl Inner {
    fn caller(&self, request: &Request) -> Result<Caller, Failure> {
        let header = request.header("x-goog-api-key");
        let query = request.query("key");
        let given = [header, query, request.header("authorization")];
        if 1 < given.iter().flatten().count() {
            return Err(failure("two_credentials", "", 0));
        }
        let Some(key) = header.or(query) else { return Err(failure("no_key", "", 0)) };
        let project = match self.options.keys.get(key) {
            Some(project) => project.clone(),
            None if self.options.any_key => format!("project of {key}"),
            None => return Err(failure("api_key_invalid", "", 0)),
        };
        Ok(Caller { key: key.to_owned(), project })
    }

    fn limits(&self, model: &str) -> Limits {
        let none = Limits::default();
        if self.options.unlimited {
            return none;
        }
        match self.options.limits.get(model) {
            Some(limits) => *limits,
            None if self.options.limits.is_empty() => quota::free_tier(model).unwrap_or(none),
            None => none,
        }
    }

    fn knows(&self, model: &str) -> bool {
        quota::free_tier(model).is_some() || self.options.limits.contains_key(model)
    }

    fn model_data(&self, model: &str) -> Option<Data> {
        let methods = ["generateContent", "countTokens", "createCachedContent"];
        self.knows(model).then(|| {
            map([
                ("name", format!("models/{model}").into()),
                ("version", "001".into()),
                ("displayName", model.into()),
                ("description", "A stand-in".into()),
                ("inputTokenLimit", 1_048_576_i64.into()),
                ("outputTokenLimit", 65_536_i64.into()),
                ("supportedGenerationMethods", methods.map(Data::from).to_vec().into()),
                ("thinking", true.into()),
            ])
        })
    }

    fn list(&self, request: &Request) -> Reply {
        let own = self.options.limits.keys().map(String::as_str);
        let mut names: Vec<&str> = quota::MODELS.iter().map(|(name, _)| *name).chain(own).collect();
        names.sort_unstable();
        names.dedup();
        let size = request.query("pageSize").and_then(|it| it.parse().ok()).unwrap_or(50);
        let from: usize = request.query("pageToken").and_then(|it| it.parse().ok()).unwrap_or(0);
        let page = names.iter().skip(from).take(size);
        let page: Vec<Data> = page.filter_map(|name| self.model_data(name)).collect();
        let next = from + page.len();
        let mut body = map([("models", page.into())]);
        if next < names.len() {
            body.set("nextPageToken", next.to_string());
        }
        Reply::json(200, body.render())
    }

    fn post(&self, caller: &Caller, model: &str, verb: &str, request: &Request) -> Reply {
        let stream = match verb {
            "generateContent" => false,
            "streamGenerateContent" => true,
            "countTokens" => return count_tokens(&request.body),
            _ => return failure("not_found", "", 0).reply(),
        };
        let (body, verdict) = match Data::parse(&request.body) {
            Ok(body) => {
                let verdict = check::request(model, &body);
                (body, verdict.err())
            }
            Err(why) => (Data::Null, Some(why)),
        };
        let now_ms = (self.options.clock)();
        let mut state = lock(&self.state);
        let act = state.take_act(&caller.key, model, answer::last_text(&body));
        let reply = if let Act::HangUp = act {
            Reply::hang_up()
        } else if let Act::Fail(failure) = &act {
            failure.reply()
        } else if !self.knows(model) {
            failure("model_not_found", model, 0).reply()
        } else if let Some(why) = verdict {
            errors::bad_request(&why).reply()
        } else {
            let tokens = answer::prompt_tokens(&body);
            let pair = (caller.project.clone(), model.to_owned());
            let quota = state.quotas.entry(pair).or_default();
            match quota.take(model, self.limits(model), tokens, now_ms) {
                Err(refusal) => refusal.reply(),
                Ok(()) => {
                    self.reply(model, &body, stream, request.query("alt") == Some("sse"), &act)
                }
            }
        };
        let keep = self.options.keep_last.max(1);
        if keep <= state.asked.len() {
            state.asked.pop_front();
        }
        *state.totals.entry(reply.status).or_default() += 1;
        if let Some(journal) = &self.options.journal {
            let shown =
                if stream { String::new() } else { String::from_utf8_lossy(&reply.body).into() };
            journal("gemini", model, &body, reply.status, &shown);
        }
        state.asked.push_back(Asked {
            at_ms: now_ms,
            key: caller.key.clone(),
            project: caller.project.clone(),
            model: model.to_owned(),
            stream,
            bytes: request.body.len(),
            body,
            status: reply.status,
        });
        reply
    }

    /// A reply of HTTP 200, whole or in pieces.
    fn reply(&self, model: &str, body: &Data, stream: bool, sse: bool, act: &Act) -> Reply {
        let answer = Answer::of(model, body, act);
        let delay_ms = if let Act::Slow(ms) = act { *ms } else { self.options.first_ms };
        if let Act::LoseReply = act {
            return Reply { delay_ms, ..Reply::hang_up() };
        }
        if !stream {
            let whole = answer.whole().render().into_bytes();
            if matches!(act, Act::Cut | Act::Stall(_)) {
                let half = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
                let wait_ms = if let Act::Stall(ms) = act { *ms } else { 0 };
                let parts = vec![(wait_ms, Vec::new())];
                return Reply { delay_ms, parts, cut: true, ..Reply::json(200, half) };
            }
            return Reply { delay_ms, ..Reply::json(200, whole) };
        }
        let mut events = answer.pieces(self.options.piece_chars);
        let mut last_wait_ms = self.options.pace_ms;
        let mut last = None;
        match act {
            Act::Cut => drop(events.pop()),
            Act::Stall(ms) => {
                events.pop();
                last_wait_ms = *ms;
                last = Some(Vec::new());
            }
            Act::FailMidway(failure) => {
                events.pop();
                last = Some(failure.body.render().into_bytes());
            }
            _ => {}
        }
        let mut parts: VecDeque<(u64, Vec<u8>)> = answer::frame(&events, sse)
            .into_iter()
            .map(|piece| (self.options.pace_ms, piece))
            .collect();
        if let Some(tail) = last {
            parts.push_back((last_wait_ms, tail));
        }
        let (_, first) = parts.pop_front().unwrap_or_default();
        let kind = if sse { "text/event-stream" } else { "application/json" };
        Reply { status: 200, kind, delay_ms, body: first, parts: parts.into(), ..Reply::default() }
    }
}

impl State {
    fn take_act(&mut self, key: &str, model: &str, prompt: &str) -> Act {
        let fits = |script: &Script| {
            script.key.as_deref().is_none_or(|it| it == key)
                && script.model.as_deref().is_none_or(|it| it == model)
                && script.prompt.as_deref().is_none_or(|it| prompt.contains(it))
        };
        let Some(at) = self.scripts.iter().position(fits) else { return Act::Usual };
        let Some(script) = self.scripts.get_mut(at) else { return Act::Usual };
        script.times -= 1;
        let act = script.act.clone();
        if script.times == 0 {
            self.scripts.remove(at);
        }
        act
    }
}

fn count_tokens(body: &[u8]) -> Reply {
    let Ok(body) = Data::parse(body) else { return errors::bad_request("invalid JSON").reply() };
    let inner = body.at("generateContentRequest");
    let counted = if *inner == Data::Null { &body } else { inner };
    let total = answer::prompt_tokens(counted);
    Reply::json(200, map([("totalTokens", total.into())]).render())
}
