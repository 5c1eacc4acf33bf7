//! MLflow's own screens, unmodified, for a member of one of two teams: the words on each are those of a server that holds
//! nothing but this team's things, counts, pages, searches, comparisons and charts included.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::browser::travel;
use crate::support::gateway::{PASSWORD, Setup};
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST, empty_folder, python};
use crate::support::root;

/// A server of team a's alone, and one of the same and team b's.
fn two_servers(version: &'static str) -> (Mlflow, Mlflow) {
    let (one, both) = (empty_folder(version), empty_folder(version));
    let home = tempfile::tempdir().unwrap();
    let filled = Command::new(python(version))
        .arg(root().join("integration-tests/support/two_teams.py"))
        .args([one.path(), both.path()])
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    (Mlflow::start_in(one, version), Mlflow::start_in(both, version))
}

/// The ids of runs of team a by their names.
fn run_id(mlflow: &Mlflow, name: &str) -> String {
    let search = json!({"experiment_ids": ["1"], "filter": format!("attributes.run_name = '{name}'")});
    let found = mlflow.ask(&Request::new("POST", "/api/2.0/mlflow/runs/search").json(&search));
    found.json()["runs"][0]["info"]["run_id"].as_str().unwrap().to_owned()
}

const NEXT: &str = "button:has-text('Next')";

/// What both versions' pages have at the same places.
fn common(mlflow: &Mlflow) -> Vec<Value> {
    let (last, other) = (run_id(mlflow, "a-run-104"), run_id(mlflow, "a-run-003"));
    let two = format!("runs=[\"{last}\",\"{other}\"]&experiments=[\"1\"]");
    vec![
        json!({"go": format!("#/experiments/1/runs/{last}"), "shows": "104.3333333"}),
        json!({"go": format!("#/experiments/1/runs/{last}/model-metrics"), "shows": "a-run-104 (loss)"}),
        json!({"go": format!("#/experiments/1/runs/{last}/artifacts/notes.txt"), "shows": "What team a noted."}),
        // MLflow's comparison breaks by itself where it does not have both runs' files yet.
        json!({"go": format!("#/experiments/1/runs/{other}/artifacts"), "shows": "notes.txt"}),
        json!({"go": format!("#/compare-runs?{two}"), "shows": "104.00000"}),
        json!({"go": format!("#/metric?{two}&metric=\"loss\"&plot_metric_keys=[\"loss\"]"), "shows": "104.33333333333333 (step=2)"}),
        json!({"go": "#/models", "shows": "a-model-24"}),
        json!({"press": NEXT, "shows": "a-model-29"}),
        json!({"go": "#/models/a-model-00", "shows": "Made by team a."}),
        json!({"go": "#/models/a-model-00/versions/1", "shows": "The first."}),
    ]
}

fn newest(mlflow: &Mlflow) -> Vec<Value> {
    let mut steps = vec![
        json!({"go": "#/", "shows": "a/29"}),
        json!({"go": "#/experiments", "shows": "a/29"}),
        json!({"press": NEXT, "shows": "a/04"}),
        json!({"fill": ["main input[placeholder*='earch']", "a/0"], "shows": "a/09"}),
        json!({"go": "#/experiments/1/runs", "shows": "100 matching runs"}),
        json!({"press": "button:has-text('Load more')", "shows": "105 matching runs"}),
        json!({"fill": ["main input[placeholder*='metrics']", "params.rate = \"7\""], "shows": "1 matching run"}),
        json!({"go": "#/experiments/2/traces", "shows": "3 of 3 traces"}),
        json!({"press": "text=question", "shows": "a-span"}),
        json!({"go": "#/prompts", "shows": "a-prompt-2"}),
        json!({"go": "#/prompts/a-prompt-0", "shows": "Say {{what}} for team a."}),
        json!({"go": "#/models", "shows": "a-model-24"}),
        json!({"fill": ["main input[placeholder*='models']", "a-model-2"], "shows": "a-model-29"}),
        json!({"fill": ["main input[placeholder*='models']", "tags.half = \"odd\""], "shows": "a-model-29"}),
    ];
    steps.extend(common(mlflow));
    steps
}

/// A member of team a before both teams' things, and anybody before team a's alone.
fn compare(version: &'static str, steps: impl Fn(&Mlflow) -> Vec<Value>, refused_to_all: &[&str]) {
    let (one, both) = two_servers(version);
    let gateway = Setup::new(&both.url()).start();
    let steps = steps(&one);
    let walk = |url: &str, user: Option<&str>| {
        let input = json!({"url": url, "user": user, "password": PASSWORD, "steps": steps});
        travel("screens", &input)
    };
    let (alone, through) = (walk(&one.url(), None), walk(&gateway.url(), Some("tom-a")));
    for (step, (expected, seen)) in steps.iter().zip(words(&alone).zip(words(&through))) {
        let more: Vec<_> = seen.lines().filter(|line| !expected.contains(line)).collect();
        let less: Vec<_> = expected.lines().filter(|line| !seen.contains(line)).collect();
        assert!(
            seen == expected,
            "{step}: there are {more:?}, and not {less:?}, in {seen}"
        );
        assert!(!seen.contains("b/") && !seen.contains("b-"), "{step}: {seen}");
    }
    assert_eq!(words(&through).count(), steps.len());
    let failed = |journey: &Value| {
        let failed = journey["failed"].as_array().unwrap().iter();
        failed.map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let plain = failed(&alone);
    let mut more = failed(&through);
    more.retain(|line| !plain.contains(line) && !refused_to_all.iter().any(|part| line.contains(part)));
    assert_eq!(more, [] as [&str; 0], "beyond {plain:?}");
    assert_eq!(complaints(&through), complaints(&alone));
    // What they may not is said where they asked for it.
    if version == NEWEST {
        let refused = json!([
            {"go": "#/experiments", "shows": "a/29"},
            {"press": "main tbody input[type=checkbox], main [role=row]:has-text('a/29') input[type=checkbox]", "shows": "a/29"},
            {"press": "main button:has-text('Delete')", "shows": "The following experiments will be deleted"},
            {"press": "[role=dialog] button:has-text('Delete')", "shows": "This needs MANAGE on the experiment that it names."},
        ]);
        let input = json!({"url": gateway.url(), "user": "tom-a", "password": PASSWORD, "steps": refused});
        let said = travel("screens", &input);
        assert!(
            said["failed"]
                .to_string()
                .contains("403 POST /ajax-api/2.0/mlflow/experiments/delete"),
            "{said}"
        );
    }
}

/// Without what says only that the machine was slow.
fn complaints(journey: &Value) -> Vec<&Value> {
    let all = journey["complaints"].as_array().unwrap().iter();
    all.filter(|complaint| !complaint.to_string().contains("ResizeObserver"))
        .collect()
}

fn words(journey: &Value) -> impl Iterator<Item = &str> {
    journey["screens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
}

#[test]
fn a_team_sees_mlflows_screens_as_if_it_were_alone() {
    // MLflow's assistant is off; and a search from a later page asks once with that page's token before it asks without, which
    // here is a place in its own list alone.
    let expected = ["/assistant/", "400 GET /ajax-api/2.0/mlflow/experiments/search"];
    compare(NEWEST, newest, &expected);
}

#[test]
fn a_team_sees_the_oldest_screens_as_if_it_were_alone() {
    let steps = |mlflow: &Mlflow| {
        let mut steps = vec![json!({"go": "#/experiments/1", "shows": "100 matching runs"})];
        steps.extend(common(mlflow));
        steps
    };
    compare(OLDEST, steps, &[]);
}
