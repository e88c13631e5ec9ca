//! Owns: one job → one call → one event.
//! May not: touch the database or decide anything.

mod media;

use super::clock::{self, Skew};
use super::event::{AskJob, Asked, Event, Fetched, Job, PollFailure, SendFailure, SetupResult};
use crate::engine::live::Told;
use crate::json::{self, PageSplitter};
use crate::net::Net;
use crate::store::outbox::{Kind, Sending};
use crate::types::model::{ModelFailure, Reply};
use crate::types::{MessageId, Secret, UpdateId, User};
use crate::wire::gemini::{self, GenerateArgs};
use crate::wire::telegram::{self, TelegramError};
use crate::wire::{NetError, Request, Response};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of updates taken from one page; the rest is asked for again. A page may be 4 MiB.
const PAGE_BYTES_MAX: usize = 512 * 1024;
/// Bytes of a reply to anything but getUpdates.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// What every worker shares; replaced whole when the settings are read again.
pub struct Tools {
    /// The door.
    pub net: Net,
    /// Writes to Telegram and Supabase become log lines.
    pub dry_run: bool,
    /// The system's clock beside Telegram's.
    pub skew: Skew,
    /// The other boxes.
    pub fleet: Option<Arc<super::sharing::Sharing>>,
    /// Updates that boxes share.
    #[cfg(feature = "redis")]
    pub relay: Option<Arc<super::relay::Post>>,
}

/// Runs one job to its end; blocking. What happens before the end goes to `report`.
pub fn run(tools: &Arc<Tools>, job: Job, report: &dyn Fn(Event)) -> Event {
    match job {
        Job::Poll { offset, timeout_s, limit } => {
            Event::Polled(poll(tools, offset, timeout_s, limit))
        }
        Job::Ask(job) => ask(tools, &job, report),
        Job::Send(sending) => send(tools, sending),
        Job::Preview { inbox, request } => {
            let result = told(tools, &request)
                .and_then(|response| telegram::read_sent(&response).map_err(SendFailure::Telegram));
            Event::Previewed { inbox, result: result.map(Option::unwrap_or_default) }
        }
        Job::Call { purpose, request } => {
            Event::Called { purpose, result: write(tools, &request).map(drop) }
        }
        Job::Me => Event::Ready(SetupResult::Me(me(tools))),
        Job::RemoveWebhook => {
            let result = call(tools, &telegram::delete_webhook()).map(|_| true);
            Event::Ready(SetupResult::WebhookGone(result))
        }
        Job::SetWebhook { url, secret, connections } => {
            let request = telegram::set_webhook(&url, &secret, connections);
            Event::Ready(SetupResult::WebhookSet(call(tools, &request).map(drop)))
        }
        Job::WebhookInfo => {
            let result = call(tools, &telegram::get_webhook_info());
            let result = result.map(|reply| telegram::read_webhook_info(&reply));
            Event::Ready(SetupResult::WebhookInfo(result))
        }
        Job::Sync(request) => {
            Event::Synced(tools.net.supabase(&request, super::SYNC_REPLY_BYTES_MAX))
        }
        Job::CheckKey { secret } => {
            let result = check_key(&tools.net, &secret);
            Event::KeyChecked { secret, result }
        }
        Job::Fleet(job) => {
            super::fleet::run(tools, job);
            Event::Fleet(super::fleet::FleetEvent::News(Vec::new()))
        }
    }
}

fn me(tools: &Tools) -> Result<(User, bool), SendFailure> {
    let reply = call(tools, &telegram::get_me())?;
    let me = telegram::read_me(&reply).map_err(|why| {
        SendFailure::Telegram(TelegramError::Other { code: 200, text: format!("getMe: {why}") })
    })?;
    Ok((me.user, me.reads_all_group_messages))
}

