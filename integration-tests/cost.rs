//! What the gateway asks of MLflow besides what its clients ask: counted in MLflow's own log.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST};

/// As MLflow's screens ask. The gateway's index asks below `/api`, whenever it is five seconds old.
const SEARCH: &str = "/ajax-api/2.0/mlflow/experiments/search";

/// Requests that MLflow was asked, by path without the query, but for its version and health.
fn asked(mlflow: &Mlflow) -> Vec<String> {
    let log = mlflow.log();
    let requests = log.lines().filter_map(|line| line.split('"').nth(1));
    requests
        .filter_map(|request| request.split(' ').nth(1))
        .map(|target| target.split('?').next().unwrap_or_default().to_owned())
        .filter(|path| path != "/version" && path != "/health")
        .collect()
}

fn post(gateway: &Gateway, cookie: &str, path: &str, body: &Value) -> Value {
    let request = Request::new("POST", path).json(body).header("Cookie", cookie);
    let answer = gateway.send(&request.header("Origin", &gateway.origin()));
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[test]
fn logging_a_metric_asks_mlflow_for_nothing_else() {
    let mlflow = Mlflow::start(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let cookie = gateway.sign_in("tom-a");
    let made = post(
        &gateway,
        &cookie,
        "/api/2.0/mlflow/experiments/create",
        &json!({ "name": "a/counted" }),
    );
    let experiment = made["experiment_id"].as_str().unwrap();
    let create = "/api/2.0/mlflow/runs/create";
    let run = || {
        let made = post(&gateway, &cookie, create, &json!({ "experiment_id": experiment }));
        made["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    };
    run();
    let before = asked(&mlflow).len();
    let run = run();
    let log = "/api/2.0/mlflow/runs/log-metric";
    for step in 0..20 {
        let metric = json!({ "run_id": run, "key": "m", "value": 0.5, "timestamp": step, "step": step });
        post(&gateway, &cookie, log, &metric);
    }
    let mut expected = vec![create];
    expected.extend([log; 20]);
    assert_eq!(
        asked(&mlflow)[before..],
        expected,
        "a new run is known from the answer that made it"
    );
}

#[test]
fn a_page_of_experiments_asks_for_what_may_be_seen() {
    let mlflow = Mlflow::start(NEWEST);
    let path = SEARCH;
    for index in 0..60 {
        let team = if index % 20 == 7 { "a" } else { "b" };
        let made = json!({ "name": format!("{team}/{index}") });
        let request = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&made);
        assert_eq!(mlflow.ask(&request).status, 200);
    }
    // Names that have nothing in common but what is in the middle of some.
    let letters = ["k", "q", "z", "m", "t"];
    for index in 0..24 {
        let (start, end) = (letters[index % 5], letters[(index + 2) % 5]);
        let middle = if index % 3 == 0 { "-seen-" } else { "-not-" };
        let made = json!({ "name": format!("{start}{index}{middle}{index}{end}") });
        let request = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&made);
        assert_eq!(mlflow.ask(&request).status, 200);
    }
    let mut setup = Setup::new(&mlflow.url());
    setup.sections.push_str(
        "[[role]]\nname = \"some\"\nusers = [\"local:nina\"]\ngrants = [{ permission = \"READ\", experiments = [\"*-seen-*\"] }]\n",
    );
    let gateway = setup.start();
    each_page_of_unlike_names_is_one_question(&mlflow, &gateway);
    let cookie = gateway.sign_in("tom-a");
    let page = |body: Value| {
        post(&gateway, &cookie, path, &body)["experiments"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert_eq!(page(json!({ "max_results": 5 })), 3);
    let before = asked(&mlflow).len();
    assert_eq!(page(json!({ "max_results": 5 })), 3);
    let pages = asked(&mlflow)[before..].iter().filter(|asked| *asked == path).count();
    assert_eq!(pages, 1, "one question, though five in a row are hidden");
    // What is made through the gateway is in the next list.
    let made = post(
        &gateway,
        &cookie,
        "/api/2.0/mlflow/experiments/create",
        &json!({ "name": "a/new" }),
    );
    assert_eq!(page(json!({ "max_results": 5 })), 4);
    assert_eq!(page(json!({ "max_results": 5, "filter": "name LIKE 'a/n%'" })), 1);
    let rename = json!({ "experiment_id": made["experiment_id"], "new_name": "a/renamed" });
    post(&gateway, &cookie, "/api/2.0/mlflow/experiments/update", &rename);
    assert_eq!(page(json!({ "max_results": 5, "filter": "name = 'a/renamed'" })), 1);
    // A filter that would swallow what is joined to it finds no more than others do.
    for filter in ["name LIKE '%' -- ", "name LIKE '%' /* ", "name LIKE '%"] {
        let body = json!({ "max_results": 50, "filter": filter });
        let request = Request::new("POST", path).json(&body).header("Cookie", &cookie);
        let answer = gateway.send(&request.header("Origin", &gateway.origin()));
        assert!(!answer.text().contains("b/"), "{filter}: {}", answer.text());
    }
}

/// The index knows which rows stand on each page, in MLflow's order.
fn each_page_of_unlike_names_is_one_question(mlflow: &Mlflow, gateway: &Gateway) {
    let path = SEARCH;
    let cookie = gateway.sign_in("nina");
    let whole = mlflow.ask(&Request::new("POST", path).json(&json!({ "max_results": 1000 })));
    let names = |answer: &Value| {
        let rows = answer["experiments"].as_array().cloned().unwrap_or_default();
        let names = rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned));
        names.collect::<Vec<_>>()
    };
    let expected: Vec<_> = names(&whole.json())
        .into_iter()
        .filter(|name| name.contains("-seen-"))
        .collect();
    assert_eq!(expected.len(), 8);
    let mut body = json!({ "max_results": 3 });
    post(gateway, &cookie, path, &body);
    let (before, began) = (asked(mlflow).len(), Instant::now());
    let mut found = Vec::new();
    for (rows, more) in [(3, true), (3, true), (2, false)] {
        let page = post(gateway, &cookie, path, &body);
        assert_eq!(
            (names(&page).len(), page["next_page_token"].is_string()),
            (rows, more),
            "{page}"
        );
        found.extend(names(&page));
        body["page_token"] = page["next_page_token"].clone();
    }
    assert_eq!(found, expected);
    let asked = &asked(mlflow)[before..];
    let pages = asked.iter().filter(|asked| *asked == path).count();
    let refreshed = asked.len() - pages;
    assert_eq!(pages, 3);
    assert!(refreshed as u64 <= 1 + began.elapsed().as_secs() / 5, "{asked:?}");
}
