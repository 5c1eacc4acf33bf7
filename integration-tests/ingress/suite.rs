//! What every proxy must do, whatever it speaks.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::spellings::{Place, make, odd_targets};
use crate::support::browser::travel;
use crate::support::echo::Echo;
use crate::support::gateway::PASSWORD;
use crate::support::http::{Request, Response};
use crate::support::ingress::{Kind, Stand};
use crate::support::mlflow::{Mlflow, NEWEST, python};
use crate::support::root;

/// Whether the client's token and cookies reach MLflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Private {
    Kept,
    Passed,
}

/// A run with a file of 100 MiB, as a training job makes it.
const JOB: &str = r#"
import os, sys, tempfile
import mlflow
mlflow.set_experiment(sys.argv[1])
with mlflow.start_run() as run:
    mlflow.log_param("p", 1)
    mlflow.log_metric("m", 0.5)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "big.bin")
        with open(path, "wb") as file:
            file.truncate(100 << 20)
        mlflow.log_artifact(path)
    print([file.file_size for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)])
"#;

const IDENTITY: [&str; 5] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-mlgate-roles",
    "x-mlgate-assertion",
];

/// Believed by MLflow, or by what may stand before it.
const CLAIMS: [&str; 6] = [
    "remote-user",
    "x-remote-user",
    "x-auth-request-user",
    "x-mlflow-guardrail-bypass",
    "x-mlflow-gateway-caller",
    "x-mlflow-assistant-delegation",
];

pub(super) fn accept(kind: Kind, private: Private) {
    let mlflow = Mlflow::shared(NEWEST);
    let stand = Stand::new(kind, &mlflow.url());
    let slug = kind.slug();
    let (mine, theirs) = (make(&mlflow, &format!("a/{slug}")), make(&mlflow, &format!("b/{slug}")));
    let mut row = vec![kind.name().to_owned()];
    row.extend(people_and_programs(&stand, &mine));
    row.push(forged_headers(kind, private));
    row.push(odd_paths_and_headers(&stand, &mine, &theirs));
    row.push(a_job(&stand, &format!("a/{slug}")));
    row.extend(without_the_gateway(stand, &mine));
    let row = format!("| {} |", row.join(" | "));
    let folder = root().join("target/ingress");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(&slug), format!("{row}\n")).unwrap();
    let page = std::fs::read_to_string(root().join("docs/ingress.md")).unwrap();
    assert!(page.contains(&row), "docs/ingress.md has another row than this:\n{row}");
}

fn get_experiment(place: &Place) -> Request {
    Request::get(&format!(
        "/api/2.0/mlflow/experiments/get?experiment_id={}",
        place.experiment
    ))
}

fn bearer(stand: &Stand, user: &str) -> String {
    format!("Bearer {}", stand.gateway.token(user))
}

