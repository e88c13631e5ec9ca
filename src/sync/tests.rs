//! Whole runs against a table in memory, under seeded faults; the real PostgREST is driven by
//! `scripts/test.d/supabase.py`.

use super::*;
use crate::json;
use crate::store::Store;
use crate::store::history::{Turn, add};
use crate::types::{ChatId, TopicId, UserId};
use crate::wire::{Method, NetErrorKind};
use std::collections::BTreeMap;

mod late;

/// What the next request meets.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meets {
    Nothing,
    /// Done, the reply lost.
    Lost,
    /// Done only after a later request.
    Late,
    Cut,
    Unavailable,
    TooLarge,
    /// Too many rows for the time a statement has.
    TooSlow,
    /// The same, and nobody says so.
    Silence,
}

/// `chat_history` by id, and requests that commit late.
#[derive(Default)]
struct Remote {
    rows: BTreeMap<i64, String>,
    /// A trigger of the operator's writes times of its own.
    own_times: bool,
    late: Vec<Request>,
    poison: Option<&'static str>,
    /// A trigger drops what begins like this without a word.
    swallows: Option<&'static str>,
    requests: usize,
}

fn gone() -> std::result::Result<Response, NetError> {
    Err(NetError { maybe_done: true, kind: NetErrorKind::Cut, text: "cut".to_owned() })
}

/// More than two rows.
fn is_large(request: &Request) -> bool {
    request.body.as_ref().is_some_and(|body| body.len() > 400)
}

impl Remote {
    fn call(&mut self, request: &Request, meets: Meets) -> std::result::Result<Response, NetError> {
        self.requests += 1;
        let answer = |status, body: &str| {
            Ok(Response { status, body: body.as_bytes().to_vec(), ..Response::default() })
        };
        match meets {
            Meets::Cut => gone(),
            Meets::Unavailable => answer(503, "<html>"),
            Meets::TooLarge if is_large(request) => answer(413, ""),
            Meets::TooSlow if is_large(request) => {
                answer(500, r#"{"code":"57014","message":"canceling statement"}"#)
            }
            Meets::Silence if is_large(request) => Err(NetError {
                maybe_done: true,
                kind: NetErrorKind::Timeout,
                text: "no reply in time".to_owned(),
            }),
            Meets::Late => {
                self.late.push(request.clone());
                gone()
            }
            Meets::Lost => {
                let _ = self.carry_out(request);
                gone()
            }
            Meets::Nothing | Meets::TooLarge | Meets::TooSlow | Meets::Silence => {
                self.carry_out(request)
            }
        }
    }

    fn carry_out(&mut self, request: &Request) -> std::result::Result<Response, NetError> {
        let ok = |status, body: String| {
            Ok(Response { status, body: body.into_bytes(), ..Response::default() })
        };
        match request.method {
            Method::Post => {
                let body = json::parse(request.body.as_deref().unwrap().as_bytes()).unwrap();
                let rows: Vec<(i64, String)> = body
                    .root()
                    .list()
                    .map(|row| {
                        (
                            row.at("id").i64().unwrap(),
                            row.at("message_text").str().unwrap().to_owned(),
                        )
                    })
                    .collect();
                if rows.iter().any(|(_, text)| self.poison == Some(text.as_str())) {
                    return ok(
                        400,
                        r#"{"code":"23514","message":"violates check constraint \"c\""}"#
                            .to_owned(),
                    );
                }
                let mut new = Vec::new();
                for (id, text) in rows {
                    if self.swallows.is_some_and(|start| text.starts_with(start)) {
                        continue;
                    }
                    if let std::collections::btree_map::Entry::Vacant(free) = self.rows.entry(id) {
                        free.insert(text);
                        new.push(format!("{{\"id\":{id}}}"));
                    }
                }
                ok(201, format!("[{}]", new.join(",")))
            }
            // Which rows are there, every one of them by person 2 in chat 1.
            Method::Get => {
                let list = request.path.split("in.(").nth(1).unwrap().split(')').next().unwrap();
                let mut marks = Vec::new();
                for id in list.split(',') {
                    let Some(text) = self.rows.get(&id.parse().unwrap()) else { continue };
                    let us = if self.own_times { 777 } else { created_us(text) };
                    marks.push(format!(
                        r#"{{"id":"{id}","chat_id":"1","user_id":"2","message_text":"{text}","response_text":"yo","created_at":"1970-01-01T00:00:00.{us:06}"}}"#
                    ));
                }
                ok(200, format!("[{}]", marks.join(",")))
            }
            _ => ok(204, String::new()),
        }
    }
}

fn store_with(texts: &[String]) -> Store {
    let mut store = Store::in_memory().unwrap();
    store
        .write(Durability::Process, |db| {
            for message in texts {
                add(db, &turn(message))?;
            }
            Ok(())
        })
        .unwrap();
    store
}

/// Texts differ, and so do their times.
fn created_us(text: &str) -> i64 {
    text.bytes().fold(0, |sum, byte| (sum * 31 + i64::from(byte)) % 1_000_000)
}

fn turn(message: &str) -> Turn<'_> {
    Turn {
        session: 0,
        chat: ChatId(1),
        topic: TopicId(0),
        user: UserId(2),
        username: "ann",
        message,
        response: "yo",
        model: "m",
        metadata: "{}",
        created_us: created_us(message),
    }
}

