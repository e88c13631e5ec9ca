//! Owns: deliveries that wait for the loop to say whether they are stored.
//! May not: read or store an update.
//! Invariant: at most [`TICKETS_MAX`] wait, and with them at most so many updates in the loop's queue.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Tickets out at once: some more than can be delivered at once, for those whose connection is gone.
const TICKETS_MAX: usize = 64;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is on the disk.
    Stored,
    /// It is not: Telegram shall come again.
    Refused,
}

/// Where deliveries wait.
#[derive(Debug, Default)]
pub struct Desk {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    last: u64,
    /// Without a sender: told to come again already, but still in the loop's queue.
    waiting: BTreeMap<u64, Option<oneshot::Sender<Verdict>>>,
}

impl Desk {
    /// A ticket for the next delivery; none when too many are out.
    pub(super) fn ticket(&self) -> Option<(u64, oneshot::Receiver<Verdict>)> {
        let mut book = self.book();
        if book.waiting.len() >= TICKETS_MAX {
            return None;
        }
        book.last += 1;
        let (sender, receiver) = oneshot::channel();
        let ticket = book.last;
        book.waiting.insert(ticket, Some(sender));
        Some((ticket, receiver))
    }

    /// The loop's word on one delivery, after its commit.
    pub fn answer(&self, ticket: u64, stored: bool) {
        let verdict = if stored { Verdict::Stored } else { Verdict::Refused };
        if let Some(sender) = self.book().waiting.remove(&ticket).flatten() {
            // Its connection may be gone: Telegram will ask again, and the update is known then.
            let _ = sender.send(verdict);
        }
    }

    /// The loop can store nothing at the moment: all that wait are told to come again. Their places stay
    /// taken until [`Desk::answer`], since what they brought is still in the loop's queue.
    pub fn refuse_waiting(&self) {
        for sender in self.book().waiting.values_mut().filter_map(Option::take) {
            let _ = sender.send(Verdict::Refused);
        }
    }

    /// A panic ends the process, so a poisoned lock can only be seen in tests: its value is whole.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ticket_hears_its_own_word_and_too_many_get_none() {
        let desk = Desk::default();
        let (first, mut one) = desk.ticket().unwrap();
        let (second, mut two) = desk.ticket().unwrap();
        let (third, mut three) = desk.ticket().unwrap();
        desk.answer(second, true);
        desk.answer(first, false);
        desk.answer(first, true);
        assert_eq!(one.try_recv(), Ok(Verdict::Refused));
        assert_eq!(two.try_recv(), Ok(Verdict::Stored));
        desk.refuse_waiting();
        assert_eq!(three.try_recv(), Ok(Verdict::Refused));
        // Whoever hangs up still holds a place until the loop has spoken.
        let tickets: Vec<u64> = (1..TICKETS_MAX).map(|_| desk.ticket().unwrap().0).collect();
        assert!(desk.ticket().is_none());
        for ticket in [tickets[0], third] {
            desk.answer(ticket, true);
            assert!(desk.ticket().is_some());
            assert!(desk.ticket().is_none());
        }
    }
}