/// The cells: navigation without a session, with one, a program without a token, with one, a wrong role.
fn people_and_programs(stand: &Stand, mine: &Place) -> Vec<String> {
    // nginx as ingress-nginx sets it up redirects the page alone.
    let page = "/?x=1&y=%2F";
    let stranger = stand.send(&Request::get(page).navigation());
    let location = stranger.header("location").unwrap_or_default().to_owned();
    let rd: String = url::form_urlencoded::byte_serialize(format!("{}{page}", stand.url()).as_bytes()).collect();
    let sign_in = format!("{}/auth/login?rd=", stand.url());
    assert!(location.starts_with(&sign_in), "{location}");
    let back: Vec<_> = url::Url::parse(&location).unwrap().query_pairs().into_owned().collect();
    assert_eq!(back, [("rd".to_owned(), format!("{}{page}", stand.url()))], "{rd}");
    let seen = travel(
        "comes_back",
        &json!({"url": stand.url(), "path": page, "user": "ed", "password": PASSWORD}),
    );
    assert_eq!(seen["landed"], format!("{}{page}", stand.url()));
    assert_eq!(seen["status"], 200, "MLflow's own page: {seen}");
    let cookie = stand.sign_in("ed");
    let person = stand.send(&Request::get("/").navigation().header("Cookie", &cookie));
    assert!(person.text().contains("<title>MLflow</title>"), "{}", person.text());
    let from_here = |origin: &str| {
        let tag = json!({"run_id": mine.run, "key": "k", "value": "v"});
        stand.send(
            &Request::new("POST", "/api/2.0/mlflow/runs/set-tag")
                .header("Cookie", &cookie)
                .header("Origin", origin)
                .json(&tag),
        )
    };
    assert_eq!(from_here(&stand.url()).status, 200);
    assert_eq!(from_here("http://evil.example").status, 403);
    let programs: Vec<Response> = [
        get_experiment(mine),
        get_experiment(mine).header("X-Requested-With", "XMLHttpRequest"),
        Request::new("POST", "/api/2.0/mlflow/runs/create").json(&json!({"experiment_id": mine.experiment})),
        Request::new("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/x").body("application/octet-stream", "x"),
        get_experiment(mine).header("Authorization", "Bearer mlg_pat_x"),
    ]
    .iter()
    .map(|request| stand.send(request))
    .collect();
    for answer in &programs {
        assert_eq!((answer.status, answer.header("location")), (401, None));
    }
    let with_token = stand.send(&get_experiment(mine).header("Authorization", &bearer(stand, "tom-a")));
    assert_eq!(with_token.json()["experiment"]["experiment_id"], mine.experiment);
    let wrong = ["tom-b", "nina"].map(|user| {
        let asked = get_experiment(mine).header("Authorization", &bearer(stand, user));
        stand.send(&asked).status
    });
    assert_eq!(wrong, [403, 403]);
    assert_ne!(stand.send(&Request::get("/auth/check/auth-request")).status, 200);
    [
        stranger.status,
        person.status,
        programs[0].status,
        with_token.status,
        wrong[0],
    ]
    .map(|status| status.to_string())
    .into()
}

