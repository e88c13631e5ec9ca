//! Owns: what a reply of PostgREST, of the gateway before it or of nobody at all means for the sender.
//! May not: decide how long to wait in all, name a row, keep the server's words: they may quote what
//! people wrote, so only codes and the names of tables, columns and constraints are taken over.

use crate::json;
use crate::wire::{NetError, NetErrorKind, Response};

/// What to do next (api-reference C4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too much at once: fewer rows; one row alone waits, or is set aside where `never` (413).
    Shrink {
        /// Whether a single row can never pass.
        never: bool,
        /// For the operator.
        why: String,
    },
    /// Some row is refused and would be for ever: find it, set it aside with this reason.
    Row {
        /// Code and, where there is one, the column or constraint.
        why: String,
    },
    /// Nothing of this table can pass, or (`all`) nothing at all, until the operator acts.
    Stop {
        /// One word for JSON: `key`, `grant`, `table`, `column`, `quota`, `paused`, `url`, `refused`.
        kind: &'static str,
        /// `what: why: what to do`.
        why: String,
        /// Whether the other table is refused as well.
        all: bool,
    },
    /// Not now; nothing is lost. The request may have been carried out all the same.
    Later {
        /// What the server asked for, else 0.
        after_ms: i64,
        /// One word for JSON: `unreachable`, `busy`.
        kind: &'static str,
        /// For the operator.
        why: String,
    },
    /// `id` is `generated always`: explicit ids are refused (428C9).
    Generated,
}

/// Longest identifier PostgreSQL has; longer "names" in a message are no names.
const NAME_BYTES_MAX: usize = 63;

/// A reply that is a success, or what is wrong. `ours` are the columns that were sent.
///
/// # Errors
/// The fault.
pub fn judge<'a>(
    result: &'a Result<Response, NetError>,
    table: &str,
    ours: &[&str],
) -> Result<&'a Response, Fault> {
    match result {
        Ok(response) if (200..300).contains(&response.status) => Ok(response),
        Ok(response) => Err(refusal(response, table, ours)),
        Err(error) => Err(no_reply(error)),
    }
}

/// Whether the request may still be carried out, or has been, although no success was reported.
pub fn may_be_done(result: &Result<Response, NetError>) -> bool {
    match result {
        Ok(response) => {
            // PostgREST's own errors carry a code and roll back; what stands before it knows nothing.
            response.status >= 500 && Body::read(&response.body).code.is_empty()
        }
        Err(error) => error.maybe_done,
    }
}

fn no_reply(error: &NetError) -> Fault {
    let why = format!("supabase: {}", error.text);
    match error.kind {
        NetErrorKind::Timeout if error.maybe_done => Fault::Shrink { never: false, why },
        _ => Fault::Later { after_ms: 0, kind: "unreachable", why },
    }
}

/// A refused row's reason, which begins with PostgreSQL's code, in words and with what to do.
pub fn meaning(why: &str) -> &'static str {
    match why.get(..5).unwrap_or(why) {
        "23502" => "a column of the table takes no null",
        "23503" => "a foreign key wants a row that is not there",
        "23505" | "23P01" => "another row has the same unique value",
        "23514" => "a check constraint of the table refuses the value",
        "22001" => "a text is too long for its column",
        "22003" => "a number is too large for its column",
        "P0001" => "a trigger of the table raised an error",
        "413 t" => "the row is too large",
        _ => "the table refuses the value",
    }
}

/// What an error body says, as far as it may be repeated.
#[derive(Debug, Default)]
struct Body {
    code: String,
    message: String,
}

impl Body {
    fn read(bytes: &[u8]) -> Self {
        let Ok(value) = json::parse(bytes) else { return Self::default() };
        let text = |name| value.at(name).str().unwrap_or_default().to_owned();
        Self { code: text("code"), message: text("message") }
    }

    /// The first identifier in quotes, for the codes whose message quotes nothing else there.
    fn name(&self) -> String {
        let quote = if self.message.contains('"') { '"' } else { '\'' };
        let name = self.message.split(quote).nth(1).unwrap_or_default();
        let fits = name.len() <= NAME_BYTES_MAX && !name.contains(char::is_whitespace);
        if fits { name.to_owned() } else { String::new() }
    }

    /// The name after the last `constraint "`.
    fn constraint(&self) -> String {
        let name = self.message.rsplit("constraint \"").next().unwrap_or_default();
        let name = name.split('"').next().unwrap_or_default();
        if name.len() <= NAME_BYTES_MAX && !name.contains(char::is_whitespace) {
            name.to_owned()
        } else {
            String::new()
        }
    }
}

fn stop(kind: &'static str, all: bool, why: String) -> Fault {
    Fault::Stop { kind, why, all }
}

fn refusal(response: &Response, table: &str, ours: &[&str]) -> Fault {
    let body = Body::read(&response.body);
    let after_ms = response.retry_after_s.map_or(0, |seconds| i64::from(seconds) * 1_000);
    let status = response.status;
    match status {
        402 => {
            return stop(
                "quota",
                true,
                "supabase: the project is over its quota or unpaid (402): look at its billing page"
                    .to_owned(),
            );
        }
        540 => {
            return stop(
                "paused",
                true,
                "supabase: the project is paused (540): restore it in the dashboard".to_owned(),
            );
        }
        413 => return Fault::Shrink { never: true, why: "413 too large".to_owned() },
        429 => return later(after_ms, "busy", "supabase: too many requests (429)".to_owned()),
        _ => {}
    }
    if body.code.is_empty() {
        return without_code(status, after_ms, table);
    }
    by_code(&body, status, after_ms, table, ours)
}

