use super::*;
use crate::daemon::http::example;

fn busy() -> Metrics {
    let mut metrics = Metrics::new(["gemini-3.8-flash", "odd\"mo\\del\n"]);
    metrics.update("message");
    metrics.update("some_future_kind");
    metrics.answer(Role::Vip, AnswerOutcome::Refused);
    metrics.answered(1.5, 0.004);
    metrics.answered(900.0, f64::NAN);
    metrics.answered(-1.0, -1.0);
    metrics.gemini("gemini-3.8-flash", "quota");
    metrics.gemini("never-heard-of", "ok");
    metrics.gemini("gemini-3.8-flash", "never-heard-of");
    metrics.tokens("gemini-3.8-flash", 7, 9);
    metrics.telegram_error(Some(429));
    metrics.telegram_error(Some(599));
    metrics.telegram_error(None);
    metrics.sync_rows("chat_history", RowOutcome::Sent, 500);
    metrics
}

fn page(metrics: &Metrics) -> String {
    render(metrics, &example::busy(), &crate::daemon::process::read(None))
}

#[test]
fn counts_land_in_their_series() {
    let page = page(&busy());
    for line in [
        "svs_bot_updates_total{kind=\"message\"} 1",
        "svs_bot_updates_total{kind=\"other\"} 1",
        "svs_bot_answers_total{role=\"vip\",outcome=\"refused\"} 1",
        "svs_bot_answers_total{role=\"guest\",outcome=\"failed\"} 0",
        "svs_bot_answer_seconds_bucket{le=\"0.1\"} 1",
        "svs_bot_answer_seconds_bucket{le=\"1\"} 1",
        "svs_bot_answer_seconds_bucket{le=\"2\"} 2",
        "svs_bot_answer_seconds_bucket{le=\"300\"} 2",
        "svs_bot_answer_seconds_bucket{le=\"+Inf\"} 3",
        "svs_bot_answer_seconds_sum 901.5",
        "svs_bot_answer_seconds_count 3",
        "svs_bot_added_latency_seconds_bucket{le=\"0.005\"} 3",
        "svs_bot_gemini_requests_total{model=\"gemini-3.8-flash\",outcome=\"quota\"} 1",
        "svs_bot_gemini_requests_total{model=\"other\",outcome=\"ok\"} 1",
        "svs_bot_gemini_requests_total{model=\"odd\\\"mo\\\\del\\n\",outcome=\"ok\"} 0",
        "svs_bot_gemini_tokens_total{model=\"gemini-3.8-flash\",direction=\"output\"} 9",
        "svs_bot_telegram_errors_total{code=\"429\"} 1",
        "svs_bot_telegram_errors_total{code=\"other\"} 1",
        "svs_bot_telegram_errors_total{code=\"network\"} 1",
        "svs_bot_sync_rows_total{table=\"chat_history\",outcome=\"sent\"} 500",
        "svs_bot_sync_pending_rows{table=\"chat_history\"} 1234",
        "svs_bot_keys{group=\"B\",state=\"resting\"} 1",
        "svs_bot_keys{group=\"-\",state=\"dead\"} 1",
        "svs_bot_keys{group=\"D\",state=\"ready\"} 0",
        "svs_bot_vip_sessions 2",
        "svs_bot_inbox_pending 7",
        "svs_bot_not_ready{cause=\"database\"} 0",
        "svs_bot_sync_failing 1",
        "svs_bot_sync_last_success_timestamp_seconds 1795378334",
    ] {
        assert!(page.lines().any(|at| at == line), "missing: {line}\n{page}");
    }
}

#[test]
fn every_name_of_the_contract_is_there_from_the_start() {
    let page = render(&Metrics::new([]), &Status::default(), &crate::daemon::process::read(None));
    for name in [
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_open_fds",
        "process_threads",
        "svs_bot_build_info",
        "svs_bot_updates_total",
        "svs_bot_answers_total",
        "svs_bot_inbox_pending",
        "svs_bot_outbox_pending",
        "svs_bot_answer_seconds",
        "svs_bot_added_latency_seconds",
        "svs_bot_gemini_requests_total",
        "svs_bot_gemini_tokens_total",
        "svs_bot_keys",
        "svs_bot_vip_sessions",
        "svs_bot_sessions",
        "svs_bot_telegram_errors_total",
        "svs_bot_sync_pending_rows",
        "svs_bot_sync_rows_total",
        "svs_bot_sync_last_success_timestamp_seconds",
        "svs_bot_database_bytes",
    ] {
        assert_eq!(page.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
        let sample = |line: &str| line.starts_with(name);
        assert!(page.lines().any(sample), "{name} has no sample");
    }
}

#[test]
fn what_is_sent_to_us_cannot_grow_the_page() {
    let mut metrics = Metrics::new([]);
    let before = page(&metrics).lines().count();
    for at in 0..5_000_u16 {
        metrics.update(&format!("kind{at}"));
        metrics.gemini(&format!("model{at}"), "ok");
        metrics.telegram_error(Some(at));
        metrics.sync_rows(&format!("table{at}"), RowOutcome::Sent, 1);
    }
    assert_eq!(page(&metrics).lines().count(), before);
    let names: Vec<String> = (0..5_000).map(|at| format!("m{at}")).collect();
    metrics.add_models(names.iter().map(String::as_str));
    assert!(metrics.models.len() <= MODELS_MAX + 1);
}

const ALERTS: &str = include_str!("../../../scripts/prometheus-alerts.yml");
const ALERT_CASES: &str = include_str!("../../../tests/prometheus/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../../scripts/grafana-dashboard.json");

/// Every metric's name in the expressions of a file.
fn names_in(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let metrics = words.filter(|word| word.starts_with("svs_bot_") || word.starts_with("process_"));
    metrics.map(str::to_owned).collect()
}

/// Metrics that only a box which shares something shows; their names stand in tables of the sources.
fn is_of_the_fleet(name: &str) -> bool {
    let rooms = [
        ("svs_bot_fleet_", include_str!("../fleet.rs")),
        ("svs_bot_relay_", include_str!("../relay.rs")),
    ];
    rooms.iter().any(|(prefix, room)| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| room.contains(&format!("(\"{rest}\", \"")))
    })
}

#[test]
fn alerts_and_dashboard_ask_only_for_metrics_that_exist() {
    let page = page(&busy());
    for (file, text) in [("alerts", ALERTS), ("cases", ALERT_CASES), ("dashboard", DASHBOARD)] {
        let names = names_in(text);
        assert!(names.len() > 10, "{file}");
        for name in names {
            let found = page.lines().any(|line| {
                line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            });
            // What to do may also name a histogram as a whole.
            let is_family = page.contains(&format!("# TYPE {name} histogram"));
            assert!(found || is_family || is_of_the_fleet(&name), "{file}: {name}");
        }
    }
}

/// That promtool agrees is the step `prometheus` of scripts/test.
#[test]
fn each_alert_has_a_case_that_fires_it() {
    for line in ALERTS.lines() {
        let Some(alert) = line.trim().strip_prefix("- alert: ") else { continue };
        let case = ALERT_CASES.split("alertname: ").filter(|case| case.starts_with(alert));
        assert!(case.into_iter().any(|case| case.contains("exp_alerts")), "{alert}");
    }
}
