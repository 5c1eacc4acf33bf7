//! Files of experiments that have a folder of their own in MLflow's store, or a place outside of it: their members reach them by
//! every route that clients use, and nobody else does.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};

const STORE: &str = "/api/2.0/mlflow-artifacts";

/// One member of a team, with a token.
struct Member<'a> {
    gateway: &'a Gateway,
    token: String,
}

/// What a member has made in one experiment.
struct Made {
    run: String,
    /// The run's folder in the store.
    files: String,
}

impl<'a> Member<'a> {
    fn new(gateway: &'a Gateway, user: &str) -> Self {
        Self {
            gateway,
            token: gateway.token(user),
        }
    }

    fn ask(&self, request: Request) -> Response {
        let bearer = format!("Bearer {}", self.token);
        self.gateway.send(&request.header("Authorization", &bearer))
    }

    fn get(&self, target: &str) -> Response {
        self.ask(Request::get(target))
    }

    fn json(&self, path: &str, body: &Value) -> Response {
        self.ask(Request::new("POST", path).json(body))
    }

    fn put(&self, path: &str) -> u16 {
        let file = Request::new("PUT", &format!("{STORE}/artifacts/{path}"));
        self.ask(file.body("text/plain", "what was noted")).status
    }

    fn made(&self, path: &str, body: &Value) -> Value {
        let made = self.json(path, body);
        assert_eq!(made.status, 200, "{path}: {}", made.text());
        made.json()
    }

    fn experiment(&self, name: &str, location: &str) -> String {
        let body = json!({"name": name, "artifact_location": location});
        let made = self.made("/api/2.0/mlflow/experiments/create", &body);
        made["experiment_id"].as_str().unwrap().to_owned()
    }

    fn run(&self, experiment: &str) -> Made {
        let run = self.made("/api/2.0/mlflow/runs/create", &json!({"experiment_id": experiment}));
        let info = &run["run"]["info"];
        let place = info["artifact_uri"].as_str().unwrap();
        Made {
            run: info["run_id"].as_str().unwrap().to_owned(),
            files: place.strip_prefix("mlflow-artifacts:/").unwrap_or(place).to_owned(),
        }
    }
}

fn gateway(mlflow: &Mlflow, roots: &[&str]) -> Gateway {
    let mut setup = Setup::new(&mlflow.url());
    setup.upstream.push_str(&format!("\nartifact_roots = {roots:?}"));
    setup.start()
}

