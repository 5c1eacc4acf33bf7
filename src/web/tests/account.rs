//! Who is signed in: the account page, signing out, and cookies that are worth nothing.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::test;

use super::{Browser, ORIGIN, stand};

#[actix_web::test]
async fn signing_out_needs_a_post_from_our_own_form() {
    let (stand, mut browser) = (stand(), Browser::default());
    browser.sign_in(&stand, "alice", "right", "/").await;
    let asked = browser.get(&stand, "/auth/logout").await;
    assert_eq!(
        (asked.status, asked.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "POST")
    );
    let token = asked.field("csrf_token");
    assert_eq!(
        browser.post(&stand, "/auth/logout", &[]).await.status,
        StatusCode::FORBIDDEN
    );
    let fields = [("csrf_token", token.as_str())];
    let unsaid = browser.form("/auth/logout", &fields);
    assert_eq!(browser.send(&stand, unsaid).await.status, StatusCode::FORBIDDEN);
    let foreign = browser
        .form("/auth/logout", &fields)
        .insert_header((header::ORIGIN, "https://evil.com"));
    assert_eq!(browser.send(&stand, foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(
        browser.get(&stand, "/auth/account").await.status,
        StatusCode::OK,
        "still signed in"
    );

    let cookie = browser.session().unwrap().to_owned();
    let answer = browser.post(&stand, "/auth/logout", &fields).await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "/auth/signed-out")
    );
    assert!(answer.set_cookies()[0].starts_with("__Host-mlgate=; ") && browser.session().is_none());
    assert!(stand.sessions.find(&cookie).await.unwrap().is_none());
    assert_eq!(stand.actions(), ["session.start", "session.end"]);
    assert_eq!(
        browser.post(&stand, "/auth/logout", &[]).await.status,
        StatusCode::SEE_OTHER,
        "nothing left to end"
    );
}

#[actix_web::test]
async fn signing_out_ends_the_providers_session_too() {
    let (stand, mut browser) = (stand(), Browser::default());
    let state = browser.depart(&stand, "/auth/login/idp").await;
    browser.come_back(&stand, &state, "good").await;
    let asked = browser.get(&stand, "/auth/logout").await;
    assert!(
        asked
            .header("content-security-policy")
            .contains("form-action 'self' https://idp.example;")
    );
    let answer = browser
        .post(&stand, "/auth/logout", &[("csrf_token", &asked.field("csrf_token"))])
        .await;
    assert_eq!(
        (answer.status, answer.location()),
        (StatusCode::SEE_OTHER, "https://idp.example/logout?x=y")
    );
}

