//! Two teams on one server. A member of one, who knows every id and name of the other's, follows each route, list, page,
//! GraphQL field and artifact: no answer holds the other's word, and all of the own team's is found. What an admin gets is
//! MLflow's own, byte for byte.

mod cases;
mod seed;

use mlgate::domain::{Kind, Permission};
use mlgate::mlflow::lookup::Child;
use mlgate::mlflow::routes::{At, Need, Reply, Row, Verb, Version, rows};
use serde_json::{Map, Value, json};
use url::form_urlencoded::Serializer;

use self::cases::{Case, cases};
use self::seed::{GRANTS, Team};
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::mlflow::{MIDDLE, Mlflow, NEWEST, OLDEST};

/// Experiments of each team; `MLGATE_CRAWL=200` for more.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the test asks for more, not the program"
)]
fn count() -> usize {
    let asked = std::env::var("MLGATE_CRAWL").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Own things that are opened one by one, and things of the other's on the second prefix: the rest is alike.
const SOME: usize = 4;

struct Member<'a> {
    gateway: &'a Gateway,
    cookie: String,
    theirs: &'a Team,
    wrong: Vec<String>,
    asked: usize,
}

impl Member<'_> {
    /// Asks, and reads the answer for what must not be in it. A name that was asked for may come back in a refusal.
    fn ask(&mut self, request: Request) -> Response {
        let said = format!("{} {}", request.target, String::from_utf8_lossy(&request.body));
        let answer = self.gateway.send(
            &request
                .clone()
                .header("Cookie", &self.cookie)
                .header("Origin", &self.gateway.origin()),
        );
        self.asked += 1;
        let mut text = answer.text();
        if answer.status != 200 && said.contains(self.theirs.word) {
            for name in self.theirs.names() {
                text = text.replace(name.as_str(), "");
            }
        }
        if text.contains(self.theirs.word) || answer.headers.iter().any(|(_, value)| value.contains(self.theirs.word)) {
            let shown: String = text.chars().take(300).collect();
            self.wrong.push(format!(
                "tells of the other: {} {said} -> {} {shown}",
                request.method, answer.status
            ));
        }
        answer
    }

    fn walk(&mut self, case: &Case) -> Vec<String> {
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let answer = self.ask(case.request(token.as_deref()));
            if answer.status != 200 {
                self.wrong
                    .push(format!("{}: {} {}", case.path, answer.status, answer.text()));
                return found;
            }
            let page = answer.json();
            let rows = page[case.rows].as_array().cloned().unwrap_or_default();
            token = page["next_page_token"]
                .as_str()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if token.is_some() && rows.len() < cases::PAGE {
                self.wrong
                    .push(format!("{}: a page with gaps: {}", case.path, rows.len()));
            }
            let id = |row: &Value| {
                let id = row.pointer(case.id).unwrap_or_else(|| panic!("{}: {row}", case.path));
                id.as_str().map_or_else(|| id.to_string(), str::to_owned)
            };
            found.extend(rows.iter().map(id));
            if token.is_none() {
                return found;
            }
        }
    }
}

/// What a row's value may be, out of a team's things.
fn pool(team: &Team, need: Need) -> Option<(At, Vec<String>)> {
    let of = |child| match child {
        Child::Run => &team.runs,
        Child::Trace => &team.traces,
        Child::LoggedModel => &team.logged_models,
        Child::Issue => &team.issues,
        Child::ReviewQueue => &team.queues,
        Child::LabelSchema => &team.schemas,
        Child::PromptOptimizationJob => &team.skills,
    };
    let gateway = |kind| match kind {
        Kind::GatewaySecret => &team.secrets,
        Kind::GatewayModelDefinition => &team.model_definitions,
        _ => &team.endpoints,
    };
    let (at, values) = match need {
        Need::Experiment(_, at) | Need::MaybeExperiment(_, at) => (at, team.experiments.clone()),
        Need::ExperimentNamed(_, at) => (at, team.experiment_names.clone()),
        Need::Of(Child::PromptOptimizationJob, ..) => return None,
        Need::Of(child, _, at) | Need::MaybeOf(child, _, at) => (at, of(child).clone()),
        Need::Dataset(_, at) => (at, team.datasets.clone()),
        Need::Model(_, at) => (at, [team.models.clone(), team.prompts.clone()].concat()),
        Need::Gateway(kind, _, at) | Need::MaybeGateway(kind, _, at) => (at, gateway(kind).clone()),
        Need::Named(Kind::GatewayEndpoint, _, at) | Need::MaybeNamed(Kind::GatewayEndpoint, _, at) => {
            (at, team.endpoint_names.clone())
        }
        Need::McpServer(_) => (At::Path("namespace}/{slug"), team.mcp_servers.clone()),
        Need::Skill(_) => (At::Path("skill"), team.skills.clone()),
        Need::ArtifactPath(_, at) => (at, team.artifacts.clone()),
        Need::Scorer(_, _, name) => (name, team.scorers.clone()),
        _ => return None,
    };
    (!values.is_empty()).then_some((at, values))
}

