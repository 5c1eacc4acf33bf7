//! The way to a Redis: one server, or whichever of several is the master now, as Sentinels or a cluster's nodes tell.
//!
//! All of the gateway's keys are in one slot of a cluster, so there as with Sentinels one server holds them all, and the same
//! search finds it: everyone who may know is asked at once, and the first who names a server that says itself that it is a
//! master is believed. Who is silent or wrong costs nothing but the time that the others take.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisError, RedisFuture, RedisResult, ServerErrorKind, TlsCertificates, Value,
};
use tokio::runtime::Handle;

use super::BadStore;
use crate::config::{RedisServers, RedisUrl};
use crate::domain::Secret;

// With one server a request makes at most two attempts to connect (with a pause of up to 100 ms between) and one command: 1.3 s.
const CONNECT_LIMIT: Duration = Duration::from_millis(250);
/// With TLS the system's roots are read at each connect.
const TLS_CONNECT_LIMIT: Duration = Duration::from_millis(400);
const RESPONSE_LIMIT: Duration = Duration::from_millis(400);
/// A silent network (no RST) ends a connection after this, or the kernel would go on resending for many minutes.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(2);
/// Nodes of a cluster that are asked at once.
const MOST_NODES: usize = 64;
/// The slot of all keys that hold `{mlgate}`.
const SLOT: i64 = 8086;

#[derive(Clone)]
pub(super) enum Link {
    One {
        client: Arc<Client>,
        manager: ConnectionManager,
    },
    Searched(Arc<Search>),
}

impl Link {
    /// Begins nothing yet.
    ///
    /// # Errors
    /// When the URL or the CA can never work.
    pub(super) fn new(url: &RedisUrl, root_cert: Option<Vec<u8>>) -> Result<Self, BadStore> {
        let bad = |error: RedisError| BadStore(error.to_string());
        let limit = |info: &ConnectionInfo| match info.addr() {
            ConnectionAddr::TcpTls { .. } => TLS_CONNECT_LIMIT,
            _ => CONNECT_LIMIT,
        };
        let info = |url: &Secret| -> Result<ConnectionInfo, BadStore> {
            let info = url.expose().into_connection_info().map_err(bad)?;
            Ok(info.set_tcp_settings(tcp()))
        };
        let (seeds, server, guide) = match &url.servers {
            RedisServers::One(url) => {
                let info = info(url)?;
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(1)
                    .set_connection_timeout(Some(limit(&info)))
                    .set_response_timeout(Some(RESPONSE_LIMIT));
                let client = client(info, root_cert.as_deref()).map_err(bad)?;
                let manager = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(bad)?;
                return Ok(Self::One {
                    client: Arc::new(client),
                    manager,
                });
            }
            RedisServers::Sentinel {
                sentinels,
                master,
                server,
            } => (sentinels, server, Guide::Sentinels(master.clone())),
            RedisServers::Cluster(nodes) => {
                let first = nodes.first().ok_or_else(|| BadStore("the URL names no node".into()))?;
                (nodes, first, Guide::Nodes)
            }
        };
        let server = info(server)?;
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit(&server)))
            .set_response_timeout(Some(RESPONSE_LIMIT));
        // A CA that is none is found here, not at each search.
        client(server.clone(), root_cert.as_deref()).map_err(bad)?;
        Ok(Self::Searched(Arc::new(Search {
            seeds: seeds.iter().map(info).collect::<Result<_, _>>()?,
            server,
            guide,
            root_cert,
            limits,
            runtime: Handle::current(),
            nodes: Mutex::new(Vec::new()),
            found: tokio::sync::Mutex::new((0, None)),
        })))
    }

    /// What all keys begin with.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            // Braces: a cluster puts whatever has the same text between them into one slot, so that scripts may touch several keys.
            Self::Searched(search) if matches!(search.guide, Guide::Nodes) => "{mlgate}:",
            _ => "mlgate:",
        }
    }

    /// Where to listen for announcements, now.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::One { client, .. } => Ok(Client::clone(client)),
            Self::Searched(search) => Ok(search.find().await?.client),
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One { manager, .. } => manager.req_packed_command(cmd),
            Self::Searched(search) => async move {
                let mut found = search.find().await?;
                let answer = found.connection.req_packed_command(cmd).await;
                let Err(error) = &answer else { return answer };
                if !is_away(error) {
                    return answer;
                }
                search.forget(found.number).await;
                // Nothing was done there, so it can be done elsewhere.
                if !is_no_master(error) {
                    return answer;
                }
                search.find().await?.connection.req_packed_command(cmd).await
            }
            .boxed(),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One { manager, .. } => manager.req_packed_commands(pipeline, offset, count),
            Self::Searched(search) => async move {
                let mut found = search.find().await?;
                let answer = found.connection.req_packed_commands(pipeline, offset, count).await;
                if answer.as_ref().is_err_and(is_away) {
                    search.forget(found.number).await;
                }
                answer
            }
            .boxed(),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One { manager, .. } => manager.get_db(),
            Self::Searched(search) => search.server.redis_settings().db(),
        }
    }
}

