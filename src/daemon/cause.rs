//! Owns: the causes for which messages are not taken and answered, and what to do about each.
//! May not: look at anything but the reason's words.

use crate::types::status::Status;

/// One cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The label of `svs_bot_not_ready`.
    pub label: &'static str,
    /// How the reason of [`Status`] begins then.
    begin: &'static str,
    /// What to do, for the operator; as in `scripts/prometheus-alerts.yml`.
    pub todo: &'static str,
}

/// Every cause; the last one is everything else.
pub const CAUSES: [Cause; 8] = [
    Cause {
        label: "database",
        begin: "database:",
        todo: "make room: df -h, old logs and backups; read-only or damaged: journalctl -u svs-bot",
    },
    Cause {
        label: "telegram",
        begin: "telegram:",
        todo: "svs-bot check tells network, name service, firewall or another poller",
    },
    Cause {
        label: "token",
        begin: "TELEGRAM_BOT_TOKEN:",
        todo: "take the token that @BotFather shows into TELEGRAM_BOT_TOKEN, then restart",
    },
    Cause {
        label: "webhook",
        begin: "webhook:",
        todo: "svs-bot check tells certificate, port or proxy",
    },
    Cause {
        label: "loop",
        begin: "stalled:",
        todo: "the disk may hang: dmesg; then systemctl restart svs-bot",
    },
    Cause {
        label: "starting",
        begin: "starting:",
        todo: "wait a moment; if it stays, svs-bot check",
    },
    Cause {
        label: "ending",
        begin: "draining",
        todo: "nothing: it ends when all is answered and sent",
    },
    Cause { label: "other", begin: "", todo: "svs-bot check" },
];

/// Why `status` is not ready; `None` when it is.
pub fn of(status: &Status) -> Option<Cause> {
    let is_it = |cause: &Cause| status.reason.starts_with(cause.begin);
    CAUSES.into_iter().find(is_it).filter(|_| !status.ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_bot_from_its_work_is_one_cause() {
        for (ready, reason, want) in [
            (true, "", None),
            (true, "telegram: an old story", None),
            (false, "database: disk full", Some("database")),
            (false, "telegram: connection refused", Some("telegram")),
            (false, "TELEGRAM_BOT_TOKEN: telegram does not know this token", Some("token")),
            (false, "webhook: the listener is not up", Some("webhook")),
            (false, "stalled: the event loop has not turned for 31s", Some("loop")),
            (false, "starting: Telegram has not been reached yet", Some("starting")),
            (false, "draining", Some("ending")),
            (false, "stopping", Some("other")),
        ] {
            let status = Status { ready, reason: reason.to_owned(), ..Status::default() };
            assert_eq!(of(&status).map(|cause| cause.label), want, "{reason}");
        }
    }

    #[test]
    fn the_alert_says_the_same() {
        let alerts = include_str!("../../scripts/prometheus-alerts.yml");
        for cause in CAUSES.iter().filter(|cause| cause.label != "ending") {
            assert!(alerts.contains(cause.todo), "{cause:?}");
        }
    }
}
