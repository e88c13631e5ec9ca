//! Owns: one bot on several boxes: updates in streams of Redis by chat, and which box has which of them.
//! May not: read an update, wait, decide what is settled.
//! Invariant: a partition is read by the box that holds its lease, and let go only when nothing of it is in hand.

mod held;
mod people;

pub use held::Held;

use super::door::{Door, Item, Script};
use super::keys::{leases_key, prefix, stream_key};
use crate::engine::fleet::people::{Carried, Fact, PlaceSaid};
use crate::types::{ChatId, HOUR_MS, Lane, Secret, UnixMs, UserId};
use std::collections::{BTreeMap, BTreeSet};

/// Streams of one bot, for all time: boxes that differ in this refuse to work together.
pub const PARTITIONS: usize = 16;
/// A box not heard of for so long has lost what it held. Half of what the next is promised to take.
pub const LEASE_MS: i64 = 8_000;
/// A box that has not asked Redis for so long says nothing until it has: somebody else may hold its chats.
pub const HOLD_MS: i64 = 6_000;
/// Entries of one stream; past them Telegram is told to come again.
const BACKLOG_MAX: usize = 50_000;
/// How long it is known that an update was stored.
const MARK_MS: i64 = 6 * HOUR_MS;
/// Entries read at once, and in hand at once.
const READ_MAX: usize = 32;
const HAND_MAX: usize = 4_096;
/// Settled entries told at once.
const SETTLED_MAX: usize = 500;
/// A partition that is wanted elsewhere rests so long, and is then read again for so long if it did not get empty.
const DRAIN_MS: i64 = 20_000;
const DRAIN_AGAIN_MS: i64 = 60_000;

/// An update on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its number.
    pub update: i64,
    /// Whose order it belongs to; none for what belongs to no chat.
    pub chat: Option<ChatId>,
    /// As it came.
    pub body: String,
    /// Why it cannot be read; empty when it can.
    pub why: String,
}

/// An update of a partition that this box holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which partition.
    pub part: usize,
    /// Its id in the stream.
    pub id: String,
    /// The update's number.
    pub update: i64,
    /// As it came.
    pub body: String,
    /// Why it cannot be read; empty when it can.
    pub why: String,
}

/// What one look at Redis brought, in the order in which it is to be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Redis' data are others than before: what was taken in is nowhere else.
    pub emptied: bool,
    /// Partitions that another box has taken.
    pub lost: Vec<usize>,
    /// Partitions that are wanted elsewhere: what of them only waits is to be let go.
    pub wanted: Vec<usize>,
    /// What is held now, when that has changed.
    pub held: Option<Held>,
    /// Settled entries that Redis has heard of.
    pub told: Vec<(usize, String)>,
    /// To be taken in.
    pub entries: Vec<Entry>,
    /// Sessions of a partition that this box has taken over.
    pub sessions: Option<(usize, Vec<Carried>)>,
    /// Redis was away: what it was told of sessions may not have come to it.
    pub retell: bool,
    /// What other boxes know of the bot's people.
    pub facts: Vec<Fact>,
    /// What became of a place that was asked for.
    pub place: Option<PlaceSaid>,
    /// Sessions whose place in a group is another's by now.
    pub unplaced: Vec<(Lane, UserId)>,
}

impl Tick {
    /// Nothing has happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How it stands, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayView {
    /// Boxes of this bot.
    pub boxes: u32,
    /// Partitions held by this one.
    pub partitions: u32,
    /// Entries of all boxes that are not settled.
    pub backlog: u64,
    /// Age of the oldest of them.
    pub lag_ms: i64,
    /// Updates stored by this box.
    pub stored: u64,
    /// Updates refused, so that Telegram comes again.
    pub refused: u64,
    /// Updates taken in.
    pub taken: u64,
    /// Partitions lost to others.
    pub lost: u64,
    /// Commands sent.
    pub commands: u64,
}

#[derive(Debug)]
struct Part {
    fence: i64,
    cursor: String,
    /// Read and not settled.
    hand: BTreeSet<String>,
    drain_since_ms: Option<UnixMs>,
    /// What waited was let go: the cursor stands at the beginning and everything was seen.
    left: bool,
}

