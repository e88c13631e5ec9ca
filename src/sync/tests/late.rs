//! What a reply does not prove, what comes late, and what a lease that was lost in mid-run means.

use super::*;

/// Drives a run against `call`; also how long it paused.
fn drive_with(
    store: &mut Store,
    rows_max: usize,
    call: &mut (dyn FnMut(&Request) -> Reply + Send),
) -> (Report, i64) {
    let (mut now_ms, waited) = (1_000_000, std::cell::Cell::new(0));
    let mut outside = Outside {
        call,
        now: &mut || {
            now_ms += 1;
            Now { unix_ms: now_ms + waited.get() }
        },
        wait: &mut |ms| waited.set(waited.get() + ms),
        dice: &mut || 0x5555,
        tell: &mut |_| {},
    };
    let report = drive(store, options(rows_max), &mut outside).unwrap();
    (report, waited.get())
}

fn answer(status: u16, body: &str) -> Reply {
    Ok(Response { status, body: body.as_bytes().to_vec(), ..Response::default() })
}

#[test]
fn a_success_without_a_body_is_looked_up() {
    // Whether it was carried out, what is found there, what is set aside.
    for (is_done, already, parked) in [(true, 3, 0), (false, 0, 3)] {
        let mut store = store_with(&texts(3));
        let mut remote = Remote::default();
        let (report, _) = drive_with(&mut store, 500, &mut |request| {
            let is_post = request.method == Method::Post;
            if is_post && !is_done {
                return answer(201, "");
            }
            let reply = remote.call(request, Meets::Nothing);
            if is_post { answer(201, "") } else { reply }
        });
        let found = (report.history.sent, report.history.already, report.history.parked);
        assert_eq!(found, (0, already, parked), "{report:?}");
    }
}

#[test]
fn a_row_that_a_lagging_replica_does_not_show_yet_is_not_set_aside() {
    let mut store = store_with(&texts(5));
    let mut remote = Remote::default();
    let (mut posts, mut gets) = (0, 0);
    let (report, waited_ms) = drive_with(&mut store, 500, &mut |request| {
        let is_post = request.method == Method::Post;
        posts += u32::from(is_post);
        gets += u32::from(!is_post);
        match (is_post, posts, gets) {
            (true, 1, _) => remote.call(request, Meets::Lost),
            (false, _, 1) => answer(200, "[]"),
            _ => remote.call(request, Meets::Nothing),
        }
    });
    assert_eq!((report.history.already, report.history.parked), (5, 0), "{report:?}");
    assert!(waited_ms >= STATEMENT_MS, "{waited_ms}");
    assert_eq!((gets, report.exit_code()), (2, 0));
}

#[test]
fn successes_that_are_no_lists_end_a_run() {
    let mut store = store_with(&texts(5));
    let (report, _) = drive_with(&mut store, 500, &mut |request| {
        assert_eq!(request.method, Method::Post);
        answer(200, "<html>")
    });
    assert_eq!((report.exit_code(), report.history.pending), (75, 5));
    assert!(report.requests <= u64::from(FAILURES_MAX), "{report:?}");
}

