//! The loop without its shell, turn by turn: what a growing answer, its Stop button, a summary and a
//! refused rich message lead to when the worker's word comes late, badly or not at all. The clock is a
//! number, so a stall of minutes takes none.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::sync::atomic::Ordering;
use svs_bot::config::{Config, ReplyFormat, StreamSetting};
use svs_bot::daemon::event::SendFailure;
use svs_bot::store::outbox::Kind;
use svs_bot::types::DAY_MS;
use svs_bot::types::model::ModelFailure;
use svs_bot::wire::telegram::TelegramError;
use svs_bot::wire::{NetError, NetErrorKind};

#[path = "support/bench.rs"]
mod bench;

use bench::Bench;

fn drafts(config: &mut Config) {
    config.stream = StreamSetting::Auto;
}

#[test]
fn stop_during_a_stall_sends_what_was_shown_at_once_and_what_comes_later_is_not_heard() {
    for while_showing in [false, true] {
        let mut bench = Bench::start(drafts);
        bench.says("tell me");
        let job = bench.asked().unwrap();
        bench.after(1_200);
        bench.grows(job.inbox, "Once upon a time there was ");
        assert!(bench.preview().unwrap().contains("Once upon a time"));
        if !while_showing {
            bench.shown(job.inbox);
        }
        // Nothing more comes. The person waits a while, then has enough.
        bench.after(8_000);
        bench.presses_stop(job.inbox);
        assert!(job.cancel.load(Ordering::Relaxed), "the worker ends when it wakes up");
        if while_showing {
            assert!(bench.sending().is_none(), "a late draft would follow the answer");
            bench.shown(job.inbox);
        }
        assert_eq!(bench.sends_all(), ["Once upon a time there was"], "{while_showing}");
        bench.presses_stop(job.inbox);
        bench.grows(job.inbox, "Once upon a time there was a stall.");
        bench.answers(job.inbox, Ok("Once upon a time there was a stall."));
        bench.after(60_000);
        assert!(bench.jobs.is_empty(), "{:?}", bench.jobs);
    }
}

#[test]
fn stop_before_the_first_word_waits_for_it_and_stop_by_another_chat_does_nothing() {
    let mut bench = Bench::start(drafts);
    bench.says("tell me");
    let job = bench.asked().unwrap();
    let elsewhere =
        r#""stopped_message_generation":{"chat":{"id":77,"type":"private"},"draft_id":1}"#;
    bench.update(elsewhere);
    assert!(!job.cancel.load(Ordering::Relaxed));
    bench.presses_stop(job.inbox);
    assert!(job.cancel.load(Ordering::Relaxed) && bench.sending().is_none());
    bench.answers(job.inbox, Ok("Once"));
    assert_eq!(bench.sends_all(), ["Once"]);
}

#[test]
fn a_draft_that_does_not_grow_is_shown_again_before_it_vanishes() {
    let mut bench = Bench::start(drafts);
    bench.says("tell me");
    let job = bench.asked().unwrap();
    bench.after(1_200);
    bench.grows(job.inbox, "Let me think about that. ");
    let first = bench.preview().unwrap();
    bench.shown(job.inbox);
    // Telegram takes a draft away after 30 s (api-reference A5).
    for stall in 0..3 {
        let mut waited_ms = 0;
        let again = loop {
            bench.after(1_000);
            waited_ms += 1_000;
            assert!(waited_ms < 30_000, "it would have vanished");
            if let Some(again) = bench.preview() {
                break again;
            }
        };
        assert_eq!(again, first, "the same draft with the same text");
        assert!(waited_ms >= 15_000, "{stall}: {waited_ms} ms: not more often than needed");
        bench.shown(job.inbox);
    }
    bench.answers(job.inbox, Ok("Let me think about that. No."));
    assert_eq!(bench.sends_all(), ["Let me think about that. No."]);
    bench.after(60_000);
    assert!(bench.jobs.is_empty(), "{:?}", bench.jobs);
}

