//! Tables: several boxes over one file, and everything that can happen to it.

use super::*;
use crate::types::DAY_MS;
use rusqlite::Connection;
use std::fs;

const NOW_MS: i64 = 1_800_030_000_000;
/// By Pacific time.
const DAY: i64 = 20_833;
const BOOT_MS: i64 = 5_000_000;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("svs-bot-shared-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    fn of(&self, id: &str) -> SharedLedger {
        SharedLedger::new(self.path(), id.to_owned(), "1\t2".to_owned())
    }

    /// Boxes that are in and past every warm-up at [`BOOT_MS`].
    fn boxes<const N: usize>(&self, ids: [&str; N]) -> [SharedLedger; N] {
        let all = ids.map(|id| self.of(id));
        for ms in [-20_000, -19_000, -10_000, 0] {
            all.iter().for_each(|it| drop(it.beat(at(ms)).unwrap()));
        }
        all
    }

    fn sql(&self, sql: &str) -> i64 {
        let db = Connection::open(self.path()).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(ms: i64) -> Clocks {
    Clocks { now_ms: NOW_MS + ms, boot_ms: BOOT_MS + ms }
}

fn ask(rpm: u32, cap: u32) -> Ask {
    Ask {
        project: "p.p".into(),
        own_project: "p".into(),
        model: "m".into(),
        rpm: Some(rpm),
        tpm: None,
        cap: Some(cap),
        tokens: 10,
        own_minute: 1,
        day: DAY,
        own_today: 1,
        own_settled: 0,
    }
}

fn used(today: u32, minute: u32) -> Use {
    let (project, model) = ("p.p".into(), "m".into());
    Use { project, model, day: DAY, today, minute, minute_tokens: minute * 10 }
}

/// How many of `times` are counted.
fn counted(it: &SharedLedger, ask: &Ask, times: usize, clocks: Clocks) -> usize {
    let is_counted = |_: &usize| matches!(it.reserve(ask, clocks), Verdict::Counted { .. });
    (0..times).filter(is_counted).count()
}

fn ticket(verdict: Verdict) -> Ticket {
    match verdict {
        Verdict::Counted { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn boxes_that_reserve_at_once_never_pass_the_minute_or_the_day() {
    let folder = Folder::new("at-once");
    let all = folder.boxes(["a", "b", "c"]);
    for (rpm, cap, ms, want) in [(20, 1_000, 0, 20), (1_000, 50, 100_000, 30)] {
        all.iter().for_each(|it| drop(it.beat(at(ms)).unwrap()));
        let sum: usize = std::thread::scope(|scope| {
            let work = all
                .each_ref()
                .map(|it| scope.spawn(move || counted(it, &ask(rpm, cap), 30, at(ms))));
            work.map(|it| it.join().unwrap()).iter().sum()
        });
        assert_eq!(sum, want, "{rpm} a minute, {cap} a day");
    }
    assert_eq!(folder.sql("SELECT sum(used) FROM day"), 50);
}

#[test]
fn a_minute_ends_and_says_when() {
    let folder = Folder::new("minute");
    let [a, b] = folder.boxes(["a", "b"]);
    assert_eq!(counted(&a, &ask(2, 100), 1, at(0)), 1);
    assert_eq!(counted(&b, &ask(2, 100), 1, at(1_000)), 1);
    let wait_ms = crate::engine::keypool::WINDOW_MS - 2_000;
    let held = Verdict::Held { held: Held::Minute { wait_ms }, total: Some(2) };
    assert_eq!(a.reserve(&ask(2, 100), at(2_000)), held);
    assert_eq!(counted(&a, &ask(2, 100), 2, at(2_000 + wait_ms)), 1, "one has left");
    let tokens = |tpm, tokens| Ask { tpm: Some(tpm), tokens, model: "t".into(), ..ask(100, 100) };
    assert_eq!(counted(&a, &tokens(50, 90), 2, at(0)), 1, "larger than the limit: alone");
    let ticket = ticket(b.reserve(&Ask { model: "u".into(), ..tokens(50, 40) }, at(0)));
    b.settle(&ticket, Some(10), at(0));
    let next = Ask { model: "u".into(), ..tokens(50, 40) };
    assert_eq!(counted(&a, &next, 2, at(0)), 1, "as Gemini counted them");
}

#[test]
fn only_what_was_never_used_is_given_back() {
    let folder = Folder::new("settle");
    let [a, b] = folder.boxes(["a", "b"]);
    let one = ticket(a.reserve(&ask(2, 2), at(0)));
    let _killed = ticket(a.reserve(&ask(2, 2), at(0)));
    assert_eq!(counted(&b, &ask(2, 2), 1, at(0)), 0);
    a.settle(&one, None, at(0));
    assert_eq!(counted(&b, &ask(2, 2), 2, at(0)), 1);
    let of_another_file = Ticket { member: "x:y".into(), ..one };
    a.settle(&of_another_file, None, at(0));
    assert_eq!(folder.sql("SELECT sum(used) FROM day"), 2);
}

#[test]
fn counts_of_clocks_that_were_ahead_weigh_on_today_and_other_days_do_not() {
    let folder = Folder::new("days");
    let [a, b] = folder.boxes(["a", "b"]);
    let on = |day| Ask { day, ..ask(100, 3) };
    assert_eq!(counted(&a, &on(DAY + 1), 2, at(0)), 2);
    assert_eq!(counted(&a, &on(DAY - 1), 1, at(0)), 1);
    assert_eq!(counted(&b, &on(DAY), 3, at(0)), 1, "two of tomorrow have happened");
    // What the box did while it could not tell is made up for.
    let told = Ask { own_settled: 2, own_today: 3, ..on(DAY + 1) };
    assert_eq!(b.reserve(&told, at(0)), Verdict::Held { held: Held::Day, total: Some(4) });
}

#[test]
fn a_machine_started_again_keeps_counts_and_forgets_nobody_too_early() {
    let folder = Folder::new("boot");
    let [a] = folder.boxes(["a"]);
    assert_eq!(counted(&a, &ask(5, 100), 5, at(0)), 5);
    drop(a);
    let boot = |boot_ms| Clocks { now_ms: NOW_MS + boot_ms, boot_ms };
    let b = folder.of("b");
    b.beat(boot(1_000)).unwrap();
    assert_eq!(b.view().boxes, 1, "who lived before is not known to live");
    b.beat(boot(5_000)).unwrap();
    assert_eq!(counted(&b, &ask(5, 100), 1, boot(5_000)), 0, "how long ago is not known");
    assert_eq!(counted(&b, &ask(5, 100), 9, boot(5_000 + 62_000)), 5);
}

#[test]
fn news_is_heard_once_by_the_others_and_not_by_who_told_it() {
    let folder = Folder::new("news");
    let [a, b] = folder.boxes(["a", "b"]);
    let news = News::Key { hash: "0a".into(), why: "leaked".into() };
    a.tell(vec![news.clone()], at(0));
    for (what, it, ms, want) in [
        ("the other", &b, 800, vec![news.clone()]),
        ("again", &b, 1_600, vec![]),
        ("the teller", &a, 1_600, vec![]),
    ] {
        assert_eq!(it.beat(at(ms)).unwrap().news, want, "{what}");
    }
    let late = folder.of("c");
    assert_eq!(late.beat(at(2_000)).unwrap().news, [news]);
    let many: Vec<News> =
        (0..250).map(|n| News::Key { hash: format!("{n}"), why: "leaked".into() }).collect();
    a.tell(many, at(3_000));
    let heard: Vec<usize> =
        [3_400, 3_800, 4_200].map(|ms| b.beat(at(ms)).unwrap().news.len()).to_vec();
    assert_eq!(heard, [NEWS_PER_BEAT, 50, 0]);
}

#[test]
fn a_box_looks_often_and_writes_rarely_and_what_is_over_goes() {
    let folder = Folder::new("idle");
    let [a, b] = folder.boxes(["a", "b"]);
    assert_eq!(counted(&a, &ask(100, 100), 30, at(0)), 30);
    b.beat(at(100)).unwrap();
    let log = || fs::read(folder.0.join("ledger.db-wal")).unwrap();
    let before = log();
    for n in 1..15 {
        b.beat(at(100 + n * 800)).unwrap();
    }
    assert_eq!(log(), before, "fourteen looks write nothing");
    b.beat(at(16_000)).unwrap();
    assert_ne!(log(), before);
    assert_eq!((a.view().boxes, b.view().boxes), (2, 2));
    a.tell(vec![News::Key { hash: "0a".into(), why: "leaked".into() }], at(0));
    b.beat(Clocks { now_ms: NOW_MS + 12 * DAY_MS, boot_ms: BOOT_MS + 40_000 }).unwrap();
    assert_eq!(folder.sql("SELECT sum(used) FROM day"), 30, "a clock ahead takes nothing away");
    b.beat(Clocks { now_ms: NOW_MS + 40 * DAY_MS, boot_ms: BOOT_MS + 40 * DAY_MS }).unwrap();
    for table in ["minute", "day", "news"] {
        assert_eq!(folder.sql(&format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
    assert_eq!(folder.sql("SELECT count(*) FROM boxes"), 1);
}

type Harm = fn(&Path);

#[test]
fn a_file_that_is_lost_is_begun_anew_and_filled_by_every_box_and_nothing_is_sent_in_between() {
    let remove: Harm = |path| fs::remove_file(path).unwrap();
    let harms: [(&str, Harm); 6] = [
        ("removed", remove),
        ("removed with its log", |path| {
            for end in ["", "-wal", "-shm"] {
                fs::remove_file(format!("{}{end}", path.display())).unwrap();
            }
        }),
        ("moved away", |path| fs::rename(path, path.with_extension("away")).unwrap()),
        ("emptied", |path| fs::write(path, b"").unwrap()),
        ("cut", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4_096).unwrap();
        }),
        ("overwritten", |path| {
            // In place, as a broken disk does: what tells is the content alone.
            let len = fs::metadata(path).unwrap().len();
            fs::write(path, vec![b'x'; usize::try_from(len).unwrap()]).unwrap();
            for end in ["-wal", "-shm"] {
                fs::remove_file(format!("{}{end}", path.display())).unwrap();
            }
        }),
    ];
    for (what, harm) in harms {
        let folder = Folder::new(&what.replace(' ', "-"));
        let all = folder.boxes(["a", "b"]);
        let [a, b] = &all;
        assert_eq!(counted(a, &ask(20, 40), 12, at(0)), 12, "{what}");
        assert_eq!(counted(b, &ask(20, 40), 3, at(0)), 3, "{what}");
        // So that there is something in the file itself to be lost.
        folder.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        harm(&folder.path());
        let own = Ask { own_minute: 4, own_today: 4, own_settled: 3, ..ask(20, 40) };
        assert_eq!(counted(b, &own, 1, at(100)), 0, "{what}: nothing until all have told");
        for it in &all {
            assert!(it.beat(at(800)).unwrap().report, "{what}");
            assert!(it.view().up, "{what}");
        }
        assert_eq!(counted(b, &own, 1, at(900)), 0, "{what}: the new one is warming up");
        a.report(&[used(12, 12)], at(900));
        b.report(&[used(3, 3)], at(900));
        a.report(&[used(12, 12)], at(900));
        for it in &all {
            assert!(it.beat(at(4_000)).unwrap().report, "{what}: once more");
            assert_eq!(it.view().boxes, 2, "{what}");
        }
        assert_eq!((a.view().drift, b.view().drift), (12, 3), "{what}");
        let own = Ask { own_minute: 4, own_today: 4, own_settled: 3, ..ask(20, 40) };
        assert_eq!(counted(b, &own, 9, at(4_000)), 5, "{what}: the minute is as it was");
        assert_eq!(folder.sql("SELECT sum(used) FROM day"), 20, "{what}");
    }
}

#[test]
fn a_damaged_file_is_kept_once_beside_the_new_one() {
    let folder = Folder::new("aside");
    for round in 0..3 {
        let [a] = folder.boxes(["a"]);
        assert_eq!(counted(&a, &ask(20, 40), 1, at(0)), usize::from(round == 0 || a.view().up));
        drop(a);
        folder.sql("PRAGMA wal_checkpoint(TRUNCATE)");
        fs::write(folder.path(), format!("no database {round}")).unwrap();
    }
    let aside = fs::read_to_string(folder.0.join("ledger.db.damaged")).unwrap();
    assert_eq!(aside, "no database 1");
    let names = fs::read_dir(&folder.0).unwrap().count();
    assert!(names <= 7, "{names} files");
}

#[test]
fn what_cannot_be_used_is_one_line_with_what_to_do_and_the_box_goes_on_within_its_share() {
    let text: Harm = |path| fs::write(path, b"somebody's notes, and no database").unwrap();
    let harms: [(&str, Harm, &str); 5] = [
        ("no folder", |path| fs::remove_dir(path.parent().unwrap()).unwrap(), "no such folder"),
        ("a folder", |path| fs::create_dir(path).unwrap(), "directory"),
        ("somebody's text", text, "no shared ledger"),
        (
            "somebody's database",
            |path| Connection::open(path).unwrap().execute_batch("CREATE TABLE x (y)").unwrap(),
            "another program's database",
        ),
        (
            "another version",
            |path| {
                let sql = "CREATE TABLE born (x); PRAGMA application_id = 0x5356536c; PRAGMA user_version = 9";
                Connection::open(path).unwrap().execute_batch(sql).unwrap();
            },
            "another version",
        ),
    ];
    for (what, harm, words) in harms {
        let folder = Folder::new(&what.replace([' ', '\''], "-"));
        harm(&folder.path());
        let before = fs::read(folder.path()).ok();
        let a = folder.of("a");
        for ms in [0, 1_000] {
            let why = a.beat(at(ms)).unwrap_err();
            assert!(why.contains(words) && why.split(": ").count() >= 3, "{what}: {why}");
            assert_eq!(a.view().trouble, why);
        }
        assert_eq!(a.reserve(&ask(20, 40), at(0)), Verdict::Alone, "{what}");
        let own = Ask { own_minute: 21, ..ask(20, 40) };
        assert!(matches!(a.reserve(&own, at(0)), Verdict::Held { total: None, .. }), "{what}");
        assert_eq!(fs::read(folder.path()).ok(), before, "{what}: it is left as it is");
    }
}

#[test]
fn a_file_that_another_program_holds_is_away_until_it_lets_go() {
    let folder = Folder::new("held");
    let [a, b] = folder.boxes(["a", "b"]);
    let other = Connection::open(folder.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(a.reserve(&ask(20, 40), at(0)), Verdict::Alone);
    let own = Ask { own_minute: 11, ..ask(20, 40) };
    assert!(matches!(a.reserve(&own, at(0)), Verdict::Held { .. }), "half of it is b's");
    assert!(a.view().trouble.contains("another program holds it"), "{}", a.view().trouble);
    other.execute_batch("COMMIT").unwrap();
    assert!(a.beat(at(1_000)).unwrap().report);
    assert!(matches!(a.reserve(&own, at(1_100)), Verdict::Held { .. }), "b may not have told yet");
    a.beat(at(4_000)).unwrap();
    assert_eq!(counted(&a, &own, 1, at(4_100)), 1);
    assert_eq!(counted(&b, &ask(20, 40), 1, at(4_100)), 1);
}

#[test]
fn the_list_of_boxes_is_read_without_being_one() {
    let folder = Folder::new("list");
    assert_eq!(boxes(&folder.path(), BOOT_MS), Ok(None));
    let _all = folder.boxes(["a", "b"]);
    let found = boxes(&folder.path(), BOOT_MS).unwrap().unwrap();
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert!(found[0].1.starts_with("1\t2\t0\t0\t0"), "{found:?}");
    assert_eq!(boxes(&folder.path(), BOOT_MS + 60_000), Ok(Some(Vec::new())));
    assert!(boxes(Path::new("/no/such/folder/x.db"), 0).is_err());
}
