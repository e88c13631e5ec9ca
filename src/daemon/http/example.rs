//! Owns: one busy status, for the tests of everything that renders.

use crate::types::status::{
    Counts, Disk, Hold, Hour, KeyHold, KeyLine, KeyState, QuotaLine, SqliteMemory, Status,
    SyncLine, TierLine, TroubleLine, VipLine,
};
use crate::types::{Group, HOUR_MS, SECOND_MS, Tier};

/// 2026-11-22T23:12:14Z
pub(crate) const NOW_MS: i64 = 1_795_389_134_000;
/// 2026-11-23T02:00:00Z
const FLASH_ENDS_MS: i64 = 1_795_399_200_000;

/// A bot in the evening of a bad day, with names that try to break out.
pub(crate) fn busy() -> Status {
    let key = |n, group, last4: &str, state, until_ms, why: Option<Hold>| KeyLine {
        n,
        group,
        last4: last4.to_owned(),
        state,
        until_ms,
        holds: why
            .map(|why| KeyHold { models: Vec::new(), why, word: String::new(), until_ms })
            .into_iter()
            .collect(),
        project: if n == 3 { "key 2".to_owned() } else { format!("key {n}") },
        shares_with: match n {
            2 => vec![3],
            3 => vec![2],
            _ => Vec::new(),
        },
        inferred: matches!(n, 2 | 3),
    };
    let quota = |project: &str, model: &str, used_today, limit_today| QuotaLine {
        project: project.to_owned(),
        groups: vec![Group::A],
        model: model.to_owned(),
        used_today,
        limit_today,
        resets_ms: 1_795_420_800_000,
        ends_ms: (model == "gemini-3.8-flash").then_some(FLASH_ENDS_MS),
    };
    let this_hour = NOW_MS.div_euclid(HOUR_MS);
    let hours = (0..168).map(|at: i64| {
        let wave = u64::try_from((at % 24 - 12).abs()).unwrap_or(0);
        Hour {
            hour: this_hour - 167 + at,
            answers: 40 - wave * 3,
            troubled: wave / 6,
            tokens: 30_000 - wave * 2_100,
            answer_ms: (40 - wave * 3) * (1_200 + wave * 150),
            backlog: if at > 150 { 1_239 - u64::try_from(167 - at).unwrap_or(0) * 60 } else { 0 },
        }
    });
    Status {
        at_ms: NOW_MS,
        running: true,
        ready: true,
        reason: String::new(),
        started_ms: Some(NOW_MS - 7_205 * SECOND_MS),
        last_poll_ms: Some(NOW_MS - 12 * SECOND_MS),
        webhook: false,
        rss_bytes: Some(4_812_800),
        disk: Some(Disk { free_bytes: 3 << 30, total_bytes: 20 << 30 }),
        counts: Counts {
            inbox: 7,
            inbox_parked: 1,
            inbox_oldest_ms: Some(NOW_MS - 42 * SECOND_MS),
            outbox: 2,
            outbox_parked: 3,
            sessions: 9,
            vip_used: 2,
            database_bytes: 18 << 20,
        },
        vip_slots: 3,
        vips: vec![
            VipLine {
                name: "小明".into(),
                rounds: 2,
                rounds_max: 5,
                last_ms: NOW_MS - 30 * SECOND_MS,
            },
            VipLine {
                name: "<img src=x>\x1b[31m".into(),
                rounds: 1,
                rounds_max: 3,
                last_ms: NOW_MS - 500 * SECOND_MS,
            },
        ],
        keys: vec![
            key(1, Group::A, "x9Qa", KeyState::Ready, None, None),
            key(
                2,
                Group::B,
                "77bZ",
                KeyState::Resting,
                Some(NOW_MS + 40 * SECOND_MS),
                Some(Hold::Minute),
            ),
            key(3, Group::B, "Lk0p", KeyState::Spent, Some(1_795_420_800_000), Some(Hold::Day)),
            key(4, Group::Router, "aa11", KeyState::Parked, None, Some(Hold::Parked)),
            key(5, Group::Ungrouped, "zz22", KeyState::Dead, None, Some(Hold::Dead)),
        ],
        quota: vec![
            quota("main", "gemini-3.8-flash", 14, Some(18)),
            quota("main", "gemini-3.5-flash-lite", 210, Some(450)),
            quota("…77bZ", "gemini-3.5-flash-lite", 31, None),
        ],
        lasts: vec![
            TierLine { tier: Tier::Lite, ends_ms: None },
            TierLine { tier: Tier::Flash, ends_ms: Some(FLASH_ENDS_MS) },
        ],
        gemini_error: Some("connection <refused>".into()),
        sync: SyncLine {
            enabled: true,
            pending: [1_234, 5],
            parked: [1, 0],
            parked_reason: "23514: new row violates check constraint \"<short>\"".into(),
            last_success_ms: Some(NOW_MS - 3 * HOUR_MS),
            last_error: Some("connect: connection refused".into()),
        },
        hours: hours.collect(),
        troubles: vec![
            TroubleLine {
                at_ms: NOW_MS - 65 * SECOND_MS,
                place: "sync".into(),
                text: "connect: connection refused".into(),
            },
            TroubleLine {
                at_ms: NOW_MS - 2 * HOUR_MS,
                place: "gemini".into(),
                text: "key 5: reported as leaked: replace it <script>".into(),
            },
        ],
        sqlite: Some(SqliteMemory {
            used_bytes: 1_400_000,
            cache_bytes: 520_000,
            schema_bytes: 90_000,
            statements_bytes: 310_000,
        }),
    }
}
