//! Owns: our own TLS: the certificate pair and its changes, and a TLS connection over tokio's sockets.
//! May not: serve anything, show a byte of a key.
//! Invariant: a pair that cannot be used never takes the place of one that can.

use rustls::ServerConnection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Between two looks at the files; a look is two `stat` calls.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a certificate chain or key; real ones have a few KiB.
const PEM_BYTES_MAX: u64 = 256 * 1_024;
/// Plain bytes that wait inside a connection for the other side to take them.
const UNSENT_BYTES_MAX: usize = 16 * 1_024;

/// Handed over at a time; lives on the stack.
const CHUNK_BYTES: usize = 2 * 1_024;

/// What a file was when it was last read: device, inode, size, and both its times of change.
type Stamp = [Option<([u64; 3], [i64; 4])>; 2];

/// A certificate chain and its key in two files that may change.
pub(super) struct Certificate {
    files: (PathBuf, PathBuf),
    stamp: Stamp,
    looked: Instant,
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong with which file, for operators.
    pub(super) fn open(files: &(PathBuf, PathBuf), now: Instant) -> Result<Self, String> {
        let stamp = stamp(files);
        Ok(Self { files: files.clone(), stamp, looked: now, config: load(files)? })
    }

    /// The newest pair that works; a changed one that does not is reported once.
    pub(super) fn current(&mut self, now: Instant) -> Arc<ServerConfig> {
        if now.duration_since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            let stamp = stamp(&self.files);
            if stamp != self.stamp {
                self.stamp = stamp;
                match load(&self.files) {
                    Ok(config) => {
                        self.config = config;
                        log::info!("webhook: the certificate has changed: the new one is used");
                    }
                    Err(why) => log::error!("{why}; the certificate in use stays"),
                }
            }
        }
        Arc::clone(&self.config)
    }
}

fn stamp((cert, key): &(PathBuf, PathBuf)) -> Stamp {
    [cert, key].map(|path| {
        let it = std::fs::metadata(path).ok()?;
        let times = [it.mtime(), it.mtime_nsec(), it.ctime(), it.ctime_nsec()];
        Some(([it.dev(), it.ino(), it.size()], times))
    })
}

fn load((cert, key): &(PathBuf, PathBuf)) -> Result<Arc<ServerConfig>, String> {
    let at = |name: &str, path: &Path, why: String| format!("{name}: {}: {why}", path.display());
    let in_cert = |why| at("WEBHOOK_TLS_CERT", cert, why);
    let in_key = |why| at("WEBHOOK_TLS_KEY", key, why);
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(cert).map_err(in_cert)?).collect();
    let chain = chain.map_err(|_| in_cert("not PEM: give the full chain in PEM".to_owned()))?;
    if chain.is_empty() {
        return Err(in_cert("no certificate in it: give the full chain in PEM".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key).map_err(in_key)?)
        .map_err(|_| in_key("no private key in it: give an unencrypted one in PEM".to_owned()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| in_cert(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| in_cert(format!("{error}: give a certificate and its own key")))?;
    // Telegram keeps its connections: a ticket would rarely be used, and costs memory.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: io::Error| format!("{error}: make it readable for the bot");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(PEM_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// A connection that rustls encrypts.
pub(super) struct TlsStream {
    tcp: TcpStream,
    tls: ServerConnection,
}

impl TlsStream {
    /// Before its handshake, which the first read makes.
    ///
    /// # Errors
    /// As rustls says.
    pub(super) fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Ok(Self { tcp, tls })
    }

    /// The connection underneath.
    pub(super) fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }

    /// Appends what has come, at most `most` bytes; 0 at the end.
    ///
    /// # Errors
    /// The connection broke, or what comes is no TLS.
    pub(super) async fn read(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        loop {
            if let Some(count) = self.decrypted(buffer, most)? {
                return Ok(count);
            }
            self.flush().await?;
            self.tcp.readable().await?;
            match self.tls.read_tls(&mut Socket(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if let Err(error) = self.tls.process_new_packets() {
                // The alert that says what was wrong, if it still gets through.
                let _ = self.flush().await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    /// What is there already; none when more has to come first.
    fn decrypted(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<Option<usize>> {
        let mut chunk = [0; CHUNK_BYTES];
        let room = most.min(CHUNK_BYTES);
        match self.tls.reader().read(chunk.get_mut(..room).unwrap_or_default()) {
            Ok(count) => {
                buffer.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            // Cut without a farewell: what was whole has been handed over before.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(0)),
            Err(error) => Err(error),
        }
    }

    /// Encrypts and sends.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.tls.writer().write(bytes)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            self.flush().await?;
        }
        Ok(())
    }

    /// Says farewell and sends no more.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush().await?;
        self.tcp.shutdown().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(&self.tcp)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// tokio's socket as rustls wants it: what would wait says so.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(out)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
