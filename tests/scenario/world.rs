//! One bot, its stand-ins and its directory; ended and removed when the test is over.

use rusqlite::{Connection, OpenFlags};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use svs_bot::daemon::clock;
use svs_bot::standin::Clock;
use svs_bot::standin::data::{Data, map};
use svs_bot::standin::gemini::{self, Act, Asked, Gemini, Script};
use svs_bot::standin::telegram::{self, Fault, Outcome, Sent, Telegram};
use svs_bot::types::Secret;

/// Shaped like real ones, so that masks see them.
pub(crate) const TOKEN: &str = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1";
pub(crate) const KEY_1: &str = "AIzaSyD-scenario-key-number-0001-aaaaAA";
pub(crate) const KEY_2: &str = "AIzaSyD-scenario-key-number-0002-bbbbBB";
pub(crate) const BOT: i64 = 123_456_789;
pub(crate) const NAME: &str = "scenario_bot";
/// The person of `BOT_OWNER_ID`.
pub(crate) const OWNER: i64 = 1;
/// Asks for `/help` to see that everything before was decided.
const PROBE: i64 = 999_999;
/// A condition that takes longer on a loaded machine is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) struct World {
    pub(crate) telegram: Telegram,
    pub(crate) gemini: Gemini,
    pub(crate) dir: PathBuf,
    settings: BTreeMap<String, String>,
    bot: RefCell<Option<Child>>,
    /// Numbers of messages that a test has seen.
    seen: RefCell<Vec<u64>>,
    http: String,
}

/// The user of this test.
pub(crate) fn own_user() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap())
}

/// Keys only those of [`World`]'s settings; no limits.
pub(crate) fn gemini_options() -> gemini::Options {
    gemini::Options {
        port: 0,
        keys: BTreeMap::new(),
        any_key: true,
        limits: BTreeMap::new(),
        unlimited: true,
        first_ms: 0,
        pace_ms: 0,
        piece_chars: 24,
        keep_last: 100_000,
        clock: Arc::new(clock::system_ms),
        control: None,
        journal: None,
    }
}

