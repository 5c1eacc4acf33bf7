//! The identity provider ends sessions: which ones, and who may ask.

use actix_web::http::{Method, StatusCode};

use super::{Answer, Browser, FORM, Stand, stand};

const BACK: &str = "/auth/oidc/idp/backchannel-logout";
const FRONT: &str = "/auth/oidc/idp/frontchannel-logout";

async fn signed_in(stand: &Stand) -> Browser {
    let mut browser = Browser::default();
    let state = browser.depart(stand, "/auth/login/idp").await;
    browser.come_back(stand, &state, "good").await;
    browser
}

async fn is_in(stand: &Stand, browser: &Browser) -> bool {
    stand.sessions.find(browser.session().unwrap()).await.unwrap().is_some()
}

async fn tell(stand: &Stand, token: &str) -> Answer {
    let provider = Browser::default();
    stand.ask(provider.form(BACK, &[("logout_token", token)])).await
}

#[actix_web::test]
async fn a_logout_token_ends_the_sessions_that_it_names_and_no_other() {
    for token in ["carol 1", "theirs 1"] {
        let stand = stand();
        let (one, two) = (signed_in(&stand).await, signed_in(&stand).await);
        let mut other = Browser::default();
        other.sign_in(&stand, "alice", "right", "/").await;
        let answer = tell(&stand, token).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""));
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!is_in(&stand, &one).await && !is_in(&stand, &two).await, "{token}");
        assert!(is_in(&stand, &other).await, "{token}");
        let events = stand.events();
        let ended: Vec<_> = events.iter().filter(|event| event["action"] == "session.end").collect();
        assert_eq!(ended.len(), 2);
        assert_eq!(ended[0]["actor"]["user"], "carol");
        assert_eq!(
            ended[0]["reason"]["text"],
            "The identity provider ended it, by a logout token."
        );
    }
}

#[actix_web::test]
async fn a_logout_token_that_came_before_is_refused() {
    let stand = stand();
    assert_eq!(tell(&stand, "carol 1").await.status, StatusCode::OK);
    let later = signed_in(&stand).await;
    let again = tell(&stand, "carol 1").await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert_eq!(again.header("cache-control"), "no-store");
    assert!(is_in(&stand, &later).await);
    let events = stand.events();
    let refused = events.last().unwrap();
    assert_eq!(
        (&refused["action"], &refused["outcome"]),
        (&"session.end".into(), &"refused".into())
    );
    assert!(refused["reason"]["text"].as_str().unwrap().contains("came before"));
    assert_eq!(tell(&stand, "carol 2").await.status, StatusCode::OK);
    assert!(!is_in(&stand, &later).await);
}

#[actix_web::test]
async fn what_is_no_logout_token_ends_nothing_and_is_not_told_why() {
    let stand = stand();
    let browser = signed_in(&stand).await;
    let nobody = Browser::default();
    for request in [
        nobody.form(BACK, &[("logout_token", "forged")]),
        nobody.form(BACK, &[("logout_token", "carol 1"), ("logout_token", "carol 1")]),
        nobody.form(BACK, &[]),
        nobody.form("/auth/oidc/local/backchannel-logout", &[("logout_token", "carol 1")]),
        nobody.form("/auth/oidc/nowhere/backchannel-logout", &[("logout_token", "carol 1")]),
        nobody.request(Method::POST, BACK).set_payload("logout_token=carol 1"),
        nobody.request(Method::GET, &format!("{BACK}?logout_token=carol%201")),
        nobody
            .request(Method::POST, BACK)
            .insert_header(FORM)
            .set_payload(format!("logout_token=carol+1&x={}", "x".repeat(1 << 20))),
    ] {
        let answer = stand.ask(request).await;
        assert!(answer.status.is_client_error(), "{}", answer.status);
        assert!(!answer.body.contains("forged"), "{}", answer.body);
    }
    assert!(is_in(&stand, &browser).await);
    assert_eq!(tell(&stand, "carol 1").await.status, StatusCode::OK, "the control");
    assert!(!is_in(&stand, &browser).await);
}

#[actix_web::test]
async fn a_frame_of_the_issuer_ends_the_session_of_this_browser_alone() {
    let stand = stand();
    let (mut one, two) = (signed_in(&stand).await, signed_in(&stand).await);
    let before = one.session().unwrap().to_owned();
    let answer = one
        .get(&stand, &format!("{FRONT}?iss=https%3A%2F%2Fidp.example&sid=theirs"))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    let policy = answer.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("frame-ancestors https://idp.example;"),
        "{policy}"
    );
    assert_eq!(answer.header("x-frame-options"), "", "it would forbid the issuer too");
    assert!(one.session().is_none(), "the cookie is taken back");
    assert!(stand.sessions.find(&before).await.unwrap().is_none());
    assert!(
        is_in(&stand, &two).await,
        "another browser of the same session at the provider"
    );
    let reason = stand.events().pop().unwrap()["reason"]["text"].clone();
    assert_eq!(reason, "The identity provider ended it, in the browser.");
}

#[actix_web::test]
async fn a_frame_ends_nothing_for_who_does_not_know_the_provider_s_session() {
    let stand = stand();
    let mut browser = signed_in(&stand).await;
    for (query, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("?sid=theirs", StatusCode::BAD_REQUEST),
        ("?iss=https%3A%2F%2Fidp.example", StatusCode::BAD_REQUEST),
        (
            "?iss=https%3A%2F%2Fidp.example&sid=theirs&sid=theirs",
            StatusCode::BAD_REQUEST,
        ),
        ("?iss=https%3A%2F%2Fidp.example&sid=other", StatusCode::OK),
        ("?iss=https%3A%2F%2Fidp.example&sid=", StatusCode::OK),
        ("?iss=https%3A%2F%2Fevil.example&sid=theirs", StatusCode::OK),
    ] {
        let answer = browser.get(&stand, &format!("{FRONT}{query}")).await;
        assert_eq!(answer.status, status, "{query}");
        assert!(answer.set_cookies().is_empty(), "{query}");
        assert!(is_in(&stand, &browser).await, "{query}");
    }
    let posted = stand.ask(browser.form(FRONT, &[("sid", "theirs")])).await;
    assert!(posted.status.is_client_error());
    let unknown = browser
        .get(&stand, "/auth/oidc/local/frontchannel-logout?iss=x&sid=theirs")
        .await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    // Somebody of another provider, though the name be the same.
    let mut other = Browser::default();
    other.sign_in(&stand, "alice", "right", "/").await;
    other
        .get(&stand, &format!("{FRONT}?iss=https%3A%2F%2Fidp.example&sid=theirs"))
        .await;
    assert!(is_in(&stand, &other).await && is_in(&stand, &browser).await);
}

#[actix_web::test]
async fn refused_tokens_are_written_down_for_one_address_no_more_often_than_it_may() {
    let stand = stand();
    // `login_attempts` is five in five minutes here, and thirty times that is the limit.
    for number in 0..150 {
        assert_eq!(tell(&stand, "forged").await.status, StatusCode::BAD_REQUEST, "{number}");
    }
    let stopped = tell(&stand, "forged").await;
    assert_eq!(
        (stopped.status, stopped.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "300")
    );
    assert_eq!(stand.events().len(), 150);
    let provider = Browser::default().form(BACK, &[("logout_token", "carol 1")]);
    assert_eq!(stand.ask_from([192, 0, 2, 2], provider).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn tokens_that_hold_are_not_counted() {
    let stand = stand();
    for number in 0..160 {
        assert_eq!(tell(&stand, &format!("carol {number}")).await.status, StatusCode::OK);
    }
}
