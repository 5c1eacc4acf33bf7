//! Who made it: what is made through the gateway says so, whatever its client writes, then or later.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST, python};
use crate::support::root;

/// MLflow's own client, at work for a token, on a machine whose user is mallory.
fn session(gateway: &Gateway, version: &str, token: &str, prefix: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new(python(version))
        .arg(root().join("integration-tests/support/signed_session.py"))
        .args([prefix, if version == NEWEST { "newest" } else { "oldest" }])
        .env("MLFLOW_TRACKING_URI", gateway.url())
        .env("MLFLOW_TRACKING_TOKEN", token)
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("LOGNAME", "mallory")
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let out = String::from_utf8(ran.stdout).unwrap();
    serde_json::from_str(out.lines().rfind(|line| line.starts_with('{')).unwrap()).unwrap()
}

fn get(mlflow: &Mlflow, target: &str) -> Value {
    let answer = mlflow.ask(&Request::get(target));
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.json()
}

/// A tag's or a metadatum's value, of a list of pairs or of a map.
fn tag<'a>(tags: &'a Value, key: &str) -> Option<&'a str> {
    match tags {
        Value::Array(pairs) => pairs.iter().find(|pair| pair["key"] == key)?["value"].as_str(),
        map => map.get(key)?.as_str(),
    }
}

fn run_of(mlflow: &Mlflow, id: &str) -> Value {
    get(mlflow, &format!("/api/2.0/mlflow/runs/get?run_id={id}"))["run"].take()
}

fn trace_of(mlflow: &Mlflow, id: &str) -> Value {
    if mlflow.version == NEWEST {
        get(mlflow, &format!("/api/3.0/mlflow/traces/{id}"))["trace"]["trace_info"].take()
    } else {
        get(mlflow, &format!("/api/2.0/mlflow/traces/{id}/info"))["trace_info"].take()
    }
}

fn text<'a>(made: &'a Value, what: &str) -> &'a str {
    made[what].as_str().unwrap()
}

fn everything_is_signed(version: &'static str) {
    let mlflow = Mlflow::shared(version);
    let gateway = Setup::new(&mlflow.url()).start();
    let made = session(&gateway, version, &gateway.token("ed"), "signed-on");
    let run = run_of(&mlflow, text(&made, "run"));
    assert_eq!(run["info"]["user_id"], "ed");
    assert_eq!(tag(&run["data"]["tags"], "mlflow.user"), Some("ed"));
    let name = text(&made, "model");
    let model = get(&mlflow, &format!("/api/2.0/mlflow/registered-models/get?name={name}"))["registered_model"].take();
    assert_eq!(tag(&model["tags"], "mlflow.user"), Some("ed"));
    assert_eq!(tag(&model["tags"], "kept"), Some("yes"));
    let version_target = format!(
        "/api/2.0/mlflow/model-versions/get?name={name}&version={}",
        text(&made, "version")
    );
    let made_version = get(&mlflow, &version_target)["model_version"].take();
    assert_eq!(tag(&made_version["tags"], "mlflow.user"), Some("ed"));
    let trace = trace_of(&mlflow, text(&made, "trace"));
    assert_eq!(tag(&trace["tags"], "mlflow.user"), Some("ed"), "{trace}");
    let metadata = if version == NEWEST {
        "trace_metadata"
    } else {
        "request_metadata"
    };
    assert_eq!(tag(&trace[metadata], "mlflow.user"), Some("ed"), "{trace}");
    if version == NEWEST {
        let target = format!("/api/2.0/mlflow/logged-models/{}", text(&made, "logged_model"));
        let model = get(&mlflow, &target)["model"].take();
        assert_eq!(tag(&model["info"]["tags"], "mlflow.user"), Some("ed"), "{model}");
        for number in ["spans 0", "spans 1"] {
            let trace = trace_of(&mlflow, text(&made, number));
            assert_eq!(tag(&trace["tags"], "mlflow.user"), Some("ed"), "{trace}");
            assert_eq!(tag(&trace["tags"], "kept"), Some("yes"), "{trace}");
        }
    }
}

#[test]
fn what_the_newest_client_makes_says_who_made_it() {
    everything_is_signed(NEWEST);
}

#[test]
fn what_the_oldest_client_makes_says_who_made_it() {
    everything_is_signed(OLDEST);
}

struct Person<'a> {
    gateway: &'a Gateway,
    cookie: String,
}

impl Person<'_> {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Response {
        self.gateway.send(
            &Request::new(method, path)
                .header("Cookie", &self.cookie)
                .header("Origin", &self.gateway.origin())
                .json(body),
        )
    }

    fn make(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask("POST", path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }
}

fn people<'a>(gateway: &'a Gateway) -> [Person<'a>; 2] {
    ["ed", "mona"].map(|name| Person {
        gateway,
        cookie: gateway.sign_in(name),
    })
}

const RUNS: &str = "/api/2.0/mlflow/runs";

