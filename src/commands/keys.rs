//! Owns: `svs-bot keys`: the pool as a table or JSON, parking and reviving a key.
//! May not: decide what a state means (the pool), run SQL (the ledger).

use super::{EXIT_OK, Failure, Outcome, Place};
use crate::calendar::rfc3339;
use crate::cli;

use crate::daemon::http::keys_json;
use crate::daemon::pool;
use crate::engine::keypool::{LedgerRows, Pool};
use crate::secret_hash;
use crate::store::{Durability, Store, StoreError, ledger};
use crate::types::Now;
use crate::types::status::KeyLine;
use std::io::Write;

const USAGE: &str = "keys: takes `list`, `park N` or `revive N`: see `svs-bot keys --help`";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    List,
    Park(u32),
    Revive(u32),
}

/// Runs `svs-bot keys`; works beside a running daemon, which notices within 5 s. `fresh` are random
/// bytes for the salt of a database that has none yet.
///
/// # Errors
/// Exit 2 for wrong use, 1 for a number that no key has or a database that refuses.
pub fn run(
    args: &cli::Keys,
    place: &Place,
    out: &mut dyn Write,
    fresh: &[u8],
    now: Now,
) -> Outcome {
    let action = action(&args.action)?;
    let text = match action {
        Action::List => list(args.json, place, now)?,
        Action::Park(n) | Action::Revive(n) => {
            let changed = change(action, n, place, fresh, now)?;
            changed_text(action, n, changed, args.json)
        }
    };
    out.write_all(text.as_bytes()).map_err(|error| Failure::failed(format!("stdout: {error}")))?;
    Ok(EXIT_OK)
}

fn action(words: &[String]) -> Result<Action, Failure> {
    let number = |word: &str| {
        let n = word.parse::<u32>().ok().filter(|n| *n > 0);
        n.ok_or_else(|| {
            Failure::usage(format!(
                "keys: `{}` is no number of a key: see `svs-bot keys list`",
                crate::daemon::quoting::plain(word)
            ))
        })
    };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => Ok(Action::List),
        ["park", n] => Ok(Action::Park(number(n)?)),
        ["revive", n] => Ok(Action::Revive(number(n)?)),
        _ => Err(Failure::usage(USAGE)),
    }
}

fn list(json: bool, place: &Place, now: Now) -> Result<String, Failure> {
    let (salt, rows) = match Store::open_existing(&place.data_dir) {
        Ok(store) => remembered(&store, now).map_err(Failure::failed)?,
        // Before the first start every key of the settings is ready.
        Err(StoreError::Missing(_)) => (String::new(), LedgerRows::default()),
        Err(error) => return Err(Failure::failed(error)),
    };
    let keys = Pool::new(pool::settings(&place.config, &salt), rows, now).list(now);
    if !json {
        return Ok(table(&keys));
    }
    let mut text = String::from("{\"keys\":");
    keys_json(&mut text, &keys);
    text.push_str("}\n");
    Ok(text)
}

fn remembered(store: &Store, now: Now) -> crate::store::Result<(String, LedgerRows)> {
    Ok((ledger::salt(&store.db)?.unwrap_or_default(), ledger::load(&store.db, now)?))
}

fn change(action: Action, n: u32, place: &Place, fresh: &[u8], now: Now) -> Result<bool, Failure> {
    let missing = || {
        let count = place.config.keys.len();
        Failure::failed(format!("keys: there is no key {n}, only {count}: see `svs-bot keys list`"))
    };
    if usize::try_from(n).unwrap_or(usize::MAX) > place.config.keys.len() {
        return Err(missing());
    }
    let mut store = Store::open_existing(&place.data_dir).map_err(Failure::failed)?;
    let changed = store.write(Durability::Disk, |tx| {
        let salt = ledger::install_salt(tx, &secret_hash::hex(fresh))?;
        let mut pool = Pool::new(pool::settings(&place.config, &salt), ledger::load(tx, now)?, now);
        let changed = match action {
            Action::Revive(_) => pool.revive(n, now),
            _ => pool.park(n),
        };
        ledger::save(tx, &pool.take_changes())?;
        Ok(changed)
    });
    changed.map_err(Failure::failed)?.ok_or_else(missing)
}

fn changed_text(action: Action, n: u32, changed: bool, json: bool) -> String {
    if json {
        return format!("{{\"ok\":true,\"changed\":{changed}}}\n");
    }
    match (action, changed) {
        (Action::Revive(_), true) => format!("key {n} is back\n"),
        (Action::Revive(_), false) => format!("key {n} was not set aside; nothing changed\n"),
        (_, true) => format!("key {n} is parked until `svs-bot keys revive {n}`\n"),
        (_, false) => format!("key {n} was parked already; nothing changed\n"),
    }
}

