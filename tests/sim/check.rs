//! Owns: the promises of the contract as facts that are compared after every step and at the end.

mod days;
mod rest;

use crate::people::Wrote;
use crate::telegram::Telegram;
use crate::world::{QUEUE_MAX, USER_QUEUE_MAX, VIP_SLOTS, WORKERS};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use svs_bot::daemon::core::{Core, SENDERS_MAX};
use svs_bot::daemon::event::{AskJob, Event};
use svs_bot::store::inbox::REMEMBER_MS;
use svs_bot::store::outbox::{Kind, Sending};
use svs_bot::types::{MINUTE_MS, Now};

/// What a cut of power may undo: what was committed so lately (contract §5.1: the last second), and
/// the turn that was to sync it.
const UNSYNCED_MS: i64 = 2_500;
/// Rows of `history` that are to be sent: `sync` says so, and the mark has not passed them.
const WAITING_ROWS: &str = "SELECT count(*) FROM history WHERE sync IN (1, 5) OR (sync = 0 AND id >
    (SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'remote_sent'))";
/// Rows are looked at so often; the cheap checks are made after every turn.
const LOOK_EVERY: u64 = 16;

/// A question, as the rows say.
#[derive(Clone, Debug, Default)]
struct Question {
    lane: (i64, i64),
    asks: u32,
    asks_allowed: u32,
    /// Final messages that were shown, and how many may have been.
    finals: u32,
    finals_allowed: u32,
    words: u32,
    /// Whose use of a keyword it counts as.
    counts_for: Option<(i64, i64)>,
    user: i64,
    /// Stands in its text.
    token: String,
    /// Who asked it was forgotten since.
    forgotten: bool,
}

#[derive(Default)]
pub struct Witness {
    wrote: BTreeMap<i64, Wrote>,
    /// Updates that were in the rows when Telegram was told to forget them.
    kept: BTreeSet<i64>,
    /// The earliest and the latest that the bot's clock has shown.
    clock_ms: Option<(i64, i64)>,
    /// By the row of the inbox.
    questions: BTreeMap<i64, Question>,
    last_row: i64,
    /// Which row an update became, so that a repeated delivery is seen to become no second one.
    taken: BTreeMap<i64, i64>,
    asking: BTreeMap<i64, (String, String)>,
    /// Sends under way: the row of the outbox, and whether it was shown.
    sending: BTreeMap<i64, (i64, bool)>,
    /// Settled events that no turn has committed yet.
    heard: Vec<Heard>,
    /// What was committed lately, for cuts of power.
    lately: VecDeque<(i64, Heard)>,
    /// Since when the disk refuses turns, and so may refuse to be synced.
    refused_ms: Option<i64>,
    /// The last question of a lane whose answer was begun.
    answered_upto: BTreeMap<(i64, i64), i64>,
    registered: BTreeMap<(i64, i64), i64>,
    /// Requests that left for Gemini, per project and model.
    dispatched: BTreeMap<(String, String), u64>,
    days: days::Days,
    turns: u64,
    pub accepted: u64,
    pub answers: u64,
    pub shown_twice: u64,
    pub checks: u64,
}

#[derive(Clone, Copy, Debug)]
enum Heard {
    Asked { row: i64, ok: bool },
    Sent { id: i64 },
}

impl Witness {
    pub fn wrote(&mut self, wrote: Wrote) {
        self.wrote.insert(wrote.update, wrote);
    }

    /// A job to ask leaves.
    pub fn asks(&mut self, job: &AskJob) -> Result<(), String> {
        let project = job.key.expose().split('-').nth(2).unwrap_or_default().to_owned();
        *self.dispatched.entry((project.clone(), job.model.clone())).or_default() += 1;
        self.days.leaves(job.inbox, (project.clone(), job.model.clone()));
        for media in &job.media {
            let of = media.file_id.trim_start_matches('f').split('-').next().unwrap_or_default();
            // Late parts of an album have no caption of their own.
            if job.text.contains("what is q") && !job.text.contains(&format!("q{of}q")) {
                return Err(format!(
                    "question {} has somebody else's file {}",
                    job.inbox, media.file_id
                ));
            }
        }
        // The turn that took it in may be the one that asks.
        let question = self.questions.entry(job.inbox).or_insert_with(Question::fresh);
        question.asks += 1;
        if question.asks_allowed < question.asks {
            return Err(format!(
                "question {} is asked {} times, needed were {}",
                job.inbox, question.asks, question.asks_allowed
            ));
        }
        if self.asking.insert(job.inbox, (project, job.model.clone())).is_some() {
            return Err(format!("question {} is asked twice at once", job.inbox));
        }
        Ok(())
    }

