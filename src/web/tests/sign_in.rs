//! Getting in, by password and through an identity provider.

use std::time::Duration;

use actix_web::http::{Method, StatusCode, header};
use url::form_urlencoded;

use super::{Answer, Browser, ORIGIN, stand, stand_with};

#[actix_web::test]
async fn a_right_password_opens_a_session_and_returns() {
    let (stand, mut browser) = (stand(), Browser::default());
    let answer = browser.sign_in(&stand, "Alice", "right", "/#/experiments/1").await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "/#/experiments/1")
    );
    let cookie = answer.set_cookies()[0].to_owned();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    assert_eq!(browser.session().unwrap().len(), 43);
    let session = stand.sessions.find(browser.session().unwrap()).await.unwrap().unwrap();
    assert_eq!(session.identity.user, "alice");
    assert_eq!(session.address.to_string(), "192.0.2.1");
    let events = stand.events();
    assert_eq!(stand.actions(), ["session.start"]);
    assert_eq!(events[0]["actor"]["user"], "alice");
    assert_eq!(events[0]["actor"]["session"], session.id);
    assert!(
        !std::fs::read_to_string(&stand.trail)
            .unwrap()
            .contains(browser.session().unwrap())
    );
}

#[actix_web::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_answer_and_no_session() {
    let stand = stand();
    let mut answers = Vec::new();
    for (user, password) in [
        ("alice", "wrong"),
        ("nobody", "wrong"),
        ("alice", ""),
        (&"a".repeat(300), "right"),
    ] {
        let mut browser = Browser::default();
        let answer = browser.sign_in(&stand, user, password, "/x").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{user}");
        assert!(
            answer.body.contains("role=\"alert\"") && browser.session().is_none(),
            "{user}"
        );
        assert_eq!(answer.field("rd"), "/x", "the way back is kept");
        let token = answer.field("csrf_token");
        answers.push(answer.body.replace(user, "USER").replace(&token, "TOKEN"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(stand.actions(), ["login.refused"; 4]);
}

#[actix_web::test]
async fn a_disabled_account_is_told_so_and_gets_no_session() {
    let (stand, mut browser) = (stand(), Browser::default());
    let answer = browser.sign_in(&stand, "dora", "right", "/").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.body.contains("it is disabled") && browser.session().is_none());
}

#[actix_web::test]
async fn guessing_is_slowed_down_and_a_right_password_does_not_help() {
    let stand = stand();
    for _ in 0..5 {
        assert_eq!(
            Browser::default().sign_in(&stand, "alice", "wrong", "/").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let answer = Browser::default().sign_in(&stand, "ALICE", "right", "/").await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!((1..=300).contains(&answer.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(stand.events().last().unwrap()["reason"]["code"], "rate_limited");
    stand.clock.advance(Duration::from_secs(301));
    assert_eq!(
        Browser::default().sign_in(&stand, "alice", "right", "/").await.status,
        StatusCode::SEE_OTHER
    );
}

#[actix_web::test]
async fn the_sign_in_form_needs_its_token_and_its_cookie() {
    let stand = stand();
    let mut browser = Browser::default();
    let token = browser.get(&stand, "/auth/login/local").await.field("csrf_token");
    let mut other = Browser::default();
    let foreign = other.get(&stand, "/auth/login/local").await.field("csrf_token");
    let good = [("username", "alice"), ("password", "right"), ("rd", "/")];
    for token in ["", "x", &foreign] {
        let answer = browser
            .post(
                &stand,
                "/auth/login/local",
                &[&good[..], &[("csrf_token", token)]].concat(),
            )
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token}");
        assert!(browser.session().is_none() && answer.body.contains("name=\"password\""));
    }
    let with_token = [&good[..], &[("csrf_token", &token)]].concat();
    let no_cookie = Browser::default().post(&stand, "/auth/login/local", &with_token).await;
    assert_eq!(no_cookie.status, StatusCode::FORBIDDEN);
    let twice = [&with_token[..], &[("csrf_token", &token)]].concat();
    assert_eq!(
        browser.post(&stand, "/auth/login/local", &twice).await.status,
        StatusCode::FORBIDDEN
    );
    for origin in ["https://evil.com", "null", "http://mlflow.example.com"] {
        let request = browser
            .form("/auth/login/local", &with_token)
            .insert_header((header::ORIGIN, origin));
        assert_eq!(
            browser.send(&stand, request).await.status,
            StatusCode::FORBIDDEN,
            "{origin}"
        );
    }
    let request = browser
        .form("/auth/login/local", &with_token)
        .insert_header(("sec-fetch-site", "cross-site"));
    assert_eq!(browser.send(&stand, request).await.status, StatusCode::FORBIDDEN);
    assert!(stand.trail.metadata().unwrap().len() == 0, "nothing was tried");
    assert_eq!(
        browser.post(&stand, "/auth/login/local", &with_token).await.status,
        StatusCode::SEE_OTHER
    );
}

#[actix_web::test]
async fn what_is_no_form_of_ours_signs_nobody_in() {
    let (stand, mut browser) = (stand(), Browser::default());
    let token = browser.get(&stand, "/auth/login/local").await.field("csrf_token");
    let json = browser
        .request(Method::POST, "/auth/login/local")
        .insert_header((header::ORIGIN, ORIGIN))
        .set_json([("username", "alice"), ("password", "right"), ("csrf_token", &token)]);
    assert_eq!(browser.send(&stand, json).await.status, StatusCode::FORBIDDEN);
    let empty = browser
        .request(Method::POST, "/auth/login/local")
        .insert_header((header::ORIGIN, ORIGIN));
    assert_eq!(browser.send(&stand, empty).await.status, StatusCode::FORBIDDEN);
    let huge = "x".repeat(20_000);
    let answer = browser
        .post(
            &stand,
            "/auth/login/local",
            &[("username", &huge), ("csrf_token", &token)],
        )
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let to_idp = browser.post(&stand, "/auth/login/idp", &[("csrf_token", &token)]).await;
    assert_eq!(to_idp.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[actix_web::test]
async fn a_planted_session_is_not_the_one_that_sign_in_opens() {
    let stand = stand();
    let (mut attacker, mut victim) = (Browser::default(), Browser::default());
    attacker.sign_in(&stand, "bob", "right", "/").await;
    let planted = attacker.session().unwrap().to_owned();
    victim.cookies.push(("__Host-mlgate".to_owned(), planted.clone()));
    victim.sign_in(&stand, "alice", "right", "/").await;
    assert_ne!(victim.session().unwrap(), planted);
    assert!(
        stand.sessions.find(&planted).await.unwrap().is_none(),
        "the planted one has ended"
    );
    assert_eq!(stand.actions(), ["session.start", "session.end", "session.start"]);
}

#[actix_web::test]
async fn no_other_secret_of_a_sign_in_is_a_session() {
    let (stand, mut browser) = (stand(), Browser::default());
    let state = browser.depart(&stand, "/auth/login/idp").await;
    let csrf = browser.get(&stand, "/auth/login/local").await.field("csrf_token");
    let login_cookie = browser.cookie("__Host-mlgate-login").unwrap().to_owned();
    for value in [state.as_str(), &csrf, &login_cookie] {
        let mut thief = Browser {
            cookies: vec![("__Host-mlgate".to_owned(), value.to_owned())],
        };
        assert_eq!(
            thief.get(&stand, "/auth/account").await.status,
            StatusCode::SEE_OTHER,
            "{value}"
        );
    }
    browser.come_back(&stand, &state, "good").await;
    assert_eq!(browser.get(&stand, "/auth/account").await.status, StatusCode::OK);
}

#[actix_web::test]
async fn an_identity_provider_sends_people_back_to_where_they_were() {
    let (stand, mut browser) = (stand(), Browser::default());
    let state = browser
        .depart(&stand, "/auth/login/idp?rd=%2F%23%2Fmodels%3Fa%3Db")
        .await;
    let answer = browser.come_back(&stand, &state, "good").await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "/#/models?a=b")
    );
    let session = stand.sessions.find(browser.session().unwrap()).await.unwrap().unwrap();
    assert_eq!(session.identity.qualified_user(), "idp:carol");
}

#[actix_web::test]
async fn several_tabs_sign_in_with_one_cookie() {
    let (stand, mut browser) = (stand(), Browser::default());
    let first = browser.depart(&stand, "/auth/login/idp?rd=/a").await;
    let second = browser.depart(&stand, "/auth/login/idp?rd=/b").await;
    assert_eq!(browser.cookies.len(), 1, "one login cookie, whatever is begun");
    assert_eq!(browser.come_back(&stand, &second, "good").await.location(), "/b");
    assert_eq!(browser.come_back(&stand, &first, "good").await.location(), "/a");
}

#[actix_web::test]
async fn an_attempt_counts_once_for_ten_minutes_and_in_its_own_browser() {
    let stand = stand();
    let (mut browser, mut other) = (Browser::default(), Browser::default());
    let state = browser.depart(&stand, "/auth/login/idp").await;
    other.depart(&stand, "/auth/login/idp").await;
    let stale = |answer: Answer| {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.contains("Start again"));
    };
    stale(other.come_back(&stand, &state, "good").await);
    stale(Browser::default().come_back(&stand, &state, "good").await);
    stale(browser.get(&stand, "/auth/callback/idp?code=good").await);
    stale(
        browser
            .get(
                &stand,
                &format!("/auth/callback/idp?code=good&state={state}&state={state}"),
            )
            .await,
    );
    stale(browser.come_back(&stand, "unknown", "good").await);
    assert_eq!(
        browser.come_back(&stand, &state, "good").await.status,
        StatusCode::SEE_OTHER,
        "others spoilt nothing"
    );
    stale(browser.come_back(&stand, &state, "good").await);

    let state = browser.depart(&stand, "/auth/login/idp").await;
    stand.clock.advance(Duration::from_secs(601));
    stale(browser.come_back(&stand, &state, "good").await);
}

#[actix_web::test]
async fn an_answer_that_fails_a_check_uses_the_attempt_up_and_hides_the_cause() {
    let (stand, mut browser) = (stand(), Browser::default());
    let state = browser.depart(&stand, "/auth/login/idp").await;
    let answer = browser.come_back(&stand, &state, "bad").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(!answer.body.contains("nonce") && browser.session().is_none());
    assert!(stand.events()[0]["reason"]["text"].as_str().unwrap().contains("nonce"));
    assert_eq!(
        browser.come_back(&stand, &state, "good").await.status,
        StatusCode::BAD_REQUEST
    );
}

#[actix_web::test]
async fn a_return_path_to_elsewhere_leads_home() {
    for evil in [
        "https://evil.com",
        "//evil.com",
        "/\\evil.com",
        "/%09/evil.com",
        "https://apps.example.com.evil.com/",
    ] {
        let stand = stand();
        let mut browser = Browser::default();
        assert_eq!(
            browser.sign_in(&stand, "alice", "right", evil).await.location(),
            "/",
            "{evil}"
        );
        let encoded: String = form_urlencoded::byte_serialize(evil.as_bytes()).collect();
        let state = browser.depart(&stand, &format!("/auth/login/idp?rd={encoded}")).await;
        assert_eq!(
            browser.come_back(&stand, &state, "good").await.location(),
            "/",
            "{evil}"
        );
        let page = browser.get(&stand, &format!("/auth/login?rd={encoded}")).await;
        assert!(
            page.body.contains("href=\"/auth/login/local\"") && !page.body.contains("evil"),
            "{evil}"
        );
    }
    let stand = stand();
    let answer = Browser::default()
        .sign_in(&stand, "alice", "right", "https://apps.example.com/x")
        .await;
    assert_eq!(answer.location(), "https://apps.example.com/x");
}

#[actix_web::test]
async fn one_provider_is_gone_to_at_once_and_several_are_chosen_from() {
    let mut browser = Browser::default();
    let one = stand_with(&["local"], |_| {});
    let answer = browser.get(&one, "/auth/login?rd=%2Fx").await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::FOUND, "/auth/login/local?rd=%2Fx")
    );

    let only_idp = stand_with(&["idp"], |_| {});
    let answer = browser.get(&only_idp, "/auth/login?rd=%2Fx").await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::FOUND, "/auth/login/idp?rd=%2Fx")
    );
    let page_load = browser
        .request(Method::GET, "/auth/login?rd=%2Fx")
        .insert_header(("sec-fetch-dest", "document"))
        .insert_header(("upgrade-insecure-requests", "1"));
    let answer = browser.send(&only_idp, page_load).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer
            .body
            .contains("<noscript><meta http-equiv=\"refresh\" content=\"0; url=/auth/login/idp?rd=%2Fx\">")
    );

    let answer = browser.get(&stand(), "/auth/login?rd=%2Fx").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("href=\"/auth/login/local?rd=%2Fx\"") && answer.body.contains("The idp"));
    assert_eq!(
        browser.get(&stand(), "/auth/login/none").await.status,
        StatusCode::NOT_FOUND
    );
}

#[actix_web::test]
async fn without_a_trail_nobody_signs_in() {
    let stand = stand_with(&["local"], |config| config.audit.rotate_size = 1);
    Browser::default().sign_in(&stand, "alice", "right", "/").await;
    std::fs::remove_dir_all(stand.trail.parent().unwrap()).unwrap();
    let mut browser = Browser::default();
    assert_eq!(
        browser.sign_in(&stand, "bob", "right", "/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert!(browser.session().is_none());
    assert!(
        stand.sessions.list(Some(("local", "bob"))).await.unwrap().is_empty(),
        "the session was taken back"
    );
}
