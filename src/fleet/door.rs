//! Owns: the connection to Redis and the scripts run there; with [`super::place`] all that names the crate.
//! May not: decide anything, let the URL into an error.

use super::keys::POOL;
use super::place::{self, Place};
use crate::types::Secret;
use redis::{Connection, ErrorKind, RedisError, ServerErrorKind, Value};
use std::time::Duration;

/// A Redis that takes longer counts as away: no chat waits for it.
const CALL_MAX: Duration = Duration::from_millis(400);
/// The same for a connection with its greeting.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);

const NO_MASTER: &str =
    "redis: the sentinels name a replica: a failover is on its way: nothing, it is tried again";
const CLUSTER: &str = "redis: this is a redis cluster: name its nodes in REDIS_URL as redis+cluster://host:port,host:port";
const NO_CLUSTER: &str =
    "redis: this is no redis cluster: name it in REDIS_URL as redis://host:port/number";

/// What runs inside Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Reserve,
    Settle,
    Beat,
    Report,
    Push,
    Tick,
    Shares,
    Keep,
    Load,
    Meet,
    Seat,
}

impl Script {
    const ALL: [Self; 11] = [
        Self::Reserve,
        Self::Settle,
        Self::Beat,
        Self::Report,
        Self::Push,
        Self::Tick,
        Self::Shares,
        Self::Keep,
        Self::Load,
        Self::Meet,
        Self::Seat,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Reserve => include_str!("reserve.lua"),
            Self::Settle => include_str!("settle.lua"),
            Self::Beat => include_str!("beat.lua"),
            Self::Report => include_str!("report.lua"),
            Self::Push => include_str!("push.lua"),
            Self::Tick => include_str!("tick.lua"),
            Self::Shares => include_str!("shares.lua"),
            Self::Keep => include_str!("keep.lua"),
            Self::Load => include_str!("load.lua"),
            Self::Meet => include_str!("meet.lua"),
            Self::Seat => include_str!("seat.lua"),
        }
    }
}

/// An open connection with its scripts loaded.
pub(super) struct Door {
    connection: Connection,
    /// The scripts by their hashes, in the order of [`Script::ALL`].
    hashes: Vec<String>,
    /// Names this run of Redis: another one may have forgotten.
    pub(super) run: String,
}

/// A reply of a script: numbers and texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Number(i64),
    Text(String),
}

impl Item {
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Number(_) => "",
        }
    }
}

impl Door {
    /// Connects to where `home` lies, one of the keys that will be used, signs in, loads the scripts.
    ///
    /// # Errors
    /// One line of what, why and what to do, without the URL.
    pub(super) fn open(url: &Secret, roots: Option<&[u8]>, home: &str) -> Result<Self, String> {
        let place = Place::read(url.expose());
        let address = place.address(roots, home)?;
        let mut connection =
            place::connect(&address, roots, CONNECT_MAX).map_err(|error| explain(&error))?;
        let limit = |connection: &Connection| {
            connection.set_read_timeout(Some(CALL_MAX))?;
            connection.set_write_timeout(Some(CALL_MAX))
        };
        limit(&connection).map_err(|error| explain(&error))?;
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query(&mut connection)
            .map_err(|error| explain(&error))?;
        // Where our first key happens to lie, a cluster would look like a single one until another is asked for.
        match (&place, info.lines().any(|line| line.trim() == "redis_mode:cluster")) {
            (Place::Cluster(_), true) | (Place::Single(_) | Place::Sentinels(_), false) => {}
            (Place::Cluster(_), false) => return Err(NO_CLUSTER.to_owned()),
            (_, true) => return Err(CLUSTER.to_owned()),
        }
        // Who was the master a moment ago may not have heard yet that it is none.
        if matches!(place, Place::Sentinels(_)) {
            let role: String = redis::cmd("INFO")
                .arg("replication")
                .query(&mut connection)
                .map_err(|error| explain(&error))?;
            if !role.lines().any(|line| line.trim() == "role:master") {
                return Err(NO_MASTER.to_owned());
            }
        }
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or("unknown");
        let mut hashes = Vec::new();
        for script in Script::ALL {
            let hash: String = redis::cmd("SCRIPT")
                .arg("LOAD")
                .arg(script.text())
                .query(&mut connection)
                .map_err(|error| explain(&error))?;
            hashes.push(hash);
        }
        Ok(Self { connection, hashes, run: run.trim().to_owned() })
    }

