//! Somebody else in the place of a service: redirects, old TLS, no TLS, every kind of wrong certificate (contract §5.7).
//! The real program must refuse in clear words, print no secret, and send none to where it was led.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use svs_bot::standin::data::Data;

const TOKEN: &str = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1";
const KEY: &str = "AIzaSyD-impostor-key-number-0001-aaaaAA";
/// In the place of Supabase's key: the new kind and the old one, which goes into two headers.
const NEW_KEY: &str = "sb_secret_of-the-impostors-0123456789";
const OLD_KEY: &str = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.impostors-0123456789";
const SERVICES: [(&str, &str); 3] =
    [("telegram", "TELEGRAM_API_URL"), ("gemini", "GEMINI_API_URL"), ("supabase", "SUPABASE_URL")];
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
const PATIENCE: Duration = Duration::from_secs(20);

/// What an impostor shows of itself.
#[derive(Clone)]
enum Face {
    /// Every answer leads to this address, with this status, by a `Location` of this form.
    Leads(u16, String),
    /// HTTP where TLS is expected.
    Plain,
    /// A hello of this old version (the second byte of its number), or a refusal of all newer ones.
    Old(u8),
    Alert,
    /// TLS with this certificate.
    Shows(Arc<ServerConfig>),
}

/// A listener, and every byte that it was sent, as it came.
struct Impostor {
    port: u16,
    heard: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicU32>,
}

fn impostor(face: Face) -> Impostor {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, connections) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicU32>::default());
    let (ears, count) = (Arc::clone(&heard), Arc::clone(&connections));
    thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            let (face, ears) = (face.clone(), Arc::clone(&ears));
            // Who is refused hangs up; the client's words are what counts.
            thread::spawn(move || drop(pose(stream.unwrap(), &face, &ears)));
        }
    });
    Impostor { port, heard, connections }
}

fn pose(mut stream: TcpStream, face: &Face, ears: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    match face {
        Face::Shows(config) => {
            let tls = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
            let mut tls = StreamOwned::new(tls, stream);
            let mut piece = [0; 4_096];
            let count = tls.read(&mut piece)?;
            ears.lock().unwrap().extend_from_slice(&piece[..count]);
            return Ok(());
        }
        Face::Leads(..) | Face::Plain | Face::Old(_) | Face::Alert => {}
    }
    let mut piece = [0; 4_096];
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        ears.lock().unwrap().extend_from_slice(&piece[..count]);
        match face {
            Face::Leads(status, location) => {
                // Where the request was whole: heads and small bodies come in one piece or two.
                let text = format!(
                    "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                );
                stream.write_all(text.as_bytes())?;
                stream.shutdown(std::net::Shutdown::Write)?;
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
            Face::Shows(_) => {}
        }
    }
}

/// A root of one's own, and what it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's face with a certificate for this name, good for these years.
    fn face(&self, name: &str, years: std::ops::Range<i32>) -> Face {
        let (params, key) = asked_for(name, years);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        shows(certificate.der().clone(), &key)
    }
}

fn asked_for(name: &str, years: std::ops::Range<i32>) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.start, 1, 1);
    params.not_after = date_time_ymd(years.end, 1, 1);
    (params, KeyPair::generate().unwrap())
}

fn self_signed() -> Face {
    let (params, key) = asked_for("localhost", 2020..2999);
    shows(params.self_signed(&key).unwrap().der().clone(), &key)
}

fn shows(certificate: CertificateDer<'static>, key: &KeyPair) -> Face {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Face::Shows(Arc::new(config))
}

