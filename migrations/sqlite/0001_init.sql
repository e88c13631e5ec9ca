-- Everything the bot must not forget. Times are Unix milliseconds, UTC. Flags are 0 or 1.

-- Single facts by name: 'migrated_by' (the program that made this schema), 'bot_id', 'next_offset', 'install_id', 'remote_base', 'remote_next', …
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per update taken from Telegram; the queue of questions.
CREATE TABLE inbox (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  update_id   INTEGER NOT NULL UNIQUE,
  -- 0 new, 1 waiting, 2 asking, 3 done, 4 parked
  state       INTEGER NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  received_ms INTEGER NOT NULL,
  chat_id     INTEGER NOT NULL DEFAULT 0,
  topic_id    INTEGER NOT NULL DEFAULT 0,
  message_id  INTEGER NOT NULL DEFAULT 0,
  user_id     INTEGER NOT NULL DEFAULT 0,
  -- role's priority * 4 + tier: what the queue is served by
  class       INTEGER NOT NULL DEFAULT 0,
  -- 1: first unfinished question of its lane (chat and topic), so it may be taken
  head        INTEGER NOT NULL DEFAULT 0,
  due_ms      INTEGER NOT NULL DEFAULT 0,
  -- 1: the person was told that this may take long
  told        INTEGER NOT NULL DEFAULT 0,
  session_id  INTEGER NOT NULL DEFAULT 0,
  round       INTEGER NOT NULL DEFAULT 0,
  rounds_max  INTEGER NOT NULL DEFAULT 0,
  role        TEXT NOT NULL DEFAULT '',
  name        TEXT NOT NULL DEFAULT '',
  lang        TEXT NOT NULL DEFAULT '',
  -- the question; emptied when it is done
  text        TEXT NOT NULL DEFAULT '',
  -- what it replies to, when that is not in the session
  context     TEXT NOT NULL DEFAULT '',
  album       TEXT NOT NULL DEFAULT '',
  -- files of the album that are too large and were left out
  left_out    INTEGER NOT NULL DEFAULT 0,
  -- 1: the answer begins with @name (groups)
  addressed   INTEGER NOT NULL DEFAULT 0,
  -- the message that shows the growing answer and becomes it; 0 none
  preview_id  INTEGER NOT NULL DEFAULT 0,
  -- the update as Telegram sent it, secrets masked; kept only when parked
  body        TEXT,
  reason      TEXT NOT NULL DEFAULT '',
  done_ms     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX inbox_ready   ON inbox (class, received_ms, id) WHERE state = 1 AND head = 1;
CREATE INDEX inbox_lane    ON inbox (chat_id, topic_id, id) WHERE state IN (1, 2);
CREATE INDEX inbox_user    ON inbox (user_id) WHERE state IN (1, 2);
CREATE INDEX inbox_message ON inbox (chat_id, message_id) WHERE state = 1;
CREATE INDEX inbox_done    ON inbox (done_ms) WHERE state IN (3, 4);
CREATE INDEX inbox_parked  ON inbox (id) WHERE state = 4;

-- Files of waiting questions, by reference; an album has several.
CREATE TABLE inbox_media (
  inbox_id   INTEGER NOT NULL,
  n          INTEGER NOT NULL,
  kind       TEXT NOT NULL,
  file_id    TEXT NOT NULL,
  size       INTEGER NOT NULL,
  mime       TEXT NOT NULL DEFAULT '',
  name       TEXT NOT NULL DEFAULT '',
  duration_s INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (inbox_id, n)
) STRICT, WITHOUT ROWID;

-- What is to be said to Telegram, in order per chat.
CREATE TABLE outbox (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  -- 0 due, 1 in flight; finished rows leave
  state       INTEGER NOT NULL DEFAULT 0,
  -- 1: first unsent row of its chat
  head        INTEGER NOT NULL DEFAULT 0,
  chat_id     INTEGER NOT NULL,
  topic_id    INTEGER NOT NULL DEFAULT 0,
  -- the inbox row this answers, 0 for a notice
  inbox_id    INTEGER NOT NULL DEFAULT 0,
  -- 'send', 'edit', 'document', 'delete', 'rich'
  kind        TEXT NOT NULL DEFAULT 'send',
  text        TEXT NOT NULL,
  -- what is sent when Telegram refuses the formatting
  plain       TEXT NOT NULL DEFAULT '',
  html        INTEGER NOT NULL DEFAULT 0,
  -- reply_markup as JSON, '' for none
  markup      TEXT NOT NULL DEFAULT '',
  reply_to    INTEGER NOT NULL DEFAULT 0,
  -- the message to edit or delete, once known
  message_id  INTEGER NOT NULL DEFAULT 0,
  silent      INTEGER NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  due_ms      INTEGER NOT NULL,
  created_ms  INTEGER NOT NULL,
  -- for the latency histograms: when the question came, and the part of the wait that was Gemini's
  received_ms INTEGER NOT NULL DEFAULT 0,
  model_ms    INTEGER NOT NULL DEFAULT 0,
  -- 1: last part of an answer
  last        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_due  ON outbox (due_ms, id) WHERE state = 0 AND head = 1;
CREATE INDEX outbox_chat ON outbox (chat_id, id);

-- Messages Telegram will never take, with its reason; for the operator.
CREATE TABLE outbox_parked (
  id        INTEGER PRIMARY KEY,
  chat_id   INTEGER NOT NULL,
  text      TEXT NOT NULL,
  reason    TEXT NOT NULL,
  parked_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_parked_age ON outbox_parked (parked_ms);

-- Everyone seen. One row a person; nothing of it is held in memory.
CREATE TABLE person (
  user_id      INTEGER PRIMARY KEY,
  username     TEXT NOT NULL DEFAULT '',
  first_name   TEXT NOT NULL DEFAULT '',
  lang         TEXT NOT NULL DEFAULT '',
  first_ms     INTEGER NOT NULL,
  last_ms      INTEGER NOT NULL,
  -- Telegram says this person cannot be reached
  unreachable  INTEGER NOT NULL DEFAULT 0,
  -- when the last polite refusal (queue full, not allowed, slots taken) was said
  refused_ms   INTEGER NOT NULL DEFAULT 0,
  -- erased by request; the row stays so that a block stays known
  forgotten_ms INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Roles given at run time; they win over settings.
CREATE TABLE grants (
  user_id  INTEGER PRIMARY KEY,
  role     TEXT NOT NULL,
  -- 0: for ever
  until_ms INTEGER NOT NULL DEFAULT 0,
  -- 'command', 'chat', 'pairing', 'button'
  source   TEXT NOT NULL,
  given_ms INTEGER NOT NULL
) STRICT;

-- One-time pairing codes, hashed.
CREATE TABLE pairing (
  code_hash TEXT PRIMARY KEY,
  until_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One live conversation per person, chat and topic.
CREATE TABLE session (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  chat_id    INTEGER NOT NULL,
  topic_id   INTEGER NOT NULL,
  user_id    INTEGER NOT NULL,
  -- for /vip and evictions
  name       TEXT NOT NULL,
  -- 1: a group session, which holds one of VIP_SLOTS
  slot       INTEGER NOT NULL,
  rounds     INTEGER NOT NULL DEFAULT 0,
  rounds_max INTEGER NOT NULL,
  opened_ms  INTEGER NOT NULL,
  last_ms    INTEGER NOT NULL,
  -- the session before this one, whose rounds were spent; its turns go along until they are summed up
  follows    INTEGER NOT NULL DEFAULT 0,
  -- 1: `summary` holds it, or nothing could be made of it
  summed     INTEGER NOT NULL DEFAULT 0,
  summary    TEXT NOT NULL DEFAULT '',
  UNIQUE (chat_id, topic_id, user_id)
) STRICT;
CREATE INDEX session_slot ON session (slot, last_ms);

-- What was said and answered: the local chat_history, and the memory of sessions.
CREATE TABLE history (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  session_id  INTEGER NOT NULL DEFAULT 0,
  topic_id    INTEGER NOT NULL DEFAULT 0,
  chat_id     INTEGER NOT NULL,
  user_id     INTEGER NOT NULL,
  username    TEXT,
  message_text  TEXT,
  response_text TEXT,
  model_used  TEXT,
  -- JSON object
  metadata    TEXT NOT NULL DEFAULT '{}',
  -- microseconds, as PostgreSQL keeps them
  created_us  INTEGER NOT NULL,
  -- 0 to send, 1 in flight, 2 there, 3 parked, 4 came from there (import)
  sync        INTEGER NOT NULL DEFAULT 0,
  -- the explicit id it has in Supabase; 0 until settled: till then meta remote_base + id, up to remote_upto
  remote_id   INTEGER NOT NULL DEFAULT 0,
  park_reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX history_session ON history (session_id, id) WHERE session_id != 0;
CREATE INDEX history_user    ON history (user_id, id);
CREATE INDEX history_chat    ON history (chat_id, id);
CREATE INDEX history_created ON history (created_us);
CREATE INDEX history_unsent  ON history (id) WHERE sync IN (0, 1);
CREATE INDEX history_parked  ON history (id) WHERE sync = 3;
CREATE UNIQUE INDEX history_remote ON history (remote_id) WHERE remote_id != 0;

-- Who woke the bot where and how often: the local user_registry.
CREATE TABLE registry (
  user_id       INTEGER NOT NULL,
  chat_id       INTEGER NOT NULL,
  username      TEXT,
  first_name    TEXT,
  keyword       TEXT,
  trigger_count INTEGER NOT NULL DEFAULT 0,
  -- the remote count that trigger_count builds on: what compare-and-swap compares; -1: no row seen there
  synced_count  INTEGER NOT NULL DEFAULT -1,
  -- the count that a request with an unknown outcome would leave there; 0 none
  sending_count INTEGER NOT NULL DEFAULT 0,
  last_us       INTEGER NOT NULL,
  created_us    INTEGER NOT NULL,
  -- 0 to send, 2 there, 3 parked
  sync          INTEGER NOT NULL DEFAULT 0,
  park_reason   TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (user_id, chat_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_unsent ON registry (user_id, chat_id) WHERE sync = 0;
CREATE INDEX registry_parked ON registry (user_id, chat_id) WHERE sync = 3;

-- People to erase in Supabase at the next sync.
CREATE TABLE erasure (
  user_id  INTEGER PRIMARY KEY,
  asked_ms INTEGER NOT NULL,
  -- 0: not erased there yet; else when to look once more for rows whose request committed late
  again_ms INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Gemini keys by fingerprint (salted SHA-256), never by text.
CREATE TABLE gemini_key (
  fingerprint TEXT PRIMARY KEY,
  last4       TEXT NOT NULL,
  -- the project joined by inference, now or (with inferred = 0) the last time; '' for never
  project     TEXT NOT NULL DEFAULT '',
  inferred    INTEGER NOT NULL DEFAULT 0,
  -- the Pacific day until which an inferred project is believed, and how often it was inferred
  joined_until_day INTEGER NOT NULL DEFAULT 0,
  joins       INTEGER NOT NULL DEFAULT 0,
  -- the last Pacific day on which a day's quota refused it though hardly used, by this bot
  puzzled_day INTEGER NOT NULL DEFAULT 0,
  -- '' fine, else why it is out for good: invalid, leaked, suspended …
  dead        TEXT NOT NULL DEFAULT '',
  dead_ms     INTEGER NOT NULL DEFAULT 0,
  parked      INTEGER NOT NULL DEFAULT 0,
  resting_until_ms INTEGER NOT NULL DEFAULT 0,
  -- 1: the rest was guessed, a model-list call may lift it
  rest_guessed INTEGER NOT NULL DEFAULT 0,
  rest_reason TEXT NOT NULL DEFAULT '',
  errors      INTEGER NOT NULL DEFAULT 0,
  last_used_ms INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Two keys without a declared project that cannot share one (one was answered while the other's day
-- was used up), or that may.
CREATE TABLE key_apart (
  one   TEXT NOT NULL,
  other TEXT NOT NULL,
  -- the Pacific day on which that was seen last
  day   INTEGER NOT NULL,
  -- on so many days both were used up together; 0 once it is known that they are apart
  together INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (one, other)
) STRICT, WITHOUT ROWID;

-- What is known of a (project, model) pair.
CREATE TABLE quota (
  project    TEXT NOT NULL,
  model      TEXT NOT NULL,
  -- learned limits; -1 unknown, 0 none at all
  rpm        INTEGER NOT NULL DEFAULT -1,
  tpm        INTEGER NOT NULL DEFAULT -1,
  rpd        INTEGER NOT NULL DEFAULT -1,
  until_ms   INTEGER NOT NULL DEFAULT 0,
  -- 'minute', 'day', 'tokens' (of a day), 'spend', 'guess', 'none' (limit 0),
  -- 'closed' (model closed to this project), ''
  reason     TEXT NOT NULL DEFAULT '',
  guessed    INTEGER NOT NULL DEFAULT 0,
  backoff    INTEGER NOT NULL DEFAULT 0,
  learned_ms INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (project, model)
) STRICT, WITHOUT ROWID;

-- Use per Pacific day; `used` counts reservations too.
CREATE TABLE quota_day (
  -- days since the epoch, of the Pacific calendar
  day        INTEGER NOT NULL,
  project    TEXT NOT NULL,
  model      TEXT NOT NULL,
  used       INTEGER NOT NULL DEFAULT 0,
  refused    INTEGER NOT NULL DEFAULT 0,
  tokens_in  INTEGER NOT NULL DEFAULT 0,
  tokens_out INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (day, project, model)
) STRICT, WITHOUT ROWID;

-- Requests of the last minutes: reserved before they are sent, settled after, refunded if no byte left.
CREATE TABLE reservation (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  project    TEXT NOT NULL,
  model      TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  at_ms      INTEGER NOT NULL,
  day        INTEGER NOT NULL,
  tokens     INTEGER NOT NULL,
  -- 0 reserved, 1 settled
  settled    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX reservation_age ON reservation (at_ms);

-- Models on the bench after overload; the model '*' is the whole pool, paused by the storm guard.
CREATE TABLE model_bench (
  model    TEXT PRIMARY KEY,
  until_ms INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  reason   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Counts per local calendar day and hour, for status, charts and forecasts.
CREATE TABLE tally (
  -- hours since the epoch, UTC
  hour  INTEGER NOT NULL,
  -- 'answers', 'refused', 'failed', 'tokens_in', 'tokens_out', 'answer_ms', 'backlog' …
  name  TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (hour, name)
) STRICT, WITHOUT ROWID;

-- What a command asks of the running daemon: 'drain', 'sync', 'reload'.
CREATE TABLE request (
  kind     TEXT PRIMARY KEY,
  asked_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who is synchronising now, so that the daemon and cron never do it at once.
CREATE TABLE sync_lease (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  holder   TEXT NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT;

-- The last troubles, for status and check; bounded by the writer.
CREATE TABLE trouble (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms   INTEGER NOT NULL,
  place   TEXT NOT NULL,
  text    TEXT NOT NULL
) STRICT;
