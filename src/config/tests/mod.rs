//! Tables for the whole way from sources to `Config`; what both halves of them share.

mod example;
mod sources;
mod values;

use super::source::Environment;
use super::{KeySetting, Loaded, Problem, load};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

type Vars<'a> = &'a [(&'a str, &'a str)];

const TOKEN: &str = "123456:AAtoken-of-the-test";
const KEY: &str = "key-a-1";

/// A folder of one test, gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("svs-config-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
    fn environment(&self, vars: &[(&str, &str)]) -> Environment {
        Environment {
            vars: vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            folder: self.0.clone(),
            system_file: self.0.join("etc-env"),
            uid: Some(fs::metadata(&self.0).unwrap().uid()),
            ..Environment::default()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The settings of these variables beside a token, a key and a home.
fn of(vars: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let all = [("TELEGRAM_BOT_TOKEN", TOKEN), ("GROUP_A_KEYS", KEY), ("HOME", "/home/x")];
    let vars = all.iter().chain(vars).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    load(None, None, &Environment { vars, ..nowhere() })
}

/// An environment without any file.
fn nowhere() -> Environment {
    let none = PathBuf::from("/nowhere");
    Environment { folder: none.clone(), system_file: none, ..Environment::default() }
}

fn good(vars: &[(&str, &str)]) -> Loaded {
    of(vars).unwrap_or_else(|problems| panic!("{vars:?}: {problems:?}"))
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn shown_keys(keys: &[KeySetting]) -> String {
    let one = |key: &KeySetting| {
        let project = key.project.as_deref().map(|p| format!("@{p}")).unwrap_or_default();
        format!("{}:{}{project}", key.group.label(), key.secret.expose())
    };
    keys.iter().map(one).collect::<Vec<_>>().join(" ")
}
