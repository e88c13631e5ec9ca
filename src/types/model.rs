//! Owns: what a call of the model gave or why it failed, in words that the wire and the engine share.
//! May not: name Gemini's JSON or decide what follows.

/// Tokens as `usageMetadata` counts them (api-reference B3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, cached ones included.
    pub input: u32,
    /// Visible and thinking tokens.
    pub output: u32,
}

/// Why a text ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Complete.
    Stop,
    /// The person stopped it; the text so far is the answer.
    Stopped,
    /// Cut at the token limit; the text so far is usable.
    MaxTokens,
    /// Cut here because it passed our own bound on one answer.
    TooLong,
    /// Blocked after some text, by this reason.
    Blocked(String),
}

/// A usable answer: visible text, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Thoughts left out.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it cost.
    pub usage: Usage,
    /// The model that answered, as asked for.
    pub model: String,
}

/// Which window of a quota was exhausted (api-reference B4, `quotaId` before `retryDelay`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// No details given: back off.
    Unknown,
    /// Requests or tokens per minute.
    Minute,
    /// Requests or tokens per day.
    Day,
    /// Spend cap of the billing account.
    Spend,
    /// `limit: 0`: none at all until billing.
    Nothing,
}

/// A 429, read to the bottom: the worst violation decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaHit {
    /// The worst window named.
    pub window: Window,
    /// Whether it counts tokens and not requests.
    pub tokens: bool,
    /// `quotaValue` of that violation.
    pub limit: Option<u32>,
    /// RetryInfo or `Please retry in …`, capped.
    pub retry_ms: Option<i64>,
    /// Every `(window, tokens, quotaValue)` that the reply named, to learn limits from.
    pub learned: Vec<(Window, bool, u32)>,
}

/// Why a file could not be passed on to the model; nothing was asked then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaTrouble {
    /// Telegram has it no more.
    Gone,
    /// Larger than `MEDIA_MAX`, or than a bot may download.
    TooLarge,
    /// By its content nothing that a model takes.
    Unknown,
}

/// Which of the quotas that several boxes share is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetHeld {
    /// Requests or tokens a minute, for so long.
    Minute {
        /// Until there is room.
        wait_ms: i64,
    },
    /// Requests a day.
    Day,
}

/// Why a call gave no answer, by the scope that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelFailure {
    /// The key is wrong, expired, leaked, retired: out until the operator acts. `why` is one word
    /// (`invalid`, `retired`, `leaked`, `suspended`, `blocked`, `disabled`).
    BadKey {
        /// One word.
        why: &'static str,
    },
    /// The project may not use this model (closed to new users).
    ModelClosed,
    /// Nobody may: wrong or retired name.
    ModelUnknown,
    /// (project, model) is exhausted.
    Quota(QuotaHit),
    /// The model is overloaded: another model, not another key.
    Overloaded,
    /// 500: once or twice more, then another model.
    Internal,
    /// Our request; never retried, never the key's fault.
    BadRequest {
        /// Google's message, scrubbed and cut.
        why: String,
    },
    /// Too large for the model or the door.
    TooLarge,
    /// A file of the question could not be passed on; Gemini was not asked.
    Media(MediaTrouble),
    /// The host's country is not served; affects the host, not the key.
    Region,
    /// The prompt or the answer was refused, by this reason (`SAFETY`, `PROHIBITED_CONTENT` …).
    Safety {
        /// `blockReason` or `finishReason`.
        reason: String,
        /// What it cost.
        usage: Usage,
    },
    /// 200 without visible text (thinking ate the tokens, STOP with nothing).
    Empty {
        /// What it cost.
        usage: Usage,
    },
    /// Connection, DNS, TLS, timeout, truncated stream, not JSON. `sent` = Gemini may have counted it.
    Network {
        /// Whether any byte of the request may have left.
        sent: bool,
        /// Scrubbed.
        why: String,
    },
    /// The boxes that share the keys have no room for it; Gemini was not asked.
    Held(FleetHeld),
}

impl ModelFailure {
    /// Whether Gemini has counted nothing. Whatever is doubtful counts.
    pub fn is_uncounted(&self) -> bool {
        if matches!(self, Self::Held(_)) {
            return true;
        }
        matches!(
            self,
            Self::Quota(_)
                | Self::BadKey { .. }
                | Self::ModelClosed
                | Self::ModelUnknown
                | Self::Region
                | Self::Media(_)
                | Self::Network { sent: false, .. }
        )
    }

    /// The `outcome` label of `svs_bot_gemini_requests_total` (contract §6).
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadKey { .. } => "bad_key",
            Self::ModelClosed
            | Self::ModelUnknown
            | Self::BadRequest { .. }
            | Self::TooLarge
            | Self::Media(_)
            | Self::Region => "bad_request",
            Self::Quota(_) => "quota",
            Self::Held(_) => "quota",
            Self::Overloaded | Self::Internal => "overloaded",
            Self::Safety { .. } => "safety",
            Self::Empty { .. } => "empty",
            Self::Network { .. } => "network",
        }
    }
}
