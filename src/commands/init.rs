//! Owns: `svs-bot init`: the dialogue that ends in a settings file and, if wanted, an owner.
//! May not: open sockets (the checks are a trait), echo or print a secret, change a file unasked.
//! Invariant: the file is written once, whole, after the last answer; an end of input before that
//! leaves everything as it was.

mod talk;
#[cfg(test)]
mod tests;

pub use talk::Talk;

use super::{EXIT_OK, Failure, Outcome};
use crate::cli;
use crate::config::dotenv;
use crate::config::names::{SETTINGS, UNGROUPED};
use crate::config::private::{Existing, write_private};
use crate::config::source::{self, FILE_BYTES_MAX, file_form, plain_error};
use crate::config::{Config, Environment, Problem, data_dir, draft};
use crate::types::{Secret, UserId};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// So often one question is asked before we give up.
const TRIES_MAX: usize = 5;
/// So many keys are asked for; more belong into the file itself.
const KEYS_ASKED_MAX: usize = 100;
/// The two settings that Supabase needs.
const SUPABASE: [&str; 2] = ["SUPABASE_URL", "SUPABASE_KEY"];

/// What a check over the network found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It works; what to tell, like the bot's name. Never a secret.
    Good(String),
    /// The service says no; why.
    Refused(String),
    /// It could not be asked; why.
    Unknown(String),
}

/// The questions to the outside. `config` is a draft: everything given so far, the rest default.
pub trait Checks {
    /// getMe with `config.bot_token`.
    fn token(&mut self, config: &Config) -> Checked;
    /// The list of models, which spends no quota.
    fn key(&mut self, config: &Config, key: &Secret) -> Checked;
    /// A read of both tables with `config.supabase`.
    fn supabase(&mut self, config: &Config) -> Checked;
    /// Shows the pairing link on `out` (a terminal) and waits for who opens it; none when nobody
    /// did in time. What else is received is stored for the bot; beside a running daemon the
    /// polling is left to it.
    fn pair(&mut self, env_file: &Path, out: &mut dyn Write) -> Result<Option<UserId>, String>;
}

/// Asks, checks, writes, pairs.
pub fn run(
    args: &cli::Init,
    environment: &Environment,
    talk: &mut Talk<'_>,
    checks: &mut dyn Checks,
) -> Outcome {
    let path = place(args, environment);
    let old = read_old(&path)?;
    talk.say(&format!("settings file: {}\n", path.display()))?;
    if old.is_some() && !talk.yes("It exists. Change it (all else in it stays as it is)?")? {
        talk.say("nothing was changed\n")?;
        return Ok(EXIT_OK);
    }
    let old_text = old.as_deref().unwrap_or("# Settings of svs-bot, written by `svs-bot init`.\n");
    let mut answers =
        Answers { values: dotenv::parse(old_text.as_bytes()).values, new: Vec::new(), environment };
    answers.ask_token(talk, checks)?;
    answers.ask_keys(talk, checks)?;
    answers.ask_supabase(talk, checks)?;

    let (config, problems) = answers.draft();
    for problem in problems {
        talk.say(&format!("to mend in the file: {problem}\n"))?;
    }
    let text = merged(old_text, &answers.new);
    for (number, why) in dotenv::parse(text.as_bytes()).bad {
        talk.say(&format!("to mend in the file: line {number}: {why}\n"))?;
    }
    let existing = if old.is_some() { Existing::Replace } else { Existing::Keep };
    write_private(&path, &text, existing).map_err(|error| {
        let why = plain_error(&error);
        Failure::failed(format!("{}: {why}: nothing was written", path.display()))
    })?;
    talk.say(&format!("written: {} (mode 0600)\n", path.display()))?;
    hints(environment, &path, &answers, talk)?;
    if config.owner_ids.is_empty() {
        pair(&path, talk, checks)?;
    }
    talk.say("next: `svs-bot check`, then `svs-bot run`\n")?;
    Ok(EXIT_OK)
}

/// `--out`, else the file that was named, else the one that would be read, else `./.env`.
fn place(args: &cli::Init, environment: &Environment) -> PathBuf {
    let named = args.out.as_deref().or(args.env_file.as_deref());
    if let Some(path) = named.or_else(|| environment.var("SVS_BOT_ENV_FILE")) {
        return PathBuf::from(path);
    }
    would_be_read(environment).unwrap_or_else(|| environment.folder.join(".env"))
}

