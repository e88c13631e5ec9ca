//! Owns: how a growing answer is shown before it is complete.
//! May not: decide when (the engine's `live` does), or put a preview in the way of any answer.
//! Invariant: at most one preview of a question is in flight, and its answer waits for that one's
//! reply: no late preview can overwrite it, and no message is begun twice.

use super::ask::header;
use super::{Asked as InFlight, Count, Phase, State, Step};
use crate::config::{ReplyFormat, StreamSetting};
use crate::daemon::event::{Job, SendFailure};
use crate::engine::live::{self, ChatPace, Way, Wish};
use crate::engine::render;
use crate::store::inbox::{self, Asking};
use crate::store::outbox::{self, Kind, Outgoing, Sending};
use crate::store::{Db, Result};
use crate::types::{ChatId, MessageId, Now, Part, SECOND_MS, UnixMs};
use crate::wire::Request;
use crate::wire::telegram::{self, SendMessage, TelegramError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A preview that takes longer than this is not waited for: a draft's loss is nothing, an edit's little.
const DRAFT_TIMEOUT_MS: u64 = 3_000;
const EDIT_TIMEOUT_MS: u64 = 10_000;
/// Chats remembered for refusing drafts; past it all are tried again.
const REFUSING_CHATS_MAX: usize = 256;
/// After trouble on the way, previews of that chat rest so long.
const TROUBLE_PAUSE_MS: i64 = 5 * SECOND_MS;

/// What is known of showing answers, over all chats.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shows {
    /// The server is too old for drafts.
    no_drafts: bool,
    /// The server is too old for rich messages.
    no_rich: bool,
    /// Chats where they do not work.
    refusing: BTreeSet<ChatId>,
    /// Only chats shown to lately.
    paces: BTreeMap<ChatId, ChatPace>,
}

/// What is known of showing one answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Show {
    /// A preview under way.
    in_flight: Option<Way>,
    /// Nothing more is shown of this one.
    over: bool,
    /// Telegram refused the formatting once.
    plain: bool,
    /// Tells the worker that enough is said.
    pub(crate) cancel: Arc<AtomicBool>,
    /// How asking ended while a preview was under way.
    ended: Option<Arc<crate::daemon::event::Asked>>,
}

impl State {
    /// Which way answers of this chat are shown at the moment.
    pub(super) fn way(&self, chat: ChatId) -> Way {
        let wish = match self.config.stream {
            _ if self.dry_run => Wish::Off,
            StreamSetting::Off => Wish::Off,
            StreamSetting::Edit => Wish::Edit,
            StreamSetting::Draft => Wish::Draft,
            StreamSetting::Auto => Wish::Auto,
        };
        let shows = &self.live.shows;
        live::way(wish, is_private(chat) && !shows.no_drafts && !shows.refusing.contains(&chat))
    }

    pub(super) fn grown(
        &mut self,
        db: &Db,
        row: i64,
        text: &str,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        let Some(asked) = self.live.asking.get(&row) else { return Ok(()) };
        let chat = asked.lane.chat;
        let way = self.way(chat);
        let busy = asked.show.in_flight.is_some()
            || asked.show.over
            || self.live.calls >= super::CALLS_MAX
            || matches!(self.live.phase, Phase::Stopping { .. });
        let text = live::shown(text);
        // What is said before must be there before: an earlier answer goes first.
        if busy || way == Way::None || text.is_empty() || outbox::waits(db, chat)? {
            return Ok(());
        }
        if !self.live.shows.pace(chat, now.unix_ms).take(is_private(chat), now.unix_ms) {
            return Ok(());
        }
        let asking = inbox::load(db, row)?;
        let text = self.masker.mask(text).unwrap_or_else(|| text.to_owned());
        let mut part = render::live_preview(&text, header(&asking).as_deref());
        let Some(asked) = self.live.asking.get_mut(&row) else { return Ok(()) };
        if asked.show.plain {
            part = Part::plain(part.plain);
        }
        asked.show.in_flight = Some(way);
        // A growing text says more than the typing sign, and the two share one budget.
        asked.typing_due_ms = now.unix_ms + 2 * super::ask::TYPING_EVERY_MS;
        self.live.calls += 1;
        step.jobs.push(Job::Preview { inbox: row, request: preview(way, &asking, &part) });
        Ok(())
    }

