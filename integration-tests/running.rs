//! Running it: reload whole or not at all, an end that finishes what is under way, health and metrics.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::echo::Echo;
use crate::support::gateway::Setup;
use crate::support::http::{Request, read_head};
use crate::support::process::until;

const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";

#[test]
fn a_new_configuration_takes_over_whole_and_a_bad_one_not_at_all() {
    let echo = Echo::start();
    let mut gateway = Setup::new(&echo.url).start();
    let session = gateway.sign_in("nina");
    let status = |gateway: &crate::support::gateway::Gateway| {
        gateway.send(&Request::get(READS).header("Cookie", &session)).status
    };
    assert_eq!(status(&gateway), 403);
    gateway.setup.sections += "[[role]]\nname = \"late\"\nusers = [\"local:nina\"]\ngrants = [{ permission = \"READ\", experiments = [\"*\"] }]\n";
    gateway.setup.write();
    until("the new role holds", Duration::from_secs(10), || {
        status(&gateway) == 200
    });

    gateway.setup.sections += "nonsense = true\n";
    gateway.setup.write();
    let metrics = |name: &str| {
        Request::get("/metrics")
            .send(&gateway.admin_authority())
            .text()
            .contains(name)
    };
    until("the bad one is counted", Duration::from_secs(10), || {
        metrics("mlgate_reloads_total{outcome=\"refused\"} 1")
    });
    assert_eq!(status(&gateway), 200);
    assert_eq!(gateway.send(&Request::get("/auth/healthz")).status, 200);
    // As load balancers ask.
    for path in ["/auth/healthz", "/auth/readyz"] {
        for authority in [gateway.authority(), gateway.admin_authority()] {
            assert_eq!(
                Request::new("HEAD", path).send(&authority).status,
                200,
                "{path} at {authority}"
            );
        }
    }
    let trail = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert_eq!(trail.matches("config.reload").count(), 2, "{trail}");
}

#[test]
fn what_is_under_way_is_finished_before_the_end() {
    let echo = Echo::start();
    let mut gateway = Setup::new(&echo.url).start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let asked = Request::get(READS)
        .header("Authorization", &token)
        .header("X-Play", "sse");
    let mut stream = TcpStream::connect(gateway.authority()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&asked.bytes(&gateway.authority())).unwrap();
    let mut stream = BufReader::new(stream);
    assert_eq!(read_head(&mut stream).unwrap().status, 200);
    gateway.server.signal("TERM");
    until("nobody new is let in", Duration::from_secs(10), || {
        TcpStream::connect(gateway.authority()).is_err()
    });
    echo.release();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("second") && rest.ends_with("0\r\n\r\n"), "{rest}");
    assert_eq!(gateway.server.wait(Duration::from_secs(20)), Some(0));
    assert!(!gateway.setup.path("mlgate.sock").exists());
    let trail = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert!(trail.lines().last().unwrap().contains("experiment."), "{trail}");
}

#[test]
fn metrics_and_commands_are_for_operators_alone() {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    assert_eq!(gateway.send(&Request::get("/metrics")).status, 401);
    // It is an admin's token that it asks for.
    assert_eq!(gateway.send(&Request::get("/auth/admin/api/sessions")).status, 401);
    let admin = |path: &str| Request::get(path).send(&gateway.admin_authority());
    assert_eq!(admin("/auth/admin/api/sessions").status, 404);
    assert_eq!(admin("/auth/readyz").json()["degraded"], serde_json::json!([]));
    let _ = gateway.sign_in("vera");
    assert!(gateway.sign_in_with("vera", "not the password").is_err());
    let metrics = admin("/metrics").text();
    for line in [
        "mlgate_requests_total{class=\"none\",outcome=\"refused\"} 1",
        "mlgate_logins_total{provider=\"local\",outcome=\"allowed\"} 1",
        "mlgate_logins_total{provider=\"local\",outcome=\"refused\"} 1",
        "mlgate_audit_lag_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(
        gateway.send(&Request::get("/auth/readyz")).json(),
        serde_json::json!({"status": "ready"})
    );
    let keys = gateway.send(&Request::get("/auth/oauth2/jwks")).json();
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert!(keys["keys"][0].get("d").is_none());
}

/// Whoever probes has a limit of its own, and would take a silent MLflow for a dead gateway.
#[test]
fn an_mlflow_that_falls_silent_keeps_no_probe_waiting() {
    let is_silent = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = is_silent.clone();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            let _ = read_head(&mut BufReader::new(&stream));
            if !silent.load(Ordering::SeqCst) {
                let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n3.18.0");
            }
            held.push(stream);
        }
    });
    let gateway = Setup::new(&url).start();
    let probe = || Request::get("/auth/readyz").send(&gateway.admin_authority());
    assert_eq!(probe().json()["degraded"], serde_json::json!([]));
    is_silent.store(true, Ordering::SeqCst);
    let asked = Instant::now();
    let answer = probe();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["degraded"][0]["part"], "mlflow");
}
