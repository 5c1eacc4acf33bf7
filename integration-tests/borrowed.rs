//! Things that are reached through something of one's own: a trace that points into another's files, a model that calls
//! itself a prompt, a scorer beside its experiment. Each with a control that passes.

use serde_json::{Value, json};

use crate::support::gateway::Setup;
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};
use crate::support::person::Person;

const ROLES: &str = r#"
[[role]]
name = "prompts-only"
groups = ["local:viewers"]
grants = [{ permission = "EDIT", prompts = ["a-*"] }]
[[role]]
name = "scorers"
groups = ["local:editors"]
grants = [
  { permission = "MANAGE", experiments = ["a/*"] },
  { permission = "DENY", scorers = ["sealed-*"] },
]
[[role]]
name = "one-scorer"
groups = ["local:managers"]
grants = [{ permission = "READ", scorers = ["plain"] }]
"#;

fn experiment(mlflow: &Mlflow, name: &str) -> String {
    let create = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&json!({"name": name}));
    mlflow.ask(&create).json()["experiment_id"].as_str().unwrap().to_owned()
}

/// A finished trace of 2.x with its data in the artifact store: its id and its location.
fn trace(mlflow: &Mlflow, experiment: &str, says: &str) -> (String, String) {
    let start = Request::new("POST", "/api/2.0/mlflow/traces").json(&json!({
        "experiment_id": experiment, "timestamp_ms": 1, "request_metadata": [], "tags": []
    }));
    let info = mlflow.ask(&start).json()["trace_info"].take();
    let id = info["request_id"].as_str().unwrap().to_owned();
    let location = info["tags"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tag| tag["key"] == "mlflow.artifactLocation")
        .unwrap()["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/traces/{id}/artifacts/traces.json");
    let data = json!({"spans": [], "request": says, "response": says}).to_string();
    assert_eq!(
        mlflow
            .ask(&Request::new("PUT", &file).body("application/json", data))
            .status,
        200
    );
    (id, location)
}

