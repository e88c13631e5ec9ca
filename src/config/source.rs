//! Owns: the one door to the environment and to every file that holds settings (contract §1).
//! May not: know what a value means.
//! Invariant: a setting is decided by one source, the earliest that has any of its names; and no
//! value ever stands in an error or a warning.
//!
//! An empty value means "not set, take the default". Within a source the next alias is looked at;
//! a source that has only empty values still decides, so `SUPABASE_URL= svs-bot run` switches off
//! what the file sets. Where that hides a value, a warning says so.

use super::Problem;
use super::dotenv;
use super::names::{self, SETTINGS, Setting, UNGROUPED};
use super::parse::shown_path;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest settings file that is read.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The largest `X_FILE`, credential or zone file that is read.
pub const VALUE_BYTES_MAX: u64 = 256 * 1024;
/// How many entries of the credentials directory are looked at.
const CREDENTIALS_MAX: usize = 1_000;

/// The world outside as an argument: what the settings, the data directory and zones come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The process environment.
    pub vars: BTreeMap<String, String>,
    /// The folder in which `.env` is looked for.
    pub folder: PathBuf,
    /// The settings file of the machine.
    pub system_file: PathBuf,
    /// Folders of zoneinfo, the first that has a zone wins.
    pub zoneinfo: Vec<PathBuf>,
    /// The zone of the machine.
    pub localtime: PathBuf,
    /// The effective user, where the system tells.
    pub uid: Option<u32>,
}

impl fmt::Debug for Environment {
    /// Without the variables: any of them may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Environment {
    /// The real one. Values that are not UTF-8 come with replacement characters, which no setting
    /// but a prompt, a keyword or a path takes.
    #[expect(clippy::disallowed_methods, reason = "the one door to the environment")]
    pub fn real() -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self {
            vars: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            folder: PathBuf::from("."),
            system_file: PathBuf::from("/etc/svs-bot/env"),
            zoneinfo: vec![
                PathBuf::from("/usr/share/zoneinfo"),
                PathBuf::from("/usr/lib/zoneinfo"),
                PathBuf::from("/etc/zoneinfo"),
            ],
            localtime: PathBuf::from("/etc/localtime"),
            // The kernel gives a process's own entry to its effective user.
            uid: std::fs::metadata("/proc/self").ok().map(|entry| entry.uid()),
        }
    }

    /// A variable, unless it is empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// The bytes of a zoneinfo file; names that could leave the folder are refused.
    pub(super) fn zone_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let is_part = |part: &str| {
            part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
                && !part.is_empty()
        };
        if name.len() > 64 || !name.split('/').all(is_part) {
            return None;
        }
        let read = |folder: &PathBuf| read_bounded(&folder.join(name), VALUE_BYTES_MAX).ok();
        self.zoneinfo.iter().find_map(read)
    }

    /// The bytes of the machine's own zone file.
    pub(super) fn localtime_bytes(&self) -> Option<Vec<u8>> {
        read_bounded(&self.localtime, VALUE_BYTES_MAX).ok()
    }
}

/// A value as some source gives it.
pub(super) struct Found {
    /// The name that the operator wrote: an alias, or the `_FILE` form.
    pub(super) name: String,
    /// The text, never empty.
    pub(super) value: String,
}

/// What the sources say about every setting, not yet understood.
#[derive(Default)]
pub(super) struct Raw {
    /// By [`Setting::name`]; more than one only for the keys of the Python version.
    pub(super) found: BTreeMap<&'static str, Vec<Found>>,
    /// Settings that were given but could not be read.
    pub(super) unread: BTreeSet<&'static str>,
    /// What must be mended.
    pub(super) problems: Vec<Problem>,
    /// What the operator may want to know.
    pub(super) warnings: Vec<String>,
    /// The settings file that was read.
    pub(super) env_file: Option<PathBuf>,
    /// Whether that file, named by the operator, could not be read at all.
    pub(super) file_missing: bool,
}

impl Raw {
    /// The only or first value of a setting.
    pub(super) fn get(&self, setting: &str) -> Option<&Found> {
        self.found.get(setting)?.first()
    }
}

/// Asks the three sources about every setting.
pub(super) fn read(cli_env_file: Option<&str>, environment: &Environment) -> Raw {
    let mut raw = Raw::default();
    let credentials = read_credentials(environment, &mut raw);
    let file = read_file(cli_env_file, environment, &mut raw);
    let file_label = raw.env_file.as_ref().map_or(String::new(), |path| path.display().to_string());
    let sources = [
        Source { label: "the environment", values: &environment.vars },
        Source { label: "$CREDENTIALS_DIRECTORY", values: &credentials },
        Source { label: &file_label, values: &file },
    ];
    resolve(&sources, &mut raw);
    raw
}

