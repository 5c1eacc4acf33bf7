//! The store in Redis, shared by all replicas.

mod link;

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::{RedisResult, Script};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::{interval, sleep, timeout};

use self::link::{Link, is_away};
use super::{ANNOUNCEMENTS_KEPT, BadStore, Result, Store, StoreError, indices};
use crate::config::RedisUrl;
use crate::domain::Clock;

const CHANNEL: &str = "mlgate:announce";

/// No operation takes longer, whatever happens below.
const OPERATION_LIMIT: Duration = Duration::from_millis(1500);
/// After a failure others fail at once for this long, while one at a time tries again: an outage costs one request
/// the wait, not each of them.
const REST: Duration = Duration::from_millis(500);
/// How long announcements may have stopped before we notice; with `REST` well inside the 5 s for coming back.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Values read in one command while listing.
const PAGE: usize = 500;

/// Writes the member's end into each index (KEYS[2..]), and drops what has ended there. Redis' own clock, for replicas' differ.
const INDEX: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  redis.call('ZADD', KEYS[i], now + tonumber(ARGV[2]), ARGV[3])
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
end
return 1";

/// ARGV: value, ttl in ms, member.
static PUT: LazyLock<Script> =
    LazyLock::new(|| Script::new(&format!("redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]){INDEX}")));

/// ARGV: value, ttl in ms, member, what the value that stands must begin with.
static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&format!(
        r"
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if #ARGV[4] > 0 and redis.call('GETRANGE', KEYS[1], 0, #ARGV[4] - 1) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]){INDEX}"
    ))
});

/// ARGV: member, channel. Announced even where nothing stood: a cache may still hold what has just ended.
static DELETE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local stood = redis.call('DEL', KEYS[1])
for i = 2, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
redis.call('PUBLISH', ARGV[2], ARGV[1])
return stood",
    )
});

/// ARGV: window in ms. A counter without an end (left by an operator's hand) gets one.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local count = redis.call('INCR', KEYS[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('PTTL', KEYS[1])}",
    )
});

static UNCOUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if tonumber(redis.call('GET', KEYS[1]) or '0') > 0 then return redis.call('DECR', KEYS[1]) end return 0",
    )
});

/// ARGV: none. Members that have not ended.
static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')",
    )
});

/// ARGV: none. How many members have not ended.
static SIZE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')",
    )
});

