//! Owns: one connection: socket, TLS, and the bytes that wait on either side of HTTP.
//! May not: know HTTP, hosts or credentials.
//! Invariant: every wait ends by its deadline; buffers are held only while bytes are in them.
//!
//! ureq's own chain keeps four buffers for each TLS connection for as long as it lives, and leaves the
//! depth of a handshake on the stack of whoever asked: together most of what an answer in flight
//! costs. Here an open connection that waits holds no buffer of ours, and handshakes are worked out one
//! at a time on a stack that is given back.

use rustls::{ClientConfig, ClientConnection};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use ureq::unversioned::transport::time::Instant;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// Bytes taken from the connection at once; the buffer grows for a longer header.
const INPUT_BYTES: usize = 4 * 1024 - 64;
/// Bytes of reply headers; Supabase's gateway sends about 2 KiB.
pub(super) const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// One more reading than a header may have, so that a longer one is seen to be.
const INPUT_BYTES_MAX: usize = HEADERS_BYTES_MAX + INPUT_BYTES;
/// Bytes handed to the connection at once. One line of a request has to fit, and a filter of 200 ids is about
/// 4 KiB long. A little less than 8 KiB, so that the allocator's own bytes do not move it to the next size.
const OUTPUT_BYTES: usize = 8 * 1024 - 64;
/// The same once a piece was full: a batch of rows then leaves in a few, and does not wake the server for
/// each 8 KiB.
const LARGE_OUTPUT_BYTES: usize = 64 * 1024 - 64;
/// Room for what is chunked; our bodies have a length and need none.
const SCRATCH_BYTES: usize = 512;
/// Bytes that TLS may hold back on the way out.
const TLS_BYTES_MAX: usize = 16 * 1024;
/// Verifying a chain of certificates goes some 60 KiB deep.
const HANDSHAKE_STACK_BYTES: usize = 256 * 1024;
/// The share of the time that the first of several addresses gets, and each later one of the rest.
const ADDRESS_SHARE: u32 = 2;

/// Makes connections, with TLS where the scheme says so.
pub(super) struct Dial {
    tls: Arc<ClientConfig>,
    /// Held while a handshake's arithmetic is done, never while waiting for the other side.
    one_at_a_time: Mutex<()>,
}

impl Dial {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls, one_at_a_time: Mutex::new(()) }
    }

    /// Runs what goes deep on a stack that is gone afterwards.
    fn deep<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let _turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("handshake".to_owned())
                .stack_size(HANDSHAKE_STACK_BYTES)
                .spawn_scoped(scope, work)?;
            thread.join().map_err(|_| io::Error::other("a handshake broke off"))
        })
    }

    fn handshake(
        &self,
        details: &ConnectionDetails<'_>,
        stream: &TcpStream,
        deadline: &Deadline,
    ) -> Result<Box<ClientConnection>, Error> {
        let name = details.uri.host().unwrap_or_default();
        let name = rustls::pki_types::ServerName::try_from(name.trim_matches(['[', ']']))
            .map_err(|_| Error::Tls("not a server's name"))?
            .to_owned();
        let mut tls = self
            .deep(|| ClientConnection::new(Arc::clone(&self.tls), name).map(Box::new))?
            .map_err(tls_error)?;
        tls.set_buffer_limit(Some(TLS_BYTES_MAX));
        loop {
            flush(&mut tls, stream, deadline)?;
            if !tls.is_handshaking() {
                return Ok(tls);
            }
            if fill(&mut tls, stream, deadline)? == 0 {
                return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Err(error) = self.deep(|| tls.process_new_packets().map(drop))? {
                // The other side is told why, where it still listens.
                let _told = flush(&mut tls, stream, deadline);
                return Err(tls_error(error));
            }
        }
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dial")
    }
}