    pub(super) fn previewed(
        &mut self,
        db: &Db,
        row: i64,
        result: &std::result::Result<MessageId, SendFailure>,
        step: &mut Step,
        now: Now,
    ) -> Result<()> {
        self.live.calls = self.live.calls.saturating_sub(1);
        let Some(asked) = self.live.asking.get_mut(&row) else { return Ok(()) };
        let chat = asked.lane.chat;
        let way = asked.show.in_flight.take().unwrap_or(Way::None);
        let begun = way == Way::Edit && inbox::preview(db, row)? != MessageId(0);
        match result {
            Ok(id) if way == Way::Edit && !begun => {
                // An id of 0 cannot be edited (api-reference A4).
                asked.show.over = *id == MessageId(0);
                inbox::set_preview(db, row, *id)?;
            }
            Ok(_) => {}
            Err(failure) => {
                log::debug!(target: "preview.failed", inbox = row; "question {row}: preview: {failure:?}");
                step.counts.push(Count::TelegramError(match failure {
                    SendFailure::Telegram(error) => Some(error.code()),
                    SendFailure::Net(_) => None,
                }));
                if gone(failure) {
                    inbox::set_preview(db, row, MessageId(0))?;
                }
                asked.show.failed(failure, way == Way::Edit, begun);
                self.live.shows.failed(failure, chat, way, now.unix_ms);
            }
        }
        let ended = self.live.asking.get_mut(&row).and_then(|asked| asked.show.ended.take());
        match ended {
            Some(ended) => self.asked(db, &ended, step, now),
            None => Ok(()),
        }
    }

    /// Whether the end of asking has to wait for a preview's reply; then it is kept until that comes.
    pub(super) fn waits_for_preview(&mut self, asked: &crate::daemon::event::Asked) -> bool {
        let Some(flying) = self.live.asking.get_mut(&asked.inbox) else { return false };
        let waits = flying.show.in_flight.is_some();
        if waits {
            flying.show.ended = Some(Arc::new(asked.clone()));
        }
        waits
    }

    /// The answer as one rich message, where that is wished for, known to work, and fits.
    pub(super) fn rich(&self, asking: &Asking, text: &str) -> Option<Part> {
        if self.config.reply_format != ReplyFormat::Rich || self.live.shows.no_rich {
            return None;
        }
        let header = header(asking).map(|line| render::rich_header(&line)).unwrap_or_default();
        let markdown = header + &render::rich_markdown(text)?;
        Some(Part { text: markdown, plain: text.to_owned(), html: false })
    }

    /// Sends an answer the HTML way whose rich form Telegram did not take.
    pub(super) fn without_rich(
        &mut self,
        db: &Db,
        sending: &Sending,
        unknown: bool,
        now: Now,
    ) -> Result<()> {
        if unknown && !std::mem::replace(&mut self.live.shows.no_rich, true) {
            log::info!(target: "telegram.no_rich", "this Bot API server knows no rich messages: answers are sent as HTML");
        }
        let what = &sending.what;
        // The question's words are gone by now, what its answer begins with is not.
        let asking = inbox::load(db, what.inbox).ok();
        let header = asking.as_ref().and_then(header);
        let mut parts: Vec<Outgoing> = render::render(&what.plain, header.as_deref())
            .into_iter()
            .map(|part| Outgoing {
                kind: Kind::Send,
                text: part.text,
                plain: part.plain,
                html: part.html,
                reply_to: MessageId(0),
                message: MessageId(0),
                received_ms: 0,
                last: false,
                ..what.clone()
            })
            .collect();
        if let Some(last) = parts.last_mut() {
            (last.last, last.received_ms) = (what.last, what.received_ms);
        }
        if let Some(first) = parts.first_mut().filter(|_| what.message != MessageId(0)) {
            first.kind = Kind::Edit;
        }
        outbox::replace(db, sending.id, &parts, now.unix_ms)
    }

