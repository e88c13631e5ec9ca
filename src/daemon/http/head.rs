//! Owns: one request head: its bounds, what of it matters, why it is refused.
//! May not: read sockets; know what is served.

/// The longest head, request line included; more is 431.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1_024;
/// The most header lines; more is 431.
const HEADERS_MAX: usize = 64;

/// A request, as far as this server reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// As sent; methods are case-sensitive.
    pub(super) method: String,
    /// Without query; never decoded, so an encoded path is simply unknown.
    pub(super) path: String,
    /// What follows the question mark; only profiles are asked for with more than a path.
    #[cfg(feature = "profiling")]
    pub(super) query: String,
    /// The host asked for, lower-case, with its port; absent in HTTP/1.0.
    pub(super) host: Option<String>,
    /// `Authorization`
    pub(super) authorization: Option<String>,
    /// `X-Telegram-Bot-Api-Secret-Token`
    pub(super) secret_token: Option<String>,
    /// What follows the head.
    pub(super) body: Body,
    /// The sender waits for `100 Continue` before its body.
    pub(super) expects_continue: bool,
    /// Whether the connection may stay open afterwards.
    pub(super) keep_alive: bool,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks, of a length nobody knows yet.
    Chunked,
}

/// What the bytes received so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// A head, which took this many bytes.
    Whole(Head, usize),
    /// More is needed.
    Partial,
    /// Cannot be a head: answer with this status and close.
    Bad(u16),
}

/// Reads a head from the front of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Progress {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let within = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let used = match request.parse(within) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Progress::Partial,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Progress::Bad(431);
        }
        Err(_) => return Progress::Bad(400),
    };
    match read(&request) {
        Some(head) => Progress::Whole(head, used),
        None => Progress::Bad(400),
    }
}

fn read(request: &httparse::Request<'_, '_>) -> Option<Head> {
    let is_new = request.version? == 1;
    let mut head =
        Head { method: request.method?.to_owned(), keep_alive: is_new, ..Head::default() };
    let mut has_length = false;
    for header in request.headers.iter() {
        let value = std::str::from_utf8(header.value).ok()?.trim();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            // Two hosts are how one server is made to believe in another's name.
            if head.host.replace(value.to_ascii_lowercase()).is_some() {
                return None;
            }
        } else if is("authorization") {
            if head.authorization.replace(value.to_owned()).is_some() {
                return None;
            }
        } else if is("x-telegram-bot-api-secret-token") {
            if head.secret_token.replace(value.to_owned()).is_some() {
                return None;
            }
        } else if is("content-length") {
            // Two lengths, or a length and chunks, are how one request hides another.
            let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number || std::mem::replace(&mut has_length, true) || head.body != Body::None {
                return None;
            }
            head.body = match value.parse() {
                Ok(0) => Body::None,
                length => Body::Length(length.unwrap_or(u64::MAX)),
            };
        } else if is("transfer-encoding") {
            if has_length || head.body != Body::None {
                return None;
            }
            has_length = true;
            head.body = Body::Chunked;
        } else if is("expect") {
            head.expects_continue = value.eq_ignore_ascii_case("100-continue");
        } else if is("connection") {
            let has = |word: &str| value.split(',').any(|at| at.trim().eq_ignore_ascii_case(word));
            head.keep_alive = !has("close") && (is_new || has("keep-alive"));
        }
    }
    if is_new && head.host.is_none() {
        return None;
    }
    let target = request.path?;
    let target = match target.strip_prefix("http://") {
        // The absolute form names the host itself and beats the header (RFC 9112, 3.2.2).
        Some(rest) => {
            let (host, _) = rest.split_once('/').unwrap_or((rest, ""));
            head.host = Some(host.to_ascii_lowercase());
            rest.strip_prefix(host).filter(|path| !path.is_empty()).unwrap_or("/")
        }
        None => target,
    };
    let (path, _query) = target.split_once('?').unwrap_or((target, ""));
    head.path = path.to_owned();
    #[cfg(feature = "profiling")]
    {
        head.query = _query.to_owned();
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, want: &str) {
        let got = match parse(bytes.as_bytes()) {
            Progress::Whole(head, used) => format!(
                "{} {} host={} auth={} body={:?} keep={} rest={}",
                head.method,
                head.path,
                head.host.as_deref().unwrap_or("-"),
                head.authorization.as_deref().unwrap_or("-"),
                head.body,
                head.keep_alive,
                bytes.len() - used
            ),
            Progress::Partial => "partial".to_owned(),
            Progress::Bad(status) => status.to_string(),
        };
        assert_eq!(got, want, "{bytes:?}");
    }

    #[test]
    fn heads_are_read_as_written() {
        for (bytes, want) in [
            (
                "GET / HTTP/1.1\r\nHost: LocalHost:9\r\n\r\n",
                "GET / host=localhost:9 auth=- body=None keep=true rest=0",
            ),
            (
                "GET /metrics?x=1 HTTP/1.0\r\n\r\nGET",
                "GET /metrics host=- auth=- body=None keep=false rest=3",
            ),
            (
                "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
                "GET / host=- auth=- body=None keep=true rest=0",
            ),
            (
                "HEAD / HTTP/1.1\nHost: a\nConnection: x, close\n\n",
                "HEAD / host=a auth=- body=None keep=false rest=0",
            ),
            (
                "GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /x host=b auth=- body=None keep=true rest=0",
            ),
            (
                "GET http://b HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET / host=b auth=- body=None keep=true rest=0",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                "POST / host=a auth=- body=Length(3) keep=true rest=3",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "POST / host=a auth=- body=Length(18446744073709551615) keep=true rest=0",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                "POST / host=a auth=- body=Chunked keep=true rest=0",
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n",
                "GET / host=a auth=Bearer x body=None keep=true rest=0",
            ),
            (
                "GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /../etc host=a auth=- body=None keep=true rest=0",
            ),
        ] {
            check(bytes, want);
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let long_line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        for (bytes, want) in [
            ("", "partial"),
            ("GET / HT", "partial"),
            ("GET / HTTP/1.1\r\nHost: a\r\n", "partial"),
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "400"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "400",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
                "400",
            ),
            ("GET / HTTP/2.0\r\n\r\n", "400"),
            ("\x16\x03\x01\x02", "400"),
            (&long_line, "431"),
            (&many, "431"),
        ] {
            check(bytes, want);
        }
    }
}
