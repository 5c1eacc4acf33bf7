//! What an identity provider's endpoints answer besides the ID token, each checked by a provider that lies in that one way:
//! userinfo, discovery, refresh tokens, and where a session ends.

use std::time::Duration;

use mlgate::providers::{Onward, ProviderError, RedirectProvider};
use serde_json::json;

use crate::oidc_checks::Scene;
use crate::support::lying_provider::{Fault, Says};

/// Needs userinfo: the groups are told there alone.
fn without_groups() -> Scene {
    Scene::new().lie(no_groups)
}

fn no_groups(says: &mut Says) {
    says.claims.as_object_mut().unwrap().remove("groups");
    says.userinfo["groups"] = json!(["from-userinfo"]);
}

#[tokio::test]
async fn groups_that_the_id_token_lacks_come_from_userinfo() {
    assert_eq!(
        without_groups().sign_in().await.unwrap().identity.groups,
        ["from-userinfo"]
    );
}

#[tokio::test]
async fn userinfo_about_somebody_else_is_refused() {
    without_groups()
        .lie(|says| says.userinfo["sub"] = "subject-2".into())
        .is_refused("userinfo")
        .await;
    without_groups()
        .lie(|says| says.userinfo = json!({"groups": ["admin"]}))
        .is_refused("sub")
        .await;
}

#[tokio::test]
async fn endpoints_that_redirect_are_not_followed() {
    for path in ["/.well-known/openid-configuration", "/jwks", "/token", "/userinfo"] {
        let scene = without_groups().lie(|says| says.fail(path, Fault::Redirect));
        scene.is_refused("redirect").await;
        assert_eq!(scene.idp.asked("/elsewhere"), 0);
    }
}

#[tokio::test]
async fn oversized_answers_are_refused() {
    for path in ["/.well-known/openid-configuration", "/jwks", "/token", "/userinfo"] {
        let scene = without_groups().lie(|says| says.fail(path, Fault::Oversized));
        scene.is_refused("more than 1048576 bytes").await;
    }
}

