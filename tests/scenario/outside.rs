//! Seen from outside: whatever breaks, the page, the metric and `check` name the cause and the next
//! step; and whatever is sent to the listener, the bot answers and does not grow.

use crate::world::{KEY_1, KEY_2, OWNER, World, gemini_options};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;
use svs_bot::standin::gemini;

/// Nobody listens there: what a pulled cable looks like from this side.
const NOWHERE: &str = "http://127.0.0.1:1";
/// A listener that keeps something of every request would show far more than this.
const GROWTH_KIB_MAX: u64 = 2 << 10;
/// The service waits long before it closes; a test that waits longer has found a defect.
const REPLY_WITHIN: Duration = Duration::from_secs(60);

/// The line of `check` about `item`, with the one below it.
fn checked(world: &World, item: &str) -> String {
    let done = world.command(&["check"]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "{text}");
    let is_it = |line: &str| {
        let failed = line.strip_prefix("fail  ").unwrap_or_default();
        failed.starts_with(item) || item.starts_with('…') && failed.contains(item)
    };
    let mut lines = text.lines().skip_while(|line| !is_it(line));
    let found: Vec<&str> = lines.by_ref().take(2).collect();
    assert_eq!(found.len(), 2, "check says nothing of {item}:\n{text}");
    found.join("\n")
}

/// Waits for the words on the page, then for the line among the metrics.
fn until_shown(world: &World, words: &str, metric: &str) {
    world.until(words, || world.page("/").1.contains(words).then_some(()));
    let has = || world.page("/metrics").1.lines().any(|line| line == metric).then_some(());
    world.until(metric, has);
}

#[test]
fn a_pulled_network_is_named_everywhere() {
    let world = World::start(&[]);
    world.write_settings(&[("TELEGRAM_API_URL", NOWHERE)]);
    world.signal("HUP");
    // The poll under way ends first.
    world.say(7, 7, "wake the poll");
    until_shown(&world, "not ready", "svs_bot_ready 0");
    let (status, reason) = world.page("/readyz");
    assert!(status == 503 && reason.contains("telegram: "), "{status} {reason}");
    assert_eq!(world.page("/healthz").0, 200, "the loop itself is well");
    let line = checked(&world, "telegram");
    assert!(line.contains("no reply") && line.contains("TELEGRAM_API_URL"), "{line}");
    world.write_settings(&[]);
    world.signal("HUP");
    world.until("the end of it", || world.is_ready().then_some(()));
    world.expect(7, "wake the poll");
}

#[test]
fn a_revoked_key_is_named_everywhere() {
    let keys = BTreeMap::from([(KEY_2.to_owned(), "p".to_owned())]);
    let world = World::prepare(
        &[("GROUP_D_KEYS", &format!("{KEY_1},{KEY_2}"))],
        gemini::Options { any_key: false, keys, ..gemini_options() },
    );
    world.run();
    for n in 0..4 {
        world.say(7, 7, &format!("question {n}"));
        world.expect(7, &format!("question {n}"));
    }
    until_shown(&world, "dead", "svs_bot_keys{group=\"D\",state=\"dead\"} 1");
    assert!(world.page("/").1.contains("…aaAA"), "which key");
    let line = checked(&world, "…aaAA");
    assert!(line.starts_with("fail") && line.contains("aistudio.google.com"), "{line}");
}

