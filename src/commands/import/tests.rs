//! Files brought in as a person types the command: what is told, what is here afterwards, and what a
//! second run changes. Supabase as a source is driven by `scripts/test.d/supabase.py`.

use super::*;
use crate::config::{Config, Supabase};
use crate::sync::Reply;
use crate::types::{Now, Secret};
use crate::wire::{NetErrorKind, Response};
use std::path::PathBuf;

const NOW_MS: i64 = 1_795_389_134_000;

struct Scene {
    folder: PathBuf,
    config: Config,
}

struct Seen {
    code: u8,
    out: String,
    err: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("svs-import-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let mut config = Config::sample();
        config.keep_history_ms = 0;
        Self { folder, config }
    }

    fn run(&self, source: &str, file: Option<&str>, zone: Option<&str>) -> Seen {
        self.run_with(source, file, zone, &mut |_| panic!("nobody is asked"))
    }

    fn run_with(
        &self,
        source: &str,
        file: Option<&str>,
        zone: Option<&str>,
        call: &mut (dyn FnMut(&crate::wire::Request) -> Reply + Send),
    ) -> Seen {
        let args = cli::Import {
            env_file: None,
            data_dir: None,
            json: true,
            source: source.to_owned(),
            file: file.map(str::to_owned),
            zone: zone.map(str::to_owned),
        };
        let place =
            Place { config: self.config.clone(), data_dir: self.folder.clone(), env_file: None };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut outside = Outside {
            call,
            now: &mut || Now { unix_ms: NOW_MS },
            wait: &mut |_| {},
            dice: &mut || 7,
            tell: &mut |_| {},
        };
        let ended = run(&args, &place, &Environment::default(), &mut outside, &mut out, &mut err);
        let mut err = String::from_utf8(err).unwrap();
        let code = ended.unwrap_or_else(|failure| {
            err.push_str(&failure.text);
            failure.code
        });
        Seen { code, out: String::from_utf8(out).unwrap(), err }
    }

    fn read(&self, source: &str, bytes: &[u8]) -> Seen {
        let path = self.folder.join("rows");
        std::fs::write(&path, bytes).unwrap();
        self.run(source, path.to_str(), None)
    }

