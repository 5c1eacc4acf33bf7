//! For any policy and any request: what reaches MLflow names nothing that was not granted, and is what came, byte for byte.
//! The upstream is a stand-in that knows a fixed world and notes what it is asked; thousands of cases are too many for a
//! real one, and what MLflow answers does not matter here.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mlgate::config::{self, Grant, Role};
use mlgate::domain::{Access, Caller, Identity, Kind, Permission, Scope, SystemClock, SystemRandom, Timestamp, Via};
use mlgate::mlflow::listing::{Cut, View};
use mlgate::mlflow::routes::{At, Need, Reply, Row, Verb, Version, rows};
use mlgate::mlflow::{Answer, Mlflow, MlflowError, OutgoingBody, Source};
use mlgate::outbound::UpstreamClient;
use mlgate::policy::Policy;
use mlgate::store::Sealer;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof};
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::lists::run;

/// Experiments `7000` to `7007`, four of each team, each with a run; and as many models and prompts.
const COUNT: usize = 8;

fn team(index: usize) -> &'static str {
    if index.is_multiple_of(2) { "a" } else { "b" }
}

fn experiment(index: usize) -> String {
    (7000 + index).to_string()
}

fn experiment_name(index: usize) -> String {
    format!("{}/exp{index}", team(index))
}

fn run_id(index: usize) -> String {
    format!("{index:01x}{}", "5e".repeat(15)) + "0"
}

fn model(index: usize) -> String {
    format!("{}-model{index}", team(index))
}

/// A stand-in for MLflow: look-ups about the world are answered, and everything asked is noted.
struct World {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let noted = noted.clone();
                std::thread::spawn(move || serve(&stream, &noted));
            }
        });
        Self { url, asked }
    }
}

fn serve(stream: &TcpStream, noted: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let target = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        noted
            .lock()
            .unwrap()
            .push(format!("{target} {}", String::from_utf8_lossy(&body)));
        let (status, answer) = answer(&target);
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        (&*stream).write_all(head.as_bytes()).ok()?;
        (&*stream).write_all(text.as_bytes()).ok()?;
    }
}

fn answer(target: &str) -> (&'static str, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asked = query.split_once('=').map(|(_, value)| value).unwrap_or_default();
    let described = |index: usize| json!({ "experiment_id": experiment(index), "name": experiment_name(index) });
    let found = match path.rsplit("/mlflow/").next().unwrap_or_default() {
        "experiments/get" => (0..COUNT)
            .find(|index| experiment(*index) == asked)
            .map(|index| json!({ "experiment": described(index) })),
        "experiments/search" => Some(json!({ "experiments": (0..COUNT).map(described).collect::<Vec<_>>() })),
        "runs/get" => (0..COUNT)
            .find(|index| run_id(*index) == asked)
            .map(|index| json!({ "run": { "info": { "run_id": asked, "experiment_id": experiment(index) } } })),
        "registered-models/get" => (0..COUNT)
            .find(|index| model(*index) == asked)
            .map(|_| json!({ "registered_model": { "name": asked } })),
        _ => Some(json!({})),
    };
    match found {
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", json!({ "error_code": "RESOURCE_DOES_NOT_EXIST" })),
    }
}

/// A request as it comes.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: String,
    query: Option<String>,
    body: String,
}

