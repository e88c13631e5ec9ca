//! Webhook mode from the outside (contract §2, §5.1, §6): Telegram delivers instead of being asked.
//! Kills while updates are delivered are in `kill`.

use crate::world::{World, gemini_options, own_address};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use svs_bot::standin::gemini::{self, Act};
use svs_bot::standin::telegram::Outcome;

const SECRET: &str = "scenario-webhook_secret";
const URL: &str = "https://bot.example.org/hook/of-the-bot";
/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";
/// The promise of contract §5.5.
const PEAK_KIB_MAX: u64 = 20 * 1_024;

/// A bot whose webhook is set, and where it listens.
fn hooked(settings: &[(&str, &str)]) -> (World, String) {
    let (world, addr) = prepared(settings, gemini_options());
    world.run();
    world.until_log("webhook set");
    (world, addr)
}

pub(crate) fn prepared(settings: &[(&str, &str)], gemini: gemini::Options) -> (World, String) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let addr = own_address(NUMBER.fetch_add(1, Ordering::Relaxed), 8_443);
    let mut all =
        vec![("WEBHOOK_URL", URL), ("WEBHOOK_SECRET", SECRET), ("WEBHOOK_ADDR", addr.as_str())];
    all.extend_from_slice(settings);
    let world = World::prepare(&all, gemini);
    world.telegram.deliver_to(&addr).unwrap();
    (world, addr)
}

/// A message as Telegram would deliver it.
fn update(id: i64, user: i64, text: &str) -> String {
    format!(
        r#"{{"update_id":{id},"message":{{"message_id":{id},"date":1790000000,"text":"{text}",
        "from":{{"id":{user},"is_bot":false,"first_name":"Somebody"}},
        "chat":{{"id":{user},"type":"private","first_name":"Somebody"}}}}}}"#
    )
}

