//! A damaged database: found out at the start and while running, set aside, what can be read saved.

use crate::world::{OWNER, World};
use std::fs;
use svs_bot::daemon::clock;

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

/// An answer to these words, or the end of the bot.
fn answered_or_ended(world: &World, chat: i64, words: &str) -> bool {
    world.say(chat, chat, words);
    let started = clock::monotonic();
    while world.is_running() {
        if world.telegram.sent().iter().any(|it| it.chat == chat && it.text.contains(words)) {
            return true;
        }
        assert!(started.elapsed().as_secs() < 120, "neither:\n{}", world.log());
        clock::pause(std::time::Duration::from_millis(5));
    }
    false
}

#[test]
fn damage_under_the_running_bot_ends_it_at_the_latest_at_its_end_and_the_next_start_mends_it() {
    let kinds: [(&str, Damage); 3] = [
        ("flipped", |bytes| bytes.iter_mut().skip(100).step_by(97).for_each(|it| *it ^= 0x55)),
        ("truncated", |bytes| bytes.truncate(bytes.len() / 2)),
        ("emptied", |bytes| bytes.clear()),
    ];
    for (name, damage) in kinds {
        let world = World::start(&[("KEEP_HISTORY", "0")]);
        world.say(OWNER, OWNER, "/start");
        for n in 0..40 {
            world.say(100 + n, 100 + n, &format!("question {n} {}", "and words ".repeat(300)));
        }
        world.settle();
        // The log is worked into the database: damage of that alone would not be damage.
        world.change("PRAGMA wal_checkpoint(TRUNCATE)");
        let path = world.data_dir().join("svs-bot.db");
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        // It goes on with what it holds in memory, or meets the damage, says so and ends for a new start.
        let mut went_on = 0;
        while went_on < 12 && answered_or_ended(&world, 200 + went_on, &format!("then {went_on}")) {
            went_on += 1;
        }
        let met = !world.is_running();
        if !met {
            world.signal("TERM");
        }
        let code = world.wait_exit();
        let said = world.log().contains("sets it aside and saves what can be read");
        assert_eq!(said, code == Some(1), "{name}: {code:?}:\n{}", world.log());
        assert!(said || !met, "{name}: {code:?}:\n{}", world.log());
        world.run();
        world.until_log("set aside as");
        assert!(aside(&world), "{name}");
        world.say(7, 7, "after the damage");
        world.until("an answer", || {
            let sent = world.telegram.sent();
            sent.iter().any(|it| it.chat == 7 && it.text.contains("after")).then_some(())
        });
        world.until("the owner to be told", || {
            let told = |text: &str| text.contains("damaged") || text.contains("损坏");
            world.telegram.sent().iter().any(|it| it.chat == OWNER && told(&it.text)).then_some(())
        });
        world.signal("TERM");
        assert_eq!(world.wait_exit(), Some(0), "{name}");
    }
}

#[test]
fn a_data_directory_that_is_moved_away_takes_nothing_in_until_it_is_back() {
    let world = World::start(&[]);
    world.say(7, 7, "before");
    world.expect(7, "before");
    world.settle();
    let away = world.dir.join("elsewhere");
    fs::rename(world.data_dir(), &away).unwrap();
    world.say(7, 7, "meanwhile");
    world.until_log("moved or replaced under the running bot");
    world.until("to be unready with the reason", || {
        let (status, text) = world.page("/readyz");
        (status == 503 && text.contains("is gone, or another file")).then_some(())
    });
    // Another one in its place is not taken for it either.
    fs::create_dir(world.data_dir()).unwrap();
    fs::copy(away.join("svs-bot.db"), world.data_dir().join("svs-bot.db")).unwrap();
    let before = world.log().len();
    world.until("a further try", || {
        world.log().get(before..)?.contains("is gone, or").then_some(())
    });
    assert!(world.is_running());
    fs::remove_dir_all(world.data_dir()).unwrap();
    fs::rename(&away, world.data_dir()).unwrap();
    world.expect(7, "meanwhile");
    world.until("to be ready", || world.is_ready().then_some(()));
    world.expect_nothing_more();
    assert_eq!(world.number("SELECT count(*) FROM history"), 2);
    world.signal("TERM");
    assert_eq!(world.wait_exit(), Some(0));
    assert_eq!(world.number("SELECT count(*) FROM history"), 2);
}

#[test]
fn a_log_that_is_taken_away_under_the_running_bot_loses_nothing() {
    for files in
        [&["svs-bot.db-wal", "svs-bot.db-shm"][..], &["svs-bot.db-wal"], &["svs-bot.db-shm"]]
    {
        let world = World::start(&[]);
        for n in 0..5 {
            world.say(100 + n, 100 + n, &format!("before {n}"));
        }
        world.settle();
        for name in files {
            fs::remove_file(world.data_dir().join(name)).unwrap();
        }
        world.say(7, 7, "after");
        world.until_log("log was taken away while it was open");
        world.expect(7, "after");
        world.settle();
        // What was in the log alone is in the database, for other programs and after a kill.
        world.kill();
        assert_eq!(world.number("SELECT count(*) FROM history"), 6, "{files:?}");
        let unsound = "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check != 'ok'";
        assert_eq!(world.number(unsound), 0, "{files:?}");
        world.run();
        world.say(7, 7, "again");
        world.expect(7, "again");
        world.signal("TERM");
        assert_eq!(world.wait_exit(), Some(0));
    }
}
