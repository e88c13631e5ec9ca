//! Owns: what commands in the chat do.
//! May not: word anything (speech) or decide who is who (access).

use super::accept::Setting;
use super::{State, export, words};
use crate::config;
use crate::daemon::event::Changes;
use crate::engine::access;
use crate::engine::persona::clean_name;
use crate::engine::policy::LangChoice;
use crate::engine::speech::{self, OwnerStatus, Speech};
use crate::store::Db;
use crate::store::outbox::{self, Outgoing};
use crate::store::people::Grant;
use crate::store::{Result, inbox, people, tell};
use crate::types::Secret;
use crate::types::model::ModelFailure;
use crate::types::status::{KeyLine, KeyState};
use crate::types::{ChatKind, DAY_MS, Lang, MINUTE_MS, Now, Role, UnixMs, UserId};
use crate::wire::telegram;

/// Longest grant: a hundred years is for ever.
const GRANT_DAYS_MAX: i64 = 36_500;
/// Rows of an `/export` in a chat; more come by `svs-bot export`.
const EXPORT_ROWS_MAX: usize = 500;
/// Owners who wait for one reading of the settings; more of them hear nothing.
pub(super) const RELOADERS_MAX: usize = 16;
/// What `/forget`'s buttons carry.
pub(super) const FORGET_YES: &str = "forget:yes";
pub(super) const FORGET_NO: &str = "forget:no";

impl State {
    pub(super) fn command(
        &mut self,
        db: &Db,
        at: &Setting<'_>,
        name: &str,
        args: &str,
        addressed: bool,
        now: Now,
    ) -> Result<()> {
        let private = at.message.chat_kind == ChatKind::Private;
        // The pairing code is the one thing that works for whoever has it, wherever roles stand.
        if name == "start" && private && at.message.is_ordinary && self.pair(db, at, args, now)? {
            return Ok(());
        }
        if at.role == Role::Blocked {
            return if private { self.knock(db, at, now) } else { Ok(()) };
        }
        if !at.message.is_ordinary || !access::is_allowed_chat(&self.policy, at.message.chat) {
            return Ok(());
        }
        if self.slows_down(db, at, now)? {
            return Ok(());
        }
        let owner = access::may_command(at.message, at.role);
        let text = match (name, private) {
            ("start", _) => self.line(at, &Speech::Start { name: &clean_name(at.user.name()) }),
            ("help", _) => self.line(at, &Speech::Help { owner: owner && private }),
            ("status", _) if owner && private => self.owner_status(db, at.lang, now)?,
            ("status", _) => self.person_status(db, at, now)?,
            ("vip", _) => self.slots_text(db, at.lang, now)?,
            ("reset", _) => self.reset(db, at)?,
            ("export", true) => return self.export(db, at, args, now),
            ("forget", true) => return self.ask_forget(db, at, now),
            ("export" | "forget", false) => self.line(at, &Speech::PrivateOnly),
            _ if owner => match self.owner_command(db, at, name, args, now)? {
                Some(text) => text,
                None if private || addressed => self.line(at, &Speech::UnknownCommand),
                None => return Ok(()),
            },
            _ if private || addressed => self.line(at, &Speech::UnknownCommand),
            // In a group it may be another bot's.
            _ => return Ok(()),
        };
        if text.is_empty() {
            // Answered later.
            return Ok(());
        }
        self.say(db, at, &text, now)
    }

    pub(super) fn line(&self, at: &Setting<'_>, speech: &Speech<'_>) -> String {
        speech::say(at.lang, speech)
    }

