//! Owns: the webhook's listener: who may deliver, how much, and that 200 means stored.
//! May not: decide what an update means, store it, answer before the loop has.
//! Invariant: an update is acknowledged only after its transaction is on the disk; whatever else comes
//! has no effect.

mod desk;
#[cfg(test)]
mod tests;
mod update;

pub use desk::Desk;

use super::conn::{Conn, HEAD_TIMEOUT, IDLE_TIMEOUT, Read, Stream, reason};
use super::head::{Body, Head};
use super::listen::{self, Mark};
use super::tls::{Certificate, TlsStream};
use crate::commands::Failure;
use crate::config::Webhook;
use crate::daemon::clock::monotonic;
use crate::daemon::event::{Event, Fetched};
use crate::secret_hash;
use crate::types::Secret;
use desk::Verdict;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout_at;

/// Updates that are read or wait for their commit at once: each holds at most
/// `update::BYTES_MAX` bytes.
pub const DELIVERIES_MAX: usize = 16;
/// A longer body is refused unread. Real updates have some tens of KiB.
const BODY_BYTES_MAX: u64 = 4 * 1_024 * 1_024;
/// How long a delivery waits for its turn and its commit; then Telegram is asked to come again.
const STORE_WITHIN: Duration = Duration::from_secs(20);
/// What Telegram is asked to wait before it delivers again.
const RETRY_AFTER_S: u32 = 2;
/// How long an end waits for replies that are under way.
const CLOSE_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 2 });
/// Refused requests are logged at once, then after a wait that doubles from the first to the last: a public
/// port is knocked at all day.
const REFUSED_EVERY_MIN: Duration = Duration::from_secs(60);
const REFUSED_EVERY_MAX: Duration = Duration::from_secs(3_600);
/// TLS and JSON of bounded depth fit; only touched pages count.
const STACK_BYTES: usize = 256 * 1_024;

/// A running listener.
pub struct Listener {
    /// Where it listens; the port is the real one also where 0 was asked for.
    pub addr: SocketAddr,
    /// The deliveries that wait for the loop's word.
    pub desk: Arc<Desk>,
    up: Arc<AtomicBool>,
    closing: Arc<Notify>,
    ended: mpsc::Receiver<()>,
}

impl Listener {
    /// Whether it still listens.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Takes no further connection; what is in hand is still answered.
    pub fn close(&self) {
        self.closing.notify_one();
    }

    /// Waits until the last reply is out, at most `CLOSE_WITHIN`.
    pub fn join(self) {
        self.close();
        self.desk.refuse_waiting();
        // A reply that nobody takes is no reason to stay.
        let _ = self.ended.recv_timeout(CLOSE_WITHIN);
    }
}

/// What every connection needs.
struct Hall {
    path: String,
    secret: Secret,
    certificate: Option<Mutex<Certificate>>,
    events: UnboundedSender<Event>,
    desk: Arc<Desk>,
    room: Semaphore,
    closing: AtomicBool,
    refused: Mutex<Refused>,
    /// Where updates go that boxes share.
    #[cfg(feature = "redis")]
    post: Option<Arc<crate::daemon::relay::Post>>,
}

#[derive(Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
    wait: Duration,
}

