//! Webhook mode from the outside (contract §2, §5.1, §6): Telegram delivers instead of being asked.

use crate::world::{World, gemini_options};
use std::net::TcpListener;

pub(crate) const SECRET: &str = "scenario-webhook_secret";
const URL: &str = "https://bot.example.org/hook/of-the-bot";

/// A bot whose webhook is set, and where it listens.
fn hooked(settings: &[(&str, &str)]) -> (World, String) {
    let (world, addr) = prepared(settings);
    world.run();
    world.until_log("webhook set");
    (world, addr)
}

fn prepared(settings: &[(&str, &str)]) -> (World, String) {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut all =
        vec![("WEBHOOK_URL", URL), ("WEBHOOK_SECRET", SECRET), ("WEBHOOK_ADDR", addr.as_str())];
    all.extend_from_slice(settings);
    let world = World::prepare(&all, gemini_options());
    world.telegram.deliver_to(&addr).unwrap();
    (world, addr)
}

#[test]
fn a_conversation_by_webhook() {
    let (world, _) = hooked(&[]);
    world.say(7, 7, "the first question");
    world.expect(7, "the first question");
    world.say(7, 7, "the second question");
    world.say(8, 8, "another person's");
    world.expect(7, "the second question");
    world.expect(8, "another person's");
    world.expect_nothing_more();
    assert_eq!(world.state_int("polls"), 0);
    assert_eq!(world.telegram.pending(), 0);
    world.until("ready", || world.is_ready().then_some(()));
}