#[test]
fn a_trace_cannot_be_pointed_at_another_teams_files() {
    let mlflow = Mlflow::start(OLDEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let (tom, ada) = (Person::new(&gateway, "tom-a"), Person::new(&gateway, "ada"));
    let (mine, own) = trace(&mlflow, &experiment(&mlflow, "a/traced"), "ours");
    let (_, theirs) = trace(&mlflow, &experiment(&mlflow, "b/traced"), "their secret");
    let read = || {
        tom.send(Request::get(&format!(
            "/ajax-api/2.0/mlflow/get-trace-artifact?request_id={mine}"
        )))
    };
    assert!(read().text().contains("ours"), "the control: {}", read().text());
    let tags = format!("/api/2.0/mlflow/traces/{mine}/tags");
    let end = format!("/api/2.0/mlflow/traces/{mine}");
    let ended = |location: &str| {
        json!({"timestamp_ms": 2, "status": "OK", "request_metadata": [],
               "tags": [{"key": "mlflow.artifactLocation", "value": location}, {"key": "k", "value": "v"}]})
    };
    // The 2.x client sends back the location that it was told, and tags of any other name.
    let plain = tom.json("PATCH", &tags, &json!({"key": "mlflow.traceName", "value": "x"}));
    assert_eq!(plain.status, 200, "{}", plain.text());
    let resent = tom.json("PATCH", &tags, &json!({"key": "mlflow.artifactLocation", "value": own}));
    assert_eq!(resent.status, 200, "{}", resent.text());
    let resent = tom.json("PATCH", &end, &ended(&own));
    assert_eq!(resent.status, 200, "{}", resent.text());
    for key in [
        "mlflow.artifactLocation",
        "mlflow.trace.spansLocation",
        "mlflow.trace.archiveLocation",
    ] {
        let set = tom.json("PATCH", &tags, &json!({"key": key, "value": theirs}));
        assert_eq!(set.status, 403, "{key}: {}", set.text());
        let deleted = tom.json("DELETE", &tags, &json!({"key": key}));
        assert_eq!(deleted.status, 403, "{key}: {}", deleted.text());
        let deleted = tom.send(Request::new("DELETE", &format!("{tags}?key={key}")));
        assert_eq!(deleted.status, 403, "{key}: {}", deleted.text());
    }
    assert_eq!(tom.json("PATCH", &end, &ended(&theirs)).status, 403);
    let started = json!({"experiment_id": "1", "timestamp_ms": 1, "request_metadata": [],
                         "tags": [{"key": "mlflow.artifactLocation", "value": theirs}]});
    assert_eq!(tom.json("POST", "/api/2.0/mlflow/traces", &started).status, 403);
    assert!(read().text().contains("ours") && !read().text().contains("secret"));
    // Who runs the server may move it, and then the files are the other's: that is what was refused.
    let moved = ada.json(
        "PATCH",
        &tags,
        &json!({"key": "mlflow.artifactLocation", "value": theirs}),
    );
    assert_eq!(moved.status, 200, "{}", moved.text());
    assert!(read().text().contains("their secret"), "{}", read().text());
}

#[test]
fn a_newer_trace_cannot_be_pointed_elsewhere_either() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let tom = Person::new(&gateway, "tom-a");
    let experiment = experiment(&mlflow, "a/pointed");
    let id = format!("tr-{}", "5e".repeat(16));
    let start = |tags: Value| {
        let info = json!({"trace_id": id, "state": "OK", "request_time": "2026-01-01T00:00:00Z", "tags": tags,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}});
        let started = tom.json(
            "POST",
            "/api/3.0/mlflow/traces",
            &json!({"trace": {"trace_info": info}}),
        );
        (started.status, started.text())
    };
    let elsewhere = "mlflow-artifacts:/1/traces/x/artifacts";
    assert_eq!(start(json!({"mlflow.artifactLocation": elsewhere})).0, 403);
    assert_eq!(start(json!({"mlflow.trace.spansLocation": "x"})).0, 403);
    assert_eq!(start(json!({"mlgate.owner": "local:tom-b"})).0, 400);
    let (status, text) = start(json!({"k": "v"}));
    assert_eq!(status, 200, "the control: {text}");
    let own = serde_json::from_str::<Value>(&text).unwrap()["trace"]["trace_info"]["tags"]["mlflow.artifactLocation"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(start(json!({"mlflow.artifactLocation": own})).0, 200, "its own");
    let tags = format!("/api/3.0/mlflow/traces/{id}/tags");
    let set = |key: &str| {
        tom.json("PATCH", &tags, &json!({"key": key, "value": elsewhere}))
            .status
    };
    assert_eq!(set("k"), 200, "the control");
    assert_eq!(set("mlflow.artifactLocation"), 403);
    let deleted = |key: &str| tom.json("DELETE", &tags, &json!({"key": key})).status;
    assert_eq!(deleted("mlgate.owner"), 400);
    assert_eq!(deleted("mlflow.artifactLocation"), 403);
    assert_eq!(deleted("k"), 200, "the control");
    let queried = |key: &str| tom.send(Request::new("DELETE", &format!("{tags}?key={key}"))).json();
    assert_eq!(queried("mlgate.owner")["error_code"], "INVALID_PARAMETER_VALUE");
    assert_eq!(queried("mlflow.artifactLocation")["error_code"], "PERMISSION_DENIED");
    assert!(
        queried("k").get("request_id").is_none(),
        "MLflow's own answer: it reads the body alone"
    );
    let spans = |attribute: &str, connection: Option<&str>| {
        let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
            "traceId": "6f".repeat(16), "spanId": "6f".repeat(8), "name": "s",
            "startTimeUnixNano": "1", "endTimeUnixNano": "2",
            "attributes": [{"key": attribute, "value": {"stringValue": elsewhere}}]}]}]}]});
        let mut request = Request::new("POST", "/v1/traces")
            .json(&body)
            .header("x-mlflow-experiment-id", &experiment);
        if let Some(named) = connection {
            request = request.header("Connection", named);
        }
        tom.send(request).status
    };
    let control = spans("mlflow.traceTag.team", None);
    assert!(!matches!(control, 400 | 403), "the control: {control}");
    for attribute in [
        "mlflow.traceTag.mlflow.artifactLocation",
        "mlflow.traceTag.mlgate.owner",
    ] {
        assert_eq!(spans(attribute, None), 400, "{attribute}");
    }
    for named in ["content-type", "close, X-MLflow-Experiment-Id"] {
        assert_eq!(spans("a", Some(named)), 400, "{named}");
    }
}

