//! What the database itself refuses to hold: the one thing is left out with a word, all else goes on.

use crate::world::World;
use svs_bot::standin::gemini::Act;

/// From now on the database refuses a text with this word in that table.
fn refuse(world: &World, table: &str, change: &str, word: &str) {
    world.change(&format!(
        "CREATE TRIGGER poison_{table} BEFORE {change} ON {table} WHEN NEW.text LIKE '%{word}%'
         BEGIN SELECT RAISE(ABORT, 'no room for this'); END"
    ));
}

#[test]
fn an_update_that_cannot_be_stored_is_set_aside_alone() {
    let world = World::start(&[]);
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    refuse(&world, "inbox", "UPDATE", "arsenic");
    world.say(7, 7, "one");
    world.say(8, 8, "arsenic, please");
    world.say(9, 9, "two");
    world.expect(7, "one");
    world.expect(9, "two");
    world.settle();
    assert_eq!(world.number("SELECT count(*) FROM inbox WHERE state = 4"), 1, "{}", world.log());
    world.say(8, 8, "three");
    world.expect(8, "three");
    world.expect_nothing_more();
}

#[test]
fn an_answer_that_cannot_be_stored_is_apologised_for() {
    let world = World::start(&[]);
    world.script("riddle", 1, Act::Say("hemlock it is".to_owned()));
    world.say(7, 7, "hello");
    world.expect(7, "hello");
    refuse(&world, "outbox", "INSERT", "hemlock");
    world.say(8, 8, "a riddle");
    world.say(9, 9, "two");
    world.expect(9, "two");
    world.expect(8, "went wrong");
    world.say(8, 8, "three");
    world.expect(8, "three");
    world.expect_nothing_more();
    assert_eq!(world.number("SELECT count(*) FROM inbox WHERE state IN (1, 2)"), 0);
}
