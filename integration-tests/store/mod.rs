//! The store's promises, in memory and in Redis.

mod groups;
mod replicas;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlgate::config::{RedisUrl, StoreKind};
use mlgate::domain::{Secret, SystemClock};
use mlgate::store::{Store, connect};

use crate::support::redis::Redis;

const MINUTE: Duration = Duration::from_secs(60);
/// The contract's: an end is everywhere, and Redis' return is noticed, within this.
const FIVE_SECONDS: Duration = Duration::from_secs(5);

fn open(kind: &StoreKind) -> Arc<dyn Store> {
    connect(kind, Arc::new(SystemClock)).unwrap()
}

/// Asks again and again until it is so; how long that took.
async fn until<F: Future<Output = bool>>(limit: Duration, what: &str, holds: impl Fn() -> F) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

async fn keeps_its_promises(store: Arc<dyn Store>) {
    until(FIVE_SECONDS, "the store answers", || async {
        store.ping().await.is_ok()
    })
    .await;
    writes_and_ends(&*store).await;
    writes_under_conditions(&*store).await;
    gives_what_is_taken_once(&store).await;
    lists_by_owner(&*store).await;
    counts(&*store).await;
    announces(&*store).await;
}

async fn writes_and_ends(store: &dyn Store) {
    let value = b"\0\xff any bytes";
    assert_eq!(store.get("a:1").await.unwrap(), None);
    store.put("a:1", value, MINUTE, None).await.unwrap();
    assert_eq!(store.get("a:1").await.unwrap().unwrap(), value);
    store
        .put("a:1", b"over", Duration::from_millis(300), None)
        .await
        .unwrap();
    assert_eq!(store.get("a:1").await.unwrap().unwrap(), b"over");
    until(FIVE_SECONDS, "an entry ends", || async {
        store.get("a:1").await.unwrap().is_none()
    })
    .await;
    store.put("a:1", b"", MINUTE, None).await.unwrap();
    assert_eq!(store.get("a:1").await.unwrap().unwrap(), b"");
    assert!(store.delete("a:1", None).await.unwrap());
    assert!(!store.delete("a:1", None).await.unwrap());
    assert_eq!(store.get("a:1").await.unwrap(), None);
}

async fn writes_under_conditions(store: &dyn Store) {
    assert!(store.put_new("b:1", b"first", MINUTE).await.unwrap());
    assert!(!store.put_new("b:1", b"second", MINUTE).await.unwrap());
    assert!(!store.replace("b:1", b"second", b"third", MINUTE, None).await.unwrap());
    assert_eq!(store.get("b:1").await.unwrap().unwrap(), b"first");
    assert!(store.replace("b:1", b"fir", b"third", MINUTE, None).await.unwrap());
    assert!(store.replace("b:1", b"", b"fourth", MINUTE, None).await.unwrap());
    assert_eq!(store.get("b:1").await.unwrap().unwrap(), b"fourth");
    store.delete("b:1", None).await.unwrap();
    assert!(!store.replace("b:1", b"", b"back", MINUTE, None).await.unwrap());
    assert!(
        !store
            .replace("b:1", b"fourth", b"back", MINUTE, Some("b/alice"))
            .await
            .unwrap()
    );
    assert_eq!(store.get("b:1").await.unwrap(), None);
    assert!(store.list("b/alice").await.unwrap().is_empty());
}

async fn gives_what_is_taken_once(store: &Arc<dyn Store>) {
    store.put("c:1", b"once", MINUTE, None).await.unwrap();
    let takers = (0..20).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move { store.take("c:1").await.unwrap() })
    });
    let mut taken = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        taken.extend(taker.await.unwrap());
    }
    assert_eq!(taken, [b"once"]);
}

async fn lists_by_owner(store: &dyn Store) {
    async fn keys(store: &dyn Store, owner: &str) -> Vec<String> {
        let mut keys: Vec<String> = store
            .list(owner)
            .await
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        keys.sort();
        keys
    }
    store.put("d:1", b"1", MINUTE, Some("d/alice")).await.unwrap();
    store.put("d:2", b"2", MINUTE, Some("d/alice")).await.unwrap();
    store.put("d:3", b"3", MINUTE, Some("d/bob")).await.unwrap();
    store
        .put("d:4", b"4", Duration::from_millis(200), Some("d/bob"))
        .await
        .unwrap();
    assert!(
        store
            .replace("d:4", b"4", b"longer", MINUTE, Some("d/bob"))
            .await
            .unwrap()
    );
    store
        .put("d:5", b"5", Duration::from_millis(200), Some("d/bob"))
        .await
        .unwrap();
    assert_eq!(keys(store, "d/alice").await, ["d:1", "d:2"]);
    until(FIVE_SECONDS, "an entry leaves the index", || async {
        keys(store, "d/bob").await == ["d:3", "d:4"]
    })
    .await;
    assert_eq!(keys(store, "d").await, ["d:1", "d:2", "d:3", "d:4"]);
    assert_eq!(store.size("d").await.unwrap(), 4);
    assert_eq!(store.size("d/bob").await.unwrap(), 2, "one of three has ended");
    assert_eq!(store.size("nobody").await.unwrap(), 0);
    assert!(store.delete("d:1", Some("d/alice")).await.unwrap());
    assert_eq!(
        store.list("d/alice").await.unwrap(),
        [("d:2".to_owned(), b"2".to_vec())]
    );
    assert_eq!(keys(store, "d").await, ["d:2", "d:3", "d:4"]);
    assert_eq!(store.size("d").await.unwrap(), 3);
    assert!(keys(store, "d/al").await.is_empty());
}

