//! Owns: what is said unasked: notices to owners, knocks of strangers, the menu of commands.
//! May not: word anything (speech does).

use super::accept::Setting;
use super::{State, Step, keep};
use crate::daemon::event::{Job, Purpose};
use crate::engine::keypool::Notice;
use crate::engine::persona::clean_name;
use crate::engine::speech::{self, Scope, Speech};
use crate::store::outbox::{self, Outgoing};
use crate::store::people::Grant;
use crate::store::{Db, Result, meta, people};
use crate::types::{ChatId, DAY_MS, Lane, Lang, Now, Role, TopicId, UserId};
use crate::wire::telegram;

/// Strangers are announced to the owner this rarely, each.
const KNOCK_EVERY_MS: i64 = DAY_MS;
/// Notices that may wait for an owner before strangers are announced no more.
const KNOCKS_MAX: u32 = 20;
/// What a knock's buttons carry, followed by the id.
const ALLOW: &str = "allow:";
const DENY: &str = "deny:";
/// Raised whenever the list of commands changes.
const MENU_VERSION: u32 = 1;
/// Owners who get a menu of their own.
const MENU_OWNERS_MAX: usize = 4;

impl State {
    /// Tells the owner of a stranger, once a day each, with buttons to let them in or not.
    pub(super) fn knock(&mut self, db: &Db, at: &Setting<'_>, now: Now) -> Result<()> {
        let stranger = self.policy.default_role == Role::Blocked
            && people::grant_of(db, at.user.id, now.unix_ms)?.is_none()
            && at.refused_ms + KNOCK_EVERY_MS <= now.unix_ms;
        if !stranger {
            return Ok(());
        }
        let owners = self.owners(db, now)?;
        for owner in &owners {
            // A crowd at the door: who is not announced may knock again.
            if outbox::notices(db, ChatId(owner.0), KNOCKS_MAX)? >= KNOCKS_MAX {
                return Ok(());
            }
        }
        people::set_refused(db, at.user.id, now.unix_ms)?;
        for owner in owners {
            let lang = self.lang_of_person(db, owner)?;
            let labels = [
                (speech::say(lang, &Speech::KnockAllow), format!("{ALLOW}{}", at.user.id)),
                (speech::say(lang, &Speech::KnockDeny), format!("{DENY}{}", at.user.id)),
            ];
            let text = speech::say(
                lang,
                &Speech::KnockOwner { user: at.user.id, name: &clean_name(at.user.name()) },
            );
            let lane = Lane { chat: ChatId(owner.0), topic: TopicId(0) };
            let what = Outgoing {
                markup: telegram::inline_keyboard(&labels),
                ..Outgoing::notice(lane, text)
            };
            outbox::add(db, &what, now.unix_ms)?;
        }
        self.say(db, at, &self.line(at, &Speech::KnockSent), now)
    }

    pub(super) fn let_in(
        &self,
        db: &Db,
        data: &str,
        lang: Lang,
        now: Now,
    ) -> Result<Option<String>> {
        let (role, id) = match (data.strip_prefix(ALLOW), data.strip_prefix(DENY)) {
            (Some(id), _) => (Role::Normal, id),
            (_, Some(id)) => (Role::Blocked, id),
            _ => return Ok(None),
        };
        let Ok(user) = id.parse().map(UserId) else { return Ok(None) };
        let grant = Grant { user, role, until_ms: 0, source: "button".to_owned() };
        people::set_grant(db, &grant, now.unix_ms)?;
        if role == Role::Normal {
            let theirs = self.lang_of_person(db, user)?;
            let lane = Lane { chat: ChatId(user.0), topic: TopicId(0) };
            let welcome = Outgoing::notice(lane, speech::say(theirs, &Speech::KnockAllowed));
            outbox::add(db, &welcome, now.unix_ms)?;
        }
        Ok(Some(speech::say(lang, &Speech::GrantDone { user, role, until: None })))
    }

    /// What the pool has to say to the owner, once each.
    pub(super) fn notices(&mut self, db: &Db, notices: &[Notice], now: Now) -> Result<()> {
        for notice in notices {
            log::warn!(target: "key.notice", "key pool: {notice}");
            // Dead keys are told from the pool's own state, at the next look.
            self.live.housekeeping_due_ms = 0;
            if let Notice::Region = notice {
                self.tell_owner(db, &Speech::RegionBlocked, now)?;
            }
        }
        Ok(())
    }

    /// A notice to every owner, in their language.
    pub(super) fn tell_owner(&self, db: &Db, speech: &Speech<'_>, now: Now) -> Result<()> {
        for owner in self.owners(db, now)? {
            let lang = self.lang_of_person(db, owner)?;
            let lane = Lane { chat: ChatId(owner.0), topic: TopicId(0) };
            outbox::add(db, &Outgoing::notice(lane, speech::say(lang, speech)), now.unix_ms)?;
        }
        Ok(())
    }

    pub(super) fn owners(&self, db: &Db, now: Now) -> Result<Vec<UserId>> {
        if self.policy.owners.is_empty() {
            return people::granted_owners(db, now.unix_ms);
        }
        Ok(self.policy.owners.clone())
    }

    fn lang_of_person(&self, db: &Db, user: UserId) -> Result<Lang> {
        Ok(self.lang_of_code(people::lang_of(db, user)?.as_deref()))
    }

    /// The menu of commands, set once for each version of it (api-reference A3).
    pub(super) fn register_commands(&mut self, db: &Db, step: &mut Step, now: Now) -> Result<()> {
        let owners =
            self.owners(db, now)?.into_iter().map(|owner| ChatId(owner.0)).collect::<Vec<_>>();
        let version = format!("{} {owners:?}", MENU_VERSION);
        if meta::get(db, keep::MENU)?.as_deref() == Some(version.as_str()) {
            return Ok(());
        }
        let mut scopes = vec![
            (Scope::Everyone, telegram::Scope::Default),
            (Scope::Private, telegram::Scope::AllPrivate),
        ];
        scopes.extend(
            owners
                .iter()
                .take(MENU_OWNERS_MAX)
                .map(|owner| (Scope::Owner, telegram::Scope::Chat(*owner))),
        );
        for (scope, place) in scopes {
            // Chinese where the person's Telegram is Chinese, English everywhere else.
            for (lang, language) in [(Lang::En, None), (Lang::Zh, Some("zh"))] {
                let request =
                    telegram::set_my_commands(&place, language, &speech::commands(lang, scope));
                step.jobs.push(Job::Call { purpose: Purpose::Commands, request });
                self.live.calls += 1;
            }
        }
        meta::set(db, keep::MENU, &version)
    }
}
