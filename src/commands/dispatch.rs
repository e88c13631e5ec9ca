//! Owns: from a parsed command line to the command that carries it out, with everything it needs of
//! this process: environment, clock, terminal, standard streams.
//! May not: hold what a command does.

use super::progress::Progress;
use super::{
    Failure, Outcome, Place, backup, check, demo, drain, env, export, forget, import, keys,
    owner_link, role, setup, status, sync, verify,
};
use crate::cli::{self, Command};
use crate::config::source::Environment;
use crate::config::{self, Config};
use crate::daemon::clock::{self, Clock};
use crate::daemon::{self, logging, notify};
use crate::net::Net;
use crate::os;
use crate::secret_hash;
use crate::store::Store;
use crate::sync::Outside;
use crate::types::Now;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one reply that `check` reads.
const CHECK_REPLY_BYTES_MAX: usize = 256 * 1024;

/// `--version`: version, target, SQLite version.
pub fn version_line() -> String {
    use crate::types::build::{TARGET, VERSION};
    format!("svs-bot {VERSION} {TARGET} SQLite {}", Store::sqlite_version())
}

/// Runs one command to its exit code.
///
/// # Errors
/// What to tell the operator, with the exit code.
pub fn run(command: &Command) -> Outcome {
    // Before the first secret is read.
    let dumps = os::forbid_core_dumps().err();
    let environment = Environment::real();
    let env = &environment;
    let mut out = io::stdout();
    let mut err = io::stderr();
    match command {
        Command::Run(args) => {
            daemon(&args.env_file, &args.data_dir, args.dry_run, false, env, dumps)
        }
        Command::Demo(args) => play(args, env),
        Command::Init(args) => setup::init(args, env),
        Command::Env(args) => env::run(args, env, &mut out, &mut err),
        Command::Status(args) => {
            show_status(args, &load(&args.env_file, &args.data_dir, env)?, &mut out)
        }
        Command::Check(args) => look(args, env, dumps, &mut out),
        Command::Keys(args) => {
            let fresh = secret_hash::random_bytes().map_err(|_| no_randomness())?;
            keys::run(args, &load(&args.env_file, &args.data_dir, env)?, &mut out, &fresh, now())
        }
        Command::Role(args) => {
            role::run(args, &load(&args.env_file, &args.data_dir, env)?, now(), &mut out)
        }
        Command::OwnerLink(args) => {
            let place = load(&args.env_file, &args.data_dir, env)?;
            owner_link::run(&place, now(), io::stdout().is_terminal(), &mut out)
        }
        Command::Drain(args) => {
            let place = load(&args.env_file, &args.data_dir, env)?;
            match drain::ask_daemon(args, &place, &now, &clock::pause, &mut out, &mut err)? {
                Some(code) => Ok(code),
                // Nobody runs: what is stored is answered and sent right here.
                None => {
                    let code = daemon(&args.env_file, &args.data_dir, false, true, env, dumps)?;
                    drain::finished(args, &place, &mut out)?;
                    Ok(code)
                }
            }
        }
        Command::Sync(args) => {
            // Cron mails whatever is printed: a warning that `run` has shown is none of its business.
            let is_terminal = io::stdout().is_terminal();
            let place = quiet_load(&args.env_file, &args.data_dir, env)?;
            with_supabase(&place, &mut |outside| {
                let pid = std::process::id();
                sync::run(
                    args,
                    &place,
                    outside,
                    pid,
                    is_terminal,
                    &mut io::stdout(),
                    &mut io::stderr(),
                )
            })
        }
        Command::Import(args) => {
            let place = load(&args.env_file, &args.data_dir, env)?;
            make_dir(&place.data_dir)?;
            with_supabase(&place, &mut |outside| {
                import::run(args, &place, env, outside, &mut io::stdout(), &mut io::stderr())
            })
        }
        Command::Verify(args) => {
            let place = load(&args.env_file, &args.data_dir, env)?;
            with_supabase(&place, &mut |outside| {
                verify::run(args, &place, env, outside, &mut io::stdout(), &mut io::stderr())
            })
        }
        Command::Export(args) => {
            let dir = data_only(&args.env_file, &args.data_dir, env)?;
            // The rows themselves are progress enough where they run over the screen.
            let watched = io::stderr().is_terminal() && !io::stdout().is_terminal();
            let mut progress = Progress::new(watched);
            let tell = &mut |line: std::fmt::Arguments<'_>| {
                progress.show(clock::system_ms(), line, &mut io::stderr());
            };
            let outcome = export::run(args, &dir, &mut io::BufWriter::new(out), tell);
            progress.end(&mut err);
            outcome
        }
        Command::Forget(args) => {
            forget::run(args, &data_only(&args.env_file, &args.data_dir, env)?, now(), &mut out)
        }
        Command::Backup(args) => {
            backup::run(args, &data_only(&args.env_file, &args.data_dir, env)?, &mut out)
        }
    }
}

