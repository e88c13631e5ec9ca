//! Owns: the closed lists of what can happen to the loop and what the loop can ask of a worker.
//! May not: do either.

use crate::engine::live::Pace;
use crate::store::outbox::Sending;
use crate::types::model::{ModelFailure, Reply};
use crate::types::{
    ChatId, Incoming, Lane, Media, MessageId, Role, Secret, UpdateId, User, UserId,
};
use crate::wire::telegram::{TelegramError, WebhookInfo};
use crate::wire::{NetError, Request, Response};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// One update as it was polled or delivered.
#[derive(Debug)]
pub struct Fetched {
    /// Its number.
    pub id: UpdateId,
    /// What it says, or why it cannot be read.
    pub incoming: Result<Incoming, String>,
    /// Its text, kept only for what cannot be read; secrets in it are masked before it is stored.
    pub raw: String,
}

/// Why a poll brought nothing.
#[derive(Debug)]
pub enum PollFailure {
    /// Telegram answered, but not with updates.
    Telegram(TelegramError),
    /// Nothing came back.
    Net(NetError),
    /// The page could not be read as a page.
    Unreadable(String),
}

/// Why something sent to Telegram did not get through.
#[derive(Debug)]
pub enum SendFailure {
    /// Telegram said no.
    Telegram(TelegramError),
    /// No reply; it may have been carried out.
    Net(NetError),
}

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// A poll ended.
    Polled(Result<Vec<Fetched>, PollFailure>),
    /// Telegram delivered an update and waits for the word that it is stored.
    Pushed {
        /// What it brought.
        update: Box<Fetched>,
        /// For [`super::core::Turn::answers`].
        ticket: u64,
    },
    /// A call of the model ended.
    Asked(Box<Asked>),
    /// More of an answer is there.
    Grown {
        /// The question's row.
        inbox: i64,
        /// All visible text so far.
        text: String,
    },
    /// A row of the outbox was tried.
    Sent {
        /// What was tried.
        sending: Box<Sending>,
        /// The message's id, 0 where there is none.
        result: Result<MessageId, SendFailure>,
        /// How long Telegram took.
        took_ms: i64,
    },
    /// A draft or edit of a growing answer was tried.
    Previewed {
        /// The question's row.
        inbox: i64,
        /// The message's id, 0 for a draft.
        result: Result<MessageId, SendFailure>,
    },
    /// A call whose result changes nothing was made: typing, callback answers, commands.
    Called {
        /// What for, for the log.
        purpose: Purpose,
        /// How it went.
        result: Result<(), SendFailure>,
    },
    /// A step of getting ready was made.
    Ready(SetupResult),
    /// A step of the synchronisation was made.
    Synced(Result<Response, NetError>),
    /// A key was looked at without spending quota.
    KeyChecked {
        /// Which; positions may have moved meanwhile.
        secret: Secret,
        /// Fine, or the failure.
        result: Result<(), ModelFailure>,
    },
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// The settings were read again.
    Reloaded(Result<Changes, String>),
    /// Something came from the other boxes.
    Fleet(super::fleet::FleetEvent),
    /// Something came of the updates that boxes share.
    #[cfg(feature = "redis")]
    Relayed(Box<super::relay::Relayed>),
}

impl Event {
    /// Whether it brings updates.
    pub fn is_update(&self) -> bool {
        match self {
            Self::Polled(_) | Self::Pushed { .. } => true,
            #[cfg(feature = "redis")]
            Self::Relayed(_) => true,
            _ => false,
        }
    }

    /// What it is, for the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Polled(_) => "a page of updates",
            Self::Pushed { .. } => "an update",
            Self::Asked(_) => "an answer",
            Self::Grown { .. } | Self::Previewed { .. } => "a preview",
            Self::Sent { .. } => "the result of a sent message",
            Self::Called { .. } => "the result of a call",
            Self::Ready(_) => "the bot's own name",
            Self::Synced(_) => "the result of a synchronisation",
            Self::KeyChecked { .. } => "the result of a look at a key",
            Self::Stop | Self::Reload => "a signal",
            Self::Reloaded(_) => "the result of reading the settings again",
            Self::Fleet(_) => "news of other boxes",
            #[cfg(feature = "redis")]
            Self::Relayed(_) => "updates shared by boxes",
        }
    }
}

