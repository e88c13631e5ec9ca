//! Owns: what this box tells and hears of the bot's people with its looks: live sessions of the partitions it holds.
//! May not: decide which session counts.
//! Invariant: nothing is written of a partition before its sessions were read, nor without its fence.

use super::{Item, PARTITIONS, Relay, Script, partition_of};
use crate::engine::fleet::people::{
    About, Carried, Fact, PlaceAsk, PlaceSaid, SESSION_BYTES_MAX, Word, read_session_field,
    session_field,
};
use crate::types::{DAY_MS, HOUR_MS, Lane, SECOND_MS, UnixMs, UserId};
use std::collections::BTreeMap;

/// Where a partition stands whose sessions are not known yet.
pub(super) const UNKNOWN: &str = "+";
/// Sessions of one partition; of more the newcomers stay with their box.
const SESSIONS_MAX: usize = 500;
/// Words that wait for Redis; past them everything is told again.
const WAITING_MAX: usize = 512;
/// Bytes written at once, roughly.
const WRITE_BYTES_MAX: usize = 8 * SESSION_BYTES_MAX;
/// Sessions read at once.
const READ_MAX: usize = 16;
/// A place is kept so much longer than a session is live: clocks differ.
const PLACE_MARGIN_MS: i64 = 2 * SECOND_MS;
/// Facts of one bot: roles, codes, who asked to be forgotten.
const FACTS_MAX: usize = 20_000;
/// The most bytes of one; longer ones are not ours.
const FACT_BYTES_MAX: usize = 1_024;
/// Facts told and read at once.
const FACTS_AT_ONCE: usize = 200;
/// Facts leave so long after a box last told or read any; a box that is up does within the hour.
const FACTS_LIFE_MS: i64 = 30 * DAY_MS;
const FACTS_EVERY_MS: i64 = HOUR_MS;
/// What is no more is forgotten after so long where room is needed.
const NO_MORE_KEPT_MS: i64 = 90 * DAY_MS;
/// After a refusal, until the next try.
const AGAIN_MS: i64 = SECOND_MS;

/// What waits to be told.
#[derive(Debug, Default)]
pub(super) struct People {
    /// This box's clock is so far ahead of Redis'.
    pub(super) ahead_ms: i64,
    words: BTreeMap<(usize, String), Word>,
    /// Some of it may never have come to Redis.
    forgot: bool,
    not_before_ms: UnixMs,
    /// What this box has learned.
    facts: BTreeMap<String, Fact>,
    /// Number of the last fact heard, and of the last that was told by any box.
    pub(super) heard: i64,
    pub(super) told_by_all: i64,
    met_ms: UnixMs,
    /// Sessions whose place is another's.
    pub(super) unplaced: Vec<(Lane, UserId)>,
}

impl People {
    /// Redis was away.
    pub(super) fn forget(&mut self, now_ms: UnixMs) {
        self.words.clear();
        self.forgot = true;
        self.not_before_ms = now_ms + AGAIN_MS;
    }

    /// Whether everything is to be told again; once.
    pub(super) fn was_forgotten(&mut self, now_ms: UnixMs) -> bool {
        self.not_before_ms <= now_ms && std::mem::take(&mut self.forgot)
    }

    /// By Redis' clock.
    fn text_for_all(&self, session: &Carried) -> String {
        let shared = |at_ms: UnixMs| at_ms.saturating_sub(self.ahead_ms);
        let (opened_ms, last_ms) = (shared(session.opened_ms), shared(session.last_ms));
        Carried { opened_ms, last_ms, ..session.clone() }.to_text()
    }

    /// Whether something of this partition was not told.
    pub(super) fn waits(&self, part: usize) -> bool {
        self.words.range((part, String::new())..(part + 1, String::new())).next().is_some()
    }
}

impl Relay {
    /// These sessions have changed; Redis is told with the next look.
    pub fn tell_sessions(&mut self, words: Vec<Word>, now_ms: UnixMs) {
        for word in words {
            let name = (partition_of(word.lane.chat), session_field(word.lane, word.user));
            self.people.words.insert(name, word);
        }
        if self.people.words.len() > WAITING_MAX {
            self.people.forget(now_ms);
        }
    }