#[test]
fn a_summary_that_fails_three_times_is_given_up_and_nobody_waits_for_it() {
    let mut bench = Bench::start(|config| {
        config.summarise = true;
        config.rounds = [2; 5];
    });
    bench.round(1);
    bench.round(2);
    // The rounds are spent: the third question begins a session that follows the first.
    let third = bench.round(3);
    assert_eq!(third.turns.len(), 2, "until there is a summary, word for word");
    for tried in 1..=3 {
        let summary = (0..120).find_map(|_| {
            bench.after(1_000);
            bench.asked()
        });
        let summary = summary.unwrap_or_else(|| panic!("try {tried} never came"));
        assert!(summary.inbox < 0 && summary.text.contains("question 1"), "{}", summary.text);
        // A question that comes meanwhile is not in its way, nor it in the question's.
        if tried == 2 {
            let fourth = bench.round(4);
            assert!(fourth.turns.iter().any(|(asked, _)| asked == "question 3"));
        }
        bench.answers(summary.inbox, Err(ModelFailure::Overloaded));
        assert!(bench.sending().is_none(), "nobody is told");
    }
    for _ in 0..600 {
        bench.after(1_000);
        assert!(bench.asked().is_none(), "three tries are enough");
    }
    bench.says("question 5");
    let fifth = bench.asked().unwrap();
    let heard: Vec<_> = fifth.turns.iter().map(|(asked, _)| asked.as_str()).collect();
    assert!(!heard.contains(&"question 1"), "dropped, as without the setting: {heard:?}");
}

#[test]
fn what_waits_behind_a_refused_rich_message_comes_after_all_parts_of_its_html() {
    let mut bench = Bench::start(|config| config.reply_format = ReplyFormat::Rich);
    bench.says("tell me");
    let job = bench.asked().unwrap();
    let words = (0..900).map(|n| format!("word{n:03}")).collect::<Vec<_>>().join(" ");
    bench.answers(job.inbox, Ok(&format!("**begin** {words} end")));
    let rich = bench.sending().unwrap();
    assert_eq!(rich.what.kind, Kind::Rich);
    // While it is on its way, the answer to a command is queued behind it.
    bench.says("/vip");
    assert!(bench.sending().is_none(), "one at a time in a chat");
    bench.sent(rich, Err(TelegramError::MethodUnknown));
    let texts = bench.sends_all();
    assert_eq!(texts.len(), 3, "{texts:#?}");
    let (answer, command) = texts.split_at(texts.len() - 1);
    assert!(answer[0].starts_with("begin word000"), "{}", answer[0]);
    assert!(answer.last().unwrap().ends_with("word899 end"));
    let joined = answer.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(joined, format!("begin {words} end"), "nothing is lost or said twice");
    assert!(!command[0].contains("word"), "{}", command[0]);
    // It is not tried again: the next answer is HTML from the start.
    bench.says("more");
    let job = bench.asked().unwrap();
    bench.answers(job.inbox, Ok("**more**"));
    assert_eq!(bench.sending().unwrap().what.kind, Kind::Send);
}

#[test]
fn an_answer_is_given_up_after_a_day_of_tries_and_not_because_the_clock_leapt() {
    let cut = || {
        SendFailure::Net(NetError {
            maybe_done: false,
            kind: NetErrorKind::Cut,
            text: "cut".to_owned(),
        })
    };
    // (the clock's leap, tries that fail after it, whether it is said in the end)
    for (leap_ms, failures, is_said) in
        [(0, 3, true), (3 * DAY_MS, 1, true), (40 * DAY_MS, 50, true), (0, 900, false)]
    {
        let mut bench = Bench::start(|_| {});
        bench.says("tell me");
        let job = bench.asked().unwrap();
        bench.answers(job.inbox, Ok("told"));
        let first = bench.sending().unwrap();
        bench.fails(first, cut());
        bench.after(leap_ms);
        let mut left = failures;
        let mut said = Vec::new();
        for _ in 0..2 * failures + 9 {
            bench.after(2 * 60_000);
            let Some(sending) = bench.sending() else { continue };
            if left == 0 {
                said.push(sending.what.text.clone());
                bench.sent(sending, Ok(()));
            } else {
                left -= 1;
                bench.fails(sending, cut());
            }
        }
        assert_eq!(!said.is_empty(), is_said, "leap {leap_ms}, {failures} failures");
        let parked = "SELECT count(*) FROM outbox_parked";
        assert_eq!(bench.number(parked), i64::from(!is_said), "leap {leap_ms}");
    }
}

