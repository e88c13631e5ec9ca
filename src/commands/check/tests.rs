use super::*;
use crate::config::{Config, Supabase, Webhook};
use crate::store::status::{Health, Published};
use crate::types::status::{Disk, QuotaLine};
use crate::types::{ChatId, Group, MINUTE_MS};

const NOW_MS: i64 = 1_795_389_134_000;

fn place(change: impl FnOnce(&mut Config)) -> Place {
    let mut config = Config::sample();
    config.owner_ids = vec![crate::types::UserId(1)];
    config.models.lite = vec!["lite".into()];
    config.models.flash = vec!["flash".into(), "lite".into()];
    config.models.pro = vec!["pro".into(), "flash".into()];
    change(&mut config);
    Place { config, data_dir: "/data".into(), env_file: None }
}

fn healthy() -> Local {
    Local {
        now_ms: NOW_MS,
        env_file: Some(EnvFile { path: "/etc/svs-bot/env".into(), mode: 0o100_600 }),
        data_mode: Some(0o40_700),
        database: Some(Ok(Health {
            schema: 1,
            bytes: 4_096,
            was_read: true,
            newest_ms: NOW_MS - 5,
            ..Health::default()
        })),
        published: Published { started_ms: 1, ready: true, ..Published::default() },
        disk: Some(Disk { free_bytes: 5 << 30, total_bytes: 9 << 30 }),
        holder: Some(Some(42)),
        ..Local::default()
    }
}

fn quota(used_today: u64, limit_today: Option<u64>) -> QuotaLine {
    QuotaLine {
        project: "p".into(),
        groups: vec![Group::A],
        model: "pro".into(),
        used_today,
        limit_today,
        resets_ms: NOW_MS,
        ends_ms: None,
    }
}

/// A world where everything works, but for `paths` that begin so: they get this status and body.
fn world<'a>(
    odd: &'a [(&'a str, u16, &'a str)],
) -> impl FnMut(&Request) -> Result<Response, NetError> + 'a {
    move |request: &Request| {
        let normal = match request.path.split('?').next().unwrap_or_default() {
            "getMe" => {
                r#"{"ok":true,"result":{"id":7,"username":"svs","can_read_all_group_messages":true}}"#
            }
            "getWebhookInfo" => r#"{"ok":true,"result":{"url":"","pending_update_count":3}}"#,
            "getChatMember" => r#"{"ok":true,"result":{"status":"member"}}"#,
            "getUpdates" => r#"{"ok":true,"result":[]}"#,
            "/v1beta/models/lite" => {
                r#"{"name":"models/lite","supportedGenerationMethods":["generateContent"]}"#
            }
            _ => "{}",
        };
        let found = odd.iter().find(|(path, _, _)| request.path.starts_with(path));
        let (status, body) = found.map_or((200, normal), |(_, status, body)| (*status, *body));
        if status == 0 {
            let kind = match body {
                "dns" => NetErrorKind::Dns,
                "tls" => NetErrorKind::Tls,
                _ => NetErrorKind::Connect,
            };
            return Err(NetError { maybe_done: false, kind, text: body.to_owned() });
        }
        Ok(Response { status, body: body.as_bytes().to_vec(), ..Response::default() })
    }
}

fn report(place: &Place, local: &Local, args: &str, odd: &[(&str, u16, &str)]) -> (u8, String) {
    let has = |word| args.split(' ').any(|at| at == word);
    let args = cli::Check {
        env_file: None,
        data_dir: None,
        json: has("json"),
        offline: has("offline"),
        poll: has("poll"),
    };
    let (mut telegram, mut supabase, mut other) = (world(odd), world(odd), world(odd));
    let mut gemini = |_: &Secret, request: &Request| other(request);
    let mut ways = Ways {
        telegram: &mut telegram,
        gemini: &mut gemini,
        supabase: &mut supabase,
        system_ms: &|| 1_795_389_134_000,
    };
    let mut out = Vec::new();
    let code = run(&args, place, local, &mut ways, &mut out).unwrap();
    (code, String::from_utf8(out).unwrap())
}

fn check(place: &Place, local: &Local, args: &str, odd: &[(&str, u16, &str)], want: (u8, &str)) {
    let (code, text) = report(place, local, args, odd);
    assert_eq!(code, want.0, "{odd:?}\n{text}");
    let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed.contains(want.1), "{:?} not in\n{text}", want.1);
}

