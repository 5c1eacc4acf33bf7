//! Each check of a logout token, shown by a provider that lies in that one way; the honest one passes.

use std::time::Duration;

use mlgate::providers::{Ended, ProviderError, RedirectProvider};
use serde_json::{Value, json};

use crate::oidc_checks::{NOW, Scene};
use crate::support::lying_provider::{CLIENT_ID, Fault, Signature};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What the honest provider sends, but for what `change` changes in its header and its claims.
fn token(scene: &Scene, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let mut header = json!({"alg": "ES256", "kid": "one", "typ": "logout+jwt"});
    let mut claims = json!({
        "iss": scene.idp.issuer, "aud": CLIENT_ID, "sub": "subject-1", "sid": "session-1",
        "iat": NOW, "exp": NOW + 120, "jti": "id-1", "events": {EVENT: {}},
    });
    change(&mut header, &mut claims);
    scene.idp.sign(&header, &claims)
}

async fn is_refused(scene: &Scene, token: &str, words: &str) {
    match scene.oidc.ended(token).await {
        Err(ProviderError::Refused(text)) => assert!(text.contains(words), "{text:?} does not say {words:?}"),
        other => panic!("{words}: {other:?}"),
    }
}

/// A claim is removed by null.
async fn claim_is_refused(name: &str, values: &[Value], words: &str) {
    for value in values {
        let scene = Scene::new();
        let token = token(&scene, |_, claims| match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        });
        is_refused(&scene, &token, words).await;
    }
}

async fn is_taken(change: impl FnOnce(&mut Value, &mut Value)) -> Ended {
    let scene = Scene::new();
    let token = token(&scene, change);
    scene.oidc.ended(&token).await.unwrap()
}

#[tokio::test]
async fn an_honest_token_says_whose_sessions_ended() {
    let ended = is_taken(|_, _| {}).await;
    assert_eq!(
        ended,
        Ended {
            session: Some("session-1".to_owned()),
            subject: Some("subject-1".to_owned()),
            id: "id-1".to_owned(),
        }
    );
    let by_subject = is_taken(|_, claims| drop(claims.as_object_mut().unwrap().remove("sid"))).await;
    assert_eq!(by_subject.session, None);
    let by_session = is_taken(|_, claims| drop(claims.as_object_mut().unwrap().remove("sub"))).await;
    assert_eq!(by_session.subject, None);
}

#[tokio::test]
async fn a_token_of_another_type_is_refused() {
    for typ in [json!("logout+jwt"), json!("application/logout+jwt")] {
        is_taken(|header, _| header["typ"] = typ).await;
    }
    is_taken(|header, _| drop(header.as_object_mut().unwrap().remove("typ"))).await;
    for typ in ["JWT", "at+jwt", "id_token+jwt", "", "xlogout+jwt"] {
        let scene = Scene::new();
        let token = token(&scene, |header, _| header["typ"] = typ.into());
        is_refused(&scene, &token, "type").await;
    }
}

#[tokio::test]
async fn an_id_token_is_no_logout_token() {
    for (typ, words) in [(json!("JWT"), "type"), (json!(null), "events")] {
        let scene = Scene::new();
        scene.idp.lie(|says| says.header["typ"] = typ);
        let vouched = scene.sign_in().await.unwrap();
        let kept: Value = serde_json::from_str(&vouched.state.unwrap()).unwrap();
        is_refused(&scene, kept["id_token"].as_str().unwrap(), words).await;
    }
}

#[tokio::test]
async fn another_issuer_or_audience_is_refused() {
    claim_is_refused(
        "iss",
        &[json!("https://evil.test"), json!(null), json!(7), json!("")],
        "iss",
    )
    .await;
    let others = [
        json!("another"),
        json!(["another"]),
        json!([CLIENT_ID, "another"]),
        json!([]),
        json!(null),
        json!(7),
    ];
    claim_is_refused("aud", &others, "aud").await;
    is_taken(|_, claims| claims["aud"] = json!([CLIENT_ID])).await;
}

#[tokio::test]
async fn an_expired_token_or_one_without_an_end_is_refused() {
    let ends = [json!(NOW - 60), json!(null), json!("later"), json!(-1e300)];
    claim_is_refused("exp", &ends, "exp").await;
    is_taken(|_, claims| claims["exp"] = json!(NOW - 59)).await;
}

#[tokio::test]
async fn an_old_token_and_one_from_the_future_are_refused() {
    let times = [
        json!(NOW + 61),
        json!(NOW - 661),
        json!(null),
        json!("now"),
        json!(1e300),
    ];
    claim_is_refused("iat", &times, "iat").await;
    is_taken(|_, claims| claims["iat"] = json!(NOW + 60)).await;
    is_taken(|_, claims| claims["iat"] = json!(NOW - 660)).await;
    claim_is_refused("nbf", &[json!(NOW + 61), json!("soon"), json!([NOW])], "nbf").await;
}

