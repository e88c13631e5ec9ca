use super::*;
use crate::store::Durability;

const NOW_MS: i64 = 1_795_389_134_000;

fn look(sql: &str) -> Status {
    let mut store = Store::in_memory().unwrap();
    store
        .write(Durability::Process, |tx| {
            tx.execute_batch(sql)?;
            Ok(())
        })
        .unwrap();
    store
        .status(&Asked {
            now_ms: NOW_MS,
            session_idle_ms: 600_000,
            vip_slots: 3,
            sync_enabled: true,
        })
        .unwrap()
}

#[test]
fn an_empty_database_is_a_status_of_zeros() {
    let status = look("");
    assert_eq!(status.counts.inbox, 0);
    assert!(status.counts.database_bytes > 0);
    assert_eq!(status.started_ms, None);
    assert_eq!(status.week().map(|day| day.answers), [0; 7]);
}

#[test]
fn queues_backlog_and_hours_are_counted() {
    let hour = NOW_MS / HOUR_MS;
    let status = look(&format!(
        "INSERT INTO inbox (update_id, state, received_ms) VALUES (1, 1, 50), (2, 2, 40), (3, 3, 1), (4, 4, 1);
         UPDATE inbox SET head = 1 WHERE state = 1;
         INSERT INTO outbox_parked (id, chat_id, text, reason, parked_ms) VALUES (1, 1, '', '', 1);
         INSERT INTO history (chat_id, user_id, created_us, sync) VALUES
           (1, 1, 1, 0), (1, 1, 1, 1), (1, 1, 1, 2), (1, 1, 1, 3), (1, 1, 1, 4);
         INSERT INTO registry (user_id, chat_id, last_us, created_us, sync) VALUES
           (1, 1, 1, 1, 0), (2, 1, 1, 1, 2);
         INSERT INTO session (chat_id, topic_id, user_id, name, slot, rounds, rounds_max, opened_ms, last_ms) VALUES
           (1, 0, 1, 'a', 1, 1, 5, 1, {NOW_MS} - 1), (1, 0, 2, 'b', 1, 1, 5, 1, 5),
           (2, 0, 3, 'c', 0, 1, 5, 1, {NOW_MS});
         INSERT INTO tally (hour, name, value) VALUES
           ({hour}, 'answers', 5), ({hour}, 'tokens_in', 7), ({hour}, 'tokens_out', 1),
           ({hour} - 24, 'answers', 2), ({hour} - 24, 'failed', 1), ({hour} - 168, 'answers', 1000),
           ({hour}, 'some_other_count', 9);
         INSERT INTO trouble (at_ms, place, text) VALUES (1, 'sync', 'old'), (2, 'disk', 'new');"
    ));
    assert_eq!((status.counts.inbox, status.counts.inbox_parked), (2, 1));
    assert_eq!(status.counts.inbox_oldest_ms, Some(50));
    assert_eq!(status.counts.outbox_parked, 1);
    assert_eq!(status.sync.pending, [2, 1]);
    assert_eq!(status.sync.parked, [1, 0]);
    assert_eq!((status.counts.sessions, status.counts.vip_used), (2, 1));
    let week = status.week();
    assert_eq!((week[6].answers, week[6].tokens, week[5].answers), (5, 8, 2));
    assert_eq!(week.iter().map(|day| day.answers).sum::<u64>(), 7);
    assert_eq!(status.troubles[0].text, "new");
}

#[test]
fn what_a_daemon_publishes_is_read_back() {
    let mut store = Store::in_memory().unwrap();
    let what = Published {
        started_ms: 5,
        ready: false,
        reason: "telegram: 401".to_owned(),
        last_poll_ms: 6,
        webhook: true,
        conflict_last_ms: 7,
        conflicts: 2,
    };
    store.write(Durability::Process, |tx| publish(tx, &what)).unwrap();
    assert_eq!(store.published().unwrap(), what);
    store.write(Durability::Process, |tx| note_sync(tx, 9, Some("no route"))).unwrap();
    store.write(Durability::Process, |tx| note_sync(tx, 11, None)).unwrap();
    assert_eq!(sync(&store.db, true).unwrap().last_success_ms, Some(11));
    assert_eq!(sync(&store.db, true).unwrap().last_error, None);
}

#[test]
fn a_look_writes_nothing_and_needs_a_database() {
    let dir = std::env::temp_dir().join(format!("svs-look-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    assert!(matches!(Store::open_read_only(&dir), Err(StoreError::Missing(_))));
    let live = Store::open(&dir).unwrap();
    let look = Store::open_read_only(&dir).unwrap();
    assert_eq!(look.published().unwrap(), Published::default());
    assert!(meta::set(&look.db, "a", "b").is_err());
    drop((look, live));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn no_look_walks_a_whole_table() {
    let store = Store::in_memory().unwrap();
    for sql in [
        INBOX_PARKED,
        INBOX_OLDEST,
        HISTORY_PENDING,
        HISTORY_PARKED,
        REGISTRY_PENDING,
        REGISTRY_PARKED,
        HOURS,
    ] {
        let mut plan = store.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            // Of two halves each has a step of its own.
            let is_frame = ["COMPOUND QUERY", "UNION ALL"].contains(&step.as_str())
                || ["LEFT-MOST SUBQUERY", "SCALAR SUBQUERY"].iter().any(|it| step.starts_with(it));
            assert!(is_frame || step.contains(" USING "), "{sql}: {step}");
        }
    }
}

#[test]
fn a_statement_is_not_planned_anew_for_each_value() {
    use rusqlite::StatementStatus::RePrepare;
    let store = Store::in_memory().unwrap();
    let planned_again = || {
        let sql = "SELECT id FROM inbox WHERE chat_id = ?1 ORDER BY id LIMIT ?2";
        let mut statement = store.db.prepare(sql).unwrap();
        for chat in 0..9_i64 {
            assert!(!statement.exists([chat, chat + 1]).unwrap());
        }
        statement.get_status(RePrepare)
    };
    assert_eq!(planned_again(), 0);
    let guarantee = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
    store.db.set_db_config(guarantee, false).unwrap();
    assert!(planned_again() > 0, "this test sees nothing");
}