    pub fn sends(&mut self, sending: &Sending) -> Result<(), String> {
        if self.sending.insert(sending.id, (sending.what.inbox, false)).is_some() {
            return Err(format!("message {} is sent twice at once", sending.id));
        }
        Ok(())
    }

    /// Telegram shows a new message.
    pub fn shown(&mut self, sending: &Sending, lost: bool, _now_ms: i64) -> Result<(), String> {
        let what = &sending.what;
        if let Some(sent) = self.sending.get_mut(&sending.id) {
            sent.1 = true;
        }
        if what.inbox == 0 {
            return Ok(());
        }
        self.in_order(sending)?;
        let Some(question) = self.questions.get_mut(&what.inbox) else {
            return Err(format!("an answer to an unknown question {}", what.inbox));
        };
        question.words += 1;
        if what.last {
            question.finals += 1;
            self.answers += 1;
            if question.finals > 1 {
                self.shown_twice += 1;
            }
            if question.finals_allowed < question.finals {
                return Err(format!(
                    "question {} is answered {} times, excused are {}",
                    what.inbox, question.finals, question.finals_allowed
                ));
            }
        }
        if lost {
            question.finals_allowed += 1;
        }
        Ok(())
    }

    pub fn edited(&mut self, sending: &Sending) -> Result<(), String> {
        if sending.what.inbox == 0 || sending.what.kind == Kind::Delete {
            return Ok(());
        }
        self.in_order(sending)?;
        if let Some(question) = self.questions.get_mut(&sending.what.inbox) {
            question.words += 1;
            if sending.what.last && question.finals == 0 {
                question.finals = 1;
                self.answers += 1;
            }
        }
        Ok(())
    }

    /// Answers of a lane come in the order of its questions; what is shown again keeps its place.
    fn in_order(&mut self, sending: &Sending) -> Result<(), String> {
        let what = &sending.what;
        let lane = (what.lane.chat.0, what.lane.topic.0);
        let upto = self.answered_upto.entry(lane).or_insert(0);
        let again = self.questions.get(&what.inbox).is_some_and(|question| question.finals > 0);
        if what.inbox < *upto && !again {
            return Err(format!("question {} is answered after {}", what.inbox, *upto));
        }
        *upto = (*upto).max(what.inbox);
        Ok(())
    }

    /// An event reached the core.
    pub fn hears(&mut self, event: &Event) {
        match event {
            Event::Asked(asked) => {
                self.heard.push(Heard::Asked { row: asked.inbox, ok: asked.result.is_ok() });
            }
            Event::Sent { sending, .. } => self.heard.push(Heard::Sent { id: sending.id }),
            _ => {}
        }
    }

    /// A turn was refused by the disk.
    pub fn refused(&mut self, now_ms: i64) {
        self.refused_ms.get_or_insert(now_ms);
    }

    /// A turn was committed, at this time by the bot's clock: what was heard before it is settled.
    pub fn committed(&mut self, now_ms: i64, by_bot: Now) {
        self.days.turn(by_bot, &self.asking.keys().copied().collect());
        if self.refused_ms.take().is_some() {
            // Nothing was synced meanwhile: it is as young as this turn.
            self.lately.iter_mut().for_each(|(at, _)| *at = now_ms);
            self.days.unsynced(now_ms);
        }
        for heard in std::mem::take(&mut self.heard) {
            match heard {
                Heard::Asked { row, ok } => {
                    // An answer may still wait for its preview: its place is held until then.
                    self.asking.remove(&row);
                    self.days.ended(row, now_ms);
                    if let (false, Some(question)) = (ok, self.questions.get_mut(&row)) {
                        question.asks_allowed += 1;
                    }
                }
                Heard::Sent { id } => {
                    self.sending.remove(&id);
                }
            }
            self.lately.push_back((now_ms, heard));
        }
        while self.lately.front().is_some_and(|(at, _)| *at + UNSYNCED_MS < now_ms) {
            self.lately.pop_front();
        }
        self.days.synced(now_ms - UNSYNCED_MS);
    }

