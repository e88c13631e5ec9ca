//! What owners are told unasked: each thing once, not again until it changed, nothing in quiet hours but that
//! the bot has stopped. Hours pass as numbers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

#[path = "support/bench.rs"]
mod bench;

use bench::{Bench, PERSON, START_MS};
use svs_bot::config::{Config, Environment, Limit, QuietHours, Zone};
use svs_bot::daemon::core;
use svs_bot::store::status::fact;
use svs_bot::store::{Durability, Store, meta};
use svs_bot::types::model::ModelFailure;
use svs_bot::types::status::Disk;
use svs_bot::types::{Now, UserId};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A length of time in which everything is looked at several times.
const A_WHILE_MS: i64 = 5 * MINUTE_MS;

/// What the owner has been told after the time has passed minute by minute.
fn told(bench: &mut Bench, ms: i64) -> Vec<String> {
    let mut texts = Vec::new();
    let end_ms = bench.now_ms + ms;
    while bench.now_ms < end_ms {
        bench.after(MINUTE_MS);
        texts.extend(bench.sends_all());
    }
    texts
}

/// What is told next holds these words, and in the hours after it is not told again.
#[track_caller]
fn once(bench: &mut Bench, words: &[&str]) {
    let texts = told(bench, A_WHILE_MS);
    assert_eq!(texts.len(), words.len(), "{texts:#?}");
    for word in words {
        assert!(texts.iter().any(|text| text.contains(word)), "{word} in {texts:#?}");
    }
    nothing(bench, 3 * HOUR_MS);
}

#[track_caller]
fn nothing(bench: &mut Bench, ms: i64) {
    assert_eq!(told(bench, ms), [""; 0], "told again");
}

fn note(bench: &mut Bench, key: &str, value: &str) {
    bench.core.store.write(Durability::Process, |tx| meta::set(tx, key, value)).unwrap();
}

fn disk(bench: &mut Bench, free_mib: u64) {
    bench.core.observe_disk(Some(Disk { free_bytes: free_mib << 20, total_bytes: 9 << 30 }));
}

/// The next question meets keys that Google refuses, so many.
fn kill_keys(bench: &mut Bench, count: usize) {
    bench.says("a question");
    for _ in 0..count {
        let job = bench.asked().unwrap();
        bench.answers(job.inbox, Err(ModelFailure::BadKey { why: "leaked" }));
    }
    if let Some(job) = bench.asked() {
        bench.answers(job.inbox, Ok("an answer"));
    }
}

#[test]
fn a_dead_key_is_told_once_and_the_last_one_too() {
    let mut bench = Bench::start(|_| {});
    nothing(&mut bench, HOUR_MS);
    kill_keys(&mut bench, 1);
    once(&mut bench, &["an answer", "is refused by Google"]);
    bench.says("another question");
    let job = bench.asked().unwrap();
    bench.answers(job.inbox, Err(ModelFailure::BadKey { why: "leaked" }));
    let texts = told(&mut bench, A_WHILE_MS);
    for words in ["No key works any more", "is refused by Google"] {
        let count = texts.iter().filter(|text| text.contains(words)).count();
        assert_eq!(count, 1, "{words}: {texts:#?}");
    }
    nothing(&mut bench, 3 * HOUR_MS);
}

#[test]
fn that_no_key_is_left_is_told_in_quiet_hours_and_which_ones_afterwards() {
    let mut bench = Bench::start(quiet);
    kill_keys(&mut bench, 2);
    let texts = told(&mut bench, A_WHILE_MS);
    assert!(texts.iter().any(|text| text.contains("No key works any more")), "{texts:#?}");
    assert!(!texts.iter().any(|text| text.contains("is refused by Google")), "{texts:#?}");
    nothing(&mut bench, HOUR_MS);
    let texts = told(&mut bench, 2 * HOUR_MS);
    assert_eq!(texts.len(), 2, "{texts:#?}");
    assert!(texts.iter().all(|text| text.contains("is refused by Google")), "{texts:#?}");
    nothing(&mut bench, 3 * HOUR_MS);
}

#[test]
fn a_gemini_that_fails_for_everybody_is_a_fact_until_it_answers_again() {
    let mut bench = Bench::start(|_| {});
    let fact_of = |bench: &Bench| {
        let store = &bench.core.store;
        store.read(|db| meta::get(db, fact::GEMINI_ERROR)).unwrap().unwrap_or_default()
    };
    let network = || ModelFailure::Network { sent: false, why: "connection refused".to_owned() };
    let fails = |bench: &mut Bench, failure| {
        // A question that failed comes again after a while.
        let job = (0..100).find_map(|_| bench.asked().or_else(|| (bench.after(1_000), None).1));
        bench.answers(job.unwrap().inbox, Err(failure));
    };
    bench.says("a question");
    fails(&mut bench, network());
    fails(&mut bench, network());
    assert_eq!(fact_of(&bench), "", "two may be chance");
    fails(&mut bench, network());
    assert_eq!(fact_of(&bench), "connection refused");
    bench.says("another");
    let job = (0..100).find_map(|_| bench.asked().or_else(|| (bench.after(1_000), None).1));
    bench.answers(job.unwrap().inbox, Ok("an answer"));
    assert_eq!(fact_of(&bench), "");
    fails(&mut bench, network());
    assert_eq!(fact_of(&bench), "", "one in between is one");
}

