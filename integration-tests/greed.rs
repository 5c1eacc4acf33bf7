//! Requests that ask for more than they are worth: what they take here is bounded, and what is not theirs is not looked up for them.

use serde_json::json;

use crate::support::echo::Echo;
use crate::support::gateway::Setup;
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::person::Person;

const SEARCH: &str = "/api/2.0/mlflow/experiments/search";

#[test]
fn a_body_of_many_values_takes_little_memory() {
    const MIB: usize = 1 << 20;
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    let bearer = format!("Bearer {}", gateway.token("vera"));
    let send = |body: String| {
        let request = Request::new("POST", SEARCH).header("Authorization", &bearer);
        gateway.send(&request.body("application/json", body))
    };
    for _ in 0..2 {
        let told = send(format!("{{\"a\":[{}0]}}", "0,".repeat(16 * MIB)));
        assert_eq!(told.status, 413, "{}", told.text());
    }
    let long = send(json!({"filter": "x".repeat(16 * MIB)}).to_string());
    assert_eq!(long.status, 200, "the control: {}", long.text());
    let peak = gateway.server.peak_memory();
    assert!(peak < 300 << 10, "{peak} KiB");
}

#[test]
fn nothing_is_looked_up_in_a_workspace_for_who_may_not_use_it() {
    let mlflow = Mlflow::shared(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    let (tom, ada) = (Person::new(&gateway, "tom-a"), Person::new(&gateway, "ada"));
    let id = tom.experiment("a/greed");
    let read = |person: &Person<'_>, workspace: &str| {
        let read = Request::get(&format!("/api/2.0/mlflow/experiments/get?experiment_id={id}"));
        person.send(read.header("X-MLFLOW-WORKSPACE", workspace))
    };
    assert_eq!(read(&tom, "").status, 200, "the control");
    let refused = read(&tom, "elsewhere");
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("USE on the workspace 'elsewhere'"),
        "{}",
        refused.text()
    );
    // This server has no workspaces, and says so to who may ask it.
    assert_eq!(read(&ada, "elsewhere").status, 502);
}