    fn owner_command(
        &mut self,
        db: &Db,
        at: &Setting<'_>,
        name: &str,
        args: &str,
        now: Now,
    ) -> Result<Option<String>> {
        Ok(Some(match name {
            "grant" => self.grant(db, at, args, now)?,
            "revoke" => match args.parse().map(UserId) {
                Ok(user) if people::remove_grant(db, user)? => self.line(
                    at,
                    &Speech::RevokeDone { user, role: access::role_of(&self.policy, user, None) },
                ),
                Ok(user) => self.line(at, &Speech::RevokeNothing { user }),
                Err(_) => self.line(at, &Speech::BadArguments { usage: "/revoke ID" }),
            },
            "kick" => self.kick(db, at, args, now)?,
            "keys" if at.message.chat_kind != ChatKind::Private => {
                self.line(at, &Speech::PrivateOnly)
            }
            "keys" => words::keys(at.lang, &self.key_lines(now), now.unix_ms),
            "park" | "revive" => self.park_or_revive(at, name, args, now),
            "usage" => self.usage_text(db, at.lang, now)?,
            "sync" => {
                self.sync_now(now);
                let speech = match self.config.supabase {
                    Some(_) => Speech::SyncStarted { pending: tell::unsynced(db)? },
                    None => Speech::SyncOff,
                };
                self.line(at, &speech)
            }
            "reload" => {
                self.reload_wanted = true;
                // Answered by what comes of it.
                if self.live.reloaders.len() < RELOADERS_MAX {
                    self.live.reloaders.push((at.lane, at.lang));
                }
                return Ok(Some(String::new()));
            }
            _ => return Ok(None),
        }))
    }

    /// Answers everyone who asked for the settings to be read again with what came of it.
    pub(super) fn reloaded(
        &mut self,
        db: &Db,
        result: &std::result::Result<Changes, String>,
        now: Now,
    ) -> Result<()> {
        for (lane, lang) in std::mem::take(&mut self.live.reloaders) {
            let (changed, later);
            let speech = match result {
                Ok(changes) => {
                    (changed, later) = (changes.now.join(", "), changes.later.join(", "));
                    Speech::ReloadDone { changed: &changed, later: &later }
                }
                Err(why) => {
                    let line = why.lines().next().unwrap_or_default();
                    Speech::ReloadFailed { why: line }
                }
            };
            let text = speech::say(lang, &speech);
            outbox::add(db, &Outgoing::notice(lane, text), now.unix_ms)?;
        }
        Ok(())
    }

    fn grant(&self, db: &Db, at: &Setting<'_>, args: &str, now: Now) -> Result<String> {
        let usage =
            Speech::BadArguments { usage: "/grant ID vip|premium|normal|guest|blocked [30d]" };
        let words: Vec<&str> = args.split_whitespace().collect();
        let (user, role, span) = match words.as_slice() {
            [user, role] => (*user, *role, None),
            [user, role, span] => (*user, *role, Some(*span)),
            _ => return Ok(self.line(at, &usage)),
        };
        let (Ok(user), Some(role)) = (user.parse().map(UserId), Role::from_name(role)) else {
            return Ok(self.line(at, &usage));
        };
        let until_ms = match span.map(grant_ms) {
            None => 0,
            Some(Some(span_ms)) => now.unix_ms + span_ms,
            Some(None) => return Ok(self.line(at, &usage)),
        };
        let grant = Grant { user, role, until_ms, source: "chat".to_owned() };
        people::set_grant(db, &grant, now.unix_ms)?;
        let until = (until_ms != 0).then(|| words::date(until_ms));
        Ok(self.line(at, &Speech::GrantDone { user, role, until: until.as_deref() }))
    }

    fn kick(&self, db: &Db, at: &Setting<'_>, args: &str, now: Now) -> Result<String> {
        let slots = people::slots(db, now.unix_ms - self.policy.session_idle_ms)?;
        let chosen = match args {
            "" => slots.first(),
            id => match id.parse().map(UserId) {
                Ok(user) => slots.iter().find(|session| session.user == user),
                Err(_) => return Ok(self.line(at, &Speech::BadArguments { usage: "/kick [ID]" })),
            },
        };
        let Some(session) = chosen else { return Ok(self.line(at, &Speech::KickNone)) };
        people::end_session(db, session.id)?;
        Ok(self.line(at, &Speech::KickDone { name: &session.name }))
    }

    fn park_or_revive(&mut self, at: &Setting<'_>, name: &str, args: &str, now: Now) -> String {
        let Ok(n) = args.trim().parse::<usize>() else {
            let usage = if name == "park" { "/park N" } else { "/revive N" };
            return self.line(at, &Speech::BadArguments { usage });
        };
        let number = u32::try_from(n).unwrap_or(u32::MAX);
        let known = match name {
            "park" => self.pool.park(number),
            _ => self.pool.revive(number, now),
        };
        self.live.blocked_until_ms.clear();
        match (known, name) {
            (None, _) => self.line(at, &Speech::NoSuchKey { n, total: self.key_secrets.len() }),
            (Some(_), "park") => self.line(at, &Speech::ParkDone { n }),
            (Some(_), _) => self.line(at, &Speech::ReviveDone { n }),
        }
    }

