//! Owns: what must be so once people are silent and all faults are over.

use super::{Witness, count};
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use svs_bot::daemon::core::Core;
use svs_bot::store::inbox::REMEMBER_MS;

impl Witness {
    /// The whole world at rest.
    pub fn at_rest(&self, core: &Core, world: &World) -> Result<(), String> {
        for (row, question) in &self.questions {
            if question.finals == 0 {
                return Err(format!("question {row} never got its answer: {question:?}"));
            }
        }
        // Finished rows are forgotten after days, which a clock that runs ahead makes of hours.
        let forgets = self.clock_ms.is_some_and(|(first, last)| last - first > REMEMBER_MS);
        for (update, wrote) in &self.wrote {
            let found = count(core, "SELECT count(*) FROM inbox WHERE update_id = ?1", &[*update])?;
            if found != 1 && !(found == 0 && forgets && self.kept.contains(update)) {
                return Err(format!("update {update} of {} was lost", wrote.user));
            }
        }
        let parked = count(core, "SELECT count(*) FROM outbox_parked", &[])?
            + count(core, "SELECT count(*) FROM inbox WHERE state = 4", &[])?
            + count(core, "SELECT count(*) FROM history WHERE sync = 3", &[])?
            + count(core, "SELECT count(*) FROM registry WHERE sync = 3", &[])?;
        if parked != 0 {
            return Err(format!("{parked} rows were set aside"));
        }
        let files = count(
            core,
            "SELECT count(*) FROM inbox_media WHERE inbox_id NOT IN (SELECT id FROM inbox WHERE state IN (1, 2))",
            &[],
        )?;
        if files != 0 {
            return Err(format!("{files} references to files are left behind"));
        }
        self.nothing_of_the_forgotten(core)?;
        same_history(core, world)?;
        self.same_registry(core, world)?;
        self.ledger(core, world)
    }

    /// With [`same_history`] this holds for Supabase as well.
    fn nothing_of_the_forgotten(&self, core: &Core) -> Result<(), String> {
        for (row, question) in self.questions.iter().filter(|(_, question)| question.forgotten) {
            let kept = core
                .store
                .read(|db| {
                    db.prepare_cached(
                        "SELECT count(*) FROM history
                          WHERE user_id = ?1 AND instr(message_text || response_text, ?2) != 0",
                    )?
                    .query_row((question.user, &question.token), |row| row.get::<_, i64>(0))
                })
                .map_err(|error| error.to_string())?;
            if kept != 0 {
                return Err(format!(
                    "question {row} of {} is kept though forgotten",
                    question.user
                ));
            }
        }
        Ok(())
    }

    fn same_registry(&self, core: &Core, world: &World) -> Result<(), String> {
        let there: BTreeMap<(i64, i64), i64> = world
            .supabase
            .rows("user_registry")
            .iter()
            .map(|row| {
                let int = |name: &str| row.at(name).int().unwrap_or(-1);
                ((int("user_id"), int("chat_id")), int("trigger_count"))
            })
            .collect();
        let here: BTreeMap<(i64, i64), i64> = core
            .store
            .read(|db| {
                db.prepare("SELECT user_id, chat_id, trigger_count FROM registry")?
                    .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
                    .collect::<Result<_, rusqlite::Error>>()
            })
            .map_err(|error| error.to_string())?;
        if there != here {
            return Err(format!("the registry differs: there {there:?}, here {here:?}"));
        }
        if here != self.registered {
            return Err(format!("the registry counts {here:?}, true is {:?}", self.registered));
        }
        Ok(())
    }

    /// Counters are never below the server's; above by at most what left and was not counted, or counts on two days.
    fn ledger(&self, core: &Core, world: &World) -> Result<(), String> {
        let used: BTreeMap<(String, String), i64> = core
            .store
            .read(|db| {
                db.prepare("SELECT project, model, sum(used) FROM quota_day GROUP BY 1, 2")?
                    .query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?
                    .collect::<Result<_, rusqlite::Error>>()
            })
            .map_err(|error| error.to_string())?;
        for (pair, counted) in &world.gemini.counted {
            let ours = used.get(pair).copied().unwrap_or(0);
            let counted = i64::try_from(*counted).unwrap_or(i64::MAX);
            if ours < counted {
                return Err(format!("{pair:?}: the ledger has {ours}, the server {counted}"));
            }
        }
        for (pair, ours) in &used {
            let most = self.dispatched.get(pair).copied().unwrap_or(0) + self.days.twice(pair);
            if i64::try_from(most).unwrap_or(0) < *ours {
                return Err(format!("{pair:?}: the ledger has {ours}, at most {most} could count"));
            }
        }
        Ok(())
    }
}

fn same_history(core: &Core, world: &World) -> Result<(), String> {
    let mut here: BTreeMap<(i64, i64, String, String), i64> = BTreeMap::new();
    let rows: Vec<(i64, i64, String, String)> = core
        .store
        .read(|db| {
            db.prepare("SELECT user_id, chat_id, message_text, response_text FROM history")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
                .collect::<Result<_, rusqlite::Error>>()
        })
        .map_err(|error| error.to_string())?;
    for row in rows {
        *here.entry(row).or_default() += 1;
    }
    let mut ids = BTreeSet::new();
    for row in world.supabase.rows("chat_history") {
        let int = |name: &str| row.at(name).int().unwrap_or(-1);
        if !ids.insert(int("id")) {
            return Err(format!("the id {} is there twice", int("id")));
        }
        let key = (
            int("user_id"),
            int("chat_id"),
            row.at("message_text").str().to_owned(),
            row.at("response_text").str().to_owned(),
        );
        *here.entry(key).or_default() -= 1;
    }
    match here.into_iter().find(|(_, n)| *n != 0) {
        None => Ok(()),
        Some((row, n)) if n > 0 => Err(format!("{n} rows are missing in Supabase: {row:?}")),
        Some((row, n)) => Err(format!("{} rows too many in Supabase: {row:?}", -n)),
    }
}
