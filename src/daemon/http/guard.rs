//! Owns: who may be answered at all: the token, or on loopback the host that was asked for.
//! May not: answer; print or keep the token's text.

use crate::secret_hash;
use crate::types::Secret;
use base64::Engine as _;
use std::net::{IpAddr, SocketAddr};

/// A longer credential is wrong without being looked at.
const CREDENTIAL_BYTES_MAX: usize = 1_024;

/// What a request has to show.
#[derive(Clone, Debug)]
pub(super) enum Guard {
    /// This token, as bearer or as the password of HTTP Basic.
    Token(Secret),
    /// A loopback host: no web page elsewhere can make a browser read this server (DNS rebinding).
    LoopbackHost,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 401: no token or a wrong one.
    Unauthorized,
    /// 403: asked for under a foreign name.
    ForeignHost,
}

impl Guard {
    /// The guard for a listener; `None` where it may not be opened at all (contract §5.7).
    pub(super) fn for_listener(addr: SocketAddr, token: Option<&Secret>) -> Option<Self> {
        match token.filter(|token| !token.is_empty()) {
            Some(token) => Some(Self::Token(token.clone())),
            None if addr.ip().to_canonical().is_loopback() => Some(Self::LoopbackHost),
            None => None,
        }
    }

    /// Lets a request through, or says why not. `/healthz` needs no token.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn admit(
        &self,
        path: &str,
        host: Option<&str>,
        authorization: Option<&str>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Token(_) if path == "/healthz" => Ok(()),
            Self::Token(token) if is_token(authorization, token) => Ok(()),
            Self::Token(_) => Err(Refusal::Unauthorized),
            // Only HTTP/1.0 may leave the host out, and no browser speaks that.
            Self::LoopbackHost if host.is_none_or(is_loopback_host) => Ok(()),
            Self::LoopbackHost => Err(Refusal::ForeignHost),
        }
    }
}

fn is_token(authorization: Option<&str>, token: &Secret) -> bool {
    let given = authorization.and_then(credential).unwrap_or_default();
    secret_hash::equal(&given, token.expose())
}

/// The token in `Bearer TOKEN`, or the password in `Basic base64(user:password)`.
fn credential(authorization: &str) -> Option<String> {
    if authorization.len() > CREDENTIAL_BYTES_MAX {
        return None;
    }
    let (scheme, rest) = authorization.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
        return String::from_utf8(pair).ok()?.split_once(':').map(|(_, word)| word.to_owned());
    }
    None
}

/// `localhost`, 127.0.0.0/8 or `[::1]`, each with or without a port.
fn is_loopback_host(host: &str) -> bool {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_fits && is_loopback_address(address);
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || is_loopback_address(name)
}

fn is_loopback_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(pair: &str) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    #[test]
    fn only_the_token_opens() {
        let guard = Guard::Token(Secret::new("s3:cret"));
        let long = format!("Bearer {}", "s".repeat(CREDENTIAL_BYTES_MAX));
        for (path, authorization, want) in [
            ("/", None, false),
            ("/healthz", None, true),
            ("/healthz/", None, false),
            ("/metrics", Some("Bearer s3:cret"), true),
            ("/metrics", Some("bEARER   s3:cret "), true),
            ("/metrics", Some("Bearer s3:cre"), false),
            ("/metrics", Some("Bearer s3:crets"), false),
            ("/metrics", Some("Bearer "), false),
            ("/metrics", Some("Bearer"), false),
            ("/metrics", Some("s3:cret"), false),
            ("/metrics", Some(&basic("any:s3:cret")), true),
            ("/metrics", Some(&basic(":s3:cret")), true),
            ("/metrics", Some(&basic("s3:cret")), false),
            ("/metrics", Some("Basic !!!"), false),
            ("/metrics", Some(&long), false),
            ("/nowhere", None, false),
        ] {
            let got = guard.admit(path, Some("any.example"), authorization);
            assert_eq!(got.is_ok(), want, "{path} {authorization:?}");
        }
    }

    #[test]
    fn without_a_token_only_loopback_names_are_served() {
        for (host, want) in [
            (None, true),
            (Some("localhost"), true),
            (Some("localhost.:9464"), true),
            (Some("127.0.0.1:9464"), true),
            (Some("127.9.9.9"), true),
            (Some("[::1]"), true),
            (Some("[::1]:9464"), true),
            (Some("[::ffff:127.0.0.1]"), true),
            (Some(""), false),
            (Some("localhost.example"), false),
            (Some("127.0.0.1.example"), false),
            (Some("example:9464"), false),
            (Some("192.168.1.2"), false),
            (Some("[::1"), false),
            (Some("[::1]x"), false),
            (Some("localhost:"), false),
            (Some("localhost:9@evil"), false),
            (Some("::1"), false),
        ] {
            let got = Guard::LoopbackHost.admit("/metrics", host, None);
            assert_eq!(got.is_ok(), want, "{host:?}");
        }
    }

    #[test]
    fn a_public_listener_without_a_token_is_never_opened() {
        let token = Secret::new("t");
        for (addr, token, want) in [
            ("127.0.0.1:1", None, true),
            ("[::1]:1", None, true),
            ("0.0.0.0:1", None, false),
            ("[::]:1", None, false),
            ("192.168.0.1:1", None, false),
            ("0.0.0.0:1", Some(&token), true),
            ("0.0.0.0:1", Some(&Secret::new("")), false),
        ] {
            let guard = Guard::for_listener(addr.parse().unwrap(), token);
            assert_eq!(guard.is_some(), want, "{addr}");
        }
    }
}
