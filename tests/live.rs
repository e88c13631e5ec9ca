//! Answers as people see them: the real daemon against the played services, files in, growing text out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
#![allow(clippy::cast_possible_truncation, reason = "bytes made up from small numbers")]
#![allow(
    clippy::disallowed_methods,
    reason = "the daemon lives in real time; every wait is bounded"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use svs_bot::config::{Config, KeySetting, Limit, StreamSetting};
use svs_bot::daemon::{self, clock::system_ms};
use svs_bot::standin::data::{Data, map};
use svs_bot::standin::gemini::{Act, Script};
use svs_bot::standin::telegram::{Fault, Outcome, Sent};
use svs_bot::standin::{gemini, telegram};
use svs_bot::types::{Group, Secret, UserId};

const TOKEN: &str = "123456:live";
const PERSON: i64 = 42;
const GROUP: i64 = -1_000_000_000_009;
/// Longer than any answer here takes.
const WAIT: Duration = Duration::from_secs(30);

/// A daemon between its stand-ins; everything ends with it.
struct World {
    telegram: telegram::Telegram,
    gemini: gemini::Gemini,
    folder: PathBuf,
    stop: Option<daemon::StopSender>,
    daemon: Option<JoinHandle<()>>,
}

/// How a world differs from the usual one.
struct Setup {
    first_ms: u64,
    pace_ms: u64,
    knows_drafts: bool,
    knows_rich: bool,
    change: fn(&mut Config),
}

impl Default for Setup {
    fn default() -> Self {
        Self { first_ms: 0, pace_ms: 0, knows_drafts: true, knows_rich: false, change: |_| {} }
    }
}

impl World {
    fn start(setup: Setup) -> Self {
        let change = setup.change;
        let mut world = Self::start_idle(setup);
        let mut config = world.config();
        change(&mut config);
        world.run(config);
        world
    }

    /// The stand-ins alone.
    fn start_idle(setup: Setup) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("svs-bot-live-{}-{number}", std::process::id()));
        let telegram = telegram::Telegram::start(telegram::Options {
            port: 0,
            token: Secret::new(TOKEN),
            username: "live_bot".into(),
            keep_last: 1_000,
            knows_drafts: setup.knows_drafts,
            knows_rich: setup.knows_rich,
            clock: Arc::new(system_ms),
            control: None,
            journal: None,
        })
        .unwrap();
        telegram
            .set_user(PERSON, map([("first_name", "Ann".into()), ("language_code", "en".into())]));
        let gemini = gemini::Gemini::start(gemini::Options {
            port: 0,
            keys: BTreeMap::new(),
            any_key: true,
            limits: BTreeMap::new(),
            unlimited: true,
            first_ms: setup.first_ms,
            pace_ms: setup.pace_ms,
            piece_chars: 24,
            keep_last: 1_000,
            clock: Arc::new(system_ms),
            control: None,
            journal: None,
        })
        .unwrap();
        Self { telegram, gemini, folder, stop: None, daemon: None }
    }

    fn config(&self) -> Config {
        let key = |secret: &str| KeySetting {
            secret: Secret::new(secret),
            group: Group::A,
            project: Some(secret.into()),
        };
        Config {
            bot_token: Secret::new(TOKEN),
            telegram_url: self.telegram.url(),
            gemini_url: self.gemini.url(),
            keys: vec![key("key-one"), key("key-two")],
            key_rpm: Limit::Unlimited,
            lite_rpd: Limit::Unlimited,
            flash_rpd: Limit::Unlimited,
            pro_rpd: Limit::Unlimited,
            pro_rpm: Limit::Unlimited,
            key_min_interval_ms: 0,
            owner_ids: vec![UserId(PERSON)],
            stream: StreamSetting::Off,
            supabase: None,
            http_addr: None,
            ..Config::sample()
        }
    }

    fn run(&mut self, config: Config) {
        let (stop, stopped) = daemon::stop_pair();
        let folder = self.folder.clone();
        let daemon = std::thread::spawn(move || {
            let ended = daemon::run(daemon::Start {
                config,
                data_dir: &folder,
                dry_run: false,
                drain: false,
                hold_questions: false,
                notify_socket: None,
                watchdog_ms: None,
                reread: Box::new(|| Err("no settings file".into())),
                reopen_log: Box::new(|_| {}),
                stop: Some(stopped),
            });
            assert!(ended.is_ok(), "{ended:?}");
        });
        (self.stop, self.daemon) = (Some(stop), Some(daemon));
    }

    /// Waits until so many messages were ever sent.
    #[track_caller]
    fn sent(&self, wanted: u64) -> Vec<Sent> {
        assert!(self.telegram.wait_for_sent(wanted, WAIT), "{:#?}", self.telegram.calls());
        self.telegram.sent()
    }

    fn says(&self, prompt: &str, text: &str) {
        self.act(prompt, Act::Say(text.into()));
    }

    fn act(&self, prompt: &str, act: Act) {
        let prompt = Some(prompt.to_owned());
        self.gemini.script(Script { prompt, times: 1, act, ..Script::default() });
    }

    fn file(&self, id: &str, bytes: &[u8]) {
        self.telegram.put_file(id, &format!("files/{id}.bin"), bytes.to_vec());
    }

    /// Methods called so far, typing left out.
    fn methods(&self) -> Vec<String> {
        // A call is noted once it is answered, a moment after its message can be seen.
        let shows = ["sendmessage", "sendrichmessage", "senddocument"];
        let noted = || {
            let calls = self.telegram.calls();
            calls.iter().filter(|call| shows.contains(&call.method.as_str())).count() as u64
        };
        for _ in 0..WAIT.as_millis() / 10 {
            if noted() >= self.telegram.sent_total() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let all = self.telegram.calls().into_iter().map(|call| call.method);
        let setup = ["getme", "setmycommands", "sendchataction", "getwebhookinfo", "deletewebhook"];
        all.filter(|method| !setup.contains(&method.as_str())).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.daemon.take().map(JoinHandle::join);
        drop(std::fs::remove_dir_all(&self.folder));
        if !std::thread::panicking() {
            assert!(matches!(ended, None | Some(Ok(()))), "the daemon ended in a panic");
        }
    }
}

