//! Owns: `user_registry`: new pairs by insert, counts by compare-and-swap.
//! May not: add to a count twice: a request of unknown outcome is repeated as it was, or read back,
//! before a newer one is made. A late commit then finds another count than it compares with.

use super::{Flight, REFUSED_MAX, SyncRun};
use crate::calendar::parse_written;
use crate::store::Result;
use crate::store::sync::{self as rows, Db, Table};
use crate::types::row::{RegistryRow, RemoteRegistry};
use crate::types::{ChatId, UserId};
use crate::wire::postgrest::{self, Batch, fault::Fault, read};
use crate::wire::{Request, Response};
use std::collections::BTreeMap;

/// Pairs looked at together; their ids must fit a URL.
const PAGE: usize = 100;
/// Requests for one pair in one run; a pair that others change all the time waits for the next run.
const TRIES_MAX: u8 = 6;

/// What this run knows of the pairs of the page at hand.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    after: Option<(UserId, ChatId)>,
    known: BTreeMap<(UserId, ChatId), Known>,
    /// Rows of one insert; shrinks while a refused one is hunted.
    insert_max: Option<usize>,
    left: usize,
    /// Rows read so far of a page of Supabase that is not whole yet.
    partial: Vec<RemoteRegistry>,
    reread: Option<(Vec<RegistryRow>, String)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    tries: u8,
    /// Read back since the last request for it.
    read: bool,
    /// The count there is null.
    null: bool,
    /// A request for it may have been carried out although no reply said so.
    unclear: bool,
}

impl Pairs {
    /// Whether a pair had to be left for another run.
    pub(super) fn left_any(&self) -> bool {
        self.left > 0
    }
    fn of(&mut self, row: &RegistryRow) -> &mut Known {
        self.known.entry((row.user, row.chat)).or_default()
    }
    fn has_tries(&self, row: &RegistryRow) -> bool {
        self.known.get(&(row.user, row.chat)).is_none_or(|known| known.tries < TRIES_MAX)
    }
    fn was_read(&self, row: &RegistryRow) -> bool {
        self.known.get(&(row.user, row.chat)).is_some_and(|known| known.read)
    }
}

type Judged<'a> = std::result::Result<&'a Response, Fault>;
type Settled = Result<std::result::Result<(), Fault>>;

impl SyncRun {
    pub(super) fn registry(&mut self, db: &Db) -> Result<Option<Request>> {
        if let Some((pairs, after)) = self.pairs.reread.take() {
            let request = postgrest::read_registry(&pairs, &after);
            self.flight = Flight::Read(pairs, after);
            return Ok(Some(request));
        }
        // Bounded: `after` grows with every turn that finds nothing to do.
        loop {
            let page = rows::unsent_registry(db, self.pairs.after, PAGE)?;
            let Some(last) = page.last().map(|row| (row.user, row.chat)) else { return Ok(None) };
            let full = page.len();
            for row in page.iter().filter(|row| row.sending != 0) {
                // Not this run's request: nobody knows its outcome.
                let earlier = Known { unclear: true, ..Known::default() };
                self.pairs.known.entry((row.user, row.chat)).or_insert(earlier);
            }
            let due: Vec<RegistryRow> =
                page.into_iter().filter(|row| self.pairs.has_tries(row)).collect();
            if due.is_empty() {
                self.pairs.left += full;
                self.pairs.after = Some(last);
                self.pairs.known.clear();
                continue;
            }
            return self.work(db, due).map(Some);
        }
    }

