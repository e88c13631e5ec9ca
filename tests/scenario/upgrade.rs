//! Programs of different ages on one database: the older one refuses what the newer one has made.

use crate::world::{World, gemini_options};
use std::fs;

/// The database and its log, which may be there and empty: who only reads makes one.
fn bytes(world: &World) -> [Vec<u8>; 2] {
    ["svs-bot.db", "svs-bot.db-wal"]
        .map(|name| fs::read(world.data_dir().join(name)).unwrap_or_default())
}

/// A database that this program made and a newer one has taken further.
fn newer(signed: &str) -> World {
    let world = World::prepare(&[], gemini_options());
    let made = world.command(&["role", "set", "5", "vip"]).output().unwrap();
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    world.change(signed);
    world
}

#[test]
fn a_newer_database_is_refused_with_the_version_that_is_needed() {
    let signed =
        "PRAGMA user_version = 77; UPDATE meta SET value = '9.8.7' WHERE key = 'migrated_by'";
    let unsigned = "PRAGMA user_version = 77; DELETE FROM meta";
    let known = ["newer than this program", "svs-bot 9.8.7 or newer", env!("CARGO_PKG_VERSION")];
    let unknown = ["newer than this program", "schema is 77", "install the newer svs-bot"];
    for (sql, words) in [(signed, known), (unsigned, unknown)] {
        let world = newer(sql);
        let before = bytes(&world);
        let copy = world.dir.join("copy.db").display().to_string();
        let commands: [&[&str]; 12] = [
            &["run"],
            &["sync"],
            &["drain"],
            &["check", "--offline"],
            &["status"],
            &["keys", "list"],
            &["role", "list"],
            &["role", "set", "6", "vip"],
            &["keys", "park", "1"],
            &["export"],
            &["forget", "5"],
            &["backup", &copy],
        ];
        for command in commands {
            let mut command_line = world.command(command);
            // Without a project nothing would be looked at.
            command_line
                .env("SUPABASE_URL", "http://127.0.0.1:9")
                .env("SUPABASE_KEY", "sb_secret_of_no_use");
            let done = command_line.output().unwrap();
            let told = format!(
                "{}{}",
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr)
            );
            assert_eq!(done.status.code(), Some(1), "{command:?}: {told}");
            for words in words {
                assert!(told.contains(words), "{command:?}: {told}");
            }
            assert!(bytes(&world) == before, "{command:?} changes it");
        }
    }
}
