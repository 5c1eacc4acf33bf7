//! Lists of two teams on real MLflow servers: each team walks through exactly its own, in order, on full pages; and ids
//! are looked up and storage weighed as MLflow really answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use mlgate::config;
use mlgate::domain::{Access, Kind, Permission, Resource, SystemClock};
use mlgate::mlflow::listing::{Cut, Plan};
use mlgate::mlflow::lookup::{Child, Lookup};
use mlgate::mlflow::{MlflowError, Outgoing, OutgoingBody, sources};
use mlgate::outbound::UpstreamClient;
use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};

const SIZES: [usize; 4] = [1, 2, 3, 7];

/// One team's view of one server.
pub(super) struct Team {
    server: Arc<Mlflow>,
    client: Arc<UpstreamClient>,
    pub(super) lookup: Arc<Lookup>,
}

impl Team {
    pub(super) fn on(server: &Arc<Mlflow>) -> Self {
        let config = config::Upstream {
            name: "production".into(),
            hosts: Vec::new(),
            url: server.url().parse().unwrap(),
            mlflow_version: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            basic_auth: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            attribution: true,
            sharing: true,
            artifact_roots: Vec::new(),
            assistant: false,
            protected_aliases: Arc::default(),
        };
        let client = Arc::new(UpstreamClient::new(&config).unwrap());
        Self {
            server: server.clone(),
            lookup: Arc::new(Lookup::new(client.clone(), Arc::new(SystemClock))),
            client,
        }
    }

    /// What MLflow itself answers to a change, which must succeed.
    pub(super) fn make(&self, path: &str, body: &Value) -> Value {
        let answer = self.server.ask(&Request::new("POST", path).json(body));
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }

