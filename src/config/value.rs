//! Owns: how one value is written: durations, sizes, limits, lists, URLs, addresses.
//! May not: know which setting it belongs to.

use super::Limit;
use crate::types::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What [`duration_ms`] takes, for messages.
pub const DURATION_TAKES: &str = "a duration like 90, 90s, 10m, 2h or 7d";
/// The longest duration: a century, far below any overflow.
const DURATION_MS_MAX: i64 = 36_500 * DAY_MS;

/// `90`, `90s`, `10m`, `2h`, `7d` in milliseconds; at most a hundred years.
pub fn duration_ms(text: &str) -> Option<i64> {
    let (number, unit) = number_and_unit(text)?;
    let unit_ms = match unit {
        "" | "s" | "S" => SECOND_MS,
        "m" | "M" => MINUTE_MS,
        "h" | "H" => HOUR_MS,
        "d" | "D" => DAY_MS,
        _ => return None,
    };
    i64::try_from(number).ok()?.checked_mul(unit_ms).filter(|ms| *ms <= DURATION_MS_MAX)
}

/// `512`, `64K`, `20M`, `2G` (of 1024) in bytes.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let unit_bytes = match unit {
        "" | "B" | "b" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}

/// `auto`, `0` for no limit, or a number.
pub(super) fn limit(text: &str) -> Option<Limit> {
    if text.eq_ignore_ascii_case("auto") {
        return Some(Limit::Auto);
    }
    match whole(text)? {
        0 => Some(Limit::Unlimited),
        number => u32::try_from(number).ok().map(Limit::Fixed),
    }
}

/// A whole number in plain digits.
pub(super) fn whole(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// `on`, `off` and what people write instead.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// The parts between commas (also Chinese ones) and line ends, trimmed, without empty ones.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '，', '\n']).map(str::trim).filter(|item| !item.is_empty())
}

/// A text without the quotes around it, which some tools leave there (`docker --env-file`).
pub fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(text).trim()
}

/// Whether a text can stand in a header: visible ASCII only.
pub(super) fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// An address to listen on: `127.0.0.1:9464`, `[::1]:9464`, `localhost:9464`, `:9464` (loopback).
pub(super) fn listen_addr(text: &str) -> Option<SocketAddr> {
    if let Ok(addr) = text.parse() {
        return Some(addr);
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_here = host.is_empty() || host.eq_ignore_ascii_case("localhost");
    let port = whole(port).and_then(|port| u16::try_from(port).ok())?;
    is_here.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A checked base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BaseUrl {
    /// Scheme and host in lower case, no trailing slash.
    pub(super) text: String,
    /// `http`, not `https`.
    pub(super) is_plain: bool,
    /// Without brackets.
    pub(super) host: String,
    /// Where the URL names one.
    pub(super) port: Option<u16>,
}

impl BaseUrl {
    /// Whether what is sent there stays on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let name = self.host.as_str();
        let by_number = |addr: IpAddr| addr.is_loopback();
        name == "localhost" || name.parse().is_ok_and(by_number)
    }
}

/// `http(s)://host[:port][/path]`; no user, no query, no fragment, nothing that needs encoding.
pub(super) fn base_url(text: &str) -> Option<BaseUrl> {
    let (scheme, rest) = text.split_once("://")?;
    let is_plain = scheme.eq_ignore_ascii_case("http");
    if !is_plain && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    let is_path_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%+:,;=!$&'()*@".contains(&byte);
    if !path.bytes().all(is_path_byte) {
        return None;
    }
    let (host, port) = authority_parts(authority)?;
    let shown_host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let mut whole = format!("{}://{shown_host}", if is_plain { "http" } else { "https" });
    if let Some(port) = port {
        whole.push_str(&format!(":{port}"));
    }
    let path = path.trim_end_matches('/');
    if !path.is_empty() {
        whole.push('/');
        whole.push_str(path);
    }
    Some(BaseUrl { text: whole, is_plain, host, port })
}

fn authority_parts(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            let is_host = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_host_byte);
            is_host.then_some((host, port))?
        }
    };
    let port = match port {
        None => None,
        Some(port) => Some(u16::try_from(whole(port)?).ok().filter(|port| *port != 0)?),
    };
    Some((host.to_ascii_lowercase(), port))
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((whole(number)?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_take_what_the_contract_says() {
        let durations = [
            ("0", Some(0)),
            ("90", Some(90_000)),
            ("90s", Some(90_000)),
            ("10m", Some(600_000)),
            ("2h", Some(7_200_000)),
            ("7d", Some(604_800_000)),
            ("7 d", Some(604_800_000)),
            ("", None),
            ("s", None),
            ("-1", None),
            ("1.5h", None),
            ("1h30m", None),
            ("1w", None),
            ("99999999999999999999", None),
            ("18446744073709551615d", None),
            ("１", None),
        ];
        for (text, wanted) in durations {
            assert_eq!(duration_ms(text), wanted, "{text}");
        }
        let sizes = [
            ("0", Some(0)),
            ("512", Some(512)),
            ("64K", Some(65_536)),
            ("20M", Some(20_971_520)),
            ("1g", Some(1_073_741_824)),
            ("20MB", None),
            ("-1", None),
            ("99999999999999999G", None),
        ];
        for (text, wanted) in sizes {
            assert_eq!(size_bytes(text), wanted, "{text}");
        }
    }

    #[test]
    fn limits_are_auto_none_or_a_number() {
        let cases = [
            ("auto", Some(Limit::Auto)),
            ("AUTO", Some(Limit::Auto)),
            ("0", Some(Limit::Unlimited)),
            ("250", Some(Limit::Fixed(250))),
            ("-1", None),
            ("none", None),
            ("4294967296", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(limit(text), wanted, "{text}");
        }
    }

    #[test]
    fn base_urls_are_normalised_or_refused() {
        let good = [
            ("https://api.telegram.org", "https://api.telegram.org", false),
            ("HTTPS://API.Telegram.org/", "https://api.telegram.org", false),
            ("http://127.0.0.1:8081/a/b//", "http://127.0.0.1:8081/a/b", true),
            ("http://localhost", "http://localhost", true),
            ("http://[::1]:80/x", "http://[::1]:80/x", true),
            ("http://127.0.0.1.evil.com", "http://127.0.0.1.evil.com", false),
            ("http://0.0.0.0:80", "http://0.0.0.0:80", false),
            ("http://127.9.9.9", "http://127.9.9.9", true),
        ];
        for (text, wanted, loopback) in good {
            let url = base_url(text).unwrap();
            assert_eq!((url.text.as_str(), url.is_loopback()), (wanted, loopback));
        }
        let bad = [
            "",
            "api.telegram.org",
            "ftp://a",
            "https://",
            "https:///x",
            "https://u:p@a",
            "https://a b",
            "https://a/?q",
            "https://a/#f",
            "https://a:0",
            "https://a:65536",
            "https://a:",
            "http://[::1",
            "https://a?x",
            "https://[zz]",
            "https://ä.example",
        ];
        for text in bad {
            assert_eq!(base_url(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_to_listen_on() {
        let cases = [
            ("127.0.0.1:9464", Some("127.0.0.1:9464")),
            ("localhost:1", Some("127.0.0.1:1")),
            (":9464", Some("127.0.0.1:9464")),
            ("[::1]:9464", Some("[::1]:9464")),
            ("0.0.0.0:0", Some("0.0.0.0:0")),
            ("9464", None),
            ("example.com:80", None),
            ("127.0.0.1", None),
            ("127.0.0.1:65536", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(listen_addr(text).map(|addr| addr.to_string()).as_deref(), wanted, "{text}");
        }
    }
}