#[test]
fn a_gemini_out_of_reach_is_named_everywhere() {
    let world = World::start(&[("GEMINI_API_URL", NOWHERE)]);
    for n in 0..3 {
        world.say(7 + n, 7 + n, "is anybody there?");
    }
    until_shown(&world, "gemini gives no answers: connection refused", "svs_bot_gemini_failing 1");
    assert!(world.page("/").1.contains("svs-bot check names the cause"));
    let line = checked(&world, "gemini");
    assert!(line.contains("no reply") && line.contains("GEMINI_API_URL"), "{line}");
    let told = world.log().matches("gemini.failed: ").count();
    assert_eq!(told, 1, "{}", world.log());
    let done = world.command(&["status"]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(text.contains("gemini     no answers: connection refused"), "{text}");
    assert!(world.is_ready(), "messages are still taken and kept");
}

#[test]
fn a_stopped_postgrest_is_named_everywhere() {
    let world = World::start(&[
        ("SUPABASE_URL", NOWHERE),
        ("SUPABASE_KEY", "sb_secret_of_the_scenario"),
        ("SYNC_INTERVAL", "1s"),
    ]);
    world.say(7, 7, "a row");
    world.expect(7, "a row");
    let pending = "svs_bot_sync_pending_rows{table=\"chat_history\"} 1";
    until_shown(&world, "supabase: connection refused", pending);
    let line = checked(&world, "supabase ");
    assert!(line.contains("no reply") && line.contains("SUPABASE_URL"), "{line}");
    assert!(!line.contains("sb_secret_of_the_scenario"), "{line}");
    assert!(world.is_ready(), "chat is unaffected");
}

#[test]
fn a_wrong_clock_is_named_by_check_and_told() {
    const HOUR_MS: i64 = 3_600_000;
    for (theirs_ms, side, by, fails) in [
        (0, "agrees with", "", false),
        // Between two whole minutes, so that seconds under way change no word.
        (150_000, "behind", "2m", false),
        (HOUR_MS + 90_000, "behind", "1h", true),
        (-HOUR_MS - 90_000, "ahead of", "1h", true),
    ] {
        let world = World::prepare_at(&[], gemini_options(), theirs_ms);
        let done = world.command(&["check"]).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        let mut lines = text.lines().skip_while(|line| !line.contains("clock beside theirs"));
        let (found, todo) = (lines.next().unwrap_or(&text), lines.next().unwrap_or_default());
        assert!(found.contains(side) && found.contains(by), "{text}");
        assert_eq!(found.starts_with("fail"), fails, "{text}");
        assert_eq!(todo.contains("timedatectl"), theirs_ms != 0, "{text}");
        world.run();
        if theirs_ms == 0 {
            world.until("the first poll", || (world.state_int("polls") > 0).then_some(()));
            world.settle();
            assert!(!world.log().contains("clock is"), "{}", world.log());
        } else {
            world.until_log("the system's clock is");
            // Chinese, since nothing is known of the owner's Telegram.
            assert!(world.expect(OWNER, "timedatectl").text.contains(by));
        }
    }
}

#[test]
fn the_owner_hears_once_of_a_crash_and_of_a_new_version() {
    let world = World::start(&[("BOT_LANG", "en")]);
    world.kill();
    world.run();
    world.expect(OWNER, "I stopped unexpectedly");
    // An end in order, and the same version again, are no news.
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    world.run();
    world.expect_nothing_more();
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    world.change("UPDATE meta SET value = '0.0.1' WHERE key = 'told_version'");
    world.run();
    world.expect(OWNER, "I now run version");
    world.expect_nothing_more();
}

/// Sends these bytes on a connection of their own and reads to its end.
fn exchange(world: &World, bytes: &[u8]) -> String {
    let Ok(mut stream) = TcpStream::connect(world.http_addr()) else { return String::new() };
    stream.set_read_timeout(Some(REPLY_WITHIN)).unwrap();
    // The other side may have had enough before the last byte.
    let _cut = stream.write_all(bytes);
    let mut reply = Vec::new();
    let _reset = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

#[test]
fn whatever_is_sent_to_the_listener_the_bot_does_not_grow() {
    let world = World::start(&[]);
    let host = world.http_addr().to_owned();
    let request = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")
    };
    let megabyte = "x".repeat(1 << 20);
    let odd = [
        (request("GET /metrics", ""), "200"),
        (request("HEAD /", ""), "200"),
        (request("POST /metrics", ""), "405"),
        (request("DELETE /", ""), "405"),
        (request("BREW /", ""), "405"),
        (request("GET /../../etc/passwd", ""), "404"),
        (request("GET /%2e%2e/%2e%2e/etc/passwd", ""), "404"),
        (request("GET /%6detrics", ""), "404"),
        (request("GET //metrics", ""), "404"),
        (request("GET /metrics/", ""), "404"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(), "403"),
    ];
    let large = [
        (request("GET /", &format!("X: {megabyte}\r\n")), "431"),
        (request(&format!("GET /{megabyte}"), ""), "431"),
        (request("GET /", &"X: y\r\n".repeat(2_000)), "431"),
    ];
    // Each of these is read for a second after its refusal, so once must do.
    let send = |list: &[(String, &str)]| {
        for (bytes, want) in list {
            let reply = exchange(&world, bytes.as_bytes());
            // A reset may swallow the reply of who goes on talking.
            assert!(
                reply.is_empty() || reply.get(9..12) == Some(*want),
                "{bytes:.60}: {reply:.80}"
            );
        }
    };
    let attack = |rounds: usize| {
        for _ in 0..rounds {
            send(&odd);
            // Half a head, and away.
            let half = TcpStream::connect(world.http_addr()).unwrap();
            let _gone = (&half).write_all(b"GET /metrics HTT");
            // A page asked for and never read.
            let deaf = TcpStream::connect(world.http_addr()).unwrap();
            let _gone = (&deaf).write_all(request("GET /", "").as_bytes());
        }
    };
    send(&large);
    attack(2);
    let before_kib = world.resident_kib();
    send(&large);
    attack(6);
    // As many as a scrape every 10 ms brings in three seconds.
    for n in 0..300 {
        assert!(
            exchange(&world, request("GET /metrics", "").as_bytes()).starts_with("HTTP/1.1 200")
        );
        if n % 100 == 0 {
            world.say(7, 7, &format!("between {n}"));
            world.expect(7, &format!("between {n}"));
        }
    }
    let after_kib = world.resident_kib();
    assert!(after_kib < before_kib + GROWTH_KIB_MAX, "from {before_kib} to {after_kib} KiB");
}

#[test]
fn ten_thousand_connections_cost_little_and_keep_nobody_out() {
    const HELD: usize = 500;
    let world = World::start(&[]);
    assert_eq!(world.page("/healthz").0, 200);
    let before_kib = world.resident_kib();
    let mut held = std::collections::VecDeque::with_capacity(HELD);
    for n in 0..10_000 {
        let stream = TcpStream::connect(world.http_addr()).unwrap();
        let _cut = (&stream).write_all(b"GET / HTTP/1.1\r\nHost: l");
        if held.len() == HELD {
            held.pop_front();
        }
        held.push_back(stream);
        if n % 2_500 == 0 {
            // Pushed out is a newcomer only by sixty others that came at the same moment.
            world.until("a reply in the crowd", || (world.page("/healthz").0 == 200).then_some(()));
        }
    }
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    let fds = world.open_files();
    assert!(fds < 200, "{fds} open files");
    let after_kib = world.resident_kib();
    assert!(after_kib < before_kib + 2 * GROWTH_KIB_MAX, "from {before_kib} to {after_kib} KiB");
}

#[test]
fn readers_that_read_nothing_cost_little_and_are_cut() {
    // As many as there may be.
    const DEAF: usize = 64;
    let world = World::start(&[]);
    assert_eq!(world.page("/").0, 200);
    let before_kib = world.resident_kib();
    let ask = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", world.http_addr()).repeat(900);
    let deaf: Vec<TcpStream> = (0..DEAF)
        .map(|_| {
            let stream = TcpStream::connect(world.http_addr()).unwrap();
            stream.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            let _full = (&stream).write(ask.as_bytes());
            stream
        })
        .collect();
    world.say(7, 7, "in between");
    world.expect(7, "in between");
    let mut most_kib = 0;
    world.until("the end of the deaf", || {
        most_kib = most_kib.max(world.resident_kib());
        (world.open_files() < DEAF / 2).then_some(())
    });
    drop(deaf);
    assert_eq!(world.page("/healthz").0, 200);
    assert!(most_kib < before_kib + 2 * GROWTH_KIB_MAX, "from {before_kib} to {most_kib} KiB");
}

/// The number behind that name in a report of the memory.
fn bytes_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.trim_start().starts_with(name));
    let rest = line.unwrap_or_else(|| panic!("no {name} in\n{text}")).trim_start();
    let number = rest.trim_start_matches(name).split_whitespace().next();
    number.unwrap().parse().unwrap_or_else(|_| panic!("{name} is not known in\n{text}"))
}