#[test]
fn a_healthy_bot_is_all_ok() {
    let (code, text) = report(&place(|_| {}), &healthy(), "", &[]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("->") && text.contains("0 to look at, 0 failed"), "{text}");
    assert!(text.contains("@svs") && text.contains("key 1 ("), "{text}");
}

#[test]
fn what_trips_people_on_their_own_machine_is_named() {
    type Change = fn(&mut Local);
    let cases: [(Change, u8, &str); 19] = [
        (
            |at| at.dumps_refused = Some("PR_SET_DUMPABLE: not permitted".into()),
            0,
            "be in them: PR_SET_DUMPABLE: not permitted -> permit `prctl` and `prlimit64`",
        ),
        (|at| at.quota = vec![quota(3, Some(0))], 0, "warn quota pro project p: none at all"),
        (
            |at| at.quota = vec![quota(18, Some(18)), quota(17, Some(18)), quota(9, None)],
            0,
            "p: 18 of 18 used today",
        ),
        (
            |at| at.warnings = vec!["LOG_LEVLE: unknown: LOG_LEVEL?".into()],
            0,
            "warn settings LOG_LEVLE",
        ),
        (|at| at.env_file = Some(EnvFile { path: "/e".into(), mode: 0o644 }), 0, "-> chmod 600 /e"),
        (
            |at| at.env_file = Some(EnvFile { path: "/e".into(), mode: 0o620 }),
            1,
            "fail settings file /e can be written",
        ),
        (|at| at.data_mode = Some(0o755), 0, "-> chmod 700 /data"),
        (|at| at.data_mode = None, 0, "is not there yet"),
        (
            |at| at.database = Some(Err("database: locked".into())),
            1,
            "fail database database: locked",
        ),
        (
            |at| {
                if let Some(Ok(health)) = &mut at.database {
                    health.damage = Some("row 5 missing".into())
                }
            },
            1,
            "damaged: row 5 missing",
        ),
        (
            |at| {
                if let Some(Ok(health)) = &mut at.database {
                    health.rows_parked = 3;
                    health.park_reason = "23514".into()
                }
            },
            0,
            "3 refused by Supabase: 23514",
        ),
        (
            |at| {
                if let Some(Ok(health)) = &mut at.database {
                    health.newest_ms = NOW_MS + 7_200_000
                }
            },
            1,
            "2h behind the newest row",
        ),
        (|at| at.now_ms = 5_000, 1, "before this program was made"),
        (
            |at| at.disk = Some(Disk { free_bytes: 50 << 20, total_bytes: 9 << 30 }),
            1,
            "fail disk 50.0 MB free",
        ),
        (
            |at| at.disk = Some(Disk { free_bytes: 400 << 20, total_bytes: 9 << 30 }),
            0,
            "warn disk 400.0 MB free",
        ),
        (|at| at.holder = None, 0, "warn daemon not running"),
        (
            |at| {
                at.published.ready = false;
                at.published.reason = "telegram: 401".into()
            },
            0,
            "not ready: telegram: 401",
        ),
        (
            |at| {
                at.published.conflict_last_ms = NOW_MS - MINUTE_MS;
                at.published.conflicts = 9
            },
            1,
            "409 1m ago, 9 times",
        ),
        (
            |at| {
                at.units = vec![Unit {
                    name: "bot.service".into(),
                    text: "Environment=TELEGRAM_BOT_SVSKILO_TOKEN=x".into(),
                }]
            },
            0,
            "-> systemctl disable --now bot.service",
        ),
    ];
    for (change, code, part) in cases {
        let mut local = healthy();
        change(&mut local);
        check(&place(|_| {}), &local, "offline", &[], (code, part));
    }
    check(&place(|at| at.owner_ids.clear()), &healthy(), "offline", &[], (0, "svs-bot owner-link"));
}