/// What a box may do with updates at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Takes its part.
    Joins,
    /// Finishes what it has, and takes nothing new.
    Finishes,
    /// Ends: others may take over at once.
    Leaves,
}

/// This box's part in the bot; belongs to one thread.
pub struct Relay {
    url: Secret,
    roots: Option<Vec<u8>>,
    id: String,
    bot: String,
    door: Option<Door>,
    name: String,
    fence: i64,
    parts: BTreeMap<usize, Part>,
    settled: BTreeSet<(usize, String)>,
    people: people::People,
    view: RelayView,
}

impl Relay {
    /// Nothing is connected yet. `id` names this box, `bot` the bot; `held` is what an earlier process held.
    pub fn new(url: Secret, roots: Option<Vec<u8>>, id: String, bot: String, held: &Held) -> Self {
        let part = |fence: i64| Part {
            fence,
            // An earlier process may have been given what it never wrote down.
            cursor: people::UNKNOWN.to_owned(),
            hand: BTreeSet::new(),
            drain_since_ms: None,
            left: false,
        };
        Self {
            url,
            roots,
            id,
            bot,
            door: None,
            name: held.name.clone(),
            fence: held.fences.values().copied().max().unwrap_or(0),
            parts: held.fences.iter().map(|(number, fence)| (*number, part(*fence))).collect(),
            settled: BTreeSet::new(),
            people: people::People::default(),
            view: RelayView::default(),
        }
    }

    /// How it stands.
    pub fn view(&self) -> RelayView {
        self.view
    }

    /// Stores updates: whether each is stored.
    ///
    /// # Errors
    /// Redis is away or full: one line, without the URL. Some may be stored all the same.
    pub fn push(&mut self, updates: &[Push]) -> Result<Vec<bool>, String> {
        let mut keys = Vec::new();
        let mut arguments = vec![BACKLOG_MAX.to_string(), MARK_MS.to_string()];
        for update in updates {
            keys.push(self.stream(partition(update.chat, update.update)));
            keys.push(format!("{}mark:{}", self.prefix(), update.update));
            arguments.extend([update.update.to_string(), update.body.clone(), update.why.clone()]);
        }
        let reply = self.call(Script::Push, &keys, &arguments);
        let stored: Vec<bool> = match &reply {
            Ok(reply) => reply.iter().map(|item| item.number() == Some(1)).collect(),
            Err(_) => vec![false; updates.len()],
        };
        let good = stored.iter().filter(|stored| **stored).count();
        self.view.stored += good as u64;
        self.view.refused += updates.len().saturating_sub(good) as u64;
        reply.map(|_| stored)
    }

    /// These are answered and said; Redis is told with the next tick.
    pub fn settle(&mut self, entries: Vec<(usize, String)>) {
        self.settled.extend(entries);
    }

    /// These wait for whoever has their partition next.
    pub fn let_go(&mut self, entries: &[(usize, String)]) {
        for (number, id) in entries {
            if let Some(part) = self.parts.get_mut(number) {
                part.hand.remove(id);
                // Should it stay here after all, they are read again.
                part.cursor = "0-0".to_owned();
                part.left = true;
            }
        }
    }

    /// Whether another tick would bring more at once.
    pub fn is_behind(&self, last: &Tick) -> bool {
        let whole = last.entries.len() < READ_MAX && self.parts.values().all(Part::is_seen);
        !last.entries.is_empty() && !whole || !self.settled.is_empty()
    }

    /// Keeps what is held, tells what is settled, reads what is new.
    ///
    /// # Errors
    /// Redis is away: one line, without the URL.
    pub fn tick(&mut self, mode: Mode, now_ms: UnixMs) -> Result<Tick, String> {
        // Sessions first: what is settled after that is part of them.
        self.keep_sessions(now_ms);
        let mut keys = vec![format!("{}boxes", self.prefix()), format!("{}leases", self.prefix())];
        keys.extend((0..PARTITIONS).map(|part| self.stream(part)));
        let told: Vec<(usize, String)> = self.settled.iter().take(SETTLED_MAX).cloned().collect();
        let reply = self.call(Script::Tick, &keys, &self.arguments(mode, &told, now_ms));
        if reply.is_err() {
            // A reply that was lost on the way may have held updates: they are asked for once more.
            for part in self.parts.values_mut().filter(|part| part.cursor != people::UNKNOWN) {
                part.cursor = "0-0".to_owned();
                part.left = false;
                // It begins to rest anew, once it was read.
                part.drain_since_ms = None;
            }
            self.people.forget(now_ms);
        }
        let reply = reply?;
        for entry in &told {
            self.settled.remove(entry);
            if let Some(part) = self.parts.get_mut(&entry.0) {
                part.hand.remove(&entry.1);
            }
        }
        Ok(self.heard(&mut Words(reply.iter()), told, now_ms))
    }

