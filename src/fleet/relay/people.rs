//! Owns: what this box tells and hears of the bot's people with its looks: live sessions of the partitions it holds.
//! May not: decide which session counts.
//! Invariant: nothing is written of a partition before its sessions were read, nor without its fence.

use super::{Item, PARTITIONS, Relay, Script, partition_of};
use crate::engine::fleet::people::{
    Carried, SESSION_BYTES_MAX, Word, read_session_field, session_field,
};
use crate::types::{Lane, SECOND_MS, UnixMs, UserId};
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

/// What waits to be told.
#[derive(Debug, Default)]
pub(super) struct People {
    /// This box's clock is so far ahead of Redis'.
    pub(super) ahead_ms: i64,
    words: BTreeMap<(usize, String), Word>,
    /// Some of it may never have come to Redis.
    forgot: bool,
    /// Sessions whose place is another's.
    pub(super) unplaced: Vec<(Lane, UserId)>,
}

impl People {
    /// Redis was away.
    pub(super) fn forget(&mut self) {
        self.words.clear();
        self.forgot = true;
    }

    /// Whether everything is to be told again; once.
    pub(super) fn was_forgotten(&mut self) -> bool {
        std::mem::take(&mut self.forgot)
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
    pub fn tell_sessions(&mut self, words: Vec<Word>) {
        for word in words {
            let name = (partition_of(word.lane.chat), session_field(word.lane, word.user));
            self.people.words.insert(name, word);
        }
        if self.people.words.len() > WAITING_MAX {
            self.people.forget();
        }
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
    pub(super) fn keep_sessions(&mut self) {
        if self.name.is_empty() || self.people.words.is_empty() {
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
                Err(_) => self.people.forget(),
            }
        }
        for place in told {
            self.people.words.remove(&place);
        }
    }
}