/// Settings that differ since the last reading, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In effect.
    pub now: Vec<&'static str>,
    /// In effect after the next start.
    pub later: Vec<&'static str>,
}

/// What a call without consequences was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The typing action in this lane.
    Typing(Lane),
    /// Answering a button that this person pressed.
    Callback(UserId),
    /// The menu of commands.
    Commands,
    /// Telling the server to stop calling a webhook.
    Webhook,
    /// Removing a message that held a secret.
    Delete(ChatId),
}

/// Steps before the first poll.
#[derive(Debug)]
pub enum SetupResult {
    /// Who we are.
    Me(Result<(User, bool), SendFailure>),
    /// Whether a webhook was set; its URL is gone now.
    WebhookGone(Result<bool, SendFailure>),
    /// Telegram was told to deliver to us.
    WebhookSet(Result<(), SendFailure>),
    /// What Telegram says of its deliveries.
    WebhookInfo(Result<WebhookInfo, SendFailure>),
}

/// A finished call of the model.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The question's row.
    pub inbox: i64,
    /// What came.
    pub result: Result<Reply, ModelFailure>,
    /// How long it took.
    pub took_ms: i64,
}

/// What can be asked of a worker: one call each.
#[derive(Debug)]
pub enum Job {
    /// Wait for updates.
    Poll {
        /// The lowest update wanted; everything below is confirmed by asking.
        offset: i64,
        /// How long Telegram may wait.
        timeout_s: u32,
        /// At most so many.
        limit: u32,
    },
    /// Ask the model.
    Ask(Box<AskJob>),
    /// Say something.
    Send(Box<Sending>),
    /// Show a growing answer.
    Preview {
        /// The question's row.
        inbox: i64,
        /// What to send; sendMessageDraft, sendMessage or editMessageText.
        request: Request,
    },
    /// A call whose result changes nothing.
    Call {
        /// What for.
        purpose: Purpose,
        /// What to send.
        request: Request,
    },
    /// Learn who we are.
    Me,
    /// Remove a webhook if one is set.
    RemoveWebhook,
    /// Have updates delivered.
    SetWebhook {
        /// The public URL.
        url: String,
        /// What each delivery has to show.
        secret: Secret,
        /// Connections that Telegram may open at once.
        connections: u32,
    },
    /// Ask how deliveries go.
    WebhookInfo,
    /// A step of the synchronisation.
    Sync(Request),
    /// Look at a key without spending quota.
    CheckKey {
        /// The key.
        secret: Secret,
    },
    /// Tell the other boxes.
    Fleet(super::fleet::FleetJob),
}

/// A question with everything a worker needs to ask it.
#[derive(Debug)]
pub struct AskJob {
    /// The question's row.
    pub inbox: i64,
    /// The key to ask with.
    pub key: Secret,
    /// The model to ask.
    pub model: String,
    /// Instructions to the model.
    pub system: String,
    /// Earlier rounds, oldest first.
    pub turns: Vec<(String, String)>,
    /// The question.
    pub text: String,
    /// Files, fetched and passed through while asking.
    pub media: Vec<Media>,
    /// Bound of one file.
    pub media_max_bytes: u64,
    /// Whether to read the answer as it grows.
    pub stream: bool,
    /// How often to report the growing text; never where none.
    pub growth: Option<Pace>,
    /// Set when enough is said: the text so far is the answer.
    pub cancel: Arc<AtomicBool>,
    /// Bound of one call.
    pub timeout_ms: u64,
    /// For the log.
    pub role: Role,
    /// What to ask of the other boxes first.
    pub fleet: Option<crate::engine::fleet::Ask>,
}
