//! Owns: what a build without redis says to the settings of one.
//! May not: use them.

use super::names::REDIS_PARTS;
use super::parse::Reader;
use crate::types::Secret;

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Secret> {
    if let Some(found) = reader.found("REDIS_URL") {
        reader.problem(
            &found.name,
            "this build has no redis: remove it (sessions are kept in SQLite), or take a build \
             with the redis feature",
        );
    }
    let parts: Vec<_> = REDIS_PARTS.into_iter().filter(|name| reader.is_given(name)).collect();
    if !parts.is_empty() {
        reader.warnings.push(format!(
            "{}: not used: this build has no redis, sessions are kept in SQLite",
            parts.join(", ")
        ));
    }
    None
}
