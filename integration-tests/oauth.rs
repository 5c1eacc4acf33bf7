//! The authorization server: the loopback flow, refresh, revocation, introspection and service accounts, refusals beside
//! each. The device flow is in `device.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::oauth::{CALLBACK, CLI, VERIFIER, asked, basic, error, query, said};
use crate::support::process::until;

const CLIENTS: &str = r#"
[[client]]
id = "nightly"
secret = "between midnight and six"
grants = ["client_credentials"]
groups = ["jobs"]
[[client]]
id = "watcher"
secret = "who goes there"
introspect = true
[[client]]
id = "app"
secret = "a web application"
grants = ["authorization_code"]
redirect_uris = ["https://app.example/cb?x=1"]
[[role]]
name = "jobs"
groups = ["client:jobs"]
grants = [{ permission = "READ", experiments = ["*"] }]
"#;

fn gateway(echo: &Echo) -> Gateway {
    let mut setup = Setup::new(&echo.url);
    setup.sections += CLIENTS;
    setup.start()
}

fn with<'a>(name: &str, value: &'a str) -> Vec<(&'static str, &'a str)> {
    let mut fields: Vec<(&'static str, &'a str)> = asked();
    fields
        .iter_mut()
        .filter(|(field, _)| *field == name)
        .for_each(|field| field.1 = value);
    fields
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn a_terminal_signs_in_by_the_browser_and_comes_back() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    // Not signed in: there first, and back to the very question.
    let query = format!("/auth/oauth2/authorize?{}", query(&asked()));
    let sent = gateway.send(&Request::get(&query).navigation());
    let login = sent.header("location").unwrap();
    assert!(
        (sent.status, login.starts_with("/auth/login?rd=")) == (303, true),
        "{login}"
    );
    let back = said(&format!("{}{login}", gateway.url()), "rd").unwrap();
    assert_eq!(back, query);

    let cookie = gateway.sign_in("vera");
    let page = gateway.authorize_page(&cookie, &asked());
    let html = page.text();
    assert!(
        html.contains("mlgate-cli") && html.contains("vera") && html.contains("viewer") && html.contains("90 days")
    );
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self' http://127.0.0.1:8400;"));

    let location = gateway.consent(&cookie, &asked(), "allow");
    assert!(location.starts_with(&format!("{CALLBACK}?")), "{location}");
    assert_eq!(said(&location, "state").as_deref(), Some("st&ate"));
    assert_eq!(said(&location, "iss"), Some(gateway.url()));
    let answer = gateway.redeem(&said(&location, "code").unwrap());
    assert_eq!(
        (answer.status, answer.header("cache-control")),
        (200, Some("no-store")),
        "{}",
        answer.text()
    );
    let tokens = answer.json();
    assert_eq!(
        (&tokens["token_type"], &tokens["expires_in"], &tokens["scope"]),
        (&json!("Bearer"), &json!(1800), &json!("mlflow"))
    );
    assert!(
        text(&tokens, "access_token").starts_with("mlg_at_") && text(&tokens, "refresh_token").starts_with("mlg_rt_")
    );
    assert_eq!(gateway.reads_with(text(&tokens, "access_token")).status, 200);
    // A refresh token is for the token endpoint alone.
    let refused = gateway.reads_with(text(&tokens, "refresh_token"));
    assert_eq!(refused.json()["error_code"], "UNAUTHENTICATED");
    assert!(
        refused.text().contains("mlgate login http://127.0.0.1:"),
        "{}",
        refused.text()
    );
    let actions: Vec<_> = gateway
        .events()
        .iter()
        .map(|event| event["action"].as_str().unwrap().to_owned())
        .collect();
    for action in ["consent.approve", "token.issue"] {
        assert!(actions.iter().any(|done| done == action), "no {action} in {actions:?}");
    }
    let trail = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert!(!trail.contains("mlg_at_") && !trail.contains("mlg_rt_") && !trail.contains("mlg_ac_"));
}

