use super::*;
use crate::store::Durability;

const NOW_MS: i64 = 1_795_389_134_000;
const DAY: i64 = 20_779;

fn key(n: u32, group: Group) -> KeyName {
    KeyName { n, group, last4: format!("000{n}"), fingerprint: format!("f{n}") }
}

fn look(sql: &str) -> Status {
    let mut store = Store::in_memory().unwrap();
    store
        .write(Durability::Process, |tx| {
            tx.execute_batch(sql)?;
            Ok(())
        })
        .unwrap();
    let keys: Vec<KeyName> = (1..=6).map(|n| key(n, Group::A)).collect();
    store
        .status(&Asked {
            now_ms: NOW_MS,
            session_idle_ms: 600_000,
            vip_slots: 3,
            sync_enabled: true,
            keys: &keys,
            models: &["flash".to_owned(), "lite".to_owned()],
            daily_limit: &|_, learned| u64::try_from(learned).ok(),
            pacific_day: DAY,
            resets_ms: NOW_MS + 9,
        })
        .unwrap()
}

#[test]
fn an_empty_database_is_a_status_of_zeros() {
    let status = look("");
    assert_eq!(status.counts.inbox, 0);
    assert!(status.counts.database_bytes > 0);
    assert_eq!(status.started_ms, None);
    assert!(status.keys.iter().all(|key| key.state == KeyState::Ready));
    assert_eq!(status.week().map(|day| day.answers), [0; 7]);
}

#[test]
fn each_key_is_in_the_worst_of_its_states() {
    let status = look(&format!(
        "INSERT INTO gemini_key (fingerprint, last4, project, dead, parked, resting_until_ms, rest_reason) VALUES
           ('f1', '0001', '', '', 0, 0, ''),
           ('f2', '0002', '', '', 0, {NOW_MS} + 5, 'minute limit'),
           ('f3', '0003', 'p', '', 0, {NOW_MS} + 5, 'minute limit'),
           ('f4', '0004', 'p', '', 1, 0, ''),
           ('f5', '0005', 'p', 'leaked', 1, 0, ''),
           ('f6', '0006', '', '', 0, {NOW_MS} - 5, 'over');
         INSERT INTO quota (project, model, rpd, until_ms, reason) VALUES
           ('p', 'flash', 20, {NOW_MS} + 7, 'day'), ('p', 'lite', 3, 0, ''),
           ('f6', 'flash', 20, {NOW_MS} + 7, 'day'), ('f6', 'lite', 3, 0, '');
         INSERT INTO quota_day (day, project, model, used) VALUES
           ({DAY}, 'p', 'lite', 3), ({DAY}, 'f6', 'lite', 2), ({DAY} - 1, 'f6', 'lite', 99);"
    ));
    let got: Vec<_> = status.keys.iter().map(|key| (key.state, key.until_ms)).collect();
    assert_eq!(
        got,
        [
            (KeyState::Ready, None),
            (KeyState::Resting, Some(NOW_MS + 5)),
            (KeyState::Spent, Some(NOW_MS + 7)),
            (KeyState::Parked, None),
            (KeyState::Dead, None),
            (KeyState::Ready, None),
        ]
    );
    let quota: Vec<_> = status
        .quota
        .iter()
        .map(|line| (line.project.as_str(), line.used_today, line.limit_today))
        .collect();
    assert_eq!(quota, [("f6", 2, Some(3)), ("p", 3, Some(3))]);
}

#[test]
fn queues_backlog_and_hours_are_counted() {
    let hour = NOW_MS / HOUR_MS;
    let status = look(&format!(
        "INSERT INTO inbox (update_id, state, received_ms) VALUES (1, 1, 50), (2, 2, 40), (3, 3, 1), (4, 4, 1);
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
    assert_eq!(status.counts.inbox_oldest_ms, Some(40));
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
