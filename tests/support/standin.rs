//! The stand-ins as a process, for witnesses, scripts and benches in any language.
//!
//! `standin [--telegram-port N] [--gemini-port N] [--postgrest-port N] [--token T]
//! [--username NAME] [--key KEY[@PROJECT]]… [--limit MODEL=RPM/RPD/TPM]… [--unlimited]
//! [--first-ms N] [--pace-ms N] [--piece-chars N] [--keep-last N] [--no-drafts]
//! [--supabase-key K] [--journal FILE] [--ahead-ms N]`
//!
//! `--ahead-ms` puts the clock of all three before the machine's, or behind it where negative.
//!
//! Prints one line of JSON with the three URLs, then lives until stdin ends.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a process for scripts")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use svs_bot::daemon::clock::system_ms;
use svs_bot::standin::data::Data;
use svs_bot::standin::{Clock, Journal, gemini, postgrest, telegram};
use svs_bot::types::Secret;

struct Settings {
    ports: [u16; 3],
    token: String,
    username: String,
    keys: BTreeMap<String, String>,
    limits: BTreeMap<String, gemini::Limits>,
    unlimited: bool,
    first_ms: u64,
    pace_ms: u64,
    piece_chars: usize,
    keep_last: usize,
    knows_drafts: bool,
    knows_rich: bool,
    supabase_key: String,
    journal: Option<Journal>,
    ahead_ms: i64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = read_settings(std::env::args().skip(1))?;
    let clock: Clock = Arc::new(move || system_ms() + settings.ahead_ms);
    let telegram = telegram::Telegram::start(telegram::Options {
        port: settings.ports[0],
        token: Secret::new(settings.token),
        username: settings.username,
        keep_last: settings.keep_last,
        knows_drafts: settings.knows_drafts,
        knows_rich: settings.knows_rich,
        clock: Arc::clone(&clock),
        control: Some(telegram::CONTROL),
        journal: settings.journal.clone(),
    })?;
    telegram.start_delivering()?;
    let gemini = gemini::Gemini::start(gemini::Options {
        port: settings.ports[1],
        any_key: settings.keys.is_empty(),
        keys: settings.keys,
        limits: settings.limits,
        unlimited: settings.unlimited,
        first_ms: settings.first_ms,
        pace_ms: settings.pace_ms,
        piece_chars: settings.piece_chars,
        keep_last: settings.keep_last,
        clock: Arc::clone(&clock),
        control: Some(gemini::CONTROL),
        journal: settings.journal.clone(),
    })?;
    let postgrest = postgrest::Postgrest::start(postgrest::Options {
        port: settings.ports[2],
        key: Secret::new(settings.supabase_key),
        keep_last: settings.keep_last,
        clock,
        control: Some(postgrest::CONTROL),
        journal: settings.journal,
    })?;
    let urls = (telegram.url(), gemini.url(), postgrest.url());
    println!(
        "{{\"telegram\":\"{}\",\"gemini\":\"{}\",\"postgrest\":\"{}\"}}",
        urls.0, urls.1, urls.2
    );
    std::io::stdout().flush()?;
    let mut waste = [0; 64];
    while std::io::stdin().read(&mut waste)? != 0 {}
    Ok(())
}

fn read_settings(mut args: impl Iterator<Item = String>) -> Result<Settings, String> {
    let mut settings = Settings {
        ports: [0; 3],
        token: "123456:stand-in".into(),
        username: "standin_bot".into(),
        keys: BTreeMap::new(),
        limits: BTreeMap::new(),
        unlimited: false,
        first_ms: 0,
        pace_ms: 0,
        piece_chars: 24,
        keep_last: 100_000,
        knows_drafts: true,
        knows_rich: false,
        supabase_key: "sb_secret_standin".into(),
        journal: None,
        ahead_ms: 0,
    };
    while let Some(name) = args.next() {
        match name.as_str() {
            "--unlimited" => settings.unlimited = true,
            "--rich" => settings.knows_rich = true,
            "--no-drafts" => settings.knows_drafts = false,
            _ => {
                let value = args.next().ok_or_else(|| format!("{name}: needs a value"))?;
                settings.take(&name, value)?;
            }
        }
    }
    Ok(settings)
}

/// One JSON object a line, flushed at once: this process may be killed at any time.
fn journal(file: File) -> Journal {
    let file = Mutex::new(file);
    Arc::new(move |service, call, request: &Data, status, reply| {
        let call = Data::from(call).render();
        let reply = if Data::parse(reply.as_bytes()).is_ok() { reply } else { "null" };
        let line = format!(
            "{{\"service\":\"{service}\",\"call\":{call},\"request\":{},\"status\":{status},\"reply\":{reply}}}\n",
            request.render()
        );
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(why) = file.write_all(line.as_bytes()) {
            eprintln!("journal: {why}");
        }
    })
}

impl Settings {
    fn take(&mut self, name: &str, value: String) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|_| format!("{name}: not a number"));
        let port = || value.parse::<u16>().map_err(|_| format!("{name}: not a port"));
        let size = || value.parse::<usize>().map_err(|_| format!("{name}: not a number"));
        match name {
            "--telegram-port" => self.ports[0] = port()?,
            "--gemini-port" => self.ports[1] = port()?,
            "--postgrest-port" => self.ports[2] = port()?,
            "--first-ms" => self.first_ms = number()?,
            "--pace-ms" => self.pace_ms = number()?,
            "--piece-chars" => self.piece_chars = size()?,
            "--keep-last" => self.keep_last = size()?,
            "--ahead-ms" => {
                self.ahead_ms = value.parse().map_err(|_| format!("{name}: not a number"))?;
            }
            "--token" => self.token = value,
            "--username" => self.username = value,
            "--supabase-key" => self.supabase_key = value,
            "--key" => {
                let (key, project) = value.split_once('@').unwrap_or((&value, &value));
                self.keys.insert(key.into(), project.into());
            }
            "--limit" => {
                let (model, limits) = value.split_once('=').ok_or("--limit: MODEL=RPM/RPD/TPM")?;
                let mut each = limits.split('/').map(|it| it.parse::<u32>().ok());
                let mut next = || each.next().flatten();
                let limits = gemini::Limits { rpm: next(), rpd: next(), tpm: next() };
                self.limits.insert(model.into(), limits);
            }
            "--journal" => {
                let file = File::create(&value).map_err(|why| why.to_string())?;
                self.journal = Some(journal(file));
            }
            _ => return Err(format!("{name}: unknown option")),
        }
        Ok(())
    }
}