#[test]
fn what_trips_people_at_telegram_is_named() {
    let on = r#"{"ok":true,"result":{"id":7,"username":"svs"}}"#;
    let set = r#"{"ok":true,"result":{"url":"https://old.example/x","pending_update_count":9}}"#;
    let gone = r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#;
    let refused = r#"{"ok":false,"error_code":409,"description":"Conflict: terminated by other getUpdates request"}"#;
    for (args, odd, code, part) in [
        ("", ("getMe", 401, "{}"), 1, "fail telegram the token is refused (401)"),
        ("", ("getMe", 502, "<html>"), 1, "getMe answers 502"),
        ("", ("getMe", 0, "dns"), 1, "look at /etc/resolv.conf"),
        ("", ("getMe", 0, "tls"), 1, "TLS_CA_FILE"),
        ("", ("getMe", 200, on), 0, "-> @BotFather, /setprivacy"),
        ("", ("getWebhookInfo", 200, set), 0, "one is set although we poll (9 updates waiting)"),
        ("", ("getChatMember", 400, gone), 0, "warn group -5 the bot is not there"),
        ("poll", ("getUpdates", 409, refused), 0, "not tried: our own daemon"),
    ] {
        let place = place(|at| at.allowed_chats = Some(vec![ChatId(-5), ChatId(9)]));
        check(&place, &healthy(), args, &[odd], (code, part));
    }
    let alone = Local { holder: None, ..healthy() };
    check(
        &place(|_| {}),
        &alone,
        "poll",
        &[("getUpdates", 409, refused)],
        (1, "fail other poller (tried)"),
    );
    check(&place(|_| {}), &alone, "poll", &[], (0, "none came back"));
    let hook = |at: &mut Config| {
        at.webhook = Some(Webhook {
            url: "https://new.example/".into(),
            addr: "127.0.0.1:1".parse().unwrap(),
            secret: Secret::new("hook-secret"),
            tls: None,
        });
    };
    check(
        &place(hook),
        &healthy(),
        "",
        &[("getWebhookInfo", 200, set)],
        (1, "another URL than WEBHOOK_URL"),
    );
    let ours = r#"{"ok":true,"result":{"url":"https://New.example:443","pending_update_count":2}}"#;
    let found = |result: Result<(), String>| Local { certificate: Some(result), ..healthy() };
    for (local, want) in [
        (found(Ok(())), (0, "set, 2 updates waiting")),
        (found(Ok(())), (0, "ok webhook certificate")),
        (found(Err("cert.pem: no".into())), (1, "fail webhook certificate cert.pem: no")),
    ] {
        check(&place(hook), &local, "", &[("getWebhookInfo", 200, ours)], want);
    }
}

