//! Tables for `zone`.

use super::*;
use crate::calendar::parse_rfc3339;
use crate::config::QuietHours;
use std::path::PathBuf;

/// A TZif file of version 2: an empty old block, then these changes and this rule.
fn tzif(changes: &[(i64, u8)], offsets: &[i32], footer: &str) -> Vec<u8> {
    let header = |times: usize, types: usize| {
        let mut bytes = b"TZif2".to_vec();
        bytes.extend([0; 15]);
        for count in [0, 0, 0, times, types, 4] {
            bytes.extend(u32::try_from(count).unwrap().to_be_bytes());
        }
        bytes
    };
    let mut bytes = header(0, 1);
    bytes.extend([0; 6]);
    bytes.extend(b"LMT\0");
    bytes.extend(header(changes.len(), offsets.len()));
    for (at, _) in changes {
        bytes.extend(at.to_be_bytes());
    }
    bytes.extend(changes.iter().map(|(_, kind)| *kind));
    for offset_s in offsets {
        bytes.extend(offset_s.to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.extend(b"LMT\0");
    bytes.extend(format!("\n{footer}\n").into_bytes());
    bytes
}

fn at(text: &str) -> i64 {
    parse_rfc3339(text).unwrap() / 1_000
}

#[test]
fn fixed_offsets_are_read() {
    let cases = [
        ("+08:00", Some(28_800)),
        ("+0800", Some(28_800)),
        ("+08", Some(28_800)),
        ("+8", Some(28_800)),
        ("-03:30", Some(-12_600)),
        ("-3:30", Some(-12_600)),
        ("+00:00", Some(0)),
        ("UTC", Some(0)),
        ("utc", Some(0)),
        ("+19:00", None),
        ("+08:60", None),
        ("+08:", None),
        ("+08:0", None),
        ("+", None),
        ("+:30", None),
        ("+0８:00", None),
        ("08:00", None),
        ("", None),
    ];
    for (text, wanted) in cases {
        let found = Zone::parse(text, &Environment::default()).map(|zone| zone.offset_s(0));
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn names_come_from_zoneinfo_and_never_from_outside_it() {
    let folder = std::env::temp_dir().join(format!("svs-zone-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("zoneinfo/Asia")).unwrap();
    let shanghai = tzif(&[(-1_000, 1)], &[29_143, 28_800], "CST-8");
    std::fs::write(folder.join("zoneinfo/Asia/Shanghai"), &shanghai).unwrap();
    std::fs::write(folder.join("zoneinfo/Broken"), "TZif").unwrap();
    std::fs::write(folder.join("Outside"), &shanghai).unwrap();
    let environment = Environment {
        zoneinfo: vec![PathBuf::from("/nowhere"), folder.join("zoneinfo")],
        ..Environment::default()
    };
    let absolute = folder.join("Outside");
    let cases = [
        ("Asia/Shanghai", true),
        (" Asia/Shanghai ", true),
        ("Asia/Nowhere", false),
        ("Asia", false),
        ("Broken", false),
        ("../Outside", false),
        ("Asia/../../Outside", false),
        ("Asia//Shanghai", false),
        (absolute.to_str().unwrap(), false),
        ("Asia/Shanghai\0", false),
    ];
    for (name, known) in cases {
        let zone = Zone::parse(name, &environment);
        assert_eq!(zone.is_some(), known, "{name}");
        assert!(zone.is_none_or(|zone| zone.offset_s(at("2026-06-01T00:00:00Z")) == 28_800));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn changes_hold_until_the_next_one_and_the_rule_after_the_last() {
    let zone = Zone::Named("x".into(), tzif(&[(0, 1), (1_000, 2)], &[60, 120, 180], "XXX-1"));
    for (unix_s, wanted) in
        [(i64::MIN, 60), (-1, 60), (0, 120), (999, 120), (1_000, 3_600), (i64::MAX, 3_600)]
    {
        assert_eq!(zone.offset_s(unix_s), wanted, "{unix_s}");
    }
    let without_rule = Zone::Named("x".into(), tzif(&[(0, 1), (1_000, 2)], &[60, 120, 180], ""));
    assert_eq!(without_rule.offset_s(5_000), 180);
}

#[test]
fn rules_of_both_halves_of_the_earth() {
    let cases = [
        ("CST-8", "2026-07-01T00:00:00Z", Some(8 * 3_600)),
        ("<+0330>-3:30", "2026-07-01T00:00:00Z", Some(12_600)),
        ("PST8PDT,M3.2.0,M11.1.0", "2026-03-08T09:59:59Z", Some(-8 * 3_600)),
        ("PST8PDT,M3.2.0,M11.1.0", "2026-03-08T10:00:00Z", Some(-7 * 3_600)),
        ("PST8PDT,M3.2.0,M11.1.0", "2026-11-01T08:59:59Z", Some(-7 * 3_600)),
        ("PST8PDT,M3.2.0,M11.1.0", "2026-11-01T09:00:00Z", Some(-8 * 3_600)),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T01:00:00Z", Some(2 * 3_600)),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T01:00:00Z", Some(3_600)),
        ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-01-01T00:00:00Z", Some(11 * 3_600)),
        ("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-07-01T00:00:00Z", Some(10 * 3_600)),
        ("IST-1GMT0,M10.5.0,M3.5.0/1", "2026-01-01T00:00:00Z", Some(0)),
        ("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "2026-07-01T00:00:00Z", Some(-2 * 3_600)),
        ("XXX3YYY,J60/0,J365/25", "2024-03-01T02:59:59Z", Some(-3 * 3_600)),
        ("XXX3YYY,J60/0,J365/25", "2024-03-01T03:00:00Z", Some(-2 * 3_600)),
        ("XXX3YYY,0/0,J365/25", "2026-12-31T23:00:00Z", Some(-2 * 3_600)),
        ("X3", "2026-01-01T00:00:00Z", None),
        ("XXX", "2026-01-01T00:00:00Z", None),
        ("XXX3YYY", "2026-01-01T00:00:00Z", None),
        ("XXX3YYY,M13.1.0,M1.1.0", "2026-01-01T00:00:00Z", None),
        ("XXX3YYY,M3.2.0,M11.1.0,", "2026-01-01T00:00:00Z", None),
        ("XXX999", "2026-01-01T00:00:00Z", None),
    ];
    for (rule, instant, wanted) in cases {
        assert_eq!(rule_offset_s(rule, at(instant)), wanted, "{rule} {instant}");
    }
}

#[test]
fn the_local_clock_finds_its_instant() {
    let zone = Zone::Named("x".into(), tzif(&[], &[-28_800], "PST8PDT,M3.2.0,M11.1.0"));
    let cases = [
        ("2026-01-31T12:00:00Z", "2026-01-31T20:00:00Z"),
        ("2026-07-31T12:00:00Z", "2026-07-31T19:00:00Z"),
        ("2026-03-08T01:59:59Z", "2026-03-08T09:59:59Z"),
        ("2026-03-08T03:00:00Z", "2026-03-08T10:00:00Z"),
        ("2026-11-01T00:59:59Z", "2026-11-01T07:59:59Z"),
        ("2026-11-01T02:00:00Z", "2026-11-01T10:00:00Z"),
        // Skipped, then shown twice.
        ("2026-03-08T02:30:00Z", "2026-03-08T10:30:00Z"),
        ("2026-11-01T01:30:00Z", "2026-11-01T08:30:00Z"),
    ];
    for (local, instant) in cases {
        assert_eq!(zone.unix_s_of_local(at(local)), at(instant), "{local}");
    }
    let east = Zone::Named("x".into(), tzif(&[], &[3_600], "CET-1CEST,M3.5.0,M10.5.0/3"));
    for (local, instant) in [
        ("2026-03-29T02:30:00Z", "2026-03-29T01:30:00Z"),
        ("2026-10-25T02:30:00Z", "2026-10-25T00:30:00Z"),
        ("2026-10-25T03:00:00Z", "2026-10-25T02:00:00Z"),
    ] {
        assert_eq!(east.unix_s_of_local(at(local)), at(instant), "{local}");
    }
    assert_eq!(zone.minute_of_day(at("2026-07-31T06:59:59Z")), 23 * 60 + 59);
    assert_eq!(Zone::Fixed(28_800).minute_of_day(at("2026-07-31T16:00:00Z")), 0);
    let _ = (zone.unix_s_of_local(i64::MIN), zone.minute_of_day(i64::MAX));
}

#[test]
fn damaged_files_never_panic_and_say_utc_at_worst() {
    let whole = tzif(&[(0, 1), (1_000, 0)], &[60, 120], "PST8PDT,M3.2.0,M11.1.0");
    assert!(is_sound(&whole));
    for cut in 0..whole.len() {
        let _ = Zone::Named("x".into(), whole[..cut].to_vec()).offset_s(500);
    }
    for place in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, b'9', b',', b'<'] {
            let mut damaged = whole.clone();
            damaged[place] = value;
            let _ = is_sound(&damaged);
            let zone = Zone::Named("x".into(), damaged);
            for unix_s in [i64::MIN, -1, 500, 2_000_000_000, i64::MAX] {
                let _ = (zone.offset_s(unix_s), zone.unix_s_of_local(unix_s));
            }
        }
    }
}

#[test]
fn the_machines_own_zoneinfo_agrees_where_there_is_one() {
    let environment = Environment {
        zoneinfo: vec![PathBuf::from("/usr/share/zoneinfo")],
        ..Environment::default()
    };
    let Some(zone) = Zone::parse("America/Los_Angeles", &environment) else { return };
    for (instant, hours) in [
        ("1975-07-01T00:00:00Z", -7),
        ("2026-01-01T00:00:00Z", -8),
        ("2026-07-01T00:00:00Z", -7),
        ("2090-07-01T00:00:00Z", -7),
    ] {
        assert_eq!(zone.offset_s(at(instant)), hours * 3_600, "{instant}");
    }
}

#[test]
fn quiet_hours_wrap_over_midnight_and_tell_when_they_end() {
    let quiet = |from_min, to_min| QuietHours { from_min, to_min, zone: Zone::Fixed(28_800) };
    let (night, noon) = (quiet(23 * 60, 7 * 60), quiet(12 * 60, 13 * 60 + 30));
    let cases = [
        (&night, "2026-01-31T14:59:59Z", None),
        (&night, "2026-01-31T15:00:00Z", Some("2026-01-31T23:00:00Z")),
        (&night, "2026-01-31T22:59:59Z", Some("2026-01-31T23:00:00Z")),
        (&night, "2026-01-31T23:00:00Z", None),
        (&noon, "2026-01-31T03:59:00Z", None),
        (&noon, "2026-01-31T04:00:30Z", Some("2026-01-31T05:30:00Z")),
        (&noon, "2026-01-31T05:30:00Z", None),
    ];
    for (hours, instant, ends) in cases {
        let wanted = ends.map(|text| at(text) * 1_000);
        assert_eq!(hours.end_ms(at(instant) * 1_000), wanted, "{instant}");
    }
}