/// What the bot answers to this delivery; 0 when it hangs up.
fn deliver(addr: &str, secret: &str, body: &str) -> u16 {
    let head = format!(
        "POST /hook/of-the-bot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         X-Telegram-Bot-Api-Secret-Token: {secret}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    send(addr, &[head.as_bytes(), body.as_bytes()])
}

fn send(addr: &str, pieces: &[&[u8]]) -> u16 {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    for piece in pieces {
        // Whoever refuses may hang up before it has read all.
        let _ = stream.write_all(piece);
    }
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply).into_owned();
    reply.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn metric(world: &World, line: &str) {
    world.until(line, || world.page("/metrics").1.contains(line).then_some(()));
}

#[test]
fn a_conversation_by_webhook() {
    let (world, _) = hooked(&[]);
    world.say(7, 7, "the first question");
    world.expect(7, "the first question");
    world.say(7, 7, "the second question");
    world.say(8, 8, "another person's");
    world.expect(7, "the second question");
    world.expect(8, "another person's");
    world.expect_nothing_more();
    assert_eq!(world.state_int("polls"), 0);
    assert_eq!(world.telegram.pending(), 0);
    world.until("readiness", || world.is_ready().then_some(()));
    let set: Vec<_> =
        world.telegram.calls().into_iter().filter(|call| call.method == "setwebhook").collect();
    assert_eq!(set.len(), 1);
    let params = &set[0].params;
    assert_eq!((params["url"].as_str(), params["secret_token"].as_str()), (URL, SECRET));
    assert!(params["allowed_updates"].contains("\"message\""), "{params:?}");
    assert!(!params.contains_key("drop_pending_updates"), "{params:?}");
    world.until("the mode", || {
        world.page("/status.json").1.contains(r#""intake":"webhook""#).then_some(())
    });
    assert!(!world.log().contains(SECRET) && !world.log().contains("of-the-bot"));
}

#[test]
fn forged_and_repeated_deliveries_have_no_effect() {
    let (world, addr) = hooked(&[]);
    world.say(7, 7, "a real one");
    world.expect(7, "a real one");
    for secret in ["", "wrong", "scenario-webhook_secreT"] {
        for n in 0..20 {
            assert_eq!(deliver(&addr, secret, &update(5_000 + n, 7, "forged")), 401);
        }
    }
    let told = world.log().matches("requests refused").count();
    assert!((1..5).contains(&told), "{}", world.log());
    // Telegram repeats what it believes lost: the second is known, and acknowledged as well.
    for _ in 0..3 {
        assert_eq!(deliver(&addr, SECRET, &update(9_000_000, 7, "said once")), 200);
    }
    world.expect(7, "said once");
    world.expect_nothing_more();
    assert!(world.asked("forged").is_empty());
    assert_eq!(world.asked("said once").len(), 1);
    // The real one, the repeated one, and the probe.
    metric(&world, "svs_bot_updates_total{kind=\"message\"} 3");
}

#[test]
fn what_is_no_update_is_set_aside_once() {
    let (world, addr) = hooked(&[]);
    let large = format!(r#"{{"update_id":77,"poll":"{}"}}"#, "x".repeat(600 << 10));
    let bodies = [
        "",
        "not JSON at all",
        "[1,2]",
        r#"{"hello":1}"#,
        r#"{"update_id":76,"message":5}"#,
        &large,
    ];
    for body in bodies {
        for _ in 0..2 {
            assert_eq!(deliver(&addr, SECRET, body), 200, "{:.40}", body);
        }
    }
    let parked = world.number("SELECT count(*) FROM inbox WHERE state = 4 AND reason <> ''");
    assert_eq!(parked, i64::try_from(bodies.len()).unwrap());
    assert_eq!(world.log().matches("cannot be read").count(), bodies.len(), "{}", world.log());
    metric(&world, "svs_bot_updates_total{kind=\"other\"} 6");
    world.say(7, 7, "after all that");
    world.expect(7, "after all that");
}

#[test]
fn floods_and_slow_senders_cost_little_and_hold_up_nobody() {
    let (world, addr) = hooked(&[]);
    let head = |secret: &str, length: usize| {
        format!(
            "POST /hook/of-the-bot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             X-Telegram-Bot-Api-Secret-Token: {secret}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    // Slow ones, at every point of a request; they stay open while the rest happens.
    let slow: Vec<TcpStream> = (0..300)
        .map(|n| {
            let mut stream = TcpStream::connect(&addr).unwrap();
            let whole = head(SECRET, 100);
            let cut = n * 7 % whole.len();
            let _ = stream.write_all(whole.as_bytes().get(..cut).unwrap());
            stream
        })
        .collect();
    let megabyte = vec![b'x'; 1 << 20];
    let hundred: Vec<&[u8]> = vec![&megabyte; 100];
    for (secret, status) in [(SECRET, 413), ("wrong", 401)] {
        let head = head(secret, 100 << 20);
        let mut pieces = vec![head.as_bytes()];
        pieces.extend(&hundred);
        // The refusal may be lost behind the reset that ends so much unread.
        let got = send(&addr, &pieces);
        assert!(got == status || got == 0, "{got}");
    }
    // As large as is still looked at, many at once.
    std::thread::scope(|scope| {
        for _ in 0..32 {
            let (addr, megabyte) = (&addr, &megabyte);
            scope.spawn(move || {
                let head = head(SECRET, 3 << 20);
                send(addr, &[head.as_bytes(), megabyte, megabyte, megabyte])
            });
        }
    });
    world.say(7, 7, "in between");
    world.expect(7, "in between");
    drop(slow);
    assert!(world.peak_kib() < PEAK_KIB_MAX, "{} KiB", world.peak_kib());
}

#[test]
fn a_webhook_that_somebody_takes_away_is_set_again() {
    let (world, _) = hooked(&[]);
    for (method, body, words) in [
        ("deleteWebhook", "{}", "ours was removed"),
        ("setWebhook", r#"{"url":"https://elsewhere.example/x"}"#, "ours was replaced"),
    ] {
        world.until("readiness", || world.is_ready().then_some(()));
        let hits = world.state_int("webhook_hits");
        world.call(method, body);
        let taken = world.state_int("webhook_hits");
        world.until("a set webhook", || {
            world.signal("HUP");
            (world.state_int("webhook_hits") > taken.max(hits)).then_some(())
        });
        world.until_log(words);
        assert_eq!(world.control("state", "{}").at("webhook").str(), URL);
        world.say(7, 7, words);
        world.expect(7, words);
    }
}

#[test]
fn telegrams_complaints_make_unready_until_the_next_delivery() {
    let (world, addr) = hooked(&[]);
    world.until("readiness", || world.is_ready().then_some(()));
    world.telegram.deliver_to(NOWHERE).unwrap();
    world.say(7, 7, "stuck for a while");
    world.until("unreadiness", || {
        world.signal("HUP");
        (!world.is_ready()).then_some(())
    });
    let (_, why) = world.page("/readyz");
    assert!(why.contains("could not deliver"), "{why}");
    world.telegram.deliver_to(&addr).unwrap();
    world.expect(7, "stuck for a while");
    world.until("readiness", || world.is_ready().then_some(()));
}

#[test]
fn a_webhook_is_set_as_soon_as_telegram_lets_us() {
    let (world, _) = prepared(&[], gemini_options());
    world.fault("setwebhook", None, 1, Outcome::Refuse(500, "Internal Server Error".into()));
    world.fault("setwebhook", None, 1, Outcome::Flood(1));
    world.fault("setwebhook", None, 1, Outcome::LoseReply);
    let why = "Bad Request: bad webhook: Failed to resolve host";
    world.fault("setwebhook", None, 1, Outcome::Refuse(400, why.into()));
    world.run();
    world.until_log("Failed to resolve host");
    world.until_log("webhook set");
    world.say(7, 7, "at last");
    world.expect(7, "at last");
}

#[test]
fn what_cannot_work_is_told_at_the_start() {
    let (world, addr) = prepared(&[], gemini_options());
    let run = || {
        let out = world.command(&["run"]).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let taken = TcpListener::bind(&addr).unwrap();
    let (code, told) = run();
    assert!(code == Some(1) && told.contains("WEBHOOK_ADDR"), "{code:?} {told}");
    drop(taken);
    fs::write(world.dir.join("cert.pem"), "nothing").unwrap();
    let cert = world.dir.join("cert.pem").display().to_string();
    world.write_settings(&[("WEBHOOK_TLS_CERT", &cert), ("WEBHOOK_TLS_KEY", &cert)]);
    let (code, told) = run();
    assert!(code == Some(2) && told.contains("WEBHOOK_TLS_CERT"), "{code:?} {told}");
    world
        .write_settings(&[("TELEGRAM_BOT_TOKEN", "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw2")]);
    let (code, told) = run();
    assert!(code == Some(1) && told.contains("TELEGRAM_BOT_TOKEN"), "{code:?} {told}");
    assert_eq!(world.state_int("webhook_hits"), 0);
}

#[test]
fn a_stop_leaves_the_webhook_and_a_drain_takes_it_back() {
    let (world, _) = hooked(&[]);
    world.say(7, 7, "before the stop");
    world.expect(7, "before the stop");
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    assert_eq!(world.control("state", "{}").at("webhook").str(), URL);
    world.say(7, 7, "while stopped");
    world.run();
    world.expect(7, "while stopped");
    world.script("one", 1, Act::Slow(1_500));
    for text in ["one", "two", "three"] {
        world.say(7, 7, text);
    }
    world.until("all stored", || (world.telegram.pending() == 0).then_some(()));
    let out = world.command(&["drain", "--within", "60s"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(world.wait_exit(), Some(0));
    for text in ["one", "two", "three"] {
        world.expect(7, text);
    }
    assert_eq!(world.control("state", "{}").at("webhook").str(), "");
    // For whoever comes next.
    world.say(7, 7, "after the drain");
    assert_eq!(world.telegram.pending(), 1);
    let dropped = world
        .telegram
        .calls()
        .into_iter()
        .any(|call| call.params.contains_key("drop_pending_updates"));
    assert!(!dropped);
}

#[test]
fn a_drain_without_a_daemon_takes_the_webhook_back_too() {
    let (world, _) = hooked(&[]);
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    let out = world.command(&["drain"]).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(world.control("state", "{}").at("webhook").str(), "");
}

#[test]
fn changing_between_polling_and_webhook_loses_and_doubles_nothing() {
    let (world, _) = prepared(&[], gemini_options());
    let mut said = 0;
    for round in 0..4 {
        let polls = round % 2 == 0;
        if polls {
            let text = fs::read_to_string(world.env_file()).unwrap();
            let kept: Vec<&str> =
                text.lines().filter(|line| !line.starts_with("WEBHOOK_")).collect();
            fs::write(world.env_file(), kept.join("\n")).unwrap();
        } else {
            world.write_settings(&[]);
        }
        for _ in 0..3 {
            said += 1;
            world.say(said, said, &format!("before {said}."));
        }
        world.run();
        for _ in 0..3 {
            said += 1;
            world.say(said, said, &format!("after {said}."));
        }
        for n in said - 5..=said {
            world.expect(n, &format!(" {n}."));
        }
        world.signal("TERM");
        assert_eq!(world.wait_exit(), Some(0));
    }
    world.run();
    world.expect_nothing_more();
}

#[test]
fn a_database_that_refuses_loses_no_delivery() {
    let (world, addr) = hooked(&[]);
    world.say(7, 7, "before");
    world.expect(7, "before");
    let path = world.data_dir().join("svs-bot.db");
    let holder = rusqlite::Connection::open(path).unwrap();
    holder.busy_timeout(Duration::from_secs(60)).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for n in 0..6 {
        world.say(20 + n, 20 + n, &format!("meanwhile {n}."));
    }
    world.until_log("nothing is lost");
    // Nobody is told that it is stored while it is not.
    assert_ne!(deliver(&addr, SECRET, &update(9_000_001, 7, "by hand.")), 200);
    assert!(world.telegram.pending() >= 6);
    holder.execute_batch("ROLLBACK").unwrap();
    for n in 0..6 {
        world.expect(20 + n, &format!("meanwhile {n}."));
    }
    assert_eq!(deliver(&addr, SECRET, &update(9_000_001, 7, "by hand.")), 200);
    world.expect(7, "by hand.");
    world.expect_nothing_more();
}

#[test]
fn a_server_that_knows_no_webhook_info_is_no_reason_to_be_unready() {
    let (world, _) = prepared(&[], gemini_options());
    world.fault("getwebhookinfo", None, 1_000, Outcome::Refuse(404, "Not Found".into()));
    world.run();
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    world.until_log("getWebhookInfo");
    world.until("readiness", || world.is_ready().then_some(()));
}