/// A call that changes nothing, or whose change the dry run needs too.
fn call(tools: &Tools, request: &Request) -> Result<json::Value, SendFailure> {
    let response = told(tools, request)?;
    telegram::read_reply(&response).map_err(SendFailure::Telegram)
}

fn told(tools: &Tools, request: &Request) -> Result<Response, SendFailure> {
    let response = tools.net.telegram(request, REPLY_BYTES_MAX).map_err(SendFailure::Net)?;
    note_clock(tools, &response);
    Ok(response)
}

fn note_clock(tools: &Tools, response: &Response) {
    if let Some(theirs_ms) = response.date_ms {
        tools.skew.note(clock::system_ms(), theirs_ms);
    }
}

/// The message that a writing call made; none for what makes none, and in a dry run.
fn write(tools: &Tools, request: &Request) -> Result<Option<MessageId>, SendFailure> {
    if tools.dry_run {
        let body = request.body.as_deref().and_then(|body| json::parse(body.as_bytes()).ok());
        let chat = body.as_ref().and_then(|body| body.at("chat_id").i64());
        let to = chat.map(|chat| format!(" to chat {chat}")).unwrap_or_default();
        log::info!(
            target: "dry_run", method = request.path.as_str(), chat = chat.unwrap_or(0);
            "dry run: {}{to} not sent", request.path
        );
        return Ok(None);
    }
    let response = told(tools, request)?;
    telegram::read_sent(&response).map_err(SendFailure::Telegram)
}

fn poll(
    tools: &Tools,
    offset: i64,
    timeout_s: u32,
    limit: u32,
) -> Result<Vec<Fetched>, PollFailure> {
    let request = telegram::get_updates(offset, limit, timeout_s);
    let mut splitter = PageSplitter::new();
    let mut updates = Vec::new();
    let mut bytes = 0;
    let mut broken: Option<String> = None;
    let mut full = false;
    let mut numberless = false;
    let response = tools
        .net
        .telegram_stream(&request, &mut |chunk| {
            let fed = splitter.feed(chunk, &mut |element| {
                // What does not fit is asked for again: only what is handed over is confirmed.
                if bytes >= PAGE_BYTES_MAX {
                    full = true;
                    return;
                }
                bytes += element.len();
                match fetched(&element) {
                    Some(update) => updates.push(update),
                    None => numberless = true,
                }
            });
            match fed {
                Ok(()) if full => ControlFlow::Break(()),
                Ok(()) => ControlFlow::Continue(()),
                Err(why) => {
                    broken = Some(why.to_string());
                    ControlFlow::Break(())
                }
            }
        })
        .map_err(PollFailure::Net);
    if let Ok(response) = &response {
        note_clock(tools, response);
    }
    // A page that breaks off after some updates is still good for those.
    if !updates.is_empty() {
        return Ok(updates);
    }
    let mut response = response?;
    if let Some(why) = broken.filter(|_| response.status == 200) {
        return Err(PollFailure::Unreadable(why));
    }
    if numberless && response.status == 200 {
        // Nothing to confirm: the same page would come again at once.
        return Err(PollFailure::Unreadable("updates without a number".to_owned()));
    }
    response.body = splitter.into_envelope();
    telegram::read_reply(&response).map(|_| Vec::new()).map_err(PollFailure::Telegram)
}

