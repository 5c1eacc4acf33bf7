//! What the gateway's own pages refuse is in the trail, once, with who was refused where a session tells.

use serde_json::{Value, json};

use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, PASSWORD, Setup};
use crate::support::http::Request;

/// The refusals in the trail: action, user, code, path, status.
fn refusals(gateway: &Gateway) -> Vec<[Value; 5]> {
    let events = gateway.events().into_iter();
    let refused = events.filter(|event| event["outcome"] == "refused");
    refused
        .map(|event| {
            [
                event["action"].clone(),
                event["actor"]["user"].clone(),
                event["reason"]["code"].clone(),
                event["http"]["path"].clone(),
                event["http"]["status"].clone(),
            ]
        })
        .collect()
}

#[test]
fn a_forged_form_is_recorded_with_whose_session_it_would_have_used() {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    let cookie = gateway.sign_in("vera");
    let forged = |path: &str| {
        Request::new("POST", path)
            .header("Origin", "https://evil.example")
            .form(&[("username", "ed"), ("password", PASSWORD), ("csrf_token", "x")])
    };
    assert_eq!(
        gateway.send(&forged("/auth/logout").header("Cookie", &cookie)).status,
        403
    );
    assert_eq!(gateway.send(&forged("/auth/login/local")).status, 403);
    assert_eq!(
        refusals(&gateway),
        [
            ["request.refused", "vera", "cross_site", "/auth/logout", "403"],
            ["request.refused", "", "cross_site", "/auth/login/local", "403"],
        ]
        .map(|[action, user, code, path, status]| {
            let user = if user.is_empty() { Value::Null } else { user.into() };
            [
                json!(action),
                user,
                json!(code),
                json!(path),
                json!(status.parse::<u16>().unwrap()),
            ]
        })
    );
    // A sign-in that is refused has an event of its own, and no second one.
    assert!(gateway.sign_in_with("vera", "wrong").is_err());
    let all = refusals(&gateway);
    assert_eq!((all.len(), &all[2][0]), (3, &json!("login.refused")));
    assert!(gateway.verify_audit().status.success());
}

#[test]
fn an_address_that_may_not_connect_is_recorded_at_our_own_pages_too() {
    let echo = Echo::start();
    let mut setup = Setup::new(&echo.url);
    setup.sections += "[network]\ndeny = [\"127.0.0.0/8\"]\n";
    let gateway = setup.start();
    assert_eq!(gateway.send(&Request::get("/auth/login/local")).status, 403);
    assert_eq!(gateway.send(&Request::get("/auth/healthz")).status, 200);
    let all = refusals(&gateway);
    assert_eq!(
        all.iter().map(|[_, _, code, path, _]| (code, path)).collect::<Vec<_>>(),
        [(&json!("network_refused"), &json!("/auth/login/local"))]
    );
}
