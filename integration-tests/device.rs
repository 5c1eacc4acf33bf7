//! The device grant over two replicas on one Redis: each answer of RFC 8628, races, guesses, and who may approve.

use std::collections::HashSet;
use std::time::Duration;

use mlgate::domain::Timestamp;
use mlgate::tokens::{Kind, Mint, Ticket};
use serde_json::{Value, json};

use crate::replicas::{KEY, on_redis};
use crate::support::browser::travel;
use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, PASSWORD, Setup};
use crate::support::http::{Request, Response};
use crate::support::oauth::{CHALLENGE, CLI, VERIFIER, basic, error, hidden};
use crate::support::process::until;
use crate::support::redis::Redis;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

fn two(setup: impl Fn(&mut Setup)) -> (Echo, Redis, Gateway, Gateway) {
    let (echo, redis) = (Echo::start(), Redis::start());
    let start = || {
        let mut on = on_redis(Setup::new(&echo.url), &redis);
        setup(&mut on);
        on.start()
    };
    let (one, other) = (start(), start());
    (echo, redis, one, other)
}

fn begin(gateway: &Gateway, more: &[(&str, &str)]) -> Value {
    let answer = ask(gateway, more);
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (200, Some("no-store")),
        "{}",
        answer.text()
    );
    answer.json()
}

