//! What the gateway asks of MLflow besides what its clients ask: counted in MLflow's own log.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST};

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
    let path = "/api/2.0/mlflow/experiments/search";
    for index in 0..60 {
        let team = if index % 20 == 7 { "a" } else { "b" };
        let made = json!({ "name": format!("{team}/{index}") });
        let request = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&made);
        assert_eq!(mlflow.ask(&request).status, 200);
    }
    let gateway = Setup::new(&mlflow.url()).start();
    let cookie = gateway.sign_in("tom-a");
    let page = |body: Value| {
        post(&gateway, &cookie, path, &body)["experiments"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert_eq!(page(json!({ "max_results": 5 })), 3);
    let before = asked(&mlflow).len();
    assert_eq!(page(json!({ "max_results": 5 })), 3);
    assert_eq!(
        asked(&mlflow)[before..],
        [path],
        "one question, though five in a row are hidden"
    );
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