#[actix_web::test]
async fn the_account_page_says_who_and_what_and_ends_sessions_and_tokens_of_mine_alone() {
    let stand = stand();
    let (mut alice, mut elsewhere, mut bob) = (Browser::default(), Browser::default(), Browser::default());
    for (browser, user) in [(&mut alice, "alice"), (&mut elsewhere, "alice"), (&mut bob, "bob")] {
        browser.sign_in(&stand, user, "right", "/").await;
    }
    let bobs = stand.sessions.find(bob.session().unwrap()).await.unwrap().unwrap();
    let (_, bobs_token) = stand
        .tokens
        .create(bobs.identity.clone(), "bobs", Duration::from_secs(60), false)
        .await
        .unwrap();
    let me = stand.sessions.find(alice.session().unwrap()).await.unwrap().unwrap();
    let (_, token) = stand
        .tokens
        .create(me.identity.clone(), "laptop", Duration::from_secs(60), true)
        .await
        .unwrap();
    let other = stand
        .sessions
        .find(elsewhere.session().unwrap())
        .await
        .unwrap()
        .unwrap();

    let page = alice.get(&stand, "/auth/account").await;
    assert_eq!(page.status, StatusCode::OK);
    for shown in [
        "fraud-engineers",
        "experiments fraud/*",
        "laptop",
        "read only",
        "this browser",
        &other.id,
        ORIGIN,
    ] {
        assert!(page.body.contains(shown), "{shown}");
    }
    for hidden in [&bobs.id, "bobs", "<b>Example", alice.session().unwrap()] {
        assert!(!page.body.contains(hidden), "{hidden}");
    }

    let csrf = page.field("csrf_token");
    let (end, revoke) = ("/auth/account/sessions/revoke", "/auth/account/tokens/revoke");
    for (path, id) in [
        (end, &bobs.id),
        (revoke, &bobs_token.id),
        (end, &token.id),
        (revoke, &other.id),
    ] {
        let answer = alice.post(&stand, path, &[("id", id), ("csrf_token", &csrf)]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path} {id}");
    }
    for (path, id) in [(end, &other.id), (revoke, &token.id)] {
        assert_eq!(
            alice.post(&stand, path, &[("id", id)]).await.status,
            StatusCode::FORBIDDEN,
            "no token"
        );
        let unsaid = alice.form(path, &[("id", id), ("csrf_token", &csrf)]);
        assert_eq!(
            alice.send(&stand, unsaid).await.status,
            StatusCode::FORBIDDEN,
            "no origin"
        );
        let bobs_csrf = bob.get(&stand, "/auth/account").await.field("csrf_token");
        let answer = alice
            .post(&stand, path, &[("id", id), ("csrf_token", &bobs_csrf)])
            .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "another session's token");
        assert_eq!(alice.get(&stand, path).await.status, StatusCode::METHOD_NOT_ALLOWED);
        let answer = alice.post(&stand, path, &[("id", id), ("csrf_token", &csrf)]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(alice.get(&stand, answer.location()).await.status, StatusCode::OK);
    }
    assert!(
        stand
            .sessions
            .find(elsewhere.session().unwrap())
            .await
            .unwrap()
            .is_none()
    );
    assert!(stand.tokens.list(Some(("local", "alice"))).await.unwrap().is_empty());
    assert_eq!(stand.tokens.list(Some(("local", "bob"))).await.unwrap().len(), 1);
    assert!(stand.sessions.find(bob.session().unwrap()).await.unwrap().is_some());
    assert!(
        stand
            .actions()
            .ends_with(&["session.end".to_owned(), "token.revoke".to_owned()])
    );
    for path in [end, revoke] {
        let answer = Browser::default().post(&stand, path, &[("id", "x")]).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "not signed in");
    }
}

#[actix_web::test]
async fn a_stolen_edited_doubled_or_ended_cookie_is_just_not_signed_in() {
    let (stand, mut browser) = (stand(), Browser::default());
    browser.sign_in(&stand, "alice", "right", "/").await;
    let good = browser.session().unwrap().to_owned();
    let edited = format!("{}{}", if good.starts_with('A') { "B" } else { "A" }, &good[1..]);
    for header in [
        format!("__Host-mlgate={edited}"),
        format!("__Host-mlgate={good}; __Host-mlgate={good}"),
        format!("__Host-mlgate={good}x"),
        format!("mlgate={good}"),
        "__Host-mlgate=".to_owned(),
    ] {
        let request = test::TestRequest::with_uri("/auth/account")
            .insert_header((header::ACCEPT, "text/html"))
            .insert_header((header::COOKIE, header.clone()));
        let answer = stand.ask(request).await;
        assert_eq!(answer.location(), "/auth/login?rd=%2Fauth%2Faccount", "{header}");
        assert!(answer.set_cookies().is_empty());
    }
    assert_eq!(browser.get(&stand, "/auth/account").await.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_program_is_told_in_json_that_nobody_is_signed_in() {
    let answer = stand().ask(test::TestRequest::with_uri("/auth/account")).await;
    assert_eq!(
        (answer.status, answer.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, "Bearer")
    );
    assert!(answer.body.contains("\"error_code\":\"UNAUTHENTICATED\"") && answer.location().is_empty());
}
