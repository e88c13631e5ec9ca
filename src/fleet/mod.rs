//! Owns: what this box shares with others through Redis: reservations, news, the list of boxes.
//! May not: decide who is asked with what (the pool), read a clock, make anyone wait for a Redis that is away.
//! Invariant: only a beat connects; while there is no connection every call returns at once and the box goes on alone.

mod door;
mod keys;
mod place;
pub mod relay;
mod shares;

pub use crate::engine::fleet::{Beat, Ticket, Verdict, View};
pub use keys::PREFIX;
pub use shares::{Share, shares};

use crate::engine::fleet::{Ask, Known, News, Standing, Use, alone};
use crate::types::model::FleetHeld as Held;
use crate::types::{DAY_MS, Secret, UnixMs};
use door::{Door, Item, Script};
use keys::{POOL, home};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Between two beats: news is with everyone well within a second.
pub const BEAT_EVERY_MS: u64 = 400;
/// A box not heard of for so long has no share any more.
const BOX_LIFE_MS: i64 = 10_000;
/// After Redis began anew every box counts for itself so long, until all have reported.
const WARM_UP_MS: i64 = 4_000;
/// How long a request weighs on a minute: as in the ledger.
const WINDOW_MS: i64 = crate::engine::keypool::WINDOW_MS;
/// The use of a day is kept until no box can be on it any more.
const DAY_LIFE_MS: i64 = 2 * DAY_MS;
/// News kept by Redis, for how long, and read at once.
const NEWS_MAX: usize = 2_000;
const NEWS_LIFE_MS: i64 = 2 * DAY_MS;
const NEWS_PER_BEAT: usize = 200;
/// News that waits to be told; more is dropped, each box learns such things by itself as well.
const UNTOLD_MAX: usize = 256;
/// Pairs whose use is remembered for a time without Redis.
const KNOWN_MAX: usize = 4_096;
/// Requests that a minute's window holds where only tokens are limited: as in the ledger.
const REQUESTS_MAX: i64 = 2_048;
/// Boxes that a status shows.
const BOXES_SHOWN_MAX: usize = 1_000;

struct Seen {
    view: View,
    standing: Standing,
    /// As of the last reply of Redis.
    warming: bool,
    last_news: String,
    untold: Vec<News>,
    known: BTreeMap<(String, String), Known>,
    next_member: u64,
    run: String,
}

/// This box's part in the fleet; shared by the workers and the thread that beats.
pub struct Fleet {
    url: Secret,
    roots: Option<Vec<u8>>,
    id: String,
    /// Told to others with every beat.
    about: String,
    door: Mutex<Option<Door>>,
    seen: Mutex<Seen>,
}

impl Fleet {
    /// Nothing is connected yet. `id` names this box and stays with its data; `roots` are PEM.
    pub fn new(url: Secret, roots: Option<Vec<u8>>, id: String, about: String) -> Self {
        let view = View { id: id.clone(), boxes: 1, ..View::default() };
        let seen = Seen {
            view,
            standing: Standing::ALONE,
            warming: true,
            last_news: "0-0".to_owned(),
            untold: Vec::new(),
            known: BTreeMap::new(),
            next_member: 0,
            run: String::new(),
        };
        Self { url, roots, id, about, door: Mutex::new(None), seen: Mutex::new(seen) }
    }