/// Whether a row only reads, of things that can be named.
fn is_followed(row: &Row, team: &Team) -> bool {
    let reads = |need: &Need| match *need {
        Need::Member => true,
        Need::Experiment(permission, _)
        | Need::MaybeExperiment(permission, _)
        | Need::ExperimentNamed(permission, _)
        | Need::Of(_, permission, _)
        | Need::MaybeOf(_, permission, _)
        | Need::Dataset(permission, _)
        | Need::Model(permission, _)
        | Need::Gateway(_, permission, _)
        | Need::MaybeGateway(_, permission, _)
        | Need::MaybeNamed(_, permission, _)
        | Need::McpServer(permission)
        | Need::Skill(permission)
        | Need::ArtifactPath(permission, _)
        | Need::Scorer(permission, ..) => permission == Permission::Read,
        _ => false,
    };
    matches!(row.method, Verb::Get | Verb::Post)
        && matches!(row.reply, Reply::Forward | Reply::List(_))
        && row.needs.iter().all(reads)
        && row.needs.iter().any(|need| pool(team, *need).is_some())
}

/// What else a route wants to be told.
fn besides(row: &Row, word: &str) -> Vec<(&'static str, String)> {
    let told: &[(&str, &str)] = match row.action {
        "metric.get_history" => &[("metric_key", "m")],
        "artifact.download" if row.path == "get-artifact" => &[("path", "note.txt")],
        "artifact.presign_download" => &[("path", "note.txt")],
        "model_version.get" | "model_version.get_download_uri" => &[("version", "1")],
        "model_version.download_artifact" => &[("version", "1"), ("path", "note.txt")],
        "registered_model.get_alias" => &[("alias", "champion")],
        "logged_model.download_artifact" => &[("artifact_file_path", "note.txt")],
        "trace.correlate" => &[("filter_string1", "status = 'OK'"), ("filter_string2", "status = 'OK'")],
        _ => &[],
    };
    let mut told: Vec<_> = told.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    if row.action.ends_with(".get_by_name") && row.path.contains("review-queues")
        || row.path.contains("label-schemas/get-by")
    {
        told.push(("name", word.to_owned()));
    }
    told
}

/// The request of a row for the things at one place of a team's lists.
fn request(row: &Row, template: &str, team: &Team, index: usize) -> Option<Request> {
    let mut path = template.to_owned();
    let (mut query, mut body) = (Vec::<(String, String)>::new(), Map::new());
    for need in row.needs {
        let Some((at, values)) = pool(team, *need) else {
            continue;
        };
        let value = &values[index % values.len()];
        if let Need::Scorer(_, At::Query(experiment), _) = *need {
            query.push((experiment.to_owned(), team.experiments[index % values.len()].clone()));
        }
        let bare = |name: &str| {
            name.split('|')
                .next()
                .unwrap_or_default()
                .trim_end_matches("[]")
                .to_owned()
        };
        match at {
            At::Path("skill") => {
                let has_organization = template.contains("@{organization}");
                if value.starts_with('@') != has_organization {
                    return None;
                }
                path = path.replace(
                    if has_organization {
                        "@{organization}/{name}"
                    } else {
                        "{name}"
                    },
                    value,
                );
            }
            At::Path(name) => {
                path = path
                    .replace(&format!("{{{name}}}"), value)
                    .replace(&format!("{{{name}...}}"), value);
            }
            At::Query(name) => query.push((bare(name), value.clone())),
            At::Body(name) if name.ends_with("[]") => drop(body.insert(bare(name), json!([value]))),
            At::Body(name) | At::BodyOrQuery(name) => drop(body.insert(bare(name), json!(value))),
            At::Header(_) => return None,
        }
    }
    for (name, value) in besides(row, team.word) {
        if row.method == Verb::Get {
            query.push((name.to_owned(), value));
        } else {
            body.insert(name.to_owned(), value.into());
        }
    }
    while let Some((before, rest)) = path.clone().split_once('{') {
        let (name, after) = rest.split_once('}')?;
        let value = if name == "version" { "1.0.0" } else { "none-such" };
        path = format!("{before}{value}{after}");
    }
    if !query.is_empty() {
        path = format!("{path}?{}", Serializer::new(String::new()).extend_pairs(query).finish());
    }
    let request = Request::new(row.method.as_str(), &path);
    Some(if row.method == Verb::Post {
        request.json(&Value::Object(body))
    } else {
        request
    })
}