fn options(rows_max: usize) -> Options {
    Options { holder: "sync 1".to_owned(), rows_max, bytes_max: 1 << 20, retry_parked: false }
}

fn run(
    store: &mut Store,
    options: Options,
    remote: &mut Remote,
    meets: &mut (dyn FnMut() -> Meets + Send),
) -> Report {
    let mut now_ms = 1_000_000;
    let mut dice = 0x1234_5678_9abc_def0_u64;
    let waited = std::cell::Cell::new(0);
    drive(
        store,
        options,
        &mut Outside {
            call: &mut |request| remote.call(request, meets()),
            now: &mut || {
                now_ms += 1;
                Now { unix_ms: now_ms + waited.get() }
            },
            wait: &mut |ms| waited.set(waited.get() + ms),
            dice: &mut || {
                dice = dice.rotate_left(7) ^ 0x5555;
                dice
            },
            tell: &mut |_| {},
        },
    )
    .unwrap()
}

/// As the daemon drives it: settlement and next step in one transaction, no work in between.
fn run_in_turns(
    store: &mut Store,
    options: Options,
    remote: &mut Remote,
    meets: &mut dyn FnMut() -> Meets,
) -> Report {
    let mut run = SyncRun::new(options);
    let mut reply = None;
    let mut now_ms = 1_000_000;
    loop {
        now_ms += 1;
        let now = Now { unix_ms: now_ms };
        let step = store
            .write(Durability::Disk, |db| {
                if let Some(reply) = reply.take() {
                    run.settle(db, &reply, now, 5)?;
                }
                run.next(db, now, 5)
            })
            .unwrap();
        match step {
            Step::Finished => return run.report().clone(),
            Step::Wait { until_ms } => now_ms = until_ms,
            Step::Call(request) => reply = Some(remote.call(&request, meets())),
        }
    }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("text {n}")).collect()
}

fn arrived(remote: &Remote) -> Vec<String> {
    remote.rows.values().cloned().collect()
}

#[test]
fn ten_thousand_batches_under_faults_arrive_once() {
    arrive_once(20_000, 10_000, false, |store, remote, meets| {
        run(store, options(2), remote, meets)
    });
}

#[test]
fn the_daemon_s_batches_arrive_once_as_well() {
    arrive_once(4_000, 2_000, false, |store, remote, meets| {
        run_in_turns(store, options(2), remote, meets)
    });
}

#[test]
fn times_that_a_trigger_writes_make_no_second_row() {
    arrive_once(1_000, 100, true, |store, remote, meets| run(store, options(10), remote, meets));
}

type Drive = fn(&mut Store, &mut Remote, &mut (dyn FnMut() -> Meets + Send)) -> Report;

fn arrive_once(rows: usize, requests_min: usize, own_times: bool, drive: Drive) {
    let mut dice = 7_u64;
    let mut draw = move || {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        dice >> 33
    };
    let wanted = texts(rows);
    let mut store = store_with(&wanted);
    let mut remote = Remote { own_times, ..Remote::default() };
    let mut runs = 0;
    loop {
        let mut meets = || match draw() % 10 {
            0 => Meets::Lost,
            1 => Meets::Late,
            2 => Meets::Cut,
            3 => Meets::Unavailable,
            4 => Meets::TooLarge,
            _ => Meets::Nothing,
        };
        let report = drive(&mut store, &mut remote, &mut meets);
        for request in std::mem::take(&mut remote.late) {
            let _ = remote.carry_out(&request);
        }
        runs += 1;
        assert!(runs < 20_000, "no progress");
        if report.exit_code() == 0 {
            break;
        }
        assert_eq!(report.exit_code(), 75, "{report:?}");
    }
    assert!(remote.requests >= requests_min, "{}", remote.requests);
    assert_eq!(arrived(&remote), wanted);
}