    /// Counts a request with all boxes, or says why it must wait; one round trip at most.
    pub fn reserve(&self, ask: &Ask, now_ms: UnixMs) -> Verdict {
        let (member, day) = {
            let mut seen = lock(&self.seen);
            seen.next_member += 1;
            let redis_ms = now_ms.saturating_sub(seen.view.clock_ahead_ms);
            let day = crate::calendar::pacific_day(redis_ms);
            (format!("{}:{now_ms}:{}", self.id, seen.next_member), day)
        };
        // What was used on another day than Redis' says nothing about it.
        let settled = if day == ask.day { ask.own_settled } else { 0 };
        let limit = |limit: Option<u32>| limit.map_or(-1, i64::from);
        let rpm = match (ask.rpm, ask.tpm) {
            (None, None) => -1,
            (rpm, _) => rpm.map_or(REQUESTS_MAX, |rpm| i64::from(rpm).min(REQUESTS_MAX)),
        };
        let ticket = Ticket {
            window: format!("{POOL}minute:{}:{}", ask.project, ask.model),
            day: day_key(day, &ask.project, &ask.model),
            member,
            tokens: ask.tokens,
        };
        let keys = [ticket.window.clone(), ticket.day.clone(), home()];
        let arguments = [
            self.id.clone(),
            ticket.member.clone(),
            rpm.to_string(),
            limit(ask.tpm).to_string(),
            limit(ask.cap).to_string(),
            ask.tokens.to_string(),
            settled.to_string(),
            WINDOW_MS.to_string(),
            WARM_UP_MS.to_string(),
            DAY_LIFE_MS.to_string(),
        ];
        let reply = self.call(Script::Reserve, &keys, &arguments);
        let mut seen = lock(&self.seen);
        let numbers: Vec<i64> = reply.unwrap_or_default().iter().filter_map(Item::number).collect();
        let (verdict, wait_ms, total) = match numbers.as_slice() {
            [verdict, wait_ms, total] => (*verdict, *wait_ms, u32::try_from(*total).unwrap_or(0)),
            // Away, or a stranger's reply.
            _ => (3, 0, 0),
        };
        if verdict == 3 {
            let pair = (ask.project.clone(), ask.model.clone());
            let known = seen.known.get(&pair).copied();
            return match alone(ask, known, seen.standing) {
                Ok(()) => {
                    seen.view.alone += 1;
                    Verdict::Alone
                }
                Err(held) => {
                    seen.view.held += 1;
                    Verdict::Held { held, total: None }
                }
            };
        }
        let own = ask.own_today.saturating_sub(u32::from(verdict != 0));
        remember(&mut seen.known, ask, Known { day, total, own });
        if verdict == 0 {
            seen.view.counted += 1;
            return Verdict::Counted { ticket, total };
        }
        seen.view.held += 1;
        let held = if verdict == 1 { Held::Minute { wait_ms } } else { Held::Day };
        Verdict::Held { held, total: Some(total) }
    }

    /// Ends what [`Fleet::reserve`] counted; `None` when Gemini cannot have counted it. Where Redis is away
    /// it stays counted as guessed, which is never below the truth.
    pub fn settle(&self, ticket: &Ticket, tokens: Option<u32>) {
        let keys = [ticket.window.clone(), ticket.day.clone()];
        let arguments = [
            self.id.clone(),
            ticket.member.clone(),
            ticket.tokens.to_string(),
            tokens.map_or("-1".to_owned(), |tokens| tokens.to_string()),
        ];
        let _ = self.call(Script::Settle, &keys, &arguments);
    }

    /// Queues news for the next beat.
    pub fn tell(&self, news: Vec<News>) {
        let mut seen = lock(&self.seen);
        let room = UNTOLD_MAX.saturating_sub(seen.untold.len());
        seen.untold.extend(news.into_iter().take(room));
    }

    /// Says what this box used today by its own ledger.
    pub fn report(&self, uses: &[Use]) {
        for some in uses.chunks(64) {
            let keys: Vec<String> =
                some.iter().map(|used| day_key(used.day, &used.project, &used.model)).collect();
            let mut arguments = vec![self.id.clone(), DAY_LIFE_MS.to_string()];
            arguments.extend(some.iter().map(|used| used.today.to_string()));
            let reply = self.call(Script::Report, &keys, &arguments).unwrap_or_default();
            let unknown = reply.first().and_then(Item::number).unwrap_or(0);
            lock(&self.seen).view.drift += u64::try_from(unknown).unwrap_or(0);
        }
    }

