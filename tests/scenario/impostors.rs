//! Somebody else in the place of a service while the daemon runs: it refuses, says so in one line, tells the other nothing,
//! lives on, and goes on by itself when the right server is back (contract §5.7).

#[path = "../support/impostor.rs"]
mod impostor;

use crate::world::{KEY_1, OWNER, TOKEN, World, gemini_options};
use impostor::{Authority, Face, Impostor, TODAY, impostor, self_signed};
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;
use svs_bot::daemon::clock;
use svs_bot::standin::postgrest::{self, Postgrest};
use svs_bot::types::Secret;

const SUPABASE_KEY: &str = "sb_secret_of-the-daemons-impostors-01";
/// So often each impostor is tried before the right server is back: the line must not be repeated with each.
const TRIES: u32 = 3;
/// Kinds of impostors.
const FACES: usize = 7;

/// A world in which one service is behind a door that can change its face.
struct Street {
    world: World,
    supabase: Postgrest,
    door: Impostor,
    ours: Authority,
    right: Face,
    /// Where redirects lead.
    trap: Impostor,
}

impl Street {
    fn new(setting: &'static str) -> Self {
        let ours = Authority::new();
        let supabase = Postgrest::start(postgrest::Options {
            port: 0,
            key: Secret::new(SUPABASE_KEY),
            keep_last: 10_000,
            clock: Arc::new(clock::system_ms),
            control: None,
            journal: None,
        })
        .unwrap();
        let world = World::prepare(&[], gemini_options());
        let url = match setting {
            "TELEGRAM_API_URL" => world.telegram.url(),
            "GEMINI_API_URL" => world.gemini.url(),
            _ => supabase.url(),
        };
        let address = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let server = ours.server("localhost", TODAY, &[&TLS12, &TLS13]);
        let right = Face::Right(server, address);
        let door = impostor(right.clone());
        let roots = world.dir.join("roots.pem");
        std::fs::write(&roots, &ours.pem).unwrap();
        let mut settings = vec![
            ("SUPABASE_URL", supabase.url()),
            ("SUPABASE_KEY", SUPABASE_KEY.to_owned()),
            ("SYNC_INTERVAL", "1s".to_owned()),
            ("TLS_CA_FILE", roots.display().to_string()),
            ("BOT_LANG", "en".to_owned()),
        ];
        settings.push((setting, format!("https://localhost:{}", door.port)));
        let changes: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.write_settings(&changes);
        world.run();
        world.until("the first poll", || (world.state_int("polls") > 0).then_some(()));
        Self { world, supabase, door, ours, right, trap: impostor(Face::Plain) }
    }

    /// Every kind of impostor, and the words by which it is refused.
    fn faces(&self) -> Vec<(&'static str, Face, &'static str)> {
        let Face::Right(right, _) = &self.right else { unreachable!() };
        let trap = format!("https://localhost:{}/take?all=it", self.trap.port);
        vec![
            ("another name", self.ours.face("example.org", TODAY), "not valid for name"),
            ("too old", self.ours.face("localhost", 2019..2021), "expired"),
            ("signed by itself", self_signed(), "no root that is trusted here"),
            ("TLS 1.1", Face::Old(2), "no version or cipher of today"),
            ("no newer TLS", Face::Alert, "no version or cipher of today"),
            ("HTTP on the port of TLS", Face::Plain, "does not speak TLS"),
            ("a redirect", Face::LeadsByTls(Arc::clone(right), 307, trap), "redirect"),
        ]
    }

    /// What the log has said since it was so long.
    fn lines(&self, since: usize, event: &str, words: &str) -> Vec<String> {
        let log = self.world.log();
        let lines = log.get(since..).unwrap_or_default().lines();
        lines.filter(|it| it.contains(event) && it.contains(words)).map(str::to_owned).collect()
    }