#[test]
fn quota_that_is_nearly_gone_is_told_once_a_day() {
    let mut bench = Bench::start(|config| {
        config.models.lite = vec!["only".into()];
        config.models.flash = vec!["only".into()];
        config.models.pro = vec!["only".into()];
        // Two projects, of each nine tenths.
        (config.lite_rpd, config.flash_rpd, config.pro_rpd) =
            (Limit::Fixed(10), Limit::Fixed(10), Limit::Fixed(10));
    });
    for n in 0..16 {
        bench.round(n);
        nothing(&mut bench, A_WHILE_MS);
    }
    bench.round(16);
    once(&mut bench, &["of today's quota is left"]);
    // The next day begins with all of it, and may end like this one.
    nothing(&mut bench, 24 * HOUR_MS);
    for n in 0..16 {
        bench.round(n);
    }
    nothing(&mut bench, A_WHILE_MS);
    bench.round(16);
    once(&mut bench, &["of today's quota is left"]);
}

#[test]
fn synchronisation_is_told_after_an_hour_of_failing_and_when_it_works_again() {
    let mut bench = Bench::start(|_| {});
    nothing(&mut bench, A_WHILE_MS);
    note(&mut bench, fact::SYNC_LAST_ERROR, "supabase: the project is paused");
    nothing(&mut bench, 50 * MINUTE_MS);
    // A success in between begins the hour anew.
    note(&mut bench, fact::SYNC_LAST_ERROR, "");
    nothing(&mut bench, A_WHILE_MS);
    note(&mut bench, fact::SYNC_LAST_ERROR, "supabase: the project is paused");
    nothing(&mut bench, 58 * MINUTE_MS);
    once(&mut bench, &["the project is paused"]);
    note(&mut bench, fact::SYNC_LAST_ERROR, "supabase: something else");
    nothing(&mut bench, 2 * HOUR_MS);
    note(&mut bench, fact::SYNC_LAST_ERROR, "");
    once(&mut bench, &["Supabase works again"]);
}

#[test]
fn a_disk_that_is_low_is_told_once_and_again_only_after_there_was_room() {
    let mut bench = Bench::start(|_| {});
    for (free_mib, words) in [
        (5_000, &[][..]),
        (99, &["Only 99.0 MB"]),
        (50, &[]),
        // Not yet room enough to speak of an end.
        (150, &[]),
        (80, &[]),
        (1_000, &[]),
        (60, &["Only 60.0 MB"]),
    ] {
        disk(&mut bench, free_mib);
        once(&mut bench, words);
    }
}

#[test]
fn a_restart_after_a_crash_is_told_once_and_one_in_order_is_not() {
    let now = Now { unix_ms: START_MS };
    let mut store = Store::in_memory().unwrap();
    core::recover(&mut store, now).unwrap();
    let mut bench = Bench::over(store, |_| {});
    nothing(&mut bench, HOUR_MS);
    // As a start finds it where nothing said that the run before had ended.
    core::recover(&mut bench.core.store, Now { unix_ms: bench.now_ms }).unwrap();
    once(&mut bench, &["I stopped unexpectedly"]);
    // Again and again is told at most once an hour.
    let mut texts = Vec::new();
    for _ in 0..6 {
        core::recover(&mut bench.core.store, Now { unix_ms: bench.now_ms }).unwrap();
        texts.extend(told(&mut bench, A_WHILE_MS));
    }
    assert_eq!(texts.len(), 1, "{texts:#?}");
    assert_eq!(told(&mut bench, 3 * HOUR_MS).len(), 1, "the others");
    nothing(&mut bench, 3 * HOUR_MS);
}

#[test]
fn a_new_version_is_told_at_its_first_start_but_not_the_very_first() {
    let mut bench = Bench::start(|_| {});
    nothing(&mut bench, HOUR_MS);
    note(&mut bench, "told_version", "0.0.1");
    once(&mut bench, &[&format!("version {}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn quiet_hours_hold_notices_back_until_they_end() {
    let mut bench = Bench::start(quiet);
    disk(&mut bench, 50);
    note(&mut bench, "told_version", "0.0.1");
    nothing(&mut bench, 115 * MINUTE_MS);
    once(&mut bench, &["Only 50.0 MB", "version"]);
}

#[test]
fn what_is_over_before_the_quiet_hours_end_is_not_told() {
    let mut bench = Bench::start(quiet);
    disk(&mut bench, 50);
    nothing(&mut bench, HOUR_MS);
    disk(&mut bench, 5_000);
    nothing(&mut bench, 3 * HOUR_MS);
}

#[test]
fn every_owner_is_told_and_without_one_the_news_waits() {
    let mut bench = Bench::start(|config| config.owner_ids = vec![UserId(PERSON), UserId(43)]);
    disk(&mut bench, 50);
    once(&mut bench, &["Only 50.0 MB", "Only 50.0 MB"]);
    let mut bench = Bench::start(|config| config.owner_ids.clear());
    disk(&mut bench, 50);
    nothing(&mut bench, HOUR_MS);
}

/// From an hour before the start to two hours after it.
fn quiet(config: &mut Config) {
    let zone = Zone::parse("-08:00", &Environment::default()).unwrap();
    config.quiet_hours = Some(QuietHours { from_min: 11 * 60, to_min: 14 * 60, zone });
}
