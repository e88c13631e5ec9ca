//! Owns: what this box shares with others on the machine through one SQLite file: reservations, news, the list of boxes.
//! May not: decide who is asked with what (the pool), read a clock, make anyone wait for a file that is away.
//! Invariant: only a beat opens; while the file is away every call returns at once and the box goes on alone.

mod file;
#[cfg(test)]
mod tests;
mod trouble;

use crate::engine::fleet::{Ask, Beat, Known, News, Standing, Ticket, Use, Verdict, View, alone};
use crate::types::UnixMs;
use crate::types::model::FleetHeld as Held;
use file::{File, Found, NEWS_PER_BEAT, WARM_UP_MS};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use trouble::Trouble;

/// Between two beats: a look that writes nothing; news is with everyone within a second.
pub const BEAT_EVERY_MS: u64 = 800;
/// A box says that it lives this often.
const SAY_EVERY_MS: i64 = 15_000;
/// News that waits to be told; more is dropped, each box learns such things by itself as well.
const UNTOLD_MAX: usize = 256;
/// Pairs whose use is remembered for a time without the file.
const KNOWN_MAX: usize = 4_096;

/// Two clocks: the wall's, and the one that all processes share and nobody sets, which counts from the machine's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// For days and news.
    pub now_ms: UnixMs,
    /// For minutes and lives.
    pub boot_ms: i64,
}

struct Seen {
    view: View,
    standing: Standing,
    known: BTreeMap<(String, String), Known>,
    untold: Vec<News>,
    next_member: u64,
    /// Which file was seen last, and how far its news was heard.
    born: String,
    last_news: i64,
    said_ms: i64,
    /// Until then the box keeps within its share besides: others may not have told what they used alone.
    settled_ms: i64,
    is_settling: bool,
    /// Until then nothing is sent where the file is lost: the boxes are about to meet at a new one.
    hold_until_ms: i64,
}

/// This box's part in the sharing; used by the workers and the thread that beats.
pub struct SharedLedger {
    path: PathBuf,
    id: String,
    /// Told to others with what it counted.
    about: String,
    door: Mutex<Option<File>>,
    seen: Mutex<Seen>,
}

impl SharedLedger {
    /// Nothing is opened yet. `id` names this box and stays with its data.
    pub fn new(path: PathBuf, id: String, about: String) -> Self {
        let seen = Seen {
            view: View { id: id.clone(), boxes: 1, ..View::default() },
            standing: Standing::ALONE,
            known: BTreeMap::new(),
            untold: Vec::new(),
            next_member: 0,
            born: String::new(),
            last_news: 0,
            said_ms: i64::MIN,
            settled_ms: 0,
            is_settling: false,
            hold_until_ms: 0,
        };
        Self { path, id, about, door: Mutex::new(None), seen: Mutex::new(seen) }
    }

