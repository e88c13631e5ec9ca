//! Owns: which box has which partitions of a bot, as `status --fleet` shows it.
//! May not: take part: it reads, and nothing it does is seen by a box.

use super::door::{Door, Item, Script};
use super::keys::{leases_key, stream_key};
use super::relay::PARTITIONS;
use crate::types::Secret;

/// One partition of a bot, as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Which box has it; empty when none has.
    pub holder: String,
    /// Updates that are not settled.
    pub waiting: i64,
    /// Age of the oldest of them, ms.
    pub oldest_ms: i64,
}

/// The partitions of a bot as Redis has them now; none where no box of it shares updates.
///
/// # Errors
/// One line, without the URL.
pub fn shares(url: &Secret, roots: Option<&[u8]>, bot: &str) -> Result<Vec<Share>, String> {
    let home = leases_key(bot);
    let mut door = Door::open(url, roots, &home)?;
    let streams = (0..PARTITIONS).map(|part| stream_key(bot, part));
    let keys: Vec<String> = std::iter::once(home).chain(streams).collect();
    let reply = door.run_script(Script::Shares, &keys, &[])?;
    Ok(reply.chunks(3).map(read).collect())
}

fn read(said: &[Item]) -> Share {
    let number = |at: usize| said.get(at).and_then(Item::number).unwrap_or(0);
    let holder = said.first().map(Item::text).unwrap_or_default().to_owned();
    Share { holder, waiting: number(1), oldest_ms: number(2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_says_of_a_partition_is_read_whatever_it_is() {
        let text = |text: &str| Item::Text(text.to_owned());
        let said = [text("box-1"), Item::Number(3), Item::Number(1_200)];
        let want = Share { holder: "box-1".to_owned(), waiting: 3, oldest_ms: 1_200 };
        assert_eq!(read(&said), want);
        assert_eq!(read(&[text("")]), Share::default());
        assert_eq!(read(&[Item::Number(4), text("x")]), Share::default());
    }
}
