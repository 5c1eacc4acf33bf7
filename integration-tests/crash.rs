//! `kill -9` in the middle of many writes: whatever was answered is in the trail, and the chain holds.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::gateway::Setup;
use crate::support::http::{Request, read};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::process::until;

/// Sends without asserting: the gateway dies under it. The answer's request id, where it came whole.
fn try_send(authority: &str, request: &Request) -> Option<String> {
    use std::io::Write;
    let stream = std::net::TcpStream::connect(authority).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    (&stream).write_all(&request.bytes(authority)).ok()?;
    let answer = read(&mut std::io::BufReader::new(stream), false).ok()?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-request-id").map(str::to_owned)
}

#[test]
fn a_kill_in_the_middle_of_writes_loses_no_event_of_an_answered_one() {
    let mlflow = Mlflow::shared(NEWEST);
    let mut gateway = Setup::new(&mlflow.url()).start();
    let cookie = gateway.sign_in("ed");
    let (authority, origin) = (gateway.authority(), gateway.origin());
    let write = |number: usize| {
        let body = serde_json::json!({"experiment_id": "0", "key": format!("crash-{number}"), "value": "x"});
        Request::new("POST", "/api/2.0/mlflow/experiments/set-experiment-tag")
            .json(&body)
            .header("Cookie", &cookie)
            .header("Origin", &origin)
    };
    let answered = Mutex::new(HashSet::new());
    let (next, over) = (std::sync::atomic::AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= 1000 {
                        break;
                    }
                    if let Some(id) = try_send(&authority, &write(number)) {
                        answered.lock().unwrap().insert(id);
                    }
                }
            });
        }
        until("half of the writes are answered", Duration::from_secs(120), || {
            answered.lock().unwrap().len() >= 500
        });
        gateway.server.signal("KILL");
        over.store(true, Ordering::SeqCst);
    });
    let answered = answered.into_inner().unwrap();
    assert!(
        answered.len() >= 500 && answered.len() < 1000,
        "{} were answered",
        answered.len()
    );
    until("the killed gateway is gone", Duration::from_secs(10), || {
        !gateway.server.is_running()
    });
    gateway.restart();
    let verified = gateway.verify_audit();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    let recorded: HashSet<_> = gateway
        .events()
        .iter()
        .filter(|event| event["action"] == "experiment.set_tag")
        .filter_map(|event| event["request_id"].as_str().map(str::to_owned))
        .collect();
    let lost: Vec<_> = answered.difference(&recorded).collect();
    assert!(lost.is_empty(), "answered and not recorded: {lost:?}");
}