#[test]
fn what_is_too_slow_is_halved_after_growing_pauses_and_named() {
    let mut store = store_with(&texts(64));
    let mut remote = Remote::default();
    let (report, waited_ms) =
        drive_with(&mut store, 64, &mut |request| remote.call(request, Meets::TooSlow));
    assert_eq!((report.exit_code(), report.history.sent), (0, 64));
    assert!(waited_ms >= PAUSE_MS_MIN * (1 + 2 + 4), "{waited_ms}");
    let mut store = store_with(&texts(3));
    let (report, _) = drive_with(&mut store, 1, &mut |_| {
        answer(500, r#"{"code":"57014","message":"canceling statement"}"#)
    });
    let text = report.error.map(|error| error.text).unwrap_or_default();
    assert!(text.contains("`chat_history`") && text.contains("rows 1 to 1"), "{text}");
}

#[test]
fn a_table_that_gives_its_own_ids_settles_what_its_reply_lists() {
    for (listed, left) in [(3, 0), (1, 2), (0, 3)] {
        let store = store_with(&texts(3));
        let mut run = SyncRun::new(options(500));
        run.generated = true;
        let now = Now { unix_ms: 1_000_000 };
        let Step::Call(request) = run.next(&store.db, now, 1).unwrap() else { panic!("no batch") };
        let body = json::parse(request.body.as_deref().unwrap().as_bytes()).unwrap();
        let rows: Vec<String> = body
            .root()
            .list()
            .take(listed)
            .map(|row| row.at("metadata").at("svs_id").i64().unwrap())
            .zip(7..)
            .map(|(ours, theirs)| format!(r#"{{"id":"{theirs}","svs_id":"{ours}"}}"#))
            .collect();
        run.settle(&store.db, &answer(201, &format!("[{}]", rows.join(","))), now, 1).unwrap();
        run.write_down_arrived(&store.db).unwrap();
        assert_eq!(rows::backlog(&store.db, Table::History).unwrap().0, left, "{listed} listed");
    }
}

#[test]
fn requests_go_one_after_another_and_a_reply_that_is_no_list_stops_only_its_own() {
    // The reply of the first is none; the second is under way before that is known.
    for odd in [None, Some("<html>"), Some("{}"), Some("")] {
        let wanted = texts(9);
        let mut store = store_with(&wanted);
        let mut remote = Remote::default();
        let mut order = Vec::new();
        let (report, _) = drive_with(&mut store, 3, &mut |request| {
            let body = request.body.as_deref().unwrap_or_default();
            let first = wanted.iter().position(|text| body.contains(&format!("\"{text}\"")));
            order.push((request.method, first));
            let reply = remote.call(request, Meets::Nothing);
            match odd {
                Some(body) if order.len() == 1 => answer(201, body),
                _ => reply,
            }
        });
        assert_eq!((report.exit_code(), report.history.pending), (0, 0), "{odd:?} {report:?}");
        assert_eq!(arrived(&remote), texts(9), "{odd:?}");
        assert_eq!(report.history.sent + report.history.already, 9, "{odd:?}");
        let begin = [(Method::Post, Some(0)), (Method::Post, Some(3))];
        assert_eq!(order.get(..2), Some(begin.as_slice()), "{odd:?}");
        if odd.is_none() {
            assert_eq!(order.get(2..), Some([(Method::Post, Some(6))].as_slice()));
        }
    }
}

/// A run over a table that gives ids of its own, until it would wait; `reply` to each request. How many were made.
fn run_generated(
    store: &Store,
    now_ms: i64,
    reply: &mut dyn FnMut(&Request) -> Reply,
) -> (Report, usize) {
    let mut run = SyncRun::new(options(500));
    run.generated = true;
    let mut now = Now { unix_ms: now_ms };
    // Bounded: a run ends.
    for made in 0.. {
        let step = loop {
            match run.next(&store.db, now, 1).unwrap() {
                Step::Wait { until_ms } => now.unix_ms = until_ms,
                step => break step,
            }
        };
        let Step::Call(request) = step else { return (run.report().clone(), made) };
        run.settle(&store.db, &reply(&request), now, 1).unwrap();
    }
    unreachable!()
}

#[test]
fn a_row_that_is_neither_listed_nor_found_is_set_aside_where_ids_are_generated() {
    let store = store_with(&texts(3));
    let mut swallow = |_: &Request| answer(200, "[]");
    let (report, _) = run_generated(&store, 1_000_000, &mut swallow);
    assert_eq!((report.history.sent, report.history.pending, report.history.parked), (0, 3, 0));
    // It is looked up once, and not sent again.
    let (report, requests) = run_generated(&store, 1_000_000 + LATE_MS, &mut swallow);
    assert_eq!((report.history.pending, report.history.parked, requests), (0, 3, 1));
    assert!(report.parked.iter().all(|row| row.contains("trigger")), "{report:?}");
    let (_, requests) = run_generated(&store, 1_000_000 + 2 * LATE_MS, &mut swallow);
    assert_eq!(requests, 0);
}

#[test]
fn rows_of_unknown_outcome_are_looked_up_while_people_talk_on() {
    let store = store_with(&texts(1));
    let mut theirs = 0;
    let mut taken = |request: &Request| {
        let body = json::parse(request.body.as_deref().unwrap().as_bytes()).unwrap();
        let mut named = |row: json::Ref<'_>| {
            theirs += 1;
            let ours = row.at("metadata").at("svs_id").i64().unwrap();
            format!(r#"{{"id":"{theirs}","svs_id":"{ours}"}}"#)
        };
        let rows: Vec<String> = body.root().list().map(&mut named).collect();
        answer(201, &format!("[{}]", rows.join(",")))
    };
    run_generated(&store, 1_000_000, &mut |_| gone());
    let mut looked_up = 0;
    // A row every minute, until what waits may be looked up.
    for minute in 1..=LATE_MS / MINUTE_MS + 1 {
        add(&store.db, &turn("more")).unwrap();
        let now_ms = 1_000_000 + minute * MINUTE_MS;
        run_generated(&store, now_ms, &mut |request| match request.method {
            Method::Post => taken(request),
            _ => {
                looked_up += 1;
                answer(200, "[]")
            }
        });
    }
    assert_eq!(looked_up, 1);
    assert_eq!(rows::backlog(&store.db, Table::History).unwrap().0, 0);
}

#[test]
fn registrations_that_take_too_long_are_halved_repeated_and_blamed_on_their_table() {
    let slow = || answer(500, r#"{"code":"57014","message":"canceling statement"}"#);
    let pairs_of = |request: &Request| -> Vec<String> {
        let body = json::parse(request.body.as_deref().unwrap_or("[]").as_bytes()).unwrap();
        let pair = |row: json::Ref<'_>| {
            let (user, chat) = (row.at("user_id").i64().unwrap(), row.at("chat_id").i64().unwrap());
            format!(r#"{{"user_id":{user},"chat_id":{chat}}}"#)
        };
        body.root().list().map(pair).collect()
    };
    let registered =
        |people: i64| {
            let store = store_with(&[]);
            for user in 1..=people {
                store.db.execute(
                "INSERT INTO registry (user_id, chat_id, trigger_count, last_us, created_us)
                 VALUES (?1, -5, 1, 1, 1) ON CONFLICT DO NOTHING",
                [user],
            ).unwrap();
            }
            store
        };
    // No more than two at a time: all arrive in one run.
    let mut store = registered(9);
    let (report, waited_ms) = drive_with(&mut store, 500, &mut |request| {
        let pairs = pairs_of(request);
        if pairs.len() > 2 { slow() } else { answer(201, &format!("[{}]", pairs.join(","))) }
    });
    assert_eq!((report.exit_code(), report.registry.sent, report.registry.pending), (0, 9, 0));
    assert!(waited_ms >= PAUSE_MS_MIN, "{waited_ms}");
    // A count that the database has no time for once is set in the same run.
    store
        .db
        .execute("UPDATE registry SET trigger_count = 2, sync = 0 WHERE user_id = 3", [])
        .unwrap();
    let mut swaps = 0;
    let (report, _) = drive_with(&mut store, 500, &mut |request| {
        assert_eq!(request.method, Method::Patch, "there is nothing to read back");
        swaps += 1;
        if swaps == 1 { slow() } else { answer(200, r#"[{"user_id":3,"chat_id":-5}]"#) }
    });
    assert_eq!((report.exit_code(), report.registry.sent, swaps), (0, 1, 2));
    // One that never has the time: nothing is lost, and the words name the table.
    let mut store = registered(3);
    let (report, _) = drive_with(&mut store, 500, &mut |_| slow());
    let text = report.error.as_ref().map(|error| error.text.clone()).unwrap_or_default();
    assert_eq!((report.exit_code(), report.registry.pending, report.registry.parked), (75, 3, 0));
    assert!(text.contains("`user_registry`") && text.contains("57014"), "{text}");
    // The same with a count to be set.
    store.db.execute("UPDATE registry SET synced_count = 1, trigger_count = 2", []).unwrap();
    let (report, _) = drive_with(&mut store, 500, &mut |_| slow());
    let text = report.error.as_ref().map(|error| error.text.clone()).unwrap_or_default();
    assert_eq!((report.exit_code(), report.registry.pending), (75, 3));
    assert!(text.contains("`user_registry`") && text.contains("57014"), "{text}");
}

/// A run that has one batch under way and the next one ready.
fn half_way(store: &Store, now: Now) -> (SyncRun, Request) {
    let mut run = SyncRun::new(options(3));
    let Step::Call(first) = run.next(&store.db, now, 1).unwrap() else { panic!("no batch") };
    run.prepare(&store.db, Durability::Disk, now, 1).unwrap();
    (run, first)
}

#[test]
fn a_kill_after_a_batch_overtook_and_before_either_is_settled_loses_and_doubles_nothing() {
    // What the two requests of the killed run meet.
    for (first_meets, second_meets) in [
        (Meets::Nothing, Meets::Nothing),
        (Meets::Nothing, Meets::Lost),
        (Meets::Nothing, Meets::Cut),
        (Meets::Nothing, Meets::Late),
    ] {
        let mut store = store_with(&texts(9));
        let mut remote = Remote::default();
        let now = Now { unix_ms: 1_000 };
        let (mut run, first) = half_way(&store, now);
        let reply = remote.call(&first, first_meets);
        let second = run.overtake(&reply, now).expect("the next batch goes first");
        let _ = remote.call(&second, second_meets);
        drop(run);
        let report = super::run(&mut store, options(3), &mut remote, &mut || Meets::Nothing);
        for request in std::mem::take(&mut remote.late) {
            let _ = remote.carry_out(&request);
        }
        assert_eq!((report.exit_code(), report.history.pending), (0, 0), "{second_meets:?}");
        assert_eq!(arrived(&remote), texts(9), "{second_meets:?}");
    }
}

#[test]
fn a_lease_that_others_had_in_mid_run_takes_back_what_was_ready_and_under_way() {
    let late = Now { unix_ms: 1_000 + LEASE_MS + 1 };
    for is_still_held in [true, false] {
        let store = store_with(&texts(9));
        let mut remote = Remote::default();
        let (mut run, first) = half_way(&store, Now { unix_ms: 1_000 });
        let reply = remote.call(&first, Meets::Nothing);
        let taken = rows::take_lease(&store.db, "sync 7", late.unix_ms, LEASE_MS, 0).unwrap();
        assert!(matches!(taken, Lease::Taken { .. }), "{taken:?}");
        if !is_still_held {
            rows::end_lease(&store.db, "sync 7").unwrap();
        }
        assert_eq!(run.overtake(&reply, late), None, "the lease has lapsed");
        run.settle(&store.db, &reply, late, 1).unwrap();
        assert_eq!(
            rows::backlog(&store.db, Table::History).unwrap().0,
            9,
            "the reply settles nothing"
        );
        match run.next(&store.db, late, 1).unwrap() {
            Step::Finished => {
                assert!(is_still_held);
                assert_eq!(run.report().error.as_ref().map(|error| error.kind), Some("busy"));
            }
            Step::Call(again) => {
                assert!(!is_still_held);
                assert_eq!(
                    again.body, first.body,
                    "it begins with the first row that is not settled"
                );
            }
            step => panic!("{step:?}"),
        }
    }
    // One that lapsed while nobody wanted it is still ours.
    let store = store_with(&texts(9));
    let (mut run, first) = half_way(&store, Now { unix_ms: 1_000 });
    let reply = Remote::default().call(&first, Meets::Nothing);
    assert_eq!(run.overtake(&reply, late), None, "it must be asked for first");
    run.settle(&store.db, &reply, late, 1).unwrap();
    assert_eq!(run.report().history.sent, 3);
}

#[test]
fn a_person_is_forgotten_when_no_row_is_to_be_seen_any_more() {
    // What the look after a delete finds, in which table; the exit code, and whether it is still to be done.
    for (table, found, code, left) in [
        ("chat_history", "[]", 0, 0),
        ("chat_history", "[{\"user_id\":7}]", 1, 1),
        ("user_registry", "[{\"user_id\":7}]", 1, 1),
        ("user_registry", "<html>", 75, 1),
    ] {
        let mut store = store_with(&texts(0));
        store
            .write(Durability::Disk, |db| crate::store::erase::forget(db, UserId(7), 900_000))
            .unwrap();
        let mut asked = Vec::new();
        let (report, _) = drive_with(&mut store, 500, &mut |request| {
            assert!(request.path.contains("user_id=eq.7"), "{}", request.path);
            let is_look = request.method == Method::Get;
            asked.push((request.path.split('?').next().unwrap_or("").to_owned(), is_look));
            let is_it = is_look && request.path.contains(table);
            answer(200, if is_it { found } else { "[]" })
        });
        let case = format!("{table} {found}: {report:?}");
        assert_eq!(report.exit_code(), code, "{case}");
        assert_eq!(rows::erasures_pending(&store.db).unwrap(), left, "{case}");
        if left == 0 {
            let steps =
                asked.iter().map(|(path, is_look)| (path.rsplit('/').next().unwrap(), *is_look));
            let wanted = ["chat_history", "user_registry"].map(|it| [(it, false), (it, true)]);
            assert!(steps.eq(wanted.concat()), "{asked:?}");
        } else if code == 1 {
            let text = report.error.map(|error| error.text).unwrap_or_default();
            assert!(text.contains(table) && text.contains("policy for delete"), "{text}");
        }
    }
}
