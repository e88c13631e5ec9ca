//! Owns: the two listeners: the status pages of contract §6 here, the webhook beside them.
//! May not: touch the database, wait for the event loop, start without a guard.
//! Invariant: memory is bounded by `CONNECTIONS_MAX` heads and replies, whoever connects.

mod chart;
mod conn;
mod guard;
mod head;
mod listen;
mod page;
#[cfg(feature = "profiling")]
mod profile;
mod reply;
mod status_json;
mod tls;
pub mod webhook;

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod tests;

pub use status_json::{keys_json, status_json};

use super::snapshot::Shared;
use crate::types::Secret;
use conn::{Conn, HEAD_TIMEOUT, IDLE_TIMEOUT, Read, Stream};
use guard::Guard;
use head::Body;
use reply::Reply;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

/// What the heads of all connections may hold.
const BYTES_MAX: u64 = (listen::CONNECTIONS_MAX * head::HEAD_BYTES_MAX) as u64;
/// Requests on one connection; then it is closed.
const REQUESTS_MAX: u32 = 1_000;
/// Rendering needs little; only touched pages count.
const STACK_BYTES: usize = if cfg!(feature = "profiling") { 4 << 20 } else { 192 * 1_024 };

/// How long the request head at the front of `bytes` is: `None` while more is needed, or the status that refuses it.
/// For those who try to break the reading of heads.
///
/// # Errors
/// What no head can begin with, as the status of the reply.
pub fn head_bytes(bytes: &[u8]) -> Result<Option<usize>, u16> {
    match head::parse(bytes) {
        head::Progress::Whole(_, used) => Ok(Some(used)),
        head::Progress::Partial => Ok(None),
        head::Progress::Bad(status) => Err(status),
    }
}

/// A running listener.
#[derive(Debug)]
pub struct Server {
    /// Where it listens; the port is the real one also where 0 was asked for.
    pub addr: SocketAddr,
}

/// Opens the listener and serves it on a thread of its own until the process ends, so that a stuck
/// event loop is still reported.
///
/// # Errors
/// The address cannot be bound, the thread cannot be started, or [`io::ErrorKind::PermissionDenied`]
/// where the address is not loopback and there is no token (contract §5.7).
pub fn spawn(addr: SocketAddr, token: Option<&Secret>, shared: Arc<Shared>) -> io::Result<Server> {
    let guard = Guard::for_listener(addr, token).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            "HTTP_ADDR: it is not loopback and HTTP_TOKEN is not set: set one or the other",
        )
    })?;
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    std::thread::Builder::new().name("http".to_owned()).stack_size(STACK_BYTES).spawn(
        move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => {
                        let guard = Arc::new(guard);
                        let never = std::future::pending();
                        listen::serve(listener, never, |stream, _, _| {
                            let (guard, shared) = (Arc::clone(&guard), Arc::clone(&shared));
                            async move { converse(stream, &guard, &shared).await }
                        })
                        .await;
                    }
                    Err(error) => log::error!(target: "http.lost", error:%; "listener lost"),
                }
            });
        },
    )?;
    Ok(Server { addr })
}

/// Requests and replies in turn until one side ends it.
async fn converse(stream: TcpStream, guard: &Guard, shared: &Shared) -> io::Result<()> {
    let mut conn = Conn::new(Stream::Plain(stream))?;
    for served in 1..=REQUESTS_MAX {
        let head = match conn.head(if served == 1 { HEAD_TIMEOUT } else { IDLE_TIMEOUT }).await? {
            Read::Head(head) => head,
            Read::Gone => return Ok(()),
            Read::Bad(status) => {
                let bytes = Reply::refusal(status).bytes(false, false, shared.now_ms());
                return conn.finish(&bytes).await;
            }
        };
        // Nothing here takes a body, so none is read: what follows it cannot be told from a request.
        let keep_alive = head.keep_alive && head.body == Body::None && served < REQUESTS_MAX;
        #[cfg(feature = "profiling")]
        let profile = profile::reply(&head, guard).await;
        #[cfg(not(feature = "profiling"))]
        let profile: Option<Reply> = None;
        let reply = match profile {
            Some(profile) => profile,
            None => reply::reply(&head, guard, shared),
        };
        let bytes = reply.bytes(head.method == "HEAD", keep_alive, shared.now_ms());
        if !keep_alive {
            return conn.finish(&bytes).await;
        }
        conn.write(&bytes).await?;
    }
    Ok(())
}
