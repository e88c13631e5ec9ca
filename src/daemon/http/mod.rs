//! Owns: the status listener of contract §6: its thread, its connections, their bounds.
//! May not: touch the database, wait for the event loop, start without a guard.
//! Invariant: memory is bounded by `CONNECTIONS_MAX` heads and replies, whoever connects.

mod chart;
mod guard;
mod head;
mod page;
#[cfg(feature = "profiling")]
mod profile;
mod reply;
mod status_json;

#[cfg(test)]
pub(crate) mod example;
#[cfg(test)]
mod tests;

pub use status_json::{keys_json, status_json};

use super::clock::monotonic;
use super::snapshot::Shared;
use crate::types::Secret;
use guard::Guard;
use head::{HEAD_BYTES_MAX, Progress};
use reply::Reply;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{timeout, timeout_at};

/// Connections alive at once. One more ends the oldest: whoever really asks is answered long before
/// that many others have come, and ten thousand slow ones only push out each other.
const CONNECTIONS_MAX: usize = 64;
/// What the heads of all of them may hold.
const BYTES_MAX: u64 = (CONNECTIONS_MAX * HEAD_BYTES_MAX) as u64;
/// From the first byte of a head (or the connection) to its end; then 408.
const HEAD_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 5_000 });
/// An open connection without a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A reply that is not taken in that time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests on one connection; then it is closed.
const REQUESTS_MAX: u32 = 1_000;
/// What is read and dropped after a refusal, so that the reply arrives instead of a reset.
const LINGER_BYTES_MAX: usize = 64 * 1_024;
/// And for how long.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Rendering needs little; only touched pages count.
const STACK_BYTES: usize = if cfg!(feature = "profiling") { 4 << 20 } else { 192 * 1_024 };
/// First size of a connection's buffer; most heads fit.
const BUFFER_BYTES: usize = 1_024;

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
                    Ok(listener) => serve(listener, Arc::new(guard), shared).await,
                    Err(error) => log::error!(target: "http.lost", error:%; "listener lost"),
                }
            });
        },
    )?;
    Ok(Server { addr })
}

async fn serve(listener: TcpListener, guard: Arc<Guard>, shared: Arc<Shared>) {
    // Oldest first; finished ones are swept out when room is needed.
    let mut alive: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::debug!(target: "http.accept", error:%; "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if alive.len() >= CONNECTIONS_MAX {
            alive.retain(|handle| !handle.is_finished());
        }
        if alive.len() >= CONNECTIONS_MAX
            && let Some(oldest) = alive.pop_front()
        {
            oldest.abort();
        }
        let (guard, shared) = (Arc::clone(&guard), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let mut stream = stream;
            // A broken connection is the other side's affair.
            let _ = converse(&mut stream, &guard, &shared).await;
        });
        alive.push_back(task.abort_handle());
    }
}

/// Requests and replies in turn until one side ends it.
async fn converse(stream: &mut TcpStream, guard: &Guard, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for served in 1..=REQUESTS_MAX {
        let wait = if served == 1 { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
        let head = match read_head(stream, &mut buffer, wait).await? {
            Read::Head(head) => head,
            Read::Gone => return Ok(()),
            Read::Bad(status) => {
                let bytes = Reply::refusal(status).bytes(false, false, shared.now_ms());
                return finish(stream, &bytes).await;
            }
        };
        let keep_alive = head.keep_alive && served < REQUESTS_MAX;
        #[cfg(feature = "profiling")]
        let profile = profile::reply(&head, guard).await;
        #[cfg(not(feature = "profiling"))]
        let profile = None;
        let reply = profile.unwrap_or_else(|| reply::reply(&head, guard, shared));
        let bytes = reply.bytes(head.method == "HEAD", keep_alive, shared.now_ms());
        if !keep_alive {
            return finish(stream, &bytes).await;
        }
        write(stream, &bytes).await?;
    }
    Ok(())
}

enum Read {
    Head(head::Head),
    /// Closed, or idle for too long.
    Gone,
    Bad(u16),
}

/// The next head; what came behind it stays in `buffer`.
async fn read_head(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    wait: Duration,
) -> io::Result<Read> {
    if buffer.is_empty() {
        match timeout(wait, stream.read_buf(buffer)).await {
            Err(_) | Ok(Ok(0)) => return Ok(Read::Gone),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
    let deadline = tokio::time::Instant::from_std(monotonic() + HEAD_TIMEOUT);
    loop {
        match head::parse(buffer) {
            Progress::Whole(head, used) => {
                buffer.drain(..used.min(buffer.len()));
                return Ok(Read::Head(head));
            }
            Progress::Bad(status) => return Ok(Read::Bad(status)),
            Progress::Partial => {}
        }
        // `parse` says 431 once the buffer is full, so there is always room here.
        let room = HEAD_BYTES_MAX.saturating_sub(buffer.len()).max(1);
        match timeout_at(deadline, stream.take(room as u64).read_buf(buffer)).await {
            Err(_) => return Ok(Read::Bad(408)),
            Ok(Ok(0)) => return Ok(Read::Gone),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await.map_err(io::Error::from)?
}

/// The last reply of a connection: whatever the other side still sends is read for a moment, since
/// closing over unread bytes resets the connection and may destroy the reply on its way.
async fn finish(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    write(stream, bytes).await?;
    stream.shutdown().await?;
    let mut sink = [0; 512];
    let mut left = LINGER_BYTES_MAX;
    let drain = async {
        while left > 0 {
            match stream.read(&mut sink).await {
                Ok(0) | Err(_) => break,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    };
    // Silence and too much end the same way.
    let _ = timeout(LINGER_TIMEOUT, drain).await;
    Ok(())
}
