//! The store's promises, in memory and in Redis, and what sessions and tokens make of them across replicas and outages.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlgate::config::StoreKind;
use mlgate::domain::{Clock, Identity, Random, Secret, SystemClock, SystemRandom, Timestamp};
use mlgate::sessions::{SessionError, Sessions, Settings};
use mlgate::store::{Store, connect};
use mlgate::tokens::{self, Tokens};

use crate::support::redis::Redis;

const MINUTE: Duration = Duration::from_secs(60);
/// The contract's: an end is everywhere, and Redis' return is noticed, within this.
const FIVE_SECONDS: Duration = Duration::from_secs(5);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

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
    assert!(
        connect(
            &StoreKind::Redis {
                url: insecure,
                ca_file: None
            },
            Arc::new(SystemClock)
        )
        .is_err()
    );
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

/// One replica's view of a store.
struct Replica {
    sessions: Sessions,
    tokens: Tokens,
    store: Arc<dyn Store>,
}

impl Replica {
    async fn on(kind: &StoreKind, outage_grace: Duration) -> Self {
        let store = open(kind);
        until(FIVE_SECONDS, "the store answers", || async {
            store.ping().await.is_ok()
        })
        .await;
        let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(SystemRandom::new()));
        let settings = Settings {
            secrets: vec![[7; 32]],
            idle_timeout: MINUTE * 60,
            absolute_timeout: MINUTE * 120,
            recheck: Duration::ZERO,
            outage_grace,
        };
        let tokens = Tokens::new(
            tokens::Settings {
                secrets: vec![[7; 32]],
                recheck: MINUTE,
                outage_grace,
                access_lifetime: MINUTE,
                refresh_idle: MINUTE * 60,
                refresh_absolute: MINUTE * 120,
            },
            store.clone(),
            clock.clone(),
            random.clone(),
        );
        Self {
            sessions: Sessions::new(settings, store.clone(), clock, random),
            tokens,
            store,
        }
    }

    async fn knows(&self, cookie: &Secret) -> bool {
        self.sessions.find(cookie.expose()).await.unwrap().is_some()
    }
}

fn alice() -> Identity {
    Identity {
        provider: "google".into(),
        subject: "subject-1234".into(),
        user: "alice@example.com".into(),
        display_name: Some("Alice Liddell".into()),
        email: Some("alice@example.com".into()),
        groups: vec!["fraud-team".into()],
        authenticated_at: Timestamp::from_seconds(1_795_435_200),
    }
}