#[test]
fn parts_of_an_album_join_while_it_waits_and_are_questions_of_their_own_after() {
    let mut bench = Bench::start(|_| {});
    bench.says("first");
    let first = bench.asked().unwrap();
    bench.shows("album", "f1", "what is this?");
    // Its question waits behind the first one: minutes later there is still room in it.
    bench.after(180_000);
    bench.shows("album", "f2", "");
    bench.answers(first.inbox, Ok("one"));
    assert_eq!(bench.sends_all(), ["one"]);
    let album = bench.asked().unwrap();
    assert_eq!((album.media.len(), album.text.as_str()), (2, "what is this?"));
    bench.answers(album.inbox, Ok("two pictures"));
    assert_eq!(bench.sends_all(), ["two pictures"]);
    // A part that comes when all is said is answered too, with what was said in mind.
    bench.after(180_000);
    bench.shows("album", "f3", "");
    bench.after(5_000);
    let late = bench.asked().unwrap();
    assert_eq!(late.media.len(), 1);
    assert!(late.turns.iter().any(|(_, answered)| answered == "two pictures"), "{:?}", late.turns);
    bench.answers(late.inbox, Ok("a third"));
    assert_eq!(bench.sends_all(), ["a third"]);
}

#[test]
fn every_pressed_button_is_answered_and_only_one_s_own_do_anything() {
    let here = r#""message":{"message_id":9,"date":1,"chat":{"id":42,"type":"private"}},"#;
    let too_old = r#""message":{"message_id":9,"date":0,"chat":{"id":42,"type":"private"}},"#;
    let elsewhere = r#""message":{"message_id":9,"date":1,"chat":{"id":-7,"type":"group"}},"#;
    let erased = "Done";
    for (data, message, said, toast) in [
        ("forget:yes", here, Some(erased), false),
        ("forget:yes", too_old, Some(erased), false),
        ("forget:no", here, Some("Nothing"), false),
        ("forget:yes", elsewhere, None, true),
        ("forget:yes", "", None, true),
        ("of another version", here, None, true),
        ("", here, None, true),
    ] {
        let mut bench = Bench::start(|_| {});
        bench.round(1);
        bench.calls.clear();
        bench.presses(data, message);
        let answers: Vec<_> =
            bench.calls.iter().filter(|body| body.contains("callback_query_id")).collect();
        assert_eq!(answers.len(), 1, "{data}");
        assert_eq!(answers[0].contains("no longer valid"), toast, "{data} {answers:?}");
        let texts = bench.sends_all();
        assert_eq!(texts.len(), usize::from(said.is_some()), "{data} {message}: {texts:?}");
        bench.says("/export");
        let export = bench.sending().unwrap().what;
        let kept = export.kind == Kind::Document;
        assert_eq!(kept, said != Some(erased), "{data} {message}: {texts:?}");
    }
}

#[test]
fn an_export_is_a_file_for_people_or_for_programs() {
    let mut bench = Bench::start(|_| {});
    bench.says("/export");
    assert!(bench.sends_all()[0].contains("no history"));
    bench.round(1);
    for (command, name, begin) in [
        ("/export", "history.md", "## 20"),
        ("/export json", "history.json", "{\"complete\":true,\"rounds\":[{"),
    ] {
        bench.says(command);
        let sending = bench.sending().unwrap();
        assert_eq!((sending.what.kind, sending.what.plain.as_str()), (Kind::Document, name));
        assert!(sending.what.text.starts_with(begin), "{}", sending.what.text);
        assert!(sending.what.text.contains("question 1") && sending.what.text.contains("answer 1"));
        bench.sent(sending, Ok(()));
    }
}

#[test]
fn a_key_that_is_pasted_into_the_chat_is_taken_away_and_stored_nowhere() {
    let mut bench = Bench::start(|_| {});
    // In two pieces, so that no scanner takes this file for a leak.
    let secret = ["AIza", "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q"].concat();
    bench.says(&format!("is this key good? {secret}"));
    let mut kinds = Vec::new();
    let mut texts = Vec::new();
    for _ in 0..5 {
        while let Some(sending) = bench.sending() {
            kinds.push(sending.what.kind);
            texts.push(sending.what.plain.clone());
            bench.sent(sending, Ok(()));
        }
        bench.after(1_000);
    }
    assert!(kinds.contains(&Kind::Delete), "{kinds:?}");
    assert!(texts.iter().any(|text| text.contains("key")), "{texts:?}");
    if let Some(job) = bench.asked() {
        assert!(!job.text.contains(&secret), "the model does not see it either");
        bench.answers(job.inbox, Ok(&format!("you wrote {secret}")));
        assert!(bench.sends_all().iter().all(|text| !text.contains(&secret)));
    }
    bench.says("/export");
    let export = bench.sending().unwrap().what;
    assert!(!export.text.contains(&secret), "{}", export.text);
}
