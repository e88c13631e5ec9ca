//! Owns: the way from the bot's requests to the stand-in for PostgREST, without a socket.

use crate::plan::{Dice, Fault};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use svs_bot::standin::data::Data;
use svs_bot::standin::http::{self, form_pairs};
use svs_bot::standin::postgrest::{self, Options, Outcome, Played, failure};
use svs_bot::types::Secret;
use svs_bot::wire::{Method, NetError, NetErrorKind, Request, Response};

pub const KEY: &str = "sb_secret_simulated_0123456789abcdef";

pub struct Supabase {
    played: Played,
    clock: Arc<AtomicI64>,
}

const ERRORS: [&str; 9] = [
    "gateway",
    "gateway_timeout",
    "statement_timeout",
    "deadlock",
    "pool_timeout",
    "starting",
    "rate_limited",
    "cloudflare",
    "hibernating",
];

impl Supabase {
    pub fn new() -> Self {
        let clock = Arc::new(AtomicI64::new(0));
        let reads = Arc::clone(&clock);
        let played = Played::new(Options {
            port: 0,
            key: Secret::new(KEY),
            keep_last: 1,
            clock: Arc::new(move || reads.load(Ordering::Relaxed)),
            control: None,
            journal: None,
        });
        Self { played, clock }
    }

    pub fn rows(&self, table: &str) -> Vec<Data> {
        self.played.rows(table)
    }

    pub fn release(&self) {
        self.played.release();
    }

    /// One request arrives and meets this fault.
    pub fn arrive(
        &self,
        request: &Request,
        fault: Option<Fault>,
        dice: &mut Dice,
        now_ms: i64,
    ) -> Result<Response, NetError> {
        self.clock.store(now_ms, Ordering::Relaxed);
        let outcome = match fault {
            Some(Fault::SupabaseLost) => Some(Outcome::LoseReply),
            Some(Fault::SupabaseLate) => {
                Some(Outcome::CommitLater(u32::try_from(dice.below(12)).unwrap_or(0)))
            }
            Some(Fault::SupabaseError) => Some(Outcome::Fail(failure(dice.pick(&ERRORS)))),
            Some(_) => {
                return Err(cut(dice.per_mille(500), "away"));
            }
            None => None,
        };
        if let Some(outcome) = outcome {
            self.played.fault(postgrest::Fault { method: None, table: None, times: 1, outcome });
        }
        let reply = self.played.answer(&heard(request));
        if reply.status == 0 {
            return Err(cut(true, "closed"));
        }
        let header = |name: &str| {
            reply.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v)
        };
        Ok(Response {
            status: reply.status,
            retry_after_s: header("retry-after").and_then(|text| text.parse().ok()),
            content_range: header("content-range").cloned(),
            body: reply.body,
            ..Response::default()
        })
    }
}

fn cut(maybe_done: bool, why: &str) -> NetError {
    NetError { maybe_done, kind: NetErrorKind::Cut, text: why.to_owned() }
}

fn heard(request: &Request) -> http::Request {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let method = match request.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    };
    let mut headers: Vec<(String, String)> =
        request.headers.iter().map(|(key, value)| (key.to_lowercase(), value.clone())).collect();
    headers.push(("apikey".to_owned(), KEY.to_owned()));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let path = if path.starts_with("/rest/v1/") { path } else { format!("/rest/v1{path}") };
    http::Request {
        method: method.to_owned(),
        path,
        query: form_pairs(query),
        headers,
        body: request.body.clone().unwrap_or_default().into_bytes(),
    }
}