#[test]
fn what_trips_people_at_gemini_is_named() {
    let invalid = r#"{"error":{"code":400,"message":"API key not valid","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    let leaked = r#"{"error":{"code":403,"message":"Your API key was reported as leaked."}}"#;
    let closed = r#"{"error":{"code":404,"message":"no longer available to new users"}}"#;
    let keys = "/v1beta/models?";
    for (odd, code, part) in [
        (vec![(keys, 400, invalid)], 1, "not a valid key -> make a new key"),
        (vec![(keys, 403, leaked)], 1, "reported as leaked"),
        (vec![(keys, 401, "{}")], 1, "retired kind of key"),
        (vec![(keys, 429, "{}")], 0, "busy just now"),
        (vec![(keys, 0, "connect")], 1, "fail gemini no reply"),
        (
            vec![("/v1beta/models/pro", 404, closed)],
            0,
            "warn model pro closed to this key's project",
        ),
        (vec![("/v1beta/models/lite", 404, "{}")], 1, "fail model lite unknown or retired"),
        (
            vec![("/v1beta/models/lite", 200, r#"{"supportedGenerationMethods":["embed"]}"#)],
            1,
            "does not answer",
        ),
    ] {
        check(&place(|_| {}), &healthy(), "", &odd, (code, part));
    }
}

#[test]
fn no_request_spends_quota_or_changes_anything() {
    let place = place(with_supabase("sb_secret_abcdefgh"));
    let mut seen = Vec::new();
    let mut note = |request: &Request| {
        seen.push(format!("{:?} {} {:?}", request.method, request.path, request.body));
        world(&[])(request)
    };
    items_of(&place, &mut note);
    assert!(seen.len() > 5);
    for request in &seen {
        assert!(!request.contains("generate") && !request.contains("offset"), "{request}");
        let is_read = request.starts_with("Get") && request.ends_with("None");
        assert!(is_read || request.ends_with("Some(\"[]\")"), "{request}");
    }
}

fn items_of(place: &Place, call: Call<'_>) {
    telegram::items(&place.config, &healthy(), true, call);
    gemini::items(&place.config, &mut |_, request| call(request));
    supabase::items(&place.config, call);
}

fn with_supabase(key: &'static str) -> impl Fn(&mut Config) {
    move |at| {
        at.supabase = Some(Supabase { url: "https://x.supabase.co".into(), key: Secret::new(key) });
    }
}

const BY_POLICY: &str =
    r#"{"code":"42501","message":"new row violates row-level security policy for table \"t\""}"#;

#[test]
fn what_trips_people_at_supabase_is_named() {
    // {"role":"anon"}
    let anon = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2ln";
    for (key, odd, code, part) in [
        ("sb_secret_abcdefgh", vec![], 0, "ok supabase user_registry all columns"),
        ("sb_publishable_abcdefgh", vec![], 0, "a key of role anon: row level security"),
        (anon, vec![], 0, "a key of role anon"),
        ("garbage-key", vec![], 0, "neither an sb_secret_ key nor a JWT"),
        (
            "sb_secret_a",
            vec![("chat_history?select", 401, "{}")],
            1,
            "fail supabase chat_history the key is refused",
        ),
        (
            "sb_secret_a",
            vec![("chat_history?on_conflict", 403, r#"{"code":"42501"}"#)],
            1,
            "the key may not write it",
        ),
        (
            "sb_secret_a",
            vec![("user_registry?on_conflict", 400, r#"{"code":"42P10"}"#)],
            1,
            "no primary key or unique pair, or is a view",
        ),
        (
            anon,
            vec![("chat_history?columns", 401, BY_POLICY)],
            1,
            "fail supabase chat_history row level security refuses its rows",
        ),
        // No table takes a row without an id; a policy that lets it pass is all that is asked.
        (anon, vec![("chat_history?columns", 400, r#"{"code":"23502"}"#)], 0, "ok supabase chat"),
        ("sb_secret_a", vec![("chat_history?columns", 401, BY_POLICY)], 0, "ok supabase chat"),
        (
            "sb_secret_a",
            vec![("user_registry?select", 400, r#"{"code":"42703"}"#)],
            1,
            "a column is missing (42703)",
        ),
        ("sb_secret_a", vec![("user_registry?select", 404, "{}")], 1, "the table is not there"),
        ("sb_secret_a", vec![("chat_history", 540, "")], 1, "the project is paused"),
        ("sb_secret_a", vec![("chat_history", 503, "")], 0, "busy or starting"),
        ("sb_secret_a", vec![("chat_history", 0, "connect")], 1, "look at the firewall"),
    ] {
        check(&place(with_supabase(key)), &healthy(), "", &odd, (code, part));
    }
    let own_ids = [("chat_history?on_conflict", 400, r#"{"code":"428C9"}"#)];
    let part = "run migrations/supabase/0003_ids.sql";
    check(&place(with_supabase("sb_secret_a")), &healthy(), "", &own_ids, (0, part));
}

#[test]
fn json_has_the_shape_of_the_contract_and_no_secret() {
    let place = place(|at| at.keys[0].group = Group::B);
    let token = place.config.bot_token.expose().to_owned();
    let body = format!(r#"{{"ok":false,"description":"no bot{token} here\u001b[2J"}}"#);
    let (code, text) = report(&place, &healthy(), "json", &[("getMe", 500, &body)]);
    assert_eq!(code, 1);
    assert!(
        text.starts_with("{\"ok\":false,\"items\":[{\"name\":\"settings\",\"level\":\"ok\""),
        "{text}"
    );
    assert!(text.ends_with("]}\n") && text.lines().count() == 1);
    assert!(!text.contains(&token) && !text.contains('\x1b'), "{text}");
    let (code, text) = report(&place, &healthy(), "json offline", &[]);
    assert!(code == 0 && text.starts_with("{\"ok\":true,"), "{text}");
}

#[test]
fn settings_that_cannot_be_used_are_items_too() {
    let args =
        cli::Check { env_file: None, data_dir: None, json: true, offline: true, poll: false };
    let mut out = Vec::new();
    let code = run_broken(&args, &["WORKERS: got x, want 1 to 128".into()], &mut out).unwrap();
    assert_eq!(code, EXIT_USAGE);
    assert!(String::from_utf8(out).unwrap().contains("\"found\":\"WORKERS: got x"));
}
