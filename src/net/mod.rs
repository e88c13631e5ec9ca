//! Owns: the one HTTP door: agent, credentials, timeouts, size caps, and errors that name no secret.
//! May not: know what is sent or decide what follows.
//! Invariant: no URL, header or ureq error text leaves this file; redirects are never followed, so
//! no credential reaches another host (contract §5.7).

mod buffers;
mod socket;
mod transport;

use crate::config::{Config, Supabase};
use crate::types::Secret;
use crate::wire::{Method, NetError, NetErrorKind, Request, Response};
use buffers::HEADERS_BYTES_MAX;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, RootCertStore};
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use transport::Dial;
use ureq::http;
use ureq::unversioned::resolver::DefaultResolver;

/// Bytes handed to a streaming reader at a time; lives on the worker's stack.
const CHUNK_BYTES: usize = 2 * 1024;
/// Bytes of an error body that are worth reading.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// TCP and TLS set-up together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A pooled connection older than this is not trusted; Telegram closes after about 75 s.
const IDLE_AGE: Duration = Duration::from_secs(50);
/// Idle connections kept per host: as many as there are workers, within these bounds. Fewer than are used at
/// once means a handshake for most calls under load; each costs some 30 KiB for [`IDLE_AGE`].
const IDLE_PER_HOST_MIN: usize = 4;
const IDLE_PER_HOST_MAX: usize = 16;
/// Gemini and Supabase's firewall want a plain agent name (api-reference C1).
const USER_AGENT: &str = concat!("svs-bot/", env!("CARGO_PKG_VERSION"));

/// The door to all three services.
pub struct Net {
    agent: ureq::Agent,
    telegram_url: String,
    telegram_file_url: String,
    gemini_url: String,
    supabase: Option<Supabase>,
}

/// A file on its way here.
pub struct FileReply {
    /// HTTP status; the bytes are the file's only where it is 2xx.
    pub status: u16,
    /// Its size, where the server says it.
    pub length: Option<u64>,
    /// The bytes.
    pub reader: ureq::BodyReader<'static>,
}

/// What a streaming reader is given: status first, then the body in chunks.
pub type OnChunk<'a> = &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>;

impl Net {
    /// Builds the agent; reads `TLS_CA_FILE` when set.
    ///
    /// # Errors
    /// A roots file that cannot be read or holds no certificate, in operator's words.
    pub fn new(config: &Config) -> Result<Self, String> {
        let token = config.bot_token.expose();
        let connections = config.workers.clamp(IDLE_PER_HOST_MIN, IDLE_PER_HOST_MAX);
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .max_response_header_size(HEADERS_BYTES_MAX)
            .max_idle_age(IDLE_AGE)
            .max_idle_connections(connections * 2)
            .max_idle_connections_per_host(connections)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build();
        let dial = Dial::new(Arc::new(tls_config(config)?));
        let agent = ureq::Agent::with_parts(agent, dial, DefaultResolver::default());
        Ok(Self {
            agent,
            telegram_url: format!("{}/bot{token}/", config.telegram_url),
            telegram_file_url: format!("{}/file/bot{token}/", config.telegram_url),
            gemini_url: config.gemini_url.clone(),
            supabase: config.supabase.clone(),
        })
    }

    /// One call of a Bot API method; `request.path` is its name.
    ///
    /// # Errors
    /// No response, or one larger than `limit_bytes`.
    pub fn telegram(&self, request: &Request, limit_bytes: usize) -> Result<Response, NetError> {
        let url = format!("{}{}", self.telegram_url, request.path);
        collect(self.call(&url, request, &[])?, limit_bytes)
    }

    /// As [`Net::telegram`], handing the body of any status to `on_chunk` as it comes; stops early
    /// when told to. The response's own body stays empty.
    ///
    /// # Errors
    /// No response, or one that was cut.
    pub fn telegram_stream(
        &self,
        request: &Request,
        on_chunk: OnChunk<'_>,
    ) -> Result<Response, NetError> {
        let url = format!("{}{}", self.telegram_url, request.path);
        pour(self.call(&url, request, &[])?, on_chunk)
    }

