//! Owns: a small blocking HTTP/1.1 server on loopback: framing, keep-alive, bounds.
//! May not: know which service is being played, read a clock.
//! Invariant: never more than [`CONNECTIONS_MAX`] threads, none of them outlives its server by more than one write.

use crate::calendar::http_date;
use crate::types::UnixMs;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Connections served at once; further ones are closed unread.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Largest request body: 20 MB of media in base64 and some words.
pub const BODY_BYTES_MAX: usize = 32 << 20;
const HEAD_BYTES_MAX: usize = 32 << 10;
const HEADERS_MAX: usize = 64;
const STACK_BYTES: usize = 192 << 10;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// One request, read to its end.
#[derive(Debug, Default)]
pub struct Request {
    /// Verb, upper case.
    pub method: String,
    /// Path without query, percent-decoded.
    pub path: String,
    /// Query pairs, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    /// The first query value of that name.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What to answer.
#[derive(Debug, Default)]
pub struct Reply {
    /// HTTP status; 0 hangs up without a word.
    pub status: u16,
    /// `Content-Type`.
    pub kind: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Milliseconds to wait before the first byte.
    pub delay_ms: u64,
    /// The whole body, or its first part.
    pub body: Vec<u8>,
    /// Further parts, each after a wait; any of them makes the reply chunked.
    pub parts: Vec<(u64, Vec<u8>)>,
    /// Hang up after the last part without ending the body.
    pub cut: bool,
}

impl Reply {
    /// A JSON reply.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, kind: "application/json", body: body.into(), ..Self::default() }
    }
    /// No reply at all: the connection closes.
    pub fn hang_up() -> Self {
        Self::default()
    }
}

/// A played service.
pub trait Service: Send + Sync + 'static {
    /// Answers one request; called from many threads at once.
    fn answer(&self, request: &Request) -> Reply;
    /// The service's clock, shown as `Date` in every reply.
    fn now_ms(&self) -> UnixMs;
    /// Wakes every thread that waits inside [`Service::answer`]; the server is ending.
    fn stop(&self) {}
}

/// A lock that a panic elsewhere does not spoil: the stand-ins hold plain data.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Shared {
    open: Mutex<Open>,
    ended: Condvar,
}

#[derive(Default)]
struct Open {
    ending: bool,
    next: u64,
    streams: BTreeMap<u64, TcpStream>,
}

/// A running server; dropping it closes every connection.
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    service: Arc<dyn Service>,
}

impl Server {
    /// Listens on `127.0.0.1:port`, 0 for any free port.
    ///
    /// # Errors
    /// When the port cannot be had or no thread can be started.
    pub fn start(port: u16, service: Arc<dyn Service>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (ours, theirs) = (Arc::clone(&shared), Arc::clone(&service));
        thread::Builder::new()
            .name("standin".into())
            .stack_size(STACK_BYTES)
            .spawn(move || accept(&listener, &ours, &theirs))?;
        Ok(Self { addr, shared, service })
    }

