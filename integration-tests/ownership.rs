//! Whose it is: who makes an experiment or a model manages it, and nobody else can say so.

use serde_json::{Value, json};

use crate::support::gateway::Setup;
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};
use crate::support::person::Person;

/// An answer of MLflow's first API, by what follows its prefix.
fn ask(person: &Person<'_>, method: &str, path: &str, body: &Value) -> Response {
    person.json(method, &format!("/api/2.0/mlflow/{path}"), body)
}

fn sees(person: &Person<'_>, id: &str) -> bool {
    let read = person.get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={id}"));
    let listed = ask(person, "POST", "experiments/search", &json!({"max_results": 1000}));
    let listed = listed.json()["experiments"]
        .as_array()
        .is_some_and(|rows| rows.iter().any(|row| row["experiment_id"] == id));
    assert_eq!(read.status == 200, listed, "{id}: {}", read.text());
    listed
}

fn owner(mlflow: &Mlflow, target: &str, thing: &str) -> Option<String> {
    let answer = mlflow.ask(&Request::get(&format!("/api/2.0/mlflow/{target}"))).json();
    let tags = answer[thing]["tags"].as_array()?;
    let tag = tags.iter().find(|tag| tag["key"] == "mlgate.owner")?;
    tag["value"].as_str().map(str::to_owned)
}

fn who_makes_it_manages_it(version: &'static str) {
    let mlflow = Mlflow::shared(version);
    let gateway = Setup::new(&mlflow.url()).start();
    let [tom, ed, ada] = ["tom-a", "ed", "ada"].map(|name| Person::new(&gateway, name));
    let id = tom.experiment("a/owned");
    let of_experiment = || owner(&mlflow, &format!("experiments/get?experiment_id={id}"), "experiment");
    assert_eq!(of_experiment().as_deref(), Some("local:tom-a"));
    let it = json!({"experiment_id": id});
    assert_eq!(ed.post("experiments/delete", &it), 403, "EDIT is not enough");
    for verb in ["delete", "restore"] {
        assert_eq!(tom.post(&format!("experiments/{verb}"), &it), 200, "{verb}");
    }
    assert_eq!(
        tom.post(
            "experiments/update",
            &json!({"experiment_id": id, "new_name": "b/owned"})
        ),
        403,
        "a new name needs a grant of its own"
    );
    // Somebody moves it out of the maker's grants.
    assert_eq!(
        ada.post(
            "experiments/update",
            &json!({"experiment_id": id, "new_name": "elsewhere/owned"})
        ),
        200
    );
    assert!(sees(&tom, &id), "it is still the maker's");
    let theirs = ed.experiment("elsewhere/other");
    assert!(!sees(&tom, &theirs), "the control: a neighbour is not");
    assert_eq!(tom.post("experiments/delete", &it), 200);

    assert_eq!(tom.post("registered-models/create", &json!({"name": "a-owned"})), 200);
    let of_model = || owner(&mlflow, "registered-models/get?name=a-owned", "registered_model");
    assert_eq!(of_model().as_deref(), Some("local:tom-a"));
    assert_eq!(
        ask(&ed, "DELETE", "registered-models/delete", &json!({"name": "a-owned"})).status,
        403
    );
    assert_eq!(
        ada.post(
            "registered-models/rename",
            &json!({"name": "a-owned", "new_name": "elsewhere-owned"})
        ),
        200
    );
    assert_eq!(
        ed.post("registered-models/create", &json!({"name": "elsewhere-other"})),
        200
    );
    let listed = tom
        .send(Request::get("/api/2.0/mlflow/registered-models/search?max_results=100"))
        .json();
    let listed = listed["registered_models"].to_string();
    assert!(
        listed.contains("elsewhere-owned") && !listed.contains("elsewhere-other"),
        "{listed}"
    );
    let deleted = ask(
        &tom,
        "DELETE",
        "registered-models/delete",
        &json!({"name": "elsewhere-owned"}),
    );
    assert_eq!(deleted.status, 200, "{}", deleted.text());
}

#[test]
fn who_makes_it_manages_it_on_the_newest_version() {
    who_makes_it_manages_it(NEWEST);
}

#[test]
fn who_makes_it_manages_it_on_the_oldest_version() {
    who_makes_it_manages_it(OLDEST);
}

#[test]
fn nobody_writes_the_gateways_marks() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let [tom, ada] = ["tom-a", "ada"].map(|name| Person::new(&gateway, name));
    let id = tom.experiment("a/marks");
    ask(&tom, "POST", "registered-models/create", &json!({"name": "a-marks"}));
    let run = ask(&tom, "POST", "runs/create", &json!({"experiment_id": id})).json();
    let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let keys = [
        "mlgate.owner",
        "MLGATE.Owner",
        " mlgate.share",
        "mlgate.anything",
        "mlg\u{e0}te.owner",
        "plain",
    ];
    for person in [&tom, &ada] {
        for key in keys {
            let refused = if key == "plain" { 200 } else { 400 };
            let tag = |mut thing: Value| {
                thing["key"] = key.into();
                thing["value"] = "local:ada".into();
                thing
            };
            let listed = json!([{"key": key, "value": "local:ada"}]);
            for (method, path, body) in [
                (
                    "POST",
                    "experiments/set-experiment-tag",
                    tag(json!({"experiment_id": id})),
                ),
                (
                    "POST",
                    "experiments/delete-experiment-tag",
                    json!({"experiment_id": id, "key": key}),
                ),
                ("POST", "registered-models/set-tag", tag(json!({"name": "a-marks"}))),
                (
                    "DELETE",
                    "registered-models/delete-tag",
                    json!({"name": "a-marks", "key": key}),
                ),
                ("POST", "runs/set-tag", tag(json!({"run_id": run}))),
                ("POST", "runs/log-batch", json!({"run_id": run, "tags": listed})),
            ] {
                let answer = ask(person, method, path, &body);
                assert_eq!(answer.status, refused, "{path} {key:?}: {}", answer.text());
            }
            if key != "plain" {
                for (path, name) in [
                    ("experiments/create", "a/marked"),
                    ("registered-models/create", "a-marked"),
                ] {
                    assert_eq!(
                        person.post(path, &json!({"name": name, "tags": listed})),
                        400,
                        "{path} {key:?}"
                    );
                }
            }
        }
    }
    for (target, thing) in [
        (format!("experiments/get?experiment_id={id}"), "experiment"),
        ("registered-models/get?name=a-marks".to_owned(), "registered_model"),
    ] {
        assert_eq!(owner(&mlflow, &target, thing).as_deref(), Some("local:tom-a"));
    }
}