fn no_randomness() -> Failure {
    Failure::failed("the operating system gives no randomness: try again")
}

pub(super) fn make_dir(dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Failure::failed(format!("{}: {error}: choose another --data-dir", dir.display()))
    })
}

/// Lends a command that talks to Supabase the network, the clock and patience.
fn with_supabase(place: &Place, work: &mut dyn FnMut(&mut Outside<'_>) -> Outcome) -> Outcome {
    let net = Net::new(&place.config).map_err(Failure::usage)?;
    let mut dice = clock::dice();
    let mut progress = Progress::new(io::stderr().is_terminal());
    let mut outside = Outside {
        call: &mut |request| net.supabase(request, daemon::SYNC_REPLY_BYTES_MAX),
        now: &mut now,
        wait: &mut |ms| clock::pause(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        dice: &mut dice,
        tell: &mut |line| progress.show(clock::system_ms(), line, &mut io::stderr()),
    };
    let outcome = work(&mut outside);
    progress.end(&mut io::stderr());
    outcome
}

fn look(
    args: &cli::Check,
    environment: &Environment,
    dumps: Option<String>,
    out: &mut dyn Write,
) -> Outcome {
    let loaded = match config::load(args.env_file.as_deref(), args.data_dir.as_deref(), environment)
    {
        Ok(loaded) => loaded,
        Err(problems) => {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return check::run_broken(args, &texts, out);
        }
    };
    let place =
        Place { config: loaded.config, data_dir: loaded.data_dir, env_file: loaded.env_file };
    let mut local = check::gather(&place, loaded.warnings, now(), clock::system_ms());
    local.dumps_refused = dumps;
    let net = Net::new(&place.config).map_err(Failure::usage)?;
    let mut ways = check::Ways {
        telegram: &mut |request| net.telegram(request, CHECK_REPLY_BYTES_MAX),
        gemini: &mut |key, request| setup::gemini_call(&net, key, request),
        supabase: &mut |request| net.supabase(request, CHECK_REPLY_BYTES_MAX),
        system_ms: &clock::system_ms,
    };
    check::run(args, &place, &local, &mut ways, out)
}

/// The whole bot on loopback, in a thread beside the chat.
fn play(_args: &cli::Demo, environment: &Environment) -> Outcome {
    let (sender, receiver) = daemon::stop_pair();
    let ways = demo::Ways {
        serve: Box::new(move |config, dir| run_until(config, dir, false, receiver)),
        stop: Box::new(move || drop(sender)),
        clock: Arc::new(clock::system_ms),
        temp: environment.var("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from),
        language: environment.var("LANG").map(|lang| lang.chars().take(2).collect()),
        is_terminal: io::stdin().is_terminal() && io::stdout().is_terminal(),
    };
    demo::run(ways, &mut io::stdin().lock(), &mut io::stdout())
}

/// Runs a daemon in this process until `stop` says so; no signals of systemd, no settings file.
pub(super) fn run_until(
    config: Config,
    dir: &Path,
    hold_questions: bool,
    stop: daemon::StopReceiver,
) -> Outcome {
    daemon::run(daemon::Start {
        config,
        data_dir: dir,
        dry_run: false,
        drain: false,
        hold_questions,
        notify_socket: None,
        watchdog_ms: None,
        reread: Box::new(|| Err("there is no settings file to read again".to_owned())),
        reopen_log: Box::new(|_| {}),
        stop: Some(stop),
    })
}

fn now() -> Now {
    Clock::starting_at(0).now()
}

/// Reads the settings; every problem at once, exit 2; warnings on stderr.
fn load(
    env_file: &Option<String>,
    data_dir: &Option<String>,
    environment: &Environment,
) -> Result<Place, Failure> {
    let loaded = read(env_file, data_dir, environment)?;
    for warning in &loaded.warnings {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    Ok(place_of(loaded))
}

/// The same without the warnings.
fn quiet_load(
    env_file: &Option<String>,
    data_dir: &Option<String>,
    environment: &Environment,
) -> Result<Place, Failure> {
    read(env_file, data_dir, environment).map(place_of)
}

fn read(
    env_file: &Option<String>,
    data_dir: &Option<String>,
    environment: &Environment,
) -> Result<config::Loaded, Failure> {
    config::load(env_file.as_deref(), data_dir.as_deref(), environment)
        .map_err(|problems| Failure::usage(lines(&problems)))
}

fn place_of(loaded: config::Loaded) -> Place {
    Place { config: loaded.config, data_dir: loaded.data_dir, env_file: loaded.env_file }
}

/// The data directory alone, for commands that need no sound settings.
fn data_only(
    env_file: &Option<String>,
    data_dir: &Option<String>,
    environment: &Environment,
) -> Result<PathBuf, Failure> {
    config::data_dir(env_file.as_deref(), data_dir.as_deref(), environment)
        .map(|found| found.path)
        .map_err(|problems| Failure::usage(lines(&problems)))
}

fn lines(problems: &[config::Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn log_settings(config: &Config) -> logging::Settings {
    logging::Settings {
        level: config.log_level,
        format: config.log_format,
        file: config.log_file.clone(),
        secrets: config.secrets().into_iter().cloned().collect(),
    }
}

fn start_log(config: &Config, environment: &Environment) -> Result<logging::Handle, Failure> {
    logging::init(&log_settings(config), environment.var("JOURNAL_STREAM")).map_err(|error| {
        Failure::failed(format!("LOG_FILE: {error}: choose a file that can be written"))
    })
}

fn daemon(
    env_file: &Option<String>,
    data_dir: &Option<String>,
    dry_run: bool,
    drain: bool,
    environment: &Environment,
    dumps: Option<String>,
) -> Outcome {
    let place = load(env_file, data_dir, environment)?;
    let log = start_log(&place.config, environment)?;
    log.catch_panics();
    if let Some(why) = dumps {
        log::warn!(target: "dumps.allowed", "a crash may write secrets to disk: {why}: see `svs-bot check`");
    }
    let (env_file, data_dir) = (env_file.clone(), data_dir.clone());
    daemon::run(daemon::Start {
        config: place.config,
        data_dir: &place.data_dir,
        dry_run,
        drain,
        hold_questions: false,
        notify_socket: environment.var("NOTIFY_SOCKET").map(str::to_owned),
        watchdog_ms: notify::watchdog_every_ms(
            environment.var("WATCHDOG_USEC"),
            environment.var("WATCHDOG_PID"),
            std::process::id(),
        ),
        reread: Box::new(move || {
            let environment = Environment::real();
            config::load(env_file.as_deref(), data_dir.as_deref(), &environment)
                .map(|loaded| loaded.config)
                .map_err(|problems| lines(&problems))
        }),
        reopen_log: Box::new(move |config| {
            if let Err(error) = log.reopen(&log_settings(config)) {
                log::error!(target: "log.failed", "LOG_FILE: {error}: the old one stays open");
            }
        }),
        stop: None,
    })
}

fn show_status(args: &cli::Status, place: &Place, out: &mut dyn Write) -> Outcome {
    let ways = status::Ways {
        now: &now,
        wait: &|ms| {
            clock::pause(Duration::from_millis(ms));
            ControlFlow::Continue(())
        },
        is_terminal: io::stdout().is_terminal(),
        size: &|| os::terminal_size(&io::stdout()),
    };
    status::run(args, place, &ways, out)
}