#[tokio::test]
async fn an_end_at_one_replica_is_an_end_at_the_other() {
    let redis = Redis::start();
    let (one, two) = (
        Replica::on(&redis.kind(), MINUTE).await,
        Replica::on(&redis.kind(), MINUTE).await,
    );
    let (cookie, session) = one.sessions.open(alice(), ADDRESS, None).await.unwrap();
    let (token, about) = one.tokens.create(alice(), "ci", MINUTE, true).await.unwrap();
    assert!(two.knows(&cookie).await);
    assert!(two.tokens.find(token.expose()).await.unwrap().unwrap().scope.read_only);

    assert_eq!(
        one.sessions.revoke(&session.id).await.unwrap().unwrap().identity,
        alice().into()
    );
    assert!(!one.knows(&cookie).await, "at once where it was asked for");
    until(FIVE_SECONDS, "the session ends at the other", || async {
        !two.knows(&cookie).await
    })
    .await;

    one.tokens.revoke(&about.id).await.unwrap().unwrap();
    assert!(one.tokens.find(token.expose()).await.unwrap().is_none());
    until(FIVE_SECONDS, "the token ends at the other", || async {
        two.tokens.find(token.expose()).await.unwrap().is_none()
    })
    .await;
    assert!(two.sessions.list(None).await.unwrap().is_empty());
    assert!(two.tokens.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_end_that_nobody_announced_takes_effect_all_the_same() {
    let redis = Redis::start();
    let replica = Replica::on(&redis.kind(), MINUTE).await;
    let (cookie, session) = replica.sessions.open(alice(), ADDRESS, None).await.unwrap();
    assert!(replica.knows(&cookie).await);
    assert_eq!(redis.cli(&["del", &format!("mlgate:session:{}", session.id)]), "1\n");
    until(FIVE_SECONDS, "the session ends", || async {
        !replica.knows(&cookie).await
    })
    .await;
}

#[tokio::test]
async fn new_groups_at_one_replica_are_new_at_the_other() {
    let redis = Redis::start();
    let (one, two) = (
        Replica::on(&redis.kind(), MINUTE).await,
        Replica::on(&redis.kind(), MINUTE).await,
    );
    let (cookie, session) = one
        .sessions
        .open(alice(), ADDRESS, Some("refresh-1".into()))
        .await
        .unwrap();
    assert!(two.knows(&cookie).await);
    let mut claims = 0;
    for replica in [&one, &two, &one, &two] {
        claims += usize::from(replica.sessions.claim_recheck(&session.id).await.unwrap().is_some());
    }
    assert_eq!(claims, 1, "a refresh token is never used twice");
    let moved = Identity {
        groups: vec!["other".into()],
        ..alice()
    };
    assert!(
        one.sessions
            .update(&session.id, moved.clone(), Some("refresh-2".into()), None)
            .await
            .unwrap()
    );
    until(FIVE_SECONDS, "the groups are new at the other", || async {
        two.sessions
            .find(cookie.expose())
            .await
            .unwrap()
            .unwrap()
            .identity
            .as_ref()
            == &moved
    })
    .await;
    let again = two.sessions.claim_recheck(&session.id).await.unwrap().unwrap();
    assert_eq!(again.provider_state.as_deref(), Some("refresh-2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_in_flight_brings_an_ended_session_back() {
    let redis = Redis::start();
    for kind in [StoreKind::Memory, redis.kind()] {
        let replica = Arc::new(Replica::on(&kind, MINUTE).await);
        for _ in 0..50 {
            let (cookie, session) = replica.sessions.open(alice(), ADDRESS, None).await.unwrap();
            let update = {
                let (replica, id) = (Arc::clone(&replica), session.id.clone());
                tokio::spawn(async move { while replica.sessions.update(&id, alice(), None, None).await.unwrap() {} })
            };
            replica.sessions.close(cookie.expose()).await.unwrap().unwrap();
            update.await.unwrap();
            assert!(!replica.knows(&cookie).await);
            assert!(replica.sessions.revoke(&session.id).await.unwrap().is_none());
        }
        assert!(replica.sessions.list(None).await.unwrap().is_empty());
        assert!(replica.store.list("session").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_outage_signs_nobody_out_and_hangs_nobody() {
    let redis = Redis::start();
    let replica = Replica::on(&redis.kind(), MINUTE).await;
    let strict = Replica::on(&redis.kind(), Duration::ZERO).await;
    let (cookie, _) = replica.sessions.open(alice(), ADDRESS, None).await.unwrap();
    let (unseen, _) = strict.sessions.open(alice(), ADDRESS, None).await.unwrap();
    assert!(replica.knows(&cookie).await && strict.knows(&cookie).await);

    redis.pause();
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(6) {
        let start = Instant::now();
        assert!(replica.knows(&cookie).await, "who was seen lately goes on");
        let stranger = replica.sessions.find(unseen.expose()).await;
        assert!(
            matches!(stranger, Err(SessionError::Unavailable)),
            "who was not is told to wait, not signed out"
        );
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    assert!(
        matches!(
            strict.sessions.find(cookie.expose()).await,
            Err(SessionError::Unavailable)
        ),
        "no grace, no entry"
    );
    assert!(replica.sessions.open(alice(), ADDRESS, None).await.is_err());
    assert!(
        replica.sessions.close(cookie.expose()).await.is_err(),
        "an end that is not kept is not promised"
    );

    redis.resume();
    until(FIVE_SECONDS, "all is well again", || async {
        let found = replica.sessions.find(unseen.expose()).await;
        found.is_ok_and(|session| session.is_some()) && replica.knows(&cookie).await
    })
    .await;
    let (one, two) = (&replica, &strict);
    until(FIVE_SECONDS, "the other is well too", || async {
        two.store.ping().await.is_ok()
    })
    .await;
    one.sessions.close(cookie.expose()).await.unwrap().unwrap();
    until(FIVE_SECONDS, "ends are heard again", || async {
        !two.knows(&cookie).await
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_was_killed_is_found_again() {
    let mut redis = Redis::start();
    let replica = Replica::on(&redis.kind(), MINUTE).await;
    let (cookie, _) = replica.sessions.open(alice(), ADDRESS, None).await.unwrap();
    redis.stop();
    let start = Instant::now();
    assert!(replica.sessions.open(alice(), ADDRESS, None).await.is_err());
    assert!(replica.knows(&cookie).await);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    redis.run();
    until(FIVE_SECONDS, "Redis is found", || async {
        replica.sessions.open(alice(), ADDRESS, None).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_dump_of_redis_shows_no_secret_and_nobody() {
    let redis = Redis::start();
    let replica = Replica::on(&redis.kind(), MINUTE).await;
    let (cookie, session) = replica
        .sessions
        .open(alice(), ADDRESS, Some("refresh-token-xyz".into()))
        .await
        .unwrap();
    let (token, _) = replica.tokens.create(alice(), "nightly", MINUTE, false).await.unwrap();
    let dump = redis.dump();
    let shows = |text: &str| dump.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(shows(&session.id), "the search works");
    for secret in [
        cookie.expose(),
        token.expose(),
        &token.expose()["mlg_pat_".len()..],
        "alice",
        "Liddell",
        "subject-1234",
        "fraud-team",
        "google",
        "refresh-token-xyz",
        "nightly",
        "127.0.0.1",
    ] {
        assert!(!shows(secret), "{secret}");
    }
    // A thief who can write moves one session's value under another's name, or a token's under a session's.
    let (other, stolen) = replica.sessions.open(alice(), ADDRESS, None).await.unwrap();
    assert!(Replica::on(&redis.kind(), MINUTE).await.knows(&other).await);
    redis.cli(&[
        "rename",
        &format!("mlgate:session:{}", session.id),
        &format!("mlgate:session:{}", stolen.id),
    ]);
    assert!(!Replica::on(&redis.kind(), MINUTE).await.knows(&other).await);
}

#[tokio::test]
async fn a_refresh_token_gives_one_successor_at_both_replicas_and_ends_all_after_its_grace() {
    use mlgate::domain::ManualClock;
    use mlgate::tokens::{Flow, NewFamily, Refreshed};

    let redis = Redis::start();
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_435_200)));
    let tokens = || {
        let settings = tokens::Settings {
            secrets: vec![[7; 32]],
            recheck: MINUTE,
            outage_grace: MINUTE,
            access_lifetime: MINUTE * 5,
            refresh_idle: MINUTE * 60,
            refresh_absolute: MINUTE * 120,
        };
        Tokens::new(
            settings,
            open(&redis.kind()),
            clock.clone(),
            Arc::new(SystemRandom::new()),
        )
    };
    let (one, two) = (tokens(), tokens());
    let family = NewFamily {
        id: [9; 16],
        client: "mlgate-cli".into(),
        name: "The mlgate command".into(),
        flow: Flow::DeviceCode,
        identity: alice().into(),
        provider_state: None,
        checked: clock.now(),
        read_only: false,
        address: ADDRESS,
        host: None,
        refreshes: true,
        until: None,
    };
    let opened = std::cell::RefCell::new(None);
    until(FIVE_SECONDS, "the store answers", || async {
        let issued = one.open(family.clone()).await.ok();
        *opened.borrow_mut() = issued.and_then(|issued| issued.refresh);
        opened.borrow().is_some()
    })
    .await;
    let first = opened.into_inner().unwrap();
    let refreshed = async |at: &Tokens, text: &Secret| match at.refresh("mlgate-cli", text.expose()).await.unwrap() {
        Refreshed::Issued(issued) => Some(issued.refresh.unwrap()),
        Refreshed::Reused(_) | Refreshed::Unknown => None,
    };
    let second = refreshed(&one, &first).await.unwrap();
    assert_eq!(refreshed(&two, &first).await.unwrap().expose(), second.expose());
    clock.advance(Duration::from_secs(59));
    assert_eq!(refreshed(&one, &first).await.unwrap().expose(), second.expose());
    clock.advance(Duration::from_secs(1));
    let reused = two.refresh("mlgate-cli", first.expose()).await.unwrap();
    assert!(matches!(reused, Refreshed::Reused(_)), "{reused:?}");
    assert!(refreshed(&one, &second).await.is_none(), "all of it has ended");
}
