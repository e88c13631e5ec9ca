//! Owns: a person's rounds as the file that `/export` sends.
//! May not: read rows, or word a sentence (speech does).

use crate::calendar::rfc3339;
use crate::json;
use crate::store::tell::Round;
use std::fmt::Write;

/// For people: each round under its time and chat, `note` before them where it is not empty.
pub(super) fn markdown(rounds: &[Round], note: &str) -> String {
    let mut text = String::new();
    if !note.is_empty() {
        text.push_str(note);
        text.push_str("\n\n");
    }
    for round in rounds {
        let at = rfc3339(round.at_us.div_euclid(1_000));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "## {at} · {}\n\n**?** {}\n\n{}\n\n",
            round.chat, round.asked, round.answered
        );
    }
    text
}

/// For programs: the names are those of `chat_history`; `complete` = nothing older was left out.
pub(super) fn json(rounds: &[Round], complete: bool) -> String {
    let mut text = String::new();
    {
        let mut object = json::Object::new(&mut text);
        object.bool("complete", complete);
        let mut list = object.array("rounds");
        for round in rounds {
            list.object()
                .str("created_at", &rfc3339(round.at_us.div_euclid(1_000)))
                .int("chat_id", round.chat)
                .str("message_text", &round.asked)
                .str("response_text", &round.answered);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_reads_well_and_its_json_is_json() {
        let round = |n: i64, asked: &str| Round {
            at_us: 1_795_467_600_000_000 + n * 1_000_000,
            chat: 42,
            asked: asked.to_owned(),
            answered: format!("answer {n}"),
        };
        let rounds = [round(0, "a \"question\""), round(1, "线\n二")];
        assert_eq!(
            markdown(&rounds, "newest first"),
            "newest first\n\n## 2026-11-23T21:00:00.000Z · 42\n\n**?** a \"question\"\n\nanswer 0\n\n\
             ## 2026-11-23T21:00:01.000Z · 42\n\n**?** 线\n二\n\nanswer 1\n\n"
        );
        assert!(markdown(&rounds, "").starts_with("## "));
        let text = json(&rounds, false);
        let value = json::parse(text.as_bytes()).unwrap();
        assert_eq!(value.at("complete").bool(), Some(false));
        let last = value.at("rounds").list().last().unwrap();
        assert_eq!(last.at("message_text").str(), Some("线\n二"));
        assert_eq!(last.at("chat_id").i64(), Some(42));
    }
}