#[test]
fn rights_on_prompts_make_no_model() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections = ROLES.to_owned();
    let gateway = setup.start();
    let vera = Person::new(&gateway, "vera");
    let create = |body: &str| {
        let answer =
            vera.send(Request::new("POST", "/api/2.0/mlflow/registered-models/create").body("application/json", body));
        (answer.status, answer.text())
    };
    let tag = |value: &str| format!(r#"{{"key":"mlflow.prompt.is_prompt","value":"{value}"}}"#);
    let (status, text) = create(&format!(r#"{{"name":"a-borrowed","tags":[{}]}}"#, tag("true")));
    assert_eq!(status, 200, "the control: {text}");
    for (body, expected) in [
        (r#"{"name":"a-m1"}"#.to_owned(), 403),
        (
            r#"{"name":"a-m2","key":"mlflow.prompt.is_prompt","value":"true"}"#.to_owned(),
            403,
        ),
        (
            format!(r#"{{"name":"a-m3","tags":[{},{}]}}"#, tag("true"), tag("false")),
            400,
        ),
        (
            r#"{"name":"a-m4","tags":{"mlflow.prompt.is_prompt":"true"},"value":1}"#.to_owned(),
            403,
        ),
    ] {
        let (status, text) = create(&body);
        // A map of tags is no list: MLflow itself refuses it, were it to come that far.
        assert!(
            status == expected || (body.contains("a-m4") && status >= 400),
            "{body}: {status} {text}"
        );
    }
    let models = mlflow
        .ask(&Request::get(
            "/api/2.0/mlflow/registered-models/search?max_results=1000",
        ))
        .text();
    for made in ["a-m1", "a-m2", "a-m3", "a-m4"] {
        assert!(!models.contains(made), "{made} was made");
    }
}

#[test]
fn a_scorer_is_decided_by_itself_and_by_its_experiment() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections = ROLES.to_owned();
    let gateway = setup.start();
    let (ed, mona, vera) = (
        Person::new(&gateway, "ed"),
        Person::new(&gateway, "mona"),
        Person::new(&gateway, "vera"),
    );
    let id = experiment(&mlflow, "a/scored");
    let serialized = json!({"name": "plain", "aggregations": [], "is_session_level_scorer": false,
        "mlflow_version": "3.18.0", "serialization_version": 1,
        "instructions_judge_pydantic_data": {"instructions": "Is {{ outputs }} good?", "model": "openai:/m"}})
    .to_string();
    let body = |name: &str| json!({"experiment_id": id, "name": name, "serialized_scorer": serialized});
    let register = |name: &str| ed.json("POST", "/api/3.0/mlflow/scorers/register", &body(name)).status;
    for name in ["plain", "sealed-one"] {
        let made = mlflow.ask(&Request::new("POST", "/api/3.0/mlflow/scorers/register").json(&body(name)));
        assert_eq!(made.status, 200, "{}", made.text());
    }
    assert_eq!(register("plain"), 200, "the control");
    assert_eq!(register("sealed-two"), 403);
    let get = |person: &Person<'_>, route: &str, name: &str| {
        person
            .get(&format!(
                "/api/3.0/mlflow/scorers/{route}?experiment_id={id}&name={name}"
            ))
            .status
    };
    for route in ["get", "versions"] {
        assert_eq!(get(&ed, route, "plain"), 200, "by the experiment");
        assert_eq!(get(&ed, route, "sealed-one"), 403, "{route}");
        assert_eq!(get(&mona, route, "plain"), 200, "by the scorer's own name");
        assert_eq!(get(&mona, route, "sealed-one"), 403, "{route}");
        assert_eq!(get(&vera, route, "plain"), 403, "{route}");
    }
    let list = |person: &Person<'_>, query: &str| {
        let answer = person.send(Request::get(&format!("/api/3.0/mlflow/scorers/list{query}")));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let rows = answer.json()["scorers"].take();
        let name = |row: &Value| row["scorer_name"].as_str().unwrap().to_owned();
        rows.as_array()
            .map_or_else(Vec::new, |rows| rows.iter().map(name).collect())
    };
    for query in [
        format!("?experiment_id={id}"),
        String::new(),
        format!("?experiment_ids={id}"),
    ] {
        assert_eq!(list(&ed, &query), ["plain"], "one of theirs is denied: {query}");
        assert_eq!(list(&mona, &query), ["plain"], "granted by its own name: {query}");
        assert_eq!(list(&vera, &query), [] as [&str; 0], "{query}");
    }
    let none = list(&mona, "?experiment_id=987654321");
    assert_eq!(none, [] as [&str; 0], "not there looks like hidden");
    let delete = |name: &str| {
        ed.json(
            "DELETE",
            "/api/3.0/mlflow/scorers/delete",
            &json!({"experiment_id": id, "name": name}),
        )
        .status
    };
    assert_eq!(delete("sealed-one"), 403);
    assert_eq!(delete("plain"), 200, "the control");
}

#[test]
fn an_endpoint_is_named_in_one_way() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let ada = Person::new(&gateway, "ada");
    let call = |path: &str| {
        let answer = ada.json("POST", path, &json!({"messages": []}));
        (answer.status, answer.text())
    };
    let (status, text) = call("/gateway/proxy/mlflow/invocations");
    assert!(
        status == 403 && text.contains("does not know this route"),
        "{status} {text}"
    );
    let (status, text) = call("/gateway/proxy/mlflow/v1/x");
    assert!(
        !text.contains("does not know this route"),
        "the control: {status} {text}"
    );
    let tom = Person::new(&gateway, "tom-a");
    // MLflow's relay is for who runs the server. Its table of runs asks everyone's browser what there is: nothing, for others.
    let relay = "/ajax-api/2.0/mlflow/gateway-proxy";
    let listed = tom.get(&format!("{relay}?gateway_path=api/2.0/endpoints/"));
    assert_eq!((listed.status, listed.text().as_str()), (200, r#"{"endpoints":[]}"#));
    for query in [
        "",
        "?gateway_path=api/2.0/endpoints/x",
        "?gateway_path=api/2.0/endpoints",
    ] {
        assert_eq!(tom.get(&format!("{relay}{query}")).status, 403, "{query}");
        assert_eq!(ada.get(&format!("{relay}{query}")).status, 200, "the control: {query}");
    }
    let relayed = json!({"gateway_path": "gateway/x/invocations", "json_data": {}});
    assert_eq!(tom.json("POST", relay, &relayed).status, 403);
    assert_eq!(ada.json("POST", relay, &relayed).status, 200, "the control");
    let detect = |endpoint: Option<&str>| {
        let id = experiment(&mlflow, &format!("a/detect-{}", endpoint.is_some()));
        let body = json!({"experiment_id": id, "trace_ids": [], "categories": [], "provider": "openai",
            "model": "m", "endpoint_name": endpoint});
        tom.json("POST", "/ajax-api/3.0/mlflow/issues/invoke", &body).status
    };
    assert_ne!(detect(None), 403, "the control");
    assert_eq!(detect(Some("theirs")), 403);
}

#[test]
fn a_rename_through_the_gateway_counts_at_once() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let (tom, ed) = (Person::new(&gateway, "tom-a"), Person::new(&gateway, "ed"));
    let id = experiment(&mlflow, "a/renamed");
    let get = || {
        tom.get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={id}"))
            .status
    };
    let rename = |name: &str| {
        ed.json(
            "POST",
            "/api/2.0/mlflow/experiments/update",
            &json!({"experiment_id": id, "new_name": name}),
        )
        .status
    };
    assert_eq!(get(), 200, "the control");
    assert_eq!((rename("c/renamed"), get()), (200, 403), "it left the team");
    assert_eq!((rename("a/renamed"), get()), (200, 200), "and came back");
    let model = |name: &str| {
        tom.get(&format!("/api/2.0/mlflow/registered-models/get?name={name}"))
            .status
    };
    let made = ed.json(
        "POST",
        "/api/2.0/mlflow/registered-models/create",
        &json!({"name": "a-renamed"}),
    );
    assert_eq!((made.status, model("a-renamed")), (200, 200), "the control");
    let gone = Person::new(&gateway, "mona").json(
        "DELETE",
        "/api/2.0/mlflow/registered-models/delete",
        &json!({"name": "a-renamed"}),
    );
    assert_eq!((gone.status, model("a-renamed")), (200, 404));
}