#[test]
fn a_question_that_cannot_be_right_is_never_answered_elsewhere() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let cookie = gateway.sign_in("vera");
    let mut doubled = asked();
    doubled.push(("redirect_uri", "https://evil.example/"));
    for told in [
        with("client_id", "nobody"),
        with("redirect_uri", "http://127.0.0.1:8400/other"),
        with("redirect_uri", "http://localhost:8400/callback"),
        with("redirect_uri", "https://evil.example/callback"),
        with("redirect_uri", ""),
        doubled,
    ] {
        let page = gateway.authorize_page(&cookie, &told);
        assert_eq!((page.status, page.header("location")), (400, None), "{told:?}");
    }
    let mut twice = asked();
    twice.push(("scope", "mlflow"));
    twice.push(("scope", "mlflow"));
    for (fields, code) in [
        (with("response_type", "token"), "unsupported_response_type"),
        (with("response_type", ""), "invalid_request"),
        (with("code_challenge", ""), "invalid_request"),
        (with("code_challenge_method", "plain"), "invalid_request"),
        (
            with("code_challenge", VERIFIER.trim_start_matches('d')),
            "invalid_request",
        ),
        (twice, "invalid_request"),
        ([asked(), vec![("scope", "openid")]].concat(), "invalid_scope"),
    ] {
        let sent = gateway.authorize_page(&cookie, &fields);
        let location = sent
            .header("location")
            .unwrap_or_else(|| panic!("{fields:?}: {}", sent.text()));
        assert!(location.starts_with(&format!("{CALLBACK}?")), "{location}");
        assert_eq!(said(location, "error").as_deref(), Some(code), "{fields:?}");
        assert_eq!(said(location, "iss"), Some(gateway.url()));
        assert_eq!(said(location, "state").as_deref(), Some("st&ate"));
    }
    let no = gateway.consent(&cookie, &asked(), "deny");
    assert_eq!(said(&no, "error").as_deref(), Some("access_denied"));
    // Anything but a clear yes is a no; and a form without its token, or from another site, is nothing.
    let no = gateway.consent(&cookie, &asked(), "");
    assert_eq!(said(&no, "error").as_deref(), Some("access_denied"));
    let mut forged = asked();
    forged.extend([("decision", "allow"), ("csrf_token", "x")]);
    let refused = gateway.send_form("/auth/oauth2/authorize", &cookie, &forged);
    assert_eq!((refused.status, refused.header("location")), (403, None));
    // The other client's address is compared whole.
    let app = |uri| {
        let mut fields = with("client_id", "app");
        fields
            .iter_mut()
            .filter(|field| field.0 == "redirect_uri")
            .for_each(|field| field.1 = uri);
        fields
    };
    let there = gateway.consent(&cookie, &app("https://app.example/cb?x=1"), "allow");
    assert!(there.starts_with("https://app.example/cb?x=1&code=mlg_ac_"), "{there}");
    assert_eq!(
        gateway.authorize_page(&cookie, &app("https://app.example/cb")).status,
        400
    );
    assert_eq!(gateway.authorize_page(&cookie, &app(CALLBACK)).status, 400);
}

#[test]
fn a_code_is_for_one_client_one_proof_and_one_use() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let cookie = gateway.sign_in("vera");
    let redeem = |changed: (&str, &str)| {
        let code = gateway.code(&cookie);
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("client_id", CLI),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        fields.retain(|(name, _)| *name != changed.0);
        if !changed.1.is_empty() {
            fields.push(changed);
        }
        let answer = gateway.at_token(&fields);
        let after = gateway.redeem(&code);
        (answer, after)
    };
    let (good, _) = redeem(("", ""));
    assert_eq!(good.status, 200, "the control: {}", good.text());
    for (changed, expected) in [
        (("code_verifier", "x".repeat(43)), (400, "invalid_grant")),
        (
            ("redirect_uri", CALLBACK.replace("8400", "8401")),
            (400, "invalid_grant"),
        ),
        (("code", "mlg_ac_nonsense".to_owned()), (400, "invalid_grant")),
        (("code_verifier", String::new()), (400, "invalid_request")),
        (("grant_type", "password".to_owned()), (400, "unsupported_grant_type")),
        (
            ("grant_type", "client_credentials".to_owned()),
            (400, "unauthorized_client"),
        ),
        (("client_id", "nobody".to_owned()), (401, "invalid_client")),
        (("client_id", "app".to_owned()), (401, "invalid_client")),
    ] {
        let (answer, _) = redeem((changed.0, &changed.1));
        assert_eq!(error(&answer), (expected.0, expected.1.to_owned()), "{changed:?}");
    }
    let (_, after) = redeem(("code_verifier", &"x".repeat(43)));
    assert_eq!(
        error(&after),
        (400, "invalid_grant".to_owned()),
        "a wrong proof uses the code up"
    );

    // The second use ends what the first one gave.
    let code = gateway.code(&cookie);
    let tokens = gateway.redeem(&code).json();
    assert_eq!(gateway.reads_with(text(&tokens, "access_token")).status, 200);
    assert_eq!(error(&gateway.redeem(&code)), (400, "invalid_grant".to_owned()));
    assert_eq!(gateway.reads_with(text(&tokens, "access_token")).status, 401);
    assert_eq!(
        error(&gateway.refresh(text(&tokens, "refresh_token"))).1,
        "invalid_grant"
    );
    assert!(gateway.events().iter().any(|event| event["action"] == "token.reuse"));
}

