//! Addresses of Redis: one server, servers that Sentinels watch over, or a cluster.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::domain::Secret;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// What Sentinel's own example of a configuration calls the servers that it watches over.
const USUAL_MASTER: &str = "mymaster";
/// Seeds of a cluster, or Sentinels: more than anyone runs.
const MOST_HOSTS: usize = 64;

type Refusal = &'static str;

/// `redis://`, `redis-sentinel://` or `redis-cluster://`; with `rediss` in place of `redis` all of it over TLS.
#[derive(Clone, Debug)]
pub struct RedisUrl {
    text: Secret,
    pub servers: RedisServers,
}

/// Each address is a `redis://` or `rediss://` URL of one server, with the name and password that are shown there.
#[derive(Clone, Debug)]
pub enum RedisServers {
    One(Secret),
    Sentinel {
        sentinels: Vec<Secret>,
        /// What the Sentinels call the servers.
        master: String,
        /// How to sign in at the server that they name; its host is not to be used.
        server: Secret,
    },
    /// Nodes to begin with; they name the others.
    Cluster(Vec<Secret>),
}

impl RedisUrl {
    /// # Errors
    /// When it is none. Says nothing of the URL's content: it may hold a password.
    pub fn parse(text: Secret) -> Result<Self, Refusal> {
        let servers = match text.expose().split_once("://") {
            Some(("redis" | "rediss", _)) => one(&text)?,
            Some(("redis-sentinel", rest)) => sentinel("redis", rest)?,
            Some(("rediss-sentinel", rest)) => sentinel("rediss", rest)?,
            Some(("redis-cluster", rest)) => cluster("redis", rest)?,
            Some(("rediss-cluster", rest)) => cluster("rediss", rest)?,
            _ => {
                return Err(
                    "must be a URL such as redis://:password@host:6379/0, or rediss:// for TLS; \
                     redis-sentinel://:password@host:26379,host:26379/mymaster and redis-cluster://:password@host:6379,host:6379 for several servers",
                );
            }
        };
        Ok(Self { text, servers })
    }

    /// The text itself; each call site is a place to look at in review.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

fn one(text: &Secret) -> Result<RedisServers, Refusal> {
    match Url::parse(text.expose()) {
        // The Redis client takes `#insecure` for a wish to check no certificate.
        Ok(url) if url.fragment().is_some() => Err("must not have a fragment: certificates are always checked"),
        Ok(url) if url.host().is_some() => Ok(RedisServers::One(text.clone())),
        _ => Err("must be a URL such as redis://:password@host:6379/0, or rediss:// for TLS"),
    }
}

/// What all such URLs have: credentials, several hosts, and what follows.
struct Parts<'u> {
    /// As written, percent-encoded.
    credentials: &'u str,
    hosts: Vec<String>,
    rest: Url,
}

fn parts(rest: &str, port: u16) -> Result<Parts<'_>, Refusal> {
    let bad = "must name its hosts as in redis-sentinel://user:password@host:26379,host:26379/mymaster; \
               in names and passwords, / ? # and @ are written %2F %3F %23 and %40";
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let hosts = hosts
        .split(',')
        .map(|host| {
            let url = Url::parse(&format!("redis://{host}")).ok()?;
            let is_host = !host.contains('@') && !url.host_str()?.is_empty();
            is_host.then(|| format!("{}:{}", url.host_str().unwrap_or_default(), url.port().unwrap_or(port)))
        })
        .collect::<Option<Vec<_>>>()
        .filter(|hosts| hosts.len() <= MOST_HOSTS)
        .ok_or(bad)?;
    let rest = Url::parse(&format!("redis://host{tail}")).map_err(|_| bad)?;
    Ok(Parts {
        credentials,
        hosts,
        rest,
    })
}

/// The URL of one server; refused where the credentials are not such.
fn address(scheme: &str, credentials: &str, host: &str, path: &str) -> Result<Secret, Refusal> {
    let at = if credentials.is_empty() { "" } else { "@" };
    let text = format!("{scheme}://{credentials}{at}{host}{path}");
    match Url::parse(&text) {
        Ok(_) => Ok(Secret::new(text)),
        Err(_) => Err("has a user or password that is not written as URLs want it: user:password, percent-encoded"),
    }
}