#[test]
fn nobody_can_be_named_as_the_maker_later() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let [ed, mona] = people(&gateway);
    let experiment = ed.make("/api/2.0/mlflow/experiments/create", &json!({"name": "signed/later"}));
    let experiment = text(&experiment, "experiment_id");
    let run = ed.make(
        &format!("{RUNS}/create"),
        &json!({"experiment_id": experiment, "userId": "mallory"}),
    );
    let run = text(&run["run"]["info"], "run_id").to_owned();
    for (key, status) in [("mlflow.user", 400), ("MLFLOW.user ", 400), ("mlflow.users", 200)] {
        let set = mona.ask(
            "POST",
            &format!("{RUNS}/set-tag"),
            &json!({"run_id": run, "key": key, "value": "mona"}),
        );
        assert_eq!(set.status, status, "{key}: {}", set.text());
    }
    let deleted = mona.ask(
        "POST",
        &format!("{RUNS}/delete-tag"),
        &json!({"run_id": run, "key": "mlflow.user"}),
    );
    assert_eq!(deleted.status, 400, "{}", deleted.text());
    let batch = json!({"run_id": run, "tags": [{"key": "mlflow.user", "value": "mona"}, {"key": "kept", "value": "yes"}],
                       "metrics": [{"key": "loss", "value": 0.1, "timestamp": 1, "step": 1}]});
    mona.make(&format!("{RUNS}/log-batch"), &batch);
    let now = run_of(&mlflow, &run);
    assert_eq!(now["info"]["user_id"], "ed");
    assert_eq!(tag(&now["data"]["tags"], "mlflow.user"), Some("ed"));
    assert_eq!(tag(&now["data"]["tags"], "kept"), Some("yes"));
    assert_eq!(now["data"]["metrics"][0]["value"], 0.1);

    let id = format!("tr-{}", "5a".repeat(16));
    let start = |who: &Person<'_>| {
        let info = json!({"trace_id": id, "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
                          "request_time": "2026-01-01T00:00:00Z", "state": "OK",
                          "trace_metadata": {"mlflow.trace.user": "a customer", "mlflow.user": "mallory"}, "tags": {}});
        who.make("/api/3.0/mlflow/traces", &json!({"trace": {"trace_info": info}}))
    };
    start(&ed);
    start(&mona);
    let spans = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "5a".repeat(16), "spanId": "5a".repeat(8), "name": "root", "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000001000000000"}]}]}]});
    let sent = gateway.send(
        &Request::new("POST", "/v1/traces")
            .header("Cookie", &mona.cookie)
            .header("Origin", &gateway.origin())
            .header("x-mlflow-experiment-id", experiment)
            .json(&spans),
    );
    assert_eq!(sent.status, 200, "{}", sent.text());
    for path in [
        format!("/api/2.0/mlflow/traces/{id}/tags"),
        format!("/api/3.0/mlflow/traces/{id}/tags"),
    ] {
        let set = mona.ask("PATCH", &path, &json!({"key": "mlflow.user", "value": "mona"}));
        assert_eq!(set.status, 400, "{}", set.text());
        let deleted = mona.ask("DELETE", &path, &json!({"key": "mlflow.user"}));
        assert_eq!(deleted.status, 400, "{}", deleted.text());
    }
    let trace = trace_of(&mlflow, &id);
    assert_eq!(tag(&trace["tags"], "mlflow.user"), Some("ed"), "{trace}");
    assert_eq!(tag(&trace["trace_metadata"], "mlflow.user"), Some("ed"), "{trace}");
    assert_eq!(
        tag(&trace["trace_metadata"], "mlflow.trace.user"),
        Some("a customer"),
        "whom the application served is the application's to say: {trace}"
    );

    ed.make(
        "/api/2.0/mlflow/registered-models/create",
        &json!({"name": "signed-later"}),
    );
    let set = json!({"name": "signed-later", "key": "mlflow.user", "value": "mona"});
    assert_eq!(
        mona.ask("POST", "/api/2.0/mlflow/registered-models/set-tag", &set)
            .status,
        400
    );
    let logged = ed.make("/api/2.0/mlflow/logged-models", &json!({"experiment_id": experiment}));
    let logged = text(&logged["model"]["info"], "model_id").to_owned();
    let tags = json!({"tags": [{"key": "mlflow.user", "value": "mona"}, {"key": "kept", "value": "yes"}]});
    let patched = mona.ask("PATCH", &format!("/api/2.0/mlflow/logged-models/{logged}/tags"), &tags);
    assert_eq!(patched.status, 200, "{}", patched.text());
    let deleted = mona.ask(
        "DELETE",
        &format!("/api/2.0/mlflow/logged-models/{logged}/tags/mlflow.user"),
        &json!({}),
    );
    assert_eq!(deleted.status, 400, "{}", deleted.text());
    let now = get(&mlflow, &format!("/api/2.0/mlflow/logged-models/{logged}"))["model"]["info"].take();
    assert_eq!(tag(&now["tags"], "mlflow.user"), Some("ed"), "{now}");
    assert_eq!(tag(&now["tags"], "kept"), Some("yes"), "{now}");
}

#[test]
fn without_attribution_mlflow_hears_what_the_client_says() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.upstream += "\nattribution = \"off\"";
    let gateway = setup.start();
    let [ed, _] = people(&gateway);
    let experiment = ed.make("/api/2.0/mlflow/experiments/create", &json!({"name": "signed/off"}));
    let tags = json!([{"key": "mlflow.user", "value": "mallory"}]);
    let body = json!({"experiment_id": text(&experiment, "experiment_id"), "user_id": "mallory", "tags": tags});
    let run = ed.make(&format!("{RUNS}/create"), &body);
    let run = text(&run["run"]["info"], "run_id").to_owned();
    let set = json!({"run_id": run, "key": "mlflow.user", "value": "eve"});
    ed.make(&format!("{RUNS}/set-tag"), &set);
    let now = run_of(&mlflow, &run);
    assert_eq!(now["info"]["user_id"], "mallory");
    assert_eq!(tag(&now["data"]["tags"], "mlflow.user"), Some("eve"));
}
