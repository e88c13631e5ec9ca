//! Owns: the connection to Redis and the scripts run there; the only file that names the crate.
//! May not: decide anything, let the URL into an error.

use crate::types::Secret;
use redis::{Client, Connection, ErrorKind, RedisError, ServerErrorKind, TlsCertificates, Value};
use std::borrow::Cow;
use std::time::Duration;

/// Every key of ours begins so.
pub const PREFIX: &str = "svs-bot:";
/// A Redis that takes longer counts as away: no chat waits for it.
const CALL_MAX: Duration = Duration::from_millis(400);
/// The same for a connection with its greeting.
const CONNECT_MAX: Duration = Duration::from_millis(1_500);

/// A sentinel that takes longer is passed over: there are others, and no chat waits for it.
const SENTINEL_WITHIN: Duration = Duration::from_millis(500);
/// More addresses than these are not asked.
const SENTINELS_MAX: usize = 8;

const NO_MASTER: &str =
    "redis: the sentinels name a replica: a failover is on its way: nothing, it is tried again";
const NO_NAME: &str = "redis: sentinel: no master of this name: correct the name in REDIS_URL";
const CLUSTER: &str =
    "redis: this is a redis cluster: take a single redis: a cluster is not supported";

/// What runs inside Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Reserve,
    Settle,
    Beat,
    Report,
    Push,
    Tick,
    Keep,
    Load,
    Meet,
    Place,
}

impl Script {
    const ALL: [Self; 10] = [
        Self::Reserve,
        Self::Settle,
        Self::Beat,
        Self::Report,
        Self::Push,
        Self::Tick,
        Self::Keep,
        Self::Load,
        Self::Meet,
        Self::Place,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Reserve => include_str!("reserve.lua"),
            Self::Settle => include_str!("settle.lua"),
            Self::Beat => include_str!("beat.lua"),
            Self::Report => include_str!("report.lua"),
            Self::Push => include_str!("push.lua"),
            Self::Tick => include_str!("tick.lua"),
            Self::Keep => include_str!("keep.lua"),
            Self::Load => include_str!("load.lua"),
            Self::Meet => include_str!("meet.lua"),
            Self::Place => include_str!("place.lua"),
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
    /// Connects, signs in, loads the scripts.
    ///
    /// # Errors
    /// One line of what, why and what to do, without the URL.
    pub(super) fn open(url: &Secret, roots: Option<&[u8]>) -> Result<Self, String> {
        let sentinels = Sentinels::read(url.expose());
        let address = match &sentinels {
            Some(sentinels) => Cow::Owned(sentinels.master(roots)?),
            None => Cow::Borrowed(url.expose()),
        };
        let mut connection =
            connect(&address, roots, CONNECT_MAX).map_err(|error| explain(&error))?;
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
        if info.lines().any(|line| line.trim() == "redis_mode:cluster") {
            return Err(CLUSTER.to_owned());
        }
        // Who was the master a moment ago may not have heard yet that it is none.
        if sentinels.is_some() {
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
            .arg(format!("{PREFIX}boxes"))
            .arg(0)
            .arg(most)
            .query(&mut self.connection)
            .map_err(|error| explain(&error))?;
        let mut boxes = Vec::new();
        for id in ids {
            let said: Option<String> = redis::cmd("GET")
                .arg(format!("{PREFIX}box:{id}"))
                .query(&mut self.connection)
                .map_err(|error| explain(&error))?;
            boxes.extend(said.map(|said| (id, said)));
        }
        Ok(boxes)
    }
}

/// `redis+sentinel://[[user]:password@]host[:port],…/name[/number]`, or `rediss+sentinel://` where all speak TLS.
struct Sentinels<'a> {
    scheme: &'static str,
    /// With its `@`.
    credentials: &'a str,
    hosts: Vec<&'a str>,
    name: &'a str,
    number: &'a str,
}

impl<'a> Sentinels<'a> {
    fn read(url: &'a str) -> Option<Self> {
        let (scheme, rest) = match url.strip_prefix("redis+sentinel://") {
            Some(rest) => ("redis", rest),
            None => ("rediss", url.strip_prefix("rediss+sentinel://")?),
        };
        let (credentials, rest) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
        let mut parts = rest.splitn(3, '/');
        let hosts = parts.next().unwrap_or_default().split(',').filter(|host| !host.is_empty());
        let hosts = hosts.take(SENTINELS_MAX).collect();
        let name = parts.next().unwrap_or_default();
        let number = parts.next().filter(|number| !number.is_empty()).unwrap_or("0");
        Some(Self { scheme, credentials, hosts, name, number })
    }

