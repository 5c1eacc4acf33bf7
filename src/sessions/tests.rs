//! Sessions by a clock that stands still: their ends, their cookie, their seals and their rechecks.

use super::*;
use crate::domain::{ManualClock, SystemRandom};
use crate::store::MemoryStore;

const MINUTE: Duration = Duration::from_secs(60);
const SECRET: [u8; 32] = [1; 32];

struct House {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    sessions: Sessions,
}

fn house() -> House {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_435_200)));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let sessions = replica(&store, &clock, vec![SECRET]);
    House { clock, store, sessions }
}

fn replica(store: &Arc<MemoryStore>, clock: &Arc<ManualClock>, secrets: Vec<[u8; 32]>) -> Sessions {
    let settings = Settings {
        secrets,
        idle_timeout: 8 * MINUTE,
        absolute_timeout: 20 * MINUTE,
        recheck: 4 * MINUTE,
        outage_grace: MINUTE,
    };
    Sessions::new(settings, store.clone(), clock.clone(), Arc::new(SystemRandom::new()))
}

fn identity(user: &str) -> Identity {
    Identity {
        provider: "local".into(),
        subject: user.into(),
        user: user.into(),
        display_name: None,
        email: None,
        groups: vec!["team".into()],
        authenticated_at: Timestamp::from_seconds(1_795_435_200),
    }
}

async fn open(sessions: &Sessions, user: &str) -> (Secret, Arc<Session>) {
    sessions
        .open(identity(user), "10.0.0.1".parse().unwrap(), Some("refresh".into()))
        .await
        .unwrap()
}

async fn knows(sessions: &Sessions, cookie: &Secret) -> bool {
    sessions.find(cookie.expose()).await.unwrap().is_some()
}

