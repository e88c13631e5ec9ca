//! Owns: one connection: its bytes in and out, whole heads, bodies of a known length, and their time bounds.
//! May not: know what is served.
//! Invariant: a connection holds one head and one chunk; whoever is slow at anything is cut.

use super::head::{self, HEAD_BYTES_MAX, Head, Progress};
use super::tls::TlsStream;
use crate::daemon::clock::monotonic;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

/// From the first byte of a head (or the connection) to its end; then 408.
pub(super) const HEAD_TIMEOUT: Duration =
    Duration::from_millis(if cfg!(test) { 2_000 } else { 5_000 });
/// An open connection without a request.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 75 });
/// A body, from its first byte to its last.
const BODY_TIMEOUT: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { 20_000 });
/// A reply that is not taken in that time.
const WRITE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });
/// What is read and dropped after a refusal, so that the reply arrives instead of a reset.
const LINGER_BYTES_MAX: usize = 64 * 1_024;
/// And for how long.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// First size of a connection's buffer; most heads fit.
const BUFFER_BYTES: usize = 1_024;
/// Read at once of a body.
const CHUNK_BYTES: usize = 8 * 1_024;

/// What a connection runs over.
pub(super) enum Stream {
    /// Loopback, or behind a proxy.
    Plain(TcpStream),
    /// Our own TLS.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Appends what has come, at most `most` bytes; 0 at the end.
    async fn read(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.take(most as u64).read_buf(buffer).await,
            Self::Tls(tls) => tls.read(buffer, most).await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes).await,
            Self::Tls(tls) => tls.write_all(bytes).await,
        }
    }

    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.shutdown().await,
            Self::Tls(tls) => tls.shutdown().await,
        }
    }

    fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }
}

/// What came instead of, or as, a head.
pub(super) enum Read {
    /// A request; its body, if any, is still to be read.
    Head(Head),
    /// Closed, or idle for too long.
    Gone,
    /// Not a head: answer with this status and close.
    Bad(u16),
}

/// A connection with what has been read ahead.
pub(super) struct Conn {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Conn {
    /// At its beginning.
    ///
    /// # Errors
    /// The connection is gone already.
    pub(super) fn new(mut stream: Stream) -> io::Result<Self> {
        stream.tcp().set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// The next head, waited for so long; what came behind it stays in the buffer.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn head(&mut self, wait: Duration) -> io::Result<Read> {
        let Self { stream, buffer } = self;
        if buffer.is_empty() {
            match timeout(wait, stream.read(buffer, HEAD_BYTES_MAX)).await {
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
            match timeout_at(deadline, stream.read(buffer, room)).await {
                Err(_) => return Ok(Read::Bad(408)),
                Ok(Ok(0)) => return Ok(Read::Gone),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Hands a body of exactly `length` bytes to `take`, in pieces.
    ///
    /// # Errors
    /// The connection broke or ended before that, or was too slow.
    pub(super) async fn body(
        &mut self,
        length: usize,
        take: &mut (dyn FnMut(&[u8]) + Send),
    ) -> io::Result<()> {
        let Self { stream, buffer } = self;
        let deadline = tokio::time::Instant::from_std(monotonic() + BODY_TIMEOUT);
        let mut left = length;
        loop {
            let here = buffer.len().min(left);
            take(buffer.get(..here).unwrap_or_default());
            buffer.drain(..here);
            left -= here;
            if left == 0 {
                buffer.shrink_to(BUFFER_BYTES);
                return Ok(());
            }
            let most = left.min(CHUNK_BYTES);
            buffer.reserve(most);
            match timeout_at(deadline, stream.read(buffer, most)).await {
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Sends bytes, within [`WRITE_TIMEOUT`].
    ///
    /// # Errors
    /// The connection broke, or the other side does not take them.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(WRITE_TIMEOUT, self.stream.write_all(bytes)).await.map_err(io::Error::from)?
    }

    /// The last reply of a connection: whatever the other side still sends is read for a moment, since
    /// closing over unread bytes resets the connection and may destroy the reply on its way.
    ///
    /// # Errors
    /// As [`Conn::write`].
    pub(super) async fn finish(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes).await?;
        timeout(WRITE_TIMEOUT, self.stream.shutdown()).await.map_err(io::Error::from)??;
        let tcp = self.stream.tcp();
        let mut sink = [0; 512];
        let mut left = LINGER_BYTES_MAX;
        let drain = async {
            while left > 0 {
                match tcp.read(&mut sink).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => left = left.saturating_sub(count),
                }
            }
        };
        // Silence and too much end the same way.
        let _ = timeout(LINGER_TIMEOUT, drain).await;
        Ok(())
    }
}

/// The words of a status line.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    }
}
