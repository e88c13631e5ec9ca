//! Owns: hiding what is typed on the terminal, and showing it again however the program ends.
//! May not: read or print anything itself.
//! Invariant: echo is never off without a helper process that turns it on when we are gone.

use std::fs::File;
use std::process::{Child, Command, Stdio};

/// Whether typed characters appear.
pub trait Echo {
    /// Turns the echo on or off; says why it cannot.
    fn set(&mut self, on: bool) -> Result<(), String>;
}

/// For input that is not a terminal: there is no echo to turn off.
#[derive(Debug, Default)]
pub struct NoEcho;

impl Echo for NoEcho {
    fn set(&mut self, _on: bool) -> Result<(), String> {
        Ok(())
    }
}

/// The controlling terminal, by way of `stty`.
#[derive(Debug, Default)]
pub struct Tty {
    /// Waits for its input to end, then restores the terminal. Our death ends its input too, be it
    /// by Ctrl-C, a kill or a panic, none of which run any code of ours.
    guard: Option<Child>,
}

/// What the helper does. It must outlive the keys that end us, and may change the terminal
/// although the shell has taken it back by then (SIGTTOU).
const GUARD: &str = "trap '' HUP INT QUIT TERM TSTP TTOU; cat >/dev/null; stty \"$0\" </dev/tty";

impl Echo for Tty {
    fn set(&mut self, on: bool) -> Result<(), String> {
        match (on, self.guard.is_some()) {
            (true, true) => self.restore(),
            (false, false) => self.hide(),
            (true, false) | (false, true) => Ok(()),
        }
    }
}

impl Tty {
    fn hide(&mut self) -> Result<(), String> {
        let saved = stty(&["-g"])?;
        let saved = saved.trim();
        let is_sound = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        if saved.is_empty() || !saved.bytes().all(is_sound) {
            return Err("stty: its state is not understood".to_owned());
        }
        let guard = Command::new("sh")
            .args(["-c", GUARD, saved])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("sh: {error}"))?;
        self.guard = Some(guard);
        stty(&["-echo"]).map(drop).inspect_err(|_| {
            let _ = self.restore();
        })
    }

    fn restore(&mut self) -> Result<(), String> {
        let Some(mut guard) = self.guard.take() else { return Ok(()) };
        drop(guard.stdin.take());
        match guard.wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err("the terminal could not be restored: type `stty sane`".to_owned()),
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.restore();
    }
}

fn stty(args: &[&str]) -> Result<String, String> {
    let terminal = File::open("/dev/tty").map_err(|error| format!("no terminal: {error}"))?;
    let done = Command::new("stty")
        .args(args)
        .stdin(Stdio::from(terminal))
        .output()
        .map_err(|error| format!("stty: {error}"))?;
    if !done.status.success() {
        return Err("stty: refused".to_owned());
    }
    String::from_utf8(done.stdout).map_err(|_| "stty: its state is not understood".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run it under `script -qec` to see the first branch; without a terminal it is the second.
    #[test]
    fn the_echo_goes_and_comes_back_where_there_is_a_terminal() {
        let shows = || stty(&["-a"]).map(|state| !state.contains("-echo "));
        let mut tty = Tty::default();
        if shows().is_ok() {
            for _ in 0..2 {
                tty.set(false).unwrap();
                tty.set(false).unwrap();
                assert_eq!(shows(), Ok(false));
                tty.set(true).unwrap();
                assert_eq!(shows(), Ok(true));
            }
            tty.set(false).unwrap();
            drop(tty);
            assert_eq!(shows(), Ok(true));
        } else {
            assert!(tty.set(false).is_err());
            assert!(tty.guard.is_none());
            assert_eq!(tty.set(true), Ok(()));
        }
    }
}
