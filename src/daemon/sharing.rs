//! Owns: with whom this box shares its keys: boxes of this machine through a file, or boxes anywhere through Redis.
//! May not: decide anything; the two differ only in how they ask.

use super::clock;
use crate::config::Config;
use crate::engine::fleet::{Ask, Beat, News, Ticket, Use, Verdict, View};
#[cfg(feature = "redis")]
use crate::fleet::{self, Fleet};
use crate::secret_hash;
use crate::store::shared::{self, Clocks, SharedLedger};
use crate::types::Secret;
use std::sync::Arc;
use std::time::Duration;

/// The way to the other boxes.
pub enum Sharing {
    /// `SHARED_LEDGER`
    File(SharedLedger),
    /// `REDIS_URL`
    #[cfg(feature = "redis")]
    Redis(Fleet),
}

/// This box's way by the settings; `None` for one of its own.
///
/// # Errors
/// `TLS_CA_FILE` cannot be read.
pub fn join(config: &Config, salt: &str) -> Result<Option<Arc<Sharing>>, String> {
    let bot = config.bot_token.expose().split(':').next().unwrap_or_default();
    let about = format!("{}\t{bot}", env!("CARGO_PKG_VERSION"));
    let id = box_id(salt);
    if let Some(path) = &config.shared_ledger {
        return Ok(Some(Arc::new(Sharing::File(SharedLedger::new(path.clone(), id, about)))));
    }
    #[cfg(feature = "redis")]
    if let Some(url) = &config.redis_url {
        let fleet = Fleet::new(url.clone(), super::fleet::roots(config)?, id, about);
        return Ok(Some(Arc::new(Sharing::Redis(fleet))));
    }
    Ok(None)
}

/// This box's name among the others: it stays with the data directory.
pub(super) fn box_id(salt: &str) -> String {
    secret_hash::fingerprint(salt, &Secret::new("box")).chars().take(12).collect()
}

impl Sharing {
    /// What is shared, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "the shared ledger",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
        }
    }

    /// Between two beats.
    pub fn beat_every(&self) -> Duration {
        Duration::from_millis(match self {
            Self::File(_) => shared::BEAT_EVERY_MS,
            #[cfg(feature = "redis")]
            Self::Redis(_) => fleet::BEAT_EVERY_MS,
        })
    }

    /// Counts a request with all boxes, or says why it must wait.
    pub fn reserve(&self, ask: &Ask) -> Verdict {
        match self {
            Self::File(file) => file.reserve(ask, clocks()),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.reserve(ask, clock::system_ms()),
        }
    }

    /// Ends what was counted; `None` when Gemini cannot have counted it.
    pub fn settle(&self, ticket: &Ticket, tokens: Option<u32>) {
        match self {
            Self::File(file) => file.settle(ticket, tokens, clocks()),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.settle(ticket, tokens),
        }
    }

    /// Tells the others, with the next beat at the latest.
    pub fn tell(&self, news: Vec<News>) {
        match self {
            Self::File(file) => file.tell(news, clocks()),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.tell(news),
        }
    }

    /// Says what this box used by its own ledger.
    pub fn report(&self, uses: &[Use]) {
        match self {
            Self::File(file) => file.report(uses, clocks()),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.report(uses),
        }
    }

    /// Says that this box lives and hears what is new.
    ///
    /// # Errors
    /// What is shared cannot be used: one line, without a secret.
    pub fn beat(&self, now_ms: i64) -> Result<Beat, String> {
        match self {
            Self::File(file) => file.beat(Clocks { now_ms, ..clocks() }),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.beat(now_ms),
        }
    }

    /// How it stands.
    pub fn view(&self) -> View {
        match self {
            Self::File(file) => file.view(),
            #[cfg(feature = "redis")]
            Self::Redis(redis) => redis.view(),
        }
    }
}

fn clocks() -> Clocks {
    Clocks { now_ms: clock::system_ms(), boot_ms: clock::boot_ms() }
}
