//! Owns: one connection: how it is made, TLS on it, and what ureq wants to know of it.
//! May not: know HTTP, hosts or credentials.
//! Invariant: every wait ends by its deadline; over TLS, buffers are held only while bytes are in them.
//!
//! ureq's own chain keeps four buffers for each TLS connection for as long as it lives, and leaves the
//! depth of a handshake on the stack of whoever asked: together most of what an answer in flight
//! costs. Here an open connection that waits holds no buffer of ours (without TLS, one to read into), and handshakes
//! are worked out one at a time on a stack that is given back.

use super::buffers::{Held, Spares};
use super::socket::{Clock, Deadline, Socket};
use rustls::{ClientConfig, ClientConnection};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

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
    spares: Arc<Spares>,
}

impl Dial {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        Self { tls, one_at_a_time: Mutex::new(()), spares: Arc::default() }
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
        socket: &mut Socket,
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
            flush(&mut tls, socket, deadline)?;
            if !tls.is_handshaking() {
                return Ok(tls);
            }
            if fill(&mut tls, socket, deadline)? == 0 {
                return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Err(error) = self.deep(|| tls.process_new_packets().map(drop))? {
                // The other side is told why, where it still listens.
                let _told = flush(&mut tls, socket, deadline);
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
        let handle: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(handle)?;
        let mut socket = Socket::new(stream)?;
        let tls = match details.needs_tls() {
            true => Some(self.handshake(details, &mut socket, &deadline)?),
            false => None,
        };
        let held = Held::new(Arc::clone(&self.spares));
        Ok(Some(Connection { socket, tls, held, clock }))
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
        Some(error)
            if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) =>
        {
            Error::Timeout(Timeout::Connect)
        }
        Some(error) => Error::Io(error),
        None => Error::HostNotFound,
    })
}

/// A connection as ureq uses it.
pub(super) struct Connection {
    socket: Socket,
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
        let output = self.held.take_output(amount);
        let mut rest = output.get(..amount).unwrap_or(&output);
        while !rest.is_empty() {
            let written = match &mut self.tls {
                None => {
                    let mut timed = self.socket.until(&deadline);
                    timed.write(rest).map_err(|error| deadline.judge(error))?
                }
                Some(tls) => {
                    let taken = tls.writer().write(rest)?;
                    flush(tls, &mut self.socket, &deadline)?;
                    taken
                }
            };
            if written == 0 {
                return Err(Error::Io(io::ErrorKind::WriteZero.into()));
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        self.held.give_output(output);
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let deadline = Deadline::new(&self.clock, timeout.for_read());
        let Some(tls) = &mut self.tls else {
            let mut timed = self.socket.until(&deadline);
            let count = timed.read(self.held.room()).map_err(|error| deadline.judge(error))?;
            self.held.input_appended(count);
            return Ok(count > 0);
        };
        loop {
            let state = tls.process_new_packets().map_err(tls_error)?;
            if state.plaintext_bytes_to_read() > 0 {
                let count = tls.reader().read(self.held.room())?;
                self.held.input_appended(count);
                return Ok(count > 0);
            }
            if state.peer_has_closed() {
                return Ok(false);
            }
            // Keys may be renewed in the middle.
            flush(tls, &mut self.socket, &deadline)?;
            if fill(tls, &mut self.socket, &deadline)? == 0 {
                // Cut without the farewell that TLS demands: what came may not be all.
                return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Bytes that nobody asked for are as bad as an end.
        let stream = self.socket.stream();
        let quiet = crate::os::is_quiet(stream);
        match &mut self.tls {
            None => quiet,
            // Tickets for the next handshake come after the first reply and are taken in here.
            Some(tls) => quiet || only_tickets(tls, stream),
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
fn flush(
    tls: &mut ClientConnection,
    socket: &mut Socket,
    deadline: &Deadline,
) -> Result<(), Error> {
    while tls.wants_write() {
        let sent = tls.write_tls(&mut socket.until(deadline));
        if sent.map_err(|error| deadline.judge(error))? == 0 {
            return Err(Error::Io(io::ErrorKind::WriteZero.into()));
        }
    }
    Ok(())
}

/// Reads once; 0 at the end.
fn fill(
    tls: &mut ClientConnection,
    socket: &mut Socket,
    deadline: &Deadline,
) -> Result<usize, Error> {
    tls.read_tls(&mut socket.until(deadline)).map_err(|error| deadline.judge(error))
}

/// ureq without TLS of its own has no kind of error for it.
fn tls_error(error: rustls::Error) -> Error {
    Error::Io(io::Error::new(io::ErrorKind::InvalidData, error))
}
