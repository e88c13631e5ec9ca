//! TLS as the bot speaks it, against a server with certificates of every kind of wrong (contract §5.7).
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "support/impostor.rs"]
mod impostor;

use impostor::{Authority, TODAY};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use svs_bot::config::Config;
use svs_bot::daemon::clock;
use svs_bot::net::Net;
use svs_bot::types::Secret;
use svs_bot::wire::{Method, NetErrorKind, Request};

const BODY_MAX: usize = 4 << 20;

/// What the server does with each connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Says every body back, for as long as the connection lives.
    Echo,
    /// Says half of what it promised and cuts the line without a farewell.
    Cut,
    /// One answer, then the end, which only the next request can notice.
    Once,
    /// Speaks HTTP where TLS is expected.
    Plain,
}

/// Connections of a server so far.
#[derive(Default)]
struct Count {
    begun: AtomicU32,
    ended: AtomicU32,
}

/// Listens on loopback for as long as the test runs; counts connections.
fn serve(config: Arc<ServerConfig>, manner: Manner) -> (u16, Arc<Count>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(Count::default());
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming() {
            counted.begun.fetch_add(1, Ordering::SeqCst);
            let (config, counted) = (Arc::clone(&config), Arc::clone(&counted));
            thread::spawn(move || {
                // A refused handshake ends the connection; the client's error is what counts.
                drop(converse(stream.unwrap(), config, manner));
                counted.ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    (port, count)
}

fn converse(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    manner: Manner,
) -> std::io::Result<()> {
    if manner == Manner::Plain {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    }
    let tls = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let promised = if manner == Manner::Cut { length * 2 } else { length };
        let tls = stream.get_mut();
        write!(
            tls,
            "HTTP/1.1 200 OK\r\nx-long: {}\r\ncontent-length: {promised}\r\n\r\n",
            "x".repeat(9_000)
        )?;
        tls.write_all(&body)?;
        tls.flush()?;
        match manner {
            Manner::Cut => return tls.sock.shutdown(std::net::Shutdown::Both),
            Manner::Once => {
                tls.conn.send_close_notify();
                return tls.flush();
            }
            Manner::Echo | Manner::Plain => {}
        }
    }
}

/// A door that trusts only this root, or Mozilla's where none is given.
fn door(host: &str, port: u16, roots: Option<&str>) -> Net {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let tls_ca_file = roots.map(|pem| -> PathBuf {
        let n = NUMBER.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("svs-tls-{}-{n}.pem", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        path
    });
    let config = Config {
        bot_token: Secret::new("123456:tls"),
        telegram_url: format!("https://{host}:{port}"),
        tls_ca_file: tls_ca_file.clone(),
        ..Config::sample()
    };
    let net = Net::new(&config).unwrap();
    if let Some(path) = tls_ca_file {
        std::fs::remove_file(path).unwrap();
    }
    net
}

fn request(body: String) -> Request {
    Request {
        method: Method::Post,
        path: "echo".into(),
        headers: Vec::new(),
        body: Some(body),
        timeout_ms: 30_000,
    }
}

/// What calling a server ends with: its body's length, or the kind of error and its words.
fn call(net: &Net, body: &str) -> Result<usize, (NetErrorKind, String)> {
    net.telegram(&request(body.to_owned()), BODY_MAX)
        .map(|reply| {
            assert_eq!(reply.body, body.as_bytes());
            reply.body.len()
        })
        .map_err(|error| (error.kind, error.text))
}

#[test]
fn only_a_certificate_for_this_name_from_a_known_root_that_is_still_valid_is_trusted() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let both = [&TLS12, &TLS13];
    for (what, name, years, versions, roots, wanted) in [
        ("all is well", "localhost", TODAY, &both[..], Some(&ours.pem), None),
        ("only TLS 1.2", "localhost", TODAY, &both[..1], Some(&ours.pem), None),
        ("another name", "example.org", TODAY, &both, Some(&ours.pem), Some("not valid for name")),
        ("too old", "localhost", 2020..2021, &both, Some(&ours.pem), Some("expired")),
        ("a foreign root", "localhost", TODAY, &both, Some(&foreign.pem), Some("badsignature")),
        ("a root of one's own", "localhost", TODAY, &both, None, Some("unknownissuer")),
    ] {
        let (port, _) = serve(ours.server(name, years, versions), Manner::Echo);
        let result = call(&door("localhost", port, roots.map(String::as_str)), "hello");
        match (wanted, result) {
            (None, result) => assert_eq!(result, Ok(5), "{what}"),
            (Some(words), Err((NetErrorKind::Tls, text))) => {
                assert!(text.to_lowercase().contains(words), "{what}: {text}");
                assert!(!text.contains("123456"), "{what}: {text}");
            }
            (Some(_), result) => panic!("{what}: {result:?}"),
        }
    }
}

#[test]
fn an_address_is_a_name_as_well() {
    let ours = Authority::new();
    let (port, _) = serve(ours.server("127.0.0.1", TODAY, &[&TLS13]), Manner::Echo);
    assert_eq!(call(&door("127.0.0.1", port, Some(&ours.pem)), "hello"), Ok(5));
}

#[test]
fn a_server_that_speaks_no_tls_gets_no_request() {
    let ours = Authority::new();
    let (port, _) = serve(ours.server("localhost", TODAY, &[&TLS13]), Manner::Plain);
    let result = call(&door("localhost", port, Some(&ours.pem)), "secret");
    assert!(matches!(result, Err((NetErrorKind::Tls, _))), "{result:?}");
}

#[test]
fn bodies_of_every_length_come_back_whole_over_one_connection() {
    let ours = Authority::new();
    for versions in [[&TLS12], [&TLS13]] {
        let (port, connections) = serve(ours.server("localhost", TODAY, &versions), Manner::Echo);
        let net = door("localhost", port, Some(&ours.pem));
        for length in [1, 100, 8_127, 8_128, 8_129, 16_384, 100_000, 3_000_000, 7] {
            assert_eq!(call(&net, &"é".repeat(length / 2 + 1)), Ok((length / 2 + 1) * 2));
        }
        assert_eq!(connections.begun.load(Ordering::SeqCst), 1, "{versions:?}");
    }
}

#[test]
fn a_body_that_is_cut_is_an_error_and_not_the_end() {
    let ours = Authority::new();
    let (port, _) = serve(ours.server("localhost", TODAY, &[&TLS13]), Manner::Cut);
    let result = call(&door("localhost", port, Some(&ours.pem)), "hello");
    assert!(matches!(result, Err((NetErrorKind::Cut | NetErrorKind::Other, _))), "{result:?}");
}

#[test]
fn a_connection_that_the_server_has_ended_is_not_used_again() {
    let ours = Authority::new();
    for versions in [[&TLS12], [&TLS13]] {
        let (port, connections) = serve(ours.server("localhost", TODAY, &versions), Manner::Once);
        let net = door("localhost", port, Some(&ours.pem));
        for n in 1..=3 {
            assert_eq!(call(&net, "hello"), Ok(5), "{n}");
            // The next call must find the farewell, so it has to be there.
            while connections.ended.load(Ordering::SeqCst) < n {
                clock::pause(Duration::from_millis(1));
            }
        }
        assert_eq!(connections.begun.load(Ordering::SeqCst), 3, "{versions:?}");
    }
}

#[test]
fn many_at_once_all_get_through() {
    let ours = Authority::new();
    let (port, _) = serve(ours.server("localhost", TODAY, &[&TLS13]), Manner::Echo);
    let net = door("localhost", port, Some(&ours.pem));
    thread::scope(|scope| {
        for n in 0..64 {
            let net = &net;
            scope.spawn(move || {
                for round in 0..4 {
                    let body = format!("{n} {round} {}", "x".repeat(n * 300));
                    assert_eq!(call(net, &body), Ok(body.len()));
                }
            });
        }
    });
}

#[test]
fn a_header_longer_than_any_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"hello") {
            let mut piece = [0; 4_096];
            let count = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..count]);
        }
        let header = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(200_000));
        // What is not read in time is not wanted: the other side has hung up.
        drop(stream.write_all(header.as_bytes()));
        drop(stream.read(&mut [0; 1]));
    });
    let config = Config {
        bot_token: Secret::new("123456:tls"),
        telegram_url: format!("http://127.0.0.1:{port}"),
        ..Config::sample()
    };
    let result = call(&Net::new(&config).unwrap(), "hello");
    assert!(matches!(result, Err((NetErrorKind::TooLarge, _))), "{result:?}");
}
