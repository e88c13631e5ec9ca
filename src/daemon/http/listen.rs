//! Owns: the accepting loop of a listener and the bound on its connections.
//! May not: know what is spoken on them.
//! Invariant: never more than [`CONNECTIONS_MAX`] alive; strangers push out strangers first.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Connections alive at once. One more ends the oldest: whoever really asks is answered long before
/// that many others have come, and ten thousand slow ones only push out each other.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// What the kernel may keep of the replies that one connection does not take; some pages fit.
const UNSENT_BYTES: u16 = 48 * 1_024;
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What is known of a connection while it lives.
#[derive(Debug, Default)]
pub(super) struct Mark {
    /// It has shown the secret: a stranger does not push it out.
    pub(super) proven: AtomicBool,
    /// A request is in hand: an end asked for waits for its reply.
    pub(super) busy: AtomicBool,
}

/// Accepts until `closed` resolves; each connection is a task of its own. At the end those without a
/// request in hand are cut, the others go on.
pub(super) async fn serve<F>(
    listener: TcpListener,
    closed: impl Future<Output = ()>,
    converse: impl Fn(TcpStream, SocketAddr, Arc<Mark>) -> F,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let mut closed = pin!(closed);
    if let Err(error) = crate::os::bound_unsent(&listener, UNSENT_BYTES) {
        log::debug!(target: "http.accept", error:%; "unsent bytes are not bounded");
    }
    // Oldest first; finished ones are swept out when room is needed.
    let mut alive: VecDeque<(AbortHandle, Arc<Mark>)> = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        let accepted = poll_fn(|context| {
            if closed.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            listener.poll_accept(context).map(Some)
        });
        let (stream, peer) = match accepted.await {
            None => break,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                log::debug!(target: "http.accept", error:%; "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        make_room(&mut alive);
        let mark = Arc::<Mark>::default();
        let conversation = converse(stream, peer, Arc::clone(&mark));
        let task = tokio::spawn(async move {
            // A broken connection is the other side's affair.
            let _ = conversation.await;
        });
        alive.push_back((task.abort_handle(), mark));
    }
    drop(listener);
    for (handle, mark) in alive {
        if !mark.busy.load(Ordering::Relaxed) {
            handle.abort();
        }
    }
}

fn make_room(alive: &mut VecDeque<(AbortHandle, Arc<Mark>)>) {
    if alive.len() < CONNECTIONS_MAX {
        return;
    }
    alive.retain(|(handle, _)| !handle.is_finished());
    if alive.len() < CONNECTIONS_MAX {
        return;
    }
    let is_stranger = |(_, mark): &(AbortHandle, Arc<Mark>)| !mark.proven.load(Ordering::Relaxed);
    let at = alive.iter().position(is_stranger).unwrap_or(0);
    if let Some((oldest, _)) = alive.remove(at) {
        oldest.abort();
    }
}
