//! Owns: deliveries to a webhook, as the real server makes them: in the order of each chat, several chats at
//! once, again until they are taken (api-reference A11).
//! May not: speak TLS: it delivers to an address on loopback, which a test or a proxy gives it.
//! Invariant: an update leaves the queue only after a 2xx.

use super::http::lock;
use super::state::State;
use super::{Inner, Telegram};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Deliveries at once.
const DELIVERIES: usize = 4;
/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Waits after a failed one: doubling from the first to the last.
const RETRY_MS_MIN: i64 = 25;
const RETRY_MS_MAX: i64 = 250;
/// Between two looks for what has become due.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const STACK_BYTES: usize = 128 << 10;

/// One delivery to be made.
struct Parcel {
    id: i64,
    address: String,
    url: String,
    secret: String,
    json: String,
}

impl Telegram {
    /// Delivers, while a webhook is set, to this address of loopback in plain HTTP, whatever host its URL names.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn deliver_to(&self, address: &str) -> io::Result<()> {
        address.clone_into(&mut self.state().deliver_to);
        self.start_delivering()
    }

    /// Starts the threads that deliver once an address is set.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start_delivering(&self) -> io::Result<()> {
        if !std::mem::replace(&mut self.state().delivering, true) {
            for _ in 0..DELIVERIES {
                let inner = Arc::clone(&self.inner);
                std::thread::Builder::new()
                    .name("deliver".into())
                    .stack_size(STACK_BYTES)
                    .spawn(move || inner.deliver())?;
            }
        }
        self.inner.changed.notify_all();
        Ok(())
    }
}

impl Inner {
    fn deliver(&self) {
        let mut connection: Option<(String, BufReader<TcpStream>)> = None;
        while let Some(parcel) = self.next_parcel() {
            let kept = connection.take().filter(|(address, _)| *address == parcel.address);
            let result = match kept {
                // The other side may have closed it meanwhile: then a new one is tried.
                Some((_, mut stream)) => exchange(&mut stream, &parcel).map(|it| (it, stream)),
                None => Err(io::ErrorKind::NotConnected.into()),
            };
            let result = result.or_else(|_| {
                let stream = TcpStream::connect(&parcel.address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                let mut stream = BufReader::new(stream);
                exchange(&mut stream, &parcel).map(|it| (it, stream))
            });
            let now_ms = (self.options.clock)();
            let error = match result {
                Ok(((status, keep), stream)) => {
                    if keep {
                        connection = Some((parcel.address, stream));
                    }
                    (!(200..300).contains(&status))
                        .then(|| format!("Wrong response from the webhook: {status}"))
                }
                Err(error) => Some(error.to_string()),
            };
            lock(&self.state).delivered(parcel.id, error, now_ms);
            self.changed.notify_all();
        }
    }

    fn next_parcel(&self) -> Option<Parcel> {
        let mut state = lock(&self.state);
        loop {
            if state.ending {
                return None;
            }
            if let Some(parcel) = state.take_parcel((self.options.clock)()) {
                return Some(parcel);
            }
            state = self
                .changed
                .wait_timeout(state, LOOK_EVERY)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl State {
    /// The first update of a chat of which none is under way.
    fn take_parcel(&mut self, now_ms: i64) -> Option<Parcel> {
        if self.webhook.is_empty() || self.deliver_to.is_empty() {
            return None;
        }
        let mut held = BTreeSet::new();
        let first = self.updates.iter_mut().find(|update| {
            held.insert(update.chat) && !update.under_way && update.not_before_ms <= now_ms
        })?;
        first.under_way = true;
        Some(Parcel {
            id: first.id,
            address: self.deliver_to.clone(),
            url: self.webhook.clone(),
            secret: self.webhook_secret.clone(),
            json: first.json.clone(),
        })
    }

    fn delivered(&mut self, id: i64, error: Option<String>, now_ms: i64) {
        self.deliveries_total += 1;
        let Some(error) = error else {
            self.updates.retain(|update| update.id != id || !update.under_way);
            return;
        };
        self.webhook_error = (now_ms / 1_000, error);
        if let Some(update) = self.updates.iter_mut().find(|update| update.id == id) {
            update.under_way = false;
            let wait_ms = (RETRY_MS_MIN << update.tries.min(10)).min(RETRY_MS_MAX);
            update.tries += 1;
            update.not_before_ms = now_ms + wait_ms;
        }
    }
}

/// The status, and whether the connection stays.
fn exchange(stream: &mut BufReader<TcpStream>, parcel: &Parcel) -> io::Result<(u16, bool)> {
    let rest = parcel.url.split_once("://").map_or(parcel.url.as_str(), |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let secret = match parcel.secret.as_str() {
        "" => String::new(),
        secret => format!("X-Telegram-Bot-Api-Secret-Token: {secret}\r\n"),
    };
    let head = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive\r\n{secret}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        parcel.json.len()
    );
    stream.get_mut().write_all(head.as_bytes())?;
    stream.get_mut().write_all(parcel.json.as_bytes())?;
    let (mut status, mut length, mut keep) = (0, 0, true);
    for nth in 0.. {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if nth == 0 {
            status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        } else if line == "connection: close" {
            keep = false;
        } else if line.is_empty() {
            break;
        }
    }
    io::copy(&mut stream.by_ref().take(length), &mut io::sink())?;
    Ok((status, keep))
}
