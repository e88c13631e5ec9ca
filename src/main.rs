//! Owns: arguments → command → exit code.
//! May not: hold rules, SQL or HTTP.

use argh::FromArgs;
use std::io::Write;
use std::process::ExitCode;
use svs_bot::cli::Cli;
use svs_bot::commands::{EXIT_USAGE, dispatch};

fn main() -> ExitCode {
    let mut words = Vec::new();
    for word in std::env::args_os().skip(1) {
        match word.into_string() {
            Ok(word) => words.push(word),
            Err(_) => return complain(EXIT_USAGE, "arguments: not UTF-8: use plain text"),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let cli = match Cli::from_args(&["svs-bot"], &words) {
        Ok(cli) => cli,
        Err(exit) if exit.status.is_ok() => {
            let _ = std::io::stdout().write_all(exit.output.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(exit) => return complain(EXIT_USAGE, exit.output.trim_end()),
    };
    if cli.version {
        let _ = writeln!(std::io::stdout(), "{}", dispatch::version_line());
        return ExitCode::SUCCESS;
    }
    let Some(command) = cli.command else {
        return complain(EXIT_USAGE, "no command: run `svs-bot --help` for the list");
    };
    match dispatch::run(&command) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => complain(failure.code, &failure.text),
    }
}

fn complain(code: u8, text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
