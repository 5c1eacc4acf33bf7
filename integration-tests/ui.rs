//! MLflow's own pages, unmodified, in a real browser: as three people with three roles.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::browser::travel;
use crate::support::gateway::{PASSWORD, Setup};
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, python};
use crate::support::root;

/// Two teams' experiments, each with a run that has a chart and a file.
const SEED: &str = r#"
import json, mlflow
made = []
for name in ("a/pages", "b/pages"):
    experiment = mlflow.set_experiment(name)
    with mlflow.start_run(run_name="charted") as run:
        for step in range(10):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text("What was noted.", "notes.txt")
    made.append({"experiment": {"id": experiment.experiment_id, "name": name}, "run": {"id": run.info.run_id}})
print(json.dumps(made))
"#;

#[test]
fn three_people_work_in_mlflows_pages_each_with_their_own_rights() {
    let mlflow = Mlflow::start(NEWEST);
    let gateway = Setup::new(&mlflow.url()).start();
    // One of them works below a path, with the same pages.
    let mut below = Setup::new(&mlflow.url());
    let address = format!("http://127.0.0.1:{}/team/ml", below.port);
    below.top = format!("public_url = \"{address}\"\n");
    let _below = below.start();
    let seeded = Command::new(python(NEWEST))
        .args(["-c", SEED])
        .env("MLFLOW_TRACKING_URI", mlflow.url())
        .output()
        .unwrap();
    assert!(seeded.status.success(), "{}", String::from_utf8_lossy(&seeded.stderr));
    let out = String::from_utf8(seeded.stdout).unwrap();
    let made: Value = serde_json::from_str(out.lines().rfind(|line| line.starts_with('[')).unwrap()).unwrap();
    let shots = root().join("target/screenshots");
    std::fs::create_dir_all(&shots).unwrap();
    for (user, sees_hidden, registered) in [("vera", true, 403), ("ed", true, 200), ("tom-a", false, 200)] {
        let seen = travel(
            "mlflow",
            &json!({
                "url": if user == "vera" { address.clone() } else { gateway.url() }, "user": user, "password": PASSWORD, "hidden": "b/pages",
                "experiment": made[0]["experiment"], "run": made[0]["run"],
                "shots": if user == "ed" { Some(&shots) } else { None },
            }),
        );
        assert_eq!(seen["sees"], true, "{user}: {seen}");
        assert_eq!(seen["seesHidden"], sees_hidden, "{user}: {seen}");
        assert_eq!(seen["registered"], registered, "{user}: {seen}");
        let unexpected: Vec<_> = seen["refused"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .filter(|refused| {
                !["assistant", "registered-models/create"]
                    .iter()
                    .any(|known| refused.contains(known))
            })
            .collect();
        assert!(unexpected.is_empty(), "{user} was refused {unexpected:?}");
    }
    let refused = gateway.send(
        &Request::get("/")
            .navigation()
            .header("Cookie", &gateway.sign_in("nina")),
    );
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("holds no role"), "{}", refused.text());
}
