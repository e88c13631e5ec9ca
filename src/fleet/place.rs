//! Owns: where Redis is: a single server, the master that sentinels name, the node of a cluster that has a key.
//! May not: decide anything, let the URL into an error.

use super::door::explain;
use redis::{Client, Connection, RedisError, TlsCertificates};
use std::borrow::Cow;
use std::time::Duration;

/// A sentinel or node that takes longer is passed over: there are others, and no chat waits for it.
const ASK_WITHIN: Duration = Duration::from_millis(500);
/// More addresses than these are not asked.
const HOSTS_MAX: usize = 8;
/// From node to node; the first one that is asked knows where a key is, unless it is moving.
const HOPS_MAX: usize = 3;
/// Where they listen unless told otherwise.
const SENTINEL_PORT: &str = "26379";
const NODE_PORT: &str = "6379";

const NO_NAME: &str = "redis: sentinel: no master of this name: correct the name in REDIS_URL";
const NO_NODE: &str = "redis: cluster: no node is named: name some in REDIS_URL";

/// What `REDIS_URL` names.
pub(super) enum Place<'a> {
    /// One server.
    Single(&'a str),
    /// Who knows where the master is.
    Sentinels(Sentinels<'a>),
    /// Nodes, each of which knows where a key is.
    Cluster(Cluster<'a>),
}

impl<'a> Place<'a> {
    pub(super) fn read(url: &'a str) -> Self {
        if let Some(sentinels) = Sentinels::read(url) {
            Self::Sentinels(sentinels)
        } else if let Some(cluster) = Cluster::read(url) {
            Self::Cluster(cluster)
        } else {
            Self::Single(url)
        }
    }

    /// The URL of the server to connect to for what lies with the key `home`.
    ///
    /// # Errors
    /// As [`super::door::Door::open`].
    pub(super) fn address(&self, roots: Option<&[u8]>, home: &str) -> Result<Cow<'a, str>, String> {
        Ok(match self {
            Self::Single(url) => Cow::Borrowed(*url),
            Self::Sentinels(sentinels) => Cow::Owned(sentinels.master(roots)?),
            Self::Cluster(cluster) => Cow::Owned(cluster.master_of(home, roots)?),
        })
    }
}

/// `redis+sentinel://[[user]:password@]host[:port],…/name[/number]`, or `rediss+sentinel://` where all speak TLS.
pub(super) struct Sentinels<'a> {
    scheme: &'static str,
    /// With its `@`.
    credentials: &'a str,
    hosts: Vec<&'a str>,
    name: &'a str,
    number: &'a str,
}

impl<'a> Sentinels<'a> {
    fn read(url: &'a str) -> Option<Self> {
        let (scheme, credentials, rest) = parts(url, "sentinel")?;
        let mut parts = rest.splitn(3, '/');
        let hosts = hosts(parts.next().unwrap_or_default());
        let name = parts.next().unwrap_or_default();
        let number = parts.next().filter(|number| !number.is_empty()).unwrap_or("0");
        Some(Self { scheme, credentials, hosts, name, number })
    }

    /// Asks one after another where the master is; the first that knows is believed.
    fn master(&self, roots: Option<&[u8]>) -> Result<String, String> {
        let mut trouble = None;
        for host in &self.hosts {
            let host = with_port(host, SENTINEL_PORT);
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
                    let host = bracketed(&host);
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
        let mut connection = connect_to_ask(&url, roots)?;
        redis::cmd("SENTINEL").arg("get-master-addr-by-name").arg(self.name).query(&mut connection)
    }
}

/// `redis+cluster://[[user]:password@]host[:port],…`, or `rediss+cluster://` where all nodes speak TLS.
pub(super) struct Cluster<'a> {
    scheme: &'static str,
    /// With its `@`.
    credentials: &'a str,
    hosts: Vec<&'a str>,
}

impl<'a> Cluster<'a> {
    fn read(url: &'a str) -> Option<Self> {
        let (scheme, credentials, rest) = parts(url, "cluster")?;
        let hosts = hosts(rest.split('/').next().unwrap_or_default());
        Some(Self { scheme, credentials, hosts })
    }

    /// Asks one node after another who has the key; the first that knows is believed.
    fn master_of(&self, home: &str, roots: Option<&[u8]>) -> Result<String, String> {
        let mut trouble = None;
        for host in &self.hosts {
            match self.follow(with_port(host, NODE_PORT).into_owned(), home, roots) {
                Ok(address) => return Ok(address),
                Err(error) => {
                    trouble.get_or_insert_with(|| {
                        explain(&error).replacen("redis:", "redis: cluster:", 1)
                    });
                }
            }
        }
        Err(trouble.unwrap_or_else(|| NO_NODE.to_owned()))
    }

