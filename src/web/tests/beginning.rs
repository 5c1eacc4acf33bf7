//! Before a sign-in: whom a hint means, and how often one address may begin.

use std::time::Duration;

use actix_web::http::{Method, StatusCode};

use super::{Browser, stand, stand_with};

#[actix_web::test]
async fn a_hint_of_one_providers_domain_goes_straight_there_and_on_with_the_name() {
    let (stand, mut browser) = (stand(), Browser::default());
    let answer = browser
        .get(&stand, "/auth/login?rd=%2Fx&login_hint=carol%40IDP.example")
        .await;
    assert_eq!(
        (answer.status, answer.location()),
        (
            StatusCode::FOUND,
            "/auth/login/idp?rd=%2Fx&login_hint=carol%40IDP.example"
        )
    );
    let away = browser
        .get(&stand, "/auth/login/idp?rd=%2Fx&login_hint=carol%40IDP.example")
        .await;
    assert!(
        away.location().ends_with("&as=carol@IDP.example"),
        "{}",
        away.location()
    );
    let by_domain = browser.get(&stand, "/auth/login?domain_hint=idp.example").await;
    assert_eq!(by_domain.location(), "/auth/login/idp");
    let page = browser
        .request(Method::GET, "/auth/login?domain_hint=idp.example&login_hint=a%22b")
        .insert_header(("sec-fetch-dest", "document"))
        .insert_header(("upgrade-insecure-requests", "1"));
    let page = browser.send(&stand, page).await;
    assert_eq!(page.status, StatusCode::OK, "a page, which keeps the fragment");
    assert!(page.body.contains("/auth/login/idp?login_hint=a%22b"), "{}", page.body);
}

#[actix_web::test]
async fn a_hint_that_means_nobody_or_several_leaves_the_choice() {
    let mut browser = Browser::default();
    let two = stand_with(&["local", "idp", "idp-two"], |_| {});
    for (stand, query) in [
        (&stand(), "login_hint=carol%40elsewhere.example"),
        (&stand(), "login_hint=idp.example.evil.test"),
        (&stand(), "domain_hint="),
        (&stand(), "domain_hint=idp.example&domain_hint=idp.example"),
        (&stand(), "login_hint=%0Acarol%40idp.example"),
        (&stand(), &format!("login_hint={}%40idp.example", "x".repeat(256))),
        (&two, "login_hint=carol%40idp.example"),
    ] {
        let page = browser.get(stand, &format!("/auth/login?{query}")).await;
        assert_eq!(page.status, StatusCode::OK, "{query}");
        assert!(page.body.contains("Choose how you sign in"), "{query}");
    }
}

#[actix_web::test]
async fn a_form_has_the_name_of_the_hint_in_it() {
    let page = Browser::default()
        .get(&stand(), "/auth/login/local?login_hint=al%22%3Cice")
        .await;
    assert!(page.body.contains("value=\"al&#34;&#60;ice\""), "{}", page.body);
}

/// `login_attempts` is five in five minutes here.
const MOST: usize = 150;

#[actix_web::test]
async fn one_address_can_begin_no_more_sign_ins_than_it_may_and_no_other_is_held_up() {
    let stand = stand();
    let begin = || Browser::default().request(Method::GET, "/auth/login/idp");
    for number in 0..MOST {
        assert_eq!(stand.ask(begin()).await.status, StatusCode::FOUND, "{number}");
    }
    let stopped = stand.ask(begin()).await;
    assert_eq!(stopped.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(stopped.header("retry-after"), "300");
    assert!(stopped.set_cookies().is_empty() && stopped.body.contains("Too many sign-in attempts"));
    let events = stand.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["action"], &events[0]["reason"]["code"]),
        (&"login.refused".into(), &"rate_limited".into())
    );
    assert_eq!(stand.ask_from([192, 0, 2, 2], begin()).await.status, StatusCode::FOUND);
    let mut other = Browser::default();
    other.sign_in(&stand, "alice", "right", "/").await;
    assert!(other.session().is_some(), "passwords are counted by themselves");
    stand.clock.advance(Duration::from_secs(301));
    assert_eq!(stand.ask(begin()).await.status, StatusCode::FOUND);
}

#[actix_web::test]
async fn who_comes_back_from_the_provider_is_not_counted() {
    let stand = stand();
    for _ in 0..MOST + 5 {
        let mut browser = Browser::default();
        let state = browser.depart(&stand, "/auth/login/idp").await;
        browser.come_back(&stand, &state, "good").await;
        assert!(browser.session().is_some());
    }
}
