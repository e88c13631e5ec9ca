//! Owns: the sentences in English.

use super::{KeyState, OwnerStatus, Refusal, Scope, Speech};
use crate::types::Role;
use crate::types::status::Hold;

/// Command, description, who sees it.
pub(super) const COMMANDS: &[(&str, &str, Scope)] = &[
    ("start", "Say hello", Scope::Everyone),
    ("help", "How to use me", Scope::Everyone),
    ("status", "My role and progress", Scope::Everyone),
    ("vip", "Group seats", Scope::Everyone),
    ("reset", "Forget this conversation and start afresh", Scope::Everyone),
    ("export", "Export my chat history", Scope::Private),
    ("forget", "Delete all my data", Scope::Private),
    ("grant", "Grant a role: ID ROLE [30d]", Scope::Owner),
    ("revoke", "Take a role back: ID", Scope::Owner),
    ("kick", "End a group session: [ID]", Scope::Owner),
    ("keys", "List the keys", Scope::Owner),
    ("park", "Set a key aside: N", Scope::Owner),
    ("revive", "Bring a key back: N", Scope::Owner),
    ("usage", "Today's usage", Scope::Owner),
    ("sync", "Synchronise now", Scope::Owner),
    ("reload", "Read the settings again", Scope::Owner),
];

