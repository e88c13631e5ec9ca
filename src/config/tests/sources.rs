//! Tables: which source decides, and which files are read.

use super::*;
use crate::config::{Config, data_dir};

#[test]
fn the_earlier_source_decides_with_whatever_name_it_has() {
    let folder = Folder::new("precedence");
    let file = "TELEGRAM_BOT_TOKEN=3:file\nGROUP_A_KEYS=file\nWORKERS=3\nSUPABASE_URL=https://f\n\
                SUPABASE_KEY=f\nGEMINI_API_KEY=file-python\n";
    folder.write(".env", file);
    fs::create_dir(folder.0.join("cred")).unwrap();
    let credentials = folder.0.join("cred").to_str().unwrap().to_owned();
    folder.write("cred/telegram_bot_svskilo_token", "2:cred\n");
    folder.write("cred/supabase_anon_key", "c");
    folder.write("cred/other_service", "junk");
    folder.write("cred/WORKERS", "99");
    let with_credentials = ("CREDENTIALS_DIRECTORY", credentials.as_str());
    let home = ("HOME", "/h");
    let check = |vars: &[(&str, &str)], wanted: &str| {
        let loaded = load(None, None, &folder.environment(vars)).unwrap();
        let config = loaded.config;
        let supabase = config.supabase.as_ref().map_or("-", |s| s.key.expose());
        let found = format!(
            "{} {} {} {supabase}",
            config.bot_token.expose(),
            config.workers,
            shown_keys(&config.keys)
        );
        assert_eq!(found, wanted, "{vars:?}");
        assert_eq!(loaded.env_file, Some(folder.0.join(".env")));
    };
    check(&[home], "3:file 3 A:file -:file-python f");
    check(&[home, with_credentials], "2:cred 3 A:file -:file-python c");
    check(
        &[home, with_credentials, ("TELEGRAM_BOT_SVSKILO_TOKEN", "1:env"), ("WORKERS", "1")],
        "1:env 1 A:file -:file-python c",
    );
    check(
        &[home, ("TELEGRAM_BOT_SVSKILO_TOKEN", "1:old"), ("TELEGRAM_BOT_TOKEN", "1:new")],
        "1:new 3 A:file -:file-python f",
    );
    check(
        &[home, ("TELEGRAM_BOT_SVSKILO_TOKEN", "1:old"), ("TELEGRAM_BOT_TOKEN", " ")],
        "1:old 3 A:file -:file-python f",
    );
    check(
        &[home, ("GEMINI_KEY_BACKUP", "env-python"), ("NEXT_PUBLIC_SUPABASE_ANON_KEY", "e")],
        "3:file 3 A:file -:env-python e",
    );
    check(&[home, ("SUPABASE_URL", ""), ("SUPABASE_KEY", "")], "3:file 3 A:file -:file-python -");
}

#[test]
fn supabase_keys_are_taken_in_the_old_order() {
    let names = [
        "SUPABASE_SERVICE_ROLE_KEY",
        "SUPABASE_KEY",
        "SUPABASE_ANON_KEY",
        "NEXT_PUBLIC_SUPABASE_ANON_KEY",
    ];
    for first in 0..names.len() {
        let mut vars = vec![("SUPABASE_URL", "https://x")];
        vars.extend(names[first..].iter().map(|name| (*name, *name)));
        let config = good(&vars).config;
        assert_eq!(config.supabase.unwrap().key.expose(), names[first]);
    }
}

#[test]
fn an_empty_value_that_hides_another_is_a_warning() {
    let folder = Folder::new("hiding");
    folder.write(".env", "TELEGRAM_BOT_SVSKILO_TOKEN=1:x\nGROUP_A_KEYS=k\nWORKERS=3\n");
    let vars = [("TELEGRAM_BOT_TOKEN", ""), ("WORKERS", ""), ("HOME", "/h")];
    let text = told(&load(None, None, &folder.environment(&vars)).unwrap_err());
    assert!(text.contains("TELEGRAM_BOT_TOKEN: not set"), "{text}");
    assert!(text.contains("TELEGRAM_BOT_TOKEN: empty in the environment"), "{text}");
    let loaded = load(None, None, &folder.environment(&vars[1..])).unwrap();
    assert_eq!((loaded.config.workers, loaded.warnings.len()), (16, 1));
}

