//! Owns: what should become true, from facts; pure functions over values.
//! May not: know a clock, dice, I/O, JSON or how anything is stored.

pub mod access;
pub mod fleet;
pub mod keypool;
pub mod live;
pub mod mask;
pub mod persona;
pub mod policy;
pub mod render;
pub mod session;
pub mod settle;
pub mod sniff;
pub mod speech;
pub mod task;
pub mod trigger;

#[cfg(test)]
pub(crate) mod tests {
    use super::policy::{Keyword, LangChoice, Policy};
    use crate::types::{Role, UserId};

    /// The settings of the contract's defaults, for bot 42 named `svs_bot`.
    pub(crate) fn policy() -> Policy {
        Policy {
            bot: UserId(42),
            bot_name: "svs_bot".to_owned(),
            owners: Vec::new(),
            vips: Vec::new(),
            premiums: Vec::new(),
            normals: Vec::new(),
            default_role: Role::Normal,
            allowed_chats: None,
            rounds: [10, 7, 5, 3, 0],
            vip_slots: 3,
            session_idle_ms: 600_000,
            keywords: ["admin", "小爱同学", "xiao ai"].map(Keyword::new).to_vec(),
            queue_max: 10_000,
            user_queue_max: 20,
            join_window_ms: 0,
            media_max_bytes: 10 * 1024 * 1024,
            lang: LangChoice::Auto,
        }
    }
}
