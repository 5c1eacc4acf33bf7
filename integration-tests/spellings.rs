//! Every second spelling that MLflow would take for the first, asked of a real MLflow through the gateway by somebody who may
//! touch experiment `a/…` and not `b/…`: none passes, and the plain spelling does.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{Mlflow, NEWEST};

struct Scene {
    gateway: Gateway,
    cookie: String,
    mine: Place,
    theirs: Place,
}

pub(crate) struct Place {
    pub(crate) experiment: String,
    pub(crate) run: String,
}

/// An experiment with a run that has a file.
pub(crate) fn make(mlflow: &Mlflow, name: &str) -> Place {
    let post = |path: &str, body: Value| mlflow.ask(&Request::new("POST", path).json(&body)).json();
    let experiment = post("/api/2.0/mlflow/experiments/create", json!({"name": name}))["experiment_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let run = post(
        "/api/2.0/mlflow/runs/create",
        json!({"experiment_id": experiment, "start_time": 1}),
    );
    let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let file = format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/f.txt");
    assert_eq!(
        mlflow
            .ask(&Request::new("PUT", &file).body("text/plain", "secret"))
            .status,
        200
    );
    Place { experiment, run }
}

impl Scene {
    fn new(mlflow: &Mlflow) -> Self {
        let gateway = Setup::new(&mlflow.url()).start();
        let cookie = gateway.sign_in("tom-a");
        Self {
            mine: make(mlflow, "a/spelt"),
            theirs: make(mlflow, "b/spelt"),
            gateway,
            cookie,
        }
    }

    fn ask(&self, request: &Request) -> Response {
        self.gateway.send(
            &request
                .clone()
                .header("Cookie", &self.cookie)
                .header("Origin", &self.gateway.origin()),
        )
    }

    fn get(&self, target: &str) -> u16 {
        self.ask(&Request::get(target)).status
    }

    fn tag(&self, body: &[u8], content_type: &str) -> u16 {
        self.ask(&Request::new("POST", "/api/2.0/mlflow/runs/set-tag").body(content_type, body))
            .status
    }
}

/// Targets that MLflow would take for plainer ones of `theirs`, or of `mine` in a second spelling; and the empty ones beside them.
pub(crate) fn odd_targets(mine: &Place, theirs: &Place) -> Vec<String> {
    let run = &mine.run;
    let mut all = vec![
        format!("/%61pi/2.0/mlflow/runs/get?run_id={run}"),
        format!("/api%2f2.0/mlflow/runs/get?run_id={run}"),
        format!("/api/2.0/mlflow/runs%2Fget?run_id={run}"),
        format!("/api/2.0/mlflow/runs/g%65t?run_id={run}"),
        format!("//api/2.0/mlflow/runs/get?run_id={run}"),
        format!("/api/2.0//mlflow/runs/get?run_id={run}"),
        format!("/api/2.0/mlflow/runs/get/?run_id={run}"),
        format!("/api/2.0/mlflow/runs/get;x=1?run_id={run}"),
        format!("/api/2.0/mlflow/x/../runs/get?run_id={run}"),
        format!("/api/2.0/mlflow/./runs/get?run_id={run}"),
        format!("/api/2.0/mlflow/x/%2e%2e/runs/get?run_id={run}"),
        format!("/API/2.0/mlflow/runs/get?run_id={run}"),
        format!("/api/3.0/mlflow/runs/get?run_id={run}"),
        format!("/api/2.0/preview/mlflow/runs/get?run_id={run}"),
        format!("/api/2.0/mlflow/runs/get?run_id={run}&run_id={}", theirs.run),
        format!("/api/2.0/mlflow/runs/get?run_id={run}&run_uuid={}", theirs.run),
        "/api/2.0/mlflow/runs/get?run_id=".to_owned(),
        format!("/api/2.0/mlflow/runs/get?run%5fid={run}"),
    ];
    let file = |path: &str| format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
    let (id, path) = (&theirs.experiment, format!("{}/artifacts/f.txt", theirs.run));
    let files = [
        format!("{id}/{path}"),
        format!("%3{id}/{path}"),
        format!("%253{id}/{path}"),
        format!("%25253{id}/{path}"),
        format!("{id}%2f{path}"),
        format!("{id}%252f{path}"),
        format!("./{id}/{path}"),
        format!("{}/../{id}/{path}", mine.experiment),
        format!("{}/%2e%2e/{id}/{path}", mine.experiment),
        format!("{id}//{path}"),
        format!("%20{id}/{path}"),
        format!("{id}/./{path}"),
        format!("{}/{path}", mine.experiment),
        format!("workspaces/default/{id}/{path}"),
        format!("file:/{id}/{path}"),
    ];
    all.extend(files.iter().map(|spelt| file(spelt)));
    let queries = [
        "?path=.",
        "?path=..",
        &format!("?path={id}"),
        &format!("?path=%25{id}"),
        "?path=%2531",
    ];
    all.extend(
        queries
            .iter()
            .map(|query| format!("/api/2.0/mlflow-artifacts/artifacts{query}")),
    );
    all
}