/// `HOSTS/MASTER[/DATABASE]`, or as Lettuce writes it: `HOSTS/DATABASE#MASTER`, `HOSTS/DATABASE?sentinelMasterId=MASTER`.
fn sentinel(scheme: &str, rest: &str) -> Result<RedisServers, Refusal> {
    let parts = parts(rest, SENTINEL_PORT)?;
    let (mut masters, mut user, mut password) = (Vec::new(), String::new(), String::new());
    for (key, value) in parts.rest.query_pairs() {
        match &*key {
            "sentinelMasterId" => masters.push(value.into_owned()),
            "sentinel_user" => user = value.into_owned(),
            "sentinel_password" => password = value.into_owned(),
            _ => return Err("has a parameter that is none of sentinel_user, sentinel_password and sentinelMasterId"),
        }
    }
    masters.extend(parts.rest.fragment().map(str::to_owned));
    let segments: Vec<&str> = parts
        .rest
        .path_segments()
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let database = match segments.as_slice() {
        [] => "0",
        [database] if is_number(database) => database,
        [master] => {
            masters.push((*master).to_owned());
            "0"
        }
        [master, database] if is_number(database) => {
            masters.push((*master).to_owned());
            database
        }
        _ => {
            return Err("must end in /MASTER or /MASTER/DATABASE, where MASTER is what the Sentinels call the servers");
        }
    };
    let master = match masters.as_slice() {
        [] => USUAL_MASTER.to_owned(),
        [master]
            if master
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) =>
        {
            master.clone()
        }
        [_] => return Err("names a master that Sentinel could not: letters, digits, full stop, dash and underscore"),
        _ => return Err("names the master twice"),
    };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let at_sentinels = match (user.as_str(), password.as_str()) {
        ("", "") => String::new(),
        (user, password) => format!("{}:{}", encoded(user), encoded(password)),
    };
    let sentinels = parts.hosts.iter().map(|host| address(scheme, &at_sentinels, host, ""));
    Ok(RedisServers::Sentinel {
        sentinels: sentinels.collect::<Result<_, _>>()?,
        master,
        server: address(scheme, parts.credentials, &parts.hosts[0], &format!("/{database}"))?,
    })
}

fn cluster(scheme: &str, rest: &str) -> Result<RedisServers, Refusal> {
    let parts = parts(rest, REDIS_PORT)?;
    if !matches!(parts.rest.path(), "" | "/" | "/0") || parts.rest.query().is_some() || parts.rest.fragment().is_some()
    {
        return Err("must end with its hosts: a cluster has no databases, and the gateway knows no parameters for it");
    }
    let nodes = parts
        .hosts
        .iter()
        .map(|host| address(scheme, parts.credentials, host, ""));
    Ok(RedisServers::Cluster(nodes.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RedisServers, Refusal> {
        RedisUrl::parse(Secret::new(text)).map(|url| url.servers)
    }

    fn exposed(secrets: &[Secret]) -> Vec<&str> {
        secrets.iter().map(Secret::expose).collect()
    }

    #[test]
    fn sentinels_and_their_master_are_read_with_who_signs_in_where() {
        let watched = |text: &str| match read(text).unwrap() {
            RedisServers::Sentinel {
                sentinels,
                master,
                server,
            } => (exposed(&sentinels).join(" "), master, server.expose().to_owned()),
            other => panic!("{other:?}"),
        };
        let plain = watched("redis-sentinel://:p%40ss@a,b:1,[::1]:2/main/3");
        let sentinels = "redis://a:26379 redis://b:1 redis://[::1]:2";
        assert_eq!(
            plain,
            (sentinels.into(), "main".into(), "redis://:p%40ss@a:26379/3".into())
        );
        let guarded = watched("rediss-sentinel://u:p@a/main?sentinel_user=s&sentinel_password=%2Fx");
        assert_eq!(guarded.0, "rediss://s:%2Fx@a:26379");
        assert_eq!(guarded.2, "rediss://u:p@a:26379/0");
        for (text, master, database) in [
            ("redis-sentinel://a", "mymaster", "/0"),
            ("redis-sentinel://a/", "mymaster", "/0"),
            ("redis-sentinel://a/2", "mymaster", "/2"),
            ("redis-sentinel://a/2#main", "main", "/2"),
            ("redis-sentinel://a?sentinelMasterId=main", "main", "/0"),
        ] {
            let (_, named, server) = watched(text);
            assert_eq!(named, master, "{text}");
            assert!(server.ends_with(database), "{text}: {server}");
        }
    }

    #[test]
    fn the_nodes_of_a_cluster_are_read() {
        let RedisServers::Cluster(nodes) = read("redis-cluster://u:p@a,b:7001/0").unwrap() else {
            panic!("a cluster")
        };
        assert_eq!(exposed(&nodes), ["redis://u:p@a:6379", "redis://u:p@b:7001"]);
        assert!(matches!(read("rediss-cluster://a"), Ok(RedisServers::Cluster(_))));
        assert!(matches!(read("rediss://a"), Ok(RedisServers::One(_))));
    }

    #[test]
    fn what_could_mean_two_things_is_refused_and_not_repeated() {
        for text in [
            "redis-sentinel://",
            "redis-sentinel://hunter2@",
            "redis-sentinel://:hunter2@a,,b",
            "redis-sentinel://:hunter2@a:99999",
            "redis-sentinel://:hunter2@a/main/x",
            "redis-sentinel://:hunter2@a/main/0/1",
            "redis-sentinel://:hunter2@a/main#main",
            "redis-sentinel://:hunter2@a/ma%20in",
            "redis-sentinel://:hunter2@a/main?password=hunter2",
            "redis-cluster://:hunter2@a/1",
            "redis-cluster://:hunter2@a?x=y",
            "redis-cluster://:hunter2@a/#insecure",
            "redis://:hunter2@a/#insecure",
            "redis+sentinel://:hunter2@a",
            "hunter2",
        ] {
            let told = read(text).unwrap_err();
            assert!(!told.contains("hunter2"), "{text}: {told}");
        }
    }
}