    /// A file, by the `file_path` of getFile (api-reference A6), ready to be read.
    ///
    /// # Errors
    /// No response.
    pub fn telegram_file(&self, file_path: &str, timeout_ms: u64) -> Result<FileReply, NetError> {
        let url = format!("{}{}", self.telegram_file_url, file_path.trim_start_matches('/'));
        let request = Request {
            method: Method::Get,
            path: String::new(),
            headers: Vec::new(),
            body: None,
            timeout_ms,
        };
        let reply = self.call(&url, &request, &[])?;
        let status = reply.status().as_u16();
        let length = reply.body().content_length();
        Ok(FileReply { status, length, reader: reply.into_body().into_reader() })
    }

    /// One call of Gemini with this key: the body of a 2xx goes to `on_chunk`; any other body is
    /// collected, cut at [`ERROR_BODY_BYTES_MAX`].
    ///
    /// # Errors
    /// No response, or one that was cut.
    pub fn gemini(
        &self,
        key: &Secret,
        request: &Request,
        on_chunk: OnChunk<'_>,
    ) -> Result<Response, NetError> {
        let url = format!("{}{}", self.gemini_url, request.path);
        let reply = self.call(&url, request, &[("x-goog-api-key", key.expose())])?;
        if reply.status().is_success() {
            return pour(reply, on_chunk);
        }
        collect_cut(reply, ERROR_BODY_BYTES_MAX)
    }

    /// As [`Net::gemini`], with a body that is read while it is sent; `length` is its exact size.
    ///
    /// # Errors
    /// No response, or one that was cut.
    pub fn gemini_upload(
        &self,
        key: &Secret,
        request: &Request,
        body: &mut dyn Read,
        length: u64,
        on_chunk: OnChunk<'_>,
    ) -> Result<Response, NetError> {
        let url = format!("{}{}", self.gemini_url, request.path);
        let mut build = self.builder(&url, request, &[("x-goog-api-key", key.expose())])?;
        build = build.header("content-length", length);
        let reply = build
            .body(ureq::SendBody::from_reader(body))
            .map_err(|_| refused("request could not be built"))
            .and_then(|ready| self.run(ready, request.timeout_ms))?;
        if reply.status().is_success() {
            return pour(reply, on_chunk);
        }
        collect_cut(reply, ERROR_BODY_BYTES_MAX)
    }

    /// One call of Supabase's Data API; `request.path` begins with the table's name.
    ///
    /// # Errors
    /// No response, one larger than `limit_bytes`, or Supabase not set.
    pub fn supabase(&self, request: &Request, limit_bytes: usize) -> Result<Response, NetError> {
        let Some(remote) = &self.supabase else {
            return Err(refused("SUPABASE_URL is not set"));
        };
        let url = format!("{}/rest/v1/{}", remote.url, request.path);
        let key = remote.key.expose();
        let bearer = format!("Bearer {key}");
        // New keys are no JWTs and go into `apikey` alone; old ones need both (api-reference C1).
        let headers: &[(&str, &str)] = if key.starts_with("sb_") {
            &[("apikey", key)]
        } else {
            &[("apikey", key), ("authorization", &bearer)]
        };
        collect(self.call(&url, request, headers)?, limit_bytes)
    }

