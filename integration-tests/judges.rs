//! Models that MLflow asks by itself on a client's word: judges and the search for issues. Whoever names an endpoint of its AI gateway or a
//! secret must be allowed to use it. Each with a control that passes.

use serde_json::{Value, json};

use crate::support::gateway::Setup;
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::person::Person;

const ROLES: &str = r#"
[[role]]
name = "team-a"
groups = ["local:team-a"]
grants = [
  { permission = "EDIT", experiments = ["a/*"] },
  { permission = "USE", gateway_endpoints = ["a-*"], gateway_secrets = ["a-*"] },
  { permission = "DENY", scorers = ["sealed-*"] },
]
"#;

const THREE: &str = "/api/3.0/mlflow";

fn direct(mlflow: &Mlflow, path: &str, body: &Value) -> Value {
    let answer = mlflow.ask(&Request::new("POST", &format!("{THREE}/{path}")).json(body));
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// An endpoint and its secret, both of this name; the secret's id.
fn endpoint(mlflow: &Mlflow, name: &str) -> String {
    let secret = direct(
        mlflow,
        "gateway/secrets/create",
        &json!({"secret_name": name, "secret_value": {"api_key": "none"}, "provider": "openai"}),
    );
    let secret = secret["secret"]["secret_id"].as_str().unwrap().to_owned();
    let model = direct(
        mlflow,
        "gateway/model-definitions/create",
        &json!({"name": name, "secret_id": secret, "provider": "openai", "model_name": "m"}),
    );
    let config = json!({"model_definition_id": model["model_definition"]["model_definition_id"],
        "linkage_type": "PRIMARY", "weight": 1});
    direct(
        mlflow,
        "gateway/endpoints/create",
        &json!({"name": name, "model_configs": [config]}),
    );
    secret
}

fn scorer(name: &str, model: &str) -> String {
    json!({"name": name, "aggregations": [], "is_session_level_scorer": false,
        "mlflow_version": "3.18.0", "serialization_version": 1,
        "instructions_judge_pydantic_data": {"instructions": "Is {{ outputs }} good?", "model": model}})
    .to_string()
}

fn registered(experiment: &str, name: &str, model: &str) -> Value {
    json!({"experiment_id": experiment, "name": name, "serialized_scorer": scorer(name, model)})
}

/// A scorer that is there, whoever made it.
fn keep(mlflow: &Mlflow, experiment: &str, name: &str, model: &str) {
    direct(mlflow, "scorers/register", &registered(experiment, name, model));
}

#[test]
fn a_judge_calls_what_who_asks_it_may_use() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections = ROLES.to_owned();
    let gateway = setup.start();
    let tom = Person::new(&gateway, "tom-a");
    let id = tom.experiment("a/judged");
    endpoint(&mlflow, "a-judge");
    endpoint(&mlflow, "hidden-judge");
    let register = |name: &str, model: &str| {
        let body = registered(&id, name, model);
        tom.json("POST", &format!("{THREE}/scorers/register"), &body).status
    };
    assert_eq!(register("own", "gateway:/a-judge"), 200, "the control");
    for model in ["gateway:/hidden-judge", "gateway://hidden-judge", "gateway:/none-such"] {
        assert_eq!(register("other", model), 403, "{model}");
    }
    let ask = |path: &str, body: &Value| tom.json("POST", &format!("/ajax-api/3.0/mlflow/{path}"), body);
    let invoke = |model: &str, kept: Option<&str>| {
        let mut body = json!({"experiment_id": id, "trace_ids": [], "serialized_scorer": scorer("any", model)});
        if let Some(kept) = kept {
            body["scorer_name"] = kept.into();
            body["scorer_version"] = 1.into();
        }
        ask("scorer/invoke", &body)
    };
    let evaluate = |model: &str, kept: Option<&str>| {
        let body = json!({"experiment_id": id, "trace_ids": [], "scorer_versions": [kept.map(|_| 1)],
            "serialized_scorers": [scorer(kept.unwrap_or("any"), model)]});
        ask("genai/evaluate/invoke", &body)
    };
    let online = |name: &str| {
        let body = json!({"experiment_id": id, "name": name, "sample_rate": 0.5});
        tom.json("PUT", &format!("{THREE}/scorers/online-config"), &body)
    };
    keep(&mlflow, &id, "kept-other", "gateway:/hidden-judge");
    keep(&mlflow, &id, "sealed-own", "gateway:/a-judge");
    let passed = |answer: &Response| answer.status != 403;
    // MLflow has no traces to score, and says so.
    for answer in [
        invoke("gateway:/a-judge", None),
        invoke("gateway:/a-judge", Some("own")),
        evaluate("gateway:/a-judge", None),
        evaluate("gateway:/a-judge", Some("own")),
    ] {
        assert!(passed(&answer), "the control: {}", answer.text());
    }
    assert_eq!(online("own").status, 200, "the control");
    for (what, answer) in [
        ("described", invoke("gateway:/hidden-judge", None)),
        ("kept", invoke("gateway:/a-judge", Some("kept-other"))),
        ("denied", invoke("gateway:/a-judge", Some("sealed-own"))),
        ("described", evaluate("gateway:/hidden-judge", None)),
        ("kept", evaluate("gateway:/a-judge", Some("kept-other"))),
        ("denied", evaluate("gateway:/a-judge", Some("sealed-own"))),
        ("kept", online("kept-other")),
    ] {
        assert!(!passed(&answer), "{what}: {} {}", answer.status, answer.text());
    }
}