    /// This box has learned something; Redis is told with the next look.
    pub fn tell_facts(&mut self, facts: Vec<Fact>) {
        for fact in facts {
            let known = self.people.facts.contains_key(&fact.field);
            if known || self.people.facts.len() < FACTS_MAX {
                self.people.facts.insert(fact.field.clone(), fact);
            }
        }
    }

    /// Takes a place for a group session, of all boxes' together.
    pub fn place(&mut self, ask: &PlaceAsk, now_ms: UnixMs) -> PlaceSaid {
        let mut said = PlaceSaid { inbox: ask.inbox, granted: None, wait_ms: 0 };
        if self.name.is_empty() || self.people.not_before_ms > now_ms {
            return said;
        }
        let gone = ask.gone.map(|(lane, user)| session_field(lane, user));
        let until_ms = ask.until_ms - self.people.ahead_ms + PLACE_MARGIN_MS;
        let arguments = [
            session_field(ask.lane, ask.user),
            until_ms.to_string(),
            ask.places.to_string(),
            u8::from(ask.evicts).to_string(),
            gone.unwrap_or_default(),
        ];
        let Ok(reply) = self.call(Script::Seat, &[self.key("places")], &arguments) else {
            self.people.not_before_ms = now_ms + AGAIN_MS;
            return said;
        };
        said.granted = reply.first().and_then(Item::number).map(|granted| granted == 1);
        said.wait_ms = reply.get(1).and_then(Item::number).unwrap_or(0);
        let taken = reply.get(2).and_then(|taken| read_session_field(taken.text()));
        if let Some((lane, user)) = taken {
            // Whoever has it ends it.
            let field = About::Ended(lane, user).field();
            self.tell_facts(vec![Fact { field, version: now_ms, value: String::new() }]);
        }
        said
    }

    /// Tells what this box has learned and hears what others have, when there is any or it is time: the facts, and whether
    /// everything that this box knows is to be told.
    pub fn meet(&mut self, now_ms: UnixMs) -> (Vec<Fact>, bool) {
        let people = &self.people;
        let stale = now_ms.saturating_sub(people.met_ms) >= FACTS_EVERY_MS;
        let idle = people.facts.is_empty() && people.told_by_all <= people.heard && !stale;
        if idle || self.name.is_empty() || people.not_before_ms > now_ms {
            return (Vec::new(), false);
        }
        let mut arguments = vec![people.heard.to_string(), FACTS_AT_ONCE.to_string()];
        arguments.push(FACTS_MAX.to_string());
        arguments.extend([FACTS_LIFE_MS, NO_MORE_KEPT_MS].map(|number| number.to_string()));
        let told: Vec<Fact> = people.facts.values().take(FACTS_AT_ONCE).cloned().collect();
        for fact in &told {
            arguments.extend([fact.field.clone(), fact.version.to_string(), fact.value.clone()]);
        }
        let keys = ["leases", "people", "people-order"].map(|name| self.key(name));
        let Ok(reply) = self.call(Script::Meet, &keys, &arguments) else {
            self.people.not_before_ms = now_ms + AGAIN_MS;
            return (Vec::new(), false);
        };
        self.people.met_ms = now_ms;
        for fact in told {
            self.people.facts.remove(&fact.field);
        }
        let entries = reply.get(1..).unwrap_or_default().chunks_exact(4);
        let whole = entries.len() < FACTS_AT_ONCE;
        let mut facts = Vec::new();
        for entry in entries {
            let [number, field, version, value] = entry else { continue };
            self.people.heard = number.number().unwrap_or(0).max(self.people.heard);
            if field.text().len() + value.text().len() > FACT_BYTES_MAX {
                continue;
            }
            let field = field.text().to_owned();
            let version = version.number().unwrap_or(0);
            facts.push(Fact { field, version, value: value.text().to_owned() });
        }
        if whole {
            let last = reply.first().and_then(Item::number).unwrap_or(0);
            self.people.heard = last.max(self.people.heard);
        }
        (facts, stale)
    }