    /// Question, remote id and time of every row, in the order they came.
    fn rows(&self) -> Vec<(String, i64, i64)> {
        let store = Store::open_existing(&self.folder).unwrap();
        let mut read = store
            .connection()
            .prepare("SELECT coalesce(message_text, 'NULL'), remote_id, created_us FROM history ORDER BY id")
            .unwrap();
        let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn line(id: i64, text: &str) -> String {
    format!(
        r#"{{"chat_id":-5,"user_id":1,"username":"py","message_text":"{text}","response_text":"a","model_used":null,"metadata":{{}},"created_at":"2026-03-01T00:00:{:02}Z","remote_id":{id}}}"#,
        id % 60
    )
}

fn copy(rows: &str) -> String {
    format!(
        "COPY public.chat_history (id, chat_id, user_id, message_text, created_at) FROM stdin;\n{rows}\\.\n\n-- PostgreSQL database dump complete\n"
    )
}

/// Counts as `read new known skipped_old bad`.
fn counts(seen: &Seen, table: &str) -> String {
    let told = json::parse(seen.out.as_bytes()).unwrap();
    let names = ["read", "new", "known", "skipped_old", "bad"];
    let counts = names.map(|name| told.at(table).at(name).i64().unwrap().to_string());
    counts.join(" ")
}

/// One file: what it holds, the exit code, the counts of `chat_history`, the questions that are here
/// afterwards, and words of stderr.
type Case<'a> = (&'a str, Vec<u8>, u8, &'a str, &'a [&'a str], &'a str);

fn check(source: &str, cases: &[Case<'_>]) {
    for (name, bytes, code, wanted, texts, words) in cases {
        let scene = Scene::new(source);
        let seen = scene.read(source, bytes);
        let found = (seen.code, counts(&seen, "chat_history"));
        assert_eq!(found, (*code, (*wanted).to_owned()), "{name}: {}", seen.err);
        assert!(seen.err.contains(words), "{name}: {}", seen.err);
        assert_eq!(seen.err.is_empty(), words.is_empty(), "{name}: {}", seen.err);
        let found: Vec<String> = scene.rows().into_iter().map(|row| row.0).collect();
        assert_eq!(found, *texts, "{name}");
        let again = counts(&scene.read(source, bytes), "chat_history");
        assert_eq!(again.split(' ').nth(1), Some("0"), "{name}: a second run: {again}");
        assert_eq!(scene.rows().len(), texts.len(), "{name}: a second run");
    }
}

#[test]
fn lines_of_json() {
    let (one, two) = (line(1, "one"), line(2, "two"));
    let both = format!("{one}\n{two}");
    let not_utf8 =
        line(1, "@").bytes().map(|byte| if byte == b'@' { 0xff } else { byte }).collect();
    check(
        "jsonl",
        &[
            ("nothing", Vec::new(), 0, "0 0 0 0 0", &[], ""),
            ("whole lines", format!("{both}\n").into(), 0, "2 2 0 0 0", &["one", "two"], ""),
            ("no end of the last line", both.clone().into(), 0, "2 2 0 0 0", &["one", "two"], ""),
            (
                "the line ends of Windows, and empty lines",
                format!("{one}\r\n\r\n \n{two}\r\n").into(),
                0,
                "2 2 0 0 0",
                &["one", "two"],
                "",
            ),
            ("a row twice", format!("{one}\n{one}\n").into(), 0, "2 1 1 0 0", &["one"], ""),
            (
                "a line that is no JSON",
                format!("{one}\n<html>\n{two}\n").into(),
                0,
                "3 2 0 0 1",
                &["one", "two"],
                "line 2: the line cannot be read",
            ),
            (
                "a time that is none",
                one.replace("2026-03-01T", "yesterday ").into(),
                0,
                "1 0 0 0 1",
                &[],
                "line 1: created_at cannot be read",
            ),
            (
                "a chat that is none",
                one.replace("-5", "null").into(),
                0,
                "1 0 0 0 1",
                &[],
                "line 1: chat_id cannot be read",
            ),
            (
                "cut in the middle",
                both.split_at(both.len() - 9).0.into(),
                1,
                "1 1 0 0 0",
                &["one"],
                "it ends inside line 2",
            ),
            (
                "U+0000 and half a surrogate",
                line(1, r"a\u0000b\ud83d.").into(),
                0,
                "1 1 0 0 0",
                &["a\0b\u{fffd}."],
                "",
            ),
            ("bytes that are no UTF-8", not_utf8, 0, "1 1 0 0 0", &["\u{fffd}"], ""),
        ],
    );
}

#[test]
fn dumps_of_postgresql() {
    let rows = "1\t-5\t1\tone\\ttab\t2026-03-01 00:00:01\n2\t-5\t1\t\\N\t2026-03-01 00:00:02\n";
    let insert = "INSERT INTO public.chat_history (id, chat_id, user_id, message_text, created_at) VALUES (1, -5, 1, 'it''s', '2026-03-01 00:00:01');\n";
    let done = "--\n-- PostgreSQL database dump complete\n";
    let whole = copy(rows);
    let (cut, _) = whole.split_at(whole.find("\\N").unwrap());
    check(
        "pgdump",
        &[
            ("COPY", whole.clone().into(), 0, "2 2 0 0 0", &["one\ttab", "NULL"], ""),
            ("INSERT", format!("{insert}{done}").into(), 0, "1 1 0 0 0", &["it's"], ""),
            (
                "COPY with a row too short and a number that is none",
                copy("1\t-5\n2\tx\t1\tb\t2026-03-01 00:00:02\n3\t-5\t1\tc\t2026-03-01 00:00:03\n")
                    .into(),
                0,
                "3 1 0 0 2",
                &["c"],
                "line 3: chat_id cannot be read",
            ),
            ("COPY cut inside a row", cut.into(), 1, "1 1 0 0 0", &["one\ttab"], "ends inside"),
            (
                "COPY cut between two rows",
                format!("{}\n", cut.trim_end_matches("2\t-5\t1\t").trim_end()).into(),
                1,
                "1 1 0 0 0",
                &["one\ttab"],
                "ends inside",
            ),
            (
                "INSERT cut inside a row",
                format!("{insert}{}", insert.split_at(120).0).into(),
                1,
                "1 1 0 0 0",
                &["it's"],
                "ends before its last line",
            ),
            (
                "an end of a line as Windows has it, inside a text",
                format!("--\n{}{done}", insert.replace("it''s", "one\r\ntwo")).into(),
                0,
                "1 1 0 0 0",
                &["one\r\ntwo"],
                "",
            ),
            (
                "a whole file with ends of lines like Windows'",
                copy(rows).replace('\n', "\r\n").into(),
                0,
                "2 2 0 0 0",
                &["one\ttab", "NULL"],
                "",
            ),
            (
                "texts that are not in UTF-8",
                format!("SET client_encoding = 'UTF8';\n{insert}SET client_encoding = 'LATIN1';\n{insert}").into(),
                1,
                "1 1 0 0 0",
                &["it's"],
                "line 3: its texts are not in UTF-8: make the dump with --encoding=UTF8",
            ),
            ("another form of dump", b"PGDMP\x01\x0e\n".to_vec(), 1, "0 0 0 0 0", &[], "rows: "),
        ],
    );
}

#[test]
fn zones_ages_and_secrets() {
    let mut scene = Scene::new("odd");
    let path = scene.folder.join("rows");
    let file = path.to_str();
    // Only times without a zone, of rows that are not ours, take the zone that is named.
    let texts = [
        line(1, "bare").replace("Z\"", "\""),
        line(2, "with a zone"),
        line(REMOTE_ID_MIN + 3, "ours").replace("Z\"", "\""),
    ];
    std::fs::write(&path, texts.join("\n")).unwrap();
    assert_eq!(scene.run("jsonl", file, Some("+08:00")).code, 0);
    let day_us = 1_772_323_200_000_000_i64;
    let own_us = day_us + (REMOTE_ID_MIN + 3) % 60 * SECOND_US;
    let times: Vec<i64> = scene.rows().into_iter().map(|row| row.2).collect();
    assert_eq!(times, [day_us + SECOND_US - 8 * 3_600 * SECOND_US, day_us + 2 * SECOND_US, own_us]);

    scene.config.keep_history_ms = 86_400_000;
    std::fs::write(&path, line(9, "old")).unwrap();
    let seen = scene.run("jsonl", file, None);
    assert_eq!((seen.code, counts(&seen, "chat_history").as_str()), (0, "1 0 0 1 0"));

    scene.config.keep_history_ms = 0;
    let token = "123456:sample-token";
    std::fs::write(&path, line(10, &format!("my token is {token}"))).unwrap();
    assert_eq!(scene.run("jsonl", file, None).code, 0);
    let last = scene.rows().pop().unwrap().0;
    assert!(last.contains("my token is") && !last.contains("sample-token"), "{last}");
}

#[test]
fn wrong_use_is_told() {
    let scene = Scene::new("use");
    let cases = [
        ("jsonl", None, None, 2, "it takes a file"),
        ("pgdump", None, None, 2, "it takes a file"),
        ("supabase", Some("rows"), None, 2, "it takes no file"),
        ("supabase", None, None, 2, "SUPABASE_URL is not set"),
        ("csv", Some("rows"), None, 2, "it takes supabase, pgdump FILE or jsonl FILE"),
        ("jsonl", Some("rows"), Some("Mars/Base"), 2, "--zone: Mars/Base"),
        ("jsonl", Some("/nowhere/at/all"), None, 1, "/nowhere/at/all"),
        ("jsonl", Some("/"), None, 1, "directory"),
    ];
    for (source, file, zone, code, words) in cases {
        let seen = scene.run(source, file, zone);
        let told = seen.out + &seen.err;
        assert_eq!(seen.code, code, "{source} {file:?}: {told}");
        assert!(told.contains(words), "{source} {file:?}: {told}");
    }
}

#[test]
fn what_supabase_answers_ends_an_import_with_its_code() {
    let mut scene = Scene::new("remote");
    scene.config.supabase = Some(Supabase {
        url: "http://127.0.0.1:9".to_owned(),
        key: Secret::new("sb_secret_x".to_owned()),
    });
    let page = format!(
        "[{}]",
        line(7, "there").replace("\"remote_id\":7", "\"id\":\"7\"").replace("{}", "\"{}\"")
    );
    let reply = |status, body: &str| {
        Ok(Response { status, body: body.as_bytes().to_vec(), ..Response::default() })
    };
    // A first page with a row, then what the case says.
    let cases: [(&str, Reply, u8, &str); 6] = [
        ("the end", reply(200, "[]"), 0, "null"),
        ("a hotel's sign-in", reply(200, "<html>"), 75, "unreachable"),
        ("no grant", reply(403, r#"{"code":"42501","message":"x"}"#), 1, "grant"),
        ("a wrong key", reply(401, r#"{"message":"Invalid API key"}"#), 1, "key"),
        ("paused", reply(540, ""), 1, "paused"),
        (
            "nobody",
            Err(crate::wire::NetError {
                maybe_done: false,
                kind: NetErrorKind::Connect,
                text: "connection refused".to_owned(),
            }),
            75,
            "unreachable",
        ),
    ];
    for (name, then, code, kind) in cases {
        let _ = std::fs::remove_file(scene.folder.join(store::FILE_NAME));
        let mut asked = 0;
        let seen = scene.run_with("supabase", None, None, &mut |_| {
            asked += 1;
            if asked == 1 { reply(200, &page) } else { then.clone() }
        });
        assert_eq!(seen.code, code, "{name}: {}{}", seen.out, seen.err);
        assert_eq!(counts(&seen, "chat_history"), "1 1 0 0 0", "{name}");
        assert!(seen.out.contains(kind), "{name}: {}", seen.out);
        assert_eq!(scene.rows(), [("there".to_owned(), 7, 1_772_323_207_000_000)], "{name}");
    }
}