#[test]
fn a_search_for_issues_uses_what_who_asks_or_schedules_it_may_use() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections = ROLES.to_owned();
    let gateway = setup.start();
    let tom = Person::new(&gateway, "tom-a");
    let id = tom.experiment("a/searched");
    let own = endpoint(&mlflow, "a-searcher");
    let other = endpoint(&mlflow, "hidden-searcher");
    let search = |chosen: &Value| {
        let mut body = json!({"experiment_id": id, "trace_ids": [], "categories": [], "provider": "openai"});
        for (key, value) in chosen.as_object().unwrap() {
            body[key] = value.clone();
        }
        tom.json("POST", "/ajax-api/3.0/mlflow/issues/invoke", &body).status
    };
    let tag = |chosen: &Value| {
        json!({"key": "mlflow.issueDetection.schedule",
        "value": json!({"version": 1, "cadence": "hourly", "model": chosen}).to_string()})
    };
    let schedule = |chosen: &Value| {
        let mut body = tag(chosen);
        body["experiment_id"] = id.as_str().into();
        tom.post("experiments/set-experiment-tag", &body)
    };
    assert_ne!(search(&json!({"endpoint_name": "a-searcher"})), 403, "the control");
    assert_ne!(search(&json!({"model": "m", "secret_id": own})), 403, "the control");
    assert_eq!(search(&json!({"endpoint_name": "/hidden-searcher"})), 403);
    assert_eq!(search(&json!({"provider": "Gateway", "model": "hidden-searcher"})), 403);
    assert_eq!(search(&json!({"model": "m", "secret_id": other})), 403);
    assert_eq!(schedule(&json!({"endpointName": "a-searcher"})), 200, "the control");
    assert_eq!(
        schedule(&json!({"provider": "openai", "model": "m", "secretId": own})),
        200,
        "the control"
    );
    for chosen in [
        json!({"endpointName": " hidden-searcher "}),
        json!({"provider": "gateway", "model": "hidden-searcher"}),
        json!({"provider": "openai", "model": "m", "secretId": other}),
    ] {
        assert_eq!(schedule(&chosen), 403, "{chosen}");
        let create = json!({"name": "a/scheduled", "tags": [tag(&chosen)]});
        assert_eq!(tom.post("experiments/create", &create), 403, "{chosen}");
    }
    let odd = json!({"experiment_id": id, "key": "mlflow.issueDetection.schedule", "value": "{"});
    assert_eq!(tom.post("experiments/set-experiment-tag", &odd), 400);
    let off = json!({"experiment_id": id, "key": "mlflow.issueDetection.schedule"});
    assert_eq!(tom.post("experiments/delete-experiment-tag", &off), 200);
}
