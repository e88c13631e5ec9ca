//! Owns: the error bodies of PostgREST, PostgreSQL and the gateway (api-reference C4).
//! May not: decide when one is due.

use super::http::Reply;
use super::{Data, map};

/// An error reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// The object, or a text for a gateway's HTML page.
    pub body: Data,
}

impl Failure {
    pub(super) fn reply(&self) -> Reply {
        if let Some(page) = self.body.text() {
            let body = page.as_bytes().to_vec();
            return Reply { status: self.status, kind: "text/html", body, ..Reply::default() };
        }
        let mut reply = Reply::json(self.status, self.body.render());
        if let Some(code) = self.body.at("code").text() {
            reply.headers.push(("Proxy-Status", format!("PostgREST; error={code}")));
            if self.status == 503 {
                reply.headers.push(("Retry-After", "1".into()));
            }
        }
        reply
    }
}

/// An error with a code.
pub(super) fn coded(status: u16, code: &str, message: &str) -> Failure {
    let body = map([
        ("code", code.into()),
        ("message", message.into()),
        ("details", Data::Null),
        ("hint", Data::Null),
    ]);
    Failure { status, body }
}

fn gateway(status: u16, message: &str) -> Failure {
    Failure { status, body: map([("message", message.into())]) }
}

pub(super) fn no_table(name: &str) -> Failure {
    let text = format!("Could not find the table 'public.{name}' in the schema cache");
    coded(404, "PGRST205", &text)
}

pub(super) fn no_function(name: &str) -> Failure {
    let text = format!("Could not find the function public.{name} in the schema cache");
    coded(404, "PGRST202", &text)
}

pub(super) fn no_column(table: &str, column: &str) -> Failure {
    let text = format!("Could not find the '{column}' column of '{table}' in the schema cache");
    coded(400, "PGRST204", &text)
}

pub(super) fn undefined_column(table: &str, column: &str) -> Failure {
    coded(400, "42703", &format!("column {table}.{column} does not exist"))
}

pub(super) fn duplicate(table: &str, columns: &[String], values: &str) -> Failure {
    let columns_key = columns.join("_");
    let name = if columns_key == "id" { "pkey".into() } else { format!("{columns_key}_key") };
    let text = format!("duplicate key value violates unique constraint \"{table}_{name}\"");
    let details = format!("Key ({})=({values}) already exists.", columns.join(", "));
    let mut failure = coded(409, "23505", &text);
    failure.body.set("details", details);
    failure
}

/// The error of that short name; an unknown name is `internal`.
///
/// `no_key invalid_key legacy_disabled browser denied bad_jwt no_grant no_where bad_method
/// table_missing column_missing restricted paused hibernating rate_limited too_large cloudflare
/// gateway gateway_timeout statement_timeout deadlock pool_timeout starting check internal`
pub fn failure(kind: &str) -> Failure {
    let page = |status: u16, title: &str| Failure {
        status,
        body: format!("<html><title>{title}</title></html>").into(),
    };
    match kind {
        "no_key" => gateway(401, "No API key found in request"),
        "invalid_key" => gateway(401, "Invalid API key"),
        "legacy_disabled" => gateway(401, "Legacy API keys are disabled"),
        "browser" => gateway(401, "Forbidden use of secret API key in browser"),
        "denied" => coded(401, "42501", "permission denied for table chat_history"),
        "no_grant" => coded(403, "42501", "permission denied for table chat_history"),
        "bad_jwt" => coded(401, "PGRST301", "Expected 3 parts in JWT; got 1"),
        "no_where" => coded(400, "21000", "UPDATE requires a WHERE clause"),
        "bad_method" => coded(405, "PGRST117", "Unsupported HTTP method"),
        "table_missing" => no_table("chat_history"),
        "column_missing" => no_column("chat_history", "metadata"),
        "restricted" => gateway(402, "exceed_egress_quota: the project is restricted"),
        "paused" => gateway(540, "project paused"),
        "hibernating" => page(544, "544 gateway timeout"),
        "rate_limited" => gateway(429, "API rate limit exceeded"),
        "too_large" => gateway(413, "Request size limit exceeded"),
        "cloudflare" => page(520, "520: Web server is returning an unknown error"),
        "gateway" => page(502, "502 Bad Gateway"),
        "gateway_timeout" => gateway(544, "gateway timeout"),
        "statement_timeout" => coded(500, "57014", "canceling statement due to statement timeout"),
        "deadlock" => coded(500, "40P01", "deadlock detected"),
        "pool_timeout" => {
            coded(504, "PGRST003", "Timed out acquiring connection from connection pool.")
        }
        "starting" => {
            coded(503, "PGRST002", "Could not query the database for the schema cache. Retrying.")
        }
        "check" => coded(400, "23514", "new row violates check constraint"),
        _ => coded(500, "XX000", "internal error"),
    }
}