/// By each route that names the folder itself.
fn in_its_own_folder(version: &'static str) {
    let mlflow = Mlflow::shared(version);
    let gateway = gateway(&mlflow, &["mlflow-artifacts:/teams"]);
    let (tom, other) = (Member::new(&gateway, "tom-a"), Member::new(&gateway, "tom-b"));
    let (ed, mona) = (Member::new(&gateway, "ed"), Member::new(&gateway, "mona"));
    let ours = tom.experiment("a/own folder", "mlflow-artifacts:/teams/a/own");
    let theirs = other.experiment("b/own folder", "mlflow-artifacts:/teams/b/own");
    let (mine, hidden) = (tom.run(&ours), other.run(&theirs));
    assert!(mine.files.starts_with("teams/a/own/"), "{}", mine.files);
    let file = format!("{}/deep/notes.txt", mine.files);
    assert_eq!(other.put(&file), 403);
    assert_eq!(tom.put(&file), 200, "the control");
    assert_eq!(other.put(&format!("{}/notes.txt", hidden.files)), 200, "the control");
    for target in [
        format!("{STORE}/artifacts/{file}"),
        format!("{STORE}/artifacts?path={}/deep", mine.files),
        format!("{STORE}/artifacts?path=teams/a/own/{}", mine.run),
        format!("/get-artifact?run_id={}&path=deep/notes.txt", mine.run),
        format!("/api/2.0/mlflow/artifacts/list?run_id={}&path=deep", mine.run),
    ] {
        let seen = tom.get(&target);
        assert_eq!(seen.status, 200, "{target}: {}", seen.text());
        assert_eq!(other.get(&target).status, 403, "{target}");
    }
    // Around the folders of runs there is nothing that is anybody's, nor in a place where a run's folder is not.
    for path in [
        "teams".to_owned(),
        "teams/a/own".to_owned(),
        "teams/b/own".to_owned(),
        format!("teams/b/own/{}/artifacts", mine.run),
        format!("teams/a/{}/artifacts", mine.run),
        format!("teams/a/own/{}/artifacts", hidden.run),
        format!("teams/a/own/{}/artifacts", "0".repeat(32)),
        format!("teams/a/own/{}/elsewhere", mine.run),
    ] {
        assert_eq!(tom.get(&format!("{STORE}/artifacts?path={path}")).status, 403, "{path}");
        assert_eq!(tom.put(&format!("{path}/x")), 403, "{path}");
    }
    // In parts, and by addresses of the store itself: not to be had of a store on disk, which MLflow says itself.
    for (path, body) in [
        ("create", json!({"path": "big", "num_parts": 2})),
        ("complete", json!({"path": "big", "upload_id": "x", "parts": []})),
        ("abort", json!({"path": "big", "upload_id": "x"})),
    ] {
        let target = |files: &str| format!("{STORE}/mpu/{path}/{files}");
        let passed = tom.json(&target(&mine.files), &body);
        assert!(is_mlflows(&passed), "the control: {path}: {}", passed.text());
        assert_eq!(other.json(&target(&mine.files), &body).status, 403, "{path}");
        assert_eq!(tom.json(&target(&hidden.files), &body).status, 403, "{path}");
    }
    if version == NEWEST {
        let presigned = format!("{STORE}/presigned/{file}");
        assert!(
            is_mlflows(&tom.get(&presigned)),
            "the control: {}",
            tom.get(&presigned).text()
        );
        assert_eq!(other.get(&presigned).status, 403);
        for (way, body) in [
            ("download", json!({"run_id": mine.run, "path": "deep/notes.txt"})),
            ("upload", json!({"run_id": mine.run, "path": "deep/notes.txt"})),
        ] {
            let path = format!("/api/2.0/mlflow/artifacts/presigned-{way}-url");
            let passed = tom.json(&path, &body);
            assert!(is_mlflows(&passed), "the control: {way}: {}", passed.text());
            assert_eq!(other.json(&path, &body).status, 403, "{way}");
        }
        others_than_runs(&tom, &other, &ours);
    }
    let delete = |member: &Member<'_>| {
        let gone = Request::new("DELETE", &format!("{STORE}/artifacts/{file}"));
        member.ask(gone).status
    };
    assert_eq!(delete(&other), 403);
    assert_eq!(delete(&ed), 403, "EDIT deletes nothing");
    assert_eq!(delete(&mona), 200, "the control");
}

/// The files of a logged model and of a trace.
fn others_than_runs(tom: &Member<'_>, other: &Member<'_>, experiment: &str) {
    let model = tom.made(
        "/api/2.0/mlflow/logged-models",
        &json!({"experiment_id": experiment, "name": "m"}),
    );
    let model = model["model"]["info"]["model_id"].as_str().unwrap().to_owned();
    let id = format!("tr-{}", "a7".repeat(16));
    let info = json!({"trace_id": id, "state": "OK", "request_time": "2026-01-01T00:00:00Z",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}});
    tom.made("/api/3.0/mlflow/traces", &json!({"trace": {"trace_info": info}}));
    for file in [
        format!("teams/a/own/models/{model}/artifacts/MLmodel"),
        format!("teams/a/own/traces/{id}/artifacts/traces.json"),
    ] {
        assert_eq!(other.put(&file), 403, "{file}");
        assert_eq!(tom.put(&file), 200, "the control: {file}");
        let target = format!("{STORE}/artifacts/{file}");
        assert_eq!(
            (tom.get(&target).status, other.get(&target).status),
            (200, 403),
            "{file}"
        );
    }
    let files = format!("/ajax-api/2.0/mlflow/logged-models/{model}/artifacts/files?artifact_file_path=MLmodel");
    assert_eq!((tom.get(&files).status, other.get(&files).status), (200, 403));
}

/// An answer of MLflow's own: the gateway's carry the id of the request.
fn is_mlflows(answer: &Response) -> bool {
    answer.status != 401 && !answer.text().contains("request_id")
}

