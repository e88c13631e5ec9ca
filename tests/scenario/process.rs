//! The program as an operator's system sees it (contract §1, §2, §3, §5.6): codes, signals, secrets.

use crate::world::{KEY_1, OWNER, TOKEN, World, gemini_options};
use std::fs;
use std::process::Stdio;
use svs_bot::standin::data::Data;
use svs_bot::standin::gemini::{Act, failure};

#[test]
fn bad_settings_are_told_all_at_once() {
    let world = World::prepare(&[], gemini_options());
    let secret = "AIzaSyD-never-to-be-shown-000000000000z";
    let text = format!(
        "WORKERS=many\nDEFAULT_ROLE=king\nGEMINI_API_URL=ftp://x\nGEMINI_API_KEY={secret}\nSYNC_INTERVAL={secret}\n"
    );
    fs::write(world.env_file(), text).unwrap();
    let out = world.command(&["run"]).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{told}");
    for name in ["WORKERS", "DEFAULT_ROLE", "GEMINI_API_URL", "SYNC_INTERVAL", "TELEGRAM_BOT_TOKEN"]
    {
        assert!(told.contains(name), "{name} is missing in {told}");
    }
    assert!(!told.contains(secret), "{told}");
    let out = world.command(&["run", "--nonsense"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_second_run_names_the_first() {
    let world = World::start(&[]);
    let out = world.command(&["run"]).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(73), "{told}");
    assert!(told.contains(&world.pid().to_string()), "{told}");
    world.say(7, 7, "undisturbed");
    world.expect(7, "undisturbed");
}

#[test]
fn a_newer_database_is_left_as_it_is() {
    let world = World::start(&[]);
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    let path = world.data_dir().join("svs-bot.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 9_999).unwrap();
    db.pragma_update(None, "journal_mode", "delete").unwrap();
    db.close().unwrap();
    let before = fs::read(&path).unwrap();
    let out = world.command(&["run"]).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{told}");
    assert!(told.contains("newer"), "{told}");
    assert!(fs::read(&path).unwrap() == before, "touched");
}

#[test]
fn the_data_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::start(&[]);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(world.data_dir()), 0o700);
    assert_eq!(mode(world.data_dir().join("svs-bot.db")), 0o600);

    // What a person's hands, or a restore, left open is closed by the next start, and by each command.
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    let names = ["svs-bot.db", "svs-bot.lock", ""];
    let open_up = || {
        for name in names {
            let wide = if name.is_empty() { 0o755 } else { 0o644 };
            let path = world.data_dir().join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(wide)).unwrap();
        }
    };
    let closed = || {
        for name in names {
            let want = if name.is_empty() { 0o700 } else { 0o600 };
            assert_eq!(mode(world.data_dir().join(name)), want, "{name}");
        }
    };
    open_up();
    world.run();
    world.until_log("the data were open to other users");
    closed();
    for name in ["svs-bot.db-wal", "svs-bot.db-shm"] {
        // The log line comes before the database is opened.
        let path = world.data_dir().join(name);
        world.until(name, || path.exists().then_some(()));
        assert_eq!(mode(path), 0o600, "{name}");
    }
    for command in [&["status"][..], &["keys", "list"], &["role", "list"], &["export"]] {
        open_up();
        assert!(world.command(command).output().unwrap().status.success(), "{command:?}");
        closed();
    }
}

#[test]
fn a_polite_end_with_work_in_hand_loses_nothing() {
    let world = World::start(&[("WORKERS", "2")]);
    world.script("", 2, Act::Slow(20_000));
    for user in 10..20 {
        world.say(user, user, &format!("from {user}"));
    }
    world.until("two in hand", || (world.asked("from").len() == 2).then_some(()));
    world.until("all stored", || (world.telegram.pending() == 0).then_some(()));
    let started = svs_bot::daemon::clock::monotonic();
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    world.run();
    for user in 10..20 {
        world.expect(user, &format!("from {user}"));
    }
    world.expect_nothing_more();
}

#[test]
fn a_polite_end_finishes_what_is_nearly_done() {
    let world = World::start(&[]);
    world.script("", 1, Act::Slow(1_500));
    world.say(7, 7, "nearly done");
    world.until("it in hand", || (!world.asked("nearly").is_empty()).then_some(()));
    world.signal("INT");
    assert_eq!(world.wait_exit(), Some(0));
    world.expect(7, "nearly done");
    world.run();
    world.expect_nothing_more();
    assert_eq!(world.asked("nearly").len(), 1);
}

#[test]
fn the_second_signal_ends_at_once() {
    let world = World::start(&[]);
    world.script("", 1, Act::Slow(60_000));
    world.say(7, 7, "a long one");
    world.until("it in hand", || (!world.asked("a long").is_empty()).then_some(()));
    let started = svs_bot::daemon::clock::monotonic();
    world.signal("TERM");
    world.until_log("stopping");
    world.signal("TERM");
    world.wait_exit();
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    world.run();
    world.expect(7, "a long one");
    world.expect_nothing_more();
}

