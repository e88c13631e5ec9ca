//! Owns: which path is answered with what, and the bytes of a reply.
//! May not: read sockets.

use super::conn::reason;
use super::guard::{Guard, Refusal};
use super::head::Head;
use super::{page, status_json::status_json};
use crate::calendar::{date_from_days, weekday};
use crate::daemon::snapshot::Shared;
use crate::daemon::{memory, metrics, process};
use crate::types::status::Status;
use crate::types::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, UnixMs};

/// The page loads nothing from anywhere and runs nothing; its one style sheet is inside it, known by
/// its hash, so that no text which slipped through could restyle the page.
const PAGE_POLICY: &str = "default-src 'none'; \
    style-src 'sha256-2uLcAkmwSbeRUCXbh1PNl11Yyp691Y0/u5Se9KDu4dI='; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const NOTHING_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

const TEXT: &str = "text/plain; charset=utf-8";

/// A reply before it becomes bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// HTTP status.
    pub(super) status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Reply {
    /// A file.
    #[cfg(feature = "profiling")]
    pub(super) fn bytes_of(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "application/octet-stream", body }
    }

    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: body.into().into_bytes() }
    }

    /// What a connection hears whose bytes are no request: 400, 408 or 431.
    pub(super) fn refusal(status: u16) -> Self {
        Self::text(status, format!("{}\n", reason(status)))
    }

    /// Head and body; the body stays away for HEAD.
    pub(super) fn bytes(&self, is_head: bool, keep_alive: bool, now_ms: UnixMs) -> Vec<u8> {
        let Self { status, content_type, body } = self;
        let policy =
            if content_type.starts_with("text/html") { PAGE_POLICY } else { NOTHING_POLICY };
        let mut out = format!(
            "HTTP/1.1 {status} {}\r\nDate: {}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             Content-Security-Policy: {policy}\r\nConnection: {}\r\n",
            reason(*status),
            http_date(now_ms),
            body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        match status {
            401 => out.push_str(
                "WWW-Authenticate: Basic realm=\"svs-bot\", charset=\"UTF-8\"\r\n\
                 WWW-Authenticate: Bearer realm=\"svs-bot\"\r\n",
            ),
            405 => out.push_str("Allow: GET, HEAD\r\n"),
            _ => {}
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        if !is_head {
            out.extend_from_slice(body);
        }
        out
    }
}

/// The reply to one request.
pub(super) fn reply(head: &Head, guard: &Guard, shared: &Shared) -> Reply {
    match guard.admit(&head.path, head.host.as_deref(), head.authorization.as_deref()) {
        Ok(()) => {}
        Err(Refusal::Unauthorized) => {
            return Reply::text(401, "a token is needed: HTTP_TOKEN as bearer or as password\n");
        }
        Err(Refusal::ForeignHost) => {
            return Reply::text(
                403,
                "only loopback names are served without a token: set HTTP_TOKEN to open it\n",
            );
        }
    }
    let body: fn(&Shared) -> Reply = match head.path.as_str() {
        "/healthz" => |shared| verdict(shared.health(), "ok"),
        "/readyz" => |shared| verdict(shared.ready(), "ready"),
        "/metrics" => metrics_page,
        "/status.json" => |shared| Reply {
            status: 200,
            content_type: "application/json",
            body: (status_json(&fresh(shared)) + "\n").into_bytes(),
        },
        "/" => |shared| Reply {
            status: 200,
            content_type: "text/html; charset=utf-8",
            body: page::render(&fresh(shared)).into_bytes(),
        },
        "/debug/memory" => memory_page,
        _ => return Reply::text(404, "not found\n"),
    };
    if head.method != "GET" && head.method != "HEAD" {
        return Reply::text(405, "only GET and HEAD\n");
    }
    body(shared)
}

fn verdict(result: Result<(), String>, good: &str) -> Reply {
    match result {
        Ok(()) => Reply::text(200, format!("{good}\n")),
        Err(reason) => Reply::text(503, format!("{reason}\n")),
    }
}

fn metrics_page(shared: &Shared) -> Reply {
    let body = metrics::render(&shared.metrics(), &shared.status(), &process::read(None));
    let body = match &shared.fleet {
        Some(fleet) => body + &crate::daemon::fleet::metrics(&fleet.view()),
        None => body,
    };
    #[cfg(feature = "redis")]
    let body = match shared.relay.get() {
        Some(post) => body + &crate::daemon::relay::metrics(&post.view(), post.is_up()),
        None => body,
    };
    let body = body.into_bytes();
    Reply { status: 200, content_type: "text/plain; version=0.0.4; charset=utf-8", body }
}

fn memory_page(shared: &Shared) -> Reply {
    let parts = memory::Parts::read(None);
    let own = memory::Own {
        allocated_bytes: crate::os::allocated_bytes(),
        connections_bytes_max: Some(super::BYTES_MAX),
    };
    Reply::text(200, memory::report(&process::read(None), parts.as_ref(), &own, &shared.status()))
}

/// The last status with what the process itself knows now.
fn fresh(shared: &Shared) -> Status {
    let mut status = shared.status();
    status.rss_bytes = process::read(None).resident_bytes;
    status
}

/// `Sun, 22 Nov 2026 23:12:14 GMT` (RFC 9110, 5.6.7).
fn http_date(at_ms: UnixMs) -> String {
    const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let pick = |names: &[&'static str], at: i64| {
        usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default()
    };
    let days = at_ms.div_euclid(DAY_MS);
    let date = date_from_days(days);
    let in_day = at_ms.rem_euclid(DAY_MS);
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        pick(&WEEKDAYS, weekday(days)),
        date.day,
        pick(&MONTHS, date.month - 1),
        date.year,
        in_day / HOUR_MS,
        in_day % HOUR_MS / MINUTE_MS,
        in_day % MINUTE_MS / SECOND_MS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_style_sheet_of_the_page() {
        use base64::Engine as _;
        let digest = ring::digest::digest(&ring::digest::SHA256, page::STYLE.as_bytes());
        let hash = base64::engine::general_purpose::STANDARD.encode(digest.as_ref());
        assert!(PAGE_POLICY.contains(&format!("'sha256-{hash}'")), "now it is sha256-{hash}");
        let page = page::render(&Status::default());
        assert!(page.contains(&format!("<style>{}</style>", page::STYLE)));
    }

    #[test]
    fn dates_read_as_the_standard_asks() {
        for (at_ms, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_795_389_134_005, "Sun, 22 Nov 2026 23:12:14 GMT"),
        ] {
            assert_eq!(http_date(at_ms), want);
        }
    }
}