    /// Unknown outcomes are read back first, then new pairs are inserted, then counts swapped.
    fn work(&mut self, db: &Db, due: Vec<RegistryRow>) -> Result<Request> {
        let unknown: Vec<RegistryRow> = due
            .iter()
            .filter(|row| row.sending != 0 && !self.pairs.was_read(row))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            let request = postgrest::read_registry(&unknown, "");
            self.flight = Flight::Read(unknown, String::new());
            return Ok(request);
        }
        let insert_max = self.pairs.insert_max.unwrap_or(PAGE);
        let mut new: Vec<RegistryRow> =
            due.iter().filter(|row| row.synced < 0).take(insert_max).cloned().collect();
        if !new.is_empty() {
            let mut batch = Batch::new(self.options.bytes_max);
            let fit = new.iter().take_while(|row| batch.add_registry(row)).count();
            new.truncate(fit);
            for row in &new {
                rows::registry_sending(db, row, row.count)?;
                self.tried(row);
            }
            self.flight = Flight::Insert(new);
            return Ok(batch.into_registry_insert());
        }
        // `due` is not empty and holds neither unknown nor new rows, so the first is to be swapped.
        let mut row = due.into_iter().next().unwrap_or_default();
        if row.sending == 0 {
            row.sending = row.count;
            rows::registry_sending(db, &row, row.sending)?;
        }
        let null = self.pairs.of(&row).null;
        self.tried(&row);
        let request = postgrest::swap_registry(&row, null);
        self.flight = Flight::Swap(row);
        Ok(request)
    }

    fn tried(&mut self, row: &RegistryRow) {
        let known = self.pairs.of(row);
        known.tries += 1;
        known.read = false;
    }

    pub(super) fn inserted(
        &mut self,
        db: &Db,
        sent: &[RegistryRow],
        judged: Judged<'_>,
        unclear: bool,
    ) -> Settled {
        let response = match judged {
            Ok(response) => response,
            Err(fault) => {
                if !unclear {
                    for row in sent {
                        rows::registry_sending(db, row, 0)?;
                    }
                }
                return match fault {
                    Fault::Row { why } => self.insert_refused(db, sent, &why),
                    Fault::Shrink { why, never: true } => self.insert_refused(db, sent, &why),
                    Fault::Shrink { .. } if sent.len() > 1 => {
                        self.is_slow = !unclear;
                        self.fewer_pairs(sent);
                        Ok(if unclear { Err(fault) } else { Ok(()) })
                    }
                    fault => Ok(Err(fault)),
                };
            }
        };
        // What the database could not take at once it is asked for again by and by.
        self.pairs.insert_max = self.pairs.insert_max.map(|max| max * 2).filter(|max| *max < PAGE);
        if response.body.is_empty() {
            // A success that does not say which were new: all are read back.
            return Ok(Ok(()));
        }
        let Some(new) = read::pairs(&response.body) else {
            return Ok(Err(super::history::odd_reply()));
        };
        for row in sent.iter().filter(|row| new.contains(&(row.user, row.chat))) {
            rows::registry_seen(db, row.user, row.chat, row.count, row.count)?;
            self.report.registry.sent += 1;
            self.refused = 0;
        }
        Ok(Ok(()))
    }

    fn insert_refused(&mut self, db: &Db, sent: &[RegistryRow], why: &str) -> Settled {
        match sent {
            [row] => {
                self.pairs.insert_max = None;
                self.park_pair(db, row, why)
            }
            _ => {
                self.fewer_pairs(sent);
                Ok(Ok(()))
            }
        }
    }

    /// Half as many next time; that is no try of each pair.
    fn fewer_pairs(&mut self, sent: &[RegistryRow]) {
        self.pairs.insert_max = Some(sent.len().div_ceil(2));
        for row in sent {
            self.pairs.of(row).tries = 0;
        }
    }

    fn park_pair(&mut self, db: &Db, row: &RegistryRow, why: &str) -> Settled {
        rows::park_registry(db, row.user, row.chat, why)?;
        let name = format!("user {} chat {}", row.user, row.chat);
        self.report.name_parked(Table::Registry, &name, why);
        self.refused += 1;
        if self.refused >= REFUSED_MAX {
            let why = format!(
                "supabase: `user_registry` refuses every row ({why}): look at its constraints and triggers, then run `svs-bot sync --retry-parked`"
            );
            return Ok(Err(Fault::Stop { kind: "refused", why, all: false }));
        }
        Ok(Ok(()))
    }

    pub(super) fn swapped(
        &mut self,
        db: &Db,
        row: &RegistryRow,
        judged: Judged<'_>,
        unclear: bool,
    ) -> Settled {
        let known = self.pairs.of(row);
        known.unclear |= unclear;
        if judged.is_err() && !known.unclear {
            // Nothing was done, and no earlier request can still be: there is nothing to read back.
            rows::registry_sending(db, row, 0)?;
        }
        match judged {
            Ok(response) => {
                let hit = read::pairs(&response.body).is_some_and(|pairs| !pairs.is_empty());
                if hit {
                    rows::registry_seen(db, row.user, row.chat, row.sending, row.sending)?;
                    self.report.registry.sent += 1;
                    self.refused = 0;
                }
                // Not hit: the count there is another; it is read back next.
                Ok(Ok(()))
            }
            Err(Fault::Row { why }) => self.park_pair(db, row, &why),
            Err(fault) => Ok(Err(fault)),
        }
    }

    pub(super) fn registry_read(
        &mut self,
        db: &Db,
        asked: &[RegistryRow],
        after: &str,
        judged: Judged<'_>,
    ) -> Settled {
        let found = match judged.map(|response| read::registry(&response.body)) {
            Ok(Some(found)) => found,
            failed => return Ok(Err(failed.err().unwrap_or_else(super::history::odd_reply))),
        };
        let full = found.len() >= read::PAGE_ROWS;
        let last = found.last().map(|row| row.id.clone()).unwrap_or_default();
        let wanted = |row: &RemoteRegistry| {
            asked.iter().any(|pair| pair.user == row.user && pair.chat == row.chat)
        };
        if after.is_empty() {
            self.pairs.partial.clear();
        }
        self.pairs.partial.extend(found.into_iter().filter(wanted));
        if full && last != after {
            self.pairs.reread = Some((asked.to_vec(), last));
            return Ok(Ok(()));
        }
        let found = std::mem::take(&mut self.pairs.partial);
        for row in asked {
            let there = found.iter().find(|it| it.user == row.user && it.chat == row.chat);
            self.compare(db, row, there)?;
        }
        Ok(Ok(()))
    }

    /// What the row there says about the request whose outcome was unknown.
    fn compare(
        &mut self,
        db: &Db,
        row: &RegistryRow,
        there: Option<&RemoteRegistry>,
    ) -> Result<()> {
        let known = self.pairs.of(row);
        known.read = true;
        known.null = there.is_some_and(|it| it.count.is_none());
        let unclear = std::mem::take(&mut known.unclear);
        let Some(there) = there else {
            return rows::registry_gone(db, row.user, row.chat);
        };
        let remote = there.count.unwrap_or(0);
        if row.synced < 0 {
            // An insert: ours if it bears our first trigger to the microsecond.
            let ours =
                parse_written(&there.created).map(|at| at.unix_us(0)) == Some(row.created_us);
            let part = if ours { remote.min(row.sending) } else { 0 };
            self.report.registry.already += i64::from(ours);
            return rows::registry_seen(db, row.user, row.chat, remote, part);
        }
        if remote == row.synced && remote != row.sending {
            // Not arrived, or not yet: it is repeated as it was.
            self.pairs.of(row).unclear = unclear;
            return Ok(());
        }
        // Beside another writer a lost reply leaves a guess (contract §5.2).
        let landed = unclear && remote >= row.sending;
        self.report.registry.already += i64::from(landed);
        let part = if landed { row.sending } else { row.synced };
        rows::registry_seen(db, row.user, row.chat, remote, part)
    }
}
