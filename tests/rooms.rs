//! The room rule and the tidy rule, as tests: who may name whom, and what no file may hold.
//! A room is a file or folder right under `src`; the tables below are the design.

#[path = "rooms/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may name besides itself. Who is missing here does not exist.
const ROOMS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("calendar", &["types"]),
    ("json", &["types"]),
    ("secret_hash", &["types"]),
    ("os", &["types"]),
    ("cli", &[]),
    ("config", &["types", "calendar", "json"]),
    ("engine", &["types", "calendar"]),
    ("wire", &["types", "calendar", "json"]),
    // The boxes that share the keys, through Redis; only in builds with that feature.
    ("fleet", &["types", "calendar", "engine"]),
    // `os` for what the system said when SQLite only says "disk I/O error".
    ("store", &["types", "calendar", "json", "os", "engine"]),
    // `calendar` for the `Date` of a reply, `os` for one look at a socket.
    ("net", &["types", "calendar", "os", "config", "wire"]),
    ("sync", &["types", "calendar", "json", "config", "wire", "store"]),
    (
        "daemon",
        &[
            "types",
            "calendar",
            "json",
            "secret_hash",
            "os",
            "config",
            "engine",
            "wire",
            "store",
            "net",
            "sync",
            "fleet",
            "commands",
        ],
    ),
    (
        "commands",
        &[
            "types",
            "calendar",
            "json",
            "secret_hash",
            "os",
            "cli",
            "config",
            "engine",
            "wire",
            "store",
            "net",
            "sync",
            "fleet",
            "daemon",
            "standin",
        ],
    ),
    ("standin", &["types", "calendar", "json"]),
];

/// Which rooms may name an outside crate; `*` is every room.
const CRATES: &[(&str, &[&str])] = &[
    ("argh", &["cli", "main"]),
    ("base64", &["wire", "daemon", "commands", "standin"]),
    ("httparse", &["daemon", "standin"]),
    ("jemalloc_pprof", &["daemon"]),
    ("libc", &["os"]),
    ("log", &["*"]),
    ("nanorand", &["daemon", "standin"]),
    ("pprof", &["daemon"]),
    ("pulldown_cmark", &["engine"]),
    ("redis", &["fleet"]),
    ("ring", &["net", "secret_hash", "daemon"]),
    // `os` reads one counter of SQLite: all `unsafe` lives there.
    ("rusqlite", &["store", "os"]),
    ("rustls", &["net", "daemon"]),
    ("simplelog", &["daemon"]),
    // The allocator of profiling builds; its one setting is a symbol, and so `unsafe`.
    ("tikv_jemallocator", &["os"]),
    ("tinyjson", &["json"]),
    ("tokio", &["daemon"]),
    ("unicode_segmentation", &["engine"]),
    ("ureq", &["net"]),
    ("webpki_roots", &["net"]),
];

/// Doors of the process that only the named files may use. `main.rs` reads its own arguments.
const DOORS: &[(&str, &[&str])] = &[
    ("Instant::now", &["daemon/clock.rs"]),
    ("SystemTime::now", &["daemon/clock.rs"]),
    ("env::var", &["config/source.rs"]),
    ("env::var_os", &["config/source.rs"]),
    ("env::vars", &["config/source.rs"]),
    ("env::vars_os", &["config/source.rs"]),
    ("env::args", &["main.rs"]),
    ("env::args_os", &["main.rs"]),
    ("thread::sleep", &["daemon/clock.rs"]),
    ("process::exit", &["main.rs"]),
];

/// Longest file; data and generated files are no code.
const LINES_MAX: usize = 500;
/// Never left behind. Split, so that this file does not hold them.
const MARKS: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("dbg", "!(")];

#[test]
fn every_file_names_only_what_its_room_may() {
    let problems: Vec<String> =
        room_files().iter().flat_map(|(path, text)| room_problems(path, text)).collect();
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_dependency_has_its_rooms() {
    let manifest = read(&root().join("Cargo.toml"));
    let section =
        manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next());
    let named: BTreeSet<String> = section
        .expect("Cargo.toml has dependencies")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('=').map(|(name, _)| name.trim().replace('-', "_")))
        .collect();
    let listed: BTreeSet<String> = CRATES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named, listed, "Cargo.toml and the table CRATES differ");
}

