//! Owns: what becomes of a message: asked, refused with a word, joined to another, or left alone.
//! May not: read rows, write texts, know a clock.
//! Invariant: a group session holds one slot, a private one none; a role without rounds has no session.

use super::access;
use super::policy::Policy;
use super::trigger::Trigger;
use crate::types::{ChatKind, MINUTE_MS, MediaKind, Message, Now, Role, SECOND_MS, UnixMs};

/// A full queue is explained once in this time to one person, unless a question came through since.
const QUEUE_REFUSAL_EVERY_MS: i64 = 60 * MINUTE_MS;
/// Other refusals are repeated no faster than this, so that nobody is flooded by their own flood.
const REFUSAL_EVERY_MS: i64 = 5 * SECOND_MS;
/// Characters of a replied-to text that go along.
const CONTEXT_CHARS_MAX: usize = 4_096;
/// Content that a person may send and no model gets; in private it deserves a word.
const UNANSWERABLE: [&str; 10] = [
    "sticker",
    "poll",
    "dice",
    "contact",
    "location",
    "venue",
    "game",
    "story",
    "invoice",
    "checklist",
];

/// What the rows say about the person and the place of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the message is served with.
    pub role: Role,
    /// When this person was last refused politely; 0 never.
    pub refused_ms: UnixMs,
    /// The stored session of the person here, live or not.
    pub session: Option<SessionFact>,
    /// Live group sessions, oldest first, the person's own here left out.
    pub slots: Vec<i64>,
    /// Unfinished questions of all.
    pub pending: u32,
    /// Unfinished questions of this person.
    pub pending_of_user: u32,
    /// A question of this person that waits behind an unfinished one here and is still joinable.
    pub joinable: Option<i64>,
}

/// A stored session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFact {
    /// Its row.
    pub id: i64,
    /// Rounds taken.
    pub rounds: u32,
    /// Last activity.
    pub last_ms: UnixMs,
}

/// What to do with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Silence is a decision too.
    Ignore,
    /// One polite text.
    Refuse(Refusal),
    /// Add it to this waiting question.
    Join(i64),
    /// Queue it.
    Ask(Ask),
    /// A stranger at a closed door: the owner is asked.
    Knock,
}

/// Why somebody is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This chat is not served.
    NotAllowedHere,
    /// Too many questions of all wait.
    QueueFull,
    /// Too many questions of this person wait.
    UserQueueFull,
    /// Every group session is taken.
    SlotsFull,
    /// Nothing a model could answer.
    NothingToAnswer,
    /// The file is larger than allowed.
    MediaTooLarge,
    /// A kind of file that is not passed on.
    MediaUnknown,
    /// Files are switched off.
    MediaOff,
}

/// How a question is queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// What happens to the session.
    pub session: SessionMove,
    /// From 1; 0 without a session.
    pub round: u32,
    /// Rounds of this session.
    pub rounds_max: u32,
    /// What `user_registry` is told: the keyword in its listed spelling, or `@mention`.
    pub register: Option<String>,
    /// Whether the answer begins with the person's name.
    pub addressed: bool,
    /// The text it replies to, where the session does not hold it.
    pub context: String,
}

/// What happens to a session when a question is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMove {
    /// Each question alone.
    None,
    /// One more round of it.
    Continue(i64),
    /// A new one, its first round taken.
    Open {
        /// Whether it holds a slot.
        slot: bool,
        /// The session that gives way.
        evict: Option<i64>,
    },
}

/// Whether a stored session goes on with this message.
pub fn is_live(policy: &Policy, session: SessionFact, rounds_max: u32, now: Now) -> bool {
    session.last_ms.saturating_add(policy.session_idle_ms) > now.unix_ms
        && session.rounds < rounds_max
}