    fn arguments(&self, mode: Mode, told: &[(usize, String)], now_ms: UnixMs) -> Vec<String> {
        let in_hand: usize = self.parts.values().map(|part| part.hand.len()).sum();
        let room =
            if mode == Mode::Joins { HAND_MAX.saturating_sub(in_hand).min(READ_MAX) } else { 0 };
        let code = match mode {
            Mode::Joins => 1,
            Mode::Finishes => 0,
            Mode::Leaves => -1,
        };
        let mut all = vec![
            self.id.clone(),
            LEASE_MS.to_string(),
            format!("{}.{now_ms}", self.id),
            self.fence.to_string(),
            room.to_string(),
            code.to_string(),
            self.parts.len().to_string(),
        ];
        for (number, part) in &self.parts {
            let cursor = if part.rests(now_ms) { "-" } else { part.cursor.as_str() };
            all.extend([number.to_string(), part.fence.to_string(), cursor.to_owned()]);
        }
        let free: Vec<_> = self
            .parts
            .iter()
            // What an earlier process was given has to be seen before it can be called empty.
            .filter(|(_, part)| part.rests(now_ms) && part.hand.is_empty() && part.is_seen())
            .filter(|(number, _)| !self.people.waits(**number))
            .map(|(number, _)| number.to_string())
            .collect();
        all.push(free.len().to_string());
        all.extend(free);
        all.push(told.len().to_string());
        for (part, id) in told {
            all.extend([part.to_string(), id.clone()]);
        }
        all
    }

    fn heard(&mut self, words: &mut Words<'_>, told: Vec<(usize, String)>, now_ms: UnixMs) -> Tick {
        let mut tick = Tick { told, ..Tick::default() };
        self.people.ahead_ms = now_ms.saturating_sub(words.number());
        let name = words.text();
        self.view.boxes = u32::try_from(words.number()).unwrap_or(0);
        let target = usize::try_from(words.number()).unwrap_or(0);
        self.view.backlog = u64::try_from(words.number()).unwrap_or(0);
        self.view.lag_ms = words.number();
        self.people.told_by_all = words.number();
        if name != self.name {
            tick.emptied = !self.name.is_empty();
            self.name = name;
            self.parts.clear();
            self.settled.clear();
            self.people.heard = 0;
        }
        let before: BTreeMap<usize, i64> =
            self.parts.iter().map(|(number, part)| (*number, part.fence)).collect();
        let mut parts = BTreeMap::new();
        for _ in 0..words.number() {
            let (number, fence, cursor) = (words.index(), words.number(), words.text());
            self.fence = self.fence.max(fence);
            let mut part = match self.parts.remove(&number) {
                Some(known) if known.fence == fence => known,
                _ => Part {
                    fence,
                    cursor: String::new(),
                    hand: BTreeSet::new(),
                    drain_since_ms: None,
                    left: false,
                },
            };
            // A rest does not lose the place.
            if cursor != "-" {
                part.cursor = cursor;
                part.left = false;
            }
            parts.insert(number, part);
        }
        self.parts = parts;
        for _ in 0..words.number() {
            tick.lost.push(words.index());
            self.view.lost += 1;
        }
        for _ in 0..words.number() {
            let entry = Entry {
                part: words.index(),
                id: words.text(),
                update: words.number(),
                body: words.text(),
                why: words.text(),
            };
            if let Some(part) = self.parts.get_mut(&entry.part) {
                part.hand.insert(entry.id.clone());
            }
            self.view.taken += 1;
            tick.entries.push(entry);
        }
        self.settled.retain(|(part, _)| !tick.lost.contains(part));
        tick.wanted = self.rest_what_others_want(target, now_ms);
        let fences = self.parts.iter().map(|(number, part)| (*number, part.fence)).collect();
        if fences != before || tick.emptied || !tick.lost.is_empty() {
            tick.held = Some(Held { name: self.name.clone(), fences });
        }
        self.view.partitions = u32::try_from(self.parts.len()).unwrap_or(0);
        tick.retell = self.people.was_forgotten(now_ms);
        tick.unplaced = std::mem::take(&mut self.people.unplaced);
        tick
    }