impl Source for Asked {
    fn method(&self) -> &str {
        self.method
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header(&self, name: &str) -> Vec<&[u8]> {
        match name {
            "content-type" if !self.body.is_empty() => vec![b"application/json"],
            "content-length" if !self.body.is_empty() => vec![b"1"],
            _ => Vec::new(),
        }
    }

    async fn body(&mut self) -> Result<Bytes, MlflowError> {
        Ok(Bytes::from(self.body.clone()))
    }
}

/// What may stand at a place: things of the world, of both teams, and one that is not there.
fn values(need: Need, picks: &[usize]) -> Option<(At, Vec<String>)> {
    let of = |name: fn(usize) -> String| picks.iter().map(|pick| name(*pick)).collect::<Vec<_>>();
    let lookup = mlgate::mlflow::lookup::Child::Run;
    match need {
        Need::Experiment(_, at) | Need::MaybeExperiment(_, at) => Some((at, of(experiment))),
        Need::Of(child, _, at) | Need::MaybeOf(child, _, at) if child == lookup => Some((at, of(run_id))),
        Need::Model(_, at) | Need::MaybeModel(_, at) => Some((at, of(model))),
        _ => None,
    }
}

fn build(row: &Row, picks: &[usize], camel: bool) -> Option<Asked> {
    let mut path = row.templates().next()?;
    let (mut query, mut body) = (url::form_urlencoded::Serializer::new(String::new()), Map::new());
    let mut any = false;
    let mut at_places: Vec<(At, Vec<String>)> = row.needs.iter().filter_map(|need| values(*need, picks)).collect();
    // A list's experiments are no need of its row.
    if matches!(
        row.action,
        "run.search" | "logged_model.search" | "experiment.search_datasets" | "dataset.search"
    ) && row.method == Verb::Post
    {
        at_places.push((
            At::Body("experiment_ids[]"),
            picks.iter().map(|pick| experiment(*pick)).collect(),
        ));
    }
    if row.action == "metric.get_history_bulk" {
        at_places.push((At::Query("run_id[]"), picks.iter().map(|pick| run_id(*pick)).collect()));
    }
    for (at, values) in at_places {
        any = true;
        let name = |place: &str| {
            let name = place
                .split('|')
                .next()
                .unwrap_or_default()
                .trim_end_matches("[]")
                .to_owned();
            if camel { to_camel(&name) } else { name }
        };
        match at {
            At::Path(name) => path = path.replace(&format!("{{{name}}}"), &values[0]),
            At::Query(place) if place.contains("[]") => {
                for value in &values {
                    query.append_pair(place.split('|').next()?.trim_end_matches("[]"), value);
                }
            }
            At::Query(place) => drop(query.append_pair(place.split('|').next()?, &values[0])),
            At::Body(place) | At::BodyOrQuery(place) if place.contains('.') => return None,
            At::Body(place) if place.ends_with("[]") => drop(body.insert(name(place), json!(values))),
            At::Body(place) | At::BodyOrQuery(place) => drop(body.insert(name(place), json!(values[0]))),
            At::Header(_) => return None,
        }
    }
    if !any || path.contains('{') {
        return None;
    }
    let query = query.finish();
    Some(Asked {
        method: row.method.as_str(),
        path,
        query: (!query.is_empty()).then_some(query),
        body: if row.method == Verb::Get {
            String::new()
        } else {
            Value::Object(body).to_string()
        },
    })
}

fn to_camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| {
        let (head, tail) = part.split_at(1.min(part.len()));
        whole + &head.to_uppercase() + tail
    })
}

fn policies() -> impl Strategy<Value = Vec<(Option<Permission>, Kind, String)>> {
    let permission = prop_oneof![
        1 => Just(None),
        4 => prop_oneof![Just(Permission::Read), Just(Permission::Edit), Just(Permission::Manage)].prop_map(Some),
    ];
    let kind = prop_oneof![Just(Kind::Experiment), Just(Kind::RegisteredModel), Just(Kind::Prompt)];
    let pattern = prop_oneof![
        Just("*".to_owned()),
        Just("a/*".to_owned()),
        Just("b-*".to_owned()),
        (0..COUNT).prop_map(experiment_name),
        (0..COUNT).prop_map(model),
        (0..COUNT).prop_map(|index| format!("id:{}", experiment(index))),
    ];
    prop::collection::vec((permission, kind, pattern), 0..5)
}

