//! Every route of MLflow as nobody, without a role, as viewer, editor, manager and admin, against the real servers: each answer
//! is what the table says.

use mlgate::domain::Permission;
use mlgate::mlflow::lookup::Child;
use mlgate::mlflow::routes::{At, Body, Need, Reply, Row, Verb, Version, rows};
use serde_json::{Map, Value, json};

use crate::support::gateway::Setup;
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};

/// Nothing of these ids exists.
const RUN: &str = "00000000000000000000000000000000";
const EXPERIMENT: &str = "987654321";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Nobody,
    WithoutRole,
    Holds(&'static str, Permission, bool),
}

const PEOPLE: [(Option<&str>, Who); 6] = [
    (None, Who::Nobody),
    (Some("nina"), Who::WithoutRole),
    (Some("vera"), Who::Holds("viewer", Permission::Read, false)),
    (Some("ed"), Who::Holds("editor", Permission::Edit, false)),
    (Some("mona"), Who::Holds("manager", Permission::Manage, false)),
    (Some("ada"), Who::Holds("admin", Permission::Manage, true)),
];

/// These ask a server that cannot be reached here, and only give up after half a minute.
const REACHES_OUT: [&str; 1] = ["gateway.list_supported_models"];

/// What the table says of a person.
fn may(row: &Row, who: Who) -> bool {
    if matches!(row.reply, Reply::Refused | Reply::Assistant | Reply::OwnAccounts) {
        return false;
    }
    row.needs.iter().all(|need| match (who, permission(*need)) {
        (_, Asked::Nothing) => true,
        (Who::Nobody | Who::WithoutRole, _) => false,
        (Who::Holds(..), Asked::Role) => true,
        (Who::Holds(_, level, _), Asked::Level(asked)) => level >= asked,
        (Who::Holds(_, level, server), Asked::Server(asked)) => server && level >= asked,
    })
}

enum Asked {
    Nothing,
    Role,
    Level(Permission),
    Server(Permission),
}

fn permission(need: Need) -> Asked {
    match need {
        Need::Public => Asked::Nothing,
        // No location and no new name are sent.
        Need::Member | Need::Location(_) | Need::MaybeExperiment(..) | Need::MaybeModel(..) => Asked::Role,
        Need::OfExisting(..) | Need::MaybeNamed(..) => Asked::Role,
        // No alias is protected.
        Need::MovesAlias(..) | Need::MovesStage(..) | Need::MovesAll(..) => Asked::Role,
        // No scorer is described, and no model chosen.
        Need::Judges(..) | Need::ChosenModel => Asked::Role,
        Need::Server(permission) => Asked::Server(permission),
        // It is not asked for its list.
        Need::Relay(_) => Asked::Server(Permission::Manage),
        Need::Every(_, permission)
        | Need::Experiment(permission, _)
        | Need::ExperimentNamed(permission, _)
        | Need::Of(_, permission, _)
        | Need::MaybeOf(_, permission, _)
        | Need::Dataset(permission, _)
        | Need::Model(permission, _)
        | Need::Gateway(_, permission, _)
        | Need::MaybeGateway(_, permission, _)
        | Need::Named(_, permission, _)
        | Need::McpServer(permission)
        | Need::Skill(permission)
        | Need::Skills(permission)
        | Need::ArtifactPath(permission, _)
        | Need::Scorer(permission, ..)
        | Need::Workspace(permission, _) => Asked::Level(permission),
        Need::NewExperiment(_) | Need::NewModel(_) | Need::RenamedModel(..) | Need::Spans => {
            Asked::Level(Permission::Edit)
        }
        Need::Source | Need::GraphQl => Asked::Level(Permission::Read),
    }
}

fn child(child: Child) -> String {
    match child {
        Child::Run => RUN.to_owned(),
        Child::LoggedModel => format!("m-{RUN}"),
        Child::Trace => format!("tr-{RUN}"),
        Child::Issue | Child::ReviewQueue | Child::LabelSchema | Child::PromptOptimizationJob => "none-such".to_owned(),
    }
}

/// What a row's values are, of things that do not exist.
fn values(row: &Row) -> Vec<(At, String)> {
    let mut found = Vec::new();
    for need in row.needs {
        match *need {
            Need::Experiment(_, at) => found.push((at, EXPERIMENT.to_owned())),
            Need::Of(kind, _, at) | Need::MaybeOf(kind, _, at) => found.push((at, child(kind))),
            Need::ExperimentNamed(_, at) | Need::NewExperiment(at) => found.push((at, "access/none-such".to_owned())),
            Need::Dataset(_, at) => found.push((at, "d-none-such".to_owned())),
            Need::Model(_, at)
            | Need::NewModel(at)
            | Need::Named(_, _, at)
            | Need::Gateway(_, _, at)
            | Need::MaybeGateway(_, _, at)
            | Need::Workspace(_, at) => found.push((at, "access-none-such".to_owned())),
            Need::Scorer(_, experiment, name) => {
                found.push((experiment, EXPERIMENT.to_owned()));
                found.push((name, "none-such".to_owned()));
            }
            Need::RenamedModel(_, at) => found.push((at, "access-renamed".to_owned())),
            Need::Source => found.push((At::Body("source"), format!("models:/m-{RUN}"))),
            Need::Skills(_) => found.push((At::Body("name"), "none-such".to_owned())),
            Need::ArtifactPath(_, at) => found.push((at, format!("{EXPERIMENT}/{RUN}/artifacts/none-such"))),
            Need::Spans => found.push((At::Header("x-mlflow-experiment-id"), EXPERIMENT.to_owned())),
            _ => {}
        }
    }
    found
}