#[test]
fn settings_are_read_again_and_a_bad_file_changes_nothing() {
    let world = World::start(&[]);
    world.say(7, 7, "/status");
    world.expect(7, "normal");
    fs::write(world.env_file(), "TELEGRAM_BOT_TOKEN\nWORKERS=none\n").unwrap();
    world.signal("HUP");
    world.until_log("the old ones stay");
    world.say(7, 7, "/status");
    world.expect(7, "normal");
    world.write_settings(&[
        ("VIP_IDS", "7"),
        ("ROUNDS_VIP", "9"),
        ("SYSTEM_PROMPT", "You are a parrot."),
    ]);
    world.signal("HUP");
    world.until_log("settings read again");
    world.say(7, 7, "/status");
    world.expect(7, "VIP");
    world.say(7, 7, "polly");
    world.expect(7, "polly");
    let system =
        world.asked("polly")[0].body.any(&["systemInstruction", "system_instruction"]).render();
    assert!(system.contains("You are a parrot."), "{system}");
    world.write_settings(&[("DEFAULT_ROLE", "guest")]);
    world.say(OWNER, OWNER, "/reload");
    let told = world.expect(OWNER, "In effect now").text;
    assert!(told.contains("DEFAULT_ROLE") && !told.contains("WORKERS"), "{told}");
    world.until("the second reading", || {
        (world.log().matches("settings read again").count() == 2).then_some(())
    });
    world.say(8, 8, "/status");
    world.expect(8, "guest");
    world.say(OWNER, OWNER, "/reload");
    world.expect(OWNER, "nothing has changed");
    world.write_settings(&[("WORKERS", "0")]);
    world.say(OWNER, OWNER, "/reload");
    world.expect(OWNER, "WORKERS");
    world.expect_nothing_more();
}

#[test]
fn a_dry_run_writes_nothing_to_telegram_and_supabase() {
    // Where nobody listens: a call would be a trouble.
    let supabase = [("SUPABASE_URL", "http://127.0.0.1:1"), ("SUPABASE_KEY", "sb_secret_dry")];
    let world = World::prepare(&supabase, gemini_options());
    world.say(7, 7, "hello");
    let log = || {
        Stdio::from(
            fs::File::options().create(true).append(true).open(world.dir.join("log")).unwrap(),
        )
    };
    let mut child =
        world.command(&["run", "--dry-run"]).stdout(log()).stderr(log()).spawn().unwrap();
    world.until_log("sendMessage to chat 7 not sent");
    world.until_log("1 rows of chat_history not sent to Supabase");
    assert!(!world.log().contains("refused"), "{}", world.log());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(world.telegram.sent_total(), 0);
    let writes = world.telegram.calls().iter().filter(|call| call.method != "getme").count();
    assert_eq!(writes, 0, "{:?}", world.telegram.calls());
    assert_eq!(world.asked("hello").len(), 1, "it asks for real");
}

#[test]
fn no_secret_is_written_anywhere() {
    let (pasted, other_key) = (
        "987654321:AAGpastedInAChatByMistake_0123456789a",
        "AIzaSyB-pasted-in-a-chat-by-mistake-012",
    );
    let http = "http-token-of-the-scenario-0123456789";
    let world = World::start(&[("LOG_LEVEL", "trace"), ("HTTP_TOKEN", http)]);
    world.script("leak", 1, Act::Say(format!("Your key was {KEY_1}, and {other_key}")));
    world.script("refused", 1, Act::Fail(failure("api_key_invalid", "", 0)));
    let mut broken =
        format!(r#"{{"update_id":300000000,"message":{{"text":"{pasted}","chat":7}}}}"#);
    broken.push('\n');
    world.control("push", &broken);
    for text in [
        format!("my token is {pasted}"),
        TOKEN.to_owned(),
        format!("key={other_key}&x"),
        "leak".to_owned(),
        "refused".to_owned(),
        format!("/start {pasted}"),
        "an-unusual-word of mine".to_owned(),
    ] {
        world.say(7, 7, &text);
        world.settle();
    }
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    assert!(!world.log().contains("an-unusual-word"), "people's words are not logged");
    let secrets = [TOKEN, KEY_1, pasted, other_key, http];
    let files = world.files();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        for secret in secrets {
            // The part after the number is the secret one.
            let part = secret.split(':').next_back().unwrap().as_bytes();
            let found = bytes.windows(part.len()).any(|window| window == part);
            assert!(!found, "{secret} is in {}", file.display());
        }
    }
    for sent in world.telegram.sent() {
        assert!(!secrets.iter().any(|secret| sent.text.contains(secret)), "{}", sent.text);
    }
}