fn ask(gateway: &Gateway, more: &[(&str, &str)]) -> Response {
    let form = [&[("client_id", CLI)], more].concat();
    gateway.send(&Request::new("POST", "/auth/oauth2/device_authorization").form(&form))
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

fn poll(gateway: &Gateway, begun: &Value) -> Response {
    gateway.at_token(&[
        ("grant_type", GRANT),
        ("client_id", CLI),
        ("device_code", text(begun, "device_code")),
    ])
}

/// Types a code, and gives the page that asks.
fn type_code(gateway: &Gateway, cookie: &str, code: &str) -> Response {
    let page = gateway.send(&Request::get("/auth/device").navigation().header("Cookie", cookie));
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.text();
    let csrf = hidden(&page, "csrf_token").unwrap();
    gateway.send_form("/auth/device", cookie, &[("csrf_token", csrf), ("user_code", code)])
}

fn decide(gateway: &Gateway, cookie: &str, begun: &Value, decision: &str) -> Response {
    let page = type_code(gateway, cookie, text(begun, "user_code"));
    assert_eq!(page.status, 200, "{}", page.text());
    let page = page.text();
    let fields = [
        ("csrf_token", hidden(&page, "csrf_token").unwrap()),
        ("user_code", hidden(&page, "user_code").unwrap()),
        ("decision", decision),
    ];
    gateway.send_form("/auth/device/decide", cookie, &fields)
}

fn code_of(answer: &Response) -> String {
    let (status, code) = error(answer);
    assert_eq!(status, 400, "{code}");
    code
}

#[test]
fn a_terminal_without_a_browser_is_let_in_by_one_elsewhere() {
    let (_echo, _redis, one, other) = two(|_| {});
    let begun = begin(&one, &[("host_name", "gpu-7<b>")]);
    assert_eq!((&begun["expires_in"], &begun["interval"]), (&json!(300), &json!(5)));
    let uri = text(&begun, "verification_uri");
    assert_eq!(uri, format!("{}/auth/device", one.url()));
    let code = text(&begun, "user_code").to_owned();
    assert_eq!(
        text(&begun, "verification_uri_complete"),
        format!("{uri}?user_code={code}")
    );
    assert!(
        code.len() == 9 && code.chars().all(|c| "BCDFGHJKLMNPQRSTVWXZ-".contains(c)),
        "{code}"
    );
    assert_eq!(code_of(&poll(&other, &begun)), "authorization_pending");

    // A link only fills the form in; signed in first, and back with the code.
    let path = format!("/auth/device?user_code={code}");
    let away = one.send(&Request::get(&path).navigation());
    assert!(
        away.header("location")
            .unwrap()
            .contains("%2Fauth%2Fdevice%3Fuser_code%3D")
    );
    let cookie = other.sign_in("vera");
    let form = other
        .send(&Request::get(&path).navigation().header("Cookie", &cookie))
        .text();
    assert!(
        form.contains(&format!("value=\"{code}\"")) && !form.contains("gpu-7"),
        "{form}"
    );
    // However it is typed.
    let page = type_code(&other, &cookie, &format!(" {} ", code.to_lowercase().replace('-', " ")));
    let html = page.text();
    for shown in ["mlgate-cli", "gpu-7b", "127.0.0.1", "vera", "viewer", "90 days"] {
        assert!(html.contains(shown), "no {shown} in {html}");
    }
    assert!(
        html.find("value=\"deny\"").unwrap() < html.find("value=\"allow\"").unwrap(),
        "the default is no"
    );
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    let done = decide(&other, &cookie, &begun, "allow");
    assert!(
        done.status == 200 && done.text().contains("signed in"),
        "{}",
        done.text()
    );
    assert_eq!(type_code(&one, &cookie, &code).status, 404, "a code is for one use");

    let tokens = poll(&one, &begun);
    assert_eq!(tokens.status, 200, "{}", tokens.text());
    let tokens = tokens.json();
    assert_eq!(other.reads_with(text(&tokens, "access_token")).status, 200);
    assert_eq!(
        code_of(&poll(&other, &begun)),
        "invalid_grant",
        "a device code is for one use"
    );

    // Listed with its host, and ended, on both.
    let account = other
        .send(&Request::get("/auth/account").navigation().header("Cookie", &cookie))
        .text();
    let row = account
        .split("The mlgate command on gpu-7b")
        .nth(1)
        .unwrap_or_else(|| panic!("{account}"));
    let form = [
        ("csrf_token", hidden(row, "csrf_token").unwrap()),
        ("id", hidden(row, "id").unwrap()),
    ];
    assert_eq!(
        other.send_form("/auth/account/tokens/revoke", &cookie, &form).status,
        303
    );
    until("the terminal is out on both", Duration::from_secs(5), || {
        [&one, &other]
            .iter()
            .all(|gateway| gateway.reads_with(text(&tokens, "access_token")).status == 401)
    });
    assert_eq!(code_of(&one.refresh(text(&tokens, "refresh_token"))), "invalid_grant");
    let approved: Vec<_> = other
        .events()
        .into_iter()
        .filter(|event| event["action"] == "device.approve")
        .collect();
    assert!(
        approved.len() == 1 && approved[0]["actor"]["user"] == "vera",
        "{approved:?}"
    );
}

#[test]
fn every_answer_of_the_rfc_is_given_at_either_replica() {
    let (_echo, _redis, one, other) = two(|setup| {
        setup.sections += "[[client]]\nid = \"boxes\"\nsecret = \"inside\"\ngrants = [\"device_code\"]\n";
    });
    let begun = begin(&one, &[]);
    assert_eq!(code_of(&poll(&one, &begun)), "authorization_pending");
    assert_eq!(
        code_of(&poll(&other, &begun)),
        "slow_down",
        "the interval holds on all replicas"
    );
    let cookie = one.sign_in("vera");
    let refused = decide(&one, &cookie, &begun, "deny");
    assert!(refused.status == 200 && refused.text().contains("not let in"));
    assert_eq!(code_of(&poll(&other, &begun)), "access_denied");
    // Anything but a clear yes is a no.
    let unclear = begin(&other, &[]);
    decide(&one, &cookie, &unclear, "");
    assert_eq!(code_of(&poll(&other, &unclear)), "access_denied");

    let old = Ticket {
        id: [1; 16],
        seed: [2; 16],
        generation: 0,
        until: Timestamp::from_seconds(1_700_000_000),
    };
    let old = json!({"device_code": Mint::new(&[KEY]).write(Kind::Device, &old)});
    assert_eq!(code_of(&poll(&other, &old)), "expired_token");
    for garbage in [
        "x",
        "mlg_dc_x",
        text(&begin(&one, &[]), "device_code").trim_end_matches(char::is_alphanumeric),
    ] {
        assert_eq!(
            code_of(&poll(&other, &json!({"device_code": garbage}))),
            "invalid_grant",
            "{garbage}"
        );
    }
    let missing = one.at_token(&[("grant_type", GRANT), ("client_id", CLI)]);
    assert_eq!(code_of(&missing), "invalid_request");
    let scoped = ask(&one, &[("scope", "everything")]);
    assert_eq!(error(&scoped), (400, "invalid_scope".to_owned()));
    assert_eq!(
        error(&ask(&one, &[("client_id", CLI)])),
        (400, "invalid_request".to_owned())
    );

    // Another client's code, and one with a proof.
    let proving = begin(
        &one,
        &[("code_challenge", CHALLENGE), ("code_challenge_method", "S256")],
    );
    let as_boxes = Request::new("POST", "/auth/oauth2/token")
        .form(&[("grant_type", GRANT), ("device_code", text(&proving, "device_code"))])
        .header("Authorization", &basic("boxes", "inside"));
    assert_eq!(code_of(&other.send(&as_boxes)), "invalid_grant");
    decide(&other, &cookie, &proving, "allow");
    assert_eq!(code_of(&poll(&one, &proving)), "invalid_grant", "without its proof");
    let proven = one.at_token(&[
        ("grant_type", GRANT),
        ("client_id", CLI),
        ("device_code", text(&proving, "device_code")),
        ("code_verifier", VERIFIER),
    ]);
    assert_eq!(proven.status, 200, "{}", proven.text());
    let plain = ask(
        &one,
        &[("code_challenge", CHALLENGE), ("code_challenge_method", "plain")],
    );
    assert_eq!(error(&plain), (400, "invalid_request".to_owned()));
}

/// A hundred requests at once, half at each replica.
fn hundred(one: &Gateway, other: &Gateway, request: impl Fn(&Gateway) -> Response + Sync) -> Vec<Response> {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..100)
            .map(|place| {
                let (gateway, request) = (if place % 2 == 0 { one } else { other }, &request);
                scope.spawn(move || request(gateway))
            })
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_a_hundred_at_once_one_gets_the_tokens_and_a_hundred_refreshes_get_one_successor() {
    let (_echo, _redis, one, other) = two(|_| {});
    let begun = begin(&one, &[]);
    decide(&other, &one.sign_in("vera"), &begun, "allow");
    let answers = hundred(&one, &other, |gateway| poll(gateway, &begun));
    let (given, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((given.len(), refused.len()), (1, 99));
    assert!(refused.iter().all(|answer| code_of(answer) == "invalid_grant"));
    let first = given[0].json();

    let answers = hundred(&one, &other, |gateway| gateway.refresh(text(&first, "refresh_token")));
    let successors: HashSet<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 200, "{}", answer.text());
            let told = answer.json();
            (
                text(&told, "access_token").to_owned(),
                text(&told, "refresh_token").to_owned(),
            )
        })
        .collect();
    assert_eq!(successors.len(), 1);
    let (access, refresh) = successors.into_iter().next().unwrap();
    assert_eq!(other.reads_with(&access).status, 200);
    assert_eq!(one.refresh(&refresh).status, 200);
}