    /// The process ends: what was in flight may happen once more.
    pub fn dies(&mut self, power: bool, now_ms: i64) {
        for row in std::mem::take(&mut self.asking).into_keys() {
            self.may_ask_again(row);
        }
        for (row, _) in std::mem::take(&mut self.sending).into_values() {
            if let Some(question) = self.questions.get_mut(&row) {
                question.finals_allowed += 1;
            }
        }
        self.heard.clear();
        let lately = std::mem::take(&mut self.lately);
        if !power {
            self.lately = lately;
            return;
        }
        self.days.power_cut();
        let synced_ms = self.refused_ms.take().unwrap_or(now_ms) - UNSYNCED_MS;
        for (at, heard) in lately {
            if at < synced_ms {
                continue;
            }
            match heard {
                Heard::Asked { row, .. } => {
                    self.may_ask_again(row);
                    self.may_show_again(row);
                }
                // The row of the outbox may be another's by now; any answer of late may come again.
                Heard::Sent { .. } => {}
            }
        }
        for question in self.questions.values_mut().rev().take(50) {
            question.finals_allowed += 1;
        }
    }

    /// A life begins. A cut of power may have taken rows whose updates were not confirmed yet: those come again,
    /// and their numbers may become those of others.
    pub fn starts(&mut self, core: &Core) {
        let newest = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'inbox'";
        let Ok(newest) = count(core, newest, &[]) else { return };
        for question in self.questions.split_off(&(newest + 1)).into_values() {
            self.accepted -= 1;
            if let Some(counted) = question.counts_for.and_then(|of| self.registered.get_mut(&of)) {
                *counted -= 1;
            }
        }
        self.taken.retain(|_, row| *row <= newest);
        self.registered.retain(|_, counted| *counted > 0);
        self.last_row = self.last_row.min(newest);
        self.answered_upto.values_mut().for_each(|upto| *upto = (*upto).min(newest));
    }

    /// Everybody who has written so far.
    pub fn people(&self) -> Vec<i64> {
        let people: BTreeSet<i64> = self.wrote.values().map(|wrote| wrote.user).collect();
        people.into_iter().collect()
    }

