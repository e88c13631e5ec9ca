//! Owns: what systemd is told: ready, alive, a status line, stopping (`sd_notify(3)`).
//! May not: fail anything; outside systemd every call does nothing.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The longest status line; systemd shows one line of a terminal.
const STATUS_CHARS_MAX: usize = 200;

/// The way to systemd, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    way: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// From `$NOTIFY_SOCKET`: a path, or an abstract name behind `@`; anything else is no socket.
    pub fn new(notify_socket: Option<&str>) -> Self {
        let way = notify_socket.and_then(|name| {
            let addr = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name).ok()?,
                None if name.starts_with('/') => SocketAddr::from_pathname(name).ok()?,
                None => return None,
            };
            let socket = UnixDatagram::unbound().ok()?;
            // A full queue of systemd must not stop the loop that would feed its watchdog.
            socket.set_nonblocking(true).ok()?;
            Some((socket, addr))
        });
        Self { way }
    }

    /// Whether anyone listens.
    pub fn is_active(&self) -> bool {
        self.way.is_some()
    }

    /// `READY=1`: messages are taken, or will be as soon as Telegram can be reached.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// `WATCHDOG=1`; only from the event loop itself, so that a stuck loop is restarted.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// `STATUS=…`: one line for `systemctl status`.
    pub fn status(&self, text: &str) {
        let line: String = super::quoting::plain(text).chars().take(STATUS_CHARS_MAX).collect();
        self.send(&format!("STATUS={line}"));
    }

    /// `RELOADING=1` with the monotonic time that `Type=notify-reload` asks for; [`Self::ready`] ends it.
    pub fn reloading(&self, monotonic_us: u64) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}"));
    }

    /// `STOPPING=1`
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, text: &str) {
        if let Some((socket, addr)) = &self.way {
            // Nobody to tell: systemd itself is gone or busy, and the next call says it again.
            let _ = socket.send_to_addr(text.as_bytes(), addr);
        }
    }
}

/// How often [`Notifier::watchdog`] is due, from `$WATCHDOG_USEC` and `$WATCHDOG_PID`: half of what
/// systemd allows; `None` where it does not ask this process.
pub fn watchdog_every_ms(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<i64> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let usec: i64 = usec?.parse().ok()?;
    (usec > 0).then(|| (usec / 2_000).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1_024];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn both_kinds_of_socket_hear_every_word() {
        let path = std::env::temp_dir().join(format!("svs-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("svs-notify-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&addr).unwrap();
        for (socket, way) in [(by_path, path.to_str().unwrap()), (by_name, &format!("@{name}"))] {
            let notifier = Notifier::new(Some(way));
            notifier.ready();
            notifier.watchdog();
            notifier.status("7 waiting\nREADY=1");
            notifier.reloading(5);
            notifier.stopping();
            assert_eq!(hear(&socket), "READY=1");
            assert_eq!(hear(&socket), "WATCHDOG=1");
            assert_eq!(hear(&socket), "STATUS=7 waiting\\nREADY=1");
            assert_eq!(hear(&socket), "RELOADING=1\nMONOTONIC_USEC=5");
            assert_eq!(hear(&socket), "STOPPING=1");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn without_systemd_nothing_happens() {
        for name in [None, Some(""), Some("relative"), Some("/nowhere/at/all")] {
            Notifier::new(name).ready();
        }
        assert!(!Notifier::new(Some("relative")).is_active());
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_asked() {
        for (usec, pid, want) in [
            (Some("30000000"), None, Some(15_000)),
            (Some("30000000"), Some("7"), Some(15_000)),
            (Some("30000000"), Some("8"), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, None, None),
        ] {
            assert_eq!(watchdog_every_ms(usec, pid, 7), want, "{usec:?} {pid:?}");
        }
    }
}