#[test]
fn no_second_spelling_of_a_path_passes() {
    let mlflow = Mlflow::start(NEWEST);
    let scene = Scene::new(&mlflow);
    let (mine, theirs) = (&scene.mine, &scene.theirs);
    let run = &mine.run;
    assert_eq!(
        scene.get(&format!("/api/2.0/mlflow/runs/get?run_id={run}")),
        200,
        "the control"
    );
    for target in odd_targets(mine, theirs) {
        let status = scene.get(&target);
        assert!(matches!(status, 400 | 403), "{target}: {status}");
    }
    let file = |path: &str| format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
    assert_eq!(
        scene.get(&file(&format!("{}/{run}/artifacts/f.txt", mine.experiment))),
        200,
        "the control"
    );
    for method in ["get", "Get", "HEAD"] {
        let status = scene
            .ask(&Request::new(method, &format!("/api/2.0/mlflow/runs/get?run_id={run}")))
            .status;
        assert!(matches!(status, 400 | 403 | 405), "{method}: {status}");
    }
}

#[test]
fn no_second_spelling_of_an_id_passes() {
    let mlflow = Mlflow::start(NEWEST);
    let scene = Scene::new(&mlflow);
    let id = &scene.mine.experiment;
    let get = |id: &str| scene.get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={id}"));
    assert_eq!(get(id), 200, "the control");
    for spelt in [
        format!("%20{id}"),
        format!("{id}%20"),
        format!("0{id}"),
        format!("+{id}"),
        format!("%2B{id}"),
        format!("{id}%0A"),
    ] {
        assert_eq!(get(&spelt), 400, "{spelt}");
    }
    for spelt in ["0_1", "%D9%A1", "%EF%BC%91", "1.0", "0x1", ""] {
        assert_eq!(get(spelt), 400, "{spelt}");
    }
}