/// What reaches an upstream that tells what it was sent.
fn forged_headers(kind: Kind, private: Private) -> String {
    let echo = Echo::start();
    let stand = Stand::new(kind, &echo.url);
    let mut forged = Vec::new();
    for name in IDENTITY.iter().chain(&CLAIMS) {
        for (from, to) in [("", ""), ("-", "_"), ("-", ".")] {
            forged.push(if from.is_empty() {
                (*name).to_owned()
            } else {
                name.replace(from, to)
            });
        }
        forged.push(name.replacen('-', "_", 1));
        forged.push(name.to_uppercase());
    }
    let with_forged = |request: Request| {
        forged
            .iter()
            .fold(request, |request, name| request.header(name, "forged"))
    };
    let request = Request::get("/api/2.0/mlflow/experiments/get?experiment_id=1");
    let known =
        with_forged(request.header("Authorization", &bearer(&stand, "ed"))).header("Cookie", "mlgate=x; theme=dark");
    let nobody = with_forged(Request::get("/health"));
    for (asked, user) in [(known, "ed"), (nobody, "")] {
        let answer = stand.send(&asked);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.json();
        let pairs: Vec<(String, String)> = told["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| {
                (
                    pair[0].as_str().unwrap().to_lowercase(),
                    pair[1].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        let arrived: Vec<_> = pairs.iter().filter(|(_, value)| value.contains("forged")).collect();
        assert!(arrived.is_empty(), "{kind:?}: {arrived:?}");
        for name in IDENTITY {
            let values: Vec<_> = pairs
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
                .collect();
            match (name, user) {
                (_, "") => assert!(values.iter().all(|value| value.is_empty()), "{name}: {values:?}"),
                ("x-forwarded-user", user) => assert_eq!(values, [user]),
                _ => assert!(values.len() == 1 && !values[0].is_empty(), "{name}: {values:?}"),
            }
        }
        if private == Private::Kept {
            let ours = pairs
                .iter()
                .find(|(key, value)| key == "authorization" || (key == "cookie" && value.contains("mlgate=")));
            assert_eq!(ours, None, "{kind:?}");
        }
    }
    "none arrives".to_owned()
}

/// The project's own list of second spellings, asked through the proxy and of the gateway as a proxy: the same decision.
fn odd_paths_and_headers(stand: &Stand, mine: &Place, theirs: &Place) -> String {
    let token = bearer(stand, "tom-a");
    let allowed = |answer: &Response| answer.status < 400;
    let same = |request: Request| {
        let request = request.header("Authorization", &token);
        let (through, proxied) = (stand.send(&request), stand.gateway.send(&request));
        assert_eq!(
            allowed(&through),
            allowed(&proxied),
            "{:?} {} {}: {} behind the ingress, {} behind the gateway",
            request.headers.first(),
            request.method,
            request.target,
            through.status,
            proxied.status
        );
        allowed(&through)
    };
    assert!(same(get_experiment(mine)), "the control");
    assert!(!same(get_experiment(theirs)), "the control");
    for target in odd_targets(mine, theirs) {
        match sent_as(stand.kind, &target) {
            sent if sent == target => assert!(!same(Request::get(&target)), "{target}"),
            // One reading is left: that one is decided on, and sent.
            sent => {
                let ask = |target: &str| Request::get(target).header("Authorization", &token);
                let (through, proxied) = (stand.send(&ask(&target)), stand.gateway.send(&ask(&sent)));
                assert_eq!(
                    allowed(&through),
                    allowed(&proxied),
                    "{target}: {} {}",
                    through.status,
                    proxied.status
                );
            }
        }
    }
    for method in ["get", "HEAD", "TRACE", "PROPFIND"] {
        same(Request::new(method, &get_experiment(mine).target));
    }
    for (name, value) in [
        ("X-Original-URL", "http://127.0.0.1/health"),
        ("X-Original-Method", "GET"),
        ("X-Forwarded-Uri", "/health"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-For", "a"),
        ("X-Forwarded-Prefix", "/auth/login"),
        ("X-Rewrite-Url", "/health"),
        ("X-Envoy-Original-Path", "/health"),
        ("X-Envoy-Auth-Partial-Body", "false"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X_Forwarded_User", "ada"),
        ("X.Forwarded.User", "ada"),
        ("Authorization", "Bearer mlg_pat_x"),
    ] {
        assert_eq!(
            same(get_experiment(mine).header(name, value)),
            name != "Authorization",
            "{name}"
        );
        assert!(!same(get_experiment(theirs).header(name, value)), "{name}");
    }
    match sent_as(stand.kind, "/%61") {
        sent if sent == "/a" => "same decision, of `a` for `%61`".to_owned(),
        _ => "same decision".to_owned(),
    }
}

/// What a proxy makes of a target before anything else: Traefik takes the escapes off what needs none (RFC 3986, 6.2.2.2).
fn sent_as(kind: Kind, target: &str) -> String {
    if kind != Kind::Traefik {
        return target.to_owned();
    }
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)));
    let mut sent = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        sent.push_str(before);
        let digits = after.get(..2).unwrap_or_default();
        match u8::from_str_radix(digits, 16) {
            Ok(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => sent.push(char::from(byte)),
            _ => sent.push_str(&format!("%{digits}")),
        }
        rest = after.get(digits.len()..).unwrap_or_default();
    }
    sent.push_str(rest);
    query.map_or(sent.clone(), |query| format!("{sent}?{query}"))
}

fn a_job(stand: &Stand, experiment: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new(python(NEWEST))
        .args(["-c", JOB, experiment])
        .env("MLFLOW_TRACKING_URI", stand.url())
        .env("MLFLOW_TRACKING_TOKEN", stand.gateway.token("ed"))
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("HOME", home.path())
        .output()
        .unwrap();
    let (out, said) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(
        ran.status.success(),
        "{:?}: {said}\n{}",
        stand.kind,
        stand.gateway.log()
    );
    let sizes: Value = serde_json::from_str(out.lines().rfind(|line| line.starts_with('[')).unwrap()).unwrap();
    assert_eq!(sizes, json!([100 << 20]));
    "100 MiB".to_owned()
}

/// The cells: a gateway that does not answer, and one that is not there.
fn without_the_gateway(mut stand: Stand, mine: &Place) -> [String; 2] {
    let asked = get_experiment(mine).header("Authorization", &bearer(&stand, "ada"));
    assert_eq!(stand.send(&asked).status, 200, "the control");
    stand.gateway.server.signal("STOP");
    let begun = Instant::now();
    let slow = stand.send(&asked).status;
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    stand.gateway.server.signal("KILL");
    stand.gateway.server.wait(Duration::from_secs(20));
    let gone = stand.send(&asked).status;
    for status in [slow, gone] {
        assert!(matches!(status, 403 | 500..=504), "{:?}: {status}", stand.kind);
    }
    [slow, gone].map(|status| status.to_string())
}
