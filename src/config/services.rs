//! Owns: settings that only make sense together: webhook, Supabase, the HTTP listener.
//! May not: open sockets or files.

use super::parse::{Reader, TELEGRAM_URL};
use super::value;
use super::{Supabase, Webhook};
use crate::types::Secret;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The ports that Telegram's own server sends updates to (api-reference A11).
const WEBHOOK_PORTS: [u16; 4] = [443, 80, 88, 8443];
/// Where the webhook listener stands unless told otherwise: behind a proxy of the same machine.
const WEBHOOK_ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
/// Where the status listener stands unless told otherwise.
const HTTP_ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// What an address takes.
const ADDR_TAKES: &str = "address:port like 127.0.0.1:9464 or [::]:9464";

/// The webhook, when its URL is set; its other settings are checked in any case.
pub(super) fn webhook(
    reader: &mut Reader<'_>,
    telegram_url: Option<&str>,
    allow_http: bool,
) -> Option<Webhook> {
    let addr = reader.read("WEBHOOK_ADDR", ADDR_TAKES, value::listen_addr);
    let secret = reader.read("WEBHOOK_SECRET", "1 to 256 of A-Z a-z 0-9 _ -", |text| {
        let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_secret = (1..=256).contains(&text.len()) && text.bytes().all(is_byte);
        is_secret.then(|| Secret::new(text))
    });
    let tls = certificate(reader);
    if !reader.is_given("WEBHOOK_URL") {
        let others = ["WEBHOOK_ADDR", "WEBHOOK_SECRET", "WEBHOOK_TLS_CERT", "WEBHOOK_TLS_KEY"];
        let unused: Vec<_> = others.into_iter().filter(|name| reader.is_given(name)).collect();
        if !unused.is_empty() {
            let names = unused.join(", ");
            reader.warnings.push(format!("{names}: not used: WEBHOOK_URL is not set, so we poll"));
        }
        return None;
    }
    if !reader.is_given("WEBHOOK_SECRET") {
        reader.problem(
            "WEBHOOK_SECRET",
            "not set, but WEBHOOK_URL is: anyone could send updates: takes 1 to 256 of A-Z a-z \
             0-9 _ -",
        );
    }
    let url = reader.url("WEBHOOK_URL", allow_http)?;
    let parts = value::base_url(&url)?;
    let port = parts.port.unwrap_or(if parts.is_plain { 80 } else { 443 });
    let is_telegrams_own = telegram_url.is_none_or(|url| url == TELEGRAM_URL);
    if is_telegrams_own && !WEBHOOK_PORTS.contains(&port) {
        reader.problem("WEBHOOK_URL", format!("got port {port}: takes 443, 80, 88 or 8443"));
    }
    Some(Webhook { url, addr: addr.unwrap_or(WEBHOOK_ADDR), secret: secret?, tls })
}

fn certificate(reader: &mut Reader<'_>) -> Option<(PathBuf, PathBuf)> {
    let path = |reader: &Reader<'_>, name| {
        reader.found(name).map(|found| PathBuf::from(value::unquoted(&found.value)))
    };
    let (given_cert, given_key) =
        (reader.is_given("WEBHOOK_TLS_CERT"), reader.is_given("WEBHOOK_TLS_KEY"));
    if given_cert != given_key {
        let (there, missing) = if given_cert {
            ("WEBHOOK_TLS_CERT", "WEBHOOK_TLS_KEY")
        } else {
            ("WEBHOOK_TLS_KEY", "WEBHOOK_TLS_CERT")
        };
        reader.problem(missing, format!("not set, but {there} is: takes both or none"));
    }
    Some((path(reader, "WEBHOOK_TLS_CERT")?, path(reader, "WEBHOOK_TLS_KEY")?))
}

/// Supabase, when both its settings are there; half of it would look like a backup and be none.
pub(super) fn supabase(reader: &mut Reader<'_>, allow_http: bool) -> Option<Supabase> {
    let key = reader.read("SUPABASE_KEY", "a key as Supabase shows it, without blanks", |text| {
        value::is_header_text(text).then(|| Secret::new(text))
    });
    let url = reader.url("SUPABASE_URL", allow_http);
    let (given_url, given_key) = (reader.is_given("SUPABASE_URL"), reader.is_given("SUPABASE_KEY"));
    if given_url && !given_key {
        let there = reader.name_of("SUPABASE_URL");
        reader.problem("SUPABASE_KEY", format!("not set, but {there} is: takes both or none"));
    }
    if given_key && !given_url {
        let there = reader.name_of("SUPABASE_KEY");
        reader.problem("SUPABASE_URL", format!("not set, but {there} is: takes both or none"));
    }
    let url = url?;
    let base = url.strip_suffix("/rest/v1").unwrap_or(&url).trim_end_matches('/');
    Some(Supabase { url: base.to_owned(), key: key? })
}

/// The status listener: beyond loopback only with a token.
pub(super) fn http(reader: &mut Reader<'_>) -> (Option<SocketAddr>, Option<Secret>) {
    let token = reader.read("HTTP_TOKEN", "visible ASCII characters without blanks", |text| {
        value::is_header_text(text).then(|| Secret::new(text))
    });
    let takes = format!("{ADDR_TAKES}, or off");
    let addr = reader.read("HTTP_ADDR", &takes, |text| {
        if text.eq_ignore_ascii_case("off") {
            return Some(None);
        }
        value::listen_addr(text).map(Some)
    });
    let addr = addr.unwrap_or(Some(HTTP_ADDR));
    let is_open = addr.is_some_and(|addr| !addr.ip().is_loopback());
    if is_open && !reader.is_given("HTTP_TOKEN") {
        reader.problem(
            "HTTP_ADDR",
            "listens beyond this machine: takes a loopback address, or set HTTP_TOKEN as well",
        );
    }
    (addr, token)
}

/// A file that several bots of one machine open: by a path that means the same to each of them.
pub(super) fn shared_ledger(reader: &mut Reader<'_>, has_redis: bool) -> Option<PathBuf> {
    let takes = "the absolute path of a file, alike for every bot that shares";
    let is_file = |text: &str| text.starts_with('/') && !text.ends_with('/');
    let path =
        reader.read("SHARED_LEDGER", takes, |text| is_file(text).then(|| PathBuf::from(text)))?;
    if has_redis {
        let text = "REDIS_URL is set as well: takes one of the two, both count for all boxes";
        reader.problem("SHARED_LEDGER", text);
    }
    Some(path)
}
