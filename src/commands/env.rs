//! Owns: `svs-bot env OLD`: the new settings file for an old Python or Go one.
//! May not: decide what a setting means (`config`), print a secret anywhere but into the new file.

use super::{EXIT_OK, Failure, Outcome};
use crate::cli;
use crate::config::dotenv::{self, Lines};
use crate::config::names::{self, PYTHON_KEYS, REDIS_PARTS, SETTINGS, Setting, UNGROUPED};
use crate::config::private::{Existing, write_private};
use crate::config::source::{self, FILE_BYTES_MAX, Given};
use crate::config::{Environment, problems_of, value};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

/// Prints the new file, or writes it with `--out`, mode 0600, where there is none yet.
pub fn run(
    args: &cli::Env,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Outcome {
    let bytes = source::read_bounded(Path::new(&args.old), FILE_BYTES_MAX).map_err(|error| {
        let why = source::plain_error(&error);
        Failure::failed(format!("{}: cannot read it: {why}: give the old settings file", args.old))
    })?;
    let New { text, values, notes } = convert(&dotenv::parse(&bytes));
    let told =
        |error: io::Error| Failure::failed(format!("writing: {}", source::plain_error(&error)));
    for note in notes {
        writeln!(err, "{}: {note}", args.old).map_err(told)?;
    }
    for problem in problems_of(&values, environment) {
        writeln!(err, "to mend in the new file: {problem}").map_err(told)?;
    }
    let Some(path) = &args.out else {
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(told)?;
        return Ok(EXIT_OK);
    };
    write_private(Path::new(path), &text, Existing::Keep).map_err(|error| {
        let todo = if error.kind() == io::ErrorKind::AlreadyExists {
            "it is left as it was: name another file, or move it away"
        } else {
            "nothing was written"
        };
        Failure::failed(format!("{path}: {}: {todo}", source::plain_error(&error)))
    })?;
    writeln!(err, "{path}: written, readable by its owner alone").map_err(told)?;
    Ok(EXIT_OK)
}

/// The new file.
struct New {
    text: String,
    values: BTreeMap<String, String>,
    /// What was not carried over, without any value.
    notes: Vec<String>,
}

fn convert(old: &Lines) -> New {
    let mut notes: Vec<String> =
        old.bad.iter().map(|(number, why)| format!("line {number}: left out: {why}")).collect();
    for name in &old.repeated {
        notes.push(format!("{name}: given more than once: the last line was taken"));
    }
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut used = BTreeSet::new();
    for setting in SETTINGS {
        if setting.name == "REDIS_URL" || REDIS_PARTS.contains(&setting.name) {
            continue;
        }
        let all: Vec<Given<'_>> = source::given(&old.values, setting).collect();
        used.extend(all.iter().map(old_name));
        if setting.name == UNGROUPED {
            lines.extend(python_keys(&all));
        } else if let Some((first, rest)) = all.split_first() {
            let name =
                if first.in_file { source::file_form(setting.name) } else { setting.name.into() };
            lines.push((name, first.text.to_owned()));
            notes.extend(rest.iter().filter(|given| given.text != first.text).map(|given| {
                format!("{}: left out: {} comes first", old_name(given), old_name(first))
            }));
        }
        notes.extend(both_forms(setting, &all, &old.values));
    }
    notes.extend(left_out(&old.values, &used));
    let mut text =
        String::from("# Settings of svs-bot; every name is explained in svs-bot.env.example.\n");
    for (name, value) in &lines {
        text.push_str(&dotenv::line(name, value));
    }
    New { text, values: lines.into_iter().collect(), notes }
}

fn old_name(given: &Given<'_>) -> String {
    if given.in_file { source::file_form(given.name) } else { given.name.to_owned() }
}

/// The keys of the Python version under `GEMINI_API_KEY`, `…_2` and so on, which mean the same;
/// under their old names where they are too many for that, or stand in files.
fn python_keys(all: &[Given<'_>]) -> Vec<(String, String)> {
    let mut keys: Vec<&str> = Vec::new();
    for key in all.iter().flat_map(|given| value::list(value::unquoted(given.text))) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let new_names = PYTHON_KEYS.into_iter().filter(|name| name.starts_with(UNGROUPED));
    if keys.len() > new_names.clone().count() || all.iter().any(|given| given.in_file) {
        return all.iter().map(|given| (old_name(given), given.text.to_owned())).collect();
    }
    new_names.zip(keys).map(|(name, key)| (name.to_owned(), key.to_owned())).collect()
}

fn both_forms(
    setting: &Setting,
    all: &[Given<'_>],
    values: &BTreeMap<String, String>,
) -> Vec<String> {
    let is_double = |given: &&Given<'_>| {
        let file_form = source::file_form(given.name);
        !given.in_file && values.get(&file_form).is_some_and(|path| !path.trim().is_empty())
    };
    all.iter()
        .filter(is_double)
        .map(|given| format!("{}_FILE: left out: {} is set itself", given.name, setting.name))
        .collect()
}

/// Names with a value that have no place in the new file.
fn left_out(values: &BTreeMap<String, String>, used: &BTreeSet<String>) -> Vec<String> {
    let is_redis = |name: &str| name == "REDIS_URL" || REDIS_PARTS.contains(&name);
    let why = |name: &str| {
        if is_redis(name.strip_suffix("_FILE").unwrap_or(name)) {
            return Some("sessions are kept in SQLite now, redis is not needed".to_owned());
        }
        (!names::is_known(name)).then(|| names::unknown(name))
    };
    values
        .iter()
        .filter(|(name, value)| !used.contains(*name) && !value.trim().is_empty())
        .filter_map(|(name, _)| Some(format!("{name}: left out: {}", why(name)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(old: &str, wanted: &str, wanted_notes: &[&str]) {
        let new = convert(&dotenv::parse(old.as_bytes()));
        let (_, body) = new.text.split_once('\n').unwrap();
        assert_eq!(body, wanted, "{old}");
        assert_eq!(new.notes.len(), wanted_notes.len(), "{:?}", new.notes);
        for (note, wanted) in new.notes.iter().zip(wanted_notes) {
            assert!(note.contains(wanted), "{note}");
            assert!(!note.contains("hunter2"), "{note}");
        }
        let again = convert(&dotenv::parse(new.text.as_bytes()));
        assert_eq!(again.text, new.text, "a new file stays as it is");
    }

    #[test]
    fn a_python_file_gets_the_new_names() {
        check(
            "TELEGRAM_BOT_SVSKILO_TOKEN=1:hunter2\nTELEGRAM_BOT_SVSKILO_NAME=b\n\
             GEMINI_KEY_BACKUP=k3\nGEMINI_API_KEY=k2\nSVSKILO_BOT_GEMINI_PRIMARY=k1\n\
             GEMINI_API_KEY_2=k1\nNEXT_PUBLIC_SUPABASE_URL=https://x\n\
             SUPABASE_SERVICE_ROLE_KEY=s\nLOG_LEVEL=WARNING\nREDIS_HOST=localhost\n\
             REDIS_PASSWORD=hunter2\nDATABASE=hunter2\n",
            "TELEGRAM_BOT_TOKEN=1:hunter2\nTELEGRAM_BOT_NAME=b\nGEMINI_API_KEY=k1\n\
             GEMINI_API_KEY_2=k2\nGEMINI_API_KEY_3=k3\nSUPABASE_URL=https://x\nSUPABASE_KEY=s\n\
             LOG_LEVEL=WARNING\n",
            &["DATABASE: left out: nothing", "REDIS_HOST: left out", "REDIS_PASSWORD: left out"],
        );
    }

    #[test]
    fn a_go_file_keeps_its_groups() {
        check(
            "export GROUP_B_KEYS=\"k3, k4@p\"\r\nGROUP_A_KEYS=k1,k2\r\nROUTER_KEY_A=r\r\n\
             TELEGRAM_BOT_TOKEN='1:x'\r\nREDIS_URL=redis://:hunter2@h\r\n",
            "TELEGRAM_BOT_TOKEN=1:x\nGROUP_A_KEYS=k1,k2\nGROUP_B_KEYS=\"k3, k4@p\"\nROUTER_KEY_A=r\n",
            &["REDIS_URL: left out"],
        );
    }

    #[test]
    fn what_loses_or_cannot_be_read_is_told() {
        check(
            "SUPABASE_KEY=hunter2\nSUPABASE_SERVICE_ROLE_KEY=s\nSUPABASE_ANON_KEY=s\nhunter2\n\
             TELEGRAM_BOT_SVSKILO_TOKEN_FILE=/run/t\nWORKERS=1\nWORKERS=2\nSTREAM=\n\
             LOG_FILE=/l\nLOG_FILE_FILE=/hunter2\n",
            "TELEGRAM_BOT_TOKEN_FILE=/run/t\nWORKERS=2\nSUPABASE_KEY=s\nLOG_FILE=/l\n",
            &[
                "line 4: left out: not KEY=value",
                "WORKERS: given more than once",
                "SUPABASE_KEY: left out: SUPABASE_SERVICE_ROLE_KEY comes first",
                "LOG_FILE_FILE: left out",
            ],
        );
    }

    #[test]
    fn more_python_keys_than_new_names_keep_their_old_ones() {
        let old: String =
            PYTHON_KEYS.iter().enumerate().map(|(n, name)| format!("{name}=k{n}\n")).collect();
        check(&old, &old, &[]);
        check(
            "GEMINI_API_KEY_FILE=/k\nGEMINI_API_KEY_3=x\n",
            "GEMINI_API_KEY_FILE=/k\nGEMINI_API_KEY_3=x\n",
            &[],
        );
    }

    #[test]
    fn the_new_file_is_printed_or_written_and_never_over_another() {
        let folder = std::env::temp_dir().join(format!("svs-env-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let old = folder.join("old").to_str().unwrap().to_owned();
        let new = folder.join("new").to_str().unwrap().to_owned();
        std::fs::write(&old, "TELEGRAM_BOT_SVSKILO_TOKEN=1:hunter2\nWORKERS=0\n").unwrap();
        let print = |out_file: Option<&String>| {
            let args = cli::Env {
                env_file: None,
                data_dir: None,
                old: old.clone(),
                out: out_file.cloned(),
            };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let outcome = run(&args, &Environment::default(), &mut out, &mut err);
            (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        };
        let (outcome, out, err) = print(None);
        assert_eq!(outcome, Ok(EXIT_OK));
        assert!(out.contains("TELEGRAM_BOT_TOKEN=1:hunter2\n"), "{out}");
        assert!(err.contains("to mend in the new file: WORKERS"), "{err}");
        assert!(err.contains("no Gemini key") && !err.contains("hunter2"), "{err}");
        let (outcome, out_again, _) = print(Some(&new));
        assert_eq!((outcome, out_again.as_str()), (Ok(EXIT_OK), ""));
        assert_eq!(std::fs::read_to_string(&new).unwrap(), out);
        let (outcome, _, _) = print(Some(&new));
        assert!(outcome.unwrap_err().text.contains("left as it was"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