pub struct RedisStore {
    link: Link,
    clock: Arc<dyn Clock>,
    /// Until when nobody but one tries; microseconds, zero when all is well.
    rest_until: AtomicI64,
    announcements: broadcast::Sender<String>,
    listener: AbortHandle,
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl RedisStore {
    /// Begins to connect, and comes back without waiting for it.
    ///
    /// # Errors
    /// When the URL or the CA file can never work.
    pub fn connect(
        url: &RedisUrl,
        ca_file: Option<&Path>,
        clock: Arc<dyn Clock>,
    ) -> std::result::Result<Arc<Self>, BadStore> {
        let root_cert = ca_file
            .map(|file| {
                std::fs::read(file).map_err(|error| BadStore(format!("the CA file {}: {error}", file.display())))
            })
            .transpose()?;
        let link = Link::new(url, root_cert)?;
        let announcements = broadcast::Sender::new(ANNOUNCEMENTS_KEPT);
        let listener = tokio::spawn(listen(link.clone(), announcements.clone())).abort_handle();
        let store = Arc::new(Self {
            link,
            clock,
            rest_until: AtomicI64::new(0),
            announcements,
            listener,
        });
        // The first command makes the connection: here, so that it lives in this runtime and not in a request's.
        let first = Arc::clone(&store);
        tokio::spawn(async move {
            if let Err(error) = first.ping().await {
                tracing::warn!(%error, "the gateway starts without its store");
            }
        });
        Ok(store)
    }

    /// Runs one command, bounded in time, and remembers whether Redis is there.
    async fn ask<T>(&self, work: impl Future<Output = RedisResult<T>>) -> Result<T> {
        self.may_try()?;
        match timeout(OPERATION_LIMIT, work).await {
            Ok(Ok(answer)) => {
                self.rest_until.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => {
                if is_away(&error) {
                    self.rest();
                }
                Err(StoreError::Unavailable(error.to_string()))
            }
            Err(_) => {
                self.rest();
                Err(StoreError::Unavailable("no answer in time".into()))
            }
        }
    }

    /// A key among those of others that use the same Redis.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.link.prefix())
    }

    fn index(&self, owner: &str) -> String {
        format!("{}owner:{owner}", self.link.prefix())
    }

    fn may_try(&self) -> Result<()> {
        let until = self.rest_until.load(Ordering::Relaxed);
        let now = self.clock.now();
        if until == 0 {
            return Ok(());
        }
        let mine = now.micros() >= until
            && self
                .rest_until
                .compare_exchange(until, now.plus(REST).micros(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        mine.then_some(())
            .ok_or_else(|| StoreError::Unavailable("it did not answer a moment ago".into()))
    }

    fn rest(&self) {
        self.rest_until
            .store(self.clock.now().plus(REST).micros(), Ordering::Relaxed);
    }
}

/// Passes on what is announced, for as long as the store lives.
async fn listen(link: Link, readers: broadcast::Sender<String>) {
    loop {
        let ended = listen_once(&link, &readers).await;
        tracing::warn!(error = ?ended.err(), "announcements between replicas have stopped; trying again");
        sleep(REST).await;
    }
}

/// One connection's life. Readers are told first to forget everything, for they may have missed something before it.
async fn listen_once(link: &Link, readers: &broadcast::Sender<String>) -> Result<()> {
    let connecting = async { link.client().await?.get_async_pubsub().await };
    let (mut sink, mut messages) = within_limit(connecting).await?.split();
    within_limit(sink.subscribe(CHANNEL)).await?;
    let _ = readers.send(String::new());
    let mut heartbeat = interval(HEARTBEAT);
    loop {
        tokio::select! {
            message = messages.next() => match message {
                // What is no text is none of ours.
                Some(message) => if let Ok(key) = message.get_payload::<String>() {
                    let _ = readers.send(key);
                },
                None => return Ok(()),
            },
            _ = heartbeat.tick() => within_limit(sink.ping::<redis::Value>()).await.map(drop)?,
        }
    }
}

async fn within_limit<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T> {
    match timeout(OPERATION_LIMIT, work).await {
        Ok(answer) => answer.map_err(|error| StoreError::Unavailable(error.to_string())),
        Err(_) => Err(StoreError::Unavailable("no answer in time".into())),
    }
}

/// Redis knows no life of zero milliseconds.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis())
        .unwrap_or(u64::MAX >> 12)
        .clamp(1, u64::MAX >> 12)
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let mut redis = self.link.clone();
        self.ask(redis::cmd("GET").arg(self.full(key)).query_async(&mut redis))
            .await
    }

    async fn put(&self, key: &str, value: &[u8], ttl: Duration, owner: Option<&str>) -> Result<()> {
        let mut redis = self.link.clone();
        let mut put = PUT.key(self.full(key));
        for owner in owner.into_iter().flat_map(indices) {
            put.key(self.index(owner));
        }
        put.arg(value).arg(millis(ttl)).arg(key);
        self.ask(put.invoke_async(&mut redis)).await
    }

    async fn put_new(&self, key: &str, value: &[u8], ttl: Duration) -> Result<bool> {
        let mut redis = self.link.clone();
        let mut set = redis::cmd("SET");
        set.arg(self.full(key)).arg(value).arg("NX").arg("PX").arg(millis(ttl));
        let wrote: Option<String> = self.ask(set.query_async(&mut redis)).await?;
        Ok(wrote.is_some())
    }

    async fn replace(&self, key: &str, was: &[u8], value: &[u8], ttl: Duration, owner: Option<&str>) -> Result<bool> {
        let mut redis = self.link.clone();
        let mut replace = REPLACE.key(self.full(key));
        for owner in owner.into_iter().flat_map(indices) {
            replace.key(self.index(owner));
        }
        replace.arg(value).arg(millis(ttl)).arg(key).arg(was);
        self.ask(replace.invoke_async(&mut redis)).await
    }

    async fn take(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let mut redis = self.link.clone();
        self.ask(redis::cmd("GETDEL").arg(self.full(key)).query_async(&mut redis))
            .await
    }

    async fn delete(&self, key: &str, owner: Option<&str>) -> Result<bool> {
        let mut redis = self.link.clone();
        let mut delete = DELETE.key(self.full(key));
        for owner in owner.into_iter().flat_map(indices) {
            delete.key(self.index(owner));
        }
        delete.arg(key).arg(CHANNEL);
        let stood = self.ask(delete.invoke_async(&mut redis)).await?;
        // Here at once; the other replicas, and this one again, hear it from Redis.
        let _ = self.announcements.send(key.to_owned());
        Ok(stood)
    }

    async fn list(&self, owner: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut redis = self.link.clone();
        let keys: Vec<String> = self.ask(LIST.key(self.index(owner)).invoke_async(&mut redis)).await?;
        let mut entries = Vec::with_capacity(keys.len());
        for page in keys.chunks(PAGE) {
            let mut get = redis::cmd("MGET");
            for key in page {
                get.arg(self.full(key));
            }
            let values: Vec<Option<Vec<u8>>> = self.ask(get.query_async(&mut redis)).await?;
            entries.extend(
                page.iter()
                    .zip(values)
                    .filter_map(|(key, value)| Some((key.clone(), value?))),
            );
        }
        Ok(entries)
    }

    async fn size(&self, owner: &str) -> Result<usize> {
        let mut redis = self.link.clone();
        self.ask(SIZE.key(self.index(owner)).invoke_async(&mut redis)).await
    }

    async fn count(&self, key: &str, window: Duration) -> Result<(u64, Duration)> {
        let mut redis = self.link.clone();
        let (count, left): (u64, u64) = self
            .ask(COUNT.key(self.full(key)).arg(millis(window)).invoke_async(&mut redis))
            .await?;
        Ok((count, Duration::from_millis(left)))
    }

    async fn uncount(&self, key: &str) -> Result<()> {
        let mut redis = self.link.clone();
        self.ask(UNCOUNT.key(self.full(key)).invoke_async::<i64>(&mut redis))
            .await
            .map(drop)
    }

    async fn announce(&self, key: &str) -> Result<()> {
        let mut redis = self.link.clone();
        let _ = self.announcements.send(key.to_owned());
        self.ask(
            redis::cmd("PUBLISH")
                .arg(CHANNEL)
                .arg(key)
                .query_async::<i64>(&mut redis),
        )
        .await
        .map(drop)
    }

    fn announcements(&self) -> broadcast::Receiver<String> {
        self.announcements.subscribe()
    }

    async fn ping(&self) -> Result<()> {
        let mut redis = self.link.clone();
        self.ask(redis::cmd("PING").query_async::<redis::Value>(&mut redis))
            .await
            .map(drop)
    }
}
