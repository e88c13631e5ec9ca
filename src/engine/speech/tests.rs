//! Every sentence in every language.

use super::{KeyState, OwnerStatus, Scope, Speech, commands, lang_of, say};
use crate::types::status::Hold;
use crate::types::{ChatId, Lang, Role, Tier, UserId};
use std::collections::BTreeSet;

fn all(check: &mut dyn FnMut(&Speech<'_>)) {
    let status = OwnerStatus {
        version: "1.2.3",
        uptime: "3 d",
        memory: "6 MB",
        database: "9 MB",
        ..OwnerStatus::default()
    };
    let synced = OwnerStatus {
        sync_pending: Some(4),
        sync_last: Some("12:00"),
        trouble: Some("409"),
        ..status.clone()
    };
    let people = [("ana".to_owned(), 0), ("bob".to_owned(), 4)];
    let lines = ["gemini-x 3/250".to_owned()];
    let (user, role) = (UserId(4711), Role::Vip);
    let mut every = vec![
        Speech::Start { name: "Ana" },
        Speech::Help { owner: false },
        Speech::Help { owner: true },
        Speech::StatusPerson { role, round: Some((2, 5)), waiting: 1, quota_note: Some("12%") },
        Speech::StatusPerson { role, round: None, waiting: 0, quota_note: None },
        Speech::StatusOwner(&status),
        Speech::StatusOwner(&synced),
        Speech::VipSlots { used: 2, slots: 3, people: &people, next_free_min: None },
        Speech::VipSlots { used: 3, slots: 3, people: &people, next_free_min: Some(6) },
        Speech::VipSlots { used: 3, slots: 3, people: &[], next_free_min: None },
        Speech::VipFull { slots: 3, next_free_min: Some(6) },
        Speech::VipFull { slots: 3, next_free_min: None },
        Speech::Reset,
        Speech::ResetNothing,
        Speech::UnknownCommand,
        Speech::QueueFull,
        Speech::UserQueueFull { waiting: 20 },
        Speech::SlowDown,
        Speech::NotAllowedHere { chat: ChatId(-100) },
        Speech::GuestNoMemory,
        Speech::WaitForKey { minutes: 3 },
        Speech::QuotaUntil { until: "15:00" },
        Speech::TooLong,
        Speech::Empty,
        Speech::Timeout,
        Speech::ModelTrouble,
        Speech::Failed { what: "E7" },
        Speech::CutShort,
        Speech::StoppedByFilter,
        Speech::NothingToAnswer,
        Speech::MediaTooLarge { limit: "10 MB" },
        Speech::MediaLeftOut { files: 1, limit: "10 MB" },
        Speech::MediaLeftOut { files: 2, limit: "10 MB" },
        Speech::MediaUnknown,
        Speech::MediaOff,
        Speech::MediaGone,
        Speech::RegionBlocked,
        Speech::NoKeys,
        Speech::ForgetAsk,
        Speech::ForgetYes,
        Speech::ForgetNo,
        Speech::ForgetDone { rows: 7 },
        Speech::ForgetCancelled,
        Speech::ButtonOld,
        Speech::ExportNewest { rounds: 7 },
        Speech::ExportEmpty,
        Speech::PrivateOnly,
        Speech::GrantDone { user, role, until: Some("2027-01-01") },
        Speech::GrantDone { user, role, until: None },
        Speech::RevokeDone { user, role },
        Speech::RevokeNothing { user },
        Speech::BadArguments { usage: "/grant ID ROLE [30d]" },
        Speech::KickDone { name: "ana" },
        Speech::KickNone,
        Speech::KeysHeader { ready: 2, total: 3 },
        Speech::ParkDone { n: 2 },
        Speech::ReviveDone { n: 2 },
        Speech::NoSuchKey { n: 9, total: 3 },
        Speech::Usage { answers: 3, input_tokens: 4, output_tokens: 5, lines: &lines },
        Speech::QuotaLasts { tier: Tier::Lite, until: None, now: false },
        Speech::QuotaLasts { tier: Tier::Lite, until: Some("15:00"), now: false },
        Speech::QuotaLasts { tier: Tier::Lite, until: None, now: true },
        Speech::SyncStarted { pending: 4 },
        Speech::SyncOff,
        Speech::ReloadDone { changed: "", later: "" },
        Speech::ReloadDone { changed: "WORKERS, VIP_IDS", later: "HTTP_ADDR" },
        Speech::ReloadFailed { why: "WORKERS: got 0, want 1 to 128" },
        Speech::OwnerPaired,
        Speech::KnockOwner { user, name: "Ana" },
        Speech::KnockAllow,
        Speech::KnockDeny,
        Speech::KnockSent,
        Speech::KnockAllowed,
        Speech::SecretMasked,
        Speech::KeyDead { n: 1, last4: "abcd", why: "leaked" },
        Speech::KeysAllDead,
        Speech::QuotaLow { percent_left: 9, resets: "15:00" },
        Speech::SyncFailing { since: "09:00", why: "timeout" },
        Speech::SyncRecovered,
        Speech::SyncParked { rows: 2 },
        Speech::DiskLow { free: "90 MB" },
        Speech::ClockWrong { by: "2m 5s", ahead: true },
        Speech::ClockWrong { by: "2m 5s", ahead: false },
        Speech::Restarted,
        Speech::Salvaged { rows: 1_234 },
        Speech::NewVersion { version: "2.0" },
    ];
    for reason in [
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "RECITATION",
        "SPII",
        "LANGUAGE",
        "IMAGE_SAFETY",
        "JAILBREAK",
        "NEW_CODE",
    ] {
        every.push(Speech::Safety { reason });
    }
    for state in
        [KeyState::Ready, KeyState::Resting, KeyState::Spent, KeyState::Parked, KeyState::Dead]
    {
        every.push(Speech::KeyLine {
            n: 1,
            group: "A",
            last4: "abcd",
            state,
            until: Some("15:00"),
            project: "mine",
            shares_with: "2, 3",
            inferred: state == KeyState::Ready,
        });
    }
    for why in [
        Hold::Minute,
        Hold::Day,
        Hold::Spend,
        Hold::Unexplained,
        Hold::Nothing,
        Hold::Closed,
        Hold::Overloaded,
        Hold::Unknown,
        Hold::HeldBack,
        Hold::Unproven,
        Hold::Kept,
        Hold::Saved,
        Hold::Interval,
        Hold::Storm,
    ] {
        every.push(Speech::KeyHold { models: "gemini", why, word: "", until: Some("15:00") });
    }
    for word in ["invalid", "leaked", "expired", "retired", "suspended", "disabled", "blocked"] {
        for why in [Hold::Dead, Hold::Doubted] {
            every.push(Speech::KeyHold { models: "", why, word, until: None });
        }
    }
    every.iter().for_each(check);
}

#[test]
fn every_sentence_is_whole_in_both_languages() {
    let han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
    let mut seen = BTreeSet::new();
    all(&mut |what| {
        let (zh, en) = (say(Lang::Zh, what), say(Lang::En, what));
        for text in [&zh, &en] {
            assert!(!text.trim().is_empty() && text.trim() == text, "{what:?}: {text:?}");
            assert!(!text.contains(['{', '}']), "{what:?}: {text}");
            assert!(text.encode_utf16().count() < 1000, "{what:?}");
        }
        assert!(zh.chars().any(han), "{what:?}: {zh}");
        assert!(!en.chars().any(han), "{what:?}: {en}");
        assert_ne!(zh, en, "{what:?}");
        seen.insert(format!("{what:?}").split([' ', '(', '{']).next().unwrap_or("").to_owned());
    });
    let source = include_str!("mod.rs");
    let body = source.split("pub enum Speech").nth(1).and_then(|rest| rest.split("\n}").next());
    let names = body.unwrap().lines().filter_map(|line| line.strip_prefix("    "));
    let names = names.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let names: BTreeSet<String> =
        names.filter_map(|line| line.split([' ', '(', ',']).next()).map(str::to_owned).collect();
    assert_eq!(seen, names, "a sentence that this test does not read");
}

#[test]
fn what_was_given_is_said() {
    let until = Speech::QuotaUntil { until: "15:00 UTC" };
    let vip = Speech::VipFull { slots: 3, next_free_min: Some(6) };
    for lang in [Lang::Zh, Lang::En] {
        assert!(say(lang, &until).contains("15:00 UTC"));
        assert!(say(lang, &vip).contains('3') && say(lang, &vip).contains('6'));
        assert_ne!(
            say(lang, &Speech::Safety { reason: "SPII" }),
            say(lang, &Speech::Safety { reason: "SAFETY" })
        );
    }
}

#[test]
fn commands_fit_telegram_and_their_scope() {
    for lang in [Lang::Zh, Lang::En] {
        let names = |scope| commands(lang, scope).into_iter().map(|c| c.0).collect::<Vec<_>>();
        assert_eq!(names(Scope::Everyone), ["start", "help", "status", "vip", "reset"]);
        assert_eq!(names(Scope::Private)[5..], ["export", "forget"]);
        assert_eq!(
            names(Scope::Owner)[7..],
            ["grant", "revoke", "kick", "keys", "park", "revive", "usage", "sync", "reload"]
        );
        for (_, text) in commands(lang, Scope::Owner) {
            assert!((1..=256).contains(&text.chars().count()));
        }
    }
}

#[test]
fn the_language_is_the_operators_then_the_persons() {
    for (setting, code, want) in [
        (None, None, Lang::Zh),
        (None, Some(""), Lang::Zh),
        (None, Some("zh-hans"), Lang::Zh),
        (None, Some("ZH_tw"), Lang::Zh),
        (None, Some("en"), Lang::En),
        (None, Some("zha"), Lang::En),
        (None, Some("de"), Lang::En),
        (Some(Lang::Zh), Some("de"), Lang::Zh),
        (Some(Lang::En), Some("zh"), Lang::En),
    ] {
        assert_eq!(lang_of(setting, code), want, "{setting:?} {code:?}");
    }
}
