//! Owns: plain `Request`/`Response` values; the JSON of each outside service lives in its own file.
//! May not: open sockets, decide policy, name the engine, hold a secret.

pub mod gemini;
pub mod pgdump;
pub mod postgrest;
pub mod table;
pub mod telegram;

/// HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Writes and Telegram's methods.
    Post,
    /// PostgREST updates.
    Patch,
    /// PostgREST deletes.
    Delete,
}

/// What to ask of a service; base URL and credentials join it in `net`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The verb.
    pub method: Method,
    /// What follows the base URL (for Telegram: the method's name), query included, already
    /// percent-encoded (api-reference 0).
    pub path: String,
    /// Extra headers, no credentials.
    pub headers: Vec<(&'static str, String)>,
    /// JSON text.
    pub body: Option<String>,
    /// Until the whole reply is in.
    pub timeout_ms: u64,
}

/// What came back, at most the bound that the caller set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds, where it was a number.
    pub retry_after_s: Option<u32>,
    /// `Date`, where it could be read: the other side's clock, to the second.
    pub date_ms: Option<i64>,
    /// The body; cut bodies never come here.
    pub body: Vec<u8>,
    /// `Content-Range`, for PostgREST.
    pub content_range: Option<String>,
}

/// Why there is no response at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetError {
    /// Whether the service may have received and carried out the request.
    pub maybe_done: bool,
    /// What went wrong.
    pub kind: NetErrorKind,
    /// Scrubbed text, lower-case: no URL, no token, no header.
    pub text: String,
}

/// The kinds an operator can do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetErrorKind {
    /// The name does not resolve.
    Dns,
    /// Nobody listens, or no route.
    Connect,
    /// Certificate refused or handshake failed.
    Tls,
    /// Nothing came in time.
    Timeout,
    /// Cut in the middle.
    Cut,
    /// Larger than the bound.
    TooLarge,
    /// Anything else.
    Other,
}