/// One update as it came; none where it has no number to be known by.
pub(super) fn fetched(element: &json::Element<'_>) -> Option<Fetched> {
    let (id, incoming) = match element {
        json::Element::Whole(bytes) => match telegram::read_update(bytes) {
            Ok(incoming) => (incoming.id, Ok(incoming)),
            Err(error) => (error.update_id?, Err(error.why)),
        },
        json::Element::TooLarge { update_id, bytes } => {
            (UpdateId((*update_id)?), Err(format!("larger than this program reads: {bytes} bytes")))
        }
    };
    let raw = match (&incoming, element) {
        (Err(_), json::Element::Whole(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    Some(Fetched { id, incoming, raw })
}

fn ask(tools: &Tools, job: &AskJob, report: &dyn Fn(Event)) -> Event {
    let started = clock::monotonic();
    let result = super::fleet::begin(tools, job, report).and_then(|ticket| {
        let result = generate(tools, job, report);
        super::fleet::end(tools, ticket.as_ref(), &result);
        result
    });
    let took_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
    Event::Asked(Box::new(Asked { inbox: job.inbox, result, took_ms }))
}

fn generate(tools: &Tools, job: &AskJob, report: &dyn Fn(Event)) -> Result<Reply, ModelFailure> {
    let started = clock::monotonic();
    let args = GenerateArgs {
        model: &job.model,
        system: &job.system,
        turns: &job.turns,
        text: &job.text,
        stream: job.stream,
        timeout_ms: job.timeout_ms,
    };
    let mut reader = gemini::Reader::new(&job.model);
    let mut told = Told::default();
    let mut on_chunk = |chunk: &[u8]| {
        let flow = reader.feed(chunk);
        let elapsed_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let text = reader.text();
        if job.growth.is_some_and(|pace| told.tell(pace, elapsed_ms, text.len())) {
            report(Event::Grown { inbox: job.inbox, text: text.to_owned() });
        }
        if job.cancel.load(Ordering::Relaxed) && !text.trim().is_empty() {
            reader.stop();
            return ControlFlow::Break(());
        }
        flow
    };
    let result = if job.media.is_empty() {
        tools
            .net
            .gemini(&job.key, &gemini::generate(&args), &mut on_chunk)
            .map_err(|error| network_failure(&error))
    } else {
        media::generate(tools, job, &args, &mut on_chunk)
    };
    let response = match result {
        // What broke after the last word took nothing away.
        Err(ModelFailure::Network { .. }) if reader.is_complete() => return reader.finish(),
        other => other?,
    };
    if !(200..300).contains(&response.status) {
        return Err(gemini::classify(response.status, &response.body, response.retry_after_s));
    }
    reader.finish()
}

fn network_failure(error: &NetError) -> ModelFailure {
    ModelFailure::Network { sent: error.maybe_done, why: error.text.clone() }
}

/// Asks for the list of models: tells whether a key is valid and spends nothing (api-reference B7).
///
/// # Errors
/// As Gemini says.
pub fn check_key(net: &Net, secret: &Secret) -> Result<(), ModelFailure> {
    let response = net
        .gemini(secret, &gemini::list_models(1), &mut |_| ControlFlow::Continue(()))
        .map_err(|error| network_failure(&error))?;
    if (200..300).contains(&response.status) {
        return Ok(());
    }
    Err(gemini::classify(response.status, &response.body, response.retry_after_s))
}

fn send(tools: &Tools, sending: Box<Sending>) -> Event {
    let started = clock::monotonic();
    let result = write(tools, &request_of(&sending)).map(Option::unwrap_or_default);
    let took_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
    Event::Sent { sending, result, took_ms }
}

fn request_of(sending: &Sending) -> Request {
    let what = &sending.what;
    let message = telegram::SendMessage {
        lane: what.lane,
        text: &what.text,
        html: what.html,
        reply_to: (what.reply_to != MessageId(0)).then_some(what.reply_to),
        markup: &what.markup,
        silent: what.silent,
    };
    match what.kind {
        Kind::Send => telegram::send_message(&message),
        Kind::Edit => telegram::edit_message(
            what.lane.chat,
            what.message,
            &what.text,
            what.html,
            &what.markup,
        ),
        Kind::Document => telegram::send_document(what.lane, &what.plain, &what.text),
        Kind::Rich if what.message == MessageId(0) => telegram::send_rich_message(&message),
        Kind::Rich => {
            telegram::edit_rich_message(what.lane.chat, what.message, &what.text, &what.markup)
        }
        Kind::Delete => telegram::delete_message(what.lane.chat, what.message),
    }
}