impl Refused {
    /// Counts one more; the number of those that have not been told, when it is time to.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let quiet = self.told.map(|told| now.duration_since(told));
        if quiet.is_some_and(|quiet| quiet < self.wait) {
            return None;
        }
        let is_new = quiet.is_none_or(|quiet| quiet > REFUSED_EVERY_MAX * 2);
        self.wait = if is_new { REFUSED_EVERY_MIN } else { self.wait * 2 }.min(REFUSED_EVERY_MAX);
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// Opens the listener and serves it on a thread of its own.
///
/// # Errors
/// The certificate cannot be used (exit 2), or the address cannot be bound (exit 1).
pub fn spawn(
    settings: &Webhook,
    events: UnboundedSender<Event>,
    #[cfg(feature = "redis")] post: Option<Arc<crate::daemon::relay::Post>>,
) -> Result<Listener, Failure> {
    let certificate = match &settings.tls {
        Some(files) => {
            let opened = Certificate::open(files, monotonic()).map_err(Failure::usage)?;
            Some(Mutex::new(opened))
        }
        None => None,
    };
    let unusable = |error: io::Error| {
        let addr = settings.addr;
        Failure::failed(format!("WEBHOOK_ADDR: {addr}: {error}: choose another address"))
    };
    let listener = std::net::TcpListener::bind(settings.addr).map_err(unusable)?;
    listener.set_nonblocking(true).map_err(unusable)?;
    let addr = listener.local_addr().map_err(unusable)?;
    let desk = Arc::<Desk>::default();
    let hall = Arc::new(Hall {
        path: settings.path().to_owned(),
        secret: settings.secret.clone(),
        certificate,
        events,
        desk: Arc::clone(&desk),
        room: Semaphore::new(DELIVERIES_MAX),
        closing: AtomicBool::new(false),
        refused: Mutex::default(),
        #[cfg(feature = "redis")]
        post,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(unusable)?;
    let (closing, up) = (Arc::<Notify>::default(), Arc::new(AtomicBool::new(true)));
    let (end, ended) = mpsc::channel();
    let (closed, is_up) = (Arc::clone(&closing), Arc::clone(&up));
    std::thread::Builder::new()
        .name("webhook".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            runtime.block_on(serve(listener, hall, &closed));
            is_up.store(false, Ordering::Relaxed);
            drop(end);
        })
        .map_err(unusable)?;
    Ok(Listener { addr, desk, up, closing, ended })
}

/// Whether a certificate and its key can be used, for `check`.
///
/// # Errors
/// What is wrong with which file, for operators.
pub fn try_certificate(files: &(PathBuf, PathBuf)) -> Result<(), String> {
    Certificate::open(files, monotonic()).map(drop)
}

async fn serve(listener: std::net::TcpListener, hall: Arc<Hall>, closing: &Notify) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            log::error!(target: "webhook.lost", error:%; "listener lost");
            return;
        }
    };
    // Each conversation holds one end; the last to go wakes us.
    let (alive, mut all_gone) = tokio::sync::mpsc::channel::<()>(1);
    let closed = async {
        closing.notified().await;
        hall.closing.store(true, Ordering::Relaxed);
    };
    listen::serve(listener, closed, |stream, peer, mark| {
        let (hall, alive) = (Arc::clone(&hall), alive.clone());
        async move {
            let result = converse(stream, peer, &hall, &mark).await;
            drop(alive);
            result
        }
    })
    .await;
    drop(alive);
    let _ = tokio::time::timeout(CLOSE_WITHIN, all_gone.recv()).await;
}