#[test]
fn a_folder_of_its_own_is_its_members_alone_on_the_newest_version() {
    in_its_own_folder(NEWEST);
}

#[test]
fn a_folder_of_its_own_is_its_members_alone_on_the_oldest_version() {
    in_its_own_folder(OLDEST);
}

#[test]
fn a_place_outside_the_store_is_reached_by_the_run() {
    let mlflow = Mlflow::shared(NEWEST);
    let disk = tempfile::tempdir().unwrap();
    let root = disk.path().to_str().unwrap();
    let gateway = gateway(&mlflow, &[root]);
    let (tom, other) = (Member::new(&gateway, "tom-a"), Member::new(&gateway, "tom-b"));
    let outside = json!({"name": "a/not in a root", "artifact_location": "/tmp/not a root"});
    assert_eq!(tom.json("/api/2.0/mlflow/experiments/create", &outside).status, 403);
    let mine = tom.run(&tom.experiment("a/on disk", &format!("{root}/a")));
    // Clients write there by themselves.
    std::fs::create_dir_all(&mine.files).unwrap();
    std::fs::write(format!("{}/notes.txt", mine.files), "what was noted").unwrap();
    for target in [
        format!("/get-artifact?run_id={}&path=notes.txt", mine.run),
        format!("/api/2.0/mlflow/artifacts/list?run_id={}", mine.run),
    ] {
        let seen = tom.get(&target);
        assert!(
            seen.status == 200 && seen.text().contains("note"),
            "{target}: {}",
            seen.text()
        );
        assert_eq!(other.get(&target).status, 403, "{target}");
    }
    let upload = format!("/ajax-api/2.0/mlflow/upload-artifact?run_id={}&path=more.txt", mine.run);
    let upload = |member: &Member<'_>| {
        let file = Request::new("POST", &upload).body("text/plain", "more");
        member.ask(file).status
    };
    assert_eq!((upload(&other), upload(&tom)), (403, 200));
    assert_eq!(
        std::fs::read_to_string(format!("{}/more.txt", mine.files)).unwrap(),
        "more"
    );
}

#[test]
fn a_version_cannot_be_pointed_into_somebody_elses_run() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = gateway(&mlflow, &["mlflow-artifacts:/versions"]);
    let (tom, other) = (Member::new(&gateway, "tom-a"), Member::new(&gateway, "tom-b"));
    let mine = tom.run(&tom.experiment("a/versions", "mlflow-artifacts:/versions/a"));
    let theirs = other.run(&other.experiment("b/versions", "mlflow-artifacts:/versions/b"));
    for run in [&mine, &theirs] {
        let member = if run.run == mine.run { &tom } else { &other };
        assert_eq!(member.put(&format!("{}/model/MLmodel", run.files)), 200);
    }
    tom.made(
        "/api/2.0/mlflow/registered-models/create",
        &json!({"name": "a-versions"}),
    );
    let create = |source: &str, run: Option<&str>| {
        let body = json!({"name": "a-versions", "source": source, "run_id": run});
        tom.json("/api/2.0/mlflow/model-versions/create", &body)
    };
    let source = |made: &Made| format!("mlflow-artifacts:/{}/model", made.files);
    let made = create(&source(&mine), Some(&mine.run));
    assert_eq!(made.status, 200, "the control: {}", made.text());
    for (place, run) in [
        (source(&theirs), Some(mine.run.as_str())),
        (source(&theirs), Some(theirs.run.as_str())),
        (source(&theirs), None),
        (source(&mine), Some(theirs.run.as_str())),
        (format!("runs:/{}/model", theirs.run), None),
        (
            format!(
                "mlflow-artifacts:/{}/../../../b/{}/artifacts/model",
                mine.files, theirs.run
            ),
            Some(mine.run.as_str()),
        ),
        ("/etc".to_owned(), Some(mine.run.as_str())),
    ] {
        let refused = create(&place, run);
        assert!(
            matches!(refused.status, 400 | 403) && !is_mlflows(&refused),
            "{place}: {}",
            refused.text()
        );
    }
}
