//! The stand-ins over real loopback HTTP: what the services refuse, they refuse, in their words.
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use svs_bot::standin::data::{Data, map};
use svs_bot::standin::{Clock, gemini, html, postgrest, telegram};
use svs_bot::types::Secret;

const TOKEN: &str = "123:abc";
const SOON: Duration = Duration::from_secs(10);

/// One exchange on a connection of its own; status 0 when the peer hung up.
fn exchange(url: &str, head: &str, body: &[u8]) -> (u16, String) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head = format!("{head}\r\nHost: {host}\r\nConnection: close\r\n");
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    let framed = head.contains("chunked");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(if framed { b"\r\n" } else { length.as_bytes() }).unwrap();
    stream.write_all(body).unwrap();
    let mut reply = Vec::new();
    let _cut_is_seen_below = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let Some((head, mut body)) = reply.split_once("\r\n\r\n") else { return (0, reply) };
    let mut whole = String::new();
    if head.contains("chunked") {
        while let Some((size, rest)) = body.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            whole.push_str(&rest[..size]);
            body = rest.get(size + 2..).unwrap_or_default();
        }
    } else {
        whole.push_str(body);
    }
    (head[9..12].parse().unwrap(), whole)
}

fn post(url: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json{headers}");
    exchange(url, &head, body.as_bytes())
}

/// A clock that a test turns.
fn hand_clock(at_ms: i64) -> (Arc<AtomicI64>, Clock) {
    let hand = Arc::new(AtomicI64::new(at_ms));
    let read = Arc::clone(&hand);
    (hand, Arc::new(move || read.load(Ordering::Relaxed)))
}

#[path = "standin/telegram.rs"]
mod of_telegram;

mod of_html {
    use super::*;

    /// Text and spans as `text | kind offset length argument | …`, or the error.
    #[track_caller]
    fn check(html: &str, wanted: &str) {
        let found = match html::parse(html) {
            Ok((text, spans)) => spans.iter().fold(text, |out, span| {
                let argument = if span.argument.is_empty() { "" } else { " " };
                let html::Span { kind, offset, length, argument: value } = span;
                format!("{out} | {kind} {offset} {length}{argument}{value}")
            }),
            Err(why) => why,
        };
        assert_eq!(found, wanted);
    }

    #[test]
    fn offsets_are_utf16_units() {
        check("😀<b>é😀</b>", "😀é😀 | bold 2 3");
    }
    #[test]
    fn a_language_needs_pre_around_code() {
        check("<pre><code class=\"language-c\">x</code></pre>", "x | pre 0 1 c");
        check("<code class=\"language-c\">x</code>", "x | code 0 1");
    }
    #[test]
    fn a_bad_link_is_dropped_without_a_word() {
        check("<a href=\"nonsense\">x</a>", "x");
        check("<a href=\"tg://user?id=7\">x</a>", "x | text_mention 0 1 7");
    }
    #[test]
    fn an_angle_bracket_must_be_escaped() {
        check("a < b", "Unsupported start tag \"\" at byte offset 2");
        check("a<b", "Unclosed start tag at byte offset 1");
        check("a &lt; b", "a < b");
    }
    #[test]
    fn half_an_emoji_is_refused() {
        let wanted = "Text contains invalid Unicode characters after decoding HTML entities, check for unmatched surrogate code units";
        check("&#xd83d;", wanted);
    }
    #[test]
    fn empty_elements_vanish() {
        check("a<b></b>c", "ac");
    }
}

#[path = "standin/gemini.rs"]
mod of_gemini;

#[path = "standin/postgrest.rs"]
mod of_postgrest;
