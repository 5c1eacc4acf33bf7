//! Tokens by a clock that stands still: their form, their end and their rechecks.

use super::*;
use crate::domain::{ManualClock, SystemRandom};
use crate::store::MemoryStore;

const MINUTE: Duration = Duration::from_secs(60);

fn tokens() -> (Arc<ManualClock>, Tokens) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_435_200)));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let random = Arc::new(SystemRandom::new());
    (
        clock.clone(),
        Tokens::new(vec![[1; 32]], 4 * MINUTE, MINUTE, store, clock, random),
    )
}

fn alice() -> Identity {
    Identity {
        provider: "local".into(),
        subject: "alice".into(),
        user: "alice".into(),
        display_name: None,
        email: None,
        groups: vec!["team".into()],
        authenticated_at: Timestamp::from_seconds(1_795_435_200),
    }
}

#[tokio::test]
async fn a_token_is_good_to_its_end_and_for_nothing_else() {
    let (clock, tokens) = tokens();
    let (text, token) = tokens.create(alice(), " ci ", 10 * MINUTE, true).await.unwrap();
    assert!(Tokens::looks_like_one(text.expose()));
    assert_eq!((token.name.as_str(), token.last_used), ("ci", None));
    clock.advance(9 * MINUTE);
    assert!(tokens.find(text.expose()).await.unwrap().unwrap().read_only);
    let other = format::write(&[9; 32]);
    for wrong in [
        &token.id,
        &format!("token:{}", token.id),
        &other,
        "",
        "mlg_pat_",
        &text.expose()[1..],
    ] {
        assert!(tokens.find(wrong).await.unwrap().is_none(), "{wrong}");
    }
    clock.advance(MINUTE);
    assert!(tokens.find(text.expose()).await.unwrap().is_none());
    assert!(tokens.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn using_a_token_is_written_down_and_leaves_its_end_alone() {
    let (clock, tokens) = tokens();
    let (text, made) = tokens.create(alice(), "ci", 60 * MINUTE, false).await.unwrap();
    clock.advance(5 * MINUTE);
    tokens.find(text.expose()).await.unwrap().unwrap();
    let listed = tokens.list(Some(("local", "alice"))).await.unwrap();
    assert_eq!(listed[0].last_used, Some(clock.now()));
    assert_eq!(listed[0].expires, made.expires);
    assert!(tokens.list(Some(("local", "bob"))).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_ended_token_does_not_come_back() {
    let (clock, tokens) = tokens();
    let (text, token) = tokens.create(alice(), "ci", 60 * MINUTE, false).await.unwrap();
    clock.advance(4 * MINUTE);
    assert!(tokens.overdue_for_recheck(&token));
    assert!(tokens.claim_recheck(&token.id).await.unwrap().is_some());
    assert!(tokens.update(&token.id, alice()).await.unwrap());
    assert!(!tokens.due_for_recheck(&tokens.find(text.expose()).await.unwrap().unwrap()));
    assert_eq!(tokens.revoke(&token.id).await.unwrap().unwrap().name, "ci");
    assert!(tokens.revoke(&token.id).await.unwrap().is_none());
    assert!(!tokens.update(&token.id, alice()).await.unwrap());
    assert!(tokens.find(text.expose()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_needs_a_name_and_a_lifetime() {
    let (_, tokens) = tokens();
    let long = "x".repeat(101);
    for (name, lifetime) in [
        ("", MINUTE),
        ("  ", MINUTE),
        (&long, MINUTE),
        ("a\nb", MINUTE),
        ("ci", Duration::ZERO),
    ] {
        let made = tokens.create(alice(), name, lifetime, false).await;
        assert!(matches!(made, Err(TokenError::Invalid(_))), "{name:?}");
    }
    assert!(tokens.create(alice(), &long[..100], MINUTE, false).await.is_ok());
}