fn would_be_read(environment: &Environment) -> Option<PathBuf> {
    // The data directory does not matter here; naming one keeps its absence from being an error.
    data_dir(None, Some("."), environment).ok()?.env_file
}

fn read_old(path: &Path) -> Result<Option<String>, Failure> {
    let told = |why: String| {
        Failure::failed(format!("{}: {why}: name another file with --out", path.display()))
    };
    match source::read_bounded(path, FILE_BYTES_MAX) {
        Ok(bytes) => {
            String::from_utf8(bytes).map(Some).map_err(|_| told("not UTF-8 text".to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(told(plain_error(&error))),
    }
}

/// What stands in the way of the new file being what counts.
fn hints(
    environment: &Environment,
    path: &Path,
    answers: &Answers<'_>,
    talk: &mut Talk<'_>,
) -> Result<(), Failure> {
    // One file has many spellings: `.env`, `./.env`.
    let real = |path: &Path| path.canonicalize().ok();
    let is_read = would_be_read(environment).is_some_and(|read| real(&read) == real(path));
    if !is_read {
        talk.say(&format!("it is read where it is named: --env-file {}\n", path.display()))?;
    }
    for (name, _) in &answers.new {
        let hiding = names_of(name).into_iter().find(|name| environment.vars.contains_key(name));
        if let Some(hiding) = hiding {
            talk.say(&format!("careful: the environment sets {hiding}, which wins over {name}\n"))?;
        }
    }
    Ok(())
}

fn pair(path: &Path, talk: &mut Talk<'_>, checks: &mut dyn Checks) -> Result<(), Failure> {
    let later = "`svs-bot owner-link`, on a terminal, makes who opens its link the owner\n";
    if !talk.interactive {
        return talk.say(later);
    }
    match checks.pair(path, talk.out) {
        Ok(Some(owner)) => talk.say(&format!("owner: {owner}\n")),
        Ok(None) => talk.say(&format!("nobody opened the link: {later}")),
        Err(why) => talk.say(&format!("no owner yet: {why}: {later}")),
    }
}

/// All names of a setting, with their `_FILE` forms.
fn names_of(setting: &str) -> Vec<String> {
    let names = SETTINGS.iter().filter(|known| known.name == setting).flat_map(|known| known.names);
    names.flat_map(|name| [(*name).to_owned(), file_form(name)]).collect()
}

/// The old text without the lines of the settings that are new, then these; comments and all else
/// stay as they were.
fn merged(old: &str, new: &[(&'static str, String)]) -> String {
    let replaced: Vec<String> = new.iter().flat_map(|(setting, _)| names_of(setting)).collect();
    let is_replaced = |line: &str| {
        dotenv::parse(line.as_bytes()).values.keys().any(|name| replaced.contains(name))
    };
    let mut text = String::new();
    for line in old.lines().filter(|line| !is_replaced(line)) {
        text.push_str(line);
        text.push('\n');
    }
    // An empty answer took a setting away.
    for (setting, value) in new.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&dotenv::line(setting, value));
    }
    text
}

/// What is known so far.
struct Answers<'a> {
    /// The old file's values with the new ones among them.
    values: BTreeMap<String, String>,
    /// Settings to write, each once.
    new: Vec<(&'static str, String)>,
    environment: &'a Environment,
}

/// How the operator's answer was judged.
enum Judged {
    Taken,
    AskAgain,
}

impl Answers<'_> {
    fn draft(&self) -> (Config, Vec<Problem>) {
        draft(&self.values, self.environment)
    }

    /// What is wrong with these settings alone.
    fn problem_with(&self, settings: &[&str]) -> Option<Problem> {
        let names: Vec<String> = settings.iter().flat_map(|setting| names_of(setting)).collect();
        self.draft().1.into_iter().find(|problem| names.contains(&problem.name))
    }

    fn set(&mut self, setting: &'static str, value: String) {
        self.values.retain(|name, _| !names_of(setting).contains(name));
        self.new.retain(|(known, _)| *known != setting);
        self.values.insert(setting.to_owned(), value.clone());
        self.new.push((setting, value));
    }

    fn ask_token(&mut self, talk: &mut Talk<'_>, checks: &mut dyn Checks) -> Result<(), Failure> {
        let present = !self.draft().0.bot_token.is_empty();
        let keep = if present { ", Enter keeps the present one" } else { "" };
        for _ in 0..TRIES_MAX {
            let answer = talk.secret(&format!("Bot token from @BotFather{keep}: "))?;
            if answer.is_empty() && present {
                return Ok(());
            }
            let before = self.values.clone();
            self.set("TELEGRAM_BOT_TOKEN", answer);
            if let Some(problem) = self.problem_with(&["TELEGRAM_BOT_TOKEN"]) {
                talk.say(&format!("{problem}\n"))?;
            } else if let Judged::Taken = talk.judge("token", checks.token(&self.draft().0))? {
                return Ok(());
            }
            self.values = before;
        }
        Err(given_up())
    }

    fn ask_keys(&mut self, talk: &mut Talk<'_>, checks: &mut dyn Checks) -> Result<(), Failure> {
        let present = self.draft().0.keys.len();
        let mut keys: Vec<String> = Vec::new();
        let mut failures = 0;
        while failures < TRIES_MAX && keys.len() < KEYS_ASKED_MAX {
            let end = match (keys.len(), present) {
                (0, 0) => String::new(),
                (0, count) => format!(" (Enter keeps the {count} present)"),
                _ => " (Enter ends the list)".to_owned(),
            };
            let answer = talk.secret(&format!("Gemini key {}{end}: ", keys.len() + 1))?;
            if answer.is_empty() && (present > 0 || !keys.is_empty()) {
                break;
            }
            if self.take_keys(&answer, &mut keys, talk, checks)? == 0 {
                failures += 1;
            }
        }
        if keys.is_empty() {
            return if present > 0 && failures < TRIES_MAX { Ok(()) } else { Err(given_up()) };
        }
        // New keys join those that stand there already; a repeated one is dropped when it is read.
        let old = self.values.get("GROUP_A_KEYS").filter(|old| !old.trim().is_empty()).cloned();
        let all: Vec<String> = old.into_iter().chain(keys).collect();
        self.set("GROUP_A_KEYS", all.join(","));
        Ok(())
    }

    /// Checks the keys of one answer and adds the good ones; how many were.
    fn take_keys(
        &self,
        answer: &str,
        keys: &mut Vec<String>,
        talk: &mut Talk<'_>,
        checks: &mut dyn Checks,
    ) -> Result<usize, Failure> {
        let mut alone = self.values.clone();
        for name in ["GROUP_B_KEYS", "GROUP_C_KEYS", "GROUP_D_KEYS", "ROUTER_KEY_A", "ROUTER_KEY_B"]
        {
            alone.insert(name.to_owned(), String::new());
        }
        alone.retain(|name, _| !names_of(UNGROUPED).contains(name));
        alone.insert(UNGROUPED.to_owned(), String::new());
        alone.insert("GROUP_A_KEYS".to_owned(), answer.to_owned());
        let (config, problems) = draft(&alone, self.environment);
        for problem in problems.iter().filter(|problem| problem.name == "GROUP_A_KEYS") {
            talk.say(&format!("{problem}\n"))?;
        }
        let mut taken = 0;
        for key in &config.keys {
            let label = format!("key …{}", key.secret.last4());
            if let Judged::Taken = talk.judge(&label, checks.key(&config, &key.secret))? {
                let project = key.project.as_ref().map(|project| format!("@{project}"));
                keys.push(format!("{}{}", key.secret.expose(), project.unwrap_or_default()));
                taken += 1;
            }
        }
        Ok(taken)
    }

    fn ask_supabase(
        &mut self,
        talk: &mut Talk<'_>,
        checks: &mut dyn Checks,
    ) -> Result<(), Failure> {
        let present = self.draft().0.supabase.is_some();
        let none = if present { "Enter keeps the present one" } else { "Enter: none" };
        for _ in 0..TRIES_MAX {
            let url = talk.secret(&format!("Supabase URL ({none}): "))?;
            if url.is_empty() {
                return Ok(());
            }
            let key = talk.secret("Supabase key (sb_secret_… or service_role): ")?;
            let before = (self.values.clone(), self.new.clone());
            self.set("SUPABASE_URL", url);
            self.set("SUPABASE_KEY", key);
            if let Some(problem) = self.problem_with(&SUPABASE) {
                talk.say(&format!("{problem}\n"))?;
            } else if let Judged::Taken =
                talk.judge("Supabase", checks.supabase(&self.draft().0))?
            {
                return Ok(());
            }
            (self.values, self.new) = before;
        }
        Err(given_up())
    }
}

fn given_up() -> Failure {
    Failure::failed(format!("no good answer in {TRIES_MAX} tries: nothing was written"))
}
