//! Somebody else in the place of a service: redirects, old TLS, no TLS, every kind of wrong certificate (contract §5.7).
//! The real program must refuse in clear words, print no secret, and send none to where it was led.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "support/impostor.rs"]
mod impostor;

use impostor::{Authority, Face, TODAY, impostor, self_signed};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use svs_bot::standin::data::Data;

const TOKEN: &str = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1";
const KEY: &str = "AIzaSyD-impostor-key-number-0001-aaaaAA";
/// In the place of Supabase's key: the new kind and the old one, which goes into two headers.
const NEW_KEY: &str = "sb_secret_of-the-impostors-0123456789";
const OLD_KEY: &str = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.impostors-0123456789";
const SERVICES: [(&str, &str); 3] =
    [("telegram", "TELEGRAM_API_URL"), ("gemini", "GEMINI_API_URL"), ("supabase", "SUPABASE_URL")];
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

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
                assert!(at.connections() > 0, "{what}: nobody asked");
            }
        }
    }
    assert_eq!(trap.connections(), 0, "somebody came to the trap");
}

#[test]
fn whoever_cannot_prove_to_be_the_service_hears_no_secret() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let cases = [
        ("HTTP on the port of TLS", Face::Plain, true, "does not speak TLS"),
        ("TLS 1.0", Face::Old(1), true, "no version or cipher of today"),
        ("TLS 1.1", Face::Old(2), true, "no version or cipher of today"),
        ("an alert that no version suits", Face::Alert, true, "no version or cipher of today"),
        ("another name", ours.face("example.org", TODAY), true, "not valid for name"),
        ("too old", ours.face("localhost", 2019..2021), true, "expired"),
        ("not yet", ours.face("localhost", 2900..2999), true, "not valid yet"),
        ("a foreign root", foreign.face("localhost", TODAY), true, "no root that is trusted here"),
        ("signed by itself", self_signed(), false, "no root that is trusted here"),
        (
            "of a root that is not in the bundle",
            ours.face("localhost", TODAY),
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
            assert!(at.connections() > 0, "{what}: nobody asked");
            shows_no_secret(&what, &at.heard());
        }
    }
}
