//! Owns: what boxes of one bot tell each other of its people: live sessions as text, roles and wishes to be forgotten
//! by version, and which of two that differ counts.
//! May not: know Redis, rows, a clock.
//! Invariant: a session that was handed over never takes the place of a newer one, and nobody's who asked to be forgotten since.

use crate::types::{ChatId, Lane, Role, TopicId, UnixMs, UserId};

/// The most bytes of one session as text; what is more loses its oldest rounds.
pub const SESSION_BYTES_MAX: usize = 32 * 1_024;
/// Bytes of a summary and of a name that go along.
const SUMMARY_BYTES_MAX: usize = 8 * 1_024;
const NAME_BYTES_MAX: usize = 256;
/// Rounds of one session, whatever a stranger writes.
const TURNS_MAX: usize = 128;
/// Which way of writing a session down this is.
const FORMAT: &str = "1";
/// Instants went through two clocks: those so close are the same, and then the own session counts, with what is in hand of it.
const SAME_WITHIN_MS: i64 = 2_000;
/// Between the fields of a session, and between its rounds; neither is let into a text.
const FIELD: char = '\u{1f}';
const ROUND: char = '\u{1e}';

/// A live session on its way from box to box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Where.
    pub lane: Lane,
    /// Whose.
    pub user: UserId,
    /// What they are called.
    pub name: String,
    /// Whether it is one of those that hold a place (a group's).
    pub slot: bool,
    /// Rounds taken whose question is answered.
    pub rounds: u32,
    /// Rounds of it.
    pub rounds_max: u32,
    /// When it began.
    pub opened_ms: UnixMs,
    /// Last activity.
    pub last_ms: UnixMs,
    /// What was before its rounds; empty where there is none.
    pub summary: String,
    /// Questions and answers, oldest first.
    pub turns: Vec<(String, String)>,
}

/// The name of a session among those of its partition.
pub fn session_field(lane: Lane, user: UserId) -> String {
    format!("{}:{}:{}", lane.chat.0, lane.topic.0, user.0)
}

/// Reads [`session_field`].
pub fn read_session_field(text: &str) -> Option<(Lane, UserId)> {
    let mut numbers = text.split(':').map(str::parse::<i64>);
    let (Some(Ok(chat)), Some(Ok(topic)), Some(Ok(user)), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return None;
    };
    Some((Lane { chat: ChatId(chat), topic: TopicId(topic) }, UserId(user)))
}

impl Carried {
    /// As one text of at most [`SESSION_BYTES_MAX`] bytes: the newest rounds that fit.
    pub fn to_text(&self) -> String {
        let head = [
            FORMAT.to_owned(),
            u8::from(self.slot).to_string(),
            self.rounds.to_string(),
            self.rounds_max.to_string(),
            self.opened_ms.to_string(),
            self.last_ms.to_string(),
            clean(&self.name, NAME_BYTES_MAX),
            clean(&self.summary, SUMMARY_BYTES_MAX),
        ];
        let mut text = head.join(&FIELD.to_string());
        let mut kept = Vec::new();
        let mut room = SESSION_BYTES_MAX.saturating_sub(text.len());
        for (asked, answered) in self.turns.iter().rev().take(TURNS_MAX) {
            // The separators with it.
            let Some(left) = room.checked_sub(asked.len() + answered.len() + 2) else { break };
            room = left;
            kept.push(format!(
                "{}{FIELD}{}",
                clean(asked, usize::MAX),
                clean(answered, usize::MAX)
            ));
        }
        for round in kept.iter().rev() {
            text.push(ROUND);
            text.push_str(round);
        }
        text
    }

    /// Reads [`Carried::to_text`] of the session of this name; `None` for what this version does not know.
    pub fn read(field: &str, text: &str) -> Option<Self> {
        let (lane, user) = read_session_field(field)?;
        if text.len() > SESSION_BYTES_MAX {
            return None;
        }
        let mut rounds = text.split(ROUND);
        let head: Vec<&str> = rounds.next()?.split(FIELD).collect();
        let [FORMAT, slot, taken, most, opened, last, name, summary] = head.as_slice() else {
            return None;
        };
        let turns = rounds
            .take(TURNS_MAX)
            .map(|round| round.split_once(FIELD).map(|(a, b)| (a.to_owned(), b.to_owned())));
        Some(Self {
            lane,
            user,
            name: (*name).to_owned(),
            slot: *slot == "1",
            rounds: taken.parse().ok()?,
            rounds_max: most.parse().ok()?,
            opened_ms: opened.parse().ok()?,
            last_ms: last.parse().ok()?,
            summary: (*summary).to_owned(),
            turns: turns.collect::<Option<_>>()?,
        })
    }
}

/// Cut to so many bytes, without what separates.
fn clean(text: &str, bytes_max: usize) -> String {
    let mut text = text.replace([FIELD, ROUND], " ");
    while text.len() > bytes_max {
        text.pop();
    }
    text
}