#[test]
fn a_request_is_a_form_with_each_parameter_once() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let fields = [("grant_type", "refresh_token"), ("client_id", CLI), ("client_id", CLI)];
    assert_eq!(error(&gateway.at_token(&fields)), (400, "invalid_request".to_owned()));
    let json = Request::new("POST", "/auth/oauth2/token").json(&json!({"grant_type": "refresh_token"}));
    assert_eq!(error(&gateway.send(&json)), (400, "invalid_request".to_owned()));
    let long = "x".repeat(50_000);
    assert_eq!(
        error(&gateway.at_token(&[("client_id", &long)])),
        (400, "invalid_request".to_owned())
    );
    let asked = gateway.send(&Request::get("/auth/oauth2/token"));
    assert_eq!((asked.status, asked.header("allow")), (405, Some("POST")));
    let twice = Request::new("POST", "/auth/oauth2/token")
        .form(&[("grant_type", "client_credentials"), ("client_secret", "x")])
        .header("Authorization", &basic("nightly", "between midnight and six"));
    assert_eq!(error(&gateway.send(&twice)), (400, "invalid_request".to_owned()));
}

#[test]
fn refresh_tokens_change_with_each_use_and_a_stolen_one_ends_all() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let first = gateway.terminal("vera");
    let second = gateway.refresh(text(&first, "refresh_token"));
    assert_eq!(second.status, 200, "{}", second.text());
    let second = second.json();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    let again = gateway.refresh(text(&first, "refresh_token")).json();
    assert_eq!(
        (&again["refresh_token"], &again["access_token"]),
        (&second["refresh_token"], &second["access_token"])
    );
    // What was consented to is all there is.
    let scoped = |scope: &str, token: &str| {
        gateway.at_token(&[
            ("grant_type", "refresh_token"),
            ("client_id", CLI),
            ("refresh_token", token),
            ("scope", scope),
        ])
    };
    assert_eq!(
        error(&scoped("admin", text(&second, "refresh_token"))).1,
        "invalid_scope"
    );
    let location = gateway.consent(
        &gateway.sign_in("ed"),
        &[asked(), vec![("scope", "mlflow.read")]].concat(),
        "allow",
    );
    let narrow = gateway.redeem(&said(&location, "code").unwrap()).json();
    assert_eq!(narrow["scope"], "mlflow.read");
    assert_eq!(
        error(&scoped("mlflow", text(&narrow, "refresh_token"))).1,
        "invalid_scope"
    );
    let write = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&json!({"name": "x"}));
    let write = |token: &str| gateway.send(&write.clone().header("Authorization", &format!("Bearer {token}")));
    assert_eq!(write(text(&narrow, "access_token")).status, 403);
    assert_eq!(
        write(text(&gateway.terminal("ed"), "access_token")).status,
        200,
        "the control"
    );
}

#[test]
fn a_token_is_revoked_by_whoever_it_was_given_to() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let revoke = |fields: &[(&str, &str)]| gateway.send(&Request::new("POST", "/auth/oauth2/revoke").form(fields));
    let tokens = gateway.terminal("vera");
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let other = [
        ("token", refresh),
        ("client_id", "app"),
        ("client_secret", "a web application"),
    ];
    assert_eq!(error(&revoke(&other)), (400, "unauthorized_client".to_owned()));
    assert_eq!(
        error(&revoke(&[("token", refresh)])),
        (401, "invalid_client".to_owned())
    );
    assert_eq!(
        error(&revoke(&[("client_id", CLI)])),
        (400, "invalid_request".to_owned())
    );
    assert_eq!(gateway.reads_with(access).status, 200, "the control");
    for nothing in ["garbage", "mlg_rt_garbage"] {
        assert_eq!(revoke(&[("token", nothing), ("client_id", CLI)]).status, 200);
    }
    assert_eq!(revoke(&[("token", refresh), ("client_id", CLI)]).status, 200);
    assert_eq!(gateway.reads_with(access).status, 401);
    assert_eq!(revoke(&[("token", refresh), ("client_id", CLI)]).status, 200, "again");
    let personal = gateway.token("vera");
    assert_eq!(revoke(&[("token", &personal), ("client_id", CLI)]).status, 200);
    assert_eq!(gateway.reads_with(&personal).status, 401);
    assert!(gateway.events().iter().any(|event| event["action"] == "token.revoke"));
}