    /// Reads the sessions of a partition that was taken over: only then are its updates read.
    ///
    /// # Errors
    /// Redis is away: one line, without the URL.
    pub fn take_over(&mut self, now_ms: UnixMs) -> Result<Option<(usize, Vec<Carried>)>, String> {
        let unknown = self.parts.iter().find(|(_, part)| part.cursor == UNKNOWN);
        let Some(number) = unknown.map(|(number, _)| *number) else { return Ok(None) };
        let keys = [self.key(&format!("sessions:{number}"))];
        let (mut sessions, mut read, mut all) = (Vec::new(), 0, 1);
        while read < all {
            let arguments = [read.to_string(), READ_MAX.to_string()];
            let reply = self.call(Script::Load, &keys, &arguments)?;
            let count = reply.first().and_then(Item::number).unwrap_or(0);
            // What a stranger put there has an end as well.
            all = usize::try_from(count).unwrap_or(0).min(SESSIONS_MAX);
            for pair in reply.get(1..).unwrap_or_default().chunks(2) {
                let [name, text] = pair else { continue };
                sessions.extend(Carried::read(name.text(), text.text()));
            }
            read += READ_MAX;
        }
        let ahead_ms = self.people.ahead_ms;
        sessions.retain(|session| partition_of(session.lane.chat) == number);
        for session in &mut sessions {
            session.opened_ms = session.opened_ms.saturating_add(ahead_ms).min(now_ms);
            session.last_ms = session.last_ms.saturating_add(ahead_ms).min(now_ms);
        }
        if let Some(part) = self.parts.get_mut(&number) {
            part.cursor = "0-0".to_owned();
        }
        // It is told again what of them is not as it is here.
        self.people.words.retain(|(part, _), _| *part != number);
        Ok(Some((number, sessions)))
    }

    /// Writes what has changed. A Redis that refuses is told later: what is settled must be able to leave.
    pub(super) fn keep_sessions(&mut self, now_ms: UnixMs) {
        let waits = self.people.words.is_empty() || self.people.not_before_ms > now_ms;
        if self.name.is_empty() || waits {
            return;
        }
        let mut arguments = vec![self.id.clone(), SESSIONS_MAX.to_string()];
        let (mut told, mut written, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (place, word) in &self.people.words {
            let Some(part) = self.parts.get(&place.0) else {
                // Not ours any more.
                told.push(place.clone());
                continue;
            };
            if part.cursor == UNKNOWN || bytes > WRITE_BYTES_MAX {
                continue;
            }
            let text = word.session.as_ref().map(|session| self.people.text_for_all(session));
            let text = text.unwrap_or_default();
            bytes += text.len();
            let until_ms = match word.holds_until_ms {
                0 => 0,
                until_ms => until_ms - self.people.ahead_ms + PLACE_MARGIN_MS,
            };
            arguments.extend([place.0, word.places as usize].map(|number| number.to_string()));
            arguments.extend([part.fence, until_ms, word.idle_ms].map(|number| number.to_string()));
            arguments.extend([place.1.clone(), text]);
            written.push(place.clone());
        }
        if !written.is_empty() {
            let mut keys = vec![self.key("leases"), self.key("places")];
            keys.extend((0..PARTITIONS).map(|part| self.key(&format!("sessions:{part}"))));
            match self.call(Script::Keep, &keys, &arguments) {
                Ok(reply) => {
                    let said = reply.iter().filter_map(Item::number);
                    for (place, _) in written.iter().zip(said).filter(|(_, said)| *said == 3) {
                        self.people.unplaced.extend(read_session_field(&place.1));
                    }
                    told.extend(written);
                }
                Err(_) => self.people.forget(now_ms),
            }
        }
        for place in told {
            self.people.words.remove(&place);
        }
    }
}
