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
        Tokens::new(
            Settings {
                secrets: vec![[1; 32]],
                recheck: 4 * MINUTE,
                outage_grace: MINUTE,
                access_lifetime: 5 * MINUTE,
                refresh_idle: 60 * MINUTE,
                refresh_absolute: 120 * MINUTE,
            },
            store,
            clock,
            random,
        ),
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
    assert!(tokens.find(text.expose()).await.unwrap().unwrap().scope.read_only);
    let other = format::personal(&[9; 32]);
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
    assert!(tokens.update(&token.id, alice(), None).await.unwrap());
    assert!(!tokens.due_for_recheck(&tokens.find(text.expose()).await.unwrap().unwrap()));
    assert_eq!(tokens.revoke(&token.id).await.unwrap().unwrap().name, "ci");
    assert!(tokens.revoke(&token.id).await.unwrap().is_none());
    assert!(!tokens.update(&token.id, alice(), None).await.unwrap());
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

fn family() -> NewFamily {
    NewFamily {
        id: [3; 16],
        client: "mlgate-cli".into(),
        name: "The mlgate command".into(),
        flow: Flow::DeviceCode,
        identity: alice().into(),
        provider_state: None,
        checked: Timestamp::from_seconds(1_795_435_200),
        read_only: false,
        address: "192.0.2.1".parse().unwrap(),
        host: Some("gpu-7".into()),
        refreshes: true,
        until: None,
    }
}

fn refresh_of(issued: &Issued) -> String {
    issued.refresh.as_ref().unwrap().expose().to_owned()
}

async fn refreshed(tokens: &Tokens, text: &str) -> Issued {
    match tokens.refresh("mlgate-cli", text).await.unwrap() {
        Refreshed::Issued(issued) => *issued,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_family_s_access_tokens_end_by_time_and_all_together() {
    let (clock, tokens) = tokens();
    let first = tokens.open(family()).await.unwrap();
    let access = first.access.expose().to_owned();
    assert!(Tokens::looks_like_one(&access) && !Tokens::looks_like_one(&refresh_of(&first)));
    assert_eq!(tokens.find(&access).await.unwrap().unwrap().id, first.token.id);
    assert!(
        tokens.find(&refresh_of(&first)).await.unwrap().is_none(),
        "a refresh token is no access token"
    );
    clock.advance(4 * MINUTE);
    let second = refreshed(&tokens, &refresh_of(&first)).await;
    assert!(
        tokens.find(&access).await.unwrap().is_some(),
        "the one before lives to its own end"
    );
    clock.advance(MINUTE);
    assert!(tokens.find(&access).await.unwrap().is_none());
    assert!(tokens.find(second.access.expose()).await.unwrap().is_some());
    tokens.revoke(&first.token.id).await.unwrap().unwrap();
    assert!(tokens.find(second.access.expose()).await.unwrap().is_none());
    assert!(matches!(
        tokens.refresh("mlgate-cli", &refresh_of(&second)).await.unwrap(),
        Refreshed::Unknown
    ));
}

#[tokio::test]
async fn the_same_refresh_token_gives_the_same_successor_for_a_minute_and_ends_the_family_after() {
    let (clock, tokens) = tokens();
    let first = tokens.open(family()).await.unwrap();
    let all = (0..100).map(|_| tokens.refresh("mlgate-cli", first.refresh.as_ref().unwrap().expose()));
    let mut successors = std::collections::HashSet::new();
    for answer in futures_util::future::join_all(all).await {
        let Refreshed::Issued(issued) = answer.unwrap() else {
            panic!("refused")
        };
        successors.insert((refresh_of(&issued), issued.access.expose().to_owned()));
    }
    assert_eq!(successors.len(), 1);
    let (second, access) = successors.into_iter().next().unwrap();
    // The successor is used already, and the first one comes again: it still gets what it got.
    let third = refreshed(&tokens, &second).await;
    clock.advance(MINUTE - Duration::from_secs(1));
    let again = refreshed(&tokens, &refresh_of(&first)).await;
    assert_eq!(
        (refresh_of(&again), again.access.expose()),
        (second.clone(), access.as_str())
    );
    clock.advance(Duration::from_secs(1));
    let reused = tokens.refresh("mlgate-cli", &refresh_of(&first)).await.unwrap();
    assert!(matches!(reused, Refreshed::Reused(token) if token.id == first.token.id));
    for ended in [&second, &refresh_of(&third)] {
        assert!(matches!(
            tokens.refresh("mlgate-cli", ended).await.unwrap(),
            Refreshed::Unknown
        ));
    }
    assert!(tokens.find(third.access.expose()).await.unwrap().is_none());
}

#[tokio::test]
async fn another_client_s_refresh_token_is_none_and_stays_as_it_was() {
    let (_, tokens) = tokens();
    let first = tokens.open(family()).await.unwrap();
    let stolen = tokens.refresh("other", &refresh_of(&first)).await.unwrap();
    assert!(matches!(stolen, Refreshed::Unknown));
    refreshed(&tokens, &refresh_of(&first)).await;
}

#[tokio::test]
async fn a_family_ends_when_it_is_not_refreshed_and_at_its_absolute_end() {
    let (clock, tokens) = tokens();
    let idle = tokens.open(family()).await.unwrap();
    clock.advance(60 * MINUTE);
    assert!(matches!(
        tokens.refresh("mlgate-cli", &refresh_of(&idle)).await.unwrap(),
        Refreshed::Unknown
    ));
    let mut kept = tokens.open(family()).await.unwrap();
    for _ in 0..3 {
        clock.advance(39 * MINUTE);
        kept = refreshed(&tokens, &refresh_of(&kept)).await;
    }
    clock.advance(2 * MINUTE);
    assert!(tokens.find(kept.access.expose()).await.unwrap().is_some());
    clock.advance(MINUTE);
    assert!(
        tokens.find(kept.access.expose()).await.unwrap().is_none(),
        "no access token outlives its family"
    );
    assert!(matches!(
        tokens.refresh("mlgate-cli", &refresh_of(&kept)).await.unwrap(),
        Refreshed::Unknown
    ));
}
