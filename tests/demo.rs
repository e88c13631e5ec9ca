//! `svs-bot demo` from end to end: the real daemon, the played services, lines in, answers out.

use std::sync::Arc;
use svs_bot::commands::demo;
use svs_bot::daemon::{self, clock::system_ms};

/// What the demo prints for this input.
fn chat(input: &str) -> String {
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let temp = std::env::temp_dir();
    let ways = demo::Ways {
        serve: Box::new(move |config, data_dir| {
            daemon::run(daemon::Start {
                config,
                data_dir,
                dry_run: false,
                drain: false,
                hold_questions: false,
                notify_socket: None,
                watchdog_ms: None,
                reread: Box::new(|| Err("the demo has no settings file".into())),
                reopen_log: Box::new(|_| {}),
                stop: Some(stopped),
            })
        }),
        stop: Box::new(move || assert!(stop.send(()).is_ok(), "the daemon ended by itself")),
        clock: Arc::new(system_ms),
        temp,
        language: Some("en".into()),
        is_terminal: false,
    };
    let mut out = Vec::new();
    let ended = demo::run(ways, &mut input.as_bytes(), &mut out);
    assert!(ended.is_ok(), "{ended:?}");
    String::from_utf8(out).expect("the demo prints text")
}

#[test]
fn each_line_gets_its_answer_in_order_and_the_end_of_input_ends_it() {
    let said = chat("hello there\n\n你好\n");
    let (first, second) = said.split_once("\n\n你说").expect(&said);
    assert!(first.contains("hello there"), "{said}");
    assert!(first.contains("I remember 0 earlier rounds"), "{said}");
    assert!(second.contains("你好") && second.contains("我记得之前的 1 轮"), "{said}");
}