fn is_refusal(answer: &Response) -> bool {
    answer.status == 403
        && serde_json::from_slice::<Value>(&answer.body).is_ok_and(|body| body.get("request_id").is_some())
}

/// Every route of the version, with everything that it can be asked of.
fn follow(member: &mut Member<'_>, version: Version, mine: &Team, theirs: &Team) {
    let followed = |row: &&Row| row.holds_in(version) && is_followed(row, mine);
    let mut count = 0;
    for row in rows().filter(followed) {
        count += 1;
        let length = |team: &Team| {
            let pools = row.needs.iter().filter_map(|need| pool(team, *need));
            pools.map(|(_, values)| values.len()).max().unwrap_or_default()
        };
        for (place, template) in row.templates().enumerate() {
            for index in 0..length(mine).min(SOME) {
                let Some(request) = request(row, &template, mine, index) else {
                    continue;
                };
                let answer = member.ask(request.clone());
                if is_refusal(&answer) || answer.status == 400 && answer.text().contains("request_id") {
                    let said = String::from_utf8_lossy(&request.body).into_owned();
                    member
                        .wrong
                        .push(format!("own: {} {said} -> {}", request.target, answer.text()));
                }
            }
            let all = length(theirs);
            for index in 0..if place == 0 { all } else { all.min(SOME) } {
                let Some(request) = request(row, &template, theirs, index) else {
                    continue;
                };
                let answer = member.ask(request.clone());
                if !is_refusal(&answer) {
                    member.wrong.push(format!(
                        "theirs: {} -> {} {}",
                        request.target,
                        answer.status,
                        answer.text()
                    ));
                }
            }
        }
    }
    assert!(count > 15, "only {count} routes were followed");
}

/// The fields of MLflow's GraphQL schema, of own things and of the other's, in literals, variables and under other names.
fn ask_graphql(member: &mut Member<'_>, mine: &Team, theirs: &Team) {
    let run = "run { info { runName } experiment { name tags { value } } data { params { value } tags { value } metrics { key } } \
               inputs { datasetInputs { dataset { name } } } modelVersions { name description } }";
    let root = |team: &Team, index: usize| {
        let (run_id, experiment) = (&team.runs[index], &team.experiments[index]);
        [
            format!("mlflowGetRun(input: {{ runId: \"{run_id}\" }}) {{ {run} }}"),
            format!(
                "mlflowGetExperiment(input: {{ experimentId: \"{experiment}\" }}) {{ experiment {{ name tags {{ value }} }} }}"
            ),
            format!("mlflowListArtifacts(input: {{ runId: \"{run_id}\" }}) {{ rootUri files {{ path }} }}"),
            format!(
                "mlflowGetMetricHistoryBulkInterval(input: {{ runIds: [\"{run_id}\"], metricKey: \"{}\" }}) {{ metrics {{ key runId }} }}",
                team.word
            ),
            format!(
                "mlflowSearchRuns(input: {{ experimentIds: [\"{experiment}\"] }}) {{ runs {{ info {{ runName }} experiment {{ name }} modelVersions {{ name }} }} }}"
            ),
            format!(
                "mlflowSearchDatasets(input: {{ experimentIds: [\"{experiment}\"] }}) {{ datasetSummaries {{ name digest }} }}"
            ),
        ]
    };
    let post = |query: &str, variables: Value| {
        Request::new("POST", "/graphql").json(&json!({ "query": query, "variables": variables }))
    };
    for (own, other) in root(mine, 0).iter().zip(root(theirs, 0)) {
        for kind in ["query", "mutation"] {
            member.ask(post(&format!("{kind} {{ {own} }}"), json!({})));
            member.ask(post(&format!("{kind} {{ a: {own} b: {other} }}"), json!({})));
            member.ask(post(
                &format!("{kind} {{ ...F }} fragment F on Query {{ {other} }}"),
                json!({}),
            ));
            let two = format!("{kind} A {{ {own} }} {kind} B {{ {other} }}");
            for name in ["A", "B"] {
                let body = json!({ "query": two, "operationName": name });
                member.ask(Request::new("POST", "/graphql").json(&body));
            }
        }
    }
    let both = |one: &[String], other: &[String]| json!([one, other].concat());
    let seen = member.ask(post(
        "query Q($data: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $data) { runs { info { runName } experiment { name } } } }",
        json!({ "data": { "experimentIds": both(&mine.experiments, &theirs.experiments) } }),
    ));
    let knows_it = !seen.text().contains("Cannot query field");
    assert!(!knows_it || seen.text().contains(mine.word), "{}", seen.text());
    member.ask(post(
        "{ mlflowSearchModelVersions { modelVersions { name description } } }",
        json!({}),
    ));
    let history = "query Q($data: MlflowGetMetricHistoryBulkIntervalInput!) { mlflowGetMetricHistoryBulkInterval(input: $data) { metrics { key runId } } }";
    let ids = both(&mine.runs[..2], &theirs.runs[..2]);
    member.ask(post(
        history,
        json!({ "data": { "runIds": ids, "metricKey": theirs.word } }),
    ));
}

