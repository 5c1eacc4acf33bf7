//! What sessions and tokens make of a shared store, across replicas and outages.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlgate::config::StoreKind;
use mlgate::domain::{Clock, Identity, Random, Secret, SystemClock, SystemRandom, Timestamp};
use mlgate::sessions::{SessionError, Sessions, Settings};
use mlgate::store::Store;
use mlgate::tokens::{self, Tokens};

use super::{FIVE_SECONDS, MINUTE, open, until};
use crate::support::redis::Redis;

pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One replica's view of a store.
pub struct Replica {
    pub sessions: Sessions,
    pub tokens: Tokens,
    pub store: Arc<dyn Store>,
}

impl Replica {
    pub async fn on(kind: &StoreKind, outage_grace: Duration) -> Self {
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

    pub async fn knows(&self, cookie: &Secret) -> bool {
        self.sessions.find(cookie.expose()).await.unwrap().is_some()
    }
}

pub fn alice() -> Identity {
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