fn matches(pattern: &str, id: Option<&str>, name: &str) -> bool {
    match (pattern.strip_prefix("id:"), pattern.strip_suffix('*')) {
        (Some(wanted), _) => id == Some(wanted),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

/// The policy, said once more and as simply as can be: at least READ, and no DENY.
fn reads(grants: &[(Option<Permission>, Kind, String)], kind: Kind, id: Option<&str>, name: &str) -> bool {
    let mut about = grants
        .iter()
        .filter(|(_, of, pattern)| *of == kind && matches(pattern, id, name))
        .peekable();
    about.peek().is_some() && about.all(|(permission, ..)| permission.is_some())
}

fn caller() -> Caller {
    Caller {
        identity: Arc::new(Identity {
            provider: "corp".to_owned(),
            subject: "1".to_owned(),
            user: "ann".to_owned(),
            display_name: None,
            email: None,
            groups: vec!["team".to_owned()],
            authenticated_at: Timestamp::from_seconds(0),
        }),
        via: Via::Session,
        credential: None,
        scope: Scope::default(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

/// Everything of the world that a text names and that the grants do not open.
fn hidden_in(text: &str, grants: &[(Option<Permission>, Kind, String)]) -> BTreeSet<String> {
    let mut hidden = BTreeSet::new();
    for index in 0..COUNT {
        let (id, name) = (experiment(index), experiment_name(index));
        if !reads(grants, Kind::Experiment, Some(&id), &name) {
            hidden.extend([id, run_id(index)].into_iter().filter(|id| text.contains(id.as_str())));
        }
        if !reads(grants, Kind::RegisteredModel, None, &model(index)) && text.contains(&model(index)) {
            hidden.insert(model(index));
        }
    }
    hidden
}

#[test]
fn what_is_sent_names_nothing_that_was_not_granted_and_is_what_came() {
    let world = World::start();
    let config = config::Upstream {
        name: "production".into(),
        hosts: Vec::new(),
        url: world.url.parse().unwrap(),
        mlflow_version: Some("3.18".into()),
        ca_file: None,
        client_cert_file: None,
        client_key_file: None,
        basic_auth: None,
        connect_timeout: Duration::from_secs(5),
        response_timeout: Duration::from_secs(60),
        attribution: true,
        artifact_roots: Vec::new(),
        protected_aliases: Arc::default(),
        mlflow_roles: false,
        sharing: true,
        assistant: false,
    };
    let client = Arc::new(UpstreamClient::new(&config).unwrap());
    let mlflow = Mlflow::new(&config, client.clone(), Arc::new(SystemClock));
    let sealer = Sealer::new(&[[7; 32]], Arc::new(SystemRandom::default()));
    let table: Vec<&Row> = rows()
        .filter(|row| row.holds_in(Version(3, 18)) && row.reply != Reply::Refused && build(row, &[0], false).is_some())
        .collect();
    assert!(table.len() > 40, "only {} rows", table.len());
    let requests = (0..table.len(), prop::collection::vec(0..COUNT, 1..4), any::<bool>());
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1500)
    });
    let (mut forwarded, mut refused, mut cut) = (0, 0, 0);
    let mut case = 0;
    run(async {
        while case < 1500 {
            case += 1;
            let tree = |runner: &mut TestRunner| {
                use proptest::strategy::ValueTree as _;
                (
                    policies().new_tree(runner).unwrap().current(),
                    requests.new_tree(runner).unwrap().current(),
                )
            };
            let (grants, (row, picks, camel)) = tree(&mut runner);
            let row = table[row];
            let Some(asked) = build(row, &picks, camel) else {
                continue;
            };
            let role = Role {
                name: "team".to_owned(),
                groups: vec!["corp:team".to_owned()],
                users: Vec::new(),
                upstreams: Vec::new(),
                workspaces: Vec::new(),
                device_flow: true,
                grants: grants
                    .iter()
                    .map(|(permission, kind, pattern)| Grant {
                        permission: *permission,
                        patterns: vec![(*kind, vec![pattern.clone()])],
                    })
                    .collect(),
            };
            let policy = Policy::new(&[role]);
            let request = match mlflow.request(&mut asked.clone(), None, &|_| true).await {
                Ok(request) => request,
                Err(MlflowError::Malformed(_)) => continue,
                Err(error) => panic!("{asked:?}: {error}"),
            };
            let caller = caller();
            let standing = policy.standing(&caller.identity, "production");
            let Ok(permit) = policy.authorize(Some((caller, &standing)), request) else {
                refused += 1;
                continue;
            };
            let outgoing = permit.request().outgoing.clone();
            if let Answer::Listed(plan) = &permit.request().answer {
                world.asked.lock().unwrap().clear();
                let may = |access: &Access| permit.may(access);
                let view = View {
                    may: &may,
                    sealer: &sealer,
                    reader: "ann",
                    rights: case,
                };
                let found = plan.cut(&client, &outgoing, &view).await.unwrap();
                let mut sent = std::mem::take(&mut *world.asked.lock().unwrap());
                // What the gateway looks up for itself is no part of anybody's request.
                sent.retain(|text| text.starts_with(&asked.path));
                if let Cut::Forward(outgoing) = found {
                    let OutgoingBody::Bytes(body) = outgoing.body else {
                        continue;
                    };
                    sent.push(String::from_utf8_lossy(&body).into_owned());
                }
                cut += 1;
                for text in sent {
                    assert_eq!(
                        hidden_in(&text, &grants),
                        BTreeSet::new(),
                        "{asked:?} {grants:?} sent {text}"
                    );
                }
                continue;
            }
            forwarded += 1;
            let body = match &outgoing.body {
                OutgoingBody::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                // It is not read, so nothing of it is decided on: whatever comes is passed on.
                OutgoingBody::Stream => asked.body.clone(),
                OutgoingBody::Empty => String::new(),
            };
            let target = asked
                .query
                .as_ref()
                .map_or(asked.path.clone(), |query| format!("{}?{query}", asked.path));
            assert_eq!(
                hidden_in(&format!("{} {body}", outgoing.target), &grants),
                BTreeSet::new(),
                "{asked:?} {grants:?}"
            );
            assert_eq!(
                (outgoing.method.as_str(), outgoing.target, body),
                (asked.method, target, asked.body)
            );
        }
    });
    assert!(
        forwarded > 50 && refused > 50 && cut > 50,
        "{forwarded} forwarded, {refused} refused, {cut} cut"
    );
}