fn crawl(name: &'static str, version: Version) {
    let mlflow = Mlflow::start(name);
    let teams = [("a", "kestrel"), ("b", "walrus")].map(|(team, word)| Team::settle(&mlflow, team, word, count()));
    let mut setup = Setup::new(&mlflow.url());
    setup.sections = String::from("[[role]]\nname = \"admin\"\ngroups = [\"local:admins\"]\n");
    for team in &teams {
        setup.sections += &format!(
            "[[role]]\nname = \"team-{0}\"\ngroups = [\"local:team-{0}\"]\n",
            team.name
        );
        setup.sections += &GRANTS.replace('%', team.name);
        setup.sections.push('\n');
    }
    let gateway = setup.start();
    let [mine, theirs] = &teams;
    let mut member = Member {
        gateway: &gateway,
        cookie: gateway.sign_in("tom-a"),
        theirs,
        wrong: Vec::new(),
        asked: 0,
    };
    for case in cases(version, mine, theirs) {
        let mut found = member.walk(&case);
        found.sort();
        found.dedup();
        let mut expected = case.own.clone();
        expected.sort();
        expected.dedup();
        if found != expected {
            member
                .wrong
                .push(format!("{}: {found:?} instead of {expected:?}", case.path));
        }
    }
    follow(&mut member, version, mine, theirs);
    ask_graphql(&mut member, mine, theirs);
    let (wrong, asked) = (member.wrong.len(), member.asked);
    member.wrong.truncate(40);
    assert!(
        wrong == 0,
        "{wrong} of {asked} on MLflow {name}:\n{}",
        member.wrong.join("\n")
    );
    tokens_are_bound(&gateway, &member.cookie, &cases(version, mine, theirs)[0]);
    admin_sees_mlflow(&mlflow, &gateway, &cases(version, mine, theirs));
}

/// A token of one member's page is none for another member, nor for another question.
fn tokens_are_bound(gateway: &Gateway, cookie: &str, case: &Case) {
    let ask = |request: Request, cookie: &str| {
        let origin = gateway.origin();
        gateway.send(&request.header("Cookie", cookie).header("Origin", &origin))
    };
    let first = ask(case.request(None), cookie).json();
    let token = first["next_page_token"].as_str().unwrap();
    assert_eq!(ask(case.request(Some(token)), cookie).status, 200, "the control");
    let other = gateway.sign_in("tom-b");
    assert_eq!(ask(case.request(Some(token)), &other).status, 400);
    let another = case.with("order_by", json!(["name DESC"]));
    assert_eq!(ask(another.request(Some(token)), cookie).status, 400);
    assert_eq!(ask(case.request(Some("eyJvZmZzZXQiOiAxfQ==")), cookie).status, 400);
}

/// Page by page, what MLflow itself says.
fn admin_sees_mlflow(mlflow: &Mlflow, gateway: &Gateway, cases: &[Case]) {
    let cookie = gateway.sign_in("ada");
    for case in cases {
        let mut token = None::<String>;
        loop {
            let request = case.request(token.as_deref());
            let own = mlflow.ask(&request);
            let through = gateway.send(&request.header("Cookie", &cookie).header("Origin", &gateway.origin()));
            assert_eq!(
                (through.status, &through.body),
                (own.status, &own.body),
                "{}",
                case.path
            );
            let page: Value = serde_json::from_slice(&own.body).unwrap_or_default();
            token = page["next_page_token"]
                .as_str()
                .filter(|token| !token.is_empty())
                .map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
    }
}

#[test]
fn a_member_finds_their_own_and_nothing_else_on_the_newest_version() {
    crawl(NEWEST, Version(3, 18));
}

#[test]
fn a_member_finds_their_own_and_nothing_else_on_the_middle_version() {
    crawl(MIDDLE, Version(3, 5));
}

#[test]
fn a_member_finds_their_own_and_nothing_else_on_the_oldest_version() {
    crawl(OLDEST, Version(2, 22));
}