/// What one already read settings file alone says; for `svs-bot env` and tests.
pub(super) fn read_values(label: &str, values: &BTreeMap<String, String>) -> Raw {
    let mut raw = Raw::default();
    resolve(&[Source { label, values }], &mut raw);
    raw
}

/// The values of a dialogue before those of the environment and the credentials.
pub(super) fn read_draft(values: &BTreeMap<String, String>, environment: &Environment) -> Raw {
    let mut raw = Raw::default();
    let credentials = read_credentials(environment, &mut raw);
    let sources = [
        Source { label: "the dialogue", values },
        Source { label: "the environment", values: &environment.vars },
        Source { label: "$CREDENTIALS_DIRECTORY", values: &credentials },
    ];
    resolve(&sources, &mut raw);
    raw
}

/// The whole of a file that must not be larger than `bytes_max`.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    read_open(File::open(path)?, bytes_max)
}

fn read_open(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("larger than {bytes_max} bytes")))
    }
}

struct Source<'a> {
    label: &'a str,
    values: &'a BTreeMap<String, String>,
}

impl Source<'_> {
    fn has(&self, setting: &Setting) -> bool {
        setting.names.iter().any(|name| {
            self.values.contains_key(*name) || self.values.contains_key(&file_form(name))
        })
    }
}

/// A value that stands in a source, or in a file that the source names.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Which of the setting's names.
    pub name: &'static str,
    /// Whether `text` is the path of `NAME_FILE`.
    pub in_file: bool,
    /// The text, never empty.
    pub text: &'a str,
}

/// What one source gives under the names of a setting, the first to count first.
pub fn given<'a>(
    values: &'a BTreeMap<String, String>,
    setting: &Setting,
) -> impl Iterator<Item = Given<'a>> {
    setting.names.iter().filter_map(|name| {
        let inline = non_empty(values, name).map(|text| Given { name, in_file: false, text });
        let in_file =
            || non_empty(values, &file_form(name)).map(|text| Given { name, in_file: true, text });
        inline.or_else(in_file)
    })
}

fn non_empty<'a>(values: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    values.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
}

/// `X_FILE`
pub fn file_form(name: &str) -> String {
    format!("{name}_FILE")
}

