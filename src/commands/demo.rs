//! Owns: `svs-bot demo`: the real daemon against played services, and a chat in the terminal.
//! May not: play any part of the bot itself.

use super::{EXIT_OK, Failure, Outcome};
use crate::config::{Config, KeySetting, Limit, StreamSetting, Supabase};
use crate::standin::data::map;
use crate::standin::{Clock, gemini, postgrest, telegram};
use crate::types::{Group, SECOND_MS, Secret, UserId};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The person at the terminal, and the private chat with the bot.
const PERSON: i64 = 1_000;
const TOKEN: &str = "1000000:demo";
const GEMINI_KEY: &str = "demo-key";
const SUPABASE_KEY: &str = "sb_secret_demo";
/// Messages and requests that the stand-ins remember.
const KEEP_LAST: usize = 200;
/// An answer that takes longer is given up.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// How often a waiting terminal looks whether the daemon still lives.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A long answer comes in several messages; this much silence ends it.
const SILENCE: Duration = Duration::from_millis(300);
/// Names tried for the temporary folder.
const FOLDER_TRIES: u32 = 100;

/// Runs the daemon with these settings in this folder, until it is told to end.
pub type Serve = Box<dyn FnOnce(Config, &Path) -> Outcome + Send>;

/// What the demo needs from outside.
pub struct Ways {
    /// Runs the daemon until `stop` is called.
    pub serve: Serve,
    /// Ends it.
    pub stop: Box<dyn FnOnce()>,
    /// The time that the stand-ins live by.
    pub clock: Clock,
    /// Where the temporary folder is made.
    pub temp: PathBuf,
    /// The person's language, like `en`, where the system tells.
    pub language: Option<String>,
    /// Whether a person sits at the other end of `input`.
    pub is_terminal: bool,
}

/// Starts everything, chats until the input ends, takes everything down again.
///
/// # Errors
/// When a stand-in or the daemon cannot start, or an answer does not come.
pub fn run(ways: Ways, input: &mut dyn BufRead, out: &mut dyn Write) -> Outcome {
    let told = |what: &str, error: io::Error| Failure::failed(format!("demo: {what}: {error}"));
    let world = World::start(&ways).map_err(|error| told("stand-ins cannot start", error))?;
    let folder = Folder::make(&ways.temp).map_err(|error| told("no temporary folder", error))?;
    let (serve, config, path) = (ways.serve, world.config(), folder.0.clone());
    let daemon = thread::Builder::new()
        .name("daemon".into())
        .spawn(move || serve(config, &path))
        .map_err(|error| told("no thread", error))?;
    let alive = || !daemon.is_finished();
    let chatted = chat(&world.telegram, input, out, ways.is_terminal, &alive);
    (ways.stop)();
    let ended = daemon.join().map_err(|_| Failure::failed("demo: the daemon panicked"))?;
    // Why the daemon ended explains a silence better than the silence.
    ended?;
    chatted.map_err(|error| told("the chat broke off", error))?;
    Ok(EXIT_OK)
}

/// The played services; they stop when this is dropped.
struct World {
    telegram: telegram::Telegram,
    gemini: gemini::Gemini,
    postgrest: postgrest::Postgrest,
}

impl World {
    fn start(ways: &Ways) -> io::Result<Self> {
        let clock = || Arc::clone(&ways.clock);
        let telegram = telegram::Telegram::start(telegram::Options {
            port: 0,
            token: Secret::new(TOKEN),
            username: "demo_bot".into(),
            keep_last: KEEP_LAST,
            knows_drafts: true,
            knows_rich: false,
            clock: clock(),
            control: None,
            journal: None,
        })?;
        let mut person = map([("first_name", "You".into())]);
        if let Some(language) = &ways.language {
            person.set("language_code", language.as_str());
        }
        telegram.set_user(PERSON, person);
        let gemini = gemini::Gemini::start(gemini::Options {
            port: 0,
            keys: BTreeMap::from([(GEMINI_KEY.to_owned(), "demo".to_owned())]),
            any_key: false,
            limits: BTreeMap::new(),
            unlimited: true,
            first_ms: 0,
            pace_ms: 0,
            piece_chars: 24,
            keep_last: KEEP_LAST,
            clock: clock(),
            control: None,
            journal: None,
        })?;
        let postgrest = postgrest::Postgrest::start(postgrest::Options {
            port: 0,
            key: Secret::new(SUPABASE_KEY),
            keep_last: KEEP_LAST,
            clock: clock(),
            control: None,
            journal: None,
        })?;
        Ok(Self { telegram, gemini, postgrest })
    }

    /// The defaults, but for addresses, credentials and limits that a person would only wait for.
    fn config(&self) -> Config {
        let key = KeySetting {
            secret: Secret::new(GEMINI_KEY),
            group: Group::A,
            project: Some("demo".into()),
        };
        Config {
            bot_token: Secret::new(TOKEN),
            telegram_url: self.telegram.url(),
            gemini_url: self.gemini.url(),
            keys: vec![key],
            key_rpm: Limit::Unlimited,
            lite_rpd: Limit::Unlimited,
            flash_rpd: Limit::Unlimited,
            pro_rpd: Limit::Unlimited,
            pro_rpm: Limit::Unlimited,
            key_min_interval_ms: 0,
            owner_ids: vec![UserId(PERSON)],
            stream: StreamSetting::Off,
            supabase: Some(Supabase { url: self.postgrest.url(), key: Secret::new(SUPABASE_KEY) }),
            sync_interval_ms: SECOND_MS,
            http_addr: None,
            ..Config::sample()
        }
    }
}

/// A folder of our own that is gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn make(parent: &Path) -> io::Result<Self> {
        let mut last = io::ErrorKind::AlreadyExists.into();
        for number in 0..FOLDER_TRIES {
            let path = parent.join(format!("svs-bot-demo-{}-{number}", std::process::id()));
            // Made, never taken over: what lies there already may be somebody else's trap.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies in the system's own folder for such things; nothing more can be done.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn chat(
    telegram: &telegram::Telegram,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    is_terminal: bool,
    alive: &dyn Fn() -> bool,
) -> io::Result<()> {
    if is_terminal {
        writeln!(out, "Write to the bot; /help shows what it can do, Ctrl-D ends the demo.")?;
    }
    let mut line = String::new();
    loop {
        if is_terminal {
            write!(out, "> ")?;
        }
        out.flush()?;
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let text = line.trim();
        if text.is_empty() {
            continue;
        }
        let mut seen = telegram.sent_total();
        telegram.push_text(PERSON, PERSON, text);
        wait_for_answer(telegram, seen + 1, alive)?;
        while telegram.wait_for_sent(seen + 1, SILENCE) {
            for sent in telegram.sent_after(seen) {
                match sent.file_id.as_str() {
                    "" => writeln!(out, "{}", sent.text)?,
                    _ => writeln!(out, "[a file] {}", sent.text)?,
                }
                seen = sent.number;
            }
            out.flush()?;
        }
        writeln!(out)?;
    }
}

fn wait_for_answer(
    telegram: &telegram::Telegram,
    wanted: u64,
    alive: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    while !telegram.wait_for_sent(wanted, LOOK_EVERY) {
        waited += LOOK_EVERY;
        if !alive() || ANSWER_WAIT <= waited {
            let why = if alive() { "no answer came" } else { "the daemon has ended" };
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
    }
    Ok(())
}