    /// One impostor: `ask` gives the daemon reason to call, until it has called so often; `went_on` is what the right
    /// server brings.
    #[track_caller]
    fn check(
        &self,
        (what, face, words): (&str, Face, &str),
        event: &str,
        ask: &dyn Fn(&World),
        went_on: &dyn Fn(&Self),
    ) {
        let world = &self.world;
        let (since, pid) = (world.log().len(), world.pid());
        self.door.show(face);
        let failed = format!("{event}.failed");
        world.until(what, || {
            ask(world);
            let said = self.lines(since, &failed, words);
            (!said.is_empty() && self.door.connections() >= TRIES).then_some(())
        });
        assert_eq!(world.page("/healthz").0, 200, "{what}");
        let said = self.lines(since, &failed, words);
        assert_eq!(said.len(), 1, "{what}: {said:#?}\n{}", world.log());

        self.door.show(self.right.clone());
        went_on(self);
        let recovered = format!("{event}.recovered");
        world.until(what, || (!self.lines(since, &recovered, "").is_empty()).then_some(()));
        assert!(world.is_running() && world.pid() == pid, "{what}");
        shows_no_secret(what, &self.door.heard());
        assert_eq!(self.trap.connections(), 0, "{what}: somebody came to the trap");
        shows_no_secret("the log", &world.log());
        for page in ["/", "/status.json", "/metrics"] {
            shows_no_secret(page, &world.page(page).1);
        }
    }
}

/// Every impostor at once, each before a daemon of its own: most of it is waiting.
fn check(
    setting: &'static str,
    event: &str,
    before: &(dyn Fn(&World) + Sync),
    ask: &(dyn Fn(&World) + Sync),
    went_on: &(dyn Fn(&Street) + Sync),
) {
    std::thread::scope(|scope| {
        for n in 0..FACES {
            scope.spawn(move || {
                let street = Street::new(setting);
                let mut faces = street.faces();
                assert_eq!(faces.len(), FACES);
                before(&street.world);
                street.check(faces.swap_remove(n), event, &|world| ask(world), &|street| {
                    went_on(street)
                });
            });
        }
    });
}

fn shows_no_secret(what: &str, text: &str) {
    for secret in [TOKEN, KEY_1, SUPABASE_KEY] {
        // The part after the number is the secret one.
        let part = secret.split(':').next_back().unwrap();
        assert!(!text.contains(part), "{what}: {text}");
    }
}

#[test]
fn in_the_place_of_telegram() {
    let before = |world: &World| world.telegram.chat(7, |_| ());
    check("TELEGRAM_API_URL", "poll", &before, &|_| (), &|street| {
        street.world.say(7, 7, "while away");
        street.world.expect(7, "while away");
        street.world.expect_nothing_more();
    });
}

#[test]
fn in_the_place_of_gemini() {
    let before = |_: &World| ();
    let ask = |world: &World| {
        // Three at once, so that three calls in a row fail; each once.
        for person in 11..14 {
            if world.number(&format!("SELECT count(*) FROM inbox WHERE user_id = {person}")) == 0 {
                world.say(person, person, "while away");
                world.until("it to be stored", || (world.telegram.pending() == 0).then_some(()));
            }
        }
    };
    check("GEMINI_API_URL", "gemini", &before, &ask, &|street| {
        for person in 11..14 {
            street.world.expect(person, "while away");
        }
        street.world.expect_nothing_more();
        // Nobody's key is to blame for who stood there.
        let out = street.world.command(&["status", "--json"]).output().unwrap();
        let status = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(status.contains("\"state\":\"ready\""), "{status}");
    });
}

#[test]
fn in_the_place_of_supabase() {
    let before = |_: &World| ();
    let sync_now = |world: &World| {
        world.say(OWNER, OWNER, "/sync");
        world.until("an answer to /sync", || {
            let waiting = "SELECT count(*) FROM inbox WHERE state IN (1, 2)";
            (world.telegram.pending() == 0 && world.number(waiting) == 0).then_some(())
        });
    };
    let ask = |world: &World| {
        if world.number("SELECT count(*) FROM inbox WHERE user_id = 7") == 0 {
            world.say(7, 7, "a row");
            world.expect(7, "a row");
        }
        // Sooner than the daemon itself would after a trouble.
        sync_now(world);
    };
    check("SUPABASE_URL", "sync", &before, &ask, &|street| {
        street.world.until("the row", || {
            sync_now(&street.world);
            (street.supabase.rows("chat_history").len() == 1).then_some(())
        });
    });
}