/// A host and a port.
type Place = (String, u16);

/// Who knows where the master is.
enum Guide {
    /// Sentinels, by the master's name.
    Sentinels(String),
    /// The nodes of a cluster.
    Nodes,
}

pub(super) struct Search {
    seeds: Vec<ConnectionInfo>,
    /// How to sign in at the master; the address is put in.
    server: ConnectionInfo,
    guide: Guide,
    root_cert: Option<Vec<u8>>,
    limits: AsyncConnectionConfig,
    /// Where connections live: a request's runtime may end before them.
    runtime: Handle,
    /// What the cluster last said of itself: its seeds may be gone by now.
    nodes: Mutex<Vec<Place>>,
    /// The number of the last search, and what it found, for as long as that is good.
    found: tokio::sync::Mutex<(u64, Option<Found>)>,
}

#[derive(Clone)]
struct Found {
    number: u64,
    client: Client,
    connection: MultiplexedConnection,
}

impl Search {
    /// The connection that is there, or a new one. Who comes while a search runs waits for its end.
    async fn find(self: &Arc<Self>) -> RedisResult<Found> {
        if let (_, Some(found)) = &*self.found.lock().await {
            return Ok(found.clone());
        }
        let search = Arc::clone(self);
        let searching = self.runtime.spawn(async move {
            let mut slot = search.found.lock().await;
            if let (_, Some(found)) = &*slot {
                return Ok(found.clone());
            }
            let (client, connection) = search.ask_everyone().await?;
            let number = slot.0 + 1;
            let found = Found {
                number,
                client,
                connection,
            };
            *slot = (number, Some(found.clone()));
            Ok(found)
        });
        let ended = |_| RedisError::from((ErrorKind::Io, "the search for the master has ended"));
        searching.await.map_err(ended)?
    }

    /// What a search found is no master any more; a later one's is left alone.
    async fn forget(&self, number: u64) {
        let mut found = self.found.lock().await;
        if found.1.as_ref().is_some_and(|found| found.number == number) {
            found.1 = None;
        }
    }

    async fn ask_everyone(&self) -> RedisResult<(Client, MultiplexedConnection)> {
        let mut places = self.seeds.clone();
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (host, port) in nodes {
            let place = at(&self.server, host, port);
            if !places.iter().any(|known| known.addr() == place.addr()) {
                places.push(place);
            }
        }
        let mut answers: FuturesUnordered<_> = places.into_iter().map(|place| self.ask(place)).collect();
        let mut tried = Vec::new();
        let mut why = RedisError::from((ErrorKind::Io, "nobody knows of a master"));
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Some((host, port))) if !tried.contains(&(host.clone(), port)) => {
                    match self.enter(at(&self.server, host.clone(), port)).await {
                        Ok(entered) => return Ok(entered),
                        Err(error) => why = error,
                    }
                    tried.push((host, port));
                }
                Ok(_) => {}
                // What a master said is worth more.
                Err(error) if tried.is_empty() => why = error,
                Err(_) => {}
            }
        }
        Err(why)
    }

    /// Whom one of those who may know names.
    async fn ask(&self, place: ConnectionInfo) -> RedisResult<Option<Place>> {
        let asked_host = match place.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            _ => String::new(),
        };
        let (_, mut connection) = self.connect(place).await?;
        match &self.guide {
            Guide::Sentinels(master) => {
                let mut ask = redis::cmd("SENTINEL");
                ask.arg("get-master-addr-by-name").arg(master);
                let named: Option<Place> = ask.query_async(&mut connection).await?;
                named.map(Some).ok_or_else(|| {
                    RedisError::from((
                        ErrorKind::Client,
                        "a Sentinel knows no master of the name that the URL gives",
                    ))
                })
            }
            Guide::Nodes => {
                let slots: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
                let (master, mut nodes) = read_slots(&slots, &asked_host);
                nodes.truncate(MOST_NODES);
                if master.is_some() {
                    *self.nodes.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
                }
                Ok(master)
            }
        }
    }

    /// A connection to a server that says that it is a master.
    async fn enter(&self, place: ConnectionInfo) -> RedisResult<(Client, MultiplexedConnection)> {
        let (client, mut connection) = self.connect(place).await?;
        let role: Value = redis::cmd("ROLE").query_async(&mut connection).await?;
        match role {
            Value::Array(parts) if parts.first().and_then(text).is_some_and(|role| role == "master") => {
                Ok((client, connection))
            }
            _ => Err(RedisError::from((
                ErrorKind::Server(ServerErrorKind::ReadOnly),
                "the server that was named is no master",
            ))),
        }
    }

    async fn connect(&self, place: ConnectionInfo) -> RedisResult<(Client, MultiplexedConnection)> {
        let client = client(place, self.root_cert.as_deref())?;
        let connection = client
            .get_multiplexed_async_connection_with_config(&self.limits)
            .await?;
        Ok((client, connection))
    }
}

