//! Owns: `/debug/pprof/*` of builds with the feature `profiling`: processor and heap, as pprof reads them.
//! May not: be in a release; profile twice at once.

use super::guard::Guard;
use super::head::Head;
use super::reply::Reply;
use pprof::protos::{self, Message as _};
use std::time::Duration;

/// As in Go's profiles.
const SECONDS_USUAL: u64 = 30;
const SECONDS_MAX: u64 = 300;
/// Off the round numbers, so that no timer of the program beats with it.
const SAMPLES_PER_SECOND: i32 = 99;

/// The reply to a request for a profile; `None` where it is none, or may not be answered.
pub(super) async fn reply(head: &Head, guard: &Guard) -> Option<Reply> {
    let what = head.path.strip_prefix("/debug/pprof/")?;
    let (host, authorization) = (head.host.as_deref(), head.authorization.as_deref());
    if head.method != "GET" || guard.admit(&head.path, host, authorization).is_err() {
        return None;
    }
    let profile = match what {
        "profile" => processor(seconds(&head.query)).await,
        "heap" => heap(),
        _ => return None,
    };
    Some(match profile {
        Ok(bytes) => Reply::bytes_of(bytes),
        Err(why) => Reply::text(503, format!("{why}\n")),
    })
}

/// `seconds=N` of a query, within bounds.
fn seconds(query: &str) -> u64 {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("seconds="));
    asked.and_then(|text| text.parse().ok()).unwrap_or(SECONDS_USUAL).clamp(1, SECONDS_MAX)
}

async fn processor(seconds: u64) -> Result<Vec<u8>, String> {
    let told = |error: pprof::Error| format!("no profile: {error}: another may be under way");
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(SAMPLES_PER_SECOND)
        // Unwinding inside these may find their locks taken.
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()
        .map_err(told)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let profile = guard.report().build().and_then(|report| report.pprof()).map_err(told)?;
    named(profile).write_to_bytes().map_err(|error| format!("no profile: {error}"))
}

/// Says that every place has its name already: told nothing, the tool looks names up by addresses
/// that such a profile does not have, and finds one name for all.
fn named(mut profile: protos::Profile) -> protos::Profile {
    let (id, yes) = (1, true);
    profile.mapping = vec![protos::Mapping {
        id,
        has_functions: yes,
        has_filenames: yes,
        has_line_numbers: yes,
        has_inline_frames: yes,
        ..protos::Mapping::default()
    }];
    for location in &mut profile.location {
        location.mapping_id = id;
    }
    profile
}

fn heap() -> Result<Vec<u8>, String> {
    let control =
        jemalloc_pprof::PROF_CTL.as_ref().ok_or("no profile: jemalloc does not sample")?;
    let mut control = control.try_lock().map_err(|_| "no profile: another is under way")?;
    control.dump_pprof().map_err(|error| format!("no profile: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_of_a_profile_is_bounded() {
        for (query, want) in [
            ("", 30),
            ("seconds=5", 5),
            ("debug=1&seconds=7", 7),
            ("seconds=0", 1),
            ("seconds=9999", 300),
            ("seconds=x", 30),
        ] {
            assert_eq!(seconds(query), want, "{query}");
        }
    }
}