#[test]
fn a_service_account_acts_as_its_own_groups_and_no_longer_than_it_is_configured() {
    let echo = Echo::start();
    let mut gateway = gateway(&echo);
    let ask = |gateway: &Gateway, id: &str, secret: &str| {
        let form = Request::new("POST", "/auth/oauth2/token").form(&[("grant_type", "client_credentials")]);
        gateway.send(&form.header("Authorization", &basic(id, secret)))
    };
    let answer = ask(&gateway, "nightly", "between midnight and six");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let tokens = answer.json();
    assert!(tokens.get("refresh_token").is_none());
    let access = text(&tokens, "access_token").to_owned();
    assert_eq!(gateway.reads_with(&access).status, 200);
    let wrong = ask(&gateway, "nightly", "wrong");
    assert_eq!(error(&wrong), (401, "invalid_client".to_owned()));
    assert!(wrong.header("www-authenticate").unwrap().starts_with("Basic"));
    assert_eq!(
        error(&ask(&gateway, "watcher", "who goes there")),
        (400, "unauthorized_client".to_owned())
    );
    let events = gateway.events();
    let seen = events.iter().find(|event| event["action"] == "token.issue").unwrap();
    assert_eq!(
        (&seen["actor"]["provider"], &seen["actor"]["user"]),
        (&json!("client"), &json!("nightly"))
    );
    assert!(
        events
            .iter()
            .any(|event| event["action"] == "login.refused" && event["actor"]["user"] == "nightly")
    );

    gateway.setup.session += "recheck = \"1s\"\n";
    gateway.setup.sections = gateway
        .setup
        .sections
        .replace("groups = [\"jobs\"]", "groups = [\"former\"]");
    gateway.setup.write();
    until("the group is gone", Duration::from_secs(15), || {
        gateway.reads_with(&access).status == 403
    });
}

#[test]
fn wrong_secrets_are_counted() {
    let echo = Echo::start();
    let mut setup = Setup::new(&echo.url);
    setup.sections += CLIENTS;
    setup.limits = "login_attempts = \"3/5m\"".to_owned();
    let gateway = setup.start();
    let ask = |secret: &str| {
        let form = Request::new("POST", "/auth/oauth2/token").form(&[("grant_type", "client_credentials")]);
        gateway.send(&form.header("Authorization", &basic("nightly", secret)))
    };
    for _ in 0..5 {
        assert_eq!(
            ask("between midnight and six").status,
            200,
            "who knows it is not counted"
        );
    }
    for _ in 0..3 {
        assert_eq!(ask("guess").status, 401);
    }
    let stopped = ask("between midnight and six");
    assert_eq!(stopped.status, 429, "{}", stopped.text());
    assert!(stopped.header("retry-after").is_some());
}

#[test]
fn a_token_is_described_to_who_may_ask() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let tokens = gateway.terminal("vera");
    let ask = |token: &str, shown: &str| -> Response {
        let form = Request::new("POST", "/auth/oauth2/introspect").form(&[("token", token)]);
        gateway.send(&form.header("Authorization", shown))
    };
    let (watcher, admin) = (
        basic("watcher", "who goes there"),
        format!("Bearer {}", gateway.token("ada")),
    );
    for shown in [&watcher, &admin] {
        for token in ["access_token", "refresh_token"] {
            let told = ask(text(&tokens, token), shown);
            assert_eq!(
                (told.status, told.header("cache-control")),
                (200, Some("no-store")),
                "{}",
                told.text()
            );
            let told = told.json();
            assert_eq!(
                (&told["active"], &told["username"], &told["client_id"]),
                (&json!(true), &json!("vera"), &json!(CLI))
            );
            assert_eq!(
                (&told["sub"], &told["groups"]),
                (&json!("local:vera"), &json!(["viewers"]))
            );
        }
        let personal = gateway.token("vera");
        assert_eq!(ask(&personal, shown).json()["username"], "vera");
        assert_eq!(ask("garbage", shown).json(), json!({"active": false}));
    }
    for (shown, expected) in [
        (
            basic("nightly", "between midnight and six"),
            (400, "unauthorized_client"),
        ),
        (basic("watcher", "wrong"), (401, "invalid_client")),
        (
            format!("Bearer {}", gateway.token("mona")),
            (400, "unauthorized_client"),
        ),
        (
            format!("Bearer {}", text(&tokens, "access_token")),
            (400, "unauthorized_client"),
        ),
        ("Bearer garbage".to_owned(), (401, "invalid_client")),
    ] {
        let (status, code) = error(&ask(text(&tokens, "access_token"), &shown));
        assert_eq!((status, code.as_str()), expected, "{shown}");
    }
    let bare = Request::new("POST", "/auth/oauth2/introspect").form(&[("token", "x"), ("client_id", CLI)]);
    assert_eq!(error(&gateway.send(&bare)), (400, "unauthorized_client".to_owned()));
}

