use super::*;
use crate::daemon::http::listen::CONNECTIONS_MAX;
use rustls::pki_types::{CertificateDer, ServerName};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream as Tcp;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU8;
use tokio::sync::mpsc::unbounded_channel;

const SECRET: &str = "s3cret_-";
const PATIENCE: Duration = Duration::from_secs(30);

/// What the loop behind the listener does with a delivery.
const STORES: u8 = 0;
const REFUSES: u8 = 1;
const SAYS_NOTHING: u8 = 2;

/// A listener, and a loop that notes what it is given.
struct Bench {
    listener: Option<Listener>,
    addr: SocketAddr,
    mood: Arc<AtomicU8>,
    seen: Arc<Mutex<Vec<i64>>>,
}

fn bench(tls: Option<(PathBuf, PathBuf)>) -> Bench {
    let (sender, mut receiver) = unbounded_channel();
    let settings = Webhook {
        url: "https://bot.example.org/the/hook".to_owned(),
        addr: "127.0.0.1:0".parse().unwrap(),
        secret: Secret::new(SECRET),
        tls,
    };
    let listener = spawn(
        &settings,
        sender,
        #[cfg(feature = "redis")]
        None,
    )
    .unwrap();
    let (mood, seen) = (Arc::new(AtomicU8::new(STORES)), Arc::<Mutex<Vec<i64>>>::default());
    let (desk, moods, ids) = (Arc::clone(&listener.desk), Arc::clone(&mood), Arc::clone(&seen));
    std::thread::spawn(move || {
        while let Some(event) = receiver.blocking_recv() {
            let Event::Pushed { update, ticket } = event else { panic!("{event:?}") };
            ids.lock().unwrap().push(update.id.0);
            match moods.load(Ordering::Relaxed) {
                SAYS_NOTHING => {}
                mood => desk.answer(ticket, mood == STORES),
            }
        }
    });
    Bench { addr: listener.addr, listener: Some(listener), mood, seen }
}

