//! Owns: as much of PostgREST behind Supabase's gateway as the two tables need (api-reference C).
//! May not: know what the rows mean.
//! Invariant: a request is one transaction: all of its rows or none.

mod control;
mod errors;
mod query;
mod table;
mod values;

pub use errors::{Failure, failure};

use super::data::{Data, map};
use super::http::{Reply, Request, Server, Service, lock};
use super::{Clock, Journal, http};
use crate::types::{Secret, UnixMs};
use query::Query;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use table::{Conflict, Table};

/// Rows of one reply, however many are asked for (api-reference C3).
pub const ROWS_MAX: usize = 1_000;
/// Faults and late requests that wait at most.
const WAITING_MAX: usize = 10_000;
/// URL and headers over this are refused by the gateway.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How to play Supabase.
pub struct Options {
    /// Port on loopback, 0 for any.
    pub port: u16,
    /// The one key: `sb_secret_…`, or a JWT, which is wanted as bearer as well.
    pub key: Secret,
    /// How many requests are remembered.
    pub keep_last: usize,
    /// Where `now()` comes from.
    pub clock: Clock,
    /// Whether, under `/control/`, the stand-in is steered over HTTP: [`CONTROL`] for scripts.
    pub control: Option<Control>,
    /// Every call and reply.
    pub journal: Option<Journal>,
}

/// What goes wrong, how often, and for which requests.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `POST`, `GET`, `PATCH` or `DELETE`.
    pub method: Option<String>,
    /// Only for this table.
    pub table: Option<String>,
    /// How many requests.
    pub times: u32,
    /// What.
    pub outcome: Outcome,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Refused; nothing is carried out.
    Fail(Failure),
    /// Carried out, but the connection closes without a reply.
    LoseReply,
    /// The connection closes without a reply; carried out after so many further requests, or by
    /// [`Postgrest::release`].
    CommitLater(u32),
    /// Not carried out, and the connection closes.
    HangUp,
    /// Carried out at once, answered after these milliseconds.
    Delay(u64),
}

/// One remembered request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it came.
    pub at_ms: i64,
    /// Its verb.
    pub method: String,
    /// The table.
    pub table: String,
    /// Query pairs, decoded.
    pub query: Vec<(String, String)>,
    /// Bytes of the body.
    pub bytes: usize,
    /// HTTP status of the reply, 0 for none.
    pub status: u16,
}

struct Late {
    after: u32,
    request: Call,
}

/// A request as far as the tables are concerned.
#[derive(Clone, Debug, Default)]
struct Call {
    method: String,
    table: String,
    query: Vec<(String, String)>,
    prefer: String,
    range: String,
    body: Vec<u8>,
}

#[derive(Default)]
struct State {
    tables: BTreeMap<String, Table>,
    faults: Vec<Fault>,
    late: Vec<Late>,
    asked: VecDeque<Asked>,
    asked_total: u64,
    /// Rows with a text that holds this are refused, as by a check constraint.
    reject: Option<String>,
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

/// The stand-in without a socket, for worlds that play the network themselves.
pub struct Played(Inner);

impl Played {
    /// Both tables, empty.
    pub fn new(options: Options) -> Self {
        Self(Inner { options, state: Mutex::new(State::fresh()) })
    }
    /// Answers one request; a status of 0 is a closed connection.
    pub fn answer(&self, request: &Request) -> Reply {
        Service::answer(&self.0, request)
    }
    /// What goes wrong next.
    pub fn fault(&self, fault: Fault) {
        push_fault(&mut lock(&self.0.state), fault);
    }
    /// Carries out every request that was to commit later.
    pub fn release(&self) {
        let now_ms = (self.0.options.clock)();
        lock(&self.0.state).run_late(true, now_ms);
    }
    /// Every row of a table, by `id`.
    pub fn rows(&self, table: &str) -> Vec<Data> {
        let state = lock(&self.0.state);
        state.tables.get(table).map(Table::all).unwrap_or_default()
    }
}

/// A running stand-in; dropping it stops it.
pub struct Postgrest {
    inner: Arc<Inner>,
    server: Server,
}

impl Postgrest {
    /// Starts answering, with both tables empty.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(options: Options) -> io::Result<Self> {
        let port = options.port;
        let state = Mutex::new(State::fresh());
        let inner = Arc::new(Inner { options, state });
        let server = Server::start(port, Arc::clone(&inner) as Arc<dyn Service>)?;
        Ok(Self { inner, server })
    }
    /// What goes into `SUPABASE_URL`.
    pub fn url(&self) -> String {
        self.server.url()
    }
    /// Every row of a table, by `id`.
    pub fn rows(&self, table: &str) -> Vec<Data> {
        let state = lock(&self.inner.state);
        state.tables.get(table).map(Table::all).unwrap_or_default()
    }
    /// Another writer inserts rows.
    ///
    /// # Errors
    /// As PostgREST would.
    pub fn insert(&self, table: &str, rows: Vec<Data>) -> Result<(), Failure> {
        let now_ms = (self.inner.options.clock)();
        let body = Data::List(rows).render().into_bytes();
        let call = Call { method: "POST".into(), table: table.into(), body, ..Call::default() };
        lock(&self.inner.state).run(&call, now_ms).map(drop)
    }
    /// What goes wrong next.
    pub fn fault(&self, fault: Fault) {
        push_fault(&mut lock(&self.inner.state), fault);
    }
    /// Carries out every request that was to commit later.
    pub fn release(&self) {
        let now_ms = (self.inner.options.clock)();
        lock(&self.inner.state).run_late(true, now_ms);
    }
    /// Refuses rows with a text that holds this, as by a check constraint.
    pub fn reject(&self, text: Option<&str>) {
        lock(&self.inner.state).reject = text.map(str::to_owned);
    }
    /// Adds a column, as a migration would: a type (`text`, `bigint`, `jsonb`, `timestamp`), and
    /// whether it is unique.
    pub fn add_column(&self, table: &str, column: &str, kind: &str, unique: bool) {
        if let Some(table) = lock(&self.inner.state).tables.get_mut(table) {
            table.add_column(column, kind, unique);
        }
    }
    /// Takes a table away.
    pub fn drop_table(&self, table: &str) {
        lock(&self.inner.state).tables.remove(table);
    }
    /// The remembered requests, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.inner.state).asked.iter().cloned().collect()
    }
}