#[test]
fn metadata_names_what_works() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let told = gateway.send(&Request::get("/.well-known/oauth-authorization-server"));
    assert_eq!(told.status, 200);
    let told = told.json();
    assert_eq!(told["issuer"], gateway.url());
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "revocation_endpoint",
        "introspection_endpoint",
        "jwks_uri",
    ] {
        let path = text(&told, name).strip_prefix(&gateway.url()).unwrap().to_owned();
        let there = gateway.send(&Request::get(&path));
        assert!(matches!(there.status, 200 | 400 | 405), "{name}: {}", there.status);
    }
    for grant in told["grant_types_supported"].as_array().unwrap() {
        let answer = gateway.at_token(&[("grant_type", grant.as_str().unwrap()), ("client_id", CLI)]);
        assert_ne!(error(&answer).1, "unsupported_grant_type", "{grant}");
    }
}

#[test]
fn who_leaves_a_group_or_is_disabled_loses_it_in_the_terminal_too() {
    let echo = Echo::start();
    let mut setup = Setup::new(&echo.url);
    setup.session = "recheck = \"1s\"".to_owned();
    let gateway = setup.start();
    let (vera, ed) = (gateway.terminal("vera"), gateway.terminal("ed"));
    let status = |tokens: &Value| gateway.reads_with(text(tokens, "access_token")).status;
    assert_eq!((status(&vera), status(&ed)), (200, 200));
    let users = std::fs::read_to_string(gateway.setup.path("users.toml")).unwrap();
    let users = users
        .replace("groups = [\"viewers\"]", "groups = []")
        .replace("groups = [\"editors\"]", "groups = [\"editors\"]\ndisabled = true");
    std::fs::write(gateway.setup.path("users.toml"), users).unwrap();
    until("vera has no role any more", Duration::from_secs(10), || {
        status(&vera) == 403
    });
    until("ed has no token any more", Duration::from_secs(10), || {
        status(&ed) == 401
    });
    assert_eq!(error(&gateway.refresh(text(&ed, "refresh_token"))).1, "invalid_grant");
    assert_eq!(
        gateway.refresh(text(&vera, "refresh_token")).status,
        200,
        "vera still is somebody"
    );
}

#[test]
fn a_token_tells_its_owner_who_they_are() {
    let echo = Echo::start();
    let gateway = gateway(&echo);
    let ask = |shown: &str| {
        let request = Request::get("/auth/account").header("Accept", "application/json");
        gateway.send(&request.header("Authorization", shown))
    };
    let tokens = gateway.terminal("tom-a");
    for token in [text(&tokens, "access_token"), &gateway.token("tom-a")] {
        let told = ask(&format!("Bearer {token}"));
        assert_eq!(
            (told.status, told.header("cache-control")),
            (200, Some("no-store")),
            "{}",
            told.text()
        );
        let told = told.json();
        assert_eq!((&told["user"], &told["provider"]), (&json!("tom-a"), &json!("local")));
        assert_eq!(
            (&told["groups"], &told["roles"]),
            (&json!(["team-a"]), &json!(["team-a"]))
        );
        assert!(text(&told, "expires").ends_with('Z'));
    }
    for bad in ["Bearer garbage", &format!("Bearer {}", text(&tokens, "refresh_token"))] {
        let refused = ask(bad);
        assert_eq!(
            (refused.status, refused.json()["error_code"].as_str()),
            (401, Some("UNAUTHENTICATED"))
        );
        assert!(refused.text().contains("mlgate login"));
    }
}
