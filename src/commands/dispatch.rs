//! Owns: from a parsed command line to the command that carries it out, with everything it needs of
//! this process: environment, clock, terminal, standard streams.
//! May not: hold what a command does.

use super::{Failure, Outcome, Place, backup, env, owner_link, role, status};
use crate::cli::{self, Command};
use crate::config::source::Environment;
use crate::config::{self, Config};
use crate::daemon::clock::{self, Clock};
use crate::daemon::{self, logging, notify};
use crate::store::Store;
use crate::types::Now;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Duration;

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
    let environment = Environment::real();
    let mut out = io::stdout().lock();
    let mut err = io::stderr();
    match command {
        Command::Run(args) => {
            drop(out);
            daemon(&args.env_file, &args.data_dir, args.dry_run, &environment)
        }
        Command::Env(args) => env::run(args, &environment, &mut out, &mut err),
        Command::Status(args) => {
            let place = load(&args.env_file, &args.data_dir, &environment, true)?;
            show_status(args, &place, &mut out)
        }
        Command::Backup(args) => {
            let place = data_only(&args.env_file, &args.data_dir, &environment)?;
            backup::run(args, &place)
        }
        Command::Role(args) => {
            let place = load(&args.env_file, &args.data_dir, &environment, true)?;
            role::run(args, &place, now(), &mut out)
        }
        Command::OwnerLink(args) => {
            let place = load(&args.env_file, &args.data_dir, &environment, true)?;
            owner_link::run(&place, now(), io::stdout().is_terminal(), &mut out)
        }
        _ => Err(Failure::failed("this command is not built yet")),
    }
}

fn now() -> Now {
    Clock::starting_at(0).now()
}

/// Reads the settings; every problem at once, exit 2.
fn load(
    env_file: &Option<String>,
    data_dir: &Option<String>,
    environment: &Environment,
    warn: bool,
) -> Result<Place, Failure> {
    let loaded = config::load(env_file.as_deref(), data_dir.as_deref(), environment)
        .map_err(|problems| Failure::usage(lines(&problems)))?;
    if warn {
        for warning in &loaded.warnings {
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
    }
    Ok(Place { config: loaded.config, data_dir: loaded.data_dir, env_file: loaded.env_file })
}

/// The data directory alone, for commands that need no sound settings.
fn data_only(
    env_file: &Option<String>,
    data_dir: &Option<String>,
    environment: &Environment,
) -> Result<std::path::PathBuf, Failure> {
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
    environment: &Environment,
) -> Outcome {
    let place = load(env_file, data_dir, environment, true)?;
    let log = start_log(&place.config, environment)?;
    log.catch_panics();
    let (env_file, data_dir) = (env_file.clone(), data_dir.clone());
    daemon::run(daemon::Start {
        config: place.config,
        data_dir: &place.data_dir,
        dry_run,
        drain: false,
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
                log::error!("LOG_FILE: {error}: the old one stays open");
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
    };
    status::run(args, place, &ways, out)
}