impl Connector<()> for Dial {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Connection>, Error> {
        let clock = Arc::clone(&details.current_time);
        let deadline = Deadline::new(&clock, details.timeout);
        let stream = Arc::new(dial(details, &deadline)?);
        stream.set_nodelay(true)?;
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle)?;
        let tls = match details.needs_tls() {
            true => Some(self.handshake(details, &stream, &deadline)?),
            false => None,
        };
        Ok(Some(Connection { stream, tls, held: Held::default(), clock }))
    }
}

/// The first address that answers; each but the last gets a part of the time that is left.
fn dial(details: &ConnectionDetails<'_>, deadline: &Deadline) -> Result<TcpStream, Error> {
    let mut failed = None;
    let count = details.addrs.iter().count();
    for (n, address) in details.addrs.iter().enumerate() {
        let result = match deadline.left()? {
            None => TcpStream::connect(address),
            Some(left) if n + 1 == count => TcpStream::connect_timeout(address, left),
            Some(left) => TcpStream::connect_timeout(address, left / ADDRESS_SHARE),
        };
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    Err(match failed {
        Some(error) if is_timeout(&error) => Error::Timeout(Timeout::Connect),
        Some(error) => Error::Io(error),
        None => Error::HostNotFound,
    })
}

/// A connection as ureq uses it.
pub(super) struct Connection {
    stream: Arc<TcpStream>,
    tls: Option<Box<ClientConnection>>,
    held: Held,
    clock: Clock,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.held
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let deadline = Deadline::new(&self.clock, timeout.for_write());
        let output = std::mem::take(&mut self.held.output);
        self.held.is_large = amount == output.len();
        let mut rest = output.get(..amount).unwrap_or(&output);
        while !rest.is_empty() {
            let written = match &mut self.tls {
                None => {
                    self.stream.set_write_timeout(deadline.left()?)?;
                    (&*self.stream).write(rest).map_err(|error| deadline.judge(error))?
                }
                Some(tls) => {
                    let taken = tls.writer().write(rest)?;
                    flush(tls, &self.stream, &deadline)?;
                    taken
                }
            };
            if written == 0 {
                return Err(Error::Io(io::ErrorKind::WriteZero.into()));
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::new(&self.clock, timeout.for_read());
        let Some(tls) = &mut self.tls else {
            self.stream.set_read_timeout(deadline.left()?)?;
            let count = loop {
                match (&*self.stream).read(self.held.room()) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result.map_err(|error| deadline.judge(error))?,
                }
            };
            self.held.filled += count;
            return Ok(count > 0);
        };
        loop {
            let state = tls.process_new_packets().map_err(tls_error)?;
            if state.plaintext_bytes_to_read() > 0 {
                let count = tls.reader().read(self.held.room())?;
                self.held.filled += count;
                return Ok(count > 0);
            }
            if state.peer_has_closed() {
                return Ok(false);
            }
            // Keys may be renewed in the middle.
            flush(tls, &self.stream, &deadline)?;
            if fill(tls, &self.stream, &deadline)? == 0 {
                // Cut without the farewell that TLS demands: what came may not be all.
                return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Bytes that nobody asked for are as bad as an end.
        let quiet = |stream: &TcpStream| -> io::Result<bool> {
            stream.set_nonblocking(true)?;
            let waits = stream.peek(&mut [0]).is_err_and(|error| is_timeout(&error));
            stream.set_nonblocking(false)?;
            Ok(waits)
        };
        match &mut self.tls {
            None => quiet(&self.stream).unwrap_or(false),
            // Tickets for the next handshake come after the first reply and are taken in here.
            Some(tls) => quiet(&self.stream).unwrap_or(false) || only_tickets(tls, &self.stream),
        }
    }

    fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// Takes in what waits, and says whether it was nothing that a reader could see.
fn only_tickets(tls: &mut ClientConnection, stream: &TcpStream) -> bool {
    let taken = (|| -> io::Result<bool> {
        stream.set_nonblocking(true)?;
        let result = tls.read_tls(&mut &*stream);
        stream.set_nonblocking(false)?;
        Ok(result? > 0)
    })();
    taken.unwrap_or(false)
        && tls
            .process_new_packets()
            .is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed())
}

/// Sends what TLS has ready.
fn flush(tls: &mut ClientConnection, stream: &TcpStream, deadline: &Deadline) -> Result<(), Error> {
    while tls.wants_write() {
        stream.set_write_timeout(deadline.left()?)?;
        match tls.write_tls(&mut &*stream) {
            Ok(0) => return Err(Error::Io(io::ErrorKind::WriteZero.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(deadline.judge(error)),
        }
    }
    Ok(())
}

/// Reads once; 0 at the end.
fn fill(
    tls: &mut ClientConnection,
    stream: &TcpStream,
    deadline: &Deadline,
) -> Result<usize, Error> {
    loop {
        stream.set_read_timeout(deadline.left()?)?;
        match tls.read_tls(&mut &*stream) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(|error| deadline.judge(error)),
        }
    }
}

/// ureq without TLS of its own has no kind of error for it.
fn tls_error(error: rustls::Error) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::InvalidData, error))
}

type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// When a wait is over, and what it is then called.
struct Deadline {
    clock: Clock,
    /// Never, where there is none.
    at: Option<std::time::Instant>,
    reason: Timeout,
}

impl Deadline {
    fn new(clock: &Clock, timeout: NextTimeout) -> Self {
        let at = match (clock)() + timeout.after {
            Instant::Exact(at) => Some(at),
            Instant::AlreadyHappened | Instant::NotHappening => None,
        };
        Self { clock: Arc::clone(clock), at, reason: timeout.reason }
    }

    /// What is left; none means for ever.
    fn left(&self) -> Result<Option<Duration>, Error> {
        let (Some(at), Instant::Exact(now)) = (self.at, (self.clock)()) else { return Ok(None) };
        match at.checked_duration_since(now).filter(|left| !left.is_zero()) {
            Some(left) => Ok(Some(left)),
            None => Err(Error::Timeout(self.reason)),
        }
    }

    fn judge(&self, error: io::Error) -> Error {
        if is_timeout(&error) { Error::Timeout(self.reason) } else { Error::Io(error) }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Bytes on their way; allocated when there are some, given back when they are gone.
#[derive(Default)]
struct Held {
    input: Vec<u8>,
    /// Bytes of `input` from here to `filled` are not yet consumed.
    consumed: usize,
    filled: usize,
    /// The last look at the input used some of it.
    progress: bool,
    output: Vec<u8>,
    /// The last piece was full: more of a large body follows.
    is_large: bool,
    scratch: Vec<u8>,
}

impl Held {
    fn output_bytes(&self) -> usize {
        if self.is_large { LARGE_OUTPUT_BYTES } else { OUTPUT_BYTES }
    }

    /// Where to read to; empty only when [`INPUT_BYTES_MAX`] wait unread.
    fn room(&mut self) -> &mut [u8] {
        if self.consumed > 0 {
            self.input.copy_within(self.consumed..self.filled, 0);
            self.filled -= self.consumed;
            self.consumed = 0;
        }
        if self.filled == self.input.len() && self.input.len() < INPUT_BYTES_MAX {
            let grown = (self.input.len() + INPUT_BYTES).min(INPUT_BYTES_MAX);
            self.input.resize(grown, 0);
        }
        self.input.get_mut(self.filled..).unwrap_or_default()
    }
}

impl Buffers for Held {
    fn output(&mut self) -> &mut [u8] {
        self.output.resize(self.output_bytes(), 0);
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.consumed..self.filled).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.room()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled = (self.filled + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.consumed = (self.consumed + amount).min(self.filled);
        if self.consumed == self.filled {
            (self.consumed, self.filled) = (0, 0);
            self.input = Vec::new();
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.output.resize(self.output_bytes(), 0);
        self.scratch.resize(SCRATCH_BYTES, 0);
        (&mut self.scratch, &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.consumed < self.filled
    }
}