#[test]
fn a_refused_row_is_found_by_halves_and_the_rest_goes_on() {
    let mut wanted = texts(1_000);
    let mut store = store_with(&wanted);
    let mut remote = Remote { poison: Some("text 637"), ..Remote::default() };
    let report = run(&mut store, options(500), &mut remote, &mut || Meets::Nothing);
    assert_eq!((report.history.sent, report.history.parked, report.exit_code()), (999, 1, 1));
    assert_eq!(report.parked, ["chat_history 638: 23514 c"]);
    assert!(report.requests <= 2 + 2 * 10, "{} requests", report.requests);
    // Set aside is not refused again; asked for, it is tried again.
    let report = run(&mut store, options(500), &mut remote, &mut || Meets::Nothing);
    assert_eq!((report.history.parked_before, report.requests, report.exit_code()), (1, 0, 0));
    remote.poison = None;
    let again = Options { retry_parked: true, ..options(500) };
    let report = run(&mut store, again, &mut remote, &mut || Meets::Nothing);
    assert_eq!((report.history.sent, report.exit_code()), (1, 0));
    wanted.sort();
    let mut found = arrived(&remote);
    found.sort();
    assert_eq!(found, wanted);
}

#[test]
fn a_table_that_refuses_everything_is_not_emptied_into_the_parked() {
    let mut store = store_with(&vec!["same".to_owned(); 300]);
    let mut remote = Remote { poison: Some("same"), ..Remote::default() };
    let report = run(&mut store, options(500), &mut remote, &mut || Meets::Nothing);
    assert_eq!(report.history.parked, i64::from(REFUSED_MAX));
    assert_eq!(report.history.pending, 300 - i64::from(REFUSED_MAX));
    assert_eq!(report.error.as_ref().map(|error| error.kind), Some("refused"));
}

#[test]
fn batches_shrink_to_what_the_server_can_take_and_the_next_run_knows() {
    // What the server says is tried again at once; where it says nothing, a run ends, and the next begins smaller.
    for (meets, runs_max) in [(Meets::TooLarge, 1), (Meets::TooSlow, 1), (Meets::Silence, 4)] {
        let wanted = texts(200);
        let mut store = store_with(&wanted);
        let mut remote = Remote::default();
        let runs = (1..=runs_max)
            .find(|_| run(&mut store, options(500), &mut remote, &mut || meets).exit_code() == 0);
        assert_eq!(runs, Some(runs_max), "{meets:?}");
        assert_eq!(arrived(&remote), wanted, "{meets:?}");
        // Once nothing is in the way, they grow back, and that is known as well.
        store
            .write(Durability::Process, |db| {
                for message in texts(500) {
                    add(db, &turn(&message))?;
                }
                Ok(())
            })
            .unwrap();
        let report = run(&mut store, options(20), &mut remote, &mut || Meets::Nothing);
        assert_eq!((report.exit_code(), report.history.sent), (0, 500), "{meets:?}");
        let rows = meta::get(store.connection(), "sync_rows_now").unwrap();
        assert_eq!(rows.unwrap_or_default(), "", "{meets:?}");
    }
}

#[test]
fn nobody_there_ends_soon_and_loses_nothing() {
    let mut store = store_with(&texts(10));
    let mut remote = Remote::default();
    let report = run(&mut store, options(500), &mut remote, &mut || Meets::Cut);
    assert_eq!((report.exit_code(), report.history.pending), (75, 10));
    assert!(report.requests <= u64::from(FAILURES_MAX), "{report:?}");
}

#[test]
fn one_lease_for_all() {
    let cases = [("daemon 7", 0, None), ("sync 7", 75, Some("busy"))];
    for (holder, code, kind) in cases {
        let mut store = store_with(&texts(1));
        store
            .write(Durability::Process, |db| rows::take_lease(db, holder, 1_000_000, 50_000, 0))
            .unwrap();
        let mut remote = Remote::default();
        let report = run(&mut store, options(500), &mut remote, &mut || Meets::Nothing);
        assert_eq!((report.exit_code(), report.requests), (code, 0), "{holder}");
        assert_eq!(report.held_by.as_deref(), Some(holder));
        assert_eq!(report.error.map(|error| error.kind), kind, "{holder}");
    }
}