/// Decides about a message that is no command.
pub fn decide(
    policy: &Policy,
    facts: &Facts,
    message: &Message,
    trigger: &Trigger,
    now: Now,
) -> Decision {
    let private = message.chat_kind == ChatKind::Private;
    if !access::is_allowed_chat(policy, message.chat) {
        let first_time = private && facts.refused_ms == 0;
        return if first_time {
            Decision::Refuse(Refusal::NotAllowedHere)
        } else {
            Decision::Ignore
        };
    }
    if *trigger == Trigger::OthersCommand {
        return Decision::Ignore;
    }
    let triggered = *trigger != Trigger::None;
    let rounds_max = policy.rounds_of(facts.role);
    let live = facts.session.filter(|session| is_live(policy, *session, rounds_max, now));
    if !triggered && (live.is_none() || !message.is_ordinary) {
        return Decision::Ignore;
    }
    if facts.role == Role::Blocked {
        let stranger = private && policy.default_role == Role::Blocked;
        return if stranger { Decision::Knock } else { Decision::Ignore };
    }
    if let Some(refusal) = unanswerable(policy, message) {
        let loud = private || triggered && !matches!(refusal, Refusal::NothingToAnswer);
        return if loud { refuse(facts, refusal, REFUSAL_EVERY_MS, now) } else { Decision::Ignore };
    }
    if let Some(joined) = facts.joinable {
        return Decision::Join(joined);
    }
    if facts.pending_of_user >= policy.user_queue_max {
        return refuse(facts, Refusal::UserQueueFull, QUEUE_REFUSAL_EVERY_MS, now);
    }
    if facts.pending >= policy.queue_max {
        return refuse(facts, Refusal::QueueFull, QUEUE_REFUSAL_EVERY_MS, now);
    }
    let Some((session, round)) = session_move(policy, facts, live, rounds_max, private) else {
        return refuse(facts, Refusal::SlotsFull, REFUSAL_EVERY_MS, now);
    };
    Decision::Ask(Ask {
        session,
        round,
        rounds_max,
        register: match trigger {
            Trigger::Keyword(listed) if !private => Some(listed.clone()),
            Trigger::Mention if !private => Some("@mention".to_owned()),
            _ => None,
        },
        addressed: !private,
        context: context(policy, message, matches!(session, SessionMove::Continue(_))),
    })
}

fn session_move(
    policy: &Policy,
    facts: &Facts,
    live: Option<SessionFact>,
    rounds_max: u32,
    private: bool,
) -> Option<(SessionMove, u32)> {
    if rounds_max == 0 {
        return Some((SessionMove::None, 0));
    }
    if let Some(session) = live {
        return Some((SessionMove::Continue(session.id), session.rounds + 1));
    }
    let full = !private && facts.slots.len() >= policy.vip_slots;
    let evict = match facts.slots.first() {
        Some(oldest) if full && facts.role == Role::Owner => Some(*oldest),
        _ if full => return None,
        _ => None,
    };
    Some((SessionMove::Open { slot: !private, evict }, 1))
}

fn refuse(facts: &Facts, refusal: Refusal, every_ms: i64, now: Now) -> Decision {
    let lately = facts.refused_ms != 0 && facts.refused_ms.saturating_add(every_ms) > now.unix_ms;
    if lately { Decision::Ignore } else { Decision::Refuse(refusal) }
}

fn unanswerable(policy: &Policy, message: &Message) -> Option<Refusal> {
    if let Some(media) = &message.media {
        // A caption beside a file that cannot be passed on would be answered past the point.
        return match media.kind {
            MediaKind::Unsupported => Some(Refusal::MediaUnknown),
            _ if policy.media_max_bytes == 0 => Some(Refusal::MediaOff),
            _ if media.size > policy.media_max_bytes => Some(Refusal::MediaTooLarge),
            _ => None,
        };
    }
    message.text.trim().is_empty().then_some(Refusal::NothingToAnswer)
}

/// Whether a message without text or file is worth a word at all; joins and pins are not.
pub fn is_content(message: &Message) -> bool {
    match &message.service {
        None => message.media.is_some() || !message.text.trim().is_empty(),
        Some(kind) => UNANSWERABLE.contains(&kind.as_str()),
    }
}

