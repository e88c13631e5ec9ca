//! Owns: where Redis is: `REDIS_URL`, or the four settings of the earlier versions.
//! May not: connect; let any of it into a problem.

use super::names::REDIS_PARTS;
use super::parse::Reader;
use super::value;
use crate::types::Secret;
use std::fmt::Write as _;

/// What `REDIS_URL` takes.
const URL_TAKES: &str = "redis://[[user]:password@]host[:port][/number], rediss://… for TLS, \
                         redis+sentinel://[[user]:password@]host[:port],…/name[/number], \
                         or redis+cluster://[[user]:password@]host[:port],…";
/// Where Redis listens unless told otherwise.
const PORT: u16 = 6_379;

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Secret> {
    let text = |reader: &Reader<'_>, name: &str| {
        reader.found(name).map(|found| value::unquoted(&found.value).to_owned())
    };
    let Some(url) = text(reader, "REDIS_URL") else { return from_parts(reader, &text) };
    let parts: Vec<_> = REDIS_PARTS.into_iter().filter(|name| reader.is_given(name)).collect();
    if !parts.is_empty() {
        reader.warnings.push(format!("{}: not used: REDIS_URL is set", parts.join(", ")));
    }
    if !is_readable(&url) {
        reader.problem("REDIS_URL", format!("cannot be read: takes {URL_TAKES}"));
        return None;
    }
    Some(Secret::new(url))
}

fn is_readable(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let place = rest.rsplit('@').next().unwrap_or_default();
    let is_named = !place.is_empty() && !place.starts_with('/');
    match scheme {
        "redis" | "rediss" | "redis+cluster" | "rediss+cluster" => is_named,
        // Which of the masters that they watch is not to be guessed.
        "redis+sentinel" | "rediss+sentinel" => {
            is_named && place.split('/').nth(1).is_some_and(|name| !name.is_empty())
        }
        _ => false,
    }
}

fn from_parts(
    reader: &mut Reader<'_>,
    text: &dyn Fn(&Reader<'_>, &str) -> Option<String>,
) -> Option<Secret> {
    let host = text(reader, "REDIS_HOST");
    let port = reader.read("REDIS_PORT", "a port", |text| text.parse::<u16>().ok());
    let number = reader.read("REDIS_DB", "a number from 0", |text| text.parse::<u16>().ok());
    let password = text(reader, "REDIS_PASSWORD").filter(|password| !password.is_empty());
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        let parts: Vec<_> = REDIS_PARTS.into_iter().filter(|name| reader.is_given(name)).collect();
        if !parts.is_empty() {
            reader.warnings.push(format!("{}: not used: REDIS_HOST is not set", parts.join(", ")));
        }
        return None;
    };
    if host.contains(['/', '@', '?', '#']) {
        reader.problem("REDIS_HOST", "takes a name or an address");
        return None;
    }
    // An IPv6 address needs its brackets in a URL.
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let mut url = "redis://".to_owned();
    if let Some(password) = password {
        url.push(':');
        for byte in password.bytes() {
            let _ = write!(url, "%{byte:02X}");
        }
        url.push('@');
    }
    let _ = write!(url, "{host}:{}/{}", port.unwrap_or(PORT), number.unwrap_or(0));
    Some(Secret::new(url))
}