    fn builder(
        &self,
        url: &str,
        request: &Request,
        credentials: &[(&str, &str)],
    ) -> Result<http::request::Builder, NetError> {
        let method = match request.method {
            Method::Get => http::Method::GET,
            Method::Post => http::Method::POST,
            Method::Patch => http::Method::PATCH,
            Method::Delete => http::Method::DELETE,
        };
        let uri: http::Uri =
            url.parse().map_err(|_| refused("the address of the service cannot be read"))?;
        let mut build = http::Request::builder().method(method).uri(uri);
        if request.body.is_some()
            && !request.headers.iter().any(|(name, _)| *name == "content-type")
        {
            build = build.header("content-type", "application/json");
        }
        for (name, value) in &request.headers {
            build = build.header(*name, value);
        }
        for (name, value) in credentials {
            let mut secret = http::HeaderValue::from_str(value)
                .map_err(|_| refused("a credential has characters no header can carry"))?;
            secret.set_sensitive(true);
            build = build.header(*name, secret);
        }
        Ok(build)
    }

    fn call(
        &self,
        url: &str,
        request: &Request,
        credentials: &[(&str, &str)],
    ) -> Result<http::Response<ureq::Body>, NetError> {
        let build = self.builder(url, request, credentials)?;
        let built = match &request.body {
            Some(body) => {
                build.body(body.as_str()).map(|ready| self.run(ready, request.timeout_ms))
            }
            None => build.body(()).map(|ready| self.run(ready, request.timeout_ms)),
        };
        built.map_err(|_| refused("request could not be built"))?
    }

    fn run(
        &self,
        ready: http::Request<impl ureq::AsSendBody>,
        timeout_ms: u64,
    ) -> Result<http::Response<ureq::Body>, NetError> {
        let timeout = Some(Duration::from_millis(timeout_ms.max(1)));
        // No global timeout: with one, ureq resolves names on a thread of its own, each time.
        let ready = self
            .agent
            .configure_request(ready)
            .timeout_send_request(timeout)
            .timeout_send_body(timeout)
            .timeout_recv_response(timeout)
            .timeout_recv_body(timeout)
            .build();
        self.agent.run(ready).map_err(|error| net_error(&error))
    }
}