fn context(policy: &Policy, message: &Message, continues: bool) -> String {
    let Some(reply) = &message.reply_to else { return String::new() };
    // What the bot said in this session is in its memory already, unless a part of it is quoted.
    let text = match &message.quote {
        Some(quote) => quote,
        None if continues && reply.from == Some(policy.bot) => return String::new(),
        None => &reply.text,
    };
    text.chars().take(CONTEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::policy;
    use super::*;
    use crate::types::{ChatId, Media, ReplyTo};

    const NOW: Now = Now { unix_ms: 1_800_000_000_000 };

    fn facts(role: Role) -> Facts {
        Facts {
            role,
            refused_ms: 0,
            session: None,
            slots: Vec::new(),
            pending: 0,
            pending_of_user: 0,
            joinable: None,
        }
    }

    fn live(rounds: u32) -> Option<SessionFact> {
        Some(SessionFact { id: 7, rounds, last_ms: NOW.unix_ms - 1 })
    }

    fn message(kind: ChatKind) -> Message {
        Message { chat_kind: kind, text: "hi".to_owned(), is_ordinary: true, ..Message::default() }
    }

    /// One line per decision, so that a case reads as a row.
    fn check(facts: &Facts, message: &Message, trigger: &Trigger, want: &str) {
        let got = match decide(&policy(), facts, message, trigger, NOW) {
            Decision::Ask(ask) => {
                format!("ask {}/{} {:?}", ask.round, ask.rounds_max, ask.session)
            }
            other => format!("{other:?}"),
        };
        assert_eq!(got, want);
    }

    fn group() -> Message {
        message(ChatKind::Group)
    }

    #[test]
    fn silence_without_trigger_or_session() {
        check(&facts(Role::Normal), &group(), &Trigger::None, "Ignore");
        check(&facts(Role::Normal), &group(), &Trigger::OthersCommand, "Ignore");
    }

    #[test]
    fn a_trigger_opens_a_session_and_the_session_goes_on_without_one() {
        let mut facts = facts(Role::Normal);
        check(&facts, &group(), &Trigger::Mention, "ask 1/3 Open { slot: true, evict: None }");
        facts.session = live(1);
        check(&facts, &group(), &Trigger::None, "ask 2/3 Continue(7)");
        check(&facts, &group(), &Trigger::OthersCommand, "Ignore");
        facts.session = live(3);
        check(&facts, &group(), &Trigger::None, "Ignore");
        check(&facts, &group(), &Trigger::Reply, "ask 1/3 Open { slot: true, evict: None }");
    }

    #[test]
    fn an_idle_session_is_over() {
        let mut facts = facts(Role::Normal);
        facts.session = Some(SessionFact { id: 7, rounds: 1, last_ms: NOW.unix_ms - 600_000 });
        check(&facts, &group(), &Trigger::None, "Ignore");
        facts.session = Some(SessionFact { id: 7, rounds: 1, last_ms: NOW.unix_ms - 599_999 });
        check(&facts, &group(), &Trigger::None, "ask 2/3 Continue(7)");
    }

    #[test]
    fn private_sessions_hold_no_slot_and_start_afresh() {
        let mut facts = facts(Role::Vip);
        facts.slots = vec![1, 2, 3];
        let private = message(ChatKind::Private);
        check(&facts, &private, &Trigger::Private, "ask 1/7 Open { slot: false, evict: None }");
        facts.session = live(7);
        check(&facts, &private, &Trigger::Private, "ask 1/7 Open { slot: false, evict: None }");
    }

    #[test]
    fn guests_are_answered_alone_and_need_no_slot() {
        let mut facts = facts(Role::Guest);
        facts.slots = vec![1, 2, 3];
        check(&facts, &group(), &Trigger::Mention, "ask 0/0 None");
    }

    #[test]
    fn full_slots_refuse_the_newcomer_and_give_way_to_the_owner() {
        let mut facts = facts(Role::Vip);
        facts.slots = vec![4, 5, 6];
        check(&facts, &group(), &Trigger::Mention, "Refuse(SlotsFull)");
        facts.refused_ms = NOW.unix_ms - 1;
        check(&facts, &group(), &Trigger::Mention, "Ignore");
        facts.role = Role::Owner;
        check(&facts, &group(), &Trigger::Mention, "ask 1/10 Open { slot: true, evict: Some(4) }");
    }

    #[test]
    fn queues_are_bounded_and_say_so_once() {
        let mut facts = facts(Role::Normal);
        facts.pending_of_user = 20;
        check(&facts, &message(ChatKind::Private), &Trigger::Private, "Refuse(UserQueueFull)");
        facts.refused_ms = NOW.unix_ms - 1_000;
        check(&facts, &message(ChatKind::Private), &Trigger::Private, "Ignore");
        facts = self::facts(Role::Normal);
        facts.pending = 10_000;
        check(&facts, &message(ChatKind::Private), &Trigger::Private, "Refuse(QueueFull)");
    }

    #[test]
    fn the_blocked_are_met_with_silence_and_strangers_knock() {
        check(&facts(Role::Blocked), &message(ChatKind::Private), &Trigger::Private, "Ignore");
        let mut closed = policy();
        closed.default_role = Role::Blocked;
        let decision = decide(
            &closed,
            &facts(Role::Blocked),
            &message(ChatKind::Private),
            &Trigger::Private,
            NOW,
        );
        assert_eq!(decision, Decision::Knock);
    }

    #[test]
    fn a_chat_that_is_not_served_is_told_once_in_private_only() {
        let mut narrow = policy();
        narrow.allowed_chats = Some(vec![ChatId(5)]);
        let mut facts = facts(Role::Normal);
        let private = message(ChatKind::Private);
        let refused = Decision::Refuse(Refusal::NotAllowedHere);
        assert_eq!(decide(&narrow, &facts, &private, &Trigger::Private, NOW), refused);
        facts.refused_ms = 1;
        assert_eq!(decide(&narrow, &facts, &private, &Trigger::Private, NOW), Decision::Ignore);
        facts.refused_ms = 0;
        assert_eq!(decide(&narrow, &facts, &group(), &Trigger::Mention, NOW), Decision::Ignore);
    }

    #[test]
    fn files_are_judged_before_they_are_queued() {
        let with = |kind, size| {
            let media =
                Media { kind, file_id: "f".into(), size, mime: None, name: None, duration_s: 0 };
            Message { media: Some(media), text: String::new(), ..message(ChatKind::Private) }
        };
        let facts = facts(Role::Normal);
        let private = Trigger::Private;
        check(
            &facts,
            &with(MediaKind::Photo, 99),
            &private,
            "ask 1/3 Open { slot: false, evict: None }",
        );
        check(&facts, &with(MediaKind::Photo, 10_485_761), &private, "Refuse(MediaTooLarge)");
        check(&facts, &with(MediaKind::Unsupported, 1), &private, "Refuse(MediaUnknown)");
        let nothing = Message { text: "  ".into(), ..message(ChatKind::Private) };
        check(&facts, &nothing, &private, "Refuse(NothingToAnswer)");
    }

    #[test]
    fn a_reply_carries_its_context_when_the_session_does_not() {
        let mut message = group();
        message.reply_to = Some(ReplyTo {
            from: Some(policy().bot),
            text: "earlier".into(),
            ..ReplyTo::default()
        });
        let context_of = |facts: &Facts, message: &Message| match decide(
            &policy(),
            facts,
            message,
            &Trigger::Reply,
            NOW,
        ) {
            Decision::Ask(ask) => ask.context,
            other => format!("{other:?}"),
        };
        let mut facts = facts(Role::Normal);
        assert_eq!(context_of(&facts, &message), "earlier");
        facts.session = live(1);
        assert_eq!(context_of(&facts, &message), "");
        message.quote = Some("ear".into());
        assert_eq!(context_of(&facts, &message), "ear");
    }
}