#[test]
fn no_second_reading_of_a_body_passes() {
    let mlflow = Mlflow::start(NEWEST);
    let scene = Scene::new(&mlflow);
    let (mine, theirs) = (&scene.mine.run, &scene.theirs.run);
    let plain = json!({"run_id": mine, "key": "k", "value": "v"}).to_string();
    let json_type = "application/json";
    assert_eq!(scene.tag(plain.as_bytes(), json_type), 200, "the control");
    let camel = json!({"runId": mine, "key": "k", "value": "v"}).to_string();
    // MLflow asks for `run_id` by that name here; what counts is that the decision saw whose run it is.
    let own = scene.ask(&Request::new("POST", "/api/2.0/mlflow/runs/set-tag").body(json_type, camel));
    assert!(
        own.status != 403 && own.json().get("request_id").is_none(),
        "MLflow's own answer: {}",
        own.text()
    );
    assert_eq!(
        scene.tag(
            json!({"runId": theirs, "key": "k", "value": "v"})
                .to_string()
                .as_bytes(),
            json_type
        ),
        403
    );
    let utf16: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut with_bom = b"\xef\xbb\xbf".to_vec();
    with_bom.extend_from_slice(plain.as_bytes());
    let twice = Value::String(plain.clone()).to_string();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        (
            "a key twice",
            format!(r#"{{"run_id":"{mine}","run_id":"{theirs}","key":"k","value":"v"}}"#).into(),
        ),
        (
            "a key twice, escaped",
            format!(r#"{{"run_id":"{mine}","run\u005fid":"{theirs}","key":"k","value":"v"}}"#).into(),
        ),
        (
            "both spellings",
            format!(r#"{{"run_id":"{mine}","runId":"{theirs}","key":"k","value":"v"}}"#).into(),
        ),
        (
            "both names",
            format!(r#"{{"run_id":"{mine}","run_uuid":"{theirs}","key":"k","value":"v"}}"#).into(),
        ),
        ("JSON in JSON", twice.into()),
        ("UTF-16", utf16),
        ("a byte order mark", with_bom),
        (
            "NaN",
            format!(r#"{{"run_id":"{mine}","key":"k","value":"v","n":NaN}}"#).into(),
        ),
        (
            "a lone surrogate",
            format!(r#"{{"run_id":"{mine}","key":"k","value":"\ud800"}}"#).into(),
        ),
        ("a list", format!("[{plain}]").into()),
        ("nothing", Vec::new()),
        (
            "an id that is a number",
            br#"{"run_id":1,"key":"k","value":"v"}"#.to_vec(),
        ),
        (
            "an id that is a list",
            format!(r#"{{"run_id":["{theirs}"],"key":"k","value":"v"}}"#).into(),
        ),
        ("two bodies", format!("{plain}{plain}").into()),
    ];
    for (what, body) in bodies {
        assert_eq!(scene.tag(&body, json_type), 400, "{what}");
    }
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        assert_eq!(scene.tag(plain.as_bytes(), other), 400, "{other}");
    }
    let packed = scene.ask(
        &Request::new("POST", "/api/2.0/mlflow/runs/set-tag")
            .body(json_type, plain.as_str())
            .header("Content-Encoding", "gzip"),
    );
    assert_eq!(packed.status, 400, "a packed body");
    let hidden = Request::get("/api/2.0/mlflow/runs/get").body(json_type, json!({"run_id": theirs}).to_string());
    assert_eq!(scene.ask(&hidden).status, 400, "a GET with its fields in a body");
    let document =
        json!({"query": "query { mlflowGetRun(input: {runId: \"x\"}) { run { info { runId } } } }"}).to_string();
    for method in ["GET", "HEAD"] {
        let asked = scene.ask(&Request::new(method, "/graphql").body(json_type, document.as_str()));
        assert!(matches!(asked.status, 400 | 403), "{method} /graphql: {}", asked.status);
    }
    let seen = mlflow
        .ask(&Request::get(&format!("/api/2.0/mlflow/runs/get?run_id={theirs}")))
        .json();
    assert!(
        seen["run"]["data"]
            .get("tags")
            .is_none_or(|tags| !tags.to_string().contains("\"k\"")),
        "nothing was changed: {seen}"
    );
}

#[test]
fn what_one_may_not_touch_is_not_reached_from_beside() {
    let mlflow = Mlflow::start(NEWEST);
    let scene = Scene::new(&mlflow);
    let (mine, theirs) = (&scene.mine, &scene.theirs);
    let post = |path: &str, body: Value| scene.ask(&Request::new("POST", path).json(&body)).status;
    let model = json!({"name": "a-model"});
    assert_eq!(post("/api/2.0/mlflow/registered-models/create", model), 200);
    let version = |source: String, run: &str| {
        post(
            "/api/2.0/mlflow/model-versions/create",
            json!({"name": "a-model", "source": source, "run_id": run}),
        )
    };
    assert_eq!(
        version(format!("runs:/{}/model", mine.run), &mine.run),
        200,
        "the control"
    );
    for source in [
        format!("runs:/{}/model", theirs.run),
        format!("mlflow-artifacts:/{}/{}/artifacts/model", theirs.experiment, theirs.run),
        "file:///etc".to_owned(),
        "/etc".to_owned(),
        "s3://bucket/model".to_owned(),
        format!("runs:/{}/../{}/artifacts", mine.run, theirs.run),
    ] {
        let status = version(source.clone(), &mine.run);
        assert!(matches!(status, 400 | 403), "{source}: {status}");
    }
    assert_eq!(version(format!("runs:/{}/model", mine.run), &theirs.run), 403);
    let create = |location: &str| {
        post(
            "/api/2.0/mlflow/experiments/create",
            json!({"name": format!("a/{}", location.len()), "artifact_location": location}),
        )
    };
    for location in [
        "/tmp/elsewhere",
        "file:///tmp/elsewhere2",
        "s3://bucket/x",
        "mlflow-artifacts:/1/x",
    ] {
        assert_eq!(create(location), 403, "{location}");
    }
    let metric = |model: Option<&str>| {
        post(
            "/api/2.0/mlflow/runs/log-batch",
            json!({"run_id": mine.run, "metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 0, "model_id": model}]}),
        )
    };
    assert_eq!(metric(None), 200, "the control");
    assert_eq!(metric(Some(&format!("m-{}", theirs.run))), 403);
    let spans = |experiment: &str, run: Option<&str>| {
        let mut request = Request::new("POST", "/v1/traces")
            .body("application/x-protobuf", Vec::new())
            .header("x-mlflow-experiment-id", experiment);
        if let Some(run) = run {
            request = request.header("x-mlflow-run-id", run);
        }
        scene.ask(&request).status
    };
    assert_ne!(spans(&mine.experiment, Some(&mine.run)), 403, "the control");
    assert_eq!(spans(&theirs.experiment, None), 403);
    assert_eq!(spans(&mine.experiment, Some(&theirs.run)), 403);
    let tag = |key: &str| {
        post(
            "/api/2.0/mlflow/registered-models/set-tag",
            json!({"name": "a-model", "key": key, "value": "true"}),
        )
    };
    assert_eq!(tag("plain"), 200, "the control");
    for key in ["mlflow.prompt.is_prompt", " MLflow.Prompt.Is_Prompt ", "mlgate.owner"] {
        assert_eq!(tag(key), 400, "{key}");
    }
}