#[tokio::test]
async fn a_session_that_is_used_lives_to_its_absolute_end_and_no_longer() {
    let House { clock, sessions, .. } = house();
    let (cookie, _) = open(&sessions, "alice").await;
    for _ in 0..19 {
        clock.advance(MINUTE);
        assert!(knows(&sessions, &cookie).await);
    }
    clock.advance(MINUTE);
    assert!(!knows(&sessions, &cookie).await);
    assert!(sessions.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends_by_itself() {
    let House { clock, sessions, .. } = house();
    let (cookie, _) = open(&sessions, "alice").await;
    clock.advance(8 * MINUTE - Duration::from_secs(1));
    assert!(knows(&sessions, &cookie).await);
    clock.advance(8 * MINUTE - Duration::from_secs(1));
    assert!(knows(&sessions, &cookie).await, "its use was written down");
    clock.advance(8 * MINUTE);
    assert!(!knows(&sessions, &cookie).await);
    assert!(!knows(&sessions, &cookie).await, "asking again is no use");
}

#[tokio::test]
async fn use_at_one_replica_is_use_at_all() {
    let House { clock, store, sessions } = house();
    let other = replica(&store, &clock, vec![SECRET]);
    let (cookie, _) = open(&sessions, "alice").await;
    assert!(knows(&other, &cookie).await);
    for _ in 0..12 {
        clock.advance(MINUTE);
        assert!(knows(&sessions, &cookie).await);
    }
    assert!(knows(&other, &cookie).await);
}

#[tokio::test]
async fn only_the_cookie_opens_the_session() {
    let House { clock, store, sessions } = house();
    let (cookie, session) = open(&sessions, "alice").await;
    let text = cookie.expose();
    assert_eq!(text.len(), 43);
    let (padded, longer, id) = (format!("{text}="), format!("{text}A"), session.id.clone());
    let swapped: String = text.chars().rev().collect();
    for wrong in [
        "",
        "x",
        &text[1..],
        &padded,
        &longer,
        &id,
        &swapped,
        &"A".repeat(43),
        &"é".repeat(43),
        &format!("session:{id}"),
    ] {
        assert!(sessions.find(wrong).await.unwrap().is_none(), "{wrong}");
        assert!(sessions.close(wrong).await.unwrap().is_none(), "{wrong}");
    }
    // The last of 43 characters carries two bits that mean nothing: other spellings of them are refused.
    let last = text.chars().last().unwrap();
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        .chars()
        .filter(|c| *c != last)
    {
        assert!(
            sessions
                .find(&format!("{}{other}", &text[..42]))
                .await
                .unwrap()
                .is_none()
        );
    }
    assert!(knows(&sessions, &cookie).await);
    assert!(
        !knows(&replica(&store, &clock, vec![[9; 32]]), &cookie).await,
        "another secret opens nothing"
    );
}

#[tokio::test]
async fn what_was_sealed_for_something_else_is_no_session() {
    let House { clock, store, sessions } = house();
    let (cookie, session) = open(&sessions, "alice").await;
    let key = format!("session:{}", session.id);
    let sealer = Sealer::new(&[SECRET], Arc::new(SystemRandom::new()));
    let plain = serde_json::to_vec(&*session).unwrap();
    for purpose in ["attempt", "token", ""] {
        store
            .put(&key, &sealer.seal(purpose, &key, &plain), MINUTE, None)
            .await
            .unwrap();
        assert!(
            !knows(&replica(&store, &clock, vec![SECRET]), &cookie).await,
            "{purpose}"
        );
    }
    store
        .put(&key, &sealer.seal("session", &key, &plain), MINUTE, None)
        .await
        .unwrap();
    assert!(knows(&replica(&store, &clock, vec![SECRET]), &cookie).await);
}

#[tokio::test]
async fn a_new_secret_signs_nobody_out() {
    let House { clock, store, sessions } = house();
    let (cookie, _) = open(&sessions, "alice").await;
    assert!(knows(&replica(&store, &clock, vec![[2; 32], SECRET]), &cookie).await);
}

#[tokio::test]
async fn all_sessions_of_one_user_end_and_nobody_else_s() {
    let House { sessions, .. } = house();
    let (one, _) = open(&sessions, "alice").await;
    let (two, _) = open(&sessions, "alice").await;
    let (bob, _) = open(&sessions, "bob").await;
    assert_eq!(sessions.list(Some(("local", "alice"))).await.unwrap().len(), 2);
    assert!(sessions.revoke_user("other", "alice").await.unwrap().is_empty());
    assert_eq!(sessions.revoke_user("local", "alice").await.unwrap().len(), 2);
    assert!(!knows(&sessions, &one).await && !knows(&sessions, &two).await);
    assert!(knows(&sessions, &bob).await);
    assert!(sessions.revoke("00").await.unwrap().is_none());
}

#[tokio::test]
async fn a_recheck_is_due_before_the_groups_are_too_old_and_done_once() {
    let House { clock, sessions, .. } = house();
    let (cookie, session) = open(&sessions, "alice").await;
    assert!(
        sessions.claim_recheck(&session.id).await.unwrap().is_none(),
        "not due yet"
    );
    clock.advance(3 * MINUTE);
    assert!(sessions.due_for_recheck(&session) && !sessions.overdue_for_recheck(&session));
    assert!(sessions.claim_recheck(&session.id).await.unwrap().is_some());
    assert!(sessions.claim_recheck(&session.id).await.unwrap().is_none());
    clock.advance(MINUTE);
    assert!(sessions.overdue_for_recheck(&session));
    assert!(
        sessions.claim_recheck(&session.id).await.unwrap().is_some(),
        "the first never came back"
    );
    assert!(
        sessions
            .update(&session.id, identity("alice"), Some("rotated".into()))
            .await
            .unwrap()
    );
    let now = sessions.find(cookie.expose()).await.unwrap().unwrap();
    assert!(!sessions.due_for_recheck(&now));
    assert_eq!(now.provider_state.as_deref(), Some("rotated"));
    sessions.close(cookie.expose()).await.unwrap().unwrap();
    assert!(!sessions.update(&session.id, identity("alice"), None).await.unwrap());
    assert!(!knows(&sessions, &cookie).await);
}

#[test]
fn a_session_prints_no_token_of_the_provider() {
    let now = Timestamp::from_seconds(0);
    let session = Session {
        id: "00".into(),
        identity: identity("alice").into(),
        created: now,
        last_seen: now,
        expires: now,
        address: "10.0.0.1".parse().unwrap(),
        checked: now,
        provider_state: Some("refresh-token".into()),
    };
    assert!(!format!("{session:?}").contains("refresh-token"));
}

#[tokio::test]
async fn a_provider_ends_what_it_names_and_nothing_of_another() {
    let House { sessions, .. } = house();
    let open = async |provider: &str, subject: &str, names: &[&str]| {
        let identity = Identity {
            provider: provider.into(),
            subject: subject.into(),
            ..identity("same-name")
        };
        let address = "10.0.0.1".parse().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let opened = sessions.open_for_provider(identity, address, None, &names).await;
        opened.unwrap()
    };
    let (laptop, _) = open("idp", "s-1", &["one"]).await;
    let (phone, on_phone) = open("idp", "s-1", &["two"]).await;
    let (old, _) = open("idp", "s-1", &[]).await;
    let (colleague, _) = open("idp", "s-2", &["three"]).await;
    let (stranger, _) = open("other", "s-1", &["one"]).await;

    assert!(sessions.end_by_provider("idp", None, None).await.unwrap().is_empty());
    let both = sessions.end_by_provider("idp", Some("three"), Some("s-1")).await;
    assert!(both.unwrap().is_empty(), "the session is another subject's");
    assert!(sessions.is_called(&on_phone, "two").await.unwrap());
    assert!(!sessions.is_called(&on_phone, "one").await.unwrap());

    let ended = sessions.end_by_provider("idp", Some("one"), Some("s-1")).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert!(!knows(&sessions, &laptop).await && knows(&sessions, &phone).await);
    assert_eq!(
        sessions.end_by_provider("idp", None, Some("s-1")).await.unwrap().len(),
        2
    );
    assert!(!knows(&sessions, &phone).await && !knows(&sessions, &old).await);
    assert!(knows(&sessions, &colleague).await && knows(&sessions, &stranger).await);
    assert!(
        sessions
            .end_by_provider("idp", None, Some("s-1"))
            .await
            .unwrap()
            .is_empty(),
        "once is enough"
    );
}
