//! Owns: a socket whose waits end by a deadline.
//! May not: know TLS or HTTP.
//! Invariant: no wait goes beyond its deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Instant;
use ureq::{Error, Timeout};

/// The other side is asked for a sign of life after so long without any, and then so often. An open poll waits most of
/// a minute for updates; a network that swallows everything would look like a quiet day until then.
const LIFE_ASKED_AFTER_S: u16 = 5;
const LIFE_ASKED_EVERY_S: u16 = 3;
/// No sign for so long, or nothing acknowledged: the connection is dead.
const LIFE_GONE_MS: u16 = 15_000;
/// A wait shorter than this is told to the kernel exactly; a longer one so much shorter that the next call on the
/// same connection need not tell it again.
const EXACT_WAIT: Duration = Duration::from_secs(1);

/// A socket, and the longest waits that the kernel was told for it; none before it was told any.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    read_wait: Option<Duration>,
    write_wait: Option<Duration>,
}

impl Socket {
    /// # Errors
    /// The connection is gone already.
    pub(super) fn new(stream: Arc<TcpStream>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        crate::os::watch_peer(&stream, LIFE_ASKED_AFTER_S, LIFE_ASKED_EVERY_S, LIFE_GONE_MS)?;
        Ok(Self { stream, read_wait: None, write_wait: None })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn until<'a>(&'a mut self, deadline: &'a Deadline) -> Timed<'a> {
        Timed { socket: self, deadline }
    }
}

/// A socket that gives up at a deadline, with [`io::ErrorKind::WouldBlock`].
pub(super) struct Timed<'a> {
    socket: &'a mut Socket,
    deadline: &'a Deadline,
}

impl Timed<'_> {
    /// Repeats what was interrupted or has time left.
    fn repeat<T>(
        &mut self,
        arm: fn(&mut Socket, Option<Duration>) -> io::Result<()>,
        mut work: impl FnMut(&mut &TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        use io::ErrorKind::{Interrupted, WouldBlock};
        loop {
            let left = self.deadline.left().map_err(|_| WouldBlock)?;
            arm(self.socket, left)?;
            match work(&mut &*self.socket.stream) {
                Err(error) if matches!(error.kind(), Interrupted | WouldBlock) => {}
                result => return result,
            }
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let arm = |socket: &mut Socket, left| {
            let Some(wait) = next_wait(socket.read_wait, left) else { return Ok(()) };
            socket.stream.set_read_timeout(wait)?;
            socket.read_wait = wait;
            Ok(())
        };
        self.repeat(arm, |stream| stream.read(into))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let arm = |socket: &mut Socket, left| {
            let Some(wait) = next_wait(socket.write_wait, left) else { return Ok(()) };
            socket.stream.set_write_timeout(wait)?;
            socket.write_wait = wait;
            Ok(())
        };
        self.repeat(arm, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What to tell the kernel, if anything: what it knows serves as long as it is not beyond what is left, nor so
/// short that it would wake the thread for nothing. Two calls of the kernel for each call of a service are saved.
fn next_wait(told: Option<Duration>, left: Option<Duration>) -> Option<Option<Duration>> {
    match (told, left) {
        (None, None) => None,
        (Some(told), Some(left)) if told <= left && told >= left / 2 => None,
        (_, Some(left)) if left > EXACT_WAIT => Some(Some(left / 8 * 7)),
        (_, left) => Some(left),
    }
}

pub(super) type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// When a wait is over, and what it is then called.
pub(super) struct Deadline {
    clock: Clock,
    /// Never, where there is none.
    at: Option<std::time::Instant>,
    reason: Timeout,
}

impl Deadline {
    pub(super) fn new(clock: &Clock, timeout: NextTimeout) -> Self {
        let at = match (clock)() + timeout.after {
            Instant::Exact(at) => Some(at),
            Instant::AlreadyHappened | Instant::NotHappening => None,
        };
        Self { clock: Arc::clone(clock), at, reason: timeout.reason }
    }

    /// What is left; none means for ever.
    pub(super) fn left(&self) -> Result<Option<Duration>, Error> {
        let (Some(at), Instant::Exact(now)) = (self.at, (self.clock)()) else { return Ok(None) };
        match at.checked_duration_since(now).filter(|left| !left.is_zero()) {
            Some(left) => Ok(Some(left)),
            None => Err(Error::Timeout(self.reason)),
        }
    }

    /// What ended a wait on an open connection. A host or network that is out of reach is told from one that could
    /// not be reached in the first place: what was sent before may have arrived.
    pub(super) fn judge(&self, error: io::Error) -> Error {
        use io::ErrorKind::{
            HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut, WouldBlock,
        };
        match error.kind() {
            WouldBlock => Error::Timeout(self.reason),
            HostUnreachable | NetworkUnreachable | NetworkDown => Error::Io(TimedOut.into()),
            _ => Error::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_told_a_wait_only_when_what_it_knows_does_not_serve() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let cases = [
            ("nothing known", None, ms(60_000), Some(ms(52_500))),
            ("the next call, as patient", ms(52_500), ms(60_000), None),
            ("the same call, a little later", ms(52_500), ms(59_000), None),
            ("what is known is beyond the end", ms(52_500), ms(50_000), Some(ms(43_750))),
            ("what is known wakes too often", ms(5_000), ms(60_000), Some(ms(52_500))),
            ("the last second is exact", ms(6_562), ms(937), Some(ms(937))),
            ("a wait without end", ms(5_000), None, Some(None)),
            ("and again", None, None, None),
        ];
        for (name, told, left, expected) in cases {
            assert_eq!(next_wait(told, left), expected, "{name}");
        }
    }

    #[test]
    fn a_connection_that_dies_is_never_taken_for_one_that_was_not_made() {
        use io::ErrorKind;
        let clock: Clock = Arc::new(Instant::now);
        let deadline = Deadline { clock, at: None, reason: Timeout::RecvResponse };
        for (name, given, expected) in [
            ("our own deadline", ErrorKind::WouldBlock, None),
            ("the kernel gave it up", ErrorKind::TimedOut, Some(ErrorKind::TimedOut)),
            ("and had heard why", ErrorKind::HostUnreachable, Some(ErrorKind::TimedOut)),
            ("the route went away", ErrorKind::NetworkUnreachable, Some(ErrorKind::TimedOut)),
            ("a reset", ErrorKind::ConnectionReset, Some(ErrorKind::ConnectionReset)),
        ] {
            let judged = match deadline.judge(given.into()) {
                Error::Timeout(Timeout::RecvResponse) => None,
                Error::Io(error) => Some(error.kind()),
                other => panic!("{name}: {other}"),
            };
            assert_eq!(judged, expected, "{name}");
        }
    }
}
