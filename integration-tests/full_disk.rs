//! A full disk under the trail and the log, as the running gateway meets it: what `on_failure` says, and nothing worse.

use std::process::Command;
use std::time::Duration;

use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::process::until;

const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";

/// How large the gateway's files may become: a disk of that size, as far as it can tell.
fn limit_files(gateway: &Gateway, bytes: &str) {
    let (pid, limit) = (gateway.server.id(), format!("--fsize={bytes}:unlimited"));
    let done = Command::new("prlimit").args([&format!("--pid={pid}"), &limit]).status();
    assert!(done.unwrap().success());
}

fn gateway(echo: &Echo, on_failure: &str) -> Gateway {
    let mut setup = Setup::new(&echo.url);
    setup.audit = format!("file = \"audit.jsonl\"\non_failure = \"{on_failure}\"");
    // A disk that is full sends no signal.
    Gateway::start_after(setup, "trap '' XFSZ;")
}

fn heals(gateway: &Gateway, asks: &Request) {
    limit_files(gateway, "unlimited");
    until("the trail is written again", Duration::from_secs(10), || {
        gateway.send(asks).status == 200
            && Request::get("/auth/readyz").send(&gateway.admin_authority()).json()["degraded"] == serde_json::json!([])
    });
    let verified = gateway.verify_audit();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}

#[test]
fn without_room_for_its_event_a_request_is_refused_and_told_so() {
    let echo = Echo::start();
    let gateway = gateway(&echo, "refuse");
    let asks = Request::get(READS).header("Authorization", &format!("Bearer {}", gateway.token("vera")));
    assert_eq!(gateway.send(&asks).status, 200);
    limit_files(&gateway, "1");
    // The first finds the disk full with its answer in hand, the next are not begun.
    for _ in 0..3 {
        let answer = gateway.send(&asks);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["error_code"], "TEMPORARILY_UNAVAILABLE");
        assert!(answer.header("retry-after").is_some());
    }
    assert!(gateway.sign_in_with("ed", crate::support::gateway::PASSWORD).is_err());
    assert_eq!(gateway.send(&Request::get("/auth/healthz")).status, 200);
    heals(&gateway, &asks);
}

#[test]
fn where_the_operator_says_so_requests_go_on_without_their_events() {
    let echo = Echo::start();
    let gateway = gateway(&echo, "continue");
    let asks = Request::get(READS).header("Authorization", &format!("Bearer {}", gateway.token("vera")));
    limit_files(&gateway, "1");
    for _ in 0..3 {
        assert_eq!(gateway.send(&asks).status, 200);
    }
    let told = Request::get("/auth/readyz").send(&gateway.admin_authority());
    assert_eq!(told.status, 200);
    assert!(told.text().contains("audit"), "{}", told.text());
    heals(&gateway, &asks);
}