fn push_fault(state: &mut State, fault: Fault) {
    if state.faults.len() < WAITING_MAX && fault.times != 0 {
        state.faults.push(fault);
    }
}

impl Service for Inner {
    fn answer(&self, request: &Request) -> Reply {
        if let Some(name) = request.path.strip_prefix("/control/") {
            return self.options.control.as_ref().map_or_else(
                || Reply::json(404, "{}"),
                |control| (control.0)(self, name, request),
            );
        }
        let Some(table) = request.path.strip_prefix("/rest/v1/") else {
            return Reply::json(404, "{\"message\":\"no Route matched with those values\"}");
        };
        let head: usize = request.headers.iter().map(|(key, value)| key.len() + value.len()).sum();
        let query: usize = request.query.iter().map(|(key, value)| key.len() + value.len()).sum();
        if HEAD_BYTES_MAX < head + query {
            return failure("cloudflare").reply();
        }
        if let Err(failure) = self.check_key(request) {
            return failure.reply();
        }
        let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let call = Call {
            method: request.method.clone(),
            table: table.to_owned(),
            query: request.query.clone(),
            prefer: header("prefer"),
            range: header("range"),
            body: request.body.clone(),
        };
        let now_ms = (self.options.clock)();
        let mut state = lock(&self.state);
        state.run_late(false, now_ms);
        let reply = state.answer(&call, now_ms);
        let keep = self.options.keep_last.max(1);
        if keep <= state.asked.len() {
            state.asked.pop_front();
        }
        state.asked_total += 1;
        state.asked.push_back(Asked {
            at_ms: now_ms,
            method: call.method.clone(),
            table: call.table.clone(),
            query: call.query.clone(),
            bytes: call.body.len(),
            status: reply.status,
        });
        drop(state);
        if let Some(journal) = &self.options.journal {
            let body = Data::parse(&call.body).unwrap_or_default();
            let name = format!("{} {}", call.method, call.table);
            journal("postgrest", &name, &body, reply.status, &String::from_utf8_lossy(&reply.body));
        }
        reply
    }

    fn now_ms(&self) -> UnixMs {
        (self.options.clock)()
    }
}

impl Inner {
    fn check_key(&self, request: &Request) -> Result<(), Failure> {
        let key = self.options.key.expose();
        let given = request.header("apikey").or_else(|| request.query("apikey"));
        let bearer = request.header("authorization").and_then(|it| it.strip_prefix("Bearer "));
        match given {
            None => return Err(failure("no_key")),
            Some(given) if given != key => return Err(failure("invalid_key")),
            Some(_) => {}
        }
        if key.starts_with("eyJ") {
            // A JWT that is no bearer runs as `anon`, who may do nothing here.
            return if bearer == Some(key) { Ok(()) } else { Err(failure("denied")) };
        }
        if bearer.is_some_and(|bearer| bearer != key) {
            return Err(failure("bad_jwt"));
        }
        if request.header("user-agent").is_some_and(|agent| agent.starts_with("Mozilla/")) {
            return Err(failure("browser"));
        }
        Ok(())
    }
}

impl State {
    /// With both tables, empty.
    fn fresh() -> Self {
        let tables = [table::chat_history(), table::user_registry()];
        let tables = tables.into_iter().map(|table| (table.name.clone(), table)).collect();
        Self { tables, ..Self::default() }
    }