#[test]
fn no_secret_is_shown_while_it_runs() {
    let world = World::start(&[]);
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    for (prompt, failure_of) in
        [("bad key", "leaked"), ("busy", "overloaded"), ("none left", "per_day")]
    {
        world.script(prompt, 1, Act::Fail(failure(failure_of, "", 0)));
        world.say(7, 7, prompt);
    }
    world.say(OWNER, OWNER, "/keys");
    world.say(OWNER, OWNER, "/usage");
    world.say(7, 7, TOKEN);
    world.settle();
    let copy = world.dir.join("copy.db");
    let mut shown = vec![("backup said", beside(&world, &["backup", copy.to_str().unwrap()]))];
    let read = |path: &str| {
        let bytes = fs::read(path.replace("PID", &world.pid().to_string())).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    shown.push(("the backup", read(copy.to_str().unwrap())));
    for path in ["/proc/PID/cmdline", "/proc/PID/comm"] {
        shown.push((path, read(path)));
    }
    // Closed to all but root.
    if crate::world::own_user() == 0 {
        shown.push(("its environment", read("/proc/PID/environ")));
    }
    for path in
        ["/", "/metrics", "/healthz", "/readyz", "/status.json", "/debug/memory", "/nothing"]
    {
        shown.push((path, world.page(path).1));
    }
    for args in [
        &["status"] as &[&str],
        &["status", "--json"],
        &["status", "--memory"],
        &["keys"],
        &["keys", "--json"],
        &["export"],
        &["check"],
        &["sync"],
        &["verify"],
    ] {
        let out = world.command(args).output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        assert!(!text.is_empty() || args == ["sync"], "{args:?} says nothing");
        shown.push((args[0], String::from_utf8_lossy(&text).into_owned()));
    }
    for (what, text) in shown {
        for secret in [TOKEN, KEY_1] {
            let part = secret.split(':').next_back().unwrap();
            assert!(!text.contains(part), "{what}: {text}");
        }
    }
}

/// A command beside the daemon; its output.
fn beside(world: &World, args: &[&str]) -> String {
    let out = world.command(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{args:?}: {text}{told}");
    text
}

#[test]
fn commands_work_beside_the_daemon_and_are_noticed() {
    let world = World::start(&[]);
    beside(&world, &["role", "set", "7", "vip"]);
    let started = svs_bot::daemon::clock::monotonic();
    world.until("the role", || {
        world.say(7, 7, "/status");
        world.expect(7, "Your role").text.contains("VIP").then_some(())
    });
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    beside(&world, &["keys", "park", "1"]);
    world.until("the parked key", || {
        world.say(OWNER, OWNER, "/keys");
        world.expect(OWNER, "1. ").text.contains("parked").then_some(())
    });
    world.say(7, 7, "no key is left");
    assert!(!world.expect(7, "").text.contains("no key is left"));
    beside(&world, &["keys", "revive", "1"]);
    world.until("the revived key", || {
        world.say(OWNER, OWNER, "/keys");
        world.expect(OWNER, "1. ").text.contains("1. [-] …aaAA ready").then_some(())
    });
    world.say(7, 7, "back again");
    world.expect(7, "back again");
    let status = Data::parse(beside(&world, &["status", "--json"]).as_bytes()).unwrap();
    assert!(status.at("running").is_true(), "{}", status.render());
    let copy = world.dir.join("copy.db");
    beside(&world, &["backup", copy.to_str().unwrap()]);
    let db = rusqlite::Connection::open(copy).unwrap();
    let rows: i64 = db.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    world.expect_nothing_more();
}

#[test]
fn a_drain_answers_what_is_stored_and_ends() {
    let world = World::start(&[]);
    world.script("one", 1, Act::Slow(1_500));
    for text in ["one", "two", "three"] {
        world.say(7, 7, text);
    }
    world.until("all stored", || (world.telegram.pending() == 0).then_some(()));
    beside(&world, &["drain", "--within", "60s"]);
    assert_eq!(world.wait_exit(), Some(0));
    for text in ["one", "two", "three"] {
        world.expect(7, text);
    }
}

#[test]
fn the_listener_tells_what_happened() {
    let world = World::start(&[]);
    world.script("bad", 1, Act::BlockPrompt("SAFETY".into()));
    for text in ["hello", "bad"] {
        world.say(7, 7, text);
        world.expect(7, "");
    }
    world.settle();
    let metrics = world.until("the counters", || {
        let (status, text) = world.page("/metrics");
        assert_eq!(status, 200);
        text.contains("svs_bot_answers_total{role=\"normal\",outcome=\"blocked\"} 1")
            .then_some(text)
    });
    for line in [
        "svs_bot_answers_total{role=\"normal\",outcome=\"answered\"} 1",
        "svs_bot_inbox_pending 0",
        "svs_bot_outbox_pending 0",
        "svs_bot_updates_total{kind=\"message\"} 3",
    ] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
    assert_eq!(world.page("/healthz"), (200, world.page("/healthz").1));
    assert_eq!(world.page("/nothing").0, 404);
    assert!(world.page("/").1.contains("<html") || world.page("/").1.contains("<!"));
    let status = Data::parse(world.page("/status.json").1.as_bytes()).unwrap();
    for name in [
        "version",
        "running",
        "ready",
        "rss_bytes",
        "inbox",
        "outbox",
        "vip",
        "keys",
        "quota",
        "sync",
        "week",
    ] {
        assert!(status.map().unwrap().contains_key(name), "{name}: {}", status.render());
    }
}
