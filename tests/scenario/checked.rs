//! What trips people, as `svs-bot check` of the real program finds it: each is named with what to do, and
//! what is well is not complained of.

use crate::world::{KEY_1, KEY_2, TOKEN, World, gemini_options};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use svs_bot::standin::gemini;
use svs_bot::standin::telegram::Outcome;

/// Never given to anybody (RFC 6761).
const NO_SUCH_HOST: &str = "https://svs-bot.invalid";

/// A level and parts of what is found and of what is to be done.
type Wanted<'a> = (&'a str, &'a str, &'a [&'a str], &'a str);

/// Settings beside the usual ones.
type Settings<'a> = &'a [(&'a str, &'a str)];
/// What Telegram does to a method.
type Fault<'a> = Option<(&'a str, Outcome)>;

/// The item of that name has this level and these words; whatever is not ok says what to do.
#[track_caller]
fn named(world: &World, options: &[&str], wanted: Wanted<'_>) {
    let (level, name, found, todo) = wanted;
    let done = world.command(&[&["check"], options].concat()).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(!text.contains(TOKEN) && !text.contains(KEY_1), "a secret is shown:\n{text}");
    let lines: Vec<&str> = text.lines().collect();
    let is_it = |line: &&str| line.strip_prefix(level).is_some_and(|rest| rest.contains(name));
    let at = lines.iter().position(is_it).unwrap_or_else(|| {
        panic!("no {level} of {name} (exit {:?}):\n{text}", done.status.code());
    });
    for words in found {
        assert!(lines[at].contains(words), "{words} is not in {:?}:\n{text}", lines[at]);
    }
    assert!(lines[at + 1].contains(&format!("-> {todo}")), "{:?}:\n{text}", lines[at + 1]);
    let fails = lines.iter().any(|line| line.starts_with("fail"));
    assert_eq!(done.status.code(), Some(i32::from(fails)), "{text}");
}

#[test]
fn what_telegram_has_against_it_is_named() {
    let refuse =
        |method: &'static str, code, text: &str| (method, Outcome::Refuse(code, text.into()));
    let private = r#"{"ok":true,"result":{"id":123456789,"is_bot":true,"first_name":"s","username":"s",
        "can_read_all_group_messages":false}}"#;
    let cases: [(Settings<'_>, Fault<'_>, &[&str], Wanted<'_>); 8] = [
        (
            &[("TELEGRAM_BOT_TOKEN", "123456789:AAHwrongwrongwrongwrongwrongwrongwr")],
            None,
            &[],
            ("fail", "telegram", &["the token is refused"], "copy TELEGRAM_BOT_TOKEN again"),
        ),
        (
            &[("TELEGRAM_API_URL", NO_SUCH_HOST)],
            None,
            &[],
            ("fail", "telegram", &["no reply", "does not resolve"], "look at /etc/resolv.conf"),
        ),
        (
            &[("ALLOWED_CHAT_IDS", "-1009")],
            None,
            &[],
            ("warn", "group -1009", &["the bot is not there"], "add the bot to the group"),
        ),
        (
            &[],
            Some(("getMe", Outcome::Page(200, private.to_owned()))),
            &[],
            ("warn", "privacy mode", &["sees only commands"], "@BotFather, /setprivacy"),
        ),
        (
            &[],
            Some(refuse("getMe", 502, "Bad Gateway")),
            &[],
            ("fail", "telegram", &["getMe answers 502"], "look at TELEGRAM_API_URL"),
        ),
        (
            &[],
            Some(refuse("getUpdates", 409, "Conflict: terminated by other getUpdates request")),
            &["--poll"],
            ("fail", "other poller (tried)", &["Conflict"], "stop the other program"),
        ),
        (
            &[],
            Some(("getWebhookInfo", Outcome::HangUp)),
            &[],
            ("fail", "webhook", &["no reply"], "what answers may not be the service"),
        ),
        (
            &[("BOT_OWNER_ID", "")],
            None,
            &[],
            ("warn", "owner", &["nobody"], "run `svs-bot owner-link`"),
        ),
    ];
    for (settings, fault, options, wanted) in cases {
        let world = World::prepare(settings, gemini_options());
        if let Some((method, outcome)) = fault {
            world.fault(method, None, 9, outcome);
        }
        named(&world, options, wanted);
    }
}