    /// Runs a script: one command, one round trip.
    ///
    /// # Errors
    /// As [`Door::open`]; the connection is then not to be used again.
    pub(super) fn run_script(
        &mut self,
        script: Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<Vec<Item>, String> {
        let at = Script::ALL.iter().position(|known| *known == script).unwrap_or(0);
        let hash = self.hashes.get(at).map_or("", String::as_str);
        let mut command = redis::cmd("EVALSHA");
        command.arg(hash).arg(keys.len()).arg(keys).arg(arguments);
        let value: Value = command.query(&mut self.connection).map_err(|error| explain(&error))?;
        Ok(match value {
            Value::Array(values) => values.iter().map(item).collect(),
            other => vec![item(&other)],
        })
    }

    /// What the boxes that are alive say of themselves.
    ///
    /// # Errors
    /// As [`Door::run_script`].
    pub(super) fn boxes(&mut self, most: usize) -> Result<Vec<(String, String)>, String> {
        let ids: Vec<String> = redis::cmd("ZRANGE")
            .arg(format!("{POOL}boxes"))
            .arg(0)
            .arg(most)
            .query(&mut self.connection)
            .map_err(|error| explain(&error))?;
        let mut boxes = Vec::new();
        for id in ids {
            let said: Option<String> = redis::cmd("GET")
                .arg(format!("{POOL}box:{id}"))
                .query(&mut self.connection)
                .map_err(|error| explain(&error))?;
            boxes.extend(said.map(|said| (id, said)));
        }
        Ok(boxes)
    }
}

fn item(value: &Value) -> Item {
    match value {
        Value::Int(number) => Item::Number(*number),
        Value::BulkString(bytes) => Item::Text(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Item::Text(text.clone()),
        _ => Item::Text(String::new()),
    }
}

/// `what: why: what to do`; a server's own words are not repeated, they may quote an argument.
pub(super) fn explain(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    let detail = error.to_string();
    let said = |word: &str| code == word || detail.contains(word);
    let (why, todo) = if said("WRONGPASS")
        || said("NOAUTH")
        || error.kind() == ErrorKind::AuthenticationFailed
    {
        (
            "the password or user is refused",
            "correct it in REDIS_URL; after a rotation restart the bot",
        )
    } else if error.kind() == ErrorKind::InvalidClientConfig {
        (
            "the address cannot be read",
            "takes redis://[user:password@]host:port/number, rediss://…, redis+sentinel://… or redis+cluster://…",
        )
    } else if ["MOVED", "ASK", "TRYAGAIN"].contains(&code) {
        ("what is needed moved to another node of the cluster", "nothing: it is looked for anew")
    } else if said("CLUSTERDOWN") {
        ("the cluster has lost a part of its masters", "look at `redis-cli --cluster check`")
    } else if said("OOM") {
        ("redis is full and evicts nothing", "give it more maxmemory; this box goes on by itself")
    } else if said("READONLY") || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
        (
            "this is a read-only replica",
            "name the master in REDIS_URL, its sentinels, or its cluster",
        )
    } else if said("DB index is out of range") {
        ("redis has no database of this number", "take another number at the end of REDIS_URL")
    } else if said("NOPERM") {
        ("the user may not run what is needed", "grant it ~svs-bot:* +@all -@dangerous +info")
    } else if said("WRONGTYPE") {
        ("a key of svs-bot: is in use by another program", "take another database number")
    } else if said("PARTITIONS") {
        ("boxes of another version share this bot's updates", "run the same version on every box")
    } else if said("LOADING") {
        ("redis is still loading its data", "nothing: it is tried again")
    } else if said("MISCONF") {
        ("redis cannot write its data to disk and refuses", "look at its disk and its log")
    } else if said("NOSCRIPT") {
        ("the scripts were flushed", "nothing: they are loaded again")
    } else if detail.contains("ertificate") || detail.contains("nvalidContentType") {
        ("TLS fails", "check the certificate, TLS_CA_FILE, and rediss:// against redis://")
    } else if error.is_timeout() {
        ("no reply in time", "look at redis, the network, and rediss:// against redis://")
    } else if error.is_io_error() {
        ("not reachable", "look at redis and the network; this box goes on by itself")
    } else {
        ("redis refuses", "look at its log")
    };
    let word = if code.is_empty() { String::new() } else { format!(" ({code})") };
    format!("redis: {why}{word}: {todo}")
}