#[tokio::test]
async fn slow_and_broken_endpoints_are_told_as_away() {
    for fault in [Fault::Silent, Fault::Status(503)] {
        for path in ["/.well-known/openid-configuration", "/jwks", "/token", "/userinfo"] {
            let scene = Scene::hurried().lie(no_groups).lie(|says| says.fail(path, fault));
            assert!(
                matches!(scene.sign_in().await, Err(ProviderError::Unavailable(_))),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_provider_that_was_away_is_asked_again() {
    let discovery = "/.well-known/openid-configuration";
    let scene = Scene::new().lie(|says| says.fail(discovery, Fault::Status(503)));
    assert!(scene.sign_in().await.is_err());
    scene.idp.lie(|says| says.faults.clear());
    assert!(
        matches!(scene.sign_in().await, Err(ProviderError::Unavailable(_))),
        "not asked for again at once"
    );
    scene.clock.advance(Duration::from_secs(3));
    scene.sign_in().await.unwrap();
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_refused() {
    Scene::new()
        .lie(|says| says.discovery["issuer"] = "https://evil.test".into())
        .is_refused("of the issuer")
        .await;
    let scene = Scene::new();
    let alike = format!("{}/", scene.idp.issuer);
    scene
        .lie(|says| says.discovery["issuer"] = alike.into())
        .is_refused("of the issuer")
        .await;
}

#[tokio::test]
async fn endpoints_over_plain_http_elsewhere_are_refused() {
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "userinfo_endpoint",
        "end_session_endpoint",
    ] {
        let scene = Scene::new().lie(|says| says.discovery[name] = "http://idp.example.com/x".into());
        scene.is_refused("not https").await;
    }
}

#[tokio::test]
async fn an_unverified_address_is_refused() {
    let scene = Scene::new().lie(|says| says.claims["email_verified"] = false.into());
    assert!(matches!(scene.sign_in().await, Err(ProviderError::AccountRefused(_))));
    Scene::new()
        .lie(|says| says.claims["email_verified"] = "true".into())
        .sign_in()
        .await
        .unwrap();
}

#[tokio::test]
async fn only_allowed_domains_come_in() {
    let corp = || Scene::with(|config| config.hosted_domains = vec!["example.com".to_owned()]);
    corp().sign_in().await.unwrap();
    for email in [
        "a@evil.com",
        "a@evil.com@example.com",
        "a@example.com.",
        "a@sub.example.com",
        "a@example.com.evil.com",
    ] {
        let scene = corp().lie(|says| says.claims["email"] = email.into());
        assert!(
            matches!(scene.sign_in().await, Err(ProviderError::AccountRefused(_))),
            "{email}"
        );
    }
}

#[tokio::test]
async fn a_recheck_by_refresh_token_sees_the_groups_of_now_and_keeps_the_new_token() {
    let scene = Scene::new().lie(|says| says.refresh_token = Some("refresh".to_owned()));
    let first = scene.sign_in().await.unwrap();
    scene.idp.lie(|says| says.claims["groups"] = json!(["other"]));
    let second = scene
        .oidc
        .recheck(&first.identity, first.state.as_deref())
        .await
        .unwrap();
    assert_eq!(second.identity.groups, ["other"]);
    assert_eq!(second.identity.authenticated_at, first.identity.authenticated_at);
    scene
        .oidc
        .recheck(&second.identity, second.state.as_deref())
        .await
        .unwrap();
    // The first state again, as after a crash between the answer and the store.
    scene
        .oidc
        .recheck(&first.identity, first.state.as_deref())
        .await
        .unwrap();
    let refreshed = scene.idp.says.lock().unwrap().refreshed.clone();
    assert_eq!(refreshed, ["refresh-1", "refresh-2", "refresh-3"], "none is used twice");
}

#[tokio::test]
async fn a_recheck_refuses_another_subject_and_what_the_provider_ended() {
    let scene = Scene::new().lie(|says| says.refresh_token = Some("refresh".to_owned()));
    let vouched = scene.sign_in().await.unwrap();
    let recheck = || scene.oidc.recheck(&vouched.identity, vouched.state.as_deref());
    scene.idp.lie(|says| says.claims["sub"] = "subject-2".into());
    assert!(matches!(recheck().await, Err(ProviderError::Refused(_))));
    scene.idp.lie(|says| says.fail("/token", Fault::Status(503)));
    assert!(matches!(recheck().await, Err(ProviderError::Unavailable(_))));
    scene.idp.lie(|says| {
        says.faults.clear();
        says.refreshed.push("refresh-2".to_owned());
    });
    assert!(matches!(recheck().await, Err(ProviderError::AccountRefused(_))));
}

#[tokio::test]
async fn a_recheck_without_refresh_token_asks_userinfo() {
    let scene = without_groups();
    let vouched = scene.sign_in().await.unwrap();
    let recheck = || scene.oidc.recheck(&vouched.identity, vouched.state.as_deref());
    scene.idp.lie(|says| says.userinfo["groups"] = json!(["other"]));
    assert_eq!(recheck().await.unwrap().identity.groups, ["other"]);
    scene.idp.lie(|says| says.fail("/userinfo", Fault::Status(401)));
    assert!(matches!(recheck().await, Err(ProviderError::AccountRefused(_))));
}

#[tokio::test]
async fn groups_that_only_an_old_id_token_tells_are_not_believed_again() {
    let scene = Scene::new();
    let vouched = scene.sign_in().await.unwrap();
    let answer = scene.oidc.recheck(&vouched.identity, vouched.state.as_deref()).await;
    assert!(matches!(answer, Err(ProviderError::AccountRefused(_))));
}

#[tokio::test]
async fn the_provider_is_told_whose_session_ends() {
    let scene = Scene::new();
    let vouched = scene.sign_in().await.unwrap();
    let onward = scene.oidc.logout(vouched.state.as_deref(), "https://gate.test/").await;
    let Some(Onward::Redirect(url)) = onward else {
        panic!("a redirect")
    };
    assert!(
        url.starts_with(&format!("{}/end?id_token_hint=ey", scene.idp.issuer)),
        "{url}"
    );
    assert!(
        url.contains("post_logout_redirect_uri=https%3A%2F%2Fgate.test%2F"),
        "{url}"
    );
}
