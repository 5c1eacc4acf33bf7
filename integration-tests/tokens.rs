//! Personal tokens that people make for themselves, and tokens and sessions that admins end from elsewhere.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup, binary};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::oauth::hidden;
use crate::support::process::until;

fn make(gateway: &Gateway, cookie: &str, fields: &[(&str, &str)]) -> Response {
    let page = gateway
        .send(&Request::get("/auth/account").navigation().header("Cookie", cookie))
        .text();
    let form = [&[("csrf_token", hidden(&page, "csrf_token").unwrap())], fields].concat();
    gateway.send_form("/auth/account/tokens", cookie, &form)
}

fn shown(page: &Response) -> String {
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let text = page.text();
    let token = text
        .split("<code class=\"secret\">")
        .nth(1)
        .and_then(|rest| rest.split('<').next());
    token.unwrap_or_else(|| panic!("no token in {text}")).to_owned()
}

fn bearer(request: Request, token: &str) -> Request {
    request.header("Authorization", &format!("Bearer {token}"))
}

fn search(gateway: &Gateway, token: &str) -> Vec<String> {
    let asked = Request::new("POST", "/api/2.0/mlflow/experiments/search").json(&json!({"max_results": 1000}));
    let answer = gateway.send(&bearer(asked, token));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let found = answer["experiments"].as_array().cloned().unwrap_or_default();
    found
        .iter()
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_person_makes_a_token_that_is_shown_once_and_holds_no_more_than_it_says() {
    let mlflow = Mlflow::start(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let cookie = gateway.sign_in("ed");
    let create = |name: &str, token: &str| {
        let asked = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&json!({"name": name}));
        gateway.send(&bearer(asked, token))
    };
    let whole = shown(&make(&gateway, &cookie, &[("name", "laptop"), ("lifetime", "3600")]));
    assert!(whole.starts_with("mlg_pat_"));
    let made = |name: &str| {
        let answer = create(name, &whole);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["experiment_id"].as_str().unwrap().to_owned()
    };
    let (inside, outside) = (made("fraud/a"), made("churn"));
    let account = gateway
        .send(&Request::get("/auth/account").navigation().header("Cookie", &cookie))
        .text();
    assert!(account.contains("laptop") && !account.contains(&whole), "never again");
    assert!(!std::fs::read_to_string(gateway.audit_file()).unwrap().contains(&whole));

    let reading = shown(&make(
        &gateway,
        &cookie,
        &[("name", "r"), ("lifetime", "3600"), ("read_only", "on")],
    ));
    assert_eq!(create("x", &reading).status, 403);
    assert!(search(&gateway, &reading).contains(&"churn".to_owned()));

    let fields = [("name", "f"), ("lifetime", "3600"), ("experiments", "fraud/*, other")];
    let narrow = shown(&make(&gateway, &cookie, &fields));
    let get = |id: &str| {
        gateway.send(&bearer(
            Request::get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={id}")),
            &narrow,
        ))
    };
    assert_eq!(get(&inside).status, 200);
    for hidden in [get(&outside), get("424242")] {
        assert_eq!(
            (hidden.status, hidden.json()["error_code"].as_str()),
            (403, Some("PERMISSION_DENIED"))
        );
        assert!(hidden.text().contains("limited to experiments"), "{}", hidden.text());
    }
    assert_eq!(search(&gateway, &narrow), ["fraud/a"], "lists are cut down to it");
    assert_eq!(create("fraud/b", &narrow).status, 200);
    assert_eq!(create("elsewhere", &narrow).status, 403);
    let model = Request::new("POST", "/api/2.0/mlflow/registered-models/create").json(&json!({"name": "m"}));
    assert_eq!(
        gateway.send(&bearer(model.clone(), &narrow)).status,
        403,
        "models are not in it"
    );
    assert_eq!(gateway.send(&bearer(model, &whole)).status, 200, "the control");
    let models = Request::get("/api/2.0/mlflow/registered-models/search");
    let listed = gateway.send(&bearer(models, &narrow));
    assert!(!listed.text().contains("\"m\""), "{} {}", listed.status, listed.text());
    // No pattern widens anything: a viewer's token for everything is a viewer's.
    let viewer = gateway.sign_in("vera");
    let star = shown(&make(
        &gateway,
        &viewer,
        &[("name", "s"), ("lifetime", "60"), ("experiments", "*")],
    ));
    assert_eq!(create("y", &star).status, 403);
    assert!(search(&gateway, &star).contains(&"churn".to_owned()));

    for wrong in [
        &[("name", ""), ("lifetime", "60")][..],
        &[("name", "x"), ("lifetime", "0")],
        &[("name", "x"), ("lifetime", "-1")],
        &[("name", "x"), ("lifetime", "31536001")],
        &[("name", "x"), ("lifetime", "18446744073709551615")],
        &[("name", "x\u{7}"), ("lifetime", "60")],
    ] {
        assert_eq!(make(&gateway, &cookie, wrong).status, 400, "{wrong:?}");
    }
    let forged = gateway.send_form(
        "/auth/account/tokens",
        &cookie,
        &[("name", "x"), ("lifetime", "60"), ("csrf_token", "x")],
    );
    assert_eq!(forged.status, 403);
}

fn mlgate(token: &str, arguments: &[&str]) -> (i32, Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = binary()
        .args(arguments)
        .env("MLGATE_TOKEN", token)
        .env("MLGATE_CREDENTIALS", folder.path().join("credentials.json"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let list = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), list, said)
}

#[test]
fn an_admin_lists_and_ends_tokens_and_sessions_from_elsewhere() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let (admin, url) = (gateway.token("ada"), gateway.url());
    let cookie = gateway.sign_in("vera");
    let terminal = gateway.terminal("ed");
    let access = terminal["access_token"].as_str().unwrap();
    assert_eq!(gateway.reads_with(access).status, 200);

    let (code, list, said) = mlgate(&admin, &["tokens", "list", "--url", &url, "--user", "ed", "--json"]);
    assert_eq!((code, list.as_array().map(Vec::len)), (0, Some(1)), "{said}");
    assert_eq!(
        (&list[0]["client"], &list[0]["provider"]),
        (&json!("mlgate-cli"), &json!("local"))
    );
    let id = list[0]["id"].as_str().unwrap();
    let (code, sessions, said) = mlgate(&admin, &["sessions", "list", "--url", &url, "--user", "vera", "--json"]);
    assert_eq!((code, sessions.as_array().map(Vec::len)), (0, Some(1)), "{said}");

    // Refused, each beside what passes: no admin, an admin's token that may only read, nobody, an admin's cookie.
    let (code, _, said) = mlgate(&gateway.token("mona"), &["tokens", "revoke", id, "--url", &url]);
    assert!(code == 3 && said.contains("admins"), "{code} {said}");
    for less in [("read_only", "on"), ("experiments", "*")] {
        let made = make(
            &gateway,
            &gateway.sign_in("ada"),
            &[("name", "less"), ("lifetime", "60"), less],
        );
        assert_eq!(
            mlgate(&shown(&made), &["tokens", "list", "--url", &url]).0,
            3,
            "{less:?}"
        );
    }
    assert_eq!(mlgate("mlg_pat_garbage", &["tokens", "list", "--url", &url]).0, 4);
    assert_eq!(
        mlgate("", &["tokens", "list", "--url", &url]).0,
        4,
        "nobody is signed in"
    );
    let by_cookie = Request::get("/auth/admin/api/tokens").header("Cookie", &gateway.sign_in("ada"));
    assert_eq!(gateway.send(&by_cookie).status, 401);
    assert_eq!(gateway.reads_with(access).status, 200, "nothing has ended");

    assert_eq!(mlgate(&admin, &["tokens", "revoke", id, "--url", &url]).0, 0);
    until("the terminal is out", Duration::from_secs(5), || {
        gateway.reads_with(access).status == 401
    });
    let ended = mlgate(
        &admin,
        &[
            "sessions",
            "revoke",
            "--user",
            "vera",
            "--provider",
            "local",
            "--url",
            &url,
            "--json",
        ],
    );
    assert_eq!(ended.0, 0, "{}", ended.2);
    let read = Request::get("/ajax-api/2.0/mlflow/experiments/get?experiment_id=0").header("Cookie", &cookie);
    until("vera is out", Duration::from_secs(5), || {
        gateway.send(&read).status == 401
    });
    let events = gateway.events();
    let revoked = events.iter().find(|event| event["action"] == "token.revoke").unwrap();
    assert_eq!(
        (&revoked["actor"]["user"], &revoked["actor"]["via"]),
        (&json!("ada"), &json!("token"))
    );
    let made = [
        "tokens",
        "create",
        "--user",
        "ed",
        "--provider",
        "local",
        "--name",
        "n",
        "--lifetime",
        "1h",
        "--json",
        "--url",
        &url,
    ];
    let (code, token, said) = mlgate(&admin, &made);
    assert_eq!(code, 0, "{said}");
    assert_eq!(gateway.reads_with(token["token"].as_str().unwrap()).status, 200);
}