async fn counts(store: &dyn Store) {
    assert_eq!(store.count("e:1", MINUTE).await.unwrap().0, 1);
    let (count, left) = store.count("e:1", Duration::from_secs(1)).await.unwrap();
    assert!(
        count == 2 && left > MINUTE / 2 && left <= MINUTE,
        "the first count sets the window: {left:?}"
    );
    store.uncount("e:1").await.unwrap();
    assert_eq!(store.count("e:1", MINUTE).await.unwrap().0, 2);
    store.uncount("e:2").await.unwrap();
    assert_eq!(
        store.count("e:2", Duration::from_millis(200)).await.unwrap().0,
        1,
        "there is nothing below zero"
    );
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(store.count("e:2", MINUTE).await.unwrap().0, 1);
}

async fn announces(store: &dyn Store) {
    let mut heard = store.announcements();
    store.announce("f:1").await.unwrap();
    store.delete("f:2", None).await.unwrap();
    let mut wanted = vec!["f:1", "f:2"];
    while !wanted.is_empty() {
        let key = tokio::time::timeout(FIVE_SECONDS, heard.recv()).await.unwrap().unwrap();
        wanted.retain(|wanted| *wanted != key);
    }
}

#[tokio::test]
async fn memory_keeps_the_promises() {
    keeps_its_promises(open(&StoreKind::Memory)).await;
}

#[tokio::test]
async fn redis_keeps_the_promises() {
    let redis = Redis::start();
    keeps_its_promises(open(&redis.kind())).await;
    let keys = redis.cli(&["--scan"]);
    assert!(keys.lines().all(|key| key.starts_with("mlgate:")), "{keys}");
    for key in keys.lines() {
        assert_ne!(redis.cli(&["pttl", key]), "-1\n", "{key} never ends");
    }
}

#[tokio::test]
async fn redis_over_tls_keeps_the_promises() {
    keeps_its_promises(open(&Redis::start_with_tls().kind())).await;
}

#[tokio::test]
async fn a_redis_that_cannot_show_its_certificate_is_not_trusted() {
    let (redis, other) = (Redis::start_with_tls(), Redis::start_with_tls());
    let StoreKind::Redis { url, .. } = redis.kind() else {
        panic!()
    };
    let StoreKind::Redis { ca_file, .. } = other.kind() else {
        panic!()
    };
    let error = open(&StoreKind::Redis {
        url: url.clone(),
        ca_file,
    })
    .ping()
    .await
    .unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let insecure = Secret::new(format!("{}/#insecure", url.expose()));
    assert!(RedisUrl::parse(insecure).is_err());
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_does_not_tell_it() {
    let redis = Redis::start();
    let error = open(&redis.kind_with("hunter2", None)).ping().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_store_can_be_set_up_before_redis_is_there() {
    let mut redis = Redis::planned();
    let store = open(&redis.kind());
    let start = Instant::now();
    assert!(store.get("a:1").await.is_err());
    assert!(start.elapsed() < Duration::from_secs(2));
    redis.run();
    until(FIVE_SECONDS, "Redis is found", || async {
        store.get("a:1").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn who_missed_announcements_is_told_to_forget_everything() {
    let redis = Redis::start();
    let store = open(&redis.kind());
    let mut heard = store.announcements();
    assert_eq!(
        tokio::time::timeout(FIVE_SECONDS, heard.recv()).await.unwrap().unwrap(),
        "",
        "at the first connect"
    );
    redis.cli(&["client", "kill", "type", "pubsub"]);
    assert_eq!(
        tokio::time::timeout(FIVE_SECONDS, heard.recv()).await.unwrap().unwrap(),
        "",
        "and at each later one"
    );
    store.announce("a:1").await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), "a:1");
}
