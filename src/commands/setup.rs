//! Owns: what `svs-bot init` asks of the outside: the token, each key, Supabase, and pairing the owner.
//! May not: word the dialogue (`init` does).

use super::init::{self, Checked, Checks, Talk};
use super::tty::{NoEcho, Tty};
use super::{Failure, Outcome, Place, owner_link};
use crate::cli;
use crate::config::source::Environment;
use crate::config::{self, Config};
use crate::daemon::clock::{self, Clock};
use crate::daemon::{lock, workers};
use crate::net::Net;
use crate::store::{Durability, Store, meta, people};
use crate::types::model::ModelFailure;
use crate::types::{MINUTE_MS, Secret, UserId};
use crate::wire::telegram;
use crate::wire::{Method, NetError, Request, Response};
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// Bytes of one reply.
const REPLY_BYTES_MAX: usize = 256 * 1024;
/// Until a probe's reply is in.
const PROBE_TIMEOUT_MS: u64 = 15_000;
/// How long the pairing link is waited for.
const PAIR_MS: i64 = 15 * MINUTE_MS;
/// Between two looks whether somebody was paired.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Runs `svs-bot init` on this terminal.
///
/// # Errors
/// As the dialogue says.
pub fn init(args: &cli::Init, environment: &Environment) -> Outcome {
    let interactive = io::stdin().is_terminal();
    let (mut tty, mut plain) = (Tty::default(), NoEcho);
    let mut talk = Talk {
        input: &mut io::stdin().lock(),
        out: &mut io::stdout(),
        echo: if interactive { &mut tty } else { &mut plain },
        interactive,
    };
    let mut checks = Outside { environment, data_dir: args.data_dir.clone() };
    init::run(args, environment, &mut talk, &mut checks)
}

/// One call of Gemini whose whole reply is wanted, whatever its status.
///
/// # Errors
/// No response.
pub fn gemini_call(net: &Net, key: &Secret, request: &Request) -> Result<Response, NetError> {
    let mut body = Vec::new();
    let mut response = net.gemini(key, request, &mut |chunk| {
        body.extend_from_slice(chunk);
        if body.len() < REPLY_BYTES_MAX {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if !body.is_empty() {
        response.body = body;
    }
    Ok(response)
}

struct Outside<'a> {
    environment: &'a Environment,
    data_dir: Option<String>,
}

impl Checks for Outside<'_> {
    fn token(&mut self, config: &Config) -> Checked {
        let net = match Net::new(config) {
            Ok(net) => net,
            Err(why) => return Checked::Unknown(why),
        };
        match net.telegram(&telegram::get_me(), REPLY_BYTES_MAX) {
            Err(error) => Checked::Unknown(error.text),
            Ok(response) => match telegram::read_reply(&response) {
                Ok(result) => match telegram::read_me(&result) {
                    Ok(me) => Checked::Good(format!("@{}", me.user.username.unwrap_or_default())),
                    Err(why) => Checked::Unknown(why),
                },
                Err(telegram::TelegramError::Unauthorized | telegram::TelegramError::NotFound) => {
                    Checked::Refused("telegram does not know this token".to_owned())
                }
                Err(other) => Checked::Unknown(other.to_string()),
            },
        }
    }

    fn key(&mut self, config: &Config, key: &Secret) -> Checked {
        match Net::new(config).map(|net| workers::check_key(&net, key)) {
            Err(why) => Checked::Unknown(why),
            Ok(Ok(())) => Checked::Good("valid".to_owned()),
            Ok(Err(ModelFailure::BadKey { why })) => {
                Checked::Refused(format!("gemini says: {why}"))
            }
            Ok(Err(other)) => Checked::Unknown(format!("gemini: {}", other.label())),
        }
    }

    fn supabase(&mut self, config: &Config) -> Checked {
        let net = match Net::new(config) {
            Ok(net) => net,
            Err(why) => return Checked::Unknown(why),
        };
        let mut found = Vec::new();
        for table in ["chat_history", "user_registry"] {
            let result = net.supabase(&probe(table), REPLY_BYTES_MAX);
            match &result {
                Ok(response) if (200..300).contains(&response.status) => found.push(table),
                Ok(response) => {
                    return Checked::Refused(format!(
                        "{table}: Supabase answers {}",
                        response.status
                    ));
                }
                Err(error) => return Checked::Unknown(error.text.clone()),
            }
        }
        Checked::Good(format!("tables {}", found.join(" and ")))
    }

    fn pair(&mut self, env_file: &Path, out: &mut dyn Write) -> Result<Option<UserId>, String> {
        let env_file = env_file.to_string_lossy();
        let loaded = config::load(Some(&env_file), self.data_dir.as_deref(), self.environment)
            .map_err(|problems| {
                problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            })?;
        let place =
            Place { config: loaded.config, data_dir: loaded.data_dir, env_file: loaded.env_file };
        pair(&place, out).map_err(|failure| failure.text)
    }
}

/// Reads one row of a table, whatever is in it.
fn probe(table: &str) -> Request {
    Request {
        method: Method::Get,
        path: format!("{table}?select=id&limit=1"),
        headers: Vec::new(),
        body: None,
        timeout_ms: PROBE_TIMEOUT_MS,
    }
}

/// Shows the link and waits until somebody has opened it. What is received meanwhile is stored for the
/// bot: a daemon of this directory does the polling, else one of ours that asks no question yet.
fn pair(place: &Place, out: &mut dyn Write) -> Result<Option<UserId>, Failure> {
    let clock = Clock::starting_at(0);
    let net = Net::new(&place.config).map_err(Failure::usage)?;
    let reply = net
        .telegram(&telegram::get_me(), REPLY_BYTES_MAX)
        .map_err(|error| Failure::failed(error.text))?;
    let me = telegram::read_reply(&reply)
        .map_err(|error| Failure::failed(error.to_string()))
        .and_then(|result| telegram::read_me(&result).map_err(Failure::failed))?;
    super::dispatch::make_dir(&place.data_dir)?;
    let mut store = Store::open(&place.data_dir).map_err(Failure::failed)?;
    store
        .write(Durability::Process, |tx| {
            meta::set(tx, "bot_name", me.user.username.as_deref().unwrap_or_default())
        })
        .map_err(Failure::failed)?;
    let link = owner_link::make(place, clock.now())?;
    let (stop, stopped) = crate::daemon::stop_pair();
    let helper = if lock::holder(&place.data_dir).is_none() {
        let (config, dir) = (place.config.clone(), place.data_dir.clone());
        Some(std::thread::spawn(move || super::dispatch::run_until(config, &dir, true, stopped)))
    } else {
        None
    };
    let told = writeln!(out, "Open this link in Telegram within 15 minutes:\n\n  {link}\n");
    told.map_err(|error| Failure::failed(format!("writing: {error}")))?;
    let until_ms = clock.now().unix_ms + PAIR_MS;
    let mut found = None;
    while found.is_none() && clock.now().unix_ms < until_ms {
        if helper.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
            return Err(Failure::failed(
                "pairing: ended before anybody opened the link: run `svs-bot owner-link` later",
            ));
        }
        clock::pause(LOOK_EVERY);
        found = people::granted_owners(store.connection(), clock.now().unix_ms)
            .map_err(Failure::failed)?
            .first()
            .copied();
    }
    drop(stop);
    if let Some(helper) = helper {
        // Its own trouble was logged; the pairing is what counts here.
        let _ = helper.join();
    }
    Ok(found)
}