/// `svs-bot check --json` where one service is at `url` and nobody is at the others'.
fn check(service: &str, url: &str, roots: &str, supabase_key: &str) -> (Data, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let dir: PathBuf =
        std::env::temp_dir().join(format!("svs-impostors-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let mut text = format!(
        "TELEGRAM_BOT_TOKEN={TOKEN}\nGEMINI_API_KEY={KEY}\nSUPABASE_KEY={supabase_key}\nHTTP_ADDR=off\n"
    );
    if !roots.is_empty() {
        fs::write(dir.join("roots.pem"), roots).unwrap();
        text.push_str(&format!("TLS_CA_FILE={}\n", dir.join("roots.pem").display()));
    }
    for (name, setting) in SERVICES {
        let url = if name == service { url } else { "http://127.0.0.1:1" };
        text.push_str(&format!("{setting}={url}\n"));
    }
    fs::write(dir.join("env"), text).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_svs-bot"))
        .env_clear()
        .args(["check", "--json", "--env-file"])
        .arg(dir.join("env"))
        .arg("--data-dir")
        .arg(dir.join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let all = String::from_utf8_lossy(&[out.stdout.as_slice(), &out.stderr].concat()).into_owned();
    assert_eq!(out.status.code(), Some(1), "{service} {url}: {all}");
    (Data::parse(&out.stdout).unwrap(), all)
}

/// What `check` says of this service where it fails.
fn verdict(told: &Data, service: &str) -> String {
    let items = told.at("items").list().iter();
    let of = items.filter(|it| {
        let is_key = service == "gemini" && it.at("name").str().contains("key");
        (it.at("name").str().contains(service) || is_key) && it.at("level").str() == "fail"
    });
    of.map(Data::render).collect::<Vec<_>>().join("\n")
}

fn shows_no_secret(what: &str, text: &str) {
    for secret in [TOKEN, KEY, NEW_KEY, OLD_KEY] {
        // The part after the number is the secret one.
        let part = secret.split(':').next_back().unwrap();
        assert!(!text.contains(part), "{what}: {text}");
    }
}

#[test]
fn a_redirect_is_refused_by_name_and_nobody_comes_to_where_it_leads() {
    let trap = impostor(Face::Plain);
    for (service, _) in SERVICES {
        for status in STATUSES {
            for location in [
                format!("http://127.0.0.1:{}/take?all=it", trap.port),
                format!("https://localhost:{}/take", trap.port),
                format!("//127.0.0.1:{}/bot{TOKEN}/getMe", trap.port),
            ] {
                let key = if status % 2 == 0 { NEW_KEY } else { OLD_KEY };
                let at = impostor(Face::Leads(status, location));
                let (told, all) = check(service, &format!("http://127.0.0.1:{}", at.port), "", key);
                let what = format!("{service} {status}");
                let verdict = verdict(&told, service);
                assert!(verdict.contains(&status.to_string()), "{what}: {all}");
                assert!(verdict.contains("redirect"), "{what}: {verdict}");
                shows_no_secret(&what, &all);
                assert!(at.connections.load(Ordering::SeqCst) > 0, "{what}: nobody asked");
            }
        }
    }
    assert_eq!(trap.connections.load(Ordering::SeqCst), 0, "somebody came to the trap");
}

#[test]
fn whoever_cannot_prove_to_be_the_service_hears_no_secret() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let cases = [
        ("HTTP on the port of TLS", Face::Plain, true, "does not speak TLS"),
        ("TLS 1.0", Face::Old(1), true, "no version or cipher of today"),
        ("TLS 1.1", Face::Old(2), true, "no version or cipher of today"),
        ("an alert that no version suits", Face::Alert, true, "no version or cipher of today"),
        ("another name", ours.face("example.org", 2020..2999), true, "not valid for name"),
        ("too old", ours.face("localhost", 2019..2021), true, "expired"),
        ("not yet", ours.face("localhost", 2900..2999), true, "not valid yet"),
        (
            "a foreign root",
            foreign.face("localhost", 2020..2999),
            true,
            "no root that is trusted here",
        ),
        ("signed by itself", self_signed(), false, "no root that is trusted here"),
        (
            "of a root that is not in the bundle",
            ours.face("localhost", 2020..2999),
            false,
            "no root that is trusted here",
        ),
    ];
    for (service, _) in SERVICES {
        for (what, face, is_ours, words) in &cases {
            let at = impostor(face.clone());
            let roots = if *is_ours { ours.pem.as_str() } else { "" };
            let url = format!("https://localhost:{}", at.port);
            let (told, all) = check(service, &url, roots, NEW_KEY);
            let what = format!("{service}, {what}");
            let verdict = verdict(&told, service);
            assert!(verdict.contains(words), "{what}: {all}");
            assert!(verdict.contains("todo"), "{what}: {verdict}");
            shows_no_secret(&what, &all);
            let heard = at.heard.lock().unwrap();
            assert!(at.connections.load(Ordering::SeqCst) > 0, "{what}: nobody asked");
            shows_no_secret(&what, &String::from_utf8_lossy(&heard));
        }
    }
}
