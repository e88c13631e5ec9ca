//! Owns: `svs-bot owner-link`: the one-time link that makes who opens it the owner.
//! May not: print the link anywhere but on a terminal.

use super::{EXIT_OK, Failure, Outcome, Place};
use crate::secret_hash;
use crate::store::{Durability, Store, meta, tell};
use crate::types::{Now, Secret};
use std::io::Write;

/// What the hash of a pairing code is salted with; codes have 128 bits of their own.
pub const SALT: &str = "pairing";

/// Prints the link; its code is stored as a hash and holds 15 minutes (contract §2).
///
/// # Errors
/// Owners are set, no terminal, no daemon has ever run, or the database refuses.
pub fn run(place: &Place, now: Now, is_terminal: bool, out: &mut dyn Write) -> Outcome {
    if !place.config.owner_ids.is_empty() {
        return Err(Failure::failed(
            "BOT_OWNER_ID: is set and alone decides who is owner: remove it to pair by a link",
        ));
    }
    if !is_terminal {
        return Err(Failure::failed(
            "owner-link: standard output is no terminal, and the link must not reach a log: run it in one",
        ));
    }
    let link = make(place, now)?;
    writeln!(out, "{link}\n\nOpen it in Telegram within 15 minutes; who opens it is the owner.")
        .map_err(|error| Failure::failed(format!("writing: {error}")))?;
    Ok(EXIT_OK)
}

/// Makes a link and stores its code's hash.
///
/// # Errors
/// The bot's name is not known yet, or the database refuses.
pub fn make(place: &Place, now: Now) -> Result<String, Failure> {
    let mut store = Store::open_existing(&place.data_dir).map_err(Failure::failed)?;
    let code = secret_hash::random_bytes()
        .map(|bytes| secret_hash::hex(&bytes))
        .map_err(|_| Failure::failed("owner-link: the system gives no randomness: try again"))?;
    let hash = secret_hash::fingerprint(SALT, &Secret::new(code.clone()));
    let name = store
        .write(Durability::Process, |tx| {
            tell::add_pairing(tx, &hash, now.unix_ms)?;
            meta::get(tx, "bot_name")
        })
        .map_err(Failure::failed)?
        .filter(|name| !name.is_empty())
        .or_else(|| place.config.bot_name.clone())
        .ok_or_else(|| {
            Failure::failed("owner-link: the bot's name is not known yet: start `svs-bot run` once")
        })?;
    Ok(format!("https://t.me/{}?start={code}", name.trim_start_matches('@')))
}