    /// Base URL, without trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Connections that are open or still being answered.
    pub fn connections(&self) -> usize {
        lock(&self.shared.open).streams.len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut open = lock(&self.shared.open);
        open.ending = true;
        for stream in open.streams.values() {
            drop(stream.shutdown(Shutdown::Both));
        }
        drop(open);
        self.shared.ended.notify_all();
        self.service.stop();
        // One last connection wakes the accepting thread, which then sees that it is over.
        drop(TcpStream::connect(self.addr));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, service: &Arc<dyn Service>) {
    for stream in listener.incoming() {
        let mut open = lock(&shared.open);
        if open.ending {
            return;
        }
        let Ok(stream) = stream else { continue };
        let Ok(twin) = stream.try_clone() else { continue };
        if CONNECTIONS_MAX <= open.streams.len() {
            continue;
        }
        let id = open.next;
        open.next += 1;
        open.streams.insert(id, twin);
        drop(open);
        let (ours, theirs) = (Arc::clone(shared), Arc::clone(service));
        let started = thread::Builder::new().name("standin".into()).stack_size(STACK_BYTES).spawn(
            move || {
                // A broken connection is the client's business, and often the test's wish.
                drop(converse(&stream, &ours, theirs.as_ref()));
                drop(stream.shutdown(Shutdown::Both));
                lock(&ours.open).streams.remove(&id);
            },
        );
        if started.is_err() {
            lock(&shared.open).streams.remove(&id);
        }
    }
}

fn converse(stream: &TcpStream, shared: &Shared, service: &dyn Service) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut input = BufReader::with_capacity(8 << 10, stream);
    while let Some(head) = read_head(&mut input)? {
        let Some((mut request, keep)) = parse_head(&head) else {
            let refusal = Reply { status: 400, kind: "text/plain", ..Reply::default() };
            return write_reply(stream, shared, service.now_ms(), refusal, false).map(drop);
        };
        if request.header("expect").is_some_and(|it| it.eq_ignore_ascii_case("100-continue")) {
            (&*stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if !read_body(&mut input, &mut request)? {
            let refusal = Reply::json(413, "{\"message\":\"Request Entity Too Large\"}");
            return write_reply(stream, shared, service.now_ms(), refusal, false).map(drop);
        }
        let reply = service.answer(&request);
        if !write_reply(stream, shared, service.now_ms(), reply, keep)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The bytes up to and with the empty line; none when the peer has closed politely.
fn read_head(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let room = HEAD_BYTES_MAX.saturating_sub(before) as u64;
        let got = input.by_ref().take(room).read_until(b'\n', &mut head)?;
        if got == 0 {
            let partial = before != 0;
            return if partial { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
        }
        if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
            return Ok(Some(head));
        }
        if head == b"\r\n" {
            head.clear();
        }
    }
}

fn parse_head(head: &[u8]) -> Option<(Request, bool)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    if !parsed.parse(head).ok()?.is_complete() {
        return None;
    }
    let target = parsed.path?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: parsed.method?.to_ascii_uppercase(),
        path: percent_decode(path, false),
        query: form_pairs(query),
        ..Request::default()
    };
    for header in parsed.headers.iter() {
        let value = String::from_utf8_lossy(header.value).into_owned();
        request.headers.push((header.name.to_ascii_lowercase(), value));
    }
    let close = request.header("connection").is_some_and(|it| it.eq_ignore_ascii_case("close"));
    Some((request, parsed.version == Some(1) && !close))
}

/// Reads the body into the request; false when it is over the bound.
fn read_body(input: &mut impl BufRead, request: &mut Request) -> io::Result<bool> {
    let chunked =
        request.header("transfer-encoding").is_some_and(|it| it.eq_ignore_ascii_case("chunked"));
    if !chunked {
        let length = request.header("content-length").and_then(|it| it.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        if BODY_BYTES_MAX < length {
            return Ok(false);
        }
        request.body = vec![0; length];
        input.read_exact(&mut request.body)?;
        return Ok(true);
    }
    loop {
        let line = read_line(input)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            while !read_line(input)?.is_empty() {}
            return Ok(true);
        }
        if BODY_BYTES_MAX.saturating_sub(request.body.len()) < size {
            return Ok(false);
        }
        let got = input.by_ref().take(size as u64).read_to_end(&mut request.body)?;
        if got < size || !read_line(input)?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if input.by_ref().take(HEAD_BYTES_MAX as u64).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Writes a reply; false when the connection must close after it.
fn write_reply(
    mut stream: &TcpStream,
    shared: &Shared,
    now_ms: UnixMs,
    reply: Reply,
    keep: bool,
) -> io::Result<bool> {
    if !pause(shared, reply.delay_ms) || reply.status == 0 {
        return Ok(false);
    }
    let keep = keep && !reply.cut;
    let chunked = !reply.parts.is_empty() || reply.cut;
    let mut out = Vec::with_capacity(256 + reply.body.len());
    write!(out, "HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status))?;
    write!(out, "Date: {}\r\n", http_date(now_ms))?;
    if !reply.kind.is_empty() {
        write!(out, "Content-Type: {}\r\n", reply.kind)?;
    }
    for (name, value) in &reply.headers {
        write!(out, "{name}: {value}\r\n")?;
    }
    if !keep {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        write_chunk(&mut out, &reply.body)?;
    } else if reply.status == 204 {
        out.extend_from_slice(b"\r\n");
    } else {
        write!(out, "Content-Length: {}\r\n\r\n", reply.body.len())?;
        out.extend_from_slice(&reply.body);
    }
    stream.write_all(&out)?;
    for (wait_ms, part) in reply.parts {
        if !pause(shared, wait_ms) {
            return Ok(false);
        }
        out.clear();
        write_chunk(&mut out, &part)?;
        stream.write_all(&out)?;
    }
    if chunked && !reply.cut {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(keep)
}

fn write_chunk(out: &mut Vec<u8>, part: &[u8]) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    write!(out, "{:x}\r\n", part.len())?;
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Waits; false when the server ended meanwhile.
fn pause(shared: &Shared, wait_ms: u64) -> bool {
    if wait_ms == 0 {
        return true;
    }
    let open = lock(&shared.open);
    let wait = Duration::from_millis(wait_ms);
    let (open, _) = shared
        .ended
        .wait_timeout_while(open, wait, |open| !open.ending)
        .unwrap_or_else(PoisonError::into_inner);
    !open.ending
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// The pairs of a query or of an urlencoded form.
pub fn form_pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key, true), percent_decode(value, true))
        })
        .collect()
}

/// Undoes percent-encoding; `+` is a space in queries and forms only.
pub fn percent_decode(text: &str, plus_is_space: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let hex = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            _ => out.push(first),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