fn later(after_ms: i64, kind: &'static str, why: String) -> Fault {
    Fault::Later { after_ms, kind, why }
}

/// The gateway's answers and those of whatever stands before it.
fn without_code(status: u16, after_ms: i64, table: &str) -> Fault {
    match status {
        300..=399 => stop(
            "url",
            true,
            format!(
                "SUPABASE_URL: it answers with a redirect ({status}): set the address it leads to, with https"
            ),
        ),
        401 | 403 => stop(
            "key",
            true,
            format!(
                "SUPABASE_KEY: refused ({status}): set the project's secret key (service_role)"
            ),
        ),
        404 => stop("table", false, missing_table(table)),
        405 | 406 | 410 => stop(
            "url",
            true,
            format!(
                "SUPABASE_URL: what answers there is not Supabase's Data API ({status}): set the project's URL"
            ),
        ),
        500.. => later(after_ms, "unreachable", format!("supabase: it answers {status}")),
        _ => later(after_ms, "busy", format!("supabase: it answers {status} without a reason")),
    }
}

fn missing_table(table: &str) -> String {
    format!(
        "supabase: table `{table}` is not there, or SUPABASE_URL is another project's: run migrations/supabase, then `notify pgrst, 'reload schema'`"
    )
}

fn by_code(body: &Body, status: u16, after_ms: i64, table: &str, ours: &[&str]) -> Fault {
    let code = body.code.as_str();
    let named = |name: &str| {
        if name.is_empty() { code.to_owned() } else { format!("{code} {name}") }
    };
    match code {
        "57014" => Fault::Shrink {
            never: false,
            why: format!(
                "supabase: `{table}` takes too long (57014): look at its load, triggers and locks, or raise statement_timeout"
            ),
        },
        "428C9" => Fault::Generated,
        "42501" if body.message.contains("row-level security") => stop(
            "grant",
            false,
            format!(
                "supabase: row level security of `{table}` refuses rows from this key (42501): set SUPABASE_KEY to the project's secret key (service_role), which passes all policies"
            ),
        ),
        "42501" => stop(
            "grant",
            false,
            format!(
                "supabase: the key may not use table `{table}` (42501): grant select, insert, update, delete on public.{table} to service_role, and use on its sequence"
            ),
        ),
        "PGRST301" | "PGRST302" | "PGRST303" => stop(
            "key",
            true,
            format!(
                "SUPABASE_KEY: refused ({code}): it is expired, or another project's: set the project's secret key"
            ),
        ),
        "PGRST205" | "PGRST125" | "42P01" => stop("table", false, missing_table(table)),
        "PGRST204" | "42703" => {
            let column = match code {
                "PGRST204" => body.name(),
                _ => column_of_42703(&body.message),
            };
            stop(
                "column",
                false,
                format!(
                    "supabase: table `{table}` lacks column `{column}` ({code}): run migrations/supabase, then `notify pgrst, 'reload schema'`"
                ),
            )
        }
        "23502" => {
            let column = body.name();
            if ours.contains(&column.as_str()) {
                return Fault::Row { why: named(&column) };
            }
            stop(
                "column",
                false,
                format!(
                    "supabase: column `{column}` of `{table}` is not known to svs-bot and takes no null (23502): give it a default, or drop `not null`"
                ),
            )
        }
        "42P10" => stop(
            "table",
            false,
            format!(
                "supabase: `{table}` has no primary key, or is a view (42P10): svs-bot writes into the table itself"
            ),
        ),
        // Of these the message names a constraint and nothing a person wrote.
        "23505" | "23514" | "23503" | "23P01" => Fault::Row { why: named(&body.constraint()) },
        "PGRST102" | "21000" | "P0001" => Fault::Row { why: code.to_owned() },
        "40001" | "40P01" | "55P03" => {
            later(after_ms, "busy", format!("supabase: the table is in use ({code})"))
        }
        "42P17" | "25006" | "55000" | "0A000" => stop(
            "refused",
            false,
            format!(
                "supabase: table `{table}` takes no rows ({code}): look at its policies, or whether it is a view"
            ),
        ),
        _ => by_class(code, status, after_ms, table),
    }
}

fn by_class(code: &str, status: u16, after_ms: i64, table: &str) -> Fault {
    let class = code.get(..2).unwrap_or_default();
    match class {
        // 22: what a value holds; 23: what a constraint says.
        "22" | "23" => Fault::Row { why: code.to_owned() },
        "08" | "53" | "57" | "58" | "XX" => {
            later(after_ms, "unreachable", format!("supabase: its database is not ready ({code})"))
        }
        "28" => stop(
            "key",
            true,
            format!("SUPABASE_KEY: its role is refused ({code}): set the project's secret key"),
        ),
        _ if status == 401 || status == 403 => stop(
            "key",
            true,
            format!(
                "SUPABASE_KEY: refused ({status} {code}): set the project's secret key (service_role)"
            ),
        ),
        _ if status >= 500 || code.starts_with("PGRST0") || code.starts_with("PGRSTX") => {
            later(after_ms, "unreachable", format!("supabase: it answers {status} ({code})"))
        }
        _ => stop(
            "refused",
            false,
            format!(
                "supabase: `{table}` refuses the request ({status} {code}): see `svs-bot check`"
            ),
        ),
    }
}

/// `column "x" of relation …` or `column t.x does not exist`.
fn column_of_42703(message: &str) -> String {
    let after = message.split("column ").nth(1).unwrap_or_default();
    let name = after.split_whitespace().next().unwrap_or_default().trim_matches('"');
    let name = name.rsplit('.').next().unwrap_or_default();
    if name.len() <= NAME_BYTES_MAX { name.to_owned() } else { String::new() }
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
