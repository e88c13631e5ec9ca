//! Owns: a synchronisation driven to its end by a program that may block: `svs-bot sync`.
//! May not: decide anything; it brings the steps of [`SyncRun`] and the outside together.
//! Invariant: one request at a time, and no more than one reply unsettled; what is done while it is under way is what [`SyncRun::prepare`] says.

use super::report::Report;
use super::{Options, Step, SyncRun};
use crate::store::{Durability, Result, Store};
use crate::types::Now;
use crate::wire::{NetError, NetErrorKind, Request, Response};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// What a blocking command lends: the network, the clock, dice, patience, a place for progress.
pub struct Outside<'a> {
    /// One call of Supabase's Data API; it is made on another thread.
    pub call: &'a mut (dyn FnMut(&Request) -> Reply + Send),
    /// The clock.
    pub now: &'a mut dyn FnMut() -> Now,
    /// Pauses for so many milliseconds.
    pub wait: &'a mut dyn FnMut(i64),
    /// 64 random bits.
    pub dice: &'a mut dyn FnMut() -> u64,
    /// How far it is, in one line, as often as there is news.
    pub tell: Tell<'a>,
}

/// Shows one line of progress to whoever watches, or nobody; formatted only when it is shown.
pub type Tell<'a> = &'a mut dyn FnMut(std::fmt::Arguments<'_>);

/// What came of a request.
pub type Reply = std::result::Result<Response, NetError>;

/// Drives a run to its end for a command that may block; `outside` carries out the calls and pauses.
///
/// # Errors
/// As SQLite says.
pub fn drive(store: &mut Store, options: Options, outside: &mut Outside<'_>) -> Result<Report> {
    store.checkpoint_rarely()?;
    let Outside { call, now, wait, dice, tell } = outside;
    let mut run = SyncRun::new(options);
    std::thread::scope(|scope| -> Result<()> {
        let (requests, orders) = sync_channel::<Request>(1);
        let (answer, replies) = sync_channel(1);
        // Ends when this side of its channels is gone; leaving the scope waits for it.
        scope.spawn(move || {
            for request in orders {
                let reply = call(&request);
                if answer.send((request.body.unwrap_or_default(), reply)).is_err() {
                    return;
                }
            }
        });
        let mut line = Line { requests, replies };
        loop {
            let (at, die) = (now(), dice());
            match store.write(Durability::Disk, |db| run.next(db, at, die))? {
                Step::Finished => return Ok(()),
                Step::Wait { until_ms } => wait(until_ms - at.unix_ms),
                Step::Call(request) => {
                    in_a_row(store, &mut run, &mut line, request, &mut || (now(), dice()), *tell)?;
                }
            }
        }
    })?;
    Ok(run.report)
}

/// This side of the thread that makes the calls.
struct Line {
    requests: SyncSender<Request>,
    /// The body of the request comes back to be written in again.
    replies: Receiver<(String, Reply)>,
}

impl Line {
    /// Hands a request over, works, and waits for the reply, whatever came of the work.
    fn ask(
        &mut self,
        request: Request,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<(String, Reply)> {
        let taken = self.requests.send(request);
        let worked = work();
        let reply = taken.ok().and_then(|()| self.replies.recv().ok());
        worked?;
        // The other thread broke off; its panic is handed on when the run has ended.
        Ok(reply.unwrap_or_else(|| {
            let text = "the call broke off".to_owned();
            (String::new(), Err(NetError { maybe_done: true, kind: NetErrorKind::Other, text }))
        }))
    }
}

/// Carries out a request and those that are ready when its reply is in. What a reply says is settled while
/// the next request is under way, together with the making of the one after.
fn in_a_row(
    store: &mut Store,
    run: &mut SyncRun,
    line: &mut Line,
    mut request: Request,
    chance: &mut dyn FnMut() -> (Now, u64),
    tell: Tell<'_>,
) -> Result<()> {
    let mut before: Option<Reply> = None;
    // Bounded: each turn hands out rows beyond those of the turn before.
    loop {
        let (body, reply) = line.ask(request, || {
            let ((now, dice), durability) = (chance(), run.wants());
            store.write(durability, |db| {
                if let Some(reply) = &before {
                    run.settle(db, reply, now, dice)?;
                }
                run.prepare(db, durability, now, dice)
            })
        })?;
        run.reuse(body);
        let (now, dice) = chance();
        let next = run.overtake(&reply, now);
        if next.is_none() {
            store.write(Durability::Process, |db| run.settle(db, &reply, now, dice))?;
        }
        let Report { history, registry, requests, total, .. } = run.report();
        let done = history.sent + history.already + registry.sent + registry.already;
        tell(format_args!("sync: {done} of {total} rows, {requests} requests"));
        match next {
            Some(ready) => (request, before) = (ready, Some(reply)),
            None => return Ok(()),
        }
    }
}