#[expect(clippy::too_many_lines, reason = "a list of sentences, one arm each")]
pub(super) fn say(what: &Speech<'_>) -> String {
    match what {
        Speech::Start { name } => format!(
            "Hi {name}! I'm Xiao Ai 👋\nJust send me a message; pictures, voice notes and PDFs work too. In groups, call me by name or @mention me.\nSend /help to see what I can do."
        ),
        Speech::Help { owner } => {
            let mut text = "What I can do:\n\n• Ask me anything in private; in groups call me by name, @mention me, or reply to me\n• I look at pictures, listen to voice notes, and read PDF and text files\n\n/status my role and progress\n/vip group seats\n/reset forget this conversation and start afresh\n/export my chat history (private chat)\n/forget delete all my data (private chat)".to_owned();
            if *owner {
                text.push_str("\n\nFor the owner:\n/grant ID ROLE [30d] grant a role\n/revoke ID take it back\n/kick [ID] end a group session\n/keys list the keys\n/park N set a key aside\n/revive N bring it back\n/usage today's usage\n/sync synchronise now\n/reload read the settings again");
            }
            text
        }
        Speech::StatusPerson { role, round, waiting, quota_note } => {
            let mut text = format!("Your role: {}", role_name(*role));
            match round {
                Some((round, of)) => text.push_str(&format!("\nThis conversation: round {round} of {of}")),
                None => text.push_str("\nThis conversation: not started"),
            }
            if *waiting != 0 {
                text.push_str(&format!("\nQuestions waiting: {waiting}"));
            }
            if let Some(note) = quota_note {
                text.push_str(&format!("\n{note}"));
            }
            text
        }
        Speech::StatusOwner(status) => owner_status(status),
        Speech::VipSlots { used, slots, people, next_free_min } => {
            let mut text = format!("Group seats: {used} of {slots} taken");
            for (name, idle) in *people {
                text.push_str(&format!("\n• {name}, {}", idle_words(*idle)));
            }
            match next_free_min {
                _ if used < slots => text.push_str("\nA seat is free right now: just call me."),
                Some(minutes) => {
                    text.push_str(&format!("\nThe next one may be free in about {minutes} min."));
                }
                None => text.push_str("\nNo seat is free at the moment; please look again later."),
            }
            text
        }
        Speech::VipFull { slots, next_free_min } => match next_free_min {
            Some(minutes) => format!(
                "Sorry, all {slots} group seats are taken; the next may be free in about {minutes} min. You can also write to me in private, which needs no seat."
            ),
            None => format!(
                "Sorry, all {slots} group seats are taken; please try again later. You can also write to me in private, which needs no seat."
            ),
        },
        Speech::Reset => "Done: I have forgotten this conversation. Let's start afresh.".to_owned(),
        Speech::ResetNothing => "There is no conversation going on; just ask.".to_owned(),
        Speech::UnknownCommand => "I don't know that command. Send /help to see what I can do.".to_owned(),
        Speech::QueueFull => {
            "Too many people are asking right now, so I could not take this message. Please send it again in a few minutes.".to_owned()
        }
        Speech::UserQueueFull { waiting } => format!(
            "You already have {waiting} questions waiting, so I did not take this one. Please send it again once I have answered a few."
        ),
        Speech::SlowDown => "One thing at a time, please: I answer no more of these until the ones before are sent.".to_owned(),
        Speech::NotAllowedHere { chat } => format!(
            "Sorry, I'm not allowed to chat here. To change that, send this number to the person who runs me: {chat}"
        ),
        Speech::GuestNoMemory => {
            "You are a guest, so I don't remember earlier messages: please put everything into one. For longer conversations, ask the person who runs me.".to_owned()
        }
        Speech::WaitForKey { minutes } => format!(
            "It's busy right now. Your question is saved and may take about {minutes} min; no need to send it again."
        ),
        Speech::QuotaUntil { until } => format!(
            "The available quota is used up for now, so I could not answer this. Please ask again after {until}."
        ),
        Speech::Safety { reason } => refusal(Refusal::of(reason)).to_owned(),
        Speech::TooLong => "That is too long for me to read at once. Please shorten it or send it in pieces.".to_owned(),
        Speech::Empty => "No answer came back this time. Please ask again in other words.".to_owned(),
        Speech::Timeout => {
            "I waited a long time, but no answer came. Please ask again later, or in smaller steps.".to_owned()
        }
        Speech::ModelTrouble => {
            "The model is having trouble, and several attempts failed. Please ask again in a few minutes.".to_owned()
        }
        Speech::Failed { what } => format!(
            "Sorry, something went wrong ({what}). Please send it again; if it keeps failing, tell the person who runs me."
        ),
        Speech::CutShort => "(The answer reached its length limit. Reply \"continue\" and I'll go on.)".to_owned(),
        Speech::StoppedByFilter => {
            "(The rest was stopped by the safety filter. You can ask again from another angle.)".to_owned()
        }
        Speech::NothingToAnswer => "I can't read this kind of message yet. Please tell me in words what you need.".to_owned(),
        Speech::MediaLeftOut { files, limit } => {
            let files = if *files == 1 { "One file".to_owned() } else { format!("{files} files") };
            format!("{files} of your album left out: I can look at no more than {limit} each, and at ten files.")
        }
        Speech::MediaTooLarge { limit } => format!(
            "That file is too large; I can take up to {limit}. Please shrink it or send only the part you need."
        ),
        Speech::MediaUnknown => {
            "I can't read this kind of file. I can take pictures, voice notes, audio, PDF and text files.".to_owned()
        }
        Speech::MediaOff => "Only text works here. Please send it to me in words.".to_owned(),
        Speech::MediaGone => "I could not download that file. Please send it once more.".to_owned(),
        Speech::RegionBlocked => {
            "The model is not available in my server's region, so I can't answer now. Please tell the person who runs me.".to_owned()
        }
        Speech::NoKeys => {
            "No working model key is left, so I can't answer now. Please tell the person who runs me and try again later.".to_owned()
        }
        Speech::ForgetAsk => {
            "Delete all your chat history and sessions? This can't be undone; use /export first if you want a copy.".to_owned()
        }
        Speech::ForgetYes => "Delete everything".to_owned(),
        Speech::ForgetNo => "Keep it".to_owned(),
        Speech::ForgetDone { rows } => format!(
            "Deleted {rows} of your records here. Copies in Supabase, if there are any, go with the next synchronisation. This chat itself stays until you delete it in Telegram."
        ),
        Speech::ForgetCancelled => "All right, nothing was deleted.".to_owned(),
        Speech::ButtonOld => "This button is no longer valid. Please send the command again.".to_owned(),
        Speech::ExportNewest { rounds } => {
            format!("Your newest {rounds} questions and answers; older ones do not fit in here.")
        }
        Speech::ExportEmpty => "There is no history of yours to export yet.".to_owned(),
        Speech::PrivateOnly => "This command works in private chats only. Please send it to me there.".to_owned(),
        Speech::GrantDone { user, role, until } => match until {
            Some(until) => format!("{user} is now {}, until {until}.", role_name(*role)),
            None => format!("{user} is now {}.", role_name(*role)),
        },
        Speech::RevokeDone { user, role } => format!("Taken back: {user} is now {}.", role_name(*role)),
        Speech::RevokeNothing { user } => format!("{user} has no granted role, so there is nothing to take back."),
        Speech::BadArguments { usage } => format!("That is not how it works. Use it like this:\n{usage}"),
        Speech::KickDone { name } => format!("Ended the group session of {name}; a seat is free."),
        Speech::KickNone => "There is no group session to end. Send /vip to see the seats.".to_owned(),
        Speech::KeysHeader { ready, total } => format!("Keys: {ready} of {total} ready"),
        Speech::KeyLine { n, group, last4, state, until, project, shares_with, inferred } => {
            let parked = *state == KeyState::Parked;
            let state = match state {
                KeyState::Ready => "ready",
                KeyState::Resting => "resting",
                KeyState::Spent => "used up for today",
                KeyState::Parked => "parked",
                KeyState::Dead => "dead, please replace",
            };
            let until = until.map(|until| format!(", back {until}")).unwrap_or_default();
            let project = match (*inferred, shares_with.is_empty()) {
                (true, _) => format!(" · seems to share a project with {shares_with}"),
                (false, false) => format!(" · project {project}, with {shares_with}"),
                (false, true) => String::new(),
            };
            let revive = if parked { format!(" until /revive {n}") } else { String::new() };
            format!("{n}. [{group}] …{last4} {state}{until}{revive}{project}")
        }
        Speech::KeyHold { models, why, word, until } => {
            let until = until.map(|until| format!(", back {until}")).unwrap_or_default();
            let why = match why {
                Hold::Dead => return refused_key(word).to_owned(),
                Hold::Doubted => {
                    return format!("{}; I am having a second look", refused_key(word));
                }
                Hold::Parked => return String::new(),
                Hold::Storm => return "many projects were refused at once, so all keys pause".to_owned(),
                why => why.text(),
            };
            format!("{models}: {why}{until}")
        }
        Speech::ParkDone { n } => format!("Key {n} is set aside. Bring it back with /revive {n}."),
        Speech::ReviveDone { n } => format!("Key {n} is back."),
        Speech::NoSuchKey { n, total } => format!("There is no key {n}; there are {total}. Send /keys for the list."),
        Speech::Usage { answers, input_tokens, output_tokens, lines } => {
            let mut text = format!("Answers today: {answers}; tokens: {input_tokens} in, {output_tokens} out");
            for line in *lines {
                text.push_str(&format!("\n• {line}"));
            }
            text
        }
        Speech::QuotaLasts { tier, now: true, .. } => format!("{}: today's quota is used up", tier.name()),
        Speech::QuotaLasts { tier, until: Some(until), .. } => {
            format!("{}: at this rate it lasts until about {until}", tier.name())
        }
        Speech::QuotaLasts { tier, .. } => format!("{}: lasts the day at this rate", tier.name()),
        Speech::SyncStarted { pending } => {
            format!("Synchronisation started, {pending} rows to send. See /status for progress.")
        }
        Speech::SyncOff => "Supabase is not set; the data stays on this machine.".to_owned(),
        Speech::ReloadDone { changed: "", later: "" } => {
            "The settings were read again: nothing has changed.".to_owned()
        }
        Speech::ReloadDone { changed, later } => {
            let mut text = "The settings were read again.".to_owned();
            if !changed.is_empty() {
                text.push_str(&format!("\nIn effect now: {changed}."));
            }
            if !later.is_empty() {
                text.push_str(&format!("\nOnly after a restart: {later}."));
            }
            text
        }
        Speech::ReloadFailed { why } => format!(
            "The settings have a mistake, so the old ones stay in effect:\n{why}\nPlease correct it and send /reload again."
        ),
        Speech::OwnerPaired => "Paired: you are my owner now. Send /help to see your commands.".to_owned(),
        Speech::KnockOwner { user, name } => format!("{name} ({user}) would like to chat with me. Allow it?"),
        Speech::KnockAllow => "Allow".to_owned(),
        Speech::KnockDeny => "Deny".to_owned(),
        Speech::KnockSent => {
            "I may not chat with you yet. I have asked the person who runs me; it may take a while until they decide.".to_owned()
        }
        Speech::KnockAllowed => "You have been let in. Just send me a message!".to_owned(),
        Speech::SecretMasked => {
            "Your message holds something shaped like a secret key. I hid it before saving, but it is still in this chat: please delete that message, and revoke and replace the key where it was issued.".to_owned()
        }
        Speech::KeyDead { n, last4, why } => format!(
            "⚠️ Key {n} (…{last4}) is refused by Google: {}. I no longer use it; please replace it in the settings and send /reload.",
            refused_key(why)
        ),
        Speech::KeysAllDead => {
            "🛑 No key works any more, so I can't answer anything. Please replace the keys and send /reload.".to_owned()
        }
        Speech::QuotaLow { percent_left, resets } => format!(
            "⚠️ About {percent_left}% of today's quota is left; it resets at {resets}. The rest is kept for you and your VIPs first."
        ),
        Speech::SyncFailing { since, why } => format!(
            "⚠️ No synchronisation with Supabase since {since}: {why}. Chats are not affected and the rows wait on this machine; svs-bot check helps to find the cause."
        ),
        Speech::SyncRecovered => "✅ Synchronisation with Supabase works again.".to_owned(),
        Speech::SyncParked { rows } => format!(
            "⚠️ Supabase refused {rows} rows, and they were set aside. svs-bot check says why; once that is mended, run svs-bot sync --retry-parked."
        ),
        Speech::DiskLow { free } => format!(
            "⚠️ Only {free} of disk space is left. Please make room soon, or I can't save new messages."
        ),
        Speech::ClockWrong { by, ahead } => format!(
            "⚠️ This machine's clock is {by} {} Telegram's. Please set it (timedatectl set-ntp true): beyond five minutes connections fail.",
            if *ahead { "ahead of" } else { "behind" }
        ),
        Speech::Salvaged { rows } => format!(
            "⚠️ My database was damaged. I set it aside and saved what could be read: {rows} rows. Some conversations or settings may be missing; the log says where the damaged file lies. To have all back, restore a backup. Please look at the disk."
        ),
        Speech::Restarted => {
            "I stopped unexpectedly and am back. Every message I had taken is still here and will be answered. If it keeps happening, please look at the log.".to_owned()
        }
        Speech::NewVersion { version } => {
            format!("I now run version {version}. If something looks wrong, svs-bot check and the log tell more.")
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Vip => "VIP",
        Role::Premium => "premium",
        Role::Normal => "normal",
        Role::Guest => "guest",
        Role::Blocked => "blocked",
    }
}

fn idle_words(minutes: u32) -> String {
    match minutes {
        0 => "active just now".to_owned(),
        minutes => format!("idle for {minutes} min"),
    }
}

fn owner_status(status: &OwnerStatus<'_>) -> String {
    let mut text = format!(
        "svs-bot {}, up {}\nMemory {}, database {}\nTo answer {}, to send {}, sessions {}\nGroup seats {}/{}\nKeys ready {}/{}\nAnswers today {}, tokens {}",
        status.version,
        status.uptime,
        status.memory,
        status.database,
        status.inbox,
        status.outbox,
        status.sessions,
        status.vip.0,
        status.vip.1,
        status.keys.0,
        status.keys.1,
        status.answers_today,
        status.tokens_today,
    );
    match (status.sync_pending, status.sync_last) {
        (None, _) => text.push_str("\nSync: not set, the data stays here"),
        (Some(rows), Some(last)) => {
            text.push_str(&format!("\nSync: {rows} to send, last success {last} ago"))
        }
        (Some(rows), None) => text.push_str(&format!("\nSync: {rows} to send, no success yet")),
    }
    if let Some(trouble) = status.trouble {
        text.push_str(&format!("\n⚠️ {trouble}"));
    }
    text
}

fn refusal(kind: Refusal) -> &'static str {
    match kind {
        Refusal::Safety => {
            "This topic touched the model's safety limits, so I can't answer it. Try other words, or let's talk about something else."
        }
        Refusal::Prohibited => {
            "This is something the model is not allowed to answer, so I can't help with it. Let's talk about something else."
        }
        Refusal::Terms => {
            "The message has words that the model does not accept. Please put it another way."
        }
        Refusal::Recitation => {
            "The answer would have repeated protected text at length, so it was stopped. Ask me to summarise it instead."
        }
        Refusal::Personal => {
            "The answer touched sensitive personal data, so it was stopped. Please ask again without personal details."
        }
        Refusal::Language => {
            "The model does not support this language yet. Please ask in another one."
        }
        Refusal::Image => {
            "This picture touched the model's safety limits. Please send another one, or describe it in words."
        }
        Refusal::Jailbreak => {
            "This message was taken for an attempt to get around the rules. Please say plainly what you want to know."
        }
        Refusal::Other => {
            "The model declined to answer and gave no reason. Please try other words."
        }
    }
}

/// Google's reason to refuse a key for good.
fn refused_key(word: &str) -> &str {
    match word {
        "invalid" => "not a valid key",
        "leaked" => "reported as leaked",
        "expired" => "expired",
        "retired" => "a kind of key that Google has retired",
        "suspended" => "its project is suspended",
        "disabled" => "its project has the Gemini API switched off",
        "blocked" => "not allowed to use the Gemini API from here",
        other => other,
    }
}
