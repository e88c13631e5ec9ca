//! Owns: deaths, starts, steps of the clock and times when something is away.

use super::*;

impl World {
    pub(super) fn next_trouble(&mut self, fault: Fault) {
        let mean_ms = match fault {
            Fault::Kill => 12 * MINUTE_MS,
            Fault::Stop => 90 * MINUTE_MS,
            Fault::Power => 25 * MINUTE_MS,
            Fault::Disk => 50 * MINUTE_MS,
            Fault::TelegramAway | Fault::GeminiAway => 70 * MINUTE_MS,
            Fault::SupabaseAway => 3 * HOUR_MS,
            Fault::Clock => 100 * MINUTE_MS,
            Fault::Forget => 40 * MINUTE_MS,
            _ => return,
        };
        let dice = if fault == Fault::Forget { &mut self.forgets } else { &mut self.dice };
        let after_ms = dice.span(mean_ms / 10, 2 * mean_ms);
        self.at(after_ms, Item::Trouble(fault));
    }

    pub(super) fn trouble(&mut self, fault: Fault) -> Result<(), String> {
        if self.healed {
            return Ok(());
        }
        self.next_trouble(fault);
        if fault == Fault::Forget {
            return self.forget_somebody();
        }
        if !self.hit(fault, 1_000) {
            return Ok(());
        }
        match fault {
            Fault::Kill => self.die(false),
            Fault::Power => self.die(true),
            Fault::Stop => self.events.push_back(Event::Stop),
            Fault::Clock => {
                let step_ms = match self.dice.below(4) {
                    0 => self.dice.span(-3 * HOUR_MS, 3 * HOUR_MS),
                    1 => self.dice.span(-2 * DAY_MS, DAY_MS / 2),
                    _ => self.dice.span(-10 * SECOND_MS, 10 * SECOND_MS),
                };
                // The clock comes back to the truth at times, as time services see to.
                self.skew_ms = if self.dice.per_mille(400) { 0 } else { self.skew_ms + step_ms };
                self.follow_clock();
            }
            Fault::Disk => {
                disk::trouble(self.dice.word());
                let after_ms = self.dice.span(SECOND_MS, 4 * MINUTE_MS);
                self.at(after_ms, Item::TroubleEnds(fault));
            }
            Fault::TelegramAway | Fault::GeminiAway | Fault::SupabaseAway => {
                self.away[place(fault)] = true;
                let longest_ms =
                    if fault == Fault::SupabaseAway { 3 * HOUR_MS } else { 15 * MINUTE_MS };
                let after_ms = self.dice.span(SECOND_MS, longest_ms);
                self.at(after_ms, Item::TroubleEnds(fault));
            }
            _ => {}
        }
        Ok(())
    }

    /// As `svs-bot forget` does it: a process of its own, by the wall clock, whether the daemon runs or not.
    fn forget_somebody(&mut self) -> Result<(), String> {
        if self.plan.faults & Fault::Forget.bit() == 0 {
            return Ok(());
        }
        // Best somebody whose question is in hand.
        let waiting = self.witness.waiting(self.core.as_ref());
        let people = if waiting.is_empty() { self.witness.people() } else { waiting };
        let Some(user) = (!people.is_empty()).then(|| self.forgets.pick(&people)) else {
            return Ok(());
        };
        let wall_ms = self.now_ms + self.skew_ms;
        let forgotten = Store::open_existing(&self.dir).and_then(|mut store| {
            store.write(Durability::Disk, |db| erase::forget(db, UserId(user), wall_ms))
        });
        match forgotten {
            Ok(_) => {
                self.count(Fault::Forget);
                self.witness.forgot(user);
                Ok(())
            }
            Err(_) if disk::is_troubled() => Ok(()),
            Err(why) => Err(format!("{user} cannot be forgotten: {why}")),
        }
    }

    pub(super) fn trouble_ends(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            // A start after a death.
            Fault::Kill if self.core.is_none() => self.start_core(),
            Fault::Disk => {
                disk::heal();
                Ok(())
            }
            Fault::TelegramAway | Fault::GeminiAway | Fault::SupabaseAway => {
                self.away[place(fault)] = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// As the shell's clock: a step forward is followed, one back is not.
    pub(super) fn follow_clock(&mut self) {
        self.core_skew_ms = self.core_skew_ms.max(self.skew_ms);
    }

    pub(super) fn die(&mut self, power: bool) {
        let Some(core) = self.core.take() else { return };
        self.witness.dies(power, self.now_ms);
        drop(core);
        if power {
            disk::cut_power(&self.dir, &mut self.dice);
        }
        self.restart_after(self.dice_restart_ms());
    }

    pub(super) fn dice_restart_ms(&self) -> i64 {
        1 + i64::try_from(self.trace % 5_000).unwrap_or(0)
    }

    pub(super) fn restart_after(&mut self, after_ms: i64) {
        if self.core.take().is_some() {
            // A stop that left something in hand counts as a death for what it cut off.
            self.witness.dies(false, self.now_ms);
        }
        self.events.clear();
        self.wake_ms = i64::MAX;
        self.at(after_ms, Item::TroubleEnds(Fault::Kill));
    }

    pub(super) fn start_core(&mut self) -> Result<(), String> {
        self.life += 1;
        self.refused = 0;
        self.events.clear();
        let seed: Vec<u8> = (0..4).flat_map(|_| self.dice.word().to_le_bytes()).collect();
        match self.open(&seed) {
            Ok(core) => {
                self.witness.starts(&core);
                self.core = Some(core);
                self.wake_ms = self.now_ms;
                Ok(())
            }
            Err(why) if disk::is_troubled() => {
                // As a service manager does.
                self.note(why.len() as u64);
                self.wake_ms = i64::MAX;
                self.at(5 * SECOND_MS, Item::TroubleEnds(Fault::Kill));
                Ok(())
            }
            Err(why) => Err(format!("it does not start: {why}")),
        }
    }

    pub(super) fn open(&mut self, seed: &[u8]) -> Result<Core, String> {
        let mut store = Store::open(&self.dir).map_err(|error| error.to_string())?;
        let newest_ms = core::newest_row_ms(&store).map_err(|error| error.to_string())?;
        let wall_ms = self.now_ms + self.skew_ms;
        let base_ms = if newest_ms > wall_ms + DAY_MS { wall_ms } else { newest_ms.max(wall_ms) };
        self.core_skew_ms = base_ms - self.now_ms;
        let now = self.core_now();
        core::recover(&mut store, now).map_err(|error| error.to_string())?;
        let mut core = Core::with_dice(store, self.config.clone(), false, false, seed, now)
            .map_err(|error| error.to_string())?;
        core.observe_listener(true);
        // SQLite counts the memory of all worlds of the process together.
        core.measure_by(|_| svs_bot::types::status::SqliteMemory::default());
        Ok(core)
    }
}
