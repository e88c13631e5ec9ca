//! Rich messages where the server knows them, the usual ones where it does not; and what goes along
//! with a question.

use super::*;

fn rich(config: &mut Config) {
    config.reply_format = svs_bot::config::ReplyFormat::Rich;
}

#[test]
fn a_server_without_rich_messages_is_asked_once_and_html_follows() {
    let world = World::start(Setup { change: rich, ..Setup::default() });
    let long = "**bold** ".to_owned() + &words(300);
    world.says("first", &long);
    world.says("second", "**bold**");
    world.telegram.push_text(GROUP, PERSON, "@live_bot first");
    let sent = world.sent(2);
    assert!(sent[0].text.starts_with("@Ann, 1/10\n\nbold word000"), "{}", sent[0].text);
    assert!(sent[0].raw.contains("<b>bold</b>") && sent[0].reply_to.is_some());
    assert!(sent[1].text.ends_with(" end"));
    world.telegram.push_text(GROUP, PERSON, "second");
    assert_eq!(world.sent(3)[2].text, "@Ann, 2/10\n\nbold");
    assert_eq!(world.methods(), ["sendrichmessage", "sendmessage", "sendmessage", "sendmessage"]);
}

#[test]
fn a_server_with_rich_messages_takes_one_for_the_whole_answer() {
    let world = World::start(Setup { knows_rich: true, change: rich, ..Setup::default() });
    let long = "| a | b |\n|---|---|\n| 1 | 2 |\n\n".to_owned() + &words(900);
    world.says("first", &long);
    world.telegram.push_text(GROUP, PERSON, "@live_bot first");
    let sent = world.sent(1);
    assert_eq!((sent[0].method.as_str(), sent.len()), ("sendrichmessage", 1));
    assert!(sent[0].text.starts_with("@Ann, 1/10\n\n| a | b |"), "{}", sent[0].text);
    assert!(sent[0].text.ends_with(" end") && sent[0].reply_to.is_some());
}

#[test]
fn a_growing_answer_is_edited_into_a_rich_message() {
    let change = |config: &mut Config| {
        rich(config);
        config.stream = StreamSetting::Edit;
    };
    let world = World::start(Setup {
        first_ms: 100,
        pace_ms: 60,
        knows_rich: true,
        change,
        ..Setup::default()
    });
    let answer = words(150) + "\n\n**bold**";
    world.says("grow", &answer);
    world.telegram.push_text(PERSON, PERSON, "grow");
    for _ in 0..600 {
        let sent = world.telegram.sent();
        if let [sent] = &sent[..]
            && sent.text.ends_with("**bold**")
        {
            assert!(sent.edits > 0, "shown before");
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{:#?}", world.telegram.sent());
}

#[test]
fn a_rich_message_says_what_the_model_said() {
    let world = World::start(Setup { change: rich, ..Setup::default() });
    world.says("first", "**bold** <b>raw</b>");
    world.telegram.push_text(GROUP, PERSON, "@live_bot first");
    world.sent(1);
    let calls = world.telegram.calls();
    let call = calls.iter().find(|call| call.method == "sendrichmessage").unwrap();
    let message = Data::parse(call.params["rich_message"].as_bytes()).unwrap();
    let markdown = message.at("markdown").str();
    assert!(markdown.starts_with("@Ann, 1/10\n\n**bold**"), "{markdown}");
    assert!(!markdown.contains("<b>"), "{markdown}");
}

/// The question as the model read it last.
fn asked(world: &World, n: usize) -> String {
    let body = world.gemini.asked()[n].body.clone();
    let last = body.at("contents").list().last().unwrap().clone();
    last.at("parts").list().last().unwrap().at("text").str().to_owned()
}

#[test]
fn messages_that_wait_together_become_one_question() {
    let change = |config: &mut Config| config.join_window_ms = 10_000;
    let world = World::start(Setup { first_ms: 1_500, change, ..Setup::default() });
    world.telegram.push_text(PERSON, PERSON, "one");
    std::thread::sleep(Duration::from_millis(400));
    world.telegram.push_text(PERSON, PERSON, "two");
    world.telegram.push_text(PERSON, PERSON, "three");
    world.sent(2);
    assert_eq!(world.gemini.asked().len(), 2);
    assert_eq!(asked(&world, 1), "two\nthree");
}

#[test]
fn a_reply_carries_what_it_replies_to() {
    let world = World::start(Setup::default());
    let replied = map([
        ("message_id", 1_i64.into()),
        ("date", 1_i64.into()),
        ("chat", map([("id", PERSON.into()), ("type", "private".into())])),
        (
            "from",
            map([("id", 123_456_i64.into()), ("is_bot", true.into()), ("first_name", "b".into())]),
        ),
        ("text", "The capital of France is Paris.".into()),
    ]);
    let message = map([("text", "and of Italy?".into()), ("reply_to_message", replied)]);
    world.telegram.push_message(PERSON, PERSON, message);
    world.sent(1);
    let question = asked(&world, 0);
    assert!(question.contains("> The capital of France is Paris."), "{question}");
    assert!(question.ends_with("and of Italy?"), "{question}");
}