fn put(map: &mut Map<String, Value>, place: &str, value: &str) {
    let place = place.split('|').next().unwrap();
    let (part, rest) = place
        .split_once('.')
        .map_or((place, None), |(part, rest)| (part, Some(rest)));
    let (name, repeated) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
    let inner = match rest {
        None => value.into(),
        Some(rest) => {
            let mut inner = Map::new();
            put(&mut inner, rest, value);
            Value::Object(inner)
        }
    };
    map.insert(name.to_owned(), if repeated { json!([inner]) } else { inner });
}

/// A request for a row that says all that the row needs, and nothing that exists.
fn request(row: &Row, template: &str) -> Request {
    let mut path = template.to_owned();
    let (mut query, mut body, mut headers) = (Vec::new(), Map::new(), Vec::new());
    for (at, value) in values(row) {
        match at {
            At::Path(name) => {
                path = path
                    .replace(&format!("{{{name}}}"), &value)
                    .replace(&format!("{{{name}...}}"), &value);
            }
            At::Query(name) => {
                query.push(format!(
                    "{}={value}",
                    name.split('|').next().unwrap().trim_end_matches("[]")
                ));
            }
            At::Body(place) | At::BodyOrQuery(place) => put(&mut body, place, &value),
            At::Header(name) => headers.push((name, value)),
        }
    }
    while let Some((before, rest)) = path.clone().split_once('{') {
        let after = rest.split_once('}').map_or("", |(_, after)| after);
        path = format!("{before}none-such{after}");
    }
    if row.needs == [Need::GraphQl] {
        let document = format!(
            "query {{ mlflowGetExperiment(input: {{experimentId: \"{EXPERIMENT}\"}}) {{ experiment {{ name }} }} }}"
        );
        body.insert("query".to_owned(), document.into());
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let mut request = Request::new(row.method.as_str(), &path);
    for (name, value) in headers {
        request = request.header(name, &value);
    }
    match row.body {
        Body::Json => request.json(&Value::Object(body)),
        Body::MaybeJson if !body.is_empty() => request.json(&Value::Object(body)),
        Body::Otlp => request.body("application/x-protobuf", Vec::new()),
        Body::Stream => request.body("application/octet-stream", "x"),
        Body::None | Body::MaybeJson => request,
    }
}

fn walk(mlflow: &Mlflow, version: Version) {
    let gateway = Setup::new(&mlflow.url()).start();
    let people = PEOPLE.map(|(user, who)| (user.map(|user| gateway.sign_in(user)), who));
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for row in rows().filter(|row| row.holds_in(version)) {
        for template in row.templates() {
            for (cookie, who) in &people {
                let allowed = may(row, *who);
                if allowed && REACHES_OUT.contains(&row.action) {
                    continue;
                }
                let mut request = request(row, &template).header("Origin", &gateway.origin());
                if let Some(cookie) = cookie {
                    request = request.header("Cookie", cookie);
                }
                let answer = gateway.send(&request);
                asked += 1;
                let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let code = body
                    .get("request_id")
                    .and(body.get("error_code"))
                    .and_then(Value::as_str);
                let expected = match (allowed, who) {
                    (true, _) => None,
                    (false, Who::Nobody) => Some((401, "UNAUTHENTICATED")),
                    (false, _) => Some((403, "PERMISSION_DENIED")),
                };
                let right = match expected {
                    None => code.is_none() && answer.status != 401,
                    Some((status, expected)) => answer.status == status && code == Some(expected),
                };
                if !right {
                    wrong.push(format!(
                        "{who:?} {} {}: {} {}",
                        request.method,
                        request.target,
                        answer.status,
                        answer.text()
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked} answers differ from the table:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(asked > 500, "only {asked} were asked");
}

#[test]
fn every_route_of_the_newest_version_answers_as_the_table_says() {
    walk(&Mlflow::start(NEWEST), Version(3, 18));
}

#[test]
fn every_route_of_the_oldest_version_answers_as_the_table_says() {
    walk(&Mlflow::start(OLDEST), Version(2, 22));
}

#[test]
fn a_method_or_path_that_is_not_in_the_table_is_refused_to_everyone() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let cookie = gateway.sign_in("ada");
    for (method, path) in [
        ("GET", "/api/2.0/mlflow/experiments/new-in-4"),
        ("DELETE", "/api/2.0/mlflow/experiments/get"),
        ("GET", "/metrics"),
        ("GET", "/signup"),
        ("GET", "/api/2.0/mlflow/users/list"),
        ("POST", "/api/3.0/mlflow/roles/create"),
        ("GET", "/openapi.json"),
        ("GET", "/graphql"),
        ("OPTIONS", "/api/2.0/mlflow/experiments/get"),
        ("HEAD", "/api/2.0/mlflow/experiments/search"),
        ("GET", "/api/2.0/preview/mlflow/experiments/search"),
    ] {
        let answer = gateway.send(
            &Request::new(method, path)
                .header("Cookie", &cookie)
                .header("Origin", &gateway.origin()),
        );
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
    }
    let control =
        gateway.send(&Request::get("/api/2.0/mlflow/experiments/get?experiment_id=0").header("Cookie", &cookie));
    assert_eq!(control.status, 200, "{}", control.text());
    assert_eq!(Verb::Get.as_str(), "GET");
}