async fn converse(tcp: TcpStream, peer: SocketAddr, hall: &Hall, mark: &Mark) -> io::Result<()> {
    let stream = match &hall.certificate {
        None => Stream::Plain(tcp),
        Some(certificate) => {
            let config =
                certificate.lock().unwrap_or_else(PoisonError::into_inner).current(monotonic());
            Stream::Tls(Box::new(TlsStream::new(tcp, config)?))
        }
    };
    let mut conn = Conn::new(stream)?;
    let mut wait = HEAD_TIMEOUT;
    loop {
        mark.busy.store(false, Ordering::Relaxed);
        let head = match conn.head(wait).await? {
            Read::Head(head) => head,
            Read::Gone => return Ok(()),
            Read::Bad(status) => {
                hall.refuse(peer, status);
                return conn.finish(&reply(status, false)).await;
            }
        };
        mark.busy.store(true, Ordering::Relaxed);
        wait = IDLE_TIMEOUT;
        let length = match hall.admit(&head) {
            Err(status) => {
                hall.refuse(peer, status);
                // Whatever body follows is left unread, so nothing can follow it.
                return conn.finish(&reply(status, false)).await;
            }
            Ok(length) => length,
        };
        mark.proven.store(true, Ordering::Relaxed);
        let deadline = tokio::time::Instant::from_std(monotonic() + STORE_WITHIN);
        let Ok(Ok(place)) = timeout_at(deadline, hall.room.acquire()).await else {
            return conn.finish(&reply(503, false)).await;
        };
        if head.expects_continue {
            conn.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut reader = update::Reader::new(length);
        conn.body(length, &mut |piece| reader.take(piece)).await?;
        #[cfg(feature = "redis")]
        let body = hall.post.as_ref().map(|_| reader.body()).unwrap_or_default();
        let status = hall
            .deliver(
                reader.finish(),
                #[cfg(feature = "redis")]
                body,
                deadline,
            )
            .await;
        drop(place);
        let keep_alive = head.keep_alive && !hall.closing.load(Ordering::Relaxed);
        if !keep_alive {
            return conn.finish(&reply(status, false)).await;
        }
        conn.write(&reply(status, true)).await?;
    }
}

impl Hall {
    /// The length of the body of a request that may deliver, or the status of its refusal.
    fn admit(&self, head: &Head) -> Result<usize, u16> {
        if head.path != self.path {
            return Err(404);
        }
        let shown = head.secret_token.as_deref().unwrap_or_default();
        if !secret_hash::equal(shown, self.secret.expose()) {
            return Err(401);
        }
        if head.method != "POST" {
            return Err(405);
        }
        match head.body {
            Body::Length(length) if length > BODY_BYTES_MAX => Err(413),
            Body::Length(length) => usize::try_from(length).map_err(|_| 413),
            Body::None => Ok(0),
            Body::Chunked => Err(411),
        }
    }

    /// Has an update stored; the status that says how that went.
    async fn deliver(
        &self,
        update: Fetched,
        #[cfg(feature = "redis")] body: Vec<u8>,
        deadline: tokio::time::Instant,
    ) -> u16 {
        let Some((ticket, verdict)) = self.desk.ticket() else { return 503 };
        #[cfg(feature = "redis")]
        let is_shared = self.share(&update, body, ticket);
        #[cfg(not(feature = "redis"))]
        let is_shared = false;
        if !is_shared
            && self.events.send(Event::Pushed { update: Box::new(update), ticket }).is_err()
        {
            return 503;
        }
        match timeout_at(deadline, verdict).await {
            Ok(Ok(Verdict::Stored)) => 200,
            // Refused, or not stored in time: the same update is known should it be stored yet.
            Ok(Ok(Verdict::Refused) | Err(_)) | Err(_) => 503,
        }
    }

    /// Hands an update to Redis, where boxes share them.
    #[cfg(feature = "redis")]
    fn share(&self, update: &Fetched, body: Vec<u8>, ticket: u64) -> bool {
        let Some(post) = &self.post else { return false };
        let desk = Arc::clone(&self.desk);
        post.push(update, body, Box::new(move |stored| desk.answer(ticket, stored)));
        true
    }

    /// Counts what had no business here; says so at once, and then now and then.
    fn refuse(&self, peer: SocketAddr, status: u16) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = refused.add(monotonic()) {
            log::warn!(
                target: "webhook.refused", count;
                "webhook: {count} requests refused, the last from {} with {status}: no delivery of Telegram",
                peer.ip()
            );
        }
    }
}

/// Telegram reads the status; nobody else is told anything.
fn reply(status: u16, keep_alive: bool) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 {status} {}\r\nContent-Length: 0\r\nConnection: {}\r\n",
        reason(status),
        if keep_alive { "keep-alive" } else { "close" }
    );
    match status {
        405 => out.push_str("Allow: POST\r\n"),
        503 => out.push_str(&format!("Retry-After: {RETRY_AFTER_S}\r\n")),
        _ => {}
    }
    out.push_str("\r\n");
    out.into_bytes()
}
