//! Two people of two teams, each with MLflow's own client: neither finds anything of the other's, and each finds all of their own.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Setup};
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST, python};
use crate::support::root;

fn session(gateway: &Gateway, version: &str, token: &str, arguments: &[&str]) -> Value {
    let home = tempfile::tempdir().unwrap();
    let ran = Command::new(python(version))
        .arg(root().join("integration-tests/support/team_session.py"))
        .args(arguments)
        .env("MLFLOW_TRACKING_URI", gateway.url())
        .env("MLFLOW_TRACKING_TOKEN", token)
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .env("MLFLOW_DISABLE_TELEMETRY", "true")
        .env("HOME", home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        ran.status.success(),
        "{}",
        said.chars()
            .rev()
            .take(3000)
            .collect::<String>()
            .chars()
            .rev()
            .collect::<String>()
    );
    let out = String::from_utf8(ran.stdout).unwrap();
    serde_json::from_str(out.lines().rfind(|line| line.starts_with('{')).unwrap()).unwrap()
}

fn numbered(text: &str) -> Value {
    (0..7)
        .map(|number| format!("{text}{number}"))
        .collect::<Vec<_>>()
        .into()
}

fn meet(version: &'static str) {
    let mlflow = Mlflow::start(version);
    let gateway = Setup::new(&mlflow.url()).start();
    let teams = ["a", "b"].map(|team| (team, gateway.token(&format!("tom-{team}"))));
    let mut made = teams
        .each_ref()
        .map(|(team, token)| session(&gateway, version, token, &[team, "make"]));
    for (index, (team, _)) in teams.iter().enumerate() {
        made[index]["team"] = json!(team);
    }
    for (index, (team, token)) in teams.iter().enumerate() {
        let other = made[1 - index].to_string();
        let seen = session(&gateway, version, token, &[team, "look", &other]);
        assert_eq!(seen["experiments"], numbered(&format!("{team}/")), "{seen}");
        assert_eq!(seen["page sizes"], json!([3, 3, 1]), "full pages: {seen}");
        assert_eq!(seen["runs"], numbered(&format!("{team}-run-")), "{seen}");
        assert_eq!(seen["models"], numbered(&format!("{team}-model-")), "{seen}");
        assert!(
            seen["versions"]
                .as_array()
                .unwrap()
                .iter()
                .all(|name| name.as_str().unwrap().starts_with(&format!("{team}-"))),
            "{seen}"
        );
        if version == NEWEST {
            assert_eq!(seen["prompts"], numbered(&format!("{team}-prompt-")), "{seen}");
            assert_eq!(seen["traces"], 7, "{seen}");
            assert_eq!(seen["their trace"], "PERMISSION_DENIED", "{seen}");
        }
        for refused in [
            "their run",
            "no such run",
            "their experiment",
            "their model",
            "no such model",
            "write to theirs",
            "their files",
        ] {
            assert_eq!(seen[refused], "PERMISSION_DENIED", "{refused}: {seen}");
        }
        assert!(
            !seen.to_string().contains(if *team == "a" { "b/" } else { "a/" }),
            "{seen}"
        );
    }
}

#[test]
fn two_teams_never_meet_on_the_newest_version() {
    meet(NEWEST);
}

#[test]
fn two_teams_never_meet_on_the_oldest_version() {
    meet(OLDEST);
}
