//! Owns: `svs-bot export`: the history on stdout, in constant memory.
//! May not: hold more than one row's text.

use super::{EXIT_OK, Failure, Outcome};
use crate::calendar::{DAY_S, SECOND_US, parse_date, parse_written};
use crate::cli;
use crate::store::transfer::{self, Filter};
use crate::store::{Store, StoreError};
use crate::sync::Tell;
use crate::types::row::HistoryRow;
use crate::wire::table;
use std::io::Write;
use std::path::Path;

/// Rows shown per reading transaction, so that no long one keeps the log of the database growing.
const PAGE_ROWS: u32 = 200;

/// What ends an export before its end.
enum Broken {
    Store(StoreError),
    Output(std::io::Error),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Runs it.
///
/// # Errors
/// Wrong use, no database, a stream that is closed.
pub fn run(args: &cli::Export, data_dir: &Path, out: &mut dyn Write, tell: Tell<'_>) -> Outcome {
    let write: fn(&mut String, &HistoryRow<'_>) = match args.format.as_str() {
        "jsonl" => |out, row| {
            table::write_json(out, row);
            out.push('\n');
        },
        "csv" => table::write_csv,
        "markdown" => table::write_markdown,
        other => {
            return Err(Failure::usage(format!(
                "--format: {other}: it takes jsonl, csv or markdown"
            )));
        }
    };
    let since_us = match args.since.as_deref() {
        None => None,
        Some(text) => Some(since(text).ok_or_else(|| {
            Failure::usage(format!("--since: {text}: it takes a day like 2026-01-31"))
        })?),
    };
    let filter = Filter { user: args.user, chat: args.chat, since_us };
    let store = Store::open_existing(data_dir).map_err(Failure::failed)?;
    let head = match args.format.as_str() {
        "csv" => table::EXPORT_COLUMNS.join(",") + "\r\n",
        _ => String::new(),
    };
    let mut after = (i64::MIN, 0);
    let mut line = head;
    let mut rows = 0_u64;
    // Bounded: `after` grows with every page.
    loop {
        let page = store.read(|db| {
            transfer::scan(db, &filter, after, PAGE_ROWS, &mut |row| {
                write(&mut line, row);
                out.write_all(line.as_bytes()).map_err(Broken::Output)?;
                line.clear();
                rows += 1;
                Ok(())
            })
        });
        tell(format_args!("export: {rows} rows"));
        match page {
            Ok(Some(place)) => after = place,
            Ok(None) => break,
            Err(Broken::Store(error)) => return Err(Failure::failed(error)),
            Err(Broken::Output(error)) => return closed(&error),
        }
    }
    // The head of a table without rows.
    match out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(EXIT_OK),
        Err(error) => closed(&error),
    }
}

/// `export | head` is no failure.
fn closed(error: &std::io::Error) -> Outcome {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(EXIT_OK),
        _ => Err(Failure::failed(format!("output: {error}"))),
    }
}

