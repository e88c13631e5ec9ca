//! Owns: from the command line and the environment to a `Config` and a data directory.
//! May not: make the directory, open what is in it.

use super::Config;
use super::parse;
use super::source::{self, Environment, Raw};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that must be mended before the program can run (exit 2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The setting as the operator wrote it, or the place in the file.
    pub name: String,
    /// What it got and what it takes; never a secret.
    pub text: String,
}

impl Problem {
    pub(super) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}

/// Everything that the settings say.
#[derive(Debug)]
pub struct Loaded {
    /// The checked settings.
    pub config: Config,
    /// Where the database lies; it may not exist yet.
    pub data_dir: PathBuf,
    /// The settings file that was read, if any.
    pub env_file: Option<PathBuf>,
    /// What the operator may want to know. Not for cron's `sync`, which is silent (contract §3).
    pub warnings: Vec<String>,
}

/// Where the data is, without asking whether the settings are sound.
#[derive(Debug, PartialEq, Eq)]
pub struct DataDir {
    /// Where the database lies; it may not exist yet.
    pub path: PathBuf,
    /// The settings file that was read, if any.
    pub env_file: Option<PathBuf>,
    /// What the operator may want to know.
    pub warnings: Vec<String>,
}

/// Reads and checks every setting. All problems come at once; after them, for they may explain
/// one, the warnings.
pub fn load(
    cli_env_file: Option<&str>,
    cli_data_dir: Option<&str>,
    environment: &Environment,
) -> Result<Loaded, Vec<Problem>> {
    let mut raw = source::read(cli_env_file, environment);
    if raw.file_missing {
        // What it would have set is not known to be missing.
        return Err(raw.problems);
    }
    let (config, found, more_warnings) = parse::parse(&raw, environment);
    let mut problems = std::mem::take(&mut raw.problems);
    let mut warnings = std::mem::take(&mut raw.warnings);
    problems.extend(found);
    warnings.extend(more_warnings);
    match (problems.is_empty(), data_dir_of(&raw, cli_data_dir, environment)) {
        (true, Ok(data_dir)) => Ok(Loaded { config, data_dir, env_file: raw.env_file, warnings }),
        (_, data_dir) => {
            problems.extend(data_dir.err());
            problems.extend(warnings.into_iter().map(|text| Problem::new("warning", text)));
            Err(problems)
        }
    }
}

/// Only the data directory, for commands that need no valid settings (`backup`, `export`,
/// `status`): a missing token or a bad line does not matter, a settings file that was named and
/// cannot be read does, since it may name another directory.
pub fn data_dir(
    cli_env_file: Option<&str>,
    cli_data_dir: Option<&str>,
    environment: &Environment,
) -> Result<DataDir, Vec<Problem>> {
    let raw = source::read(cli_env_file, environment);
    if cli_data_dir.is_none() && (raw.file_missing || raw.unread.contains("DATA_DIR")) {
        return Err(raw.problems);
    }
    match data_dir_of(&raw, cli_data_dir, environment) {
        Ok(path) => Ok(DataDir { path, env_file: raw.env_file, warnings: raw.warnings }),
        Err(problem) => Err(vec![problem]),
    }
}

/// The order of contract §1.
fn data_dir_of(
    raw: &Raw,
    cli: Option<&str>,
    environment: &Environment,
) -> Result<PathBuf, Problem> {
    let given = cli.or_else(|| raw.get("DATA_DIR").map(|found| found.value.trim()));
    if let Some(path) = given.filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    // systemd joins several directories of one unit by colons; the first is the one it names first.
    let state = environment.var("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    if let Some(path) = state.filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    // The XDG rules: a path that is not absolute is to be ignored.
    let xdg = environment.var("XDG_DATA_HOME").map(Path::new).filter(|path| path.is_absolute());
    if let Some(path) = xdg {
        return Ok(path.join("svs-bot"));
    }
    match environment.var("HOME") {
        Some(home) => Ok(Path::new(home).join(".local/share/svs-bot")),
        None => Err(Problem::new(
            "DATA_DIR",
            "not set, and there is no HOME to take the default from: takes a directory",
        )),
    }
}

/// What is wrong with the values of one settings file alone; for `svs-bot env` and `init`.
pub fn problems_of(values: &BTreeMap<String, String>, environment: &Environment) -> Vec<Problem> {
    let mut raw = source::read_values("the file", values);
    let (_, found, _) = parse::parse(&raw, environment);
    raw.problems.extend(found);
    raw.problems
}

/// The settings as they would be if these values came before every other source; for the checks of
/// `svs-bot init`, before there is a file.
pub fn draft(
    values: &BTreeMap<String, String>,
    environment: &Environment,
) -> (Config, Vec<Problem>) {
    let mut raw = source::read_draft(values, environment);
    let (config, found, _) = parse::parse(&raw, environment);
    raw.problems.extend(found);
    (config, raw.problems)
}

/// See [`Config::sample`].
pub(super) fn sample() -> Config {
    let values = [("TELEGRAM_BOT_TOKEN", "123456:sample-token"), ("GROUP_A_KEYS", "sample-key-1")];
    let values = BTreeMap::from(values.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let raw = source::read_values("the sample", &values);
    parse::parse(&raw, &Environment::default()).0
}
