//! Owns: who is who, and who may do what where.
//! May not: know how roles are stored.
//! Invariant: authority comes from the numeric id alone (contract §4), never from a name.

use super::policy::Policy;
use crate::types::{ChatId, ChatKind, Message, Role, UserId};

/// An administrator who writes as the group (api-reference A10: `from` is this fake user).
const ANONYMOUS_ADMIN: UserId = UserId(1_087_968_824);

/// The role of a person: owner by settings, else what was granted at run time, else the lists.
pub fn role_of(policy: &Policy, user: UserId, granted: Option<Role>) -> Role {
    if policy.owners.contains(&user) {
        return Role::Owner;
    }
    match granted {
        // With BOT_OWNER_ID set, it alone decides who is owner.
        Some(Role::Owner) if !policy.owners.is_empty() => Role::Vip,
        Some(role) => role,
        None if policy.vips.contains(&user) => Role::Vip,
        None if policy.premiums.contains(&user) => Role::Premium,
        None if policy.normals.contains(&user) => Role::Normal,
        None => policy.default_role,
    }
}

/// The role a message is served with: one that nobody can be held to is at most a guest's.
pub fn role_of_message(message: &Message, role: Role) -> Role {
    let certain = message.is_ordinary || message.is_forward;
    if certain || role == Role::Blocked { role } else { role.max(Role::Guest) }
}

/// Whether there is a person to talk to: not a channel, not a bot, not a service account.
pub fn is_from_a_person(message: &Message) -> bool {
    match &message.from {
        Some(user) => {
            message.chat_kind != ChatKind::Channel && (!user.is_bot || user.id == ANONYMOUS_ADMIN)
        }
        None => false,
    }
}

/// Whether this chat may be served.
pub fn is_allowed_chat(policy: &Policy, chat: ChatId) -> bool {
    policy.allowed_chats.as_ref().is_none_or(|allowed| allowed.contains(&chat))
}

/// Whether this message may command as an owner.
pub fn may_command(message: &Message, role: Role) -> bool {
    role == Role::Owner && message.is_ordinary
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::*;

    fn check(user: i64, granted: Option<Role>, owners: &[i64], want: Role) {
        let mut policy = policy();
        policy.owners = owners.iter().map(|id| UserId(*id)).collect();
        policy.vips = vec![UserId(2)];
        assert_eq!(role_of(&policy, UserId(user), granted), want, "{user} {granted:?} {owners:?}");
    }

    #[test]
    fn the_settings_alone_name_owners_when_they_name_any() {
        check(1, None, &[1], Role::Owner);
        check(3, Some(Role::Owner), &[1], Role::Vip);
        check(3, Some(Role::Owner), &[], Role::Owner);
    }

    #[test]
    fn what_was_granted_wins_over_the_lists() {
        check(2, None, &[], Role::Vip);
        check(2, Some(Role::Blocked), &[], Role::Blocked);
        check(9, None, &[], Role::Normal);
    }

    #[test]
    fn who_cannot_be_held_to_a_message_is_a_guest() {
        let mut message = Message { is_ordinary: false, ..Message::default() };
        assert_eq!(role_of_message(&message, Role::Owner), Role::Guest);
        assert!(!may_command(&message, Role::Owner));
        message.is_forward = true;
        assert_eq!(role_of_message(&message, Role::Vip), Role::Vip);
        assert!(!may_command(&message, Role::Owner));
    }
}