fn since(text: &str) -> Option<i64> {
    if let Some(day) = parse_date(text) {
        return Some(day.saturating_mul(DAY_S).saturating_mul(SECOND_US));
    }
    parse_written(text).map(|written| written.unix_us(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;
    use std::path::PathBuf;

    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("svs-export-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn fill(&self, rows: &[(i64, i64, Option<&str>, i64)]) {
            let mut store = Store::open(&self.0).unwrap();
            store
                .write(Durability::Process, |db| {
                    for (chat, user, text, created_us) in rows {
                        db.execute(
                            "INSERT INTO history (chat_id, user_id, username, message_text, response_text, model_used,
                               metadata, created_us, sync, remote_id)
                             VALUES (?1, ?2, 'ann', ?3, 'yo', 'm', '{\"n\":1}', ?4, 2 * (?1 < 0), 9 * (?1 < 0) * ?2)",
                            rusqlite::params![chat, user, text, created_us],
                        )?;
                    }
                    Ok(())
                })
                .unwrap();
        }

        fn run(&self, args: &cli::Export) -> (Outcome, String) {
            let mut out = Vec::new();
            let outcome = run(args, &self.0, &mut out, &mut |_| {});
            (outcome, String::from_utf8(out).unwrap())
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn args(format: &str) -> cli::Export {
        cli::Export {
            env_file: None,
            data_dir: None,
            format: format.to_owned(),
            user: None,
            chat: None,
            since: None,
        }
    }

    #[test]
    fn each_form_keeps_every_text() {
        let scene = Scene::new("forms");
        let hostile = "a,\"b\"\r\n=1+1\n# no heading\u{2028}";
        scene.fill(&[(-5, 1, Some(hostile), 1), (5, 2, None, 2)]);
        let cases = [
            (
                "jsonl",
                "{\"chat_id\":-5,\"user_id\":1,\"username\":\"ann\",\"message_text\":\"a,\\\"b\\\"\\r\\n=1+1\\n# no heading\\u2028\",\"response_text\":\"yo\",\"model_used\":\"m\",\"metadata\":{\"n\":1},\"created_at\":\"1970-01-01T00:00:00.000001Z\",\"remote_id\":9}\n{\"chat_id\":5,\"user_id\":2,\"username\":\"ann\",\"message_text\":null,\"response_text\":\"yo\",\"model_used\":\"m\",\"metadata\":{\"n\":1},\"created_at\":\"1970-01-01T00:00:00.000002Z\",\"remote_id\":null}\n",
            ),
            (
                "csv",
                "chat_id,user_id,username,message_text,response_text,model_used,metadata,created_at,remote_id\r\n-5,1,ann,\"a,\"\"b\"\"\r\n=1+1\n# no heading\u{2028}\",yo,m,\"{\"\"n\"\":1}\",1970-01-01T00:00:00.000001Z,9\r\n5,2,ann,,yo,m,\"{\"\"n\"\":1}\",1970-01-01T00:00:00.000002Z,\r\n",
            ),
            (
                "markdown",
                "## 1970-01-01T00:00:00.000001Z · ann (1) in -5\n\n> a,\"b\"\n> =1+1\n> # no heading\u{2028}\n\n**m**\n\n> yo\n\n## 1970-01-01T00:00:00.000002Z · ann (2) in 5\n\n\n**m**\n\n> yo\n\n",
            ),
        ];
        for (format, wanted) in cases {
            let (outcome, found) = scene.run(&args(format));
            assert_eq!((outcome, found.as_str()), (Ok(EXIT_OK), wanted), "{format}");
        }
    }

    #[test]
    fn filters_choose_and_pages_follow_one_another_without_a_gap() {
        let scene = Scene::new("filters");
        // More than a page made in the same microsecond, and some on the days around.
        let day_us = DAY_S * SECOND_US;
        let mut rows = vec![(1, 1, None, day_us); PAGE_ROWS as usize * 2 + 1];
        rows.extend([(1, 2, None, 0), (2, 1, None, day_us - 1), (2, 2, None, 2 * day_us)]);
        scene.fill(&rows);
        let count = |change: &dyn Fn(&mut cli::Export)| {
            let mut args = args("jsonl");
            change(&mut args);
            scene.run(&args).1.lines().count()
        };
        assert_eq!(count(&|_| {}), rows.len());
        assert_eq!(count(&|args| args.user = Some(2)), 2);
        assert_eq!(count(&|args| args.chat = Some(2)), 2);
        assert_eq!(count(&|args| (args.chat, args.user) = (Some(2), Some(2))), 1);
        assert_eq!(count(&|args| args.since = Some("1970-01-02".to_owned())), rows.len() - 2);
        assert_eq!(count(&|args| args.since = Some("1970-01-03T00:00:00Z".to_owned())), 1);
        assert_eq!(count(&|args| args.since = Some("2027-01-01".to_owned())), 0);
    }

    #[test]
    fn wrong_use_and_a_closed_stream_end_as_the_contract_says() {
        let scene = Scene::new("use");
        let missing = scene.run(&args("jsonl")).0.unwrap_err();
        assert_eq!(missing.code, 1);
        scene.fill(&[(1, 1, None, 1)]);
        let since = cli::Export { since: Some("soon".to_owned()), ..args("jsonl") };
        for (args, words) in [(args("xml"), "--format: xml"), (since, "--since: soon")] {
            let failure = scene.run(&args).0.unwrap_err();
            assert!(failure.code == 2 && failure.text.contains(words), "{failure:?}");
        }
        /// `export | head` after it has seen enough.
        struct Closed(std::io::ErrorKind);
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for (kind, code) in [
            (std::io::ErrorKind::BrokenPipe, Ok(EXIT_OK)),
            (std::io::ErrorKind::StorageFull, Err(1)),
        ] {
            let outcome = run(&args("csv"), &scene.0, &mut Closed(kind), &mut |_| {});
            assert_eq!(outcome.map_err(|failure| failure.code), code, "{kind}");
        }
    }
}