    /// The Stop button of a draft: what there is becomes the answer.
    pub(super) fn stopped_by_user(&self, chat: ChatId, draft: i64) {
        if let Some(InFlight { show, .. }) =
            self.live.asking.get(&draft).filter(|asked| asked.lane.chat == chat)
        {
            show.cancel.store(true, Ordering::Relaxed);
        }
    }

    /// Telegram asked for a pause in this chat: nothing is shown there until it is over.
    pub(super) fn pause_shows(&mut self, chat: ChatId, pause_ms: i64, now: Now) {
        self.live.shows.pace(chat, now.unix_ms).pause(pause_ms, now.unix_ms);
    }
}

impl Shows {
    fn pace(&mut self, chat: ChatId, now_ms: UnixMs) -> &mut ChatPace {
        self.paces.retain(|_, pace| !pace.is_over(now_ms));
        self.paces.entry(chat).or_default()
    }

    fn failed(&mut self, failure: &SendFailure, chat: ChatId, way: Way, now_ms: UnixMs) {
        match failure {
            SendFailure::Telegram(TelegramError::RetryAfter { seconds }) => {
                self.pace(chat, now_ms).pause(i64::from(*seconds) * SECOND_MS, now_ms);
            }
            SendFailure::Telegram(TelegramError::MethodUnknown | TelegramError::NotFound)
                if way == Way::Draft =>
            {
                log::info!(target: "telegram.no_drafts", "this Bot API server knows no drafts: growing answers are edited");
                self.no_drafts = true;
            }
            // Whatever a draft is refused for, editing does not need it.
            SendFailure::Telegram(
                TelegramError::DraftRefused | TelegramError::Other { code: 400..=499, .. },
            ) if way == Way::Draft => {
                if self.refusing.len() >= REFUSING_CHATS_MAX {
                    self.refusing.clear();
                }
                self.refusing.insert(chat);
            }
            _ => self.pace(chat, now_ms).pause(TROUBLE_PAUSE_MS, now_ms),
        }
    }
}

impl Show {
    /// Shows nothing more; how asking ended, when that waited for a preview's reply.
    pub(super) fn give_up(&mut self) -> Option<Arc<crate::daemon::event::Asked>> {
        self.in_flight = None;
        self.over = true;
        self.ended.take()
    }

    /// `edits` = it was no draft; `begun` = there is a message to edit on.
    fn failed(&mut self, failure: &SendFailure, edits: bool, begun: bool) {
        match failure {
            SendFailure::Telegram(error) => match error {
                TelegramError::CantParse | TelegramError::TooLong => self.plain = true,
                TelegramError::RetryAfter { .. }
                | TelegramError::NotModified
                | TelegramError::MethodUnknown
                | TelegramError::NotFound
                | TelegramError::DraftRefused => {}
                // A new message may be there, its id unknown: no second one is begun.
                TelegramError::Server { .. } | TelegramError::NotJson { .. } => {
                    self.over = edits && !begun;
                }
                TelegramError::Other { code: 400..=499, .. } => self.over = edits,
                _ => self.over = true,
            },
            SendFailure::Net(_) => self.over = edits && !begun,
        }
    }
}

fn gone(failure: &SendFailure) -> bool {
    matches!(failure, SendFailure::Telegram(TelegramError::EditGone))
}

/// People's chats have positive ids, and only they.
fn is_private(chat: ChatId) -> bool {
    chat.0 > 0
}

fn preview(way: Way, asking: &Asking, part: &Part) -> Request {
    let question = &asking.question;
    let mut request = match way {
        Way::Draft => telegram::send_draft(question.lane, asking.id, &part.text, part.html),
        _ if asking.preview != MessageId(0) => {
            telegram::edit_message(question.lane.chat, asking.preview, &part.text, part.html, "")
        }
        _ => telegram::send_message(&SendMessage {
            lane: question.lane,
            text: &part.text,
            html: part.html,
            reply_to: question.addressed.then_some(question.message),
            markup: "",
            silent: false,
        }),
    };
    request.timeout_ms = if way == Way::Draft { DRAFT_TIMEOUT_MS } else { EDIT_TIMEOUT_MS };
    request
}
