use super::*;
use log::Level;

const NOW_MS: i64 = 1_795_389_134_005;

fn settings(file: Option<PathBuf>) -> Settings {
    Settings {
        level: LevelFilter::Info,
        format: LogFormat::Auto,
        file,
        secrets: vec![Secret::new("12345:top-secret-token")],
    }
}

fn line(style: Style, fields: &[(&str, &str)], message: &str) -> String {
    let scrubber = Scrubber::new(&settings(None).secrets);
    let source: Vec<(&str, &str)> = fields.to_vec();
    let mut out = String::new();
    format::line(
        &mut out,
        style,
        (&scrubber, &TextLines::new()),
        &Record::builder()
            .level(Level::Warn)
            .target("sync.failed")
            .key_values(&source)
            .args(format_args!("{message}"))
            .build(),
        NOW_MS,
    );
    out
}

#[test]
fn each_format_writes_the_same_event() {
    let fields = [("rows", "12"), ("why", "no route"), ("level", "x")];
    for (style, want) in [
        (
            Style::Logfmt,
            "ts=2026-11-22T23:12:14.005Z level=warn event=sync.failed msg=\"not reachable\" rows=12 why=\"no route\" level_=x\n",
        ),
        (
            Style::Json,
            "{\"ts\":\"2026-11-22T23:12:14.005Z\",\"level\":\"warn\",\"event\":\"sync.failed\",\"msg\":\"not reachable\",\"rows\":\"12\",\"why\":\"no route\",\"level_\":\"x\"}\n",
        ),
        (Style::Journal, "<4>sync.failed: not reachable rows=12 why=\"no route\" level_=x\n"),
    ] {
        assert_eq!(line(style, &fields, "not reachable"), want);
    }
    let text = line(Style::Text, &fields, "not reachable");
    assert!(
        text.ends_with("[WARN] sync.failed: not reachable rows=12 why=\"no route\" level_=x\n"),
        "{text}"
    );
}

#[test]
fn nothing_can_forge_a_line_or_show_a_secret() {
    let evil = "a\n<3>forged\r\x1b[2J\u{2028}b 12345:top-secret-token end";
    for style in [Style::Text, Style::Logfmt, Style::Json, Style::Journal] {
        let line = line(style, &[("k\ney", evil)], evil);
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert!(line.ends_with('\n'));
        assert!(!line.trim_end().chars().any(crate::daemon::quoting::is_control), "{line:?}");
        assert!(!line.contains("top-secret"), "{line:?}");
        assert_eq!(line.matches("…oken").count(), 2, "{line:?}");
    }
}

#[test]
fn a_huge_message_is_cut() {
    assert!(line(Style::Json, &[], &"x".repeat(1_000_000)).len() < 2_200);
}

#[test]
fn the_file_is_opened_anew_after_logrotate_moved_it() {
    let dir = std::env::temp_dir().join(format!("svs-log-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (path, moved) = (dir.join("bot.log"), dir.join("bot.log.1"));
    let handle = Handle::new(&settings(Some(path.clone())), false).unwrap();
    let say = |text: &str| {
        handle.write_record(
            &Record::builder().level(Level::Info).target("t").args(format_args!("{text}")).build(),
        );
    };
    say("before");
    std::fs::rename(&path, &moved).unwrap();
    say("still the old file");
    handle.reopen(&settings(Some(path.clone()))).unwrap();
    say("after");
    let old = std::fs::read_to_string(&moved).unwrap();
    let new = std::fs::read_to_string(&path).unwrap();
    assert_eq!(old.lines().count(), 2);
    assert!(new.contains("after") && new.lines().count() == 1);
    assert!(handle.reopen(&settings(Some(dir.join("no/such/dir")))).is_err());
    say("the old settings stay");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn other_crates_are_heard_only_when_something_is_wrong() {
    for (target, level, want) in [
        ("ureq::run", Level::Debug, false),
        ("rustls::client", Level::Info, false),
        ("rustls::client", Level::Warn, true),
        ("sync.sent", Level::Debug, true),
    ] {
        let metadata = Metadata::builder().target(target).level(level).build();
        assert_eq!(is_ours(&metadata), want, "{target}");
    }
    assert_eq!(capped(LevelFilter::Trace), LevelFilter::Debug);
}

#[test]
fn the_journal_is_recognised_by_its_inode() {
    let stderr = std::fs::metadata("/proc/self/fd/2").unwrap();
    let real = format!("{}:{}", stderr.dev(), stderr.ino());
    for (stream, want) in
        [(Some(real.as_str()), true), (Some("1:2"), false), (Some("x"), false), (None, false)]
    {
        assert_eq!(is_journal(stream), want, "{stream:?}");
    }
}
