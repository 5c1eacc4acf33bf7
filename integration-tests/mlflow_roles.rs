//! MLflow's own roles: the gateway signs people in and keeps MLflow's users and roles in step; what they may is MLflow's to say.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup, users_toml};
use crate::support::http::Request;
use crate::support::mlflow::Mlflow;
use crate::support::person::Person;
use crate::support::process::until;
use crate::support::root;

const PASSWORD: &str = "the gateway's own word";

/// MLflow with its basic-auth app, which believes the gateway; and the gateway before it.
fn start() -> (Mlflow, Gateway) {
    start_with("")
}

/// Likewise, with further sections in the gateway's configuration.
fn start_with(sections: &str) -> (Mlflow, Gateway) {
    let mut setup = Setup::new("http://127.0.0.1:9");
    setup.sections.push_str(sections);
    let config = setup.path("basic_auth.ini");
    let database = setup.path("auth.db");
    std::fs::write(
        &config,
        format!(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{}\nadmin_username = gate\n\
             auth_cache_ttl_seconds = 60\n\
             authorization_function = mlflow_mlgate.server:authorize\n",
            database.display()
        ),
    )
    .unwrap();
    let url = format!("http://{}", setup.authority());
    let python = root().join("clients/python/src");
    let mlflow = Mlflow::start_with_auth(&[
        ("MLFLOW_AUTH_CONFIG_PATH", config.to_str().unwrap()),
        ("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD),
        ("MLFLOW_FLASK_SERVER_SECRET_KEY", "for its forms"),
        ("_MLFLOW_SGI_NAME", "uvicorn"),
        ("PYTHONPATH", python.to_str().unwrap()),
        ("MLGATE_URL", &url),
        ("MLGATE_UPSTREAM", "production"),
    ]);
    let word = setup.path("mlflow-password");
    std::fs::write(&word, PASSWORD).unwrap();
    std::fs::set_permissions(&word, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    setup.upstream = format!(
        "name = \"production\"\nurl = \"{}\"\nauthorization = \"mlflow\"\nbasic_auth_user = \"gate\"\nbasic_auth_password_file = \"mlflow-password\"",
        mlflow.url()
    );
    setup.session = "recheck = \"1s\"".to_owned();
    (mlflow, setup.start())
}

/// Past the gateway, as MLflow's administrator.
fn asked(mlflow: &Mlflow, target: &str) -> Value {
    let word = STANDARD.encode(format!("gate:{PASSWORD}"));
    let answer = mlflow.ask(&Request::get(target).header("Authorization", &format!("Basic {word}")));
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.json()
}

fn roles_of(mlflow: &Mlflow, user: &str) -> Vec<String> {
    let roles = asked(mlflow, &format!("/api/3.0/mlflow/users/roles/list?username={user}"))["roles"].take();
    let names = roles
        .as_array()
        .unwrap()
        .iter()
        .map(|role| role["name"].as_str().unwrap().to_owned());
    // MLflow keeps what one was given alone in a role of one's own.
    let mut names: Vec<_> = names.filter(|name| !name.starts_with("__")).collect();
    names.sort();
    names
}

#[test]
fn people_their_groups_and_nothing_else_reach_mlflows_roles() {
    let (mlflow, gateway) = start();
    let [tom, ada, nina] = ["tom-a", "ada", "nina"].map(|name| Person::new(&gateway, name));
    // Without a role here nobody gets there.
    assert_eq!(nina.get("/api/2.0/mlflow/experiments/get?experiment_id=0").status, 403);
    // Known from the first request on, with the roles of the groups; the rest is MLflow's decision.
    let refused = tom.get("/api/2.0/mlflow/experiments/get?experiment_id=0");
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        !refused.text().contains("request_id"),
        "MLflow said so: {}",
        refused.text()
    );
    assert_eq!(roles_of(&mlflow, "local%3Atom-a"), ["team-a"]);
    assert_eq!(ada.get("/api/2.0/mlflow/experiments/get?experiment_id=0").status, 200);
    let admin =
        |user: &str| asked(&mlflow, &format!("/api/2.0/mlflow/users/get?username={user}"))["user"]["is_admin"].take();
    assert_eq!(
        (admin("local%3Aada"), admin("local%3Atom-a")),
        (json!(true), json!(false))
    );
    // MLflow's permission pages work for whom MLflow lets, and for nobody else.
    let current = tom.get("/ajax-api/2.0/mlflow/users/current");
    assert_eq!(current.json()["user"]["username"], "local:tom-a", "{}", current.text());
    let roles = ada.get("/ajax-api/3.0/mlflow/roles/list?workspace=default").json();
    let team_a = roles["roles"]
        .as_array()
        .unwrap()
        .iter()
        .find(|role| role["name"] == "team-a")
        .unwrap()["id"]
        .clone();
    let grant =
        json!({"role_id": team_a, "resource_type": "experiment", "resource_pattern": "*", "permission": "READ"});
    let add = "/ajax-api/3.0/mlflow/roles/permissions/add";
    assert_eq!(tom.json("POST", add, &grant).status, 403);
    let added = ada.json("POST", add, &grant);
    assert_eq!(added.status, 200, "{}", added.text());
    assert_eq!(tom.get("/api/2.0/mlflow/experiments/get?experiment_id=0").status, 200);
    // A run still says who made it, and its parents' routes too.
    let made = tom.json(
        "POST",
        "/api/2.0/mlflow/experiments/create",
        &json!({"name": "roles/own"}),
    );
    assert_eq!(made.status, 200, "{}", made.text());
    let run = json!({"experiment_id": made.json()["experiment_id"], "user_id": "mallory"});
    let run = tom.json("POST", "/api/2.0/mlflow/runs/create", &run).json();
    assert_eq!(run["run"]["info"]["user_id"], "tom-a", "{run}");
    // A change of groups is in MLflow's table within `recheck`, and what MLflow's people assigned stays.
    let own = ada.json(
        "POST",
        "/ajax-api/3.0/mlflow/roles/create",
        &json!({"name": "of-mlflow", "workspace": "default"}),
    );
    let own = own.json()["role"]["id"].clone();
    let assigned = json!({"username": "local:tom-a", "role_id": own});
    assert_eq!(
        ada.json("POST", "/ajax-api/3.0/mlflow/roles/assign", &assigned).status,
        200
    );
    let moved = users_toml().replace("[\"team-a\"]", "[\"team-b\"]");
    std::fs::write(gateway.setup.path("users.toml"), moved).unwrap();
    until("MLflow's table has the new group", Duration::from_secs(60), || {
        tom.get("/api/2.0/mlflow/experiments/get?experiment_id=0");
        roles_of(&mlflow, "local%3Atom-a") == ["of-mlflow", "team-b"]
    });
    assert_eq!(tom.get("/api/2.0/mlflow/experiments/get?experiment_id=0").status, 403);
    // Calls of models carry no word of ours, so they cannot be anybody's here.
    let call = json!({"model": "m", "messages": []});
    assert_eq!(
        ada.json("POST", "/gateway/mlflow/v1/chat/completions", &call).status,
        403
    );
}

#[test]
fn an_ingress_that_asks_makes_the_account_too() {
    let (mlflow, gateway) =
        start_with("\n[network]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[check]\nendpoints = [\"auth-request\"]\n");
    let current = "/api/2.0/mlflow/users/current";
    let may = |user: &str| {
        let question = Request::get("/auth/check/auth-request")
            .header("X-Original-URL", &format!("{}{current}", gateway.url()))
            .header("X-Original-Method", "GET")
            .header("X-Forwarded-For", "203.0.113.7")
            .header("Cookie", &gateway.sign_in(user));
        gateway.send(&question)
    };
    let known = |user: &str| {
        let word = STANDARD.encode(format!("gate:{PASSWORD}"));
        let ask = Request::get(&format!("/api/2.0/mlflow/users/get?username=local%3A{user}"));
        mlflow
            .ask(&ask.header("Authorization", &format!("Basic {word}")))
            .status
    };
    assert_eq!(known("tom-a"), 404, "not before they come");
    // On a slow machine MLflow takes longer than an ingress waits.
    let mut allowed = may("tom-a");
    until("MLflow knows them", Duration::from_secs(60), || {
        allowed.status == 200 || {
            allowed = may("tom-a");
            false
        }
    });
    // What the ingress carries then is MLflow's to decide, by who the assertion says it is.
    let word = allowed.header("x-mlgate-assertion").unwrap();
    let carried = mlflow.ask(&Request::get(current).header("X-Mlgate-Assertion", word));
    assert_eq!(carried.status, 200, "{}", carried.text());
    assert_eq!(carried.json()["user"]["username"], "local:tom-a");
    assert_eq!(roles_of(&mlflow, "local%3Atom-a"), ["team-a"]);
    // Who is refused here is nobody there.
    assert_eq!(may("nina").status, 403);
    assert_eq!(known("nina"), 404);
}

#[test]
fn mlflow_believes_the_gateways_signature_alone() {
    let (mlflow, gateway) = start();
    let tom = Person::new(&gateway, "tom-a");
    assert_eq!(tom.get("/ajax-api/2.0/mlflow/users/current").status, 200, "the control");
    let forged = |claims: &Value, header: &Value, signature: &str| {
        let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.{signature}", part(header), part(claims))
    };
    let claims = json!({"iss": gateway.url(), "aud": "production", "provider": "local", "preferred_username": "ada", "iat": 0, "exp": 32_503_680_000_u64});
    let known = mlflow_key(&gateway);
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "EdDSA", "kid": known}),
        json!({"alg": "HS256", "kid": known}),
    ] {
        for word in [
            forged(&claims, &header, ""),
            forged(&claims, &header, &"A".repeat(86)),
            String::new(),
            "x".to_owned(),
        ] {
            let ask = Request::get("/api/2.0/mlflow/users/current").header("X-Mlgate-Assertion", &word);
            assert_eq!(mlflow.ask(&ask).status, 401, "{word}");
            // Through the gateway a client's own is taken off, and the gateway's put on.
            let through = tom.send(Request::get("/api/2.0/mlflow/users/current").header("X-Mlgate-Assertion", &word));
            assert_eq!(through.json()["user"]["username"], "local:tom-a");
        }
    }
    assert_eq!(
        mlflow.ask(&Request::get("/api/2.0/mlflow/users/current")).status,
        401,
        "and without any"
    );
}

fn mlflow_key(gateway: &Gateway) -> Value {
    gateway.send(&Request::get("/auth/oauth2/jwks")).json()["keys"][0]["kid"].take()
}