/// What a box knows of the place of a session that is handed over to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// Last activity of its own session of this person there.
    pub own_last_ms: Option<UnixMs>,
    /// When this person asked to be forgotten; 0 never.
    pub forgotten_ms: UnixMs,
    /// Sessions whose last activity is not after this are over.
    pub alive_ms: UnixMs,
}

/// Whether a session that is handed over goes on here.
pub fn goes_on(last_ms: UnixMs, here: Here) -> bool {
    last_ms > here.alive_ms
        && last_ms > here.forgotten_ms
        && here.own_last_ms.is_none_or(|own_ms| last_ms > own_ms.saturating_add(SAME_WITHIN_MS))
}

/// What of a session the others are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Where.
    pub lane: Lane,
    /// Whose.
    pub user: UserId,
    /// As it stands; `None` where it is over.
    pub session: Option<Carried>,
    /// Until when it holds a place; 0 none.
    pub holds_until_ms: UnixMs,
    /// How long a session lives without activity.
    pub idle_ms: i64,
    /// Places for group sessions, of all boxes together.
    pub places: u32,
}

/// A place that a group session would hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceAsk {
    /// The question that waits for it.
    pub inbox: i64,
    /// Where.
    pub lane: Lane,
    /// Whose.
    pub user: UserId,
    /// Until when it would hold it.
    pub until_ms: UnixMs,
    /// Places of all boxes together.
    pub places: u32,
    /// Whether somebody gives way (an owner's).
    pub evicts: bool,
    /// A session that has just given way here.
    pub gone: Option<(Lane, UserId)>,
}

/// What became of a [`PlaceAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceSaid {
    /// The question that waits for it.
    pub inbox: i64,
    /// Whether it has one; `None` where nobody could say.
    pub granted: Option<bool>,
    /// In how long the next one is free.
    pub wait_ms: i64,
}

/// Something about a person that every box of the bot is to know; the newest of each name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub field: String,
    /// When it came to be, by the clock of the box that learned it; later than what that box knew before.
    pub version: i64,
    /// What it says; empty: it is no more.
    pub value: String,
}

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// A role that was given.
    Role(UserId),
    /// A person who asked to be forgotten.
    Forgotten(UserId),
    /// A pairing code, by its hash.
    Code(String),
    /// A session that had to give way.
    Ended(Lane, UserId),
}

/// A role as all boxes know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Which.
    pub role: Role,
    /// 0: for ever.
    pub until_ms: UnixMs,
    /// How it was given.
    pub source: String,
}

impl About {
    /// The name of such a fact.
    pub fn field(&self) -> String {
        match self {
            Self::Role(user) => format!("g:{}", user.0),
            Self::Forgotten(user) => format!("f:{}", user.0),
            Self::Code(hash) => format!("p:{hash}"),
            Self::Ended(lane, user) => format!("e:{}", session_field(*lane, *user)),
        }
    }

    /// Reads [`About::field`]; `None` for what this version does not know.
    pub fn read(field: &str) -> Option<Self> {
        let (kind, name) = field.split_once(':')?;
        match kind {
            "g" => Some(Self::Role(UserId(name.parse().ok()?))),
            "f" => Some(Self::Forgotten(UserId(name.parse().ok()?))),
            "p" => Some(Self::Code(name.to_owned())),
            "e" => read_session_field(name).map(|(lane, user)| Self::Ended(lane, user)),
            _ => None,
        }
    }
}

impl Given {
    /// As one word of a fact.
    pub fn to_text(&self) -> String {
        format!("{}\t{}\t{}", self.role.name(), self.until_ms, self.source)
    }

    /// Reads [`Given::to_text`].
    pub fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, '\t');
        let role = Role::from_name(words.next()?)?;
        let until_ms = words.next()?.parse().ok()?;
        Some(Self { role, until_ms, source: words.next()?.to_owned() })
    }
}

/// Whether what is heard counts instead of what is known; of two that are as new the same one on every box.
pub fn is_news(heard: &Fact, known: Option<(i64, &str)>) -> bool {
    heard.version > 0 && known.is_none_or(|known| (heard.version, heard.value.as_str()) > known)
}