/// The parts are the whole, within a tenth.
fn assert_adds_up(text: &str) {
    let resident = bytes_of(text, "resident ");
    let parts = ["program", "heap", "anonymous", "stacks", "files"];
    let sum: u64 = parts.iter().map(|name| bytes_of(text, name)).sum();
    assert!(sum.abs_diff(resident) <= resident / 10, "{sum} of {resident}:\n{text}");
}

#[test]
fn the_memory_report_adds_up_under_load_and_at_rest() {
    const QUESTIONS: i64 = 60;
    let slow = gemini::Options { first_ms: 300, pace_ms: 20, ..gemini_options() };
    let world = World::prepare(&[("WORKERS", "32"), ("STREAM", "edit")], slow);
    world.run();
    world.until("the first poll", || (world.state_int("polls") > 0).then_some(()));
    for n in 0..QUESTIONS {
        world.say(100 + n, 100 + n, &format!("question {n} {}", "long ".repeat(500)));
    }
    let mut most_threads = 0;
    let pending = "SELECT (SELECT count(*) FROM inbox WHERE state IN (1, 2))";
    world.until("the load", || (world.number(pending) > 0).then_some(()));
    world.until("the end of the load", || {
        let text = world.page("/debug/memory").1;
        assert_adds_up(&text);
        most_threads = most_threads.max(bytes_of(&text, "threads"));
        (world.number(pending) == 0).then_some(())
    });
    assert!(most_threads > 20, "{most_threads} threads are no load");
    world.settle();
    let (status, inside) = world.page("/debug/memory");
    assert_eq!(status, 200);
    let done = world.command(&["status", "--memory"]).output().unwrap();
    let beside = String::from_utf8(done.stdout).unwrap();
    // From beside it root alone sees the parts.
    let is_root = crate::world::own_user() == 0;
    assert_eq!(beside.contains("for root to see"), !is_root, "{beside}");
    for text in [&inside, if is_root { &beside } else { &inside }] {
        assert_adds_up(text);
        let bytes = |name: &str| bytes_of(text, name);
        let inner = ["page cache", "schema", "statements"].map(bytes);
        assert!(inner.iter().all(|bytes| *bytes > 0), "{text}");
        assert!(inner.iter().sum::<u64>() <= bytes("sqlite"), "{text}");
        assert!(bytes("sqlite") < bytes("allocator"), "{text}");
        assert!(bytes("threads") > 1 && bytes("stacks") > 0, "{text}");
    }
}