impl World {
    /// A bot that polls, with these settings beside the usual ones.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let world = Self::prepare(settings, gemini_options());
        world.run();
        world.until("the first poll", || (world.state_int("polls") > 0).then_some(()));
        world
    }

    /// Everything but the bot's process.
    pub(crate) fn prepare(settings: &[(&str, &str)], gemini: gemini::Options) -> Self {
        Self::prepare_at(settings, gemini, 0)
    }

    /// The same where the clocks of the services are before the machine's.
    pub(crate) fn prepare_at(
        settings: &[(&str, &str)],
        mut gemini: gemini::Options,
        ahead_ms: i64,
    ) -> Self {
        let theirs: Clock = Arc::new(move || clock::system_ms() + ahead_ms);
        gemini.clock = Arc::clone(&theirs);
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("svs-scenario-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let telegram = Telegram::start(telegram::Options {
            port: 0,
            token: Secret::new(TOKEN),
            username: NAME.into(),
            keep_last: 100_000,
            knows_drafts: true,
            knows_rich: false,
            clock: theirs,
            control: Some(telegram::CONTROL),
            journal: None,
        })
        .unwrap();
        let gemini = Gemini::start(gemini).unwrap();
        let http = own_address(number, 9_464);
        let usual = [
            ("TELEGRAM_BOT_TOKEN", TOKEN.to_owned()),
            ("TELEGRAM_API_URL", telegram.url()),
            ("GEMINI_API_URL", gemini.url()),
            ("GEMINI_API_KEY", KEY_1.to_owned()),
            ("BOT_OWNER_ID", OWNER.to_string()),
            ("NORMAL_IDS", PROBE.to_string()),
            ("HTTP_ADDR", http.clone()),
            ("STREAM", "off".to_owned()),
            ("LOG_LEVEL", "debug".to_owned()),
        ];
        let mut all: BTreeMap<String, String> =
            usual.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        // The limits of the free tier are the business of tests that name them.
        for name in ["KEY_RPM", "LITE_RPD", "FLASH_RPD", "PRO_RPD", "PRO_RPM", "KEY_MIN_INTERVAL"] {
            all.insert(name.to_owned(), "0".to_owned());
        }
        for (name, value) in settings {
            if *name == "GROUP_D_KEYS" {
                all.remove("GEMINI_API_KEY");
            }
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        let (bot, seen) = (RefCell::new(None), RefCell::new(Vec::new()));
        // The owner has met the bot before; who has not cannot be written to.
        telegram.chat(OWNER, |_| ());
        let world = Self { telegram, gemini, dir, settings: all, bot, seen, http };
        world.write_settings(&[]);
        world
    }

    /// Writes the settings file anew, with these changes.
    pub(crate) fn write_settings(&self, changes: &[(&str, &str)]) {
        let mut all = self.settings.clone();
        all.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let text: String = all.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(self.env_file(), text).unwrap();
    }

    pub(crate) fn env_file(&self) -> PathBuf {
        self.dir.join("env")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// `svs-bot COMMAND` on this world's settings and data.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_svs-bot"));
        command.env_clear().args(args).arg("--env-file").arg(self.env_file());
        command.arg("--data-dir").arg(self.data_dir()).stdin(Stdio::null()).current_dir(&self.dir);
        command
    }

    /// Starts the bot, without waiting for anything.
    pub(crate) fn run(&self) {
        let log = || {
            Stdio::from(
                File::options().create(true).append(true).open(self.dir.join("log")).unwrap(),
            )
        };
        let child = self.command(&["run"]).stdout(log()).stderr(log()).spawn().unwrap();
        assert!(self.bot.borrow_mut().replace(child).is_none(), "two bots");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.bot.borrow().as_ref().unwrap().id()
    }

    /// SIGKILL; what the dead process had written to its sockets has arrived afterwards.
    pub(crate) fn kill(&self) {
        let mut child = self.bot.borrow_mut().take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Connections are accepted in order: an answer means that all before were.
        for url in [self.telegram.url(), self.gemini.url()] {
            assert_ne!(http(&host(&url), "GET", "/", "").0, 0, "{url}");
        }
        self.until("the dead process's connections to end", || {
            let a_poll_may_wait = 1;
            let ended =
                self.gemini.connections() == 0 && self.telegram.connections() <= a_poll_may_wait;
            ended.then_some(())
        });
    }

    /// The most memory the process has ever held, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.kib("VmHWM:")
    }

    /// The memory that the process holds now, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// How many files and connections the process has open.
    pub(crate) fn open_files(&self) -> usize {
        // Root alone may look into the process from outside.
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or_else(
            |_| {
                let page = self.page("/metrics").1;
                let line = page.lines().find_map(|line| line.strip_prefix("process_open_fds "));
                line.unwrap().parse().unwrap()
            },
            Iterator::count,
        )
    }

    fn kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let done =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(done.unwrap().success());
    }

    /// The exit code, or what `expect` of a signal would be: none.
    pub(crate) fn wait_exit(&self) -> Option<i32> {
        let mut child = self.bot.borrow_mut().take().unwrap();
        let started = clock::monotonic();
        while started.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            clock::pause(LOOK_EVERY);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the bot does not end:\n{}", self.log());
    }

    pub(crate) fn is_running(&self) -> bool {
        self.bot.borrow_mut().as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Everything the bot has printed.
    pub(crate) fn log(&self) -> String {
        fs::read(self.dir.join("log"))
            .map_or_else(|_| String::new(), |it| String::from_utf8_lossy(&it).into_owned())
    }

    /// Waits for a condition, never longer than [`PATIENCE`].
    pub(crate) fn until<T>(&self, what: &str, probe: impl FnMut() -> Option<T>) -> T {
        self.until_within(PATIENCE, what, probe)
    }

    pub(crate) fn until_within<T>(
        &self,
        wait: Duration,
        what: &str,
        mut probe: impl FnMut() -> Option<T>,
    ) -> T {
        let started = clock::monotonic();
        while started.elapsed() < wait {
            if let Some(found) = probe() {
                return found;
            }
            if self.bot.borrow().is_some() && !self.is_running() {
                panic!("the bot ended while waiting for {what}:\n{}", self.log());
            }
            clock::pause(LOOK_EVERY);
        }
        panic!("{what}: not within {wait:?}:\n{}\nsent: {:#?}", self.log(), self.unseen());
    }

    pub(crate) fn until_log(&self, words: &str) {
        self.until(words, || self.log().contains(words).then_some(()));
    }

    /// A person writes.
    pub(crate) fn say(&self, chat: i64, user: i64, text: &str) -> i64 {
        self.telegram.push_text(chat, user, text)
    }

    /// A person sends a message of these fields.
    pub(crate) fn send(&self, chat: i64, user: i64, text: &str, fields: &[(&str, Data)]) -> i64 {
        let mut all = map([("text", text.into())]);
        for (name, value) in fields {
            all.set(name, value.clone());
        }
        self.telegram.push_message(chat, user, all)
    }

    /// The next message in the chat that no test has seen yet; it holds these words.
    #[track_caller]
    pub(crate) fn expect(&self, chat: i64, words: &str) -> Sent {
        let next = || self.unseen().into_iter().find(|sent| sent.chat == chat);
        let sent = self.until(&format!("a message with {words:?} in {chat}"), next);
        assert!(
            sent.text.contains(words),
            "wanted {words:?} in {chat}, got {:?}\n{}",
            sent.text,
            self.log()
        );
        self.seen.borrow_mut().push(sent.number);
        sent
    }

    /// Once everything is decided and said, nobody was told anything else.
    #[track_caller]
    pub(crate) fn expect_nothing_more(&self) {
        self.settle();
        let more = self.unseen();
        assert!(more.is_empty(), "nothing was expected: {more:#?}\n{}", self.log());
    }

    fn unseen(&self) -> Vec<Sent> {
        let seen = self.seen.borrow();
        let mut all = self.telegram.sent();
        all.retain(|sent| sent.chat != PROBE && !seen.contains(&sent.number));
        all
    }

    /// Waits until everything pushed so far is decided, asked and sent.
    pub(crate) fn settle(&self) {
        let before = self.sent_in(PROBE);
        self.say(PROBE, PROBE, "/help");
        self.until("the probe", || (self.sent_in(PROBE) > before).then_some(()));
        self.until("empty queues", || {
            let waiting = self.number(
                "SELECT (SELECT count(*) FROM inbox WHERE state IN (1, 2))
                 + (SELECT count(*) FROM outbox)",
            );
            (waiting == 0).then_some(())
        });
    }

    /// One number out of the database.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let path = self.data_dir().join("svs-bot.db");
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Changes rows behind the bot's back.
    pub(crate) fn change(&self, sql: &str) {
        let db = Connection::open(self.data_dir().join("svs-bot.db")).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db.execute_batch(sql).unwrap();
    }

    fn sent_in(&self, chat: i64) -> usize {
        self.telegram.sent().iter().filter(|sent| sent.chat == chat).count()
    }

    /// Gemini does this to the next questions with these words.
    pub(crate) fn script(&self, prompt: &str, times: u32, act: Act) {
        let prompt = (!prompt.is_empty()).then(|| prompt.to_owned());
        self.gemini.script(Script { prompt, times, act, ..Script::default() });
    }

    /// Telegram does this to the next calls.
    pub(crate) fn fault(&self, method: &str, chat: Option<i64>, times: u32, outcome: Outcome) {
        self.telegram.fault(Fault { method: Some(method.to_owned()), chat, times, outcome });
    }

    /// The requests whose last words hold these.
    pub(crate) fn asked(&self, words: &str) -> Vec<Asked> {
        let mut all = self.gemini.asked();
        all.retain(|asked| last_words(&asked.body).contains(words));
        all
    }

    /// Steers the Telegram stand-in over HTTP.
    pub(crate) fn control(&self, name: &str, body: &str) -> Data {
        let (status, body) =
            http(&host(&self.telegram.url()), "POST", &format!("/control/{name}"), body);
        assert_eq!(status, 200, "{body}");
        Data::parse(body.as_bytes()).unwrap()
    }

    /// A call of the Bot API by somebody else.
    pub(crate) fn call(&self, method: &str, body: &str) {
        let path = format!("/bot{TOKEN}/{method}");
        let (status, body) = http(&host(&self.telegram.url()), "POST", &path, body);
        assert_eq!(status, 200, "{body}");
    }

    pub(crate) fn state_int(&self, name: &str) -> i64 {
        self.control("state", "{}").at(name).int().unwrap_or(0)
    }

    /// Where the bot's own listener is.
    pub(crate) fn http_addr(&self) -> &str {
        &self.http
    }

    /// A page of the bot's own listener.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        http(&self.http, "GET", path, "")
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.page("/readyz").0 == 200
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = vec![self.dir.join("log")];
        walk(&self.data_dir(), &mut found);
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.bot.borrow_mut().take() {
            let _it_may_have_ended = child.kill();
            let _same = child.wait();
        }
        let _nobody_minds = fs::remove_dir_all(&self.dir);
    }
}

/// An address of the loopback network that nobody else uses who gives this number and port, nor any outgoing connection.
pub(crate) fn own_address(number: u32, port: u16) -> String {
    let pid = std::process::id();
    format!("127.{}.{}.{}:{port}", 64 + pid / 250 % 180, pid % 250, 1 + number % 250)
}

/// The last text of the last turn.
pub(crate) fn last_words(body: &Data) -> String {
    let parts = body.at("contents").list().last().map_or(&[][..], |turn| turn.at("parts").list());
    parts.iter().map(|part| part.at("text").str()).collect()
}

fn host(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// One exchange; status 0 when nobody answers.
fn http(host: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let Ok(mut stream) = TcpStream::connect(host) else { return (0, String::new()) };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut reply = Vec::new();
    let done = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .and_then(|()| stream.read_to_end(&mut reply));
    let reply = String::from_utf8_lossy(&reply).into_owned();
    if done.is_err() && reply.is_empty() {
        return (0, String::new());
    }
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    (head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0), body.to_owned())
}