#[test]
fn nothing_untidy_stays() {
    let mut problems = Vec::new();
    for folder in ["src", "tests", "scripts", "cross", "examples", "benches"] {
        for path in files(&root().join(folder)) {
            let name = path.strip_prefix(root()).expect("under the root").display().to_string();
            if is_code(&name) {
                problems.extend(tidy_problems(&name, &read(&path)));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// A comparison that ends at the first difference tells by its time how much was right.
#[test]
fn secrets_that_strangers_give_are_compared_in_constant_time() {
    let room = root().join("src/daemon/http");
    for name in ["guard.rs", "webhook.rs"] {
        let text = read(&room.join(name));
        assert!(text.contains("secret_hash::equal("), "{name} compares otherwise");
    }
    for (path, text) in room_files() {
        for words in ["expose() ==", "expose() !=", "== secret.expose()", "== token.expose()"] {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let is_test = path.contains("tests");
            assert!(is_test || !code.contains(words), "{path}: {words}: use secret_hash::equal");
        }
    }
}

#[test]
fn planted_violations_are_caught() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("engine/quota.rs", "use crate::types::Now;\nfn f() { Ok(()) }", &[]),
        ("engine/quota.rs", "use crate::store::Store;", &["store"]),
        ("engine/quota.rs", "use crate::{types::Now, wire::{self, Request}};", &["wire"]),
        ("engine/quota.rs", "fn f() { super::super::net::call() }", &["net"]),
        ("engine/mod.rs", "fn f() { super::net::call() }", &["net"]),
        (
            "engine/mod.rs",
            "mod inner { fn f() { super::super::net::call(); super::quota::g() } }",
            &["net"],
        ),
        ("engine/quota.rs", "fn f() { super::session::g() }", &[]),
        ("wire/gemini.rs", "fn f() -> crate::engine::Plan { crate::engine::plan() }", &["engine"]),
        ("store/inbox.rs", "pub use crate::net as door;", &["net"]),
        ("engine/quota.rs", "use rusqlite::params;", &["rusqlite"]),
        ("engine/quota.rs", "use ::tinyjson::JsonValue;", &["tinyjson"]),
        ("net.rs", "fn f() { tokio::spawn(g()) }", &["tokio"]),
        ("engine/quota.rs", "fn f() { std::time::Instant::now(); }", &["Instant::now"]),
        (
            "daemon/workers.rs",
            "use std::env;\nfn f() { env::var(\"X\"); std::thread::sleep(d) }",
            &["sleep", "env::var"],
        ),
        ("daemon/clock.rs", "fn f() { SystemTime::now(); }", &[]),
        ("daemon/workers.rs", "use std::{thread::{self, sleep}, time};", &["sleep"]),
        (
            "engine/quota.rs",
            "// crate::store\n/* crate::net /* crate::wire */ */ fn f() { g(\"crate::wire\", r#\"crate::store\"#, '\"', 'c') }",
            &[],
        ),
        (
            "engine/quota.rs",
            "#[cfg(test)]\nmod tests { use crate::store::Store; fn f() {} }\nuse crate::net::Net;",
            &["net"],
        ),
        ("engine/quota.rs", "#[cfg(test)]\nmod tests;\nuse crate::wire::Request;", &["wire"]),
        ("engine/quota.rs", "fn f<'a>(x: &'a str) -> &'a str { crate::json::parse(x) }", &["json"]),
        ("attic.rs", "fn f() {}", &["attic"]),
    ];
    for (path, text, wanted) in cases {
        let problems = room_problems(path, text);
        let as_wanted = problems.len() == wanted.len()
            && wanted.iter().all(|word| problems.iter().any(|problem| problem.contains(word)));
        assert!(as_wanted, "{path}: {text}\nwanted {wanted:?}, got {problems:?}");
        assert!(
            problems.iter().all(|problem| problem.starts_with(&format!("src/{path}: "))),
            "{problems:?}"
        );
    }
}

#[test]
fn planted_untidiness_is_caught() {
    let long = "x\n".repeat(LINES_MAX + 1);
    let marked = format!("//! Owns: x.\n// {} later", MARKS[0]);
    let cases: &[(&str, &str, &str)] = &[
        ("src/engine/a.rs", "//! Owns: x.\nfn f() {}", ""),
        ("src/engine/a.rs", "fn f() {}", "Owns"),
        ("src/engine/a_tests.rs", "fn f() {}", ""),
        ("src/engine/a.rs", &marked, MARKS[0]),
        ("scripts/a.sh", &long, "lines"),
        ("tests/a.rs", &long, "lines"),
    ];
    for (path, text, wanted) in cases {
        let problems = tidy_problems(path, text);
        assert_eq!(problems.len(), usize::from(!wanted.is_empty()), "{path}: {problems:?}");
        assert!(
            problems.iter().all(|problem| problem.starts_with(path) && problem.contains(wanted)),
            "{problems:?}"
        );
    }
}

/// What a file under `src` names without leave, each as `file: why`. `path` is relative to `src`.
fn room_problems(path: &str, text: &str) -> Vec<String> {
    if is_test_file(path) {
        return Vec::new();
    }
    let parts: Vec<&str> =
        path.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect();
    let room = parts.first().copied().unwrap_or_default();
    let names = source::names(text, parts.len());
    let mut problems = Vec::new();
    let whole = matches!(room, "main" | "lib");
    let may_use = ROOMS.iter().find(|(name, _)| *name == room).map(|(_, may)| *may);
    if !whole && may_use.is_none() {
        problems.push(format!("src/{path}: `{room}` is no room of the table ROOMS"));
    }
    let known = |name: &str| ROOMS.iter().any(|(known, _)| *known == name);
    for other in names.rooms.iter().filter(|other| !whole && *other != room && known(other)) {
        if !may_use.is_some_and(|may| may.contains(&other.as_str())) {
            problems.push(format!("src/{path}: `{room}` may not name the room `{other}`"));
        }
    }
    for (outside, rooms) in CRATES.iter().filter(|(outside, _)| names.roots.contains(*outside)) {
        if !rooms.contains(&"*") && !rooms.contains(&room) {
            problems.push(format!("src/{path}: `{room}` may not name the crate `{outside}`"));
        }
    }
    for (door, files) in DOORS.iter().filter(|(_, files)| !files.contains(&path)) {
        let uses = |named: &String| named == door || named.ends_with(&format!("::{door}"));
        if names.paths.iter().any(uses) {
            problems.push(format!("src/{path}: `{door}` is a door of {files:?} alone"));
        }
    }
    problems
}

/// What is untidy in a file, each as `file: why`. `path` is relative to the root.
fn tidy_problems(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problems.push(format!("{path}: {lines} lines, at most {LINES_MAX}: split it"));
    }
    for mark in MARKS.iter().filter(|mark| text.contains(**mark)) {
        problems.push(format!("{path}: holds `{mark}`: finish it or write it down as an issue"));
    }
    let inside = path.strip_prefix("src/").filter(|inside| !is_test_file(inside));
    let needs_head = inside.is_some_and(|inside| !matches!(inside, "main.rs" | "lib.rs"));
    if needs_head && !text.starts_with("//! Owns: ") {
        problems.push(format!("{path}: does not begin with `//! Owns: `"));
    }
    problems
}

/// Files of `src`, with their path relative to it and their text.
fn room_files() -> Vec<(String, String)> {
    let src = root().join("src");
    let found: Vec<(String, String)> = files(&src)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .map(|path| {
            (path.strip_prefix(&src).expect("under src").display().to_string(), read(&path))
        })
        .collect();
    assert!(found.len() > 10, "only {} files found under {}", found.len(), src.display());
    found
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/")
}

fn is_code(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or(path);
    let data =
        ["/data/", "/golden/", "/corpus/", "/generated/", "-spec/", "/.cache/", "/__pycache__/"];
    !data.iter().any(|part| path.contains(part))
        && (!last.contains('.')
            || [".rs", ".sh", ".py", ".js"].iter().any(|kind| last.ends_with(kind)))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a readable folder").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