fn tls_config(config: &Config) -> Result<rustls::ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match &config.tls_ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let name = path.display();
            let pem = std::fs::read(path).map_err(|error| {
                format!("TLS_CA_FILE: {name}: {error}: give a readable PEM file")
            })?;
            let found = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            if roots.add_parsable_certificates(found).0 == 0 {
                return Err(format!("TLS_CA_FILE: {name}: no certificate in it: give PEM roots"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "TLS: this build knows no version of it: build it anew".to_owned())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn head(reply: &http::Response<ureq::Body>) -> Response {
    let text = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
    Response {
        status: reply.status().as_u16(),
        retry_after_s: text("retry-after").and_then(|value| value.trim().parse().ok()),
        date_ms: text("date").and_then(crate::calendar::parse_http_date),
        body: Vec::new(),
        content_range: text("content-range").map(str::to_owned),
    }
}

fn pour(reply: http::Response<ureq::Body>, on_chunk: OnChunk<'_>) -> Result<Response, NetError> {
    let head = head(&reply);
    let mut reader = reply.into_body().into_reader();
    let mut chunk = [0_u8; CHUNK_BYTES];
    loop {
        let count = reader.read(&mut chunk).map_err(|error| io_error(&error))?;
        if count == 0 || on_chunk(chunk.get(..count).unwrap_or_default()).is_break() {
            return Ok(head);
        }
    }
}

fn collect(reply: http::Response<ureq::Body>, limit_bytes: usize) -> Result<Response, NetError> {
    let mut body = Vec::new();
    let mut fits = true;
    let mut response = pour(reply, &mut |chunk| {
        fits = body.len() + chunk.len() <= limit_bytes;
        if !fits {
            return ControlFlow::Break(());
        }
        body.extend_from_slice(chunk);
        ControlFlow::Continue(())
    })?;
    if !fits {
        return Err(NetError {
            maybe_done: true,
            kind: NetErrorKind::TooLarge,
            text: format!("reply larger than {limit_bytes} bytes"),
        });
    }
    response.body = body;
    Ok(response)
}

fn collect_cut(
    reply: http::Response<ureq::Body>,
    limit_bytes: usize,
) -> Result<Response, NetError> {
    let mut body = Vec::new();
    let mut response = pour(reply, &mut |chunk| {
        let room = limit_bytes - body.len();
        body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
        if body.len() < limit_bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    response.body = body;
    Ok(response)
}

fn refused(text: &str) -> NetError {
    NetError { maybe_done: false, kind: NetErrorKind::Other, text: text.to_owned() }
}

/// Only fixed words and I/O error kinds are taken over: ureq's own texts may hold the whole URL.
fn net_error(error: &ureq::Error) -> NetError {
    let made = |maybe_done, kind, text: &str| NetError { maybe_done, kind, text: text.to_owned() };
    match error {
        ureq::Error::HostNotFound => {
            made(false, NetErrorKind::Dns, "the host's name does not resolve")
        }
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => {
            made(false, NetErrorKind::Timeout, "no connection in time")
        }
        ureq::Error::Timeout(_) => made(true, NetErrorKind::Timeout, "no reply in time"),
        ureq::Error::ConnectionFailed => made(false, NetErrorKind::Connect, "connection failed"),
        ureq::Error::Tls(_) | ureq::Error::TlsRequired => {
            made(false, NetErrorKind::Tls, "TLS could not be set up")
        }
        ureq::Error::Io(error) => io_error(error),
        ureq::Error::Protocol(_) => made(true, NetErrorKind::Other, "the reply is not HTTP"),
        ureq::Error::LargeResponseHeader(..) => {
            made(true, NetErrorKind::TooLarge, "the reply's headers are too large")
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            made(false, NetErrorKind::Other, "the address of the service cannot be used")
        }
        _ => made(true, NetErrorKind::Other, "the call failed"),
    }
}

fn tls_error(error: &rustls::Error) -> NetError {
    let text = match error {
        rustls::Error::InvalidMessage(_) => "the other side does not speak TLS".to_owned(),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion) => {
            "TLS refused: the other side knows no version or cipher of today".to_owned()
        }
        rustls::Error::InvalidCertificate(
            why @ (CertificateError::UnknownIssuer | CertificateError::BadSignature),
        ) => format!(
            "TLS refused: no root that is trusted here has signed the certificate ({why:?})"
        ),
        // Without the hour of the look: the same trouble must read the same the next time.
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "TLS refused: the other side's certificate has expired, or the clock here is wrong"
            .to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => {
            "TLS refused: the other side's certificate is not valid yet, or the clock here is wrong"
                .to_owned()
        }
        // rustls names certificate faults in words of its own that hold no URL and no secret.
        other => format!("TLS refused: {other}"),
    };
    NetError { maybe_done: false, kind: NetErrorKind::Tls, text }
}

fn io_error(error: &std::io::Error) -> NetError {
    use std::io::ErrorKind;
    if let Some(inner) = error.get_ref() {
        if let Some(inner) = inner.downcast_ref::<rustls::Error>() {
            return tls_error(inner);
        }
        if let Some(inner) = inner.downcast_ref::<ureq::Error>() {
            return net_error(inner);
        }
    }
    let (maybe_done, kind) = match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable => (false, NetErrorKind::Connect),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => (true, NetErrorKind::Timeout),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => (true, NetErrorKind::Cut),
        // What getaddrinfo says has no kind of its own.
        _ if error.to_string().contains("lookup address") => (false, NetErrorKind::Dns),
        _ => (true, NetErrorKind::Other),
    };
    let text = match kind {
        NetErrorKind::Dns => "the host's name does not resolve".to_owned(),
        // Not a deadline of ours: the kernel gave the connection up, see `os::watch_peer`.
        NetErrorKind::Timeout => "no sign of life from the other side".to_owned(),
        _ => error.kind().to_string(),
    };
    NetError { maybe_done, kind, text }
}