    fn answer(&mut self, call: &Call, now_ms: i64) -> Reply {
        let mut delay_ms = 0;
        match self.take_fault(call) {
            Some(Outcome::Fail(failure)) => return failure.reply(),
            Some(Outcome::HangUp) => return Reply::hang_up(),
            Some(Outcome::LoseReply) => {
                drop(self.run(call, now_ms));
                return Reply::hang_up();
            }
            Some(Outcome::CommitLater(after)) => {
                if self.late.len() < WAITING_MAX {
                    self.late.push(Late { after, request: call.clone() });
                }
                return Reply::hang_up();
            }
            Some(Outcome::Delay(ms)) => delay_ms = ms,
            None => {}
        }
        let reply = self.run(call, now_ms).unwrap_or_else(|failure| failure.reply());
        Reply { delay_ms, ..reply }
    }

    fn take_fault(&mut self, call: &Call) -> Option<Outcome> {
        let at = self.faults.iter().position(|fault| {
            fault.method.as_ref().is_none_or(|method| *method == call.method)
                && fault.table.as_ref().is_none_or(|table| *table == call.table)
        })?;
        let fault = self.faults.get_mut(at)?;
        fault.times -= 1;
        let outcome = fault.outcome.clone();
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(outcome)
    }

    /// Carries out late requests whose hour has come, in the order they came in.
    fn run_late(&mut self, all: bool, now_ms: i64) {
        for late in std::mem::take(&mut self.late) {
            if all || late.after == 0 {
                // Nobody is left to hear of an error.
                drop(self.run(&late.request, now_ms));
            } else {
                self.late.push(Late { after: late.after - 1, ..late });
            }
        }
    }

    fn run(&mut self, call: &Call, now_ms: i64) -> Result<Reply, Failure> {
        if call.table.is_empty() {
            return Ok(Reply::json(200, openapi(&self.tables).render()));
        }
        if let Some(name) = call.table.strip_prefix("rpc/") {
            return Err(errors::no_function(name));
        }
        let table =
            self.tables.get_mut(&call.table).ok_or_else(|| errors::no_table(&call.table))?;
        let query = Query::read(table, &call.query, &call.range)?;
        let show = call.prefer.contains("return=representation");
        match call.method.as_str() {
            "GET" | "HEAD" => {
                let found = table.find(&query)?;
                Ok(page(table, &query, &found, call))
            }
            "POST" => {
                let conflict = if call.prefer.contains("resolution=merge-duplicates") {
                    Conflict::Merge
                } else if call.prefer.contains("resolution=ignore-duplicates") {
                    Conflict::Ignore
                } else {
                    Conflict::Refuse
                };
                let missing = call.prefer.contains("missing=default");
                let reject = self.reject.as_deref();
                let done = table.insert(&call.body, &query, conflict, missing, reject, now_ms)?;
                let only_updates = conflict == Conflict::Merge && done.inserted == 0;
                let status = if only_updates { 200 } else { 201 };
                Ok(written(table, &query, &done.ids, show, status))
            }
            "PATCH" | "DELETE" if query.is_unfiltered() => Err(failure("no_where")),
            "PATCH" => {
                let found = table.find(&query.unlimited())?;
                table.update(&found, &call.body, now_ms)?;
                Ok(written(table, &query, &found, show, if show { 200 } else { 204 }))
            }
            "DELETE" => {
                let found = table.find(&query.unlimited())?;
                let reply = written(table, &query, &found, show, if show { 200 } else { 204 });
                for id in found {
                    table.remove(id);
                }
                Ok(reply)
            }
            _ => Err(failure("bad_method")),
        }
    }
}

/// The reply of a read.
fn page(table: &Table, query: &Query, found: &[i64], call: &Call) -> Reply {
    let rows: Vec<Data> = found.iter().filter_map(|id| table.shown(*id, query)).collect();
    let last = (query.offset() + rows.len()).saturating_sub(1);
    let span = if rows.is_empty() { "*".into() } else { format!("{}-{last}", query.offset()) };
    let mut status = 200;
    let total = if call.prefer.contains("count=") {
        let total = table.find(&query.unlimited()).map_or(0, |all| all.len());
        status = if rows.len() < total { 206 } else { 200 };
        total.to_string()
    } else {
        "*".into()
    };
    let mut reply = Reply::json(status, Data::List(rows).render());
    reply.headers.push(("Content-Range", format!("{span}/{total}")));
    if call.method == "HEAD" {
        reply.body.clear();
    }
    reply
}

/// The reply of a write.
fn written(table: &Table, query: &Query, ids: &[i64], show: bool, status: u16) -> Reply {
    if !show {
        return Reply {
            status,
            headers: vec![("Content-Range", "*/*".into())],
            ..Reply::default()
        };
    }
    let rows: Vec<Data> = ids.iter().filter_map(|id| table.shown(*id, query)).collect();
    Reply::json(status, Data::List(rows).render())
}

/// The root: tables and their columns, as far as a check needs it.
fn openapi(tables: &BTreeMap<String, Table>) -> Data {
    let (mut definitions, mut paths) = (map([]), map([]));
    for (name, table) in tables {
        definitions.set(name, map([("properties", table.described())]));
        paths.set(&format!("/{name}"), map([]));
    }
    map([
        ("swagger", "2.0".into()),
        ("info", map([("title", "standard public schema".into()), ("version", "16.1".into())])),
        ("definitions", definitions),
        ("paths", paths),
    ])
}
