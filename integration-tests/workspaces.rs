//! MLflow's workspaces: who may use one says so in a header, and nothing of another is found through it.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST, python};

const ROLES: &str = r#"
[[role]]
name = "team-a"
groups = ["local:team-a"]
workspaces = ["space-a"]
grants = [{ permission = "USE", workspaces = ["space-a"] }, { permission = "EDIT", experiments = ["x/*"], registered_models = ["*"] }]
[[role]]
name = "team-b"
groups = ["local:team-b"]
grants = [{ permission = "USE", workspaces = ["space-b"] }, { permission = "EDIT", experiments = ["x/*"] }]
[[role]]
name = "admin"
groups = ["local:admins"]
"#;

struct Person<'a> {
    gateway: &'a Gateway,
    cookie: String,
    workspace: Option<&'a str>,
}

impl<'a> Person<'a> {
    fn new(gateway: &'a Gateway, name: &str, workspace: Option<&'a str>) -> Self {
        Self {
            gateway,
            cookie: gateway.sign_in(name),
            workspace,
        }
    }

    fn send(&self, request: Request) -> Response {
        let mut request = request
            .header("Cookie", &self.cookie)
            .header("Origin", &self.gateway.origin());
        if let Some(workspace) = self.workspace {
            request = request.header("X-MLFLOW-WORKSPACE", workspace);
        }
        self.gateway.send(&request)
    }

    fn ask(&self, path: &str, body: &Value) -> Response {
        self.send(Request::new("POST", &format!("/api/2.0/mlflow/{path}")).json(body))
    }

    fn reads(&self, experiment: &str) -> u16 {
        let target = format!("/api/2.0/mlflow/experiments/get?experiment_id={experiment}");
        self.send(Request::get(&target)).status
    }

    fn listed(&self) -> Vec<String> {
        let answer = self.ask("experiments/search", &json!({"max_results": 100}));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut names: Vec<_> = answer.json()["experiments"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

/// Past the gateway.
fn direct(mlflow: &Mlflow, path: &str, workspace: &str, body: &Value) -> Value {
    let request = Request::new("POST", path)
        .header("X-MLFLOW-WORKSPACE", workspace)
        .json(body);
    let answer = mlflow.ask(&request);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[test]
fn a_workspace_is_for_those_who_may_use_it() {
    let mlflow = Mlflow::start_with(NEWEST, &[("MLFLOW_ENABLE_WORKSPACES", "true")]);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections = ROLES.to_owned();
    let gateway = setup.start();
    let mut ids = Vec::new();
    for space in ["space-a", "space-b", "default"] {
        if space != "default" {
            let made = Request::new("POST", "/api/3.0/mlflow/workspaces").json(&json!({"name": space}));
            assert_eq!(mlflow.ask(&made).status, 201);
        }
        let made = direct(
            &mlflow,
            "/api/2.0/mlflow/experiments/create",
            space,
            &json!({"name": "x/shared-name"}),
        );
        ids.push(made["experiment_id"].as_str().unwrap().to_owned());
    }
    let tom_a = Person::new(&gateway, "tom-a", Some("space-a"));
    assert_eq!(tom_a.listed(), ["x/shared-name"]);
    assert_eq!(tom_a.reads(&ids[0]), 200);
    assert_eq!(tom_a.reads(&ids[1]), 403, "another workspace's");
    assert_eq!(tom_a.reads("987654321"), 403, "and like it, what is not there");
    let made = tom_a.ask("experiments/create", &json!({"name": "x/new"}));
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!(tom_a.ask("experiments/create", &json!({"name": "y/new"})).status, 403);
    let own = made.json()["experiment_id"].as_str().unwrap().to_owned();
    let run = tom_a.ask("runs/create", &json!({"experiment_id": own})).json();
    let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    assert_eq!(
        tom_a
            .ask(
                "runs/log-batch",
                &json!({"run_id": run, "params": [{"key": "a", "value": "1"}]})
            )
            .status,
        200
    );
    // Its files lie below the workspace, said or not.
    let file = |path: String| format!("/api/2.0/mlflow-artifacts/artifacts/{path}{own}/{run}/artifacts/a.txt");
    let put = tom_a.send(Request::new("PUT", &file("workspaces/space-a/".to_owned())).body("text/plain", "ours"));
    assert_eq!(put.status, 200, "{}", put.text());
    for (path, status) in [("", 200), ("workspaces/space-a/", 200), ("workspaces/space-b/", 403)] {
        assert_eq!(
            tom_a.send(Request::get(&file(path.to_owned()))).status,
            status,
            "{path}"
        );
    }
    // The role's grants hold in its own workspace alone, and nobody comes into one that they may not use.
    let nowhere = Person::new(&gateway, "tom-a", None);
    assert_eq!(nowhere.reads(&ids[2]), 403);
    for space in ["space-b", "default", "no-such-space"] {
        let there = Person::new(&gateway, "tom-a", Some(space));
        assert_eq!(there.reads(&ids[1]), 403, "{space}");
        assert_eq!(there.ask("experiments/search", &json!({})).status, 403, "{space}");
    }
    // A role without workspaces holds in all that its holder may use, and in the default one.
    let tom_b = Person::new(&gateway, "tom-b", Some("space-b"));
    assert_eq!((tom_b.reads(&ids[1]), tom_b.reads(&ids[0])), (200, 403));
    assert_eq!(Person::new(&gateway, "tom-b", None).reads(&ids[2]), 200);
    assert_eq!(Person::new(&gateway, "tom-b", Some("space-a")).reads(&ids[0]), 403);
    // Odd names, doubled headers, and a header that Connection would take off again.
    let ada = Person::new(&gateway, "ada", None);
    for name in ["Space-A", "space_a", "../space-a"] {
        assert_eq!(Person::new(&gateway, "ada", Some(name)).reads(&ids[0]), 400, "{name}");
    }
    let twice = Request::get("/api/2.0/mlflow/experiments/get?experiment_id=0")
        .header("X-MLFLOW-WORKSPACE", "space-a")
        .header("x-mlflow-workspace", "space-b");
    assert_eq!(ada.send(twice).status, 400);
    let underscored = Request::get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={}", ids[0]))
        .header("X_MLFLOW_WORKSPACE", "space-a");
    assert_eq!(ada.send(underscored).status, 404, "a twin of the header is not sent on");
    assert_eq!(Person::new(&gateway, "ada", Some("space-a")).reads(&ids[0]), 200);

    // MLflow's own client.
    let script = "import mlflow; print(mlflow.get_experiment_by_name('x/shared-name').experiment_id); \
                  mlflow.set_experiment('x/client'); r = mlflow.start_run(); mlflow.log_text('hello', 'a.txt'); mlflow.end_run(); \
                  print(mlflow.artifacts.load_text(r.info.artifact_uri + '/a.txt'))";
    let ran = Command::new(python(NEWEST))
        .args(["-c", script])
        .env("MLFLOW_TRACKING_URI", gateway.url())
        .env("MLFLOW_TRACKING_TOKEN", gateway.token("tom-a"))
        .env("MLFLOW_WORKSPACE", "space-a")
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(out.contains(&ids[0]) && out.contains("hello"), "{out}");
}