fn tcp() -> TcpSettings {
    let tcp = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(UNACKNOWLEDGED_LIMIT);
    tcp
}

fn client(info: ConnectionInfo, root_cert: Option<&[u8]>) -> RedisResult<Client> {
    let Some(root_cert) = root_cert else {
        return Client::open(info);
    };
    Client::build_with_tls(
        info,
        TlsCertificates {
            client_tls: None,
            root_cert: Some(root_cert.to_vec()),
        },
    )
}

/// The same with another address; certificates are checked where they were.
fn at(info: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(addr)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// The answer to `CLUSTER SLOTS`: who is the master of our slot, and who else there is. A node that does not know its own
/// name leaves it out; it is at the host that was asked.
fn read_slots(answer: &Value, asked_host: &str) -> (Option<Place>, Vec<Place>) {
    let (mut master, mut nodes) = (None, Vec::new());
    let Value::Array(ranges) = answer else {
        return (master, nodes);
    };
    for range in ranges {
        let Value::Array(parts) = range else { continue };
        let [Value::Int(first), Value::Int(last), holders @ ..] = parts.as_slice() else {
            continue;
        };
        let holders = holders.iter().map(|holder| match holder {
            Value::Array(parts) => match parts.as_slice() {
                [host, Value::Int(port), ..] => {
                    let named = text(host).filter(|host| !host.is_empty());
                    Some((
                        named.unwrap_or_else(|| asked_host.to_owned()),
                        u16::try_from(*port).ok()?,
                    ))
                }
                _ => None,
            },
            _ => None,
        });
        // The master comes first, its replicas follow.
        for (place, holder) in holders.enumerate() {
            let Some(holder) = holder else { continue };
            if place == 0 && (*first..=*last).contains(&SLOT) {
                master = Some(holder.clone());
            }
            if !nodes.contains(&holder) {
                nodes.push(holder);
            }
        }
    }
    (master, nodes)
}

/// Whether Redis is away or is to be looked for elsewhere, rather than there and saying no.
pub(super) fn is_away(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_unrecoverable_error()
        || error.is_cluster_error()
        || is_no_master(error)
}

/// The server did nothing, because it is not the one that holds the keys.
fn is_no_master(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(values: impl IntoIterator<Item = Value>) -> Value {
        Value::Array(values.into_iter().collect())
    }

    fn node(host: &str, port: i64) -> Value {
        let host = match host {
            "" => Value::Nil,
            host => Value::BulkString(host.into()),
        };
        array([host, Value::Int(port), Value::BulkString(b"id".to_vec())])
    }

    #[test]
    fn the_master_of_the_slot_is_read_and_odd_answers_do_no_harm() {
        let range = |first, last, nodes: &[Value]| {
            array(
                [Value::Int(first), Value::Int(last)]
                    .into_iter()
                    .chain(nodes.iter().cloned()),
            )
        };
        let answer = array([
            range(0, 8000, &[node("a", 1), node("b", 2)]),
            range(8001, 16383, &[node("", 3), node("a", 1)]),
        ]);
        let (master, nodes) = read_slots(&answer, "asked");
        assert_eq!(master, Some(("asked".to_owned(), 3)));
        assert_eq!(nodes.len(), 3);
        for odd in [
            Value::Nil,
            array([Value::Nil, array([Value::Int(1)])]),
            array([range(0, 16383, &[array([Value::Nil])])]),
            array([range(0, 16383, &[node("a", 70_000)])]),
            array([range(0, 8085, &[node("a", 1)])]),
        ] {
            assert_eq!(read_slots(&odd, "asked").0, None, "{odd:?}");
        }
    }
}