#[test]
fn a_setting_may_stand_in_a_file_of_its_own() {
    let folder = Folder::new("x-file");
    let token = folder.write("token", "\u{feff}1:from-file\r\n");
    let prompt = folder.write("prompt", "line one\nline two\n\n");
    let empty = folder.write("empty", "\n");
    let vars = [
        ("TELEGRAM_BOT_SVSKILO_TOKEN_FILE", token.as_str()),
        ("SYSTEM_PROMPT_FILE", prompt.as_str()),
        ("SUPABASE_SERVICE_ROLE_KEY_FILE", empty.as_str()),
        ("SUPABASE_KEY", "k"),
        ("SUPABASE_URL", "https://x"),
        ("LOG_FILE", "/var/log/x"),
        ("GROUP_A_KEYS", "k"),
        ("HOME", "/h"),
    ];
    let config = load(None, None, &folder.environment(&vars)).unwrap().config;
    assert_eq!(config.bot_token.expose(), "1:from-file");
    assert_eq!(config.system_prompt.as_deref(), Some("line one\nline two\n"));
    assert_eq!(config.supabase.unwrap().key.expose(), "k");
    assert_eq!(config.log_file, Some(PathBuf::from("/var/log/x")));
}

#[test]
fn a_file_of_its_own_that_cannot_be_read_or_is_one_too_many_is_a_problem() {
    let folder = Folder::new("x-file-bad");
    let token = folder.write("token", "1:hunter2");
    let binary = folder.0.join("binary");
    fs::write(&binary, b"\xff\xfe").unwrap();
    let base = [("GROUP_A_KEYS", "k"), ("HOME", "/h")];
    let cases = [
        (vec![("TELEGRAM_BOT_TOKEN_FILE", "/nowhere/x")], "/nowhere/x: no such file"),
        (vec![("TELEGRAM_BOT_TOKEN_FILE", "/")], "/: it is a directory"),
        (vec![("TELEGRAM_BOT_TOKEN_FILE", binary.to_str().unwrap())], "not UTF-8"),
        (vec![("TELEGRAM_BOT_TOKEN_FILE", "1:hunter2")], "the file it names: no such file"),
        (
            vec![("TELEGRAM_BOT_TOKEN", "1:hunter2"), ("TELEGRAM_BOT_TOKEN_FILE", &token)],
            "beside TELEGRAM_BOT_TOKEN_FILE: keep one",
        ),
    ];
    for (vars, why) in cases {
        let vars: Vec<_> = base.iter().copied().chain(vars).collect();
        let problems = load(None, None, &folder.environment(&vars)).unwrap_err();
        let text = told(&problems);
        assert_eq!(problems.len(), 1, "{text}");
        assert!(text.contains("TELEGRAM_BOT_TOKEN") && text.contains(why), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_settings_file_is_looked_for_in_order() {
    let folder = Folder::new("files");
    let file = |token: &str| format!("TELEGRAM_BOT_TOKEN={token}\nGROUP_A_KEYS=k\n");
    let by_option = folder.write("option", &file("1:option"));
    let by_variable = folder.write("variable", &file("1:variable"));
    folder.write("etc-env", &file("1:etc"));
    let home = ("HOME", "/h");
    let variable = ("SVS_BOT_ENV_FILE", by_variable.as_str());
    let check = |cli: Option<&str>, vars: &[(&str, &str)], wanted: &str| {
        let loaded = load(cli, None, &folder.environment(vars)).unwrap();
        assert_eq!(loaded.config.bot_token.expose(), wanted);
        assert_eq!(loaded.warnings, Vec::<String>::new());
    };
    check(None, &[home], "1:etc");
    folder.write(".env", &file("1:near"));
    check(None, &[home], "1:near");
    check(None, &[home, variable], "1:variable");
    check(None, &[home, ("SVS_BOT_ENV_FILE", "")], "1:near");
    check(Some(&by_option), &[home, variable], "1:option");
    for (cli, vars) in
        [(Some("/nowhere/x"), vec![home]), (None, vec![("SVS_BOT_ENV_FILE", "/nowhere/x")])]
    {
        let text = told(&load(cli, None, &folder.environment(&vars)).unwrap_err());
        assert!(text.contains("cannot read /nowhere/x: no such file"), "{text}");
    }
}

#[test]
fn a_secret_in_the_place_of_a_path_is_not_repeated() {
    let folder = Folder::new("secret-path");
    let run = "SyAbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
    let jwt = "eyJhbGciOiJIUzI1.eyJyb2xlIjoiYW5v.AbCdEfGhIj";
    for path in
        [format!("AIza{run}"), format!("x/AIza{run}"), format!("/123456:{run}"), format!("x/{jwt}")]
    {
        let vars = [("TELEGRAM_BOT_TOKEN_FILE", path.as_str())];
        let text = told(&load(None, None, &folder.environment(&vars)).unwrap_err());
        assert!(text.contains("cannot read the file it names"), "{text}");
        assert!(!text.contains("AbCdEf"), "{text}");
    }
}

#[test]
fn a_settings_file_that_others_may_write_is_ignored_with_a_warning() {
    let folder = Folder::new("trust");
    folder.write("etc-env", "TELEGRAM_BOT_TOKEN=1:etc\nGROUP_A_KEYS=k\n");
    let near = folder.write(".env", "TELEGRAM_BOT_TOKEN=1:near\nGROUP_A_KEYS=k\n");
    let check = |file: u32, dir: u32, uid_shift: u32, wanted: &str, why: &str| {
        fs::set_permissions(&near, fs::Permissions::from_mode(file)).unwrap();
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(dir)).unwrap();
        let mut environment = folder.environment(&[("HOME", "/h")]);
        environment.uid = environment.uid.map(|uid| uid + uid_shift);
        let loaded = load(None, None, &environment).unwrap();
        assert_eq!(loaded.config.bot_token.expose(), wanted, "{file:o} {dir:o}");
        assert_eq!(loaded.warnings.len(), usize::from(!why.is_empty()));
        assert!(loaded.warnings.concat().contains(why), "{:?}", loaded.warnings);
    };
    check(0o644, 0o755, 0, "1:near", "");
    check(0o664, 0o755, 0, "1:etc", "others may write it");
    check(0o602, 0o755, 0, "1:etc", "others may write it");
    check(0o600, 0o775, 0, "1:etc", "others may write in its folder");
    check(0o600, 0o1777, 0, "1:etc", "others may write in its folder");
    if fs::metadata(&near).unwrap().uid() != 0 {
        check(0o600, 0o700, 1, "1:etc", "belongs to somebody else");
    }
    let linked = Folder::new("trust-linked");
    fs::set_permissions(&linked.0, fs::Permissions::from_mode(0o777)).unwrap();
    let target = linked.write("target", "TELEGRAM_BOT_TOKEN=1:linked\nGROUP_A_KEYS=k\n");
    fs::remove_file(&near).unwrap();
    std::os::unix::fs::symlink(&target, &near).unwrap();
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).unwrap();
    let loaded = load(None, None, &folder.environment(&[("HOME", "/h")])).unwrap();
    assert_eq!(loaded.config.bot_token.expose(), "1:etc");
}

#[test]
fn a_bad_line_is_a_problem_with_its_number_and_an_unknown_name_a_warning() {
    let folder = Folder::new("lines");
    let file = folder.write(
        "f",
        "TELEGRAM_BOT_TOKEN=1:x\nhunter2\nGROUP_A_KEYS='hunter2\nGROUP_B_KEY=hunter2\n",
    );
    let problems =
        load(Some(&file), None, &folder.environment(&[("HOME", "/h"), ("UNKNOWN", "1")]))
            .unwrap_err();
    let text = told(&problems);
    assert!(text.contains("line 2: not KEY=value"), "{text}");
    assert!(text.contains("line 3: a quote that is not closed"), "{text}");
    assert!(
        text.contains("GROUP_B_KEY: nothing knows it: the nearest known name is GROUP_B_KEYS"),
        "{text}"
    );
    assert!(!text.contains("hunter2") && !text.contains("UNKNOWN:"), "{text}");

    let file =
        folder.write("g", "TELEGRAM_BOT_TOKEN=1:x\nGROUP_A_KEYS=k\nWORKER=2\nWORKERS=2\nWORKERS=3");
    let loaded = load(Some(&file), None, &folder.environment(&[("HOME", "/h")])).unwrap();
    assert_eq!(loaded.config.workers, 3);
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
}

#[test]
fn the_data_directory_is_found_in_order_and_without_valid_settings() {
    let folder = Folder::new("data");
    let file = folder.write("f", "nonsense\nDATA_DIR=/from/file\n");
    let home = ("HOME", "/home/x");
    let xdg = ("XDG_DATA_HOME", "/xdg");
    let state = ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b");
    let data = ("DATA_DIR", "/data");
    let cases: [(Option<&str>, Option<&str>, Vars<'_>, &str); 8] = [
        (None, None, &[home], "/home/x/.local/share/svs-bot"),
        (None, None, &[home, xdg], "/xdg/svs-bot"),
        (None, None, &[home, ("XDG_DATA_HOME", "relative")], "/home/x/.local/share/svs-bot"),
        (None, None, &[home, xdg, state], "/var/lib/a"),
        (None, None, &[home, xdg, state, data], "/data"),
        (Some(&file), None, &[home, xdg, state], "/from/file"),
        (Some(&file), Some("cli"), &[home, data], "cli"),
        (Some("/nowhere/x"), Some("cli"), &[], "cli"),
    ];
    for (env_file, cli, vars, wanted) in cases {
        let found = data_dir(env_file, cli, &folder.environment(vars)).unwrap();
        assert_eq!(found.path, PathBuf::from(wanted), "{vars:?}");
    }
    for (env_file, vars) in [(None, vec![]), (Some("/nowhere/x"), vec![home])] {
        assert!(data_dir(env_file, None, &folder.environment(&vars)).is_err());
    }
}

#[test]
fn the_sample_is_sound() {
    let config = Config::sample();
    assert_eq!(config.keys.len(), 1);
    assert!(!config.bot_token.is_empty());
}