fn photo(id: &str, size: usize) -> Data {
    map([(
        "photo",
        vec![map([
            ("file_id", id.into()),
            ("file_unique_id", id.into()),
            ("width", 9_i64.into()),
            ("height", 9_i64.into()),
            ("file_size", size.into()),
        ])]
        .into(),
    )])
}

fn file(kind: &str, id: &str, size: usize, name: &str) -> Data {
    let about = map([
        ("file_id", id.into()),
        ("file_unique_id", id.into()),
        ("duration", 3_i64.into()),
        ("file_name", name.into()),
        ("file_size", size.into()),
    ]);
    map([(kind, about)])
}

/// MIME type and bytes, as Gemini got them, of each file of the last request.
fn received(world: &World) -> Vec<(String, Vec<u8>)> {
    use base64::Engine as _;
    let asked = world.gemini.asked();
    let contents = asked.last().unwrap().body.at("contents").list().to_vec();
    let parts = contents.last().unwrap().at("parts").list().to_vec();
    parts
        .iter()
        .map(|part| part.at("inlineData"))
        .filter(|blob| **blob != Data::Null)
        .map(|blob| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(blob.at("data").str());
            (blob.at("mimeType").str().to_owned(), bytes.unwrap())
        })
        .collect()
}

fn jpeg(size: usize) -> Vec<u8> {
    let start = [0xFF, 0xD8, 0xFF, 0xE0];
    start.into_iter().chain((0..).map(|n: usize| (n % 251) as u8)).take(size).collect()
}

/// Words enough to come in so many pieces of a stream.
fn words(pieces: usize) -> String {
    let all = (0..pieces * 3).map(|n| format!("word{n:03}")).collect::<Vec<_>>();
    all.join(" ") + " end"
}

#[path = "live/media.rs"]
mod media;
#[path = "live/rich.rs"]
mod rich;
#[path = "live/show.rs"]
mod show;