fn resolve(sources: &[Source<'_>], raw: &mut Raw) {
    for setting in SETTINGS {
        for source in sources {
            refuse_both_forms(source, setting, raw);
        }
        let mut deciding = sources.iter().skip_while(|source| !source.has(setting));
        let Some(source) = deciding.next() else { continue };
        take(source, setting, raw);
        if raw.found.contains_key(setting.name) || raw.unread.contains(setting.name) {
            continue;
        }
        let is_given = |later: &&Source<'_>| given(later.values, setting).next().is_some();
        if let Some(hidden) = deciding.find(is_given) {
            raw.warnings.push(format!(
                "{}: empty in {}: this hides the value in {}",
                setting.name, source.label, hidden.label
            ));
        }
    }
}

fn refuse_both_forms(source: &Source<'_>, setting: &Setting, raw: &mut Raw) {
    for name in setting.names {
        let file_name = file_form(name);
        let is_there = |name| non_empty(source.values, name).is_some();
        if is_there(name) && is_there(&file_name) {
            let text = format!("given in {} beside {file_name}: keep one of the two", source.label);
            raw.problems.push(Problem::new(*name, text));
        }
    }
}

/// Takes the first non-empty value, for the Python keys all of them.
fn take(source: &Source<'_>, setting: &Setting, raw: &mut Raw) {
    for Given { name, in_file, text } in given(source.values, setting) {
        let found = if in_file {
            match read_value_file(Path::new(text.trim())) {
                Ok(value) if value.trim().is_empty() => continue,
                Ok(value) => Found { name: file_form(name), value },
                Err(why) => {
                    raw.unread.insert(setting.name);
                    let text = format!("cannot read {}: {why}", shown_path(text.trim()));
                    raw.problems.push(Problem::new(file_form(name), text));
                    continue;
                }
            }
        } else {
            Found { name: name.to_owned(), value: text.to_owned() }
        };
        raw.found.entry(setting.name).or_default().push(found);
        if setting.name != UNGROUPED {
            return;
        }
    }
}

/// A value from a file of its own: a byte order mark and one trailing newline are not part of it.
fn read_value_file(path: &Path) -> Result<String, String> {
    let bytes = read_bounded(path, VALUE_BYTES_MAX).map_err(|error| plain_error(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// What went wrong, in lower case and without the system's number.
pub fn plain_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::AlreadyExists => "it exists".to_owned(),
        _ => {
            let text = error.to_string().to_lowercase();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

fn read_credentials(environment: &Environment, raw: &mut Raw) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let Some(folder) = environment.var("CREDENTIALS_DIRECTORY") else { return values };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let why = plain_error(&error);
            raw.problems.push(Problem::new(
                "CREDENTIALS_DIRECTORY",
                format!("cannot read {}: {why}", shown_path(folder)),
            ));
            return values;
        }
    };
    for entry in entries.take(CREDENTIALS_MAX).flatten() {
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        let name = file_name.to_ascii_uppercase();
        // Other services' credentials may lie beside ours; only the lower-case names are ours.
        if !names::is_known(&name) || file_name != name.to_ascii_lowercase() {
            continue;
        }
        match read_value_file(&entry.path()) {
            Ok(value) => {
                values.insert(name, value);
            }
            Err(why) => {
                let text = format!("cannot read the credential: {why}");
                raw.problems.push(Problem::new(name, text));
            }
        }
    }
    values
}

fn read_file(
    cli: Option<&str>,
    environment: &Environment,
    raw: &mut Raw,
) -> BTreeMap<String, String> {
    let Some((path, bytes)) = find_file(cli, environment, raw) else { return BTreeMap::new() };
    let lines = dotenv::parse(&bytes);
    let label = path.display();
    for (number, why) in &lines.bad {
        let place = format!("{label} line {number}");
        raw.problems.push(Problem::new(place, format!("{why}: takes KEY=value, or a # comment")));
    }
    for name in &lines.repeated {
        raw.warnings.push(format!("{label}: {name} is given more than once: the last line counts"));
    }
    for name in lines.values.keys().filter(|name| !names::is_known(name)) {
        raw.warnings.push(format!("{label}: {name}: {}", names::unknown(name)));
    }
    raw.env_file = Some(path);
    lines.values
}

/// The settings file: a named one must be there; `./.env` must be trustworthy; the machine's may be.
fn find_file(
    cli: Option<&str>,
    environment: &Environment,
    raw: &mut Raw,
) -> Option<(PathBuf, Vec<u8>)> {
    let by_variable = || environment.var("SVS_BOT_ENV_FILE").map(|path| ("SVS_BOT_ENV_FILE", path));
    if let Some((name, path)) = cli.map(|path| ("--env-file", path)).or_else(by_variable) {
        match read_bounded(Path::new(path), FILE_BYTES_MAX) {
            Ok(bytes) => return Some((PathBuf::from(path), bytes)),
            Err(error) => {
                raw.file_missing = true;
                let text = format!("cannot read {}: {}", shown_path(path), plain_error(&error));
                raw.problems.push(Problem::new(name, text));
                return None;
            }
        }
    }
    let near = environment.folder.join(".env");
    if near.symlink_metadata().is_ok() {
        match read_trusted(&near, environment) {
            Ok(bytes) => return Some((near, bytes)),
            Err(why) => raw.warnings.push(format!(
                "{}: ignored: {why}: mend that, or name the file with --env-file",
                near.display()
            )),
        }
    }
    match read_bounded(&environment.system_file, FILE_BYTES_MAX) {
        Ok(bytes) => return Some((environment.system_file.clone(), bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => raw.warnings.push(format!(
            "{}: ignored: {}",
            environment.system_file.display(),
            plain_error(&error)
        )),
    }
    None
}

/// A file of the folder we happen to be in counts only when nobody else can have written it.
fn read_trusted(path: &Path, environment: &Environment) -> Result<Vec<u8>, String> {
    let told = |error: io::Error| plain_error(&error);
    let is_ours = |entry: &Metadata| entry.uid() == 0 || Some(entry.uid()) == environment.uid;
    let is_closed = |entry: &Metadata| entry.mode() & 0o022 == 0;
    let real = path.canonicalize().map_err(told)?;
    if !real.metadata().map_err(told)?.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    for folder in [path.parent(), real.parent()].into_iter().flatten() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let entry = folder.metadata().map_err(told)?;
        if !is_ours(&entry) {
            return Err("its folder belongs to somebody else".to_owned());
        }
        if !is_closed(&entry) {
            return Err("others may write in its folder (chmod go-w)".to_owned());
        }
    }
    // What is checked is what is read: the open file, not its name.
    let file = File::open(&real).map_err(told)?;
    let entry = file.metadata().map_err(told)?;
    if !is_ours(&entry) {
        return Err("it belongs to somebody else".to_owned());
    }
    if !is_closed(&entry) {
        return Err("others may write it (chmod go-w)".to_owned());
    }
    read_open(file, FILE_BYTES_MAX).map_err(told)
}
