//! Somebody else in the place of a service: a root of one's own, what it signs, and a listener that shows a face of every
//! kind of wrong, or the right one.
#![allow(dead_code, reason = "each test uses its part")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is good today, and for as long as these tests live.
pub(crate) const TODAY: Range<i32> = 2020..2999;
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// Who says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often each side of a relay is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A root of one's own, and what it signs.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's settings with a certificate for this name, good for these years.
    pub(crate) fn server(
        &self,
        name: &str,
        years: Range<i32>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let (params, key) = asked_for(name, years);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server(certificate.der().clone(), &key, versions)
    }

    /// The same as a face that reads what it is told and hangs up.
    pub(crate) fn face(&self, name: &str, years: Range<i32>) -> Face {
        Face::Shows(self.server(name, years, &BOTH))
    }
}

fn asked_for(name: &str, years: Range<i32>) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    (params, KeyPair::generate().unwrap())
}

fn server(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config)
}

/// The right name, and nobody's signature but its own.
pub(crate) fn self_signed() -> Face {
    let (params, key) = asked_for("localhost", TODAY);
    Face::Shows(server(params.self_signed(&key).unwrap().der().clone(), &key, &BOTH))
}

/// What a listener shows of itself.
#[derive(Clone)]
pub(crate) enum Face {
    /// Every answer leads to this address, with this status, by a `Location` of this form.
    Leads(u16, String),
    /// The same from whoever has the right certificate.
    LeadsByTls(Arc<ServerConfig>, u16, String),
    /// HTTP where TLS is expected.
    Plain,
    /// A hello of this old version (the second byte of its number), or a refusal of all newer ones.
    Old(u8),
    Alert,
    /// TLS with this certificate.
    Shows(Arc<ServerConfig>),
    /// The service itself, at this address, behind this certificate.
    Right(Arc<ServerConfig>, String),
}

/// A listener, and every byte that it was told by who did not mean it, as it came.
pub(crate) struct Impostor {
    pub(crate) port: u16,
    pub(crate) heard: Arc<Mutex<Vec<u8>>>,
    pub(crate) connections: Arc<AtomicU32>,
    face: Arc<Mutex<Face>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

/// Listens on loopback for as long as the test runs.
pub(crate) fn impostor(face: Face) -> Impostor {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let it = Impostor {
        port: listener.local_addr().unwrap().port(),
        heard: Arc::default(),
        connections: Arc::default(),
        face: Arc::new(Mutex::new(face)),
        open: Arc::default(),
    };
    let (ears, count) = (Arc::clone(&it.heard), Arc::clone(&it.connections));
    let (face, open) = (Arc::clone(&it.face), Arc::clone(&it.open));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            // Under the lock, so that no connection of an old face outlives its change.
            let shown = face.lock().unwrap();
            open.lock().unwrap().push(stream.try_clone().unwrap());
            let (face, ears) = (shown.clone(), Arc::clone(&ears));
            // Who is refused hangs up; the client's words are what counts.
            thread::spawn(move || drop(pose(stream, &face, &ears)));
        }
    });
    it
}

impl Impostor {
    /// From now on this face alone; whoever is connected is cut off.
    pub(crate) fn show(&self, face: Face) {
        let mut shown = self.face.lock().unwrap();
        *shown = face;
        for stream in self.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            drop(stream.shutdown(Shutdown::Both));
        }
        self.connections.store(0, Ordering::SeqCst);
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap()).into_owned()
    }
}

fn pose(mut stream: TcpStream, face: &Face, ears: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let tls = |config: &Arc<ServerConfig>| {
        ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)
    };
    let mut piece = [0; 4_096];
    match face {
        Face::Shows(config) => {
            let mut tls = StreamOwned::new(tls(config)?, stream);
            let count = tls.read(&mut piece)?;
            ears.lock().unwrap().extend_from_slice(&piece[..count]);
            return Ok(());
        }
        Face::LeadsByTls(config, status, location) => {
            let mut tls = StreamOwned::new(tls(config)?, stream);
            // The service itself may hear what is for it.
            while tls.read(&mut piece)? > 0 {
                tls.write_all(leads(*status, location).as_bytes())?;
                tls.conn.send_close_notify();
                tls.flush()?;
            }
            return Ok(());
        }
        Face::Right(config, address) => {
            return relay(StreamOwned::new(tls(config)?, stream), address);
        }
        Face::Leads(..) | Face::Plain | Face::Old(_) | Face::Alert => {}
    }
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        ears.lock().unwrap().extend_from_slice(&piece[..count]);
        match face {
            Face::Leads(status, location) => {
                // Where the request was whole: heads and small bodies come in one piece or two.
                stream.write_all(leads(*status, location).as_bytes())?;
                stream.shutdown(Shutdown::Write)?;
            }
            Face::Plain => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?,
            Face::Old(version) => {
                // ServerHello: version, 32 bytes of nothing, no session, ECDHE-RSA with AES, no compression.
                let mut hello = vec![22, 3, *version, 0, 42, 2, 0, 0, 38, 3, *version];
                hello.extend([7; 32]);
                hello.extend([0, 0xc0, 0x13, 0]);
                stream.write_all(&hello)?;
            }
            // Fatal: protocol_version.
            Face::Alert => stream.write_all(&[21, 3, 1, 0, 2, 2, 70])?,
            Face::Shows(_) | Face::LeadsByTls(..) | Face::Right(..) => {}
        }
    }
}

fn leads(status: u16, location: &str) -> String {
    format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\
         Connection: close\r\n\r\n"
    )
}

/// Carries bytes both ways until one side ends.
fn relay(mut tls: StreamOwned<ServerConnection, TcpStream>, address: &str) -> std::io::Result<()> {
    let mut behind = TcpStream::connect(address)?;
    behind.set_read_timeout(Some(LOOK_EVERY))?;
    tls.sock.set_read_timeout(Some(LOOK_EVERY))?;
    let mut piece = [0; 16_384];
    loop {
        if let Some(count) = some(tls.read(&mut piece))? {
            if count == 0 {
                return behind.shutdown(Shutdown::Both);
            }
            behind.write_all(&piece[..count])?;
        }
        if let Some(count) = some(behind.read(&mut piece))? {
            if count == 0 {
                tls.conn.send_close_notify();
                return tls.flush();
            }
            tls.write_all(&piece[..count])?;
            tls.flush()?;
        }
    }
}

/// How many bytes, or `None` while there is nothing.
fn some(read: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match read {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}