    fn person_status(&self, db: &Db, at: &Setting<'_>, now: Now) -> Result<String> {
        let session = people::session_of(db, at.lane, at.user.id)?
            .filter(|session| session.last_ms + self.policy.session_idle_ms > now.unix_ms);
        let rounds_max = self.policy.rounds_of(at.role);
        Ok(self.line(
            at,
            &Speech::StatusPerson {
                role: at.role,
                round: session.map(|session| (session.rounds.min(rounds_max), rounds_max)),
                waiting: inbox::pending_of(db, at.user.id, self.policy.user_queue_max)?,
                quota_note: None,
            },
        ))
    }

    fn owner_status(&self, db: &Db, lang: Lang, now: Now) -> Result<String> {
        let status = self.status(db, now)?;
        let uptime = words::span(lang, now.unix_ms - self.started_ms);
        let memory =
            crate::daemon::process::read(None).resident_bytes.map_or_else(String::new, words::size);
        let database = words::size(status.counts.database_bytes);
        let today = now.unix_ms - DAY_MS;
        let tokens = tell::tally_since(db, "tokens_in", today)?
            + tell::tally_since(db, "tokens_out", today)?;
        let sync_last = status.sync.last_success_ms.map(|at| words::span(lang, now.unix_ms - at));
        let ready = status.keys.iter().filter(|key| key.state == KeyState::Ready).count();
        let trouble = Some(self.live.polling.trouble.as_str()).filter(|text| !text.is_empty());
        Ok(speech::say(
            lang,
            &Speech::StatusOwner(&OwnerStatus {
                version: env!("CARGO_PKG_VERSION"),
                uptime: &uptime,
                memory: &memory,
                database: &database,
                inbox: status.counts.inbox,
                outbox: status.counts.outbox,
                sessions: status.counts.sessions,
                vip: (u32::try_from(status.counts.vip_used).unwrap_or(0), self.config.vip_slots),
                keys: (ready, status.keys.len()),
                answers_today: u64::try_from(tell::tally_since(db, "answers", today)?).unwrap_or(0),
                tokens_today: u64::try_from(tokens).unwrap_or(0),
                sync_pending: self
                    .config
                    .supabase
                    .as_ref()
                    .map(|_| status.sync.pending.iter().sum()),
                sync_last: sync_last.as_deref(),
                trouble,
            }),
        ))
    }

    pub(super) fn key_lines(&self, now: Now) -> Vec<KeyLine> {
        self.pool.list(now)
    }

    fn usage_text(&self, db: &Db, lang: Lang, now: Now) -> Result<String> {
        let today = now.unix_ms - DAY_MS;
        let sum = |name| {
            Ok::<_, crate::store::StoreError>(
                u64::try_from(tell::tally_since(db, name, today)?).unwrap_or(0),
            )
        };
        let week = tell::answers_by_day(db, now.unix_ms, 7)?;
        let (quota, lasts) = (self.pool.quota_view(now), self.pool.lasts(now));
        let lines = words::usage_lines(lang, &quota, &lasts, &week, now.unix_ms);
        Ok(speech::say(
            lang,
            &Speech::Usage {
                answers: sum("answers")?,
                input_tokens: sum("tokens_in")?,
                output_tokens: sum("tokens_out")?,
                lines: &lines,
            },
        ))
    }

    pub(super) fn lang_of_code(&self, code: Option<&str>) -> Lang {
        let fixed = match self.policy.lang {
            LangChoice::Fixed(lang) => Some(lang),
            LangChoice::Auto => None,
        };
        speech::lang_of(fixed, code)
    }

    pub(super) fn key_checked(
        &mut self,
        db: &Db,
        secret: &Secret,
        result: &std::result::Result<(), ModelFailure>,
        now: Now,
    ) -> Result<()> {
        // A key that a reload has taken away is nobody's concern any more.
        let Some(key) = self.key_secrets.iter().position(|known| known == secret) else {
            return Ok(());
        };
        let effects = self.pool.checked(key, result.as_ref().copied(), now);
        self.live.blocked_until_ms.clear();
        self.notices(db, &effects.notices, now)
    }