#[test]
fn guessing_is_stopped_on_all_replicas_and_recorded() {
    let (_echo, _redis, one, other) = two(|setup| setup.limits = "login_attempts = \"4/5m\"".to_owned());
    let begun = begin(&one, &[]);
    let cookie = one.sign_in("vera");
    for _ in 0..6 {
        assert_eq!(type_code(&one, &cookie, "not a code").status, 404, "a slip is no guess");
    }
    for gateway in [&one, &other, &one, &other] {
        assert_eq!(type_code(gateway, &cookie, "BBBB-BBBB").status, 404);
    }
    let stopped = type_code(&other, &cookie, text(&begun, "user_code"));
    assert_eq!(stopped.status, 429, "{}", stopped.text());
    assert!(stopped.header("retry-after").is_some());
    let guesses = |gateway: &Gateway| {
        let events = gateway.events();
        events.iter().filter(|event| event["action"] == "device.guess").count()
    };
    assert_eq!((guesses(&one), guesses(&other)), (2, 3));
    // Beginnings are bounded by address, too.
    let mut last = 200;
    for _ in 0..130 {
        last = ask(&one, &[]).status;
    }
    assert_eq!(last, 429);
}

#[test]
fn an_admin_signs_in_anew_and_a_role_or_all_may_be_kept_from_it() {
    let (_echo, _redis, one, _other) = two(|setup| {
        setup.sections = setup.sections.replace(
            "groups = [\"local:editors\"]",
            "groups = [\"local:editors\"]\ndevice_flow = \"off\"",
        );
    });
    let before = one.sign_in("ada");
    let begun = begin(&one, &[]);
    let page = type_code(&one, &before, text(&begun, "user_code"));
    assert!(
        page.status == 401 && page.text().contains("/auth/login?rd="),
        "{}",
        page.text()
    );
    let anew = one.sign_in("ada");
    assert_eq!(decide(&one, &anew, &begun, "allow").status, 200);
    assert_eq!(poll(&one, &begun).status, 200);

    let begun = begin(&one, &[]);
    let refused = type_code(&one, &one.sign_in("ed"), text(&begun, "user_code"));
    assert!(
        refused.status == 403 && refused.text().contains("With your role"),
        "{}",
        refused.text()
    );
    assert_eq!(
        decide(&one, &one.sign_in("vera"), &begun, "allow").status,
        200,
        "the control"
    );
    assert!(!one.code(&one.sign_in("ed")).is_empty(), "the loopback flow stays");

    let (_echo, _redis, off, _) = two(|setup| setup.sections += "[tokens]\ndevice_flow = \"off\"\n");
    assert_eq!(error(&ask(&off, &[])), (400, "unauthorized_client".to_owned()));
    assert_eq!(code_of(&poll(&off, &begun)), "unauthorized_client");
    let cookie = off.sign_in("vera");
    let page = off.send(&Request::get("/auth/device").navigation().header("Cookie", &cookie));
    assert_eq!(page.status, 404);
    let metadata = off
        .send(&Request::get("/.well-known/oauth-authorization-server"))
        .json();
    assert!(metadata.get("device_authorization_endpoint").is_none());
    assert!(
        !metadata["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!(GRANT))
    );
}

#[test]
fn a_form_of_the_pages_is_theirs_alone() {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    let begun = begin(&gateway, &[]);
    let cookie = gateway.sign_in("vera");
    let code = text(&begun, "user_code");
    for fields in [
        &[("user_code", code), ("decision", "allow")][..],
        &[("user_code", code), ("decision", "allow"), ("csrf_token", "x")],
    ] {
        assert_eq!(gateway.send_form("/auth/device/decide", &cookie, fields).status, 403);
    }
    let page = type_code(&gateway, &cookie, code).text();
    let fields = [
        ("user_code", code),
        ("decision", "allow"),
        ("csrf_token", hidden(&page, "csrf_token").unwrap()),
    ];
    let elsewhere = Request::new("POST", "/auth/device/decide").navigation().form(&fields);
    let elsewhere = elsewhere
        .header("Cookie", &cookie)
        .header("Origin", "https://evil.example");
    assert_eq!(gateway.send(&elsewhere).status, 403);
    let got = gateway.send(&Request::get("/auth/device/decide?decision=allow").header("Cookie", &cookie));
    assert!(matches!(got.status, 404 | 405), "{}", got.status);
    assert_eq!(code_of(&poll(&gateway, &begun)), "authorization_pending");
}

#[test]
fn in_a_browser_the_default_is_no_and_the_loopback_gets_its_answer() {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    let (no, yes) = (
        begin(&gateway, &[("host_name", "gpu-7")]),
        begin(&gateway, &[("host_name", "gpu-8")]),
    );
    let input = json!({
        "url": gateway.url(), "user": "vera", "password": PASSWORD, "no": no["user_code"], "yes": yes["user_code"],
        "challenge": CHALLENGE,
    });
    let seen = travel("terminals", &input);
    assert_eq!(seen["complaints"], json!([]), "{seen}");
    assert_eq!(seen["faults"], json!([]), "{seen}");
    assert_eq!(seen["focused"], json!(["user_code", "deny"]), "{seen}");
    assert_eq!(code_of(&poll(&gateway, &no)), "access_denied");
    assert_eq!(poll(&gateway, &yes).status, 200);
    for (place, expected) in [
        ("denied", "error=access_denied"),
        ("allowed", "code=mlg_ac_"),
        ("six", "code=mlg_ac_"),
    ] {
        let landed = seen[place].as_str().unwrap();
        assert!(landed.contains(expected), "{place}: {seen}");
    }
}