/// An aligned table; the reason comes last because it has no width.
fn table(keys: &[KeyLine]) -> String {
    let head = ["N", "group", "key", "project", "state", "until", "reason"].map(str::to_owned);
    let rows = keys.iter().map(|key| {
        [
            key.n.to_string(),
            key.group.label().to_owned(),
            format!("…{}", key.last4),
            super::status::key_project(key),
            key.state.name().to_owned(),
            key.until_ms.map(rfc3339).unwrap_or_default(),
            key.reason(),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width =
                rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
            let pad = width.unwrap_or(0).saturating_sub(cell.chars().count());
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', pad + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::KeySetting;
    use crate::types::{Group, Secret};

    const NOW: Now = Now { unix_ms: 1_794_340_800_000 };
    const FRESH: [u8; 16] = [7; 16];

    struct Home {
        place: Place,
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.place.data_dir);
        }
    }

    fn home(name: &str, database: bool) -> Home {
        let data_dir =
            std::env::temp_dir().join(format!("svs-bot-keys-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data_dir);
        std::fs::create_dir_all(&data_dir).unwrap();
        if database {
            drop(Store::open(&data_dir).unwrap());
        }
        let key = |text: &str, group, project: Option<&str>| KeySetting {
            secret: Secret::new(text),
            group,
            project: project.map(str::to_owned),
        };
        let keys = vec![
            key("AIzaSecretOfAlpha0001", Group::A, Some("mine")),
            key("AIzaSecretOfBravo0002", Group::B, None),
        ];
        Home {
            place: Place { config: Config { keys, ..Config::sample() }, data_dir, env_file: None },
        }
    }

    fn ask(home: &Home, words: &str) -> (Result<u8, u8>, String) {
        let json = words.contains("--json");
        let action =
            words.split_whitespace().filter(|word| *word != "--json").map(str::to_owned).collect();
        let args = cli::Keys { env_file: None, data_dir: None, json, action };
        let mut out = Vec::new();
        let outcome = run(&args, &home.place, &mut out, &FRESH, NOW);
        (outcome.map_err(|failure| failure.code), String::from_utf8(out).unwrap())
    }

    #[test]
    fn before_the_first_start_every_key_is_ready() {
        let home = home("fresh", false);
        let (code, text) = ask(&home, "list");
        assert_eq!(code, Ok(0));
        assert_eq!(
            text,
            "N  group  key    project  state  until  reason\n\
             1  A      …0001  mine     ready\n\
             2  B      …0002  key 2    ready\n"
        );
        assert!(!home.place.data_dir.join(crate::store::FILE_NAME).exists());
        assert_eq!(ask(&home, "park 1").0, Err(1));
    }

    #[test]
    fn parking_lasts_until_reviving_and_says_whether_it_changed_anything() {
        let home = home("park", true);
        for (words, want) in [
            ("park 2 --json", "{\"ok\":true,\"changed\":true}\n"),
            ("park 2 --json", "{\"ok\":true,\"changed\":false}\n"),
            ("park 2", "key 2 was parked already; nothing changed\n"),
            (
                "list --json",
                "{\"keys\":[{\"n\":1,\"group\":\"A\",\"last4\":\"0001\",\"state\":\"ready\",\"until\":null,\"reason\":\"\",\
                 \"project\":\"mine\",\"inferred\":false,\"shares_with\":[]},\
                 {\"n\":2,\"group\":\"B\",\"last4\":\"0002\",\"state\":\"parked\",\"until\":null,\
                 \"reason\":\"parked by the operator\",\
                 \"project\":\"key 2\",\"inferred\":false,\"shares_with\":[]}]}\n",
            ),
            ("revive 2 --json", "{\"ok\":true,\"changed\":true}\n"),
            ("revive 2", "key 2 was not set aside; nothing changed\n"),
        ] {
            assert_eq!(ask(&home, words), (Ok(0), want.to_owned()), "{words}");
        }
    }

    #[test]
    fn wrong_use_is_two_and_a_number_of_no_key_is_one() {
        let home = home("wrong", true);
        for (words, code) in [
            ("", 2),
            ("sing", 2),
            ("park", 2),
            ("park x", 2),
            ("park 0", 2),
            ("park -1", 2),
            ("list 1", 2),
            ("revive 1 2", 2),
            ("park 3", 1),
            ("revive 99", 1),
        ] {
            assert_eq!(ask(&home, words), (Err(code), String::new()), "{words}");
        }
    }

    #[test]
    fn no_key_is_ever_shown() {
        let home = home("secret", true);
        for words in ["list", "list --json", "park 1", "revive 1"] {
            assert!(!ask(&home, words).1.contains("Secret"), "{words}");
        }
    }
}
