//! Tables: dialogues, from their answers to the file.

use super::*;
use crate::commands::tty::Echo;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Plays every service: what contains `bad` is refused, what contains `far` cannot be asked.
#[derive(Default)]
struct World {
    asked: Vec<String>,
    paired: bool,
}

impl World {
    fn judge(&mut self, kind: &str, text: &str) -> Checked {
        self.asked.push(format!("{kind} {text}"));
        if text.contains("bad") {
            return Checked::Refused("not valid".to_owned());
        }
        if text.contains("far") {
            return Checked::Unknown("no route".to_owned());
        }
        Checked::Good(format!("{kind} works"))
    }
}

impl Checks for World {
    fn token(&mut self, config: &Config) -> Checked {
        self.judge("token", config.bot_token.expose())
    }
    fn key(&mut self, _config: &Config, key: &Secret) -> Checked {
        self.judge("key", key.expose())
    }
    fn supabase(&mut self, config: &Config) -> Checked {
        let supabase = config.supabase.as_ref().unwrap();
        self.judge("supabase", &format!("{} {}", supabase.url, supabase.key.expose()))
    }
    fn pair(&mut self, _: &Path, _: &mut dyn Write) -> Result<Option<UserId>, String> {
        self.paired = true;
        Ok(Some(UserId(42)))
    }
}

/// Remembers how the echo was switched.
#[derive(Default)]
struct Switch {
    changes: Vec<bool>,
}

impl Echo for Switch {
    fn set(&mut self, on: bool) -> Result<(), String> {
        self.changes.push(on);
        Ok(())
    }
}

struct Scene {
    folder: PathBuf,
    interactive: bool,
}

struct Seen {
    outcome: Outcome,
    out: String,
    file: Option<String>,
    world: World,
    echo: Vec<bool>,
}