    fn follow(
        &self,
        mut host: String,
        home: &str,
        roots: Option<&[u8]>,
    ) -> Result<String, RedisError> {
        let mut hops = 0;
        loop {
            let address = format!("{}://{}{host}/", self.scheme, self.credentials);
            let mut connection = connect_to_ask(&address, roots)?;
            let answer: Result<i64, RedisError> =
                redis::cmd("EXISTS").arg(home).query(&mut connection);
            let Err(error) = answer else { return Ok(address) };
            match error.redirect_node() {
                // Its slot is about to move and it is not there any more: until it has moved, this node answers for it.
                Some(_) if error.code() == Some("ASK") => return Ok(address),
                Some((node, _)) if hops < HOPS_MAX => host = redirected(&host, node),
                _ => return Err(error),
            }
            hops += 1;
        }
    }
}

/// Where a node sends to; without a host it means its own.
fn redirected(from: &str, node: &str) -> String {
    let (host, port) = node.rsplit_once(':').unwrap_or((node, "6379"));
    if host.is_empty() {
        let own = from.rsplit_once(':').map_or(from, |(host, _)| host);
        return format!("{own}:{port}");
    }
    format!("{}:{port}", bracketed(host))
}

/// Scheme of the connections, credentials with their `@`, and the rest of a URL of several hosts.
fn parts<'a>(url: &'a str, kind: &str) -> Option<(&'static str, &'a str, &'a str)> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = match scheme.split_once('+')? {
        ("redis", it) if it == kind => "redis",
        ("rediss", it) if it == kind => "rediss",
        _ => return None,
    };
    let (credentials, rest) = rest.split_at(rest.rfind('@').map_or(0, |at| at + 1));
    Some((scheme, credentials, rest))
}

fn hosts(list: &str) -> Vec<&str> {
    list.split(',').filter(|host| !host.is_empty()).take(HOSTS_MAX).collect()
}

/// An address of IPv6 in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

fn with_port<'a>(host: &'a str, port: &str) -> Cow<'a, str> {
    let after = host.rsplit(']').next().unwrap_or(host);
    if after.contains(':') { Cow::Borrowed(host) } else { Cow::Owned(format!("{host}:{port}")) }
}

/// For one question about where to go.
fn connect_to_ask(url: &str, roots: Option<&[u8]>) -> Result<Connection, RedisError> {
    let connection = connect(url, roots, ASK_WITHIN)?;
    connection.set_read_timeout(Some(ASK_WITHIN))?;
    connection.set_write_timeout(Some(ASK_WITHIN))?;
    Ok(connection)
}

pub(super) fn connect(
    url: &str,
    roots: Option<&[u8]>,
    within: Duration,
) -> Result<Connection, RedisError> {
    let client = match roots {
        Some(pem) if url.starts_with("rediss:") => Client::build_with_tls(
            url,
            TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) },
        ),
        _ => Client::open(url),
    }?;
    client.get_connection_with_timeout(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_sentinels_names_them_the_master_and_the_database() {
        let url = "rediss+sentinel://me:p%40@a,b:7000,[::1]/mine/3";
        let read = Sentinels::read(url).expect("it is one");
        assert_eq!((read.scheme, read.credentials), ("rediss", "me:p%40@"));
        let hosts: Vec<_> = read.hosts.iter().map(|host| with_port(host, SENTINEL_PORT)).collect();
        assert_eq!(hosts, ["a:26379", "b:7000", "[::1]:26379"]);
        assert_eq!((read.name, read.number), ("mine", "3"));
        let bare = Sentinels::read("redis+sentinel://a/mine").expect("it is one");
        assert_eq!((bare.scheme, bare.credentials, bare.number), ("redis", "", "0"));
        assert!(Sentinels::read("redis://a/mine").is_none());
    }
    #[test]
    fn a_url_of_a_cluster_names_its_nodes() {
        let read = Cluster::read("rediss+cluster://:p@a,b:7000,[::1]/0").expect("it is one");
        assert_eq!((read.scheme, read.credentials), ("rediss", ":p@"));
        let hosts: Vec<_> = read.hosts.iter().map(|host| with_port(host, NODE_PORT)).collect();
        assert_eq!(hosts, ["a:6379", "b:7000", "[::1]:6379"]);
        for url in ["redis://a", "redis+sentinel://a/mine", "redis+clusters://a", "x+cluster://a"] {
            assert!(Cluster::read(url).is_none(), "{url}");
        }
    }

    #[test]
    fn a_node_that_sends_elsewhere_may_leave_its_own_host_out() {
        for (from, node, want) in [
            ("a:1", "b:2", "b:2"),
            ("a:1", ":2", "a:2"),
            ("[::1]:1", ":2", "[::1]:2"),
            ("a:1", "fe80::1:7000", "[fe80::1]:7000"),
        ] {
            assert_eq!(redirected(from, node), want);
        }
    }
}
