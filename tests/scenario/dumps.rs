//! A crash leaves nothing behind: the process forbids core dumps itself, whatever it was started with, and all that
//! others read of it goes on (contract §5.6).

use crate::world::{KEY_1, World, gemini_options, own_user};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use svs_bot::daemon::clock;

/// Where the tests are root's, the bot is an ordinary user's all the same: `nobody`.
const NOBODY: u32 = 65_534;
/// Of a first signal Rust's own handler may find that it is not meant: the next one ends it.
const SIGNALS_MAX: usize = 10;

/// A world of an ordinary user, and the program where that user can run it.
fn ordinary() -> (World, PathBuf, u32) {
    let world = World::prepare(&[], gemini_options());
    let program = PathBuf::from(env!("CARGO_BIN_EXE_svs-bot"));
    let us = own_user();
    if us != 0 {
        return (world, program, us);
    }
    let copy = world.dir.join("svs-bot");
    fs::copy(program, &copy).unwrap();
    for path in [&world.dir, &world.env_file(), &copy] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    (world, copy, NOBODY)
}

/// A command of that user, in that folder, with dumps as large as they may be.
fn dumping(dir: &Path, user: u32, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c $(ulimit -H -c); exec \"$@\"", "sh"]).args(words);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(dir).stdin(Stdio::null());
    if user != own_user() {
        command.uid(user).gid(user);
    }
    command
}

fn cores(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|at| at.unwrap().file_name());
    names.filter_map(|name| name.into_string().ok()).filter(|it| it.starts_with("core")).collect()
}

fn end_by(child: &mut Child, signal: &str) -> ExitStatus {
    for _ in 0..SIGNALS_MAX {
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        for _ in 0..200 {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            clock::pause(std::time::Duration::from_millis(5));
        }
    }
    child.kill().unwrap();
    panic!("{signal} does not end it");
}

#[test]
fn a_crash_leaves_no_core_and_who_looks_at_the_bot_still_sees_it() {
    let (world, program, user) = ordinary();
    let dir = world.dir.clone();
    let (env_file, data_dir) = (world.env_file(), world.data_dir());
    let words = |command: &[&'static str]| -> Vec<String> {
        let ends =
            ["--env-file", env_file.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()];
        let program = [program.to_str().unwrap()];
        program.iter().chain(command).chain(&ends).map(|it| (*it).to_owned()).collect()
    };
    let start = |command: &[&'static str]| {
        let words = words(command);
        dumping(&dir, user, &words.iter().map(String::as_str).collect::<Vec<_>>())
    };

    // Without what is tested here this very way of starting leaves one, or the test shows little.
    let bare = dumping(&dir, user, &["sh", "-c", "kill -SEGV $$"]).status().unwrap();
    assert!(bare.signal().is_some(), "{bare}");
    if !bare.core_dumped() {
        eprintln!("this machine writes no core dumps: only the settings are looked at");
    }
    for name in cores(&dir) {
        fs::remove_file(dir.join(name)).unwrap();
    }

    for signal in ["-SEGV", "-ABRT"] {
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut bot = start(&["run"]).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let before = world.state_int("polls");
        world.until("the next poll", || (world.state_int("polls") > before).then_some(()));
        let limits = fs::read_to_string(format!("/proc/{}/limits", bot.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(line.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
        // Not dumpable: the process is root's to look into, although another's, and seen to be that one's.
        let owner = |name| fs::metadata(format!("/proc/{}{name}", bot.id())).unwrap().uid();
        assert_eq!((owner("/environ"), owner("")), (0, user));
        assert!(!world.log().contains("dumps.allowed"), "{}", world.log());

        let metrics = world.page("/metrics").1;
        for name in ["process_resident_memory_bytes", "process_open_fds", "process_threads"] {
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            assert!(value.unwrap().parse::<f64>().unwrap() > 1.0, "{name}: {value:?}");
        }
        let said = |command: &[&'static str]| {
            let out = start(command).output().unwrap();
            String::from_utf8([out.stdout, out.stderr].concat()).unwrap()
        };
        let json = said(&["status", "--json"]);
        assert!(
            json.contains("\"running\":true") && !json.contains("\"rss_bytes\":null"),
            "{json}"
        );
        assert!(said(&["status", "--memory"]).contains("for root to see"));
        assert!(said(&["check", "--offline"]).contains("none is written, wherever"));

        let status = end_by(&mut bot, signal);
        assert!(status.signal().is_some() && !status.core_dumped(), "{signal}: {status}");
        assert_eq!(cores(&dir), Vec::<String>::new(), "{signal}");
        let key = KEY_1.as_bytes();
        for entry in fs::read_dir(&dir).unwrap().map(|at| at.unwrap().path()) {
            if entry.is_file() && entry != env_file {
                let bytes = fs::read(&entry).unwrap();
                assert!(!bytes.windows(key.len()).any(|it| it == key), "{}", entry.display());
            }
        }
    }
}