/// The version of a change that came to be at `at_ms`: no clock makes it older than what was known before.
pub fn version(at_ms: UnixMs, known: Option<i64>) -> i64 {
    at_ms.max(known.map_or(1, |known| known.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(turns: &[(&str, &str)]) -> Carried {
        Carried {
            lane: Lane { chat: ChatId(-7), topic: TopicId(3) },
            user: UserId(9),
            name: "Ann".into(),
            slot: true,
            rounds: 2,
            rounds_max: 3,
            opened_ms: 50,
            last_ms: 90,
            summary: "earlier".into(),
            turns: turns.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        }
    }

    #[test]
    fn a_session_reads_as_it_was_written() {
        let field = session_field(carried(&[]).lane, UserId(9));
        assert_eq!(field, "-7:3:9");
        for session in [
            carried(&[]),
            carried(&[("", "")]),
            carried(&[("one\nline", "two \u{1f600}"), ("three", "four")]),
            Carried { slot: false, summary: String::new(), ..carried(&[("a", "b")]) },
        ] {
            assert_eq!(Carried::read(&field, &session.to_text()), Some(session));
        }
        // What separates is let into no text.
        let odd =
            Carried { name: "A\u{1f}\u{1e}nn".into(), ..carried(&[("a\u{1e}b", "c\u{1f}d")]) };
        let read = Carried::read(&field, &odd.to_text()).expect("it is one");
        assert_eq!(
            (read.name.as_str(), read.turns.as_slice()),
            ("A  nn", &[("a b".into(), "c d".into())][..])
        );
    }

    #[test]
    fn what_is_no_session_of_this_version_is_none() {
        let (field, text) = ("-7:3:9", carried(&[("a", "b")]).to_text());
        let long = format!("{text}{}", "x".repeat(SESSION_BYTES_MAX));
        let other = text.replacen('1', "2", 1);
        for (field, text) in [
            (field, ""),
            (field, "1"),
            (field, other.as_str()),
            (field, long.as_str()),
            ("-7:3", text.as_str()),
            ("-7:3:9:1", text.as_str()),
            ("a:b:c", text.as_str()),
        ] {
            assert_eq!(Carried::read(field, text), None, "{field} {}", text.len());
        }
    }

    #[test]
    fn a_session_that_is_too_large_keeps_its_newest_rounds() {
        let long = "\u{4e2d}".repeat(SESSION_BYTES_MAX / 9);
        let session = carried(&[("1", &long), ("2", &long), ("3", &long), ("4", "short")]);
        let text = session.to_text();
        assert!(text.len() <= SESSION_BYTES_MAX, "{}", text.len());
        let read = Carried::read("-7:3:9", &text).expect("it is one");
        assert!(
            read.turns == session.turns[1..],
            "three long ones do not fit: {}",
            read.turns.len()
        );
        let vast = "x".repeat(SESSION_BYTES_MAX);
        let read = Carried::read("-7:3:9", &carried(&[("1", "a"), ("2", &vast)]).to_text());
        // A gap would be worse than nothing.
        assert_eq!(read.expect("it is one").turns, []);
        let named =
            Carried { summary: vast.clone(), name: vast, ..carried(&[("1", "a")]) }.to_text();
        assert!(Carried::read("-7:3:9", &named).is_some_and(|it| it.turns.len() == 1));
    }

    #[test]
    fn a_session_goes_on_only_where_nothing_newer_is_known() {
        for (what, last_ms, own_last_ms, forgotten_ms, want) in [
            ("nothing here", 90, None, 0, true),
            ("an older one here", 2_081, Some(80), 0, true),
            ("the same by another clock", 2_080, Some(80), 0, false),
            ("the same here", 90, Some(90), 0, false),
            ("a newer one here", 90, Some(91), 0, false),
            ("forgotten since", 90, None, 90, false),
            ("forgotten before", 90, None, 89, true),
            ("over", 50, None, 0, false),
        ] {
            let here = Here { own_last_ms, forgotten_ms, alive_ms: 50 };
            assert_eq!(goes_on(last_ms, here), want, "{what}");
        }
    }

    #[test]
    fn a_fact_reads_as_it_was_written() {
        for about in [
            About::Role(UserId(7)),
            About::Forgotten(UserId(8)),
            About::Code("0af:1".into()),
            About::Ended(carried(&[]).lane, UserId(9)),
        ] {
            assert_eq!(About::read(&about.field()), Some(about));
        }
        for field in ["", "g", "g:", "g:x", "z:7"] {
            assert_eq!(About::read(field), None, "{field}");
        }
        for role in Role::ALL {
            let given = Given { role, until_ms: 5, source: "chat".into() };
            assert_eq!(Given::read(&given.to_text()), Some(given));
        }
        for text in ["", "vip", "vip\t0", "vip\tx\tchat", "king\t0\tchat"] {
            assert_eq!(Given::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_newest_counts_and_no_clock_goes_back() {
        let heard =
            |version, value: &str| Fact { field: "g:7".into(), version, value: value.into() };
        for (what, fact, known, want) in [
            ("unknown so far", heard(5, "a"), None, true),
            ("newer", heard(6, "a"), Some((5, "b")), true),
            ("older", heard(4, "z"), Some((5, "b")), false),
            ("the same", heard(5, "b"), Some((5, "b")), false),
            ("as new, larger", heard(5, "c"), Some((5, "b")), true),
            ("as new, smaller", heard(5, "a"), Some((5, "b")), false),
            ("taken back", heard(6, ""), Some((5, "b")), true),
            ("of no time", heard(0, "a"), None, false),
        ] {
            assert_eq!(is_news(&fact, known), want, "{what}");
        }
        for (at_ms, known, want) in [
            (50, None, 50),
            (50, Some(40), 50),
            (50, Some(50), 51),
            (50, Some(900), 901),
            (-3, None, 1),
        ] {
            assert_eq!(version(at_ms, known), want, "{at_ms} {known:?}");
        }
    }
}