    /// What is more than this box's part is read no more until it is empty, and then let go.
    /// Those that begin to rest.
    fn rest_what_others_want(&mut self, target: usize, now_ms: UnixMs) -> Vec<usize> {
        let mut begin = Vec::new();
        for (at, (number, part)) in self.parts.iter_mut().enumerate() {
            if at < target {
                part.drain_since_ms = None;
            } else if part.drain_since_ms.is_none() && part.cursor == ">" {
                part.drain_since_ms = Some(now_ms);
                begin.push(*number);
            }
        }
        begin
    }

    fn prefix(&self) -> String {
        prefix(&self.bot)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix())
    }

    fn stream(&self, part: usize) -> String {
        stream_key(&self.bot, part)
    }

    fn call(
        &mut self,
        script: Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<Vec<Item>, String> {
        let mut door = match self.door.take() {
            Some(door) => door,
            None => Door::open(&self.url, self.roots.as_deref(), &leases_key(&self.bot))?,
        };
        self.view.commands += 1;
        let reply = door.run_script(script, keys, arguments);
        // A full Redis refuses what is new and takes what is settled: the same connection goes on.
        if reply.is_ok() {
            self.door = Some(door);
        }
        reply
    }
}

impl Part {
    /// Everything that it was given is known.
    fn is_seen(&self) -> bool {
        self.left || self.cursor == ">"
    }

    /// Wanted elsewhere, and not for so long that its chats have to be served meanwhile.
    fn rests(&self, now_ms: UnixMs) -> bool {
        self.drain_since_ms.is_some_and(|since_ms| {
            now_ms.saturating_sub(since_ms) % (DRAIN_MS + DRAIN_AGAIN_MS) < DRAIN_MS
        })
    }
}

struct Words<'a>(std::slice::Iter<'a, Item>);

impl Words<'_> {
    fn number(&mut self) -> i64 {
        self.0.next().and_then(Item::number).unwrap_or(0)
    }

    fn index(&mut self) -> usize {
        usize::try_from(self.number()).unwrap_or(0)
    }

    fn text(&mut self) -> String {
        self.0.next().map(|item| item.text().to_owned()).unwrap_or_default()
    }
}

/// The partition of a chat.
pub fn partition_of(chat: ChatId) -> usize {
    partition(Some(chat), 0)
}

/// The partition of a chat, the same on every box and for ever (FNV-1a); what belongs to no chat by its number.
fn partition(chat: Option<ChatId>, update: i64) -> usize {
    let bytes = chat.map_or(update, |chat| chat.0).to_le_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash % PARTITIONS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_reads_as_it_was_written() {
        for held in [
            Held::default(),
            Held { name: "a.1".into(), fences: BTreeMap::from([(0, 7), (15, 9)]) },
        ] {
            assert_eq!(Held::read(&held.to_text()), held);
        }
        for text in ["", "x", "x\t16:1,y:2,3", "x\t"] {
            assert!(Held::read(text).fences.is_empty(), "{text}");
        }
    }

    #[test]
    fn chats_spread_over_all_partitions_and_stay_where_they_are() {
        let of = |chat: i64| partition(Some(ChatId(chat)), 1);
        // Boxes of different versions must agree: these numbers never change.
        assert_eq!([1, 7, 100, -1_001_234].map(of), [1, 7, 100, -1_001_234].map(of));
        let used: BTreeSet<usize> = (0..200).map(of).collect();
        assert_eq!(used.len(), PARTITIONS);
        assert_ne!(partition(None, 1), PARTITIONS);
    }
}