    pub(super) async fn cut(&self, plan: &Plan, outgoing: &Outgoing, prefix: &str) -> Value {
        match plan.cut(&self.client, outgoing, &may(prefix)).await.unwrap() {
            Cut::Answer(StatusCode::OK, body) => serde_json::from_slice(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The names on all pages, each page checked to be full.
    async fn walk(&self, plan: &Plan, path: &str, fields: &Value, size: usize, prefix: &str, rows: &str) -> Vec<Value> {
        let (mut walked, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut fields = fields.clone();
            fields["max_results"] = json!(size);
            if let Some(token) = &token {
                fields["page_token"] = json!(token);
            }
            let asked = match path.strip_prefix("GET ") {
                Some(path) => get(path, &fields),
                None => post(path, &fields),
            };
            let page = self.cut(plan, &asked, prefix).await;
            let found = page[rows].as_array().cloned().unwrap_or_default();
            token = page["next_page_token"].as_str().map(str::to_owned);
            assert!(
                found.len() <= size && (token.is_none() || found.len() == size),
                "{page}"
            );
            walked.extend(found);
            if token.is_none() {
                return walked;
            }
        }
    }
}

/// READ on whatever has the prefix, and on nothing as a whole.
fn may(prefix: &str) -> impl Fn(Permission, &Resource) -> bool + use<> {
    let prefix = prefix.to_owned();
    move |permission, resource| {
        permission == Permission::Read && resource.name().is_some_and(|name| name.starts_with(&prefix))
    }
}

fn everything(_: Permission, _: &Resource) -> bool {
    true
}

fn get(path: &str, fields: &Value) -> Outgoing {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in fields.as_object().unwrap() {
        for value in value.as_array().unwrap_or(&vec![value.clone()]) {
            query.append_pair(key, &value.as_str().map_or(value.to_string(), str::to_owned));
        }
    }
    Outgoing {
        method: Method::GET,
        target: format!("{path}?{}", query.finish()),
        body: OutgoingBody::Empty,
    }
}

pub(super) fn post(path: &str, fields: &Value) -> Outgoing {
    Outgoing {
        method: Method::POST,
        target: path.to_owned(),
        body: OutgoingBody::Bytes(Bytes::from(fields.to_string())),
    }
}

pub(super) fn names(rows: &[Value], pointer: &str) -> Vec<String> {
    rows.iter()
        .map(|row| row.pointer(pointer).unwrap().as_str().unwrap().to_owned())
        .collect()
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

fn experiments_walk(version: &'static str) {
    let team = Team::on(&Mlflow::shared(version));
    let mut mine = Vec::new();
    for index in 0..17 {
        // Blocks of hidden ones, single ones, and both ends.
        let side = if index % 5 < 2 || index > 13 { "b" } else { "a" };
        let name = format!("lists-{side}/é {index} 'x' & y");
        team.make("/api/2.0/mlflow/experiments/create", &json!({ "name": name }));
        if side == "a" {
            mine.push(name);
        }
    }
    run(async {
        let plan = Plan::experiments();
        let order = json!({ "order_by": ["creation_time ASC"], "filter": "name LIKE 'lists-%'" });
        for size in SIZES {
            for path in [
                "/api/2.0/mlflow/experiments/search",
                "GET /ajax-api/2.0/mlflow/experiments/search",
            ] {
                let found = team.walk(&plan, path, &order, size, "lists-a/", "experiments").await;
                assert_eq!(names(&found, "/name"), mine, "{path} {size}");
            }
        }
        let path = "/api/2.0/mlflow/experiments/search";
        assert_eq!(
            team.walk(&plan, path, &order, 3, "nobody/", "experiments").await,
            [] as [Value; 0]
        );
        // A token from MLflow itself, and one of ours for whoever sees all.
        let all = team.make(
            path,
            &json!({ "max_results": 4, "order_by": ["creation_time ASC"], "filter": "name LIKE 'lists-%'" }),
        );
        let on = json!({ "order_by": ["creation_time ASC"], "filter": "name LIKE 'lists-%'", "page_token": all["next_page_token"], "max_results": 100 });
        let rest = team.cut(&plan, &post(path, &on), "lists-a/").await;
        assert_eq!(names(rest["experiments"].as_array().unwrap(), "/name"), mine[2..]);
        let ours = json!({ "page_token": "mlgate.2.", "max_results": 2, "order_by": ["creation_time ASC"], "filter": "name LIKE 'lists-%'" });
        let Cut::Answer(_, body) = plan.cut(&team.client, &post(path, &ours), &everything).await.unwrap() else {
            panic!("a token of ours is not MLflow's");
        };
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap()["experiments"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        let untouched = plan
            .cut(&team.client, &post(path, &json!({ "max_results": 5 })), &everything)
            .await
            .unwrap();
        assert!(matches!(untouched, Cut::Forward(_)));
        // What MLflow refuses, it refuses itself; what we cannot read, we do.
        let wrong = post(path, &json!({ "max_results": 5, "filter": "nonsense" }));
        let refused = plan.cut(&team.client, &wrong, &may("lists-a/")).await.unwrap();
        assert!(
            matches!(refused, Cut::Answer(StatusCode::BAD_REQUEST, _)),
            "{refused:?}"
        );
        for fields in [
            json!({ "max_results": 0 }),
            json!({ "max_results": 5, "page_token": "mlgate.x" }),
        ] {
            let refused = plan.cut(&team.client, &post(path, &fields), &may("lists-a/")).await;
            assert!(matches!(refused, Err(MlflowError::Malformed(_))), "{refused:?}");
        }
    });
}

#[test]
fn each_team_walks_through_its_experiments_on_mlflow_3() {
    experiments_walk(NEWEST);
}

#[test]
fn each_team_walks_through_its_experiments_on_mlflow_2() {
    experiments_walk(OLDEST);
}

fn models_walk(version: &'static str) {
    let team = Team::on(&Mlflow::shared(version));
    let (mut models, mut versions) = (Vec::new(), Vec::new());
    for index in 10..22 {
        let side = if index % 3 == 0 { "b" } else { "a" };
        let prompt = index % 4 == 0;
        let name = format!("lists-{side}-{index} & é");
        let tags = if prompt {
            json!([{ "key": "mlflow.prompt.is_prompt", "value": "true" }])
        } else {
            json!([])
        };
        team.make(
            "/api/2.0/mlflow/registered-models/create",
            &json!({ "name": name, "tags": tags }),
        );
        team.make(
            "/api/2.0/mlflow/model-versions/create",
            &json!({ "name": name, "source": if prompt { "dummy-source" } else { "s3://bucket/x" }, "tags": tags }),
        );
        if side == "a" && !prompt {
            models.push(name.clone());
        }
        versions.push((name, side, prompt));
    }
    let only_models = |permission, resource: &Resource| {
        resource.kind == Kind::RegisteredModel && may("lists-a-")(permission, resource)
    };
    run(async {
        let order = json!({ "order_by": ["name ASC"] });
        for size in SIZES {
            let path = "GET /api/2.0/mlflow/registered-models/search";
            let found = team
                .walk(
                    &Plan::registered_models(),
                    path,
                    &order,
                    size,
                    "lists-a-",
                    "registered_models",
                )
                .await;
            assert_eq!(names(&found, "/name"), models, "{size}");
            let path = "GET /api/2.0/mlflow/model-versions/search";
            let plan = Plan::model_versions(team.lookup.clone());
            let found = team.walk(&plan, path, &order, size, "lists-a-", "model_versions").await;
            let mine: Vec<&String> = versions
                .iter()
                .filter(|one| one.1 == "a" && !one.2)
                .map(|one| &one.0)
                .collect();
            let found = names(&found, "/name");
            assert_eq!(found.iter().filter(|name| mine.contains(name)).count(), mine.len());
            assert!(found.iter().all(|name| name.starts_with("lists-a-")));
        }
        let prompts = get(
            "/api/2.0/mlflow/registered-models/search",
            &json!({ "filter": "tags.`mlflow.prompt.is_prompt` = 'true'", "max_results": 100 }),
        );
        let count = |body: &Value| body["registered_models"].as_array().map_or(0, Vec::len);
        assert_eq!(
            count(&team.cut(&Plan::registered_models(), &prompts, "lists-a-").await),
            2
        );
        let Cut::Answer(_, body) = Plan::registered_models()
            .cut(&team.client, &prompts, &only_models)
            .await
            .unwrap()
        else {
            panic!("an answer");
        };
        assert_eq!(body, "{}");
        let all = get("/api/2.0/mlflow/model-versions/search", &json!({}));
        let plan = Plan::model_versions(team.lookup.clone());
        let Cut::Answer(_, body) = plan.cut(&team.client, &all, &only_models).await.unwrap() else {
            panic!("an answer");
        };
        let found = serde_json::from_slice::<Value>(&body).unwrap();
        let mut found = names(found["model_versions"].as_array().unwrap(), "/name");
        found.sort();
        assert_eq!(found, models);
        let named = team.lookup.model(&models[0]).await.unwrap().unwrap();
        assert!(!named.prompt && named.name == models[0]);
        assert_eq!(team.lookup.model("lists-none").await.unwrap(), None);
    });
}

#[test]
fn each_team_walks_through_its_models_and_prompts_on_mlflow_3() {
    models_walk(NEWEST);
}

#[test]
fn each_team_walks_through_its_models_and_prompts_on_mlflow_2() {
    models_walk(OLDEST);
}

/// Two experiments, of two teams, with a run and a trace each.
pub(super) struct Pair {
    pub(super) ids: [String; 2],
    pub(super) runs: [String; 2],
    traces: [String; 2],
}

pub(super) fn pair(team: &Team, what: &str) -> Pair {
    let made = ["a", "b"].map(|side| {
        let name = format!("{what}-{side}/1");
        let id = team.make("/api/2.0/mlflow/experiments/create", &json!({ "name": name }))["experiment_id"].clone();
        let run = team.make("/api/2.0/mlflow/runs/create", &json!({ "experiment_id": id }));
        let trace = json!({ "experiment_id": id, "timestamp_ms": 1, "status": "OK" });
        let trace = team.make("/api/2.0/mlflow/traces", &trace)["trace_info"]["request_id"].clone();
        [id, run["run"]["info"]["run_id"].clone(), trace].map(|text| text.as_str().unwrap().to_owned())
    });
    let [[a, run_a, trace_a], [b, run_b, trace_b]] = made;
    Pair {
        ids: [a, b],
        runs: [run_a, run_b],
        traces: [trace_a, trace_b],
    }
}

fn searches_leave_out(version: &'static str) {
    let team = Team::on(&Mlflow::shared(version));
    let pair = pair(&team, "scoped");
    let ids = json!({ "experiment_ids": pair.ids, "max_results": 10 });
    run(async {
        let (path, mine) = ("/api/2.0/mlflow/runs/search", "scoped-a/");
        let plan = Plan::runs(team.lookup.clone());
        let found = team.cut(&plan, &post(path, &ids), mine).await;
        assert_eq!(names(found["runs"].as_array().unwrap(), "/info/run_id"), pair.runs[..1]);
        let both = team.cut(&plan, &post(path, &ids), "scoped-").await;
        assert_eq!(both["runs"].as_array().unwrap().len(), 2);
        for nothing in [
            json!({ "experiment_ids": [pair.ids[1], "987654"] }),
            json!({}),
            json!({ "experiment_ids": [] }),
        ] {
            assert_eq!(team.cut(&plan, &post(path, &nothing), mine).await, json!({}));
        }
        let traces = Plan::traces_v2(team.lookup.clone());
        let found = team.cut(&traces, &get("/api/2.0/mlflow/traces", &ids), mine).await;
        assert_eq!(
            names(found["traces"].as_array().unwrap(), "/request_id"),
            pair.traces[..1]
        );
        if version == NEWEST {
            let place = |id: &str| json!({ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": id } });
            let body = json!({ "locations": [place(&pair.ids[0]), place(&pair.ids[1])] });
            let traces = Plan::traces_v3(team.lookup.clone());
            let found = team
                .cut(&traces, &post("/api/3.0/mlflow/traces/search", &body), mine)
                .await;
            assert_eq!(
                names(found["traces"].as_array().unwrap(), "/trace_id"),
                pair.traces[..1]
            );
            for id in &pair.ids {
                team.make(
                    "/api/2.0/mlflow/logged-models",
                    &json!({ "experiment_id": id, "name": "m" }),
                );
            }
            let models = Plan::logged_models(team.lookup.clone());
            let found = team
                .cut(&models, &post("/api/2.0/mlflow/logged-models/search", &ids), mine)
                .await;
            assert_eq!(
                names(found["models"].as_array().unwrap(), "/info/experiment_id"),
                pair.ids[..1]
            );
        }
        let many: Vec<String> = (0..150)
            .map(|index| (900_000 + index).to_string())
            .chain(pair.ids.clone())
            .collect();
        let found = team
            .cut(&plan, &post(path, &json!({ "experiment_ids": many })), mine)
            .await;
        assert_eq!(found["runs"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_search_leaves_out_what_is_hidden_on_mlflow_3() {
    searches_leave_out(NEWEST);
}

#[test]
fn a_search_leaves_out_what_is_hidden_on_mlflow_2() {
    searches_leave_out(OLDEST);
}

fn ids_are_looked_up(version: &'static str) {
    let team = Team::on(&Mlflow::shared(version));
    let pair = pair(&team, "looked-up");
    run(async {
        let lookup = &team.lookup;
        for index in 0..2 {
            let found = lookup
                .experiment_of(Child::Run, &pair.runs[index])
                .await
                .unwrap()
                .unwrap();
            assert_eq!(found.id, pair.ids[index]);
            let found = lookup
                .experiment_of(Child::Trace, &pair.traces[index])
                .await
                .unwrap()
                .unwrap();
            assert_eq!(found.id, pair.ids[index]);
        }
        let found = lookup.experiment_named("looked-up-a/1").await.unwrap().unwrap();
        assert_eq!(found.id, pair.ids[0]);
        let padded = format!("0{}", pair.ids[0]);
        for unknown in ["987654", padded.as_str(), " 1", "", "x"] {
            assert_eq!(lookup.experiment(unknown).await.unwrap(), None, "{unknown:?}");
        }
        assert_eq!(lookup.experiment_named("looked-up").await.unwrap(), None);
        for child in [Child::Run, Child::Trace] {
            assert_eq!(lookup.experiment_of(child, &"0".repeat(32)).await.unwrap(), None);
            assert_eq!(lookup.experiment_of(child, "../experiments").await.unwrap(), None);
        }
        let [mine, other] = [&pair.ids[0], &pair.ids[1]];
        let run = &pair.runs[0];
        let read = |resource| vec![Access::on(Permission::Read, resource)];
        let own = read(Resource::one(Kind::Experiment, mine.as_str(), "looked-up-a/1"));
        for path in [
            mine.clone(),
            format!("{mine}/{run}"),
            format!("{mine}/{run}/artifacts/a b/c.txt"),
            format!("{mine}/models"),
        ] {
            assert_eq!(
                sources::of_artifact_path(lookup, &path, Permission::Read)
                    .await
                    .unwrap(),
                own,
                "{path}"
            );
        }
        let every = read(Resource::every(Kind::Experiment));
        let hidden = read(Resource::unknown(Kind::Experiment, other.as_str()));
        for (path, needed) in [
            (String::new(), &every),
            (format!("{mine}/{run}/other"), &every),
            (format!("{other}/{run}/artifacts/x"), &hidden),
            (format!("{other}/{}/artifacts/x", "0".repeat(32)), &hidden),
        ] {
            assert_eq!(
                &sources::of_artifact_path(lookup, &path, Permission::Read)
                    .await
                    .unwrap(),
                needed,
                "{path}"
            );
        }
        for path in ["/1", "1//x", "1/../2", "1/%2e", "./1", "1/a\\b", "1/a#b"] {
            let refused = sources::of_artifact_path(lookup, path, Permission::Read).await;
            assert!(matches!(refused, Err(MlflowError::Malformed(_))), "{path}");
        }
        let server = vec![Access::on(Permission::Manage, Resource::server())];
        for (source, run_id, needed) in [
            (format!("runs:/{run}/model"), None, &own),
            (format!("mlflow-artifacts:/{mine}/{run}/artifacts/model"), None, &own),
            (
                format!("mlflow-artifacts:/{mine}/{run}/artifacts/model"),
                Some(run.as_str()),
                &own,
            ),
            (
                format!("mlflow-artifacts:/{other}/{run}/artifacts/model"),
                Some(run.as_str()),
                &hidden,
            ),
            ("file:///etc/passwd".to_owned(), Some(run.as_str()), &server),
            ("/etc/passwd".to_owned(), None, &server),
            ("dummy-source/..".to_owned(), None, &server),
            ("dummy-source".to_owned(), None, &Vec::new()),
            ("s3://bucket/x".to_owned(), None, &server),
            (format!("runs:/{run}/../x"), None, &server),
            ("models:/a/b/c".to_owned(), None, &server),
            ("mlflow-artifacts://host/1".to_owned(), None, &server),
        ] {
            let found = sources::of_source(lookup, &[], &source, run_id).await.unwrap();
            assert_eq!(&found, needed, "{source}");
        }
    });
}

#[test]
fn ids_and_storage_lead_to_their_experiment_on_mlflow_3() {
    ids_are_looked_up(NEWEST);
}

#[test]
fn ids_and_storage_lead_to_their_experiment_on_mlflow_2() {
    ids_are_looked_up(OLDEST);
}
