//! Owns: one look at everything: what the daemon publishes and what `status` shows without it.
//! May not: write; wait.

use crate::config::Config;
use crate::engine::keypool::Pool;
use crate::store::status::Asked;
use crate::store::{Result, Store};
use crate::types::Now;
use crate::types::status::Status;
use std::path::Path;

/// The status from the database, the pool and the disk; whether a daemon runs, whether it is ready
/// and its memory are for the caller. Costs about a millisecond, more with a long backlog: a busy
/// loop publishes once a second, not every turn.
///
/// # Errors
/// As SQLite says.
pub fn look(store: &Store, pool: &Pool, config: &Config, dir: &Path, now: Now) -> Result<Status> {
    let mut status = store.status(&Asked {
        now_ms: now.unix_ms,
        session_idle_ms: config.session_idle_ms,
        vip_slots: config.vip_slots,
        sync_enabled: config.supabase.is_some(),
    })?;
    status.keys = pool.list(now);
    status.quota = pool.quota_view(now);
    status.lasts = pool.lasts(now);
    status.disk = crate::os::disk(dir);
    Ok(status)
}