    /// Those of them whose question waits or is being asked.
    pub fn waiting(&self, core: Option<&Core>) -> Vec<i64> {
        let Some(core) = core else { return Vec::new() };
        let found = core.store.read(|db| {
            db.prepare_cached(
                "SELECT DISTINCT user_id FROM inbox WHERE state IN (1, 2) ORDER BY user_id",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<Vec<i64>, rusqlite::Error>>()
        });
        found.unwrap_or_default()
    }

    /// What a person has asked so far leaves no trace, here or there.
    pub fn forgot(&mut self, user: i64) {
        self.registered.retain(|(of, _), _| *of != user);
        for question in self.questions.values_mut() {
            if question.user == user {
                question.forgotten = true;
                question.counts_for = None;
            }
        }
    }

    fn may_ask_again(&mut self, row: i64) {
        if let Some(question) = self.questions.get_mut(&row) {
            question.asks_allowed += 1;
        }
    }

    fn may_show_again(&mut self, row: i64) {
        if let Some(question) = self.questions.get_mut(&row) {
            question.finals_allowed += 1;
        }
    }

    /// Telegram forgets an update: it must be in the rows.
    pub fn confirmed(&mut self, core: Option<&Core>, update: i64) -> Result<(), String> {
        let Some(core) = core else { return Ok(()) };
        let found = count(core, "SELECT count(*) FROM inbox WHERE update_id = ?1", &[update])?;
        if found != 1 {
            return Err(format!("update {update} is confirmed and not in the rows"));
        }
        self.kept.insert(update);
        Ok(())
    }

    /// After each committed turn.
    pub fn after_turn(
        &mut self,
        core: &Core,
        now: Now,
        _telegram: &Telegram,
    ) -> Result<(), String> {
        self.turns += 1;
        let (first, last) = self.clock_ms.unwrap_or((now.unix_ms, now.unix_ms));
        self.clock_ms = Some((first.min(now.unix_ms), last.max(now.unix_ms)));
        self.take_new_questions(core)?;
        let in_hand: BTreeMap<&str, usize> = core.in_hand().into_iter().collect();
        for (name, most) in
            [("asking", WORKERS), ("sending", SENDERS_MAX), ("calls", 9), ("presses", 8)]
        {
            self.checks += 1;
            if in_hand[name] > most {
                return Err(format!("{name}: {} in hand, at most {most}", in_hand[name]));
            }
        }
        if !self.turns.is_multiple_of(LOOK_EVERY) {
            return Ok(());
        }
        self.checks += 4;
        let pending = count(core, "SELECT count(*) FROM inbox WHERE state IN (1, 2)", &[])?;
        if pending > i64::from(QUEUE_MAX) {
            return Err(format!("{pending} questions wait, at most {QUEUE_MAX}"));
        }
        let of_one = count(
            core,
            "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM inbox WHERE state IN (1, 2) GROUP BY user_id)",
            &[],
        )?;
        if of_one > i64::from(USER_QUEUE_MAX) {
            return Err(format!("{of_one} questions of one person wait"));
        }
        let slots = count(
            core,
            "SELECT count(*) FROM session WHERE slot = 1 AND last_ms > ?1 AND rounds < rounds_max",
            &[now.unix_ms - 10 * MINUTE_MS],
        )?;
        if slots > i64::from(VIP_SLOTS) {
            return Err(format!("{slots} group sessions at once"));
        }
        let heads = count(
            core,
            "SELECT count(*) FROM (SELECT 1 FROM inbox WHERE state IN (1, 2) GROUP BY chat_id, topic_id HAVING sum(head) != 1)",
            &[],
        )?;
        if heads != 0 {
            return Err(format!("{heads} lanes have no first question, or two"));
        }
        Ok(())
    }

    fn take_new_questions(&mut self, core: &Core) -> Result<(), String> {
        let rows: Vec<(i64, i64, i64, i64)> = core
            .store
            .read(|db| {
                let mut rows = db.prepare_cached(
                    "SELECT id, update_id, chat_id, topic_id FROM inbox WHERE id > ?1 ORDER BY id",
                )?;
                rows.query_map([self.last_row], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect::<Result<Vec<_>, rusqlite::Error>>()
            })
            .map_err(|error| error.to_string())?;
        for (row, update, chat, topic) in rows {
            self.last_row = row;
            if chat == 0 {
                continue;
            }
            // A clock that leaps by days makes the bot forget what it has taken.
            let leapt = self.clock_ms.is_some_and(|(first, last)| last - first > REMEMBER_MS / 2);
            if self.taken.insert(update, row).is_some() && !leapt {
                return Err(format!("update {update} is taken up twice, again as {row}"));
            }
            self.accepted += 1;
            let question = self.questions.entry(row).or_insert_with(Question::fresh);
            question.lane = (chat, topic);
            let Some(wrote) = self.wrote.get(&update) else { continue };
            (question.user, question.token) = (wrote.user, wrote.token.clone());
            if wrote.keyword {
                question.counts_for = Some((wrote.user, wrote.chat));
                *self.registered.entry((wrote.user, wrote.chat)).or_default() += 1;
            }
        }
        Ok(())
    }

    /// Nothing is left to ask, to say or to bring to Supabase.
    pub fn nothing_waits(&self, core: &Core) -> Result<bool, String> {
        for sql in [
            "SELECT count(*) FROM inbox WHERE state IN (1, 2)",
            "SELECT count(*) FROM outbox",
            WAITING_ROWS,
            "SELECT count(*) FROM registry WHERE sync = 0",
            "SELECT count(*) FROM erasure",
        ] {
            if count(core, sql, &[])? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn unrest(&self, core: &Core) -> String {
        let of = |sql| count(core, sql, &[]).unwrap_or(-1);
        format!(
            "{} erasures, {} questions ({} heads to take, due {}), {} messages (due {}), {} rows of history, {} of the registry; in hand {:?}",
            of("SELECT count(*) FROM erasure"),
            of("SELECT count(*) FROM inbox WHERE state IN (1, 2)"),
            of("SELECT count(*) FROM inbox WHERE state = 1 AND head = 1"),
            of("SELECT min(due_ms) FROM inbox WHERE state = 1 AND head = 1"),
            of("SELECT count(*) FROM outbox"),
            of("SELECT min(due_ms) FROM outbox WHERE state = 0 AND head = 1"),
            of(WAITING_ROWS),
            of("SELECT count(*) FROM registry WHERE sync = 0"),
            core.in_hand()
        )
    }
}

impl Question {
    fn fresh() -> Self {
        Self { asks_allowed: 1, finals_allowed: 1, ..Self::default() }
    }
}

fn count(core: &Core, sql: &str, values: &[i64]) -> Result<i64, String> {
    core.store
        .read(|db| {
            db.prepare_cached(sql)?
                .query_row(rusqlite::params_from_iter(values), |row| row.get::<_, i64>(0))
        })
        .map_err(|error| format!("{sql}: {error}"))
}
