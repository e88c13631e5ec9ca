//! Owns: the names of keys in Redis.
//! May not: know what is in them.

/// Every key of ours begins so.
pub const PREFIX: &str = "svs-bot:";
/// What belongs to the shared quotas begins so: the braces keep it in one slot of a cluster, as its scripts need it.
pub(super) const POOL: &str = "svs-bot:{pool}:";

/// The key by which a cluster is asked where the shared quotas are; the only one of them that never expires.
pub(super) fn home() -> String {
    format!("{POOL}epoch")
}

/// What the keys of a bot begin with: all of it is in one slot of a cluster; Telegram takes some thirty messages a second of
/// one bot.
pub(super) fn prefix(bot: &str) -> String {
    format!("{PREFIX}{{{bot}}}:")
}

/// The key of a partition's stream.
pub(super) fn stream_key(bot: &str, part: usize) -> String {
    format!("{}updates:{part}", prefix(bot))
}

/// The key of who has which partition.
pub(super) fn leases_key(bot: &str) -> String {
    format!("{}leases", prefix(bot))
}