    /// Says that this box lives and hears what is new; connects where there is no connection.
    ///
    /// # Errors
    /// Redis is away: one line, without the URL.
    pub fn beat(&self, now_ms: UnixMs) -> Result<Beat, String> {
        let run = {
            let mut door = lock(&self.door);
            if door.is_none() {
                drop(door);
                // Nobody waits at the lock while this takes its time.
                let opened = Door::open(&self.url, self.roots.as_deref(), &home());
                door = lock(&self.door);
                match opened {
                    Ok(opened) => *door = Some(opened),
                    Err(why) => {
                        drop(door);
                        self.away(&why);
                        return Err(why);
                    }
                }
            }
            door.as_ref().map(|door| door.run.clone()).unwrap_or_default()
        };
        let (last_news, untold) = {
            let mut seen = lock(&self.seen);
            (seen.last_news.clone(), std::mem::take(&mut seen.untold))
        };
        let keys = ["boxes", "epoch", "news"].map(|name| format!("{POOL}{name}"));
        let keys = [keys.as_slice(), &[format!("{POOL}box:{}", self.id)]].concat();
        let mut arguments = vec![
            self.id.clone(),
            run.clone(),
            last_news,
            BOX_LIFE_MS.to_string(),
            NEWS_PER_BEAT.to_string(),
            WARM_UP_MS.to_string(),
            self.describe(),
            NEWS_MAX.to_string(),
            NEWS_LIFE_MS.to_string(),
        ];
        arguments.extend(untold.iter().map(News::to_text));
        let reply = match self.call(Script::Beat, &keys, &arguments) {
            Ok(reply) => reply,
            Err(why) => {
                self.tell(untold);
                return Err(why);
            }
        };
        Ok(self.heard(&reply, &run, now_ms))
    }

    /// How it stands.
    pub fn view(&self) -> View {
        lock(&self.seen).view.clone()
    }

    fn heard(&self, reply: &[Item], run: &str, now_ms: UnixMs) -> Beat {
        let mut seen = lock(&self.seen);
        let number = |at: usize| reply.get(at).and_then(Item::number).unwrap_or(0);
        let redis_ms = number(0);
        seen.view.clock_ahead_ms = now_ms.saturating_sub(redis_ms);
        let boxes = u32::try_from(number(1)).unwrap_or(1).max(1);
        seen.standing = Standing { boxes, place: u32::try_from(number(2)).unwrap_or(0) };
        seen.view.boxes = boxes;
        let back = !seen.view.up || seen.run != run;
        seen.view.up = true;
        seen.view.trouble.clear();
        if seen.run != run {
            // Its news are numbered by its clock; what is left of them is heard again.
            seen.last_news = "0-0".to_owned();
        }
        run.clone_into(&mut seen.run);
        let warming = number(3) == 1;
        // Once more at the end of the warm-up: what was used alone meanwhile.
        let report = back || seen.warming && !warming;
        seen.warming = warming;
        let mut news = Vec::new();
        for entry in reply.get(4..).unwrap_or_default().chunks(2) {
            let [id, text] = entry else { continue };
            let told_ms = id.text().split('-').next().and_then(|ms| ms.parse::<i64>().ok());
            seen.last_news = id.text().to_owned();
            let ago_ms = redis_ms.saturating_sub(told_ms.unwrap_or(redis_ms));
            news.extend(News::read(text.text(), ago_ms));
        }
        Beat { news, report }
    }

    fn describe(&self) -> String {
        let seen = lock(&self.seen);
        let view = &seen.view;
        format!("{}\t{}\t{}\t{}", self.about, view.counted, view.held, view.alone)
    }

    fn call(
        &self,
        script: Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<Vec<Item>, String> {
        let mut guard = lock(&self.door);
        let Some(door) = guard.as_mut() else { return Err("redis: not connected".to_owned()) };
        let reply = door.run_script(script, keys, arguments);
        if reply.is_err() {
            *guard = None;
        }
        drop(guard);
        lock(&self.seen).view.commands += 1;
        if let Err(why) = &reply {
            self.away(why);
        }
        reply
    }

    fn away(&self, why: &str) {
        let mut seen = lock(&self.seen);
        seen.view.up = false;
        why.clone_into(&mut seen.view.trouble);
    }
}

/// Every box as Redis has it now, by id, for `status --fleet` and `check`: what each says of itself, by tabs.
///
/// # Errors
/// One line, without the URL.
pub fn boxes(url: &Secret, roots: Option<&[u8]>) -> Result<Vec<(String, String)>, String> {
    Door::open(url, roots, &home())?.boxes(BOXES_SHOWN_MAX)
}

fn day_key(day: i64, project: &str, model: &str) -> String {
    format!("{POOL}day:{day}:{project}:{model}")
}

fn remember(all: &mut BTreeMap<(String, String), Known>, ask: &Ask, known: Known) {
    let pair = (ask.project.clone(), ask.model.clone());
    if all.len() >= KNOWN_MAX && !all.contains_key(&pair) {
        all.pop_first();
    }
    all.insert(pair, known);
}

/// A panic ends the process, so a poisoned lock can only be seen in tests: its value is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