#[test]
fn a_webhook_that_is_still_set_is_named() {
    let world = World::prepare(&[], gemini_options());
    world.call("setWebhook", r#"{"url":"https://old.example/hook"}"#);
    let todo = "`svs-bot run` removes it";
    named(&world, &[], ("warn", "webhook", &["one is set although we poll"], todo));
}

#[test]
fn somebody_else_who_polls_is_known_from_the_refusals() {
    let world = World::start(&[]);
    let text =
        "Conflict: terminated by other getUpdates request; make sure that only one bot is running";
    world.fault("getUpdates", None, 50, Outcome::Refuse(409, text.into()));
    // The poll that is open ends with it.
    world.say(7, 7, "wake the poll");
    world.until_log("poll.conflict");
    named(&world, &[], ("fail", "other poller", &["409"], "another program polls with this token"));
    named(&world, &[], ("warn", "daemon", &["not ready", "409"], "see the other items"));
}

#[test]
fn what_google_and_supabase_have_against_it_is_named() {
    let only = |key: &str| gemini::Options {
        any_key: false,
        keys: BTreeMap::from([(key.to_owned(), "p".to_owned())]),
        ..gemini_options()
    };
    let anon = ("SUPABASE_KEY", "sb_publishable_of_the_scenario");
    let nowhere = ("SUPABASE_URL", "http://127.0.0.1:1");
    let cases: [(Settings<'_>, gemini::Options, Wanted<'_>); 5] = [
        (
            &[],
            only(KEY_2),
            ("fail", "…aaAA", &["not a valid key"], "make a new key at aistudio.google.com"),
        ),
        (
            &[("MODEL_LITE", "gemini-0.1-retired")],
            gemini_options(),
            ("fail", "model gemini-0.1-retired", &["unknown or retired"], ""),
        ),
        (
            &[("GEMINI_API_URL", NO_SUCH_HOST)],
            gemini_options(),
            ("fail", "gemini", &["does not resolve"], "look at /etc/resolv.conf"),
        ),
        (
            &[anon, nowhere],
            gemini_options(),
            ("warn", "supabase key", &["anon", "row level security"], "set SUPABASE_KEY"),
        ),
        (
            &[("SUPABASE_KEY", "sb_secret_of_the_scenario"), nowhere],
            gemini_options(),
            ("fail", "supabase", &["no reply", "connection refused"], "look at the firewall"),
        ),
    ];
    for (settings, options, wanted) in cases {
        named(&World::prepare(settings, options), &[], wanted);
    }
}

/// A server that shows a certificate which nobody vouches for, as a proxy does that looks into everything.
fn between() -> String {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let (door, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
    let port = door.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in door.incoming() {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // The other side goes away as soon as it has seen the certificate.
            let _refused = tls.complete_io(&mut stream.unwrap());
        }
    });
    format!("https://127.0.0.1:{port}")
}

#[test]
fn a_server_with_a_certificate_of_its_own_is_named() {
    let world = World::prepare(&[("TELEGRAM_API_URL", &between())], gemini_options());
    let todo = "something between here and there answers with its own certificate";
    named(&world, &[], ("fail", "telegram", &["no reply", "TLS refused"], todo));
}

#[test]
fn files_that_are_open_to_others_and_settings_nobody_knows_are_named() {
    let world = World::prepare(&[("LOG_LEVLE", "info")], gemini_options());
    named(&world, &["--offline"], ("warn", "settings", &["LOG_LEVLE", "LOG_LEVEL"], "correct the"));
    let open = |mode| fs::set_permissions(world.env_file(), Permissions::from_mode(mode)).unwrap();
    open(0o644);
    named(&world, &["--offline"], ("warn", "settings file", &["read by others"], "chmod 600"));
    open(0o666);
    named(&world, &["--offline"], ("fail", "settings file", &["written by others"], "chmod 600"));
}

#[test]
fn a_bot_that_is_well_gives_no_reason_to_complain() {
    let world = World::start(&[("GROUP_D_KEYS", KEY_1)]);
    fs::set_permissions(world.env_file(), Permissions::from_mode(0o600)).unwrap();
    world.until("ready", || world.is_ready().then_some(()));
    let done = world.command(&["check"]).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let complaints: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("ok") && line.contains("  ")).collect();
    // The machine's own units and disk are its own affair.
    let own = |line: &&&str| !line.contains("old unit") && !line.contains("disk");
    assert_eq!(complaints.iter().filter(own).count(), 0, "{text}");
    assert!(text.contains("accepted") && text.contains("none seen"), "{text}");
}