impl Bench {
    fn connect(&self) -> Tcp {
        let stream = Tcp::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends `bytes` and reads until the other side closes.
    fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // A server that refuses may close before it has read all.
        let _ = stream.write_all(bytes);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn seen(&self) -> Vec<i64> {
        self.seen.lock().unwrap().clone()
    }
}

fn delivery(id: i64, connection: &str) -> String {
    let body = format!(r#"{{"update_id":{id},"poll":{{}}}}"#);
    head("POST", "/the/hook", SECRET, body.len(), connection) + &body
}

fn head(method: &str, path: &str, secret: &str, length: usize, connection: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: bot.example.org\r\nConnection: {connection}\r\n\
         X-Telegram-Bot-Api-Secret-Token: {secret}\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn status_of(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or("")
}

/// One reply without a body.
fn reply_on(stream: &mut impl io::Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn only_telegrams_deliveries_have_an_effect() {
    let bench = bench(None);
    let to = |method: &str, path: &str, secret: &str, body: &str| {
        head(method, path, secret, body.len(), "close") + body
    };
    let two = delivery(1, "close").replacen(
        "Content-Length",
        "X-Telegram-Bot-Api-Secret-Token: x\r\nContent-Length",
        1,
    );
    let chunked =
        delivery(1, "close").replacen("Content-Length: 25", "Transfer-Encoding: chunked", 1);
    for (what, request, status) in [
        ("a delivery", delivery(1, "close"), "200"),
        ("the same again", delivery(1, "close"), "200"),
        ("with a query", to("POST", "/the/hook?x", SECRET, r#"{"update_id":2}"#), "200"),
        ("by HTTP/1.0", delivery(3, "close").replacen("1.1", "1.0", 1), "200"),
        ("another path", to("POST", "/the", SECRET, r#"{"update_id":9}"#), "404"),
        ("a longer path", to("POST", "/the/hook/", SECRET, r#"{"update_id":9}"#), "404"),
        ("no secret", to("POST", "/the/hook", "", r#"{"update_id":9}"#), "401"),
        ("a wrong secret", to("POST", "/the/hook", "s3cret_", r#"{"update_id":9}"#), "401"),
        ("two secrets", two, "400"),
        ("a look", to("GET", "/the/hook", SECRET, ""), "405"),
        ("chunks", chunked, "411"),
        ("far too much", head("POST", "/the/hook", SECRET, 100 << 20, "close"), "413"),
        ("a long head", head("POST", &"/".repeat(9_000), SECRET, 0, "close"), "431"),
        ("no HTTP", "\x16\x03\x01 hello\r\n\r\n".to_owned(), "400"),
    ] {
        let reply = bench.talk(request.as_bytes());
        assert_eq!(status_of(&reply), status, "{what}: {reply}");
        assert!(reply.ends_with("\r\n\r\n") && !reply.contains("s3cret"), "{what}: {reply}");
    }
    assert_eq!(bench.seen(), [1, 1, 2, 3]);
    // What is no update is taken too, or Telegram would repeat it for a day.
    let reply = bench.talk(to("POST", "/the/hook", SECRET, "not JSON").as_bytes());
    assert_eq!(status_of(&reply), "200");
    assert!(bench.seen().last().unwrap() < &0);
}

#[test]
fn what_is_not_stored_is_asked_for_again() {
    let bench = bench(None);
    bench.mood.store(REFUSES, Ordering::Relaxed);
    let mut stream = bench.connect();
    for (mood, status) in [(REFUSES, "503"), (STORES, "200"), (REFUSES, "503")] {
        bench.mood.store(mood, Ordering::Relaxed);
        stream.write_all(delivery(5, "keep-alive").as_bytes()).unwrap();
        let reply = reply_on(&mut stream);
        assert_eq!(status_of(&reply), status);
        assert_eq!(reply.contains("Retry-After: "), status == "503", "{reply}");
    }
}

#[test]
fn strangers_push_out_only_each_other() {
    let bench = bench(None);
    let mut telegram = bench.connect();
    telegram.write_all(delivery(1, "keep-alive").as_bytes()).unwrap();
    assert_eq!(status_of(&reply_on(&mut telegram)), "200");
    let crowd: Vec<Tcp> = (0..CONNECTIONS_MAX * 3)
        .filter_map(|_| {
            let mut stream = bench.connect();
            stream.write_all(b"POST /the/ho").ok().map(|()| stream)
        })
        .collect();
    telegram.write_all(delivery(2, "keep-alive").as_bytes()).unwrap();
    assert_eq!(status_of(&reply_on(&mut telegram)), "200");
    drop(crowd);
    assert_eq!(bench.seen(), [1, 2]);
}

#[test]
fn slow_senders_are_cut() {
    let bench = bench(None);
    let whole = delivery(1, "close");
    for cut in [10, whole.len() - 1] {
        let mut stream = bench.connect();
        stream.write_all(&whole.as_bytes()[..cut]).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        assert!(text.is_empty() || status_of(&text) == "408", "{text}");
    }
    assert!(bench.seen().is_empty());
}

#[test]
fn an_end_answers_what_is_in_hand_and_takes_nothing_new() {
    let mut bench = bench(None);
    bench.mood.store(SAYS_NOTHING, Ordering::Relaxed);
    let mut idle = bench.connect();
    let mut waiting = bench.connect();
    waiting.write_all(delivery(1, "keep-alive").as_bytes()).unwrap();
    while bench.seen().is_empty() {
        std::thread::yield_now();
    }
    let listener = bench.listener.take().unwrap();
    listener.close();
    // The listener goes, and with it who has nothing in hand; the delivery waits for its word.
    assert_eq!(idle.read(&mut [0; 16]).unwrap_or(0), 0);
    listener.desk.answer(1, true);
    let reply = reply_on(&mut waiting);
    assert_eq!(status_of(&reply), "200");
    assert!(reply.contains("Connection: close"), "{reply}");
    listener.join();
    assert!(Tcp::connect(bench.addr).is_err());
}

/// Sends one delivery over TLS and says which certificate was shown.
fn over_tls(bench: &Bench, trusted: &[u8]) -> Result<String, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("bot.example.org").unwrap();
    let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, bench.connect());
    stream.write_all(delivery(1, "keep-alive").as_bytes()).map_err(|error| error.to_string())?;
    let first = reply_on(&mut stream);
    // Larger than one record.
    let long = format!(r#"{{"update_id":2,"poll":"{}"}}"#, "x".repeat(100_000));
    let request = head("POST", "/the/hook", SECRET, long.len(), "close") + &long;
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let second = reply_on(&mut stream);
    Ok(format!("{} {}", status_of(&first), status_of(&second)))
}

/// A self-signed certificate and its key.
struct Pair {
    der: Vec<u8>,
    cert_pem: String,
    key_pem: String,
}

fn certificate(name: &str) -> Pair {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (der, cert_pem) = (made.cert.der().to_vec(), made.cert.pem());
    Pair { der, cert_pem, key_pem: made.signing_key.serialize_pem() }
}

fn write_pair(dir: &Path, pair: &Pair) -> (PathBuf, PathBuf) {
    let files = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&files.0, &pair.cert_pem).unwrap();
    fs::write(&files.1, &pair.key_pem).unwrap();
    files
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("svs-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn our_own_tls_follows_its_files_and_keeps_what_works() {
    let dir = scratch("webhook-tls");
    let (old, new) = (certificate("bot.example.org"), certificate("bot.example.org"));
    let bench = bench(Some(write_pair(&dir, &old)));
    assert_eq!(over_tls(&bench, &old.der).as_deref(), Ok("200 200"));
    assert!(over_tls(&bench, &new.der).is_err(), "a certificate nobody has shown yet");
    // Not TLS at all: an alert or nothing, and the listener goes on.
    assert!(!bench.talk(delivery(3, "close").as_bytes()).contains("HTTP/1.1 200"));
    write_pair(&dir, &new);
    let started = monotonic();
    while let Err(why) = over_tls(&bench, &new.der) {
        assert!(started.elapsed() < PATIENCE, "the new certificate is not taken up: {why}");
    }
    assert!(!bench.seen().contains(&3));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_broken_new_pair_leaves_the_old_one_in_use() {
    let dir = scratch("webhook-reload");
    let (old, new) = (certificate("a.example"), certificate("a.example"));
    let files = write_pair(&dir, &old);
    let mut now = monotonic();
    let mut certificate = Certificate::open(&files, now).unwrap();
    let first = certificate.current(now);
    for (what, cert, key, stays) in [
        ("a key that does not fit", new.cert_pem.as_str(), old.key_pem.as_str(), true),
        ("no certificate at all", "", new.key_pem.as_str(), true),
        ("both", new.cert_pem.as_str(), new.key_pem.as_str(), false),
    ] {
        fs::write(&files.0, cert).unwrap();
        fs::write(&files.1, key).unwrap();
        now += Duration::from_secs(60);
        assert_eq!(Arc::ptr_eq(&first, &certificate.current(now)), stays, "{what}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_broken_pair_is_refused_at_the_start() {
    let dir = scratch("webhook-broken");
    let (one, other) = (certificate("a.example"), certificate("b.example"));
    for (cert, key, why) in [
        ("", one.key_pem.as_str(), "WEBHOOK_TLS_CERT"),
        (one.key_pem.as_str(), one.key_pem.as_str(), "WEBHOOK_TLS_CERT"),
        (one.cert_pem.as_str(), "", "WEBHOOK_TLS_KEY"),
        (one.cert_pem.as_str(), other.key_pem.as_str(), "its own key"),
    ] {
        let files = (dir.join("cert.pem"), dir.join("key.pem"));
        fs::write(&files.0, cert).unwrap();
        fs::write(&files.1, key).unwrap();
        let error = Certificate::open(&files, monotonic()).err().unwrap();
        assert!(error.contains(why) && !error.contains("BEGIN"), "{error}");
    }
    let missing = (dir.join("none"), dir.join("key.pem"));
    assert!(Certificate::open(&missing, monotonic()).err().unwrap().contains("none: "));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_is_refused_all_day_is_told_now_and_then() {
    let (mut refused, start) = (Refused::default(), monotonic());
    let mut told = Vec::new();
    for minute in 0..24 * 60 {
        let now = start + Duration::from_secs(minute * 60);
        told.extend([refused.add(now), refused.add(now)].into_iter().flatten());
    }
    assert!(told.starts_with(&[1, 2, 4, 8]) && told.len() < 35, "{told:?}");
    assert!(refused.add(start + Duration::from_secs(200 * 3_600)).is_some());
    assert_eq!(refused.wait, REFUSED_EVERY_MIN);
}
