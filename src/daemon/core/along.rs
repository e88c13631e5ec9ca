//! Owns: what goes along with a question, and what a failed one is told.
//! May not: read rows or decide anything.

use crate::daemon::metrics::AnswerOutcome;
use crate::engine::settle;
use crate::engine::speech::Speech;
use crate::store::inbox::Asking;
use crate::types::Lang;
use crate::types::model::MediaTrouble;

/// About four bytes of Latin or one character of Chinese to a token (api-reference B7); rather more.
pub(super) fn guess_tokens(asking: &Asking) -> u32 {
    let files = u32::try_from(asking.question.media.len()).unwrap_or(u32::MAX);
    guess_text_tokens(&asking.question.text).saturating_add(files.saturating_mul(1_500))
}

pub(super) fn guess_text_tokens(text: &str) -> u32 {
    let wide = text.chars().filter(|c| !c.is_ascii()).count();
    let tokens = wide + (text.len().saturating_sub(wide * 3)) / 4 + 400;
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

pub(super) fn with_context(context: &str, text: &str, lang: Lang) -> String {
    if context.is_empty() {
        return text.to_owned();
    }
    let intro = match lang {
        Lang::Zh => "（回复的内容）",
        Lang::En => "(In reply to:)",
    };
    let quoted = context.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n");
    format!("{intro}\n{quoted}\n\n{text}")
}

pub(super) fn metadata(asking: &Asking) -> String {
    let Some(media) = asking.question.media.first() else { return "{}".to_owned() };
    let bytes: u64 = asking.question.media.iter().map(|file| file.size).sum();
    format!(
        "{{\"media\":\"{}\",\"files\":{},\"bytes\":{bytes}}}",
        media.kind.name(),
        asking.question.media.len()
    )
}

pub(super) fn failure_words<'a>(
    reason: &'a settle::GiveUp,
    media_limit: &'a str,
) -> (Speech<'a>, AnswerOutcome) {
    match reason {
        settle::GiveUp::Safety(kind) => (Speech::Safety { reason: kind }, AnswerOutcome::Blocked),
        settle::GiveUp::Empty => (Speech::Empty, AnswerOutcome::Failed),
        settle::GiveUp::TooLong => (Speech::TooLong, AnswerOutcome::Failed),
        settle::GiveUp::Media(MediaTrouble::Gone) => (Speech::MediaGone, AnswerOutcome::Failed),
        settle::GiveUp::Media(MediaTrouble::TooLarge) => {
            (Speech::MediaTooLarge { limit: media_limit }, AnswerOutcome::Refused)
        }
        settle::GiveUp::Media(MediaTrouble::Unknown) => {
            (Speech::MediaUnknown, AnswerOutcome::Refused)
        }
        settle::GiveUp::Region => (Speech::RegionBlocked, AnswerOutcome::Failed),
        settle::GiveUp::Refused => (Speech::Failed { what: "400" }, AnswerOutcome::Failed),
        settle::GiveUp::Trouble => (Speech::ModelTrouble, AnswerOutcome::Failed),
    }
}