impl Scene {
    fn new(name: &str, interactive: bool, old: Option<&str>) -> Self {
        let folder = std::env::temp_dir().join(format!("svs-init-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        if let Some(old) = old {
            fs::write(folder.join("env"), old).unwrap();
        }
        Self { folder, interactive }
    }

    fn play(&self, answers: &str, vars: &[(&str, &str)]) -> Seen {
        let path = self.folder.join("env");
        let args = cli::Init {
            env_file: None,
            data_dir: None,
            out: Some(path.to_str().unwrap().to_owned()),
        };
        let environment = Environment {
            vars: vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            folder: self.folder.clone(),
            ..Environment::default()
        };
        let (mut out, mut world, mut echo) = (Vec::new(), World::default(), Switch::default());
        let mut talk = Talk {
            input: &mut answers.as_bytes(),
            out: &mut out,
            echo: &mut echo,
            interactive: self.interactive,
        };
        let outcome = run(&args, &environment, &mut talk, &mut world);
        let out = String::from_utf8(out).unwrap();
        if let Ok(meta) = fs::metadata(&path)
            && out.contains("written:")
        {
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        }
        let file = fs::read_to_string(&path).ok();
        Seen { outcome, out, file, world, echo: echo.changes }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn body(file: Option<&str>) -> &str {
    file.unwrap().split_once('\n').unwrap().1
}

#[test]
fn piped_answers_become_a_file_and_nothing_of_them_is_shown() {
    let scene = Scene::new("piped", false, None);
    let answers = "1:hunter2-token\nhunter2-key-1@p,hunter2-key-2\n\nhttps://hunter2.co/rest/v1\n\
                   sb_secret_hunter2x\n";
    let seen = scene.play(answers, &[]);
    assert_eq!(seen.outcome, Ok(EXIT_OK), "{}", seen.out);
    assert_eq!(
        body(seen.file.as_deref()),
        "TELEGRAM_BOT_TOKEN=1:hunter2-token\nGROUP_A_KEYS=hunter2-key-1@p,hunter2-key-2\n\
         SUPABASE_URL=https://hunter2.co/rest/v1\nSUPABASE_KEY=sb_secret_hunter2x\n"
    );
    assert_eq!(seen.world.asked.len(), 4, "{:?}", seen.world.asked);
    assert!(!seen.out.contains("hunter2"), "{}", seen.out);
    assert!(seen.out.contains("owner-link") && !seen.world.paired);
    assert!(seen.out.contains("--env-file"), "a file of that name is not read by itself");
    // Off and on again around each of the five secret answers.
    assert_eq!(seen.echo, [false, true].repeat(5));
}

#[test]
fn a_person_may_correct_what_is_refused() {
    let scene = Scene::new("corrects", true, None);
    let answers = "nonsense\n1:bad\n1:far\nn\n1:far\ny\n\nbad-1,good-1\nk k\ngood-2\n\n\n";
    let seen = scene.play(answers, &[]);
    assert_eq!(seen.outcome, Ok(EXIT_OK), "{}", seen.out);
    assert_eq!(
        body(seen.file.as_deref()),
        "TELEGRAM_BOT_TOKEN=1:far\nGROUP_A_KEYS=good-1,good-2\n"
    );
    assert!(seen.out.contains("owner: 42"), "{}", seen.out);
}

#[test]
fn an_existing_file_is_changed_only_after_a_yes_and_keeps_the_rest() {
    let old = "# mine\nWORKERS=3 # few\nexport TELEGRAM_BOT_SVSKILO_TOKEN=1:old\nGROUP_A_KEYS=k1\n\
               SUPABASE_SERVICE_ROLE_KEY=old\nNEXT_PUBLIC_SUPABASE_URL=https://old\nBOT_OWNER_ID=7\n";
    let cases = [
        ("n\n", old.to_owned(), "nothing was changed"),
        ("\n", old.to_owned(), "nothing was changed"),
        ("y\n\n\n\n", old.to_owned(), "written"),
        (
            "y\n1:new\nk2\n\nhttps://new\ns\n",
            "# mine\nWORKERS=3 # few\nBOT_OWNER_ID=7\nTELEGRAM_BOT_TOKEN=1:new\nGROUP_A_KEYS=k1,k2\n\
             SUPABASE_URL=https://new\nSUPABASE_KEY=s\n"
                .to_owned(),
            "written",
        ),
    ];
    for (answers, wanted, said) in cases {
        let scene = Scene::new("existing", true, Some(old));
        let seen = scene.play(answers, &[]);
        assert_eq!(seen.outcome, Ok(EXIT_OK), "{}", seen.out);
        assert_eq!(seen.file.as_deref(), Some(wanted.as_str()), "{answers:?}");
        assert!(seen.out.contains(said), "{}", seen.out);
        assert!(!seen.world.paired, "BOT_OWNER_ID decides alone");
    }
}

#[test]
fn an_end_of_input_or_a_refusal_in_a_pipe_leaves_everything_as_it_was() {
    let cases = [
        ("", None, "input ended"),
        ("1:x\n", None, "input ended"),
        ("1:x\nk\n\nhttps://x\n", None, "input ended"),
        ("y\n1:x\n", Some("A=1\n"), "input ended"),
        ("1:bad\nk\n\n\n", None, "refused"),
        ("1:x\nbad\n\n\n", None, "refused"),
        ("x\nx\nx\nx\nx\nx\n", None, "no good answer"),
        ("1:x\n\n\n\n\n\n\n", None, "no good answer"),
    ];
    for (answers, old, why) in cases {
        let scene = Scene::new("ends", false, old);
        let seen = scene.play(answers, &[]);
        let failure = seen.outcome.unwrap_err();
        assert!(failure.text.contains(why), "{answers:?}: {failure:?}");
        assert!(failure.text.contains("nothing was written"), "{failure:?}");
        assert_eq!(seen.file.as_deref(), old);
    }
    let scene = Scene::new("long", false, None);
    let seen = scene.play(&"x".repeat(1 << 20), &[]);
    assert!(seen.outcome.unwrap_err().text.contains("too long"));
}

#[test]
fn what_the_environment_sets_is_told_and_does_not_disturb_the_checks() {
    let scene = Scene::new("environment", false, None);
    let vars = [("TELEGRAM_BOT_TOKEN", "9:hunter2"), ("GEMINI_API_KEY", "hunter2")];
    let seen = scene.play("1:typed\nk\n\n\n", &vars);
    assert_eq!(seen.outcome, Ok(EXIT_OK), "{}", seen.out);
    assert_eq!(seen.world.asked, ["token 1:typed", "key k"]);
    assert!(seen.out.contains("the environment sets TELEGRAM_BOT_TOKEN"), "{}", seen.out);
    assert!(!seen.out.contains("hunter2"), "{}", seen.out);
}

#[test]
fn the_file_is_the_one_that_would_be_read() {
    let scene = Scene::new("place", false, None);
    let near = scene.folder.join(".env");
    let none = cli::Init { env_file: None, data_dir: None, out: None };
    let mut environment = Environment {
        folder: scene.folder.clone(),
        system_file: scene.folder.join("etc"),
        uid: fs::metadata(&scene.folder)
            .ok()
            .map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)),
        ..Environment::default()
    };
    assert_eq!(place(&none, &environment), near);
    fs::write(&environment.system_file, "").unwrap();
    assert_eq!(place(&none, &environment), environment.system_file);
    fs::write(&near, "").unwrap();
    assert_eq!(place(&none, &environment), near);
    environment.vars.insert("SVS_BOT_ENV_FILE".to_owned(), "/by/variable".to_owned());
    assert_eq!(place(&none, &environment), PathBuf::from("/by/variable"));
    environment.vars.insert("SVS_BOT_ENV_FILE".to_owned(), near.to_str().unwrap().to_owned());
    let other_spelling = scene.folder.join(".").join(".env");
    let mut out = Vec::new();
    let mut talk = Talk {
        input: &mut &b""[..],
        out: &mut out,
        echo: &mut Switch::default(),
        interactive: false,
    };
    let answers = Answers { values: BTreeMap::new(), new: Vec::new(), environment: &environment };
    hints(&environment, &other_spelling, &answers, &mut talk).unwrap();
    assert_eq!(out, b"", "the same file by another name");
    let named = cli::Init { env_file: Some("/named".into()), data_dir: None, out: None };
    assert_eq!(place(&named, &environment), PathBuf::from("/named"));
    let out = cli::Init { out: Some("/out".into()), ..named };
    assert_eq!(place(&out, &environment), PathBuf::from("/out"));
}
