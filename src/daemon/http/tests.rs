use super::listen::CONNECTIONS_MAX;
use super::*;
use crate::daemon::clock::Clock;
use crate::daemon::metrics::Metrics;
use crate::daemon::snapshot::Intake;
use std::io::{Read as _, Write as _};
use std::net::TcpStream as Stream;
use std::time::Duration;

/// Rounds of a request or a fiftieth of a second: a test that needs more has found a defect.
const PATIENCE_ROUNDS: usize = 50_000;

struct Bench {
    shared: Arc<Shared>,
    addr: SocketAddr,
}

fn bench(token: Option<&str>) -> Bench {
    let shared = Arc::new(Shared::new(Arc::new(Clock::starting_at(0)), Metrics::new([])));
    shared.publish(example::busy());
    let now_ms = shared.now_ms();
    shared.readiness(|at| at.intake = Intake::Polling { last_ms: now_ms });
    shared.beat();
    let token = token.map(Secret::new);
    let server =
        spawn("127.0.0.1:0".parse().unwrap(), token.as_ref(), Arc::clone(&shared)).unwrap();
    Bench { shared, addr: server.addr }
}

impl Bench {
    fn connect(&self) -> Stream {
        let stream = Stream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
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

    fn get(&self, path: &str) -> String {
        self.talk(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
    }
}

fn status_of(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or("")
}

fn body_of(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn each_path_answers_with_its_own_kind() {
    let bench = bench(None);
    for (path, status, kind, part) in [
        ("/healthz", "200", "text/plain; charset=utf-8", "ok\n"),
        ("/readyz", "200", "text/plain; charset=utf-8", "ready\n"),
        ("/metrics", "200", "text/plain; version=0.0.4", "svs_bot_build_info"),
        ("/metrics?x=1", "200", "text/plain; version=0.0.4", "svs_bot_build_info"),
        ("/status.json", "200", "application/json", "\"ready\":true"),
        ("/", "200", "text/html; charset=utf-8", ""),
        ("/debug/memory", "200", "text/plain", "resident"),
        ("/nothing", "404", "text/plain", "not found"),
        ("/%6detrics", "404", "text/plain", "not found"),
        ("/../metrics", "404", "text/plain", "not found"),
        ("/metrics/", "404", "text/plain", "not found"),
    ] {
        let reply = bench.get(path);
        assert_eq!(status_of(&reply), status, "{path}");
        assert!(reply.contains(&format!("Content-Type: {kind}")), "{path}: {reply}");
        assert!(body_of(&reply).contains(part), "{path}: {reply}");
        assert!(reply.contains("X-Content-Type-Options: nosniff"), "{path}");
        assert!(reply.contains("Cache-Control: no-store"), "{path}");
        assert!(reply.contains("Content-Security-Policy: default-src 'none'"), "{path}");
        let length: usize = reply
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .and_then(|text| text.parse().ok())
            .unwrap();
        assert_eq!(length, body_of(&reply).len(), "{path}");
    }
}

#[test]
fn a_stuck_loop_is_reported_with_its_reason() {
    let bench = bench(None);
    bench.shared.stall();
    for path in ["/healthz", "/readyz"] {
        let reply = bench.get(path);
        assert_eq!(status_of(&reply), "503");
        assert!(
            body_of(&reply).starts_with("stalled: the event loop has not turned for 41s"),
            "{reply}"
        );
    }
    assert!(bench.get("/status.json").contains("\"ready\":false,\"reason\":\"stalled"));
    bench.shared.beat();
    assert_eq!(status_of(&bench.get("/healthz")), "200");
    bench.shared.readiness(|at| at.database_error = Some("disk full".to_owned()));
    assert_eq!(status_of(&bench.get("/healthz")), "200");
    assert_eq!(body_of(&bench.get("/readyz")), "database: disk full\n");
}

#[test]
fn odd_requests_get_the_status_they_deserve() {
    let bench = bench(None);
    let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    for (bytes, want) in [
        ("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody", "405"),
        ("DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "405"),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "404"),
        ("get / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "405"),
        ("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("nonsense\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}", "400"),
        ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "403"),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "403"),
        (&huge, "431"),
    ] {
        let reply = bench.talk(bytes.as_bytes());
        let shown: String = bytes.chars().take(60).collect();
        assert_eq!(status_of(&reply), want, "{shown:?}");
        if want == "405" {
            assert!(reply.contains("Allow: GET, HEAD"));
        }
        if bytes.starts_with("HEAD") {
            assert!(reply.contains("Content-Length: 3") && body_of(&reply).is_empty());
        }
    }
}

#[test]
fn no_path_leads_out_and_no_length_hides_a_second_request() {
    let bench = bench(None);
    let long = format!("/{}", "a".repeat(2_000));
    for (path, want) in [
        ("/../../etc/passwd", "404"),
        ("/%2e%2e/%2e%2e/etc/passwd", "404"),
        ("/metrics/../debug/memory", "404"),
        ("//healthz", "404"),
        ("/healthz%00", "404"),
        ("/healthz/", "404"),
        ("/HEALTHZ", "404"),
        ("/\\..\\..\\windows", "404"),
        ("http://evil.example/healthz", "403"),
        ("/healthz\0", "400"),
        ("", "400"),
        (&long, "404"),
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let reply = bench.talk(request.as_bytes());
        assert_eq!(status_of(&reply), want, "{path:?}: {reply}");
        assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{path:?}: {reply}");
    }
    let second = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for head in [
        "Content-Length: 0\r\nContent-Length: 71",
        "Content-Length: 104857600",
        "Content-Length: 99999999999999999999",
        "Content-Length: -1",
        "Content-Length: 1, 2",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Transfer-Encoding: gzip, chunked",
    ] {
        let request =
            format!("POST /metrics HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{second}");
        let reply = bench.talk(request.as_bytes());
        assert!(status_of(&reply).starts_with('4'), "{head}: {reply}");
        assert_eq!(reply.matches("HTTP/1.1 ").count(), 1, "{head}: {reply}");
    }
    for line in ["CONNECT localhost:443 HTTP/1.1", "GET /", "GET  /  HTTP/1.1", "GET / HTTP/9.9"] {
        let reply = bench
            .talk(format!("{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(
            status_of(&reply).starts_with('4') || status_of(&reply) == "505",
            "{line}: {reply}"
        );
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let bench = bench(None);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let last = "HEAD /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let reply =
        bench.talk((get("/healthz") + &get("/nothing") + &get("/readyz") + last).as_bytes());
    let statuses: Vec<&str> =
        reply.lines().filter(|line| line.starts_with("HTTP/1.1 ")).map(status_of).collect();
    assert_eq!(statuses, ["200", "404", "200", "200"]);
    assert_eq!(reply.matches("Connection: keep-alive").count(), 3);
}

#[test]
fn behind_a_body_nothing_is_taken_for_a_request() {
    let bench = bench(None);
    let inner = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    for (head, want) in [
        (format!("Content-Length: {}\r\n", inner.len()), &["200", "405"][..]),
        ("Transfer-Encoding: chunked\r\n".to_owned(), &["200", "405"]),
        // Nobody can say where such a body ends.
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(), &["200", "400"]),
        ("Content-Length: 0\r\n".to_owned(), &["200", "405", "200"]),
    ] {
        let first = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        let second = format!("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n{inner}");
        let reply = bench.talk((first.to_owned() + &second).as_bytes());
        let lines = reply.lines().filter(|line| line.starts_with("HTTP/1.1 "));
        assert_eq!(lines.map(status_of).collect::<Vec<_>>(), want, "{head}");
    }
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let bench = bench(None);
    assert_eq!(bench.talk(b""), "", "before the first request");
    let once = bench.talk(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(once.matches("HTTP/1.1").count(), 1, "{once}");
    assert!(once.ends_with("ok\n"), "{once}");
}

#[test]
fn a_head_that_comes_byte_by_byte_has_no_more_time_than_another() {
    let bench = bench(None);
    let mut stream = bench.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut reply = Vec::new();
    for _ in 0..PATIENCE_ROUNDS {
        let mut piece = [0; 512];
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => reply.extend_from_slice(&piece[..count]),
            // Nothing yet: one more byte, as a sign of life.
            Err(_) if reply.is_empty() && stream.write_all(b"y").is_ok() => {}
            Err(_) => break,
        }
    }
    assert_eq!(status_of(&String::from_utf8_lossy(&reply)), "408");
}

#[test]
fn who_asks_for_much_and_reads_nothing_is_cut_and_nobody_waits_for_it() {
    let bench = bench(None);
    // More than any kernel keeps for a reader.
    let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(900);
    let mut deaf: Vec<Stream> = (0..4).map(|_| bench.connect()).collect();
    for stream in &mut deaf {
        stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        // The other side takes no more requests than it can answer.
        let _full = stream.write(&ask);
    }
    for stream in &mut deaf {
        let is_cut = (0..PATIENCE_ROUNDS).any(|_| {
            // Meanwhile others are served.
            assert_eq!(status_of(&bench.get("/healthz")), "200");
            let one = stream.write(b"G");
            one.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
        });
        assert!(is_cut, "it is still served");
    }
}

#[test]
fn a_half_head_times_out_with_408() {
    let bench = bench(None);
    let reply = bench.talk(b"GET /healthz HTTP/1.1\r\nHos");
    assert_eq!(status_of(&reply), "408");
}

#[test]
fn a_token_is_asked_for_on_every_path_but_one() {
    let bench = bench(Some("let-me-in"));
    let ask = |path: &str, header: &str| {
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n{header}\r\n"
        );
        bench.talk(text.as_bytes())
    };
    for path in ["/", "/metrics", "/status.json", "/readyz", "/debug/memory", "/nothing"] {
        let refused = ask(path, "");
        assert_eq!(status_of(&refused), "401", "{path}");
        assert!(refused.contains("WWW-Authenticate: Basic realm="), "{path}");
        assert_eq!(status_of(&ask(path, "Authorization: Bearer wrong\r\n")), "401", "{path}");
        assert_ne!(status_of(&ask(path, "Authorization: Bearer let-me-in\r\n")), "401", "{path}");
    }
    assert_eq!(status_of(&ask("/healthz", "")), "200");
    // any:let-me-in
    assert_eq!(status_of(&ask("/", "Authorization: Basic YW55OmxldC1tZS1pbg==\r\n")), "200");
}

#[test]
fn a_public_address_without_a_token_is_refused() {
    let shared = Arc::new(Shared::new(Arc::new(Clock::starting_at(0)), Metrics::new([])));
    let error = spawn("0.0.0.0:0".parse().unwrap(), None, shared).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_crowd_of_slow_clients_does_not_keep_others_out() {
    let bench = bench(None);
    let crowd: Vec<Stream> = (0..CONNECTIONS_MAX * 4)
        .map(|_| {
            let mut stream = bench.connect();
            let _ = stream.write_all(b"GET / HT");
            stream
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(status_of(&bench.get("/healthz")), "200");
    }
    drop(crowd);
    assert_eq!(status_of(&bench.get("/metrics")), "200");
}

/// Serves the busy example to a browser until a line comes on stdin.
#[test]
#[ignore = "for eyes: waits for a line on stdin"]
fn look_at_the_page() {
    let bench = bench(None);
    let mut line = String::new();
    writeln!(io::stderr(), "http://{}/", bench.addr).unwrap();
    io::stdin().read_line(&mut line).unwrap();
}
