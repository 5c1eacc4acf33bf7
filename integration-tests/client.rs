//! MLflow's own Python client through the gateway behaves as without it, and the gateway stays small meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST, python};
use crate::support::root;

/// MiB of the large artifact.
const LARGE: &str = "200";

fn session(version: &str, uri: &str, token: Option<&str>, prefix: &str) -> Value {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(python(version));
    command
        .arg(root().join("integration-tests/support/client_session.py"))
        .args([prefix, LARGE])
        .env("MLFLOW_TRACKING_URI", uri)
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("HOME", home.path());
    if let Some(token) = token {
        command.env("MLFLOW_TRACKING_TOKEN", token);
    }
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success(),
        "{}",
        said.lines()
            .rev()
            .take(25)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n")
    );
    let out = String::from_utf8(ran.stdout).unwrap();
    let line = out.lines().rfind(|line| line.starts_with('{')).unwrap();
    // Names hold the prefix; without it the two sessions must have seen the same.
    serde_json::from_str(&line.replace(prefix, "PREFIX")).unwrap()
}

fn compare(version: &'static str) {
    let mlflow = Mlflow::start(version);
    let gateway = Setup::new(&mlflow.url()).start();
    let token = gateway.token("mona");
    let direct = session(version, &mlflow.url(), None, "direct");
    let through = session(version, &gateway.url(), Some(&token), "through");
    assert_eq!(direct, through);
    let peak = gateway.server.peak_memory();
    assert!(peak < 64 * 1024, "the gateway took {peak} KiB");
}

#[test]
fn the_newest_client_sees_the_same_through_the_gateway() {
    compare(NEWEST);
}

#[test]
fn the_oldest_client_sees_the_same_through_the_gateway() {
    compare(OLDEST);
}

fn upload(gateway: &Gateway, cookie: &str, size: usize) -> String {
    let asked = |request: Request| gateway.send(&request.header("Cookie", cookie).header("Origin", &gateway.origin()));
    let name = format!("slow/{size}");
    let made =
        asked(Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&serde_json::json!({"name": name})));
    let experiment = made.json()["experiment_id"].as_str().unwrap().to_owned();
    let body = serde_json::json!({"experiment_id": experiment, "start_time": 1});
    let run = asked(Request::new("POST", "/api/2.0/mlflow/runs/create").json(&body)).json();
    let run = run["run"]["info"]["run_id"].as_str().unwrap().to_owned();
    let path = format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/big.bin");
    let put = asked(Request::new("PUT", &path).body("application/octet-stream", vec![7; size]));
    assert_eq!(put.status, 200, "{}", put.text());
    path
}

#[test]
fn fifty_slow_downloads_delay_nobody_else() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let cookie = gateway.sign_in("ed");
    let path = upload(&gateway, &cookie, 32 << 20);
    let ask = || {
        let start = Instant::now();
        let answer = gateway.send(&Request::get("/auth/account").header("Cookie", &cookie));
        assert_eq!(answer.status, 200);
        start.elapsed()
    };
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let stream = TcpStream::connect(gateway.authority()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            (&stream)
                .write_all(
                    &Request::get(&path)
                        .header("Cookie", &cookie)
                        .bytes(&gateway.authority()),
                )
                .unwrap();
            let mut reader = BufReader::with_capacity(4096, stream);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.contains("200"), "{line}");
            // And then nothing is read: the download hangs on its client.
            reader
        })
        .collect();
    let worst = (0..20).map(|_| ask()).max().unwrap();
    assert!(worst < Duration::from_secs(2), "somebody else waited {worst:?}");
    let peak = gateway.server.peak_memory();
    assert!(peak < 64 * 1024, "the gateway took {peak} KiB");
    // The control: a slow download that goes on is whole.
    let mut first = slow.into_iter().next().unwrap();
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&[7; 1024]) && rest.len() > 32 << 20);
}