    /// Asks one after another where the master is; the first that knows is believed.
    fn master(&self, roots: Option<&[u8]>) -> Result<String, String> {
        let mut trouble = None;
        for host in &self.hosts {
            let host = with_port(host);
            // Most sentinels have no password of their own, and refuse one; the others have that of Redis.
            let asked = self.ask("", &host, roots).or_else(|error| {
                let locked = error.code() == Some("NOAUTH");
                if locked && !self.credentials.is_empty() {
                    self.ask(self.credentials, &host, roots)
                } else {
                    Err(error)
                }
            });
            match asked {
                Ok(Some((host, port))) => {
                    let host = if host.contains(':') { format!("[{host}]") } else { host };
                    let (scheme, credentials) = (self.scheme, self.credentials);
                    return Ok(format!("{scheme}://{credentials}{host}:{port}/{}", self.number));
                }
                Ok(None) => trouble = Some(NO_NAME.to_owned()),
                Err(error) => {
                    trouble.get_or_insert_with(|| {
                        explain(&error).replacen("redis:", "redis: sentinel:", 1)
                    });
                }
            }
        }
        Err(trouble.unwrap_or_else(|| NO_NAME.to_owned()))
    }

    fn ask(
        &self,
        credentials: &str,
        host: &str,
        roots: Option<&[u8]>,
    ) -> Result<Option<(String, u16)>, RedisError> {
        let url = format!("{}://{credentials}{host}/", self.scheme);
        let mut connection = connect(&url, roots, SENTINEL_WITHIN)?;
        connection.set_read_timeout(Some(SENTINEL_WITHIN))?;
        connection.set_write_timeout(Some(SENTINEL_WITHIN))?;
        redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(self.name).query(&mut connection)
    }
}

/// A sentinel listens at 26379 unless told otherwise.
fn with_port(host: &str) -> Cow<'_, str> {
    let after = host.rsplit(']').next().unwrap_or(host);
    if after.contains(':') { Cow::Borrowed(host) } else { Cow::Owned(format!("{host}:26379")) }
}

fn connect(url: &str, roots: Option<&[u8]>, within: Duration) -> Result<Connection, RedisError> {
    let client = match roots {
        Some(pem) if url.starts_with("rediss:") => Client::build_with_tls(
            url,
            TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) },
        ),
        _ => Client::open(url),
    }?;
    client.get_connection_with_timeout(within)
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
fn explain(error: &RedisError) -> String {
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
            "takes redis://[user:password@]host:port/number, rediss://… or redis+sentinel://…",
        )
    } else if said("OOM") {
        ("redis is full and evicts nothing", "give it more maxmemory; this box goes on by itself")
    } else if said("READONLY") || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly) {
        ("this is a read-only replica", "name the master in REDIS_URL, or its sentinels")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_sentinels_names_them_the_master_and_the_database() {
        let url = "rediss+sentinel://me:p%40@a,b:7000,[::1]/mine/3";
        let read = Sentinels::read(url).expect("it is one");
        assert_eq!((read.scheme, read.credentials), ("rediss", "me:p%40@"));
        let hosts: Vec<_> = read.hosts.iter().map(|host| with_port(host)).collect();
        assert_eq!(hosts, ["a:26379", "b:7000", "[::1]:26379"]);
        assert_eq!((read.name, read.number), ("mine", "3"));
        let bare = Sentinels::read("redis+sentinel://a/mine").expect("it is one");
        assert_eq!((bare.scheme, bare.credentials, bare.number), ("redis", "", "0"));
        assert!(Sentinels::read("redis://a/mine").is_none());
    }
}