#[test]
fn after_an_old_backup_rows_get_new_names_whatever_is_lost_on_the_way() {
    // Rows 4 to 6 were sent, then a backup of the first three came back, and other rows took their numbers.
    for meets in [[Meets::Nothing; 2], [Meets::Lost; 2], [Meets::Cut, Meets::Lost]] {
        let mut store = store_with(&texts(3));
        let mut remote = Remote::default();
        let report = run(&mut store, options(500), &mut remote, &mut || Meets::Nothing);
        assert_eq!(report.history.sent, 3);
        let base = *remote.rows.keys().next().unwrap() - 1;
        for id in 4..=6 {
            remote.rows.insert(base + id, format!("gone with the disk {id}"));
        }
        store
            .write(Durability::Process, |db| {
                for message in ["new 1", "new 2", "new 3", "new 4"] {
                    add(db, &turn(message))?;
                }
                Ok(())
            })
            .unwrap();
        let mut faults = meets.into_iter();
        // The first run is left in the middle; the second does not know what became of its request.
        let mut left = SyncRun::new(options(2));
        let now = Now { unix_ms: 1_000 };
        let step = store.write(Durability::Disk, |db| left.next(db, now, 5)).unwrap();
        let Step::Call(request) = step else { panic!("{step:?}") };
        let _ = remote.call(&request, faults.next().unwrap());
        let mut meets = || faults.next().unwrap_or(Meets::Nothing);
        let report = run(&mut store, options(2), &mut remote, &mut meets);
        assert_eq!((report.exit_code(), report.history.pending), (0, 0), "{report:?}");
        let mut found: Vec<String> =
            arrived(&remote).into_iter().filter(|text| text.starts_with("new")).collect();
        found.sort();
        assert_eq!(found, ["new 1", "new 2", "new 3", "new 4"]);
        assert_eq!(remote.rows.len(), 10);
    }
}

#[test]
fn a_row_too_large_to_be_read_back_is_known_by_its_number() {
    let mut store = store_with(&texts(5));
    let mut remote = Remote::default();
    let mut first = true;
    let mut meets = || {
        if std::mem::take(&mut first) { Meets::Lost } else { Meets::Nothing }
    };
    let mut call = |request: &Request| {
        if request.method == Method::Get {
            let text = "reply larger than 8388608 bytes".to_owned();
            return Err(NetError { maybe_done: true, kind: NetErrorKind::TooLarge, text });
        }
        remote.call(request, meets())
    };
    let mut now_ms = 1_000_000;
    let report = drive(
        &mut store,
        options(500),
        &mut Outside {
            call: &mut call,
            now: &mut || {
                now_ms += 1_000;
                Now { unix_ms: now_ms }
            },
            wait: &mut |_| {},
            dice: &mut || 5,
            tell: &mut |_| {},
        },
    )
    .unwrap();
    assert_eq!((report.history.already, report.history.pending), (5, 0), "{report:?}");
}

#[test]
fn a_row_that_is_accepted_and_not_there_is_set_aside() {
    let mut store = store_with(&texts(5));
    let swallowed: &'static str = texts(5)[2].clone().leak();
    let mut remote = Remote { swallows: Some(swallowed), ..Remote::default() };
    let report = run(&mut store, options(2), &mut remote, &mut || Meets::Nothing);
    assert_eq!(remote.rows.len(), 4);
    assert_eq!((report.history.sent, report.history.already, report.history.parked), (4, 0, 1));
    // One that drops everything does not empty the backlog.
    let mut store = store_with(&texts(500));
    let mut remote = Remote { swallows: Some(""), ..Remote::default() };
    let report = run(&mut store, options(10), &mut remote, &mut || Meets::Nothing);
    assert!((20..60).contains(&report.history.parked), "{}", report.history.parked);
    assert!(report.error.is_some_and(|it| it.stop && it.text.contains("refuses every row")));
}

#[test]
fn a_batch_overtakes_another_batch_and_nothing_else() {
    let store = store_with(&texts(9));
    let mut run = SyncRun::new(options(3));
    let now = Now { unix_ms: 1_000_000 };
    let Step::Call(first) = run.next(&store.db, now, 1).unwrap() else { panic!("no batch") };
    run.prepare(&store.db, Durability::Disk, now, 1).unwrap();
    let done = |body: &str| {
        Ok(Response { status: 201, body: body.as_bytes().to_vec(), ..Response::default() })
    };
    let refused: Reply = Ok(Response { status: 503, ..Response::default() });
    assert_eq!(run.overtake(&refused, now), None, "what was refused is settled first");
    let second =
        run.overtake(&done("[]"), now).expect("the next batch goes before the reply is settled");
    assert_ne!(first.body, second.body);
    assert_eq!(run.overtake(&done("[]"), now), None, "one reply at a time is unsettled");
    // None of the first batch was new: it is read back before anything else may be sent.
    run.settle(&store.db, &done("[]"), now, 1).unwrap();
    run.settle(&store.db, &refused, now, 1).unwrap();
    let later = Now { unix_ms: now.unix_ms + 60_000 };
    let Step::Call(marks) = run.next(&store.db, later, 1).unwrap() else { panic!("no reading") };
    assert_eq!(marks.method, Method::Get);
    run.prepare(&store.db, Durability::Disk, later, 1).unwrap();
    assert_eq!(run.overtake(&done("[]"), later), None, "a reading is not overtaken");
}
