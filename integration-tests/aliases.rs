//! Protected aliases: what points at the model in production moves for those who may, on every way that moves it.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};

const PROTECTED: &str = r#"
[[protected_alias]]
registered_models = ["live-*"]
aliases = ["production"]
stages = ["Production"]
"#;

struct Person<'a> {
    gateway: &'a Gateway,
    cookie: String,
}

impl<'a> Person<'a> {
    fn new(gateway: &'a Gateway, name: &str) -> Self {
        Self {
            gateway,
            cookie: gateway.sign_in(name),
        }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Response {
        self.gateway.send(
            &Request::new(method, &format!("/api/2.0/mlflow/{path}"))
                .header("Cookie", &self.cookie)
                .header("Origin", &self.gateway.origin())
                .json(body),
        )
    }

    /// The status.
    fn does(&self, method: &str, path: &str, body: Value) -> u16 {
        self.ask(method, path, &body).status
    }

    fn sets(&self, model: &str, alias: &str) -> u16 {
        let body = json!({"name": model, "alias": alias, "version": "1"});
        self.does("POST", "registered-models/alias", body)
    }

    fn brings(&self, model: &str, stage: &str) -> u16 {
        let body = json!({"name": model, "version": "1", "stage": stage, "archive_existing_versions": false});
        self.does("POST", "model-versions/transition-stage", body)
    }

    fn renames(&self, old: &str, new: &str) -> u16 {
        self.does(
            "POST",
            "registered-models/rename",
            json!({"name": old, "new_name": new}),
        )
    }
}

/// A model with one version, of nobody's making.
fn model(mlflow: &Mlflow, name: &str) {
    for (path, body) in [
        ("registered-models/create", json!({"name": name})),
        (
            "model-versions/create",
            json!({"name": name, "source": "s3://bucket/x"}),
        ),
    ] {
        let made = mlflow.ask(&Request::new("POST", &format!("/api/2.0/mlflow/{path}")).json(&body));
        assert_eq!(made.status, 200, "{}", made.text());
    }
}

fn moving_needs_manage(version: &'static str) {
    let mlflow = Mlflow::shared(version);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections += PROTECTED;
    let gateway = setup.start();
    let [ed, mona] = ["ed", "mona"].map(|name| Person::new(&gateway, name));
    for name in ["live-a", "other-a", "live-staged", "other-staged"] {
        model(&mlflow, name);
    }
    // Aliases, in every spelling that a database may take for the same.
    for alias in ["production", "Production", "PRODUCTION"] {
        assert_eq!(ed.sets("live-a", alias), 403, "{alias}");
    }
    assert_eq!(ed.sets("live-a", "candidate"), 200, "another alias");
    assert_eq!(ed.sets("other-a", "production"), 200, "another model");
    assert_eq!(mona.sets("live-a", "production"), 200);
    let off = json!({"name": "live-a", "alias": "production"});
    assert_eq!(ed.does("DELETE", "registered-models/alias", off.clone()), 403);
    // Under a new name it would be gone; and here it would come to one that is protected.
    assert_eq!(ed.renames("live-a", "away-a"), 403);
    assert_eq!(ed.renames("other-a", "live-b"), 403);
    let gone = json!({"name": "live-a", "version": "1"});
    assert_eq!(ed.does("DELETE", "model-versions/delete", gone), 403);
    assert_eq!(mona.does("DELETE", "registered-models/alias", off), 200);
    assert_eq!(ed.renames("live-a", "away-a"), 200, "it bears nothing any more");
    assert_eq!(mona.renames("other-a", "live-b"), 200);
    // Stages.
    for stage in ["Production", "production"] {
        assert_eq!(ed.brings("live-staged", stage), 403, "{stage}");
    }
    assert_eq!(ed.brings("live-staged", "Staging"), 200);
    assert_eq!(mona.brings("live-staged", "Production"), 200);
    assert_eq!(ed.brings("live-staged", "Archived"), 403, "out of it");
    assert_eq!(ed.renames("live-staged", "away-staged"), 403);
    assert_eq!(ed.brings("other-staged", "Production"), 200, "another model");
    assert_eq!(ed.renames("other-staged", "live-other"), 403);
}

#[test]
fn moving_a_protected_alias_needs_manage_on_the_newest_version() {
    moving_needs_manage(NEWEST);
}

#[test]
fn moving_a_protected_alias_needs_manage_on_the_oldest_version() {
    moving_needs_manage(OLDEST);
}

#[test]
fn explain_tells_of_a_protected_alias() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections += PROTECTED;
    let gateway = setup.start();
    model(&mlflow, "live-explained");
    let body = gateway.setup.path("alias.json");
    std::fs::write(
        &body,
        r#"{"name": "live-explained", "alias": "production", "version": "1"}"#,
    )
    .unwrap();
    let body = body.to_str().unwrap();
    for (user, code) in [("ed", 3), ("mona", 0)] {
        let told = gateway.mlgate(&[
            "explain",
            "--user",
            user,
            "--json",
            "--body",
            body,
            "POST",
            "/api/2.0/mlflow/registered-models/alias",
        ]);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(code), "{text}");
        assert!(text.contains("MANAGE"), "{text}");
    }
}
