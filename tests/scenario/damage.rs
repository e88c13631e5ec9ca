//! A damaged database: found out at the start and while running, set aside, what can be read saved.

use crate::world::{OWNER, World};
use std::fs;

type Damage = fn(&mut Vec<u8>);

fn aside(world: &World) -> bool {
    let names = fs::read_dir(world.data_dir()).unwrap().flatten();
    names.map(|it| it.file_name()).any(|it| it.to_string_lossy().contains("db.damaged-"))
}

/// A bot that has talked and stopped, with `damage` done to its database.
fn damaged(damage: Damage) -> World {
    let world = World::start(&[]);
    world.say(OWNER, OWNER, "/start");
    for n in 0..40 {
        let person = 100 + n % 10;
        world.say(person, person, &format!("question {n} {}", "and words ".repeat(20)));
    }
    world.settle();
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    let path = world.data_dir().join("svs-bot.db");
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    world
}

#[test]
fn a_damaged_database_is_set_aside_and_the_bot_goes_on() {
    let kinds: [(&str, Damage); 4] = [
        ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
        ("flipped", |bytes| bytes.iter_mut().skip(20_000).step_by(97).for_each(|it| *it ^= 0x55)),
        ("no head", |bytes| bytes.iter_mut().take(100).for_each(|it| *it = 7)),
        ("noise", |bytes| *bytes = vec![9; 10_000]),
    ];
    for (name, damage) in kinds {
        let world = damaged(damage);
        // A command names it, changes nothing and points to the cure.
        let done = world.command(&["check", "--offline"]).output().unwrap();
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(done.status.code(), Some(1), "{name}: {told}");
        assert!(told.contains("damaged") && told.contains("sets it aside"), "{name}: {told}");
        assert!(!aside(&world), "{name}: only the daemon does");
        world.run();
        world.until_log("set aside as");
        world.say(7, 7, "after the damage");
        world.until("an answer", || {
            world
                .telegram
                .sent()
                .iter()
                .any(|it| it.chat == 7 && it.text.contains("after the damage"))
                .then_some(())
        });
        world.until("the owner to be told", || {
            let told = |text: &str| text.contains("damaged") || text.contains("损坏");
            world.telegram.sent().iter().any(|it| it.chat == OWNER && told(&it.text)).then_some(())
        });
        assert!(aside(&world), "{name}");
        world.settle();
        world.signal("TERM");
        assert_eq!(world.wait_exit(), Some(0), "{name}");
    }
}