    /// Counts a request with all boxes, or says why it must wait; one transaction at most.
    pub fn reserve(&self, ask: &Ask, clocks: Clocks) -> Verdict {
        let boot_ms = clocks.boot_ms;
        let name = self.name(clocks);
        {
            let mut seen = lock(&self.seen);
            if seen.view.up
                && boot_ms < seen.settled_ms
                && let Err(held) = self.alone(ask, &seen)
            {
                seen.view.held += 1;
                return Verdict::Held { held, total: None };
            }
        }
        let pair = pair_name(&ask.project, &ask.model);
        let mut member = String::new();
        let found = self.call(boot_ms, |file| {
            member = format!("{}:{name}", file.born);
            file.reserve(ask, &pair, (&self.id, &member), boot_ms)
        });
        let mut seen = lock(&self.seen);
        let (held, total) = match found {
            Err(_) => {
                let allowed = match seen.hold_until_ms.saturating_sub(boot_ms) {
                    wait_ms @ 1.. => Err(Held::Minute { wait_ms }),
                    _ => self.alone(ask, &seen),
                };
                return match allowed {
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
            Ok(Found::Warming { wait_ms }) => {
                seen.view.held += 1;
                return Verdict::Held { held: Held::Minute { wait_ms }, total: None };
            }
            Ok(Found::Room { total }) => (None, total),
            Ok(Found::Minute { wait_ms, total }) => (Some(Held::Minute { wait_ms }), total),
            Ok(Found::Day { total }) => (Some(Held::Day), total),
        };
        let own = ask.own_today.saturating_sub(u32::from(held.is_some()));
        let key = (ask.project.clone(), ask.model.clone());
        if seen.known.len() >= KNOWN_MAX && !seen.known.contains_key(&key) {
            seen.known.pop_first();
        }
        seen.known.insert(key, Known { day: ask.day, total, own });
        if let Some(held) = held {
            seen.view.held += 1;
            return Verdict::Held { held, total: Some(total) };
        }
        seen.view.counted += 1;
        let day = ask.day.to_string();
        Verdict::Counted { ticket: Ticket { window: pair, day, member, tokens: ask.tokens }, total }
    }

    /// Ends what [`SharedLedger::reserve`] counted; `None` when Gemini cannot have counted it. Where the file is
    /// away, or another one, it stays counted as guessed, which is never below the truth.
    pub fn settle(&self, ticket: &Ticket, tokens: Option<u32>, clocks: Clocks) {
        if tokens == Some(ticket.tokens) {
            return;
        }
        let _ = self.call(clocks.boot_ms, |file| {
            let is_of_this_file =
                ticket.member.strip_prefix(&file.born).is_some_and(|rest| rest.starts_with(':'));
            match ticket.day.parse() {
                Ok(day) if is_of_this_file => {
                    file.settle((&ticket.window, day, &self.id, &ticket.member), tokens)
                }
                _ => Ok(()),
            }
        });
    }

    /// Tells the others at once; what cannot be told now waits for the next beat.
    pub fn tell(&self, news: Vec<News>, clocks: Clocks) {
        {
            let mut seen = lock(&self.seen);
            let room = UNTOLD_MAX.saturating_sub(seen.untold.len());
            seen.untold.extend(news.into_iter().take(room));
        }
        let _ = self.say(clocks);
    }

    /// Says what this box used by its own ledger.
    pub fn report(&self, uses: &[Use], clocks: Clocks) {
        let name = self.name(clocks);
        let boot_ms = clocks.boot_ms;
        if let Ok(unknown) =
            self.call(boot_ms, |file| file.report(uses, (&self.id, &name), boot_ms))
        {
            lock(&self.seen).view.drift += u64::from(unknown);
        }
    }

    /// Hears what is new, and from time to time says that this box lives; opens the file where it is not open.
    ///
    /// # Errors
    /// The file cannot be used: one line of what, why and what to do.
    pub fn beat(&self, clocks: Clocks) -> Result<Beat, String> {
        // One that was lost is opened anew at once.
        self.try_beat(clocks).or_else(|why| {
            let is_lost = lock(&self.seen).hold_until_ms > clocks.boot_ms;
            if is_lost { self.try_beat(clocks) } else { Err(why) }
        })
    }

    fn try_beat(&self, clocks: Clocks) -> Result<Beat, String> {
        let boot_ms = clocks.boot_ms;
        let is_open = self.call(boot_ms, |_| Ok(())).is_ok();
        if !is_open {
            self.open(clocks)?;
        }
        let is_due = {
            let mut seen = lock(&self.seen);
            if !is_open {
                seen.settled_ms = boot_ms.saturating_add(WARM_UP_MS);
                seen.is_settling = true;
            }
            !is_open || boot_ms >= seen.said_ms + SAY_EVERY_MS || !seen.untold.is_empty()
        };
        if is_due {
            self.say(clocks)?;
        }
        let last = lock(&self.seen).last_news;
        let heard = self.call(boot_ms, |file| {
            let is_changed = file.is_changed()?;
            (is_changed || is_due).then(|| file.hear(&self.id, last, boot_ms)).transpose()
        })?;
        let mut seen = lock(&self.seen);
        let mut report = !is_open;
        // Once more at the end: what was used alone and in flight meanwhile.
        if seen.is_settling && boot_ms >= seen.settled_ms {
            seen.is_settling = false;
            report = true;
        }
        seen.view.up = true;
        seen.view.trouble.clear();
        seen.hold_until_ms = 0;
        let mut news = Vec::new();
        if let Some(heard) = heard {
            let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let place = heard.boxes.iter().position(|id| *id == self.id).unwrap_or(0);
            let boxes = count(heard.boxes.len()).max(1);
            seen.standing = Standing { boxes, place: count(place) };
            seen.view.boxes = boxes;
            if heard.news.len() >= NEWS_PER_BEAT {
                // There is more; it is asked for with the next beat.
                seen.said_ms = i64::MIN;
            }
            for (id, told_ms, text) in heard.news {
                seen.last_news = id;
                news.extend(News::read(&text, clocks.now_ms.saturating_sub(told_ms)));
            }
        }
        Ok(Beat { news, report })
    }

    /// How it stands.
    pub fn view(&self) -> View {
        lock(&self.seen).view.clone()
    }

    fn open(&self, clocks: Clocks) -> Result<(), String> {
        let name = self.name(clocks);
        let (file, was_damaged) = match File::open(&self.path, &name, clocks.boot_ms) {
            Ok(opened) => opened,
            Err(trouble) => return Err(self.away(&trouble, clocks.boot_ms)),
        };
        if was_damaged {
            log::warn!(
                target: "fleet.renewed", path:% = self.path.display();
                "the shared ledger was damaged: it lies beside the new one as .damaged, and every box tells what it used: \
                 remove it when you have looked at it"
            );
        }
        let mut seen = lock(&self.seen);
        if seen.born != file.born {
            seen.born.clone_from(&file.born);
            seen.last_news = 0;
        }
        drop(seen);
        *lock(&self.door) = Some(file);
        Ok(())
    }

    /// Says that this box lives, with what it has to tell.
    fn say(&self, clocks: Clocks) -> Result<(), String> {
        let (untold, said) = {
            let mut seen = lock(&self.seen);
            let view = &seen.view;
            let said = format!("{}\t{}\t{}\t{}", self.about, view.counted, view.held, view.alone);
            (std::mem::take(&mut seen.untold), said)
        };
        let texts: Vec<String> = untold.iter().map(News::to_text).collect();
        let (boot_ms, times) = (clocks.boot_ms, (clocks.now_ms, clocks.boot_ms));
        let result = self.call(boot_ms, |file| file.say((&self.id, &said), &texts, times));
        let mut seen = lock(&self.seen);
        match &result {
            Ok(()) => seen.said_ms = boot_ms,
            Err(_) => seen.untold.splice(0..0, untold).for_each(drop),
        }
        result
    }

    /// Runs one transaction on the open file; whatever goes wrong closes it until a beat opens it again.
    fn call<T>(
        &self,
        boot_ms: i64,
        work: impl FnOnce(&mut File) -> rusqlite::Result<T>,
    ) -> Result<T, String> {
        let mut door = lock(&self.door);
        let Some(file) = door.as_mut() else { return Err("not open".to_owned()) };
        let result = match file.stay() {
            Ok(()) => work(file).map_err(|error| file.trouble(&error)),
            Err(trouble) => Err(trouble),
        };
        if result.is_err() {
            *door = None;
        }
        drop(door);
        lock(&self.seen).view.commands += 1;
        result.map_err(|trouble| self.away(&trouble, boot_ms))
    }

    fn alone(&self, ask: &Ask, seen: &Seen) -> Result<(), Held> {
        let known = seen.known.get(&(ask.project.clone(), ask.model.clone())).copied();
        alone(ask, known, seen.standing)
    }

    fn away(&self, trouble: &Trouble, boot_ms: i64) -> String {
        let mut seen = lock(&self.seen);
        if trouble.is_lost && seen.view.up {
            seen.hold_until_ms = boot_ms.saturating_add(WARM_UP_MS);
        }
        seen.view.up = false;
        seen.view.trouble.clone_from(&trouble.text);
        trouble.text.clone()
    }

    /// A name that no other call of any box has.
    fn name(&self, clocks: Clocks) -> String {
        let mut seen = lock(&self.seen);
        seen.next_member += 1;
        format!("{}.{}.{}.{}", self.id, clocks.now_ms, clocks.boot_ms, seen.next_member)
    }
}

/// Every box alive as the file has it, by id, for `status --fleet` and `check`: what each says of itself, by tabs;
/// `None` where there is no file yet.
///
/// # Errors
/// One line of what, why and what to do.
pub fn boxes(path: &Path, boot_ms: i64) -> Result<Option<Vec<(String, String)>>, String> {
    file::boxes(path, boot_ms).map_err(|trouble| trouble.text)
}

fn pair_name(project: &str, model: &str) -> String {
    format!("{project}\t{model}")
}

/// A panic ends the process, so a poisoned lock can only be seen in tests: its value is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
