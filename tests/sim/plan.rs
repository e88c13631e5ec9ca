//! Owns: what a simulated world is made from: a seed and a few bounds, and the dice they give.

use nanorand::{Rng, WyRand};

/// Everything that can go wrong, one bit each, so that a failing seed can be made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process is killed; what is committed stays.
    Kill,
    /// SIGTERM and a new start.
    Stop,
    /// The power goes: what was not synced is lost, torn or kept, by the dice.
    Power,
    /// The disk is full, or refuses to read, write or sync.
    Disk,
    /// Telegram did it, and the reply is lost.
    TelegramLost,
    /// The request never got there.
    TelegramCut,
    /// 429 with `retry_after`.
    TelegramPause,
    /// 5xx from Telegram or its door.
    TelegramServer,
    /// Another program polls.
    TelegramConflict,
    /// Nothing of Telegram for minutes.
    TelegramAway,
    /// The errors of Gemini.
    GeminiError,
    /// Gemini counted it, and the reply is lost or cut.
    GeminiLost,
    /// Nothing of Gemini for minutes.
    GeminiAway,
    /// PostgREST did it, and the reply is lost.
    SupabaseLost,
    /// A request commits long after it was given up.
    SupabaseLate,
    /// 4xx and 5xx of PostgREST.
    SupabaseError,
    /// Nothing of Supabase for hours.
    SupabaseAway,
    /// The wall clock steps.
    Clock,
    /// Somebody is to be forgotten, by the command beside the daemon.
    Forget,
    /// Telegram has no file, too much of one, or breaks off in its middle.
    Files,
}

impl Fault {
    pub const ALL: [Self; 20] = [
        Self::Kill,
        Self::Stop,
        Self::Power,
        Self::Disk,
        Self::TelegramLost,
        Self::TelegramCut,
        Self::TelegramPause,
        Self::TelegramServer,
        Self::TelegramConflict,
        Self::TelegramAway,
        Self::GeminiError,
        Self::GeminiLost,
        Self::GeminiAway,
        Self::SupabaseLost,
        Self::SupabaseLate,
        Self::SupabaseError,
        Self::SupabaseAway,
        Self::Clock,
        Self::Forget,
        Self::Files,
    ];

    pub fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// One world.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// How long people write and things go wrong; healing comes on top.
    pub hours: i64,
    /// Private chats and groups.
    pub chats: u32,
    /// Updates that people make at most.
    pub updates_max: u32,
    /// The faults that may happen, as bits.
    pub faults: u32,
    /// Updates are delivered instead of polled: in any order, some again.
    pub webhook: bool,
    /// People send pictures and albums as well.
    pub files: bool,
}

impl Plan {
    /// Every fault, with sizes by the seed.
    pub fn of_seed(seed: u64, hours: i64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let chats = [3, 20, 200, 2_000][dice.below(4) as usize];
        let updates_max =
            40 * u32::try_from(hours).unwrap_or(1).max(1) * (1 + dice.below(4) as u32);
        Self { seed, hours, chats, updates_max, faults: u32::MAX, webhook: false, files: false }
    }

    /// The same people by another way in, with files.
    pub fn by(mut self, webhook: bool, files: bool) -> Self {
        (self.webhook, self.files) = (webhook, files);
        self
    }

    pub fn without(mut self, fault: Fault) -> Self {
        self.faults &= !fault.bit();
        self
    }

    pub fn only(mut self, faults: &[Fault]) -> Self {
        self.faults = faults.iter().map(|fault| fault.bit()).fold(0, |all, bit| all | bit);
        self
    }
}

/// The one source of chance.
pub struct Dice(WyRand);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(WyRand::new_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678))
    }
    pub fn word(&mut self) -> u64 {
        self.0.generate()
    }
    /// 0 up to but not `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.word() % n.max(1)
    }
    pub fn span(&mut self, from: i64, to: i64) -> i64 {
        from + i64::try_from(self.below(u64::try_from(to - from + 1).unwrap_or(1))).unwrap_or(0)
    }
    /// Happens so often in a thousand.
    pub fn per_mille(&mut self, n: u64) -> bool {
        self.below(1_000) < n
    }
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }
}