#[tokio::test]
async fn a_token_without_its_event_is_refused() {
    let events = [
        json!(null),
        json!({}),
        json!([EVENT]),
        json!(EVENT),
        json!({EVENT: null}),
        json!({EVENT: true}),
        json!({"http://schemas.openid.net/event/other": {}}),
    ];
    claim_is_refused("events", &events, "events").await;
}

#[tokio::test]
async fn a_token_with_a_nonce_is_refused() {
    claim_is_refused("nonce", &[json!("n"), json!("")], "nonce").await;
    // A nonce of null is one too.
    let scene = Scene::new();
    let token = token(&scene, |_, claims| claims["nonce"] = json!(null));
    is_refused(&scene, &token, "nonce").await;
}

#[tokio::test]
async fn a_token_that_names_nobody_or_has_no_id_is_refused() {
    let scene = Scene::new();
    let nobody = token(&scene, |_, claims| {
        claims
            .as_object_mut()
            .unwrap()
            .retain(|name, _| name != "sub" && name != "sid");
    });
    is_refused(&scene, &nobody, "neither").await;
    for (name, odd) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sid", json!("")),
        ("sid", json!(["s"])),
    ] {
        claim_is_refused(name, &[odd], name).await;
    }
    let ids = [json!(null), json!(""), json!(7), json!("x".repeat(256))];
    claim_is_refused("jti", &ids, "jti").await;
}

#[tokio::test]
async fn a_signature_that_is_not_the_issuers_is_refused() {
    for (alg, signature) in [
        ("ES256", Signature::Foreign),
        ("ES256", Signature::None),
        ("none", Signature::None),
        ("None", Signature::None),
        ("HS256", Signature::Secret),
        ("HS256", Signature::PublicKey),
    ] {
        for kid in [json!("one"), json!(null)] {
            let scene = Scene::new();
            scene.idp.lie(|says| says.signature = signature);
            let token = token(&scene, |header, _| {
                header["alg"] = alg.into();
                header["kid"] = kid.clone();
            });
            is_refused(&scene, &token, "sign").await;
        }
    }
    let ended = is_taken(|header, _| drop(header.as_object_mut().unwrap().remove("kid"))).await;
    assert_eq!(ended.id, "id-1", "the control: without a key id the only key is tried");
}

#[tokio::test]
async fn what_is_changed_after_signing_is_refused() {
    let scene = Scene::new();
    let (good, other) = (
        token(&scene, |_, _| {}),
        token(&scene, |_, claims| claims["sub"] = "subject-2".into()),
    );
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good_parts, other_parts) = (parts(&good), parts(&other));
    let mixed = format!("{}.{}.{}", good_parts[0], other_parts[1], good_parts[2]);
    is_refused(&scene, &mixed, "signature").await;
    for odd in [
        "",
        ".",
        "..",
        "a.b.c",
        &good_parts[0],
        &format!("{}.{}", good_parts[0], good_parts[1]),
        &format!("{}.{}.", good_parts[0], good_parts[1]),
        &format!("{good}.x"),
        &format!("{good}.x.y"),
        &format!("{good}="),
        &good.replace('.', " "),
    ] {
        let answer = scene.oidc.ended(odd).await;
        assert!(matches!(answer, Err(ProviderError::Refused(_))), "{odd}: {answer:?}");
    }
    let critical = token(&scene, |header, _| header["crit"] = json!(["b64"]));
    is_refused(&scene, &critical, "crit").await;
    scene.oidc.ended(&good).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_and_an_unknown_one_is_refused() {
    let scene = Scene::new();
    scene.oidc.ended(&token(&scene, |_, _| {})).await.unwrap();
    scene.idp.rename_key("two");
    let renamed = token(&scene, |header, _| header["kid"] = "two".into());
    scene.oidc.ended(&renamed).await.unwrap();
    let fetched = scene.idp.asked("/jwks");
    for kid in ["three", "four", "five"] {
        let unknown = token(&scene, |header, _| header["kid"] = kid.into());
        is_refused(&scene, &unknown, "unknown key").await;
    }
    assert_eq!(
        scene.idp.asked("/jwks"),
        fetched,
        "unknown keys fetch no more than once in a while"
    );
    scene.clock.advance(Duration::from_secs(31));
    scene.idp.rename_key("three");
    let found = token(&scene, |header, _| header["kid"] = "three".into());
    scene.oidc.ended(&found).await.unwrap();
}

#[tokio::test]
async fn nothing_is_believed_while_the_issuers_keys_cannot_be_had() {
    let scene = Scene::new();
    scene.idp.lie(|says| says.fail("/jwks", Fault::Status(500)));
    let answer = scene.oidc.ended(&token(&scene, |_, _| {})).await;
    assert!(matches!(answer, Err(ProviderError::Unavailable(_))), "{answer:?}");
}