    /// What `/vip` says.
    fn slots_text(&self, db: &Db, lang: Lang, now: Now) -> Result<String> {
        let slots = people::slots(db, now.unix_ms - self.policy.session_idle_ms)?;
        let full = slots.len() >= self.policy.vip_slots;
        let next_free_min = if full { Some(self.next_slot_minutes(db, now)?) } else { None };
        let holders: Vec<(String, u32)> = slots
            .iter()
            .map(|session| {
                let idle_min = (now.unix_ms - session.last_ms) / MINUTE_MS;
                (session.name.clone(), u32::try_from(idle_min).unwrap_or(0))
            })
            .collect();
        Ok(speech::say(
            lang,
            &Speech::VipSlots {
                used: u32::try_from(slots.len()).unwrap_or(u32::MAX),
                slots: self.config.vip_slots,
                people: &holders,
                next_free_min,
            },
        ))
    }

    fn reset(&self, db: &Db, at: &Setting<'_>) -> Result<String> {
        let ended = match people::session_of(db, at.lane, at.user.id)? {
            Some(session) => people::end_session(db, session.id)?,
            None => false,
        };
        Ok(self.line(at, if ended { &Speech::Reset } else { &Speech::ResetNothing }))
    }

    /// The person's own rounds as a file: Markdown, or JSON when that is asked for.
    fn export(&self, db: &Db, at: &Setting<'_>, args: &str, now: Now) -> Result<()> {
        let (rounds, whole) = tell::rounds_of(db, at.user.id, EXPORT_ROWS_MAX)?;
        if rounds.is_empty() {
            return self.say(db, at, &self.line(at, &Speech::ExportEmpty), now);
        }
        let (name, text) = if args.trim().eq_ignore_ascii_case("json") {
            ("history.json", export::json(&rounds, whole))
        } else {
            let newest = Speech::ExportNewest { rounds: rounds.len() };
            let note = if whole { String::new() } else { self.line(at, &newest) };
            ("history.md", export::markdown(&rounds, &note))
        };
        let what = Outgoing {
            kind: outbox::Kind::Document,
            plain: name.to_owned(),
            ..Outgoing::notice(at.lane, text)
        };
        outbox::add(db, &what, now.unix_ms).map(drop)
    }

    fn ask_forget(&self, db: &Db, at: &Setting<'_>, now: Now) -> Result<()> {
        let labels = [
            (speech::say(at.lang, &Speech::ForgetYes), FORGET_YES.to_owned()),
            (speech::say(at.lang, &Speech::ForgetNo), FORGET_NO.to_owned()),
        ];
        let what = Outgoing {
            markup: telegram::inline_keyboard(&labels),
            ..Outgoing::notice(at.lane, self.line(at, &Speech::ForgetAsk))
        };
        outbox::add(db, &what, now.unix_ms).map(drop)
    }

    /// Stores the person as owner when `args` is a pairing code that still holds.
    fn pair(&mut self, db: &Db, at: &Setting<'_>, args: &str, now: Now) -> Result<bool> {
        if args.is_empty() || !self.policy.owners.is_empty() {
            return Ok(false);
        }
        let hash = crate::secret_hash::fingerprint("pairing", &Secret::new(args));
        if !tell::take_pairing(db, &hash, now.unix_ms)? {
            return Ok(false);
        }
        let grant = Grant {
            user: at.user.id,
            role: Role::Owner,
            until_ms: 0,
            source: "pairing".to_owned(),
        };
        people::set_grant(db, &grant, now.unix_ms)?;
        // The new owner's menu has more in it.
        self.live.commands_set = false;
        log::info!(
            target: "owner.paired", user = at.user.id.0;
            "user {} is owner now, by a pairing link", at.user.id
        );
        self.say(db, at, &self.line(at, &Speech::OwnerPaired), now)?;
        Ok(true)
    }
}

/// `30d`, `12h`, `90s`: how long a grant holds.
fn grant_ms(text: &str) -> Option<UnixMs> {
    config::duration_ms(text).filter(|ms| (1..=GRANT_DAYS_MAX * DAY_MS).contains(ms))
}
