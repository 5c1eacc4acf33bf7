//! Training jobs: the Python package's own tests, many processes on one sign-in, and what a job is told when it ends.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use mlgate::domain::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::browser::travel;
use crate::support::gateway::{Gateway, PASSWORD, Setup, users_toml};
use crate::support::http::Request;
use crate::support::lying_provider::LyingProvider;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST};
use crate::support::root;
use crate::support::terminal::{Terminal, Waiting};

const WORKERS: &str = "64";

fn own_tests(version: &'static str) {
    let terminal = Terminal::new();
    let mut command = terminal.python(version, "http://127.0.0.1:1");
    command
        .args(["-m", "unittest", "-q", "test_plugin"])
        .current_dir(root().join("clients/python/tests"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_python_package_passes_its_own_tests_with_the_newest_mlflow() {
    own_tests(NEWEST);
}

#[test]
fn the_python_package_passes_its_own_tests_with_the_oldest_mlflow() {
    own_tests(OLDEST);
}

fn log_in(terminal: &Terminal, gateway: &Gateway, user: &str) {
    let mut login = Waiting::start(terminal.mlgate(&["login", &gateway.url(), "--no-browser"]));
    let told = json!({"url": login.shown(), "label": "", "user": user, "password": PASSWORD, "decide": "Allow"});
    let seen = travel("terminal_by_browser", &told);
    let (code, said, complained) = login.end();
    assert_eq!(code, Some(0), "{said}{complained}{seen}");
}

/// `MLGATE_JOB_SECONDS` makes it last longer.
fn seconds() -> u64 {
    std::env::var_os("MLGATE_JOB_SECONDS")
        .and_then(|text| text.into_string().ok()?.parse().ok())
        .unwrap_or(20)
}

#[test]
fn a_job_of_many_processes_outlives_its_tokens_on_one_sign_in() {
    let mlflow = Mlflow::start(NEWEST);
    let mut setup = Setup::new(&mlflow.url());
    setup.sections += "[tokens]\naccess_lifetime = \"5s\"\n";
    let gateway = setup.start();
    let terminal = Terminal::new();
    log_in(&terminal, &gateway, "ed");
    let start = Instant::now();
    let ran = terminal
        .python(NEWEST, &gateway.url())
        .arg(root().join("integration-tests/support/terminal_job.py"))
        .args([WORKERS, &seconds().to_string()])
        .env("MLFLOW_TRACKING_AUTH", "mlgate")
        .output()
        .unwrap();
    let (out, complained) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    let told: Value = out
        .lines()
        .rfind(|line| line.starts_with('{'))
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("{out}{complained}"));
    assert_eq!(told["failed"], json!([]), "{complained}");
    assert!(told["done"].as_u64().unwrap() >= 64, "{told}");
    let took = start.elapsed().as_secs();
    let events = gateway.events();
    let refused: Vec<_> = events.iter().filter(|event| event["outcome"] != "allowed").collect();
    // Nobody was refused, not even a request that was then sent again, and no refresh token came a second time.
    assert!(refused.is_empty(), "{refused:#?}");
    let refreshed = events.iter().filter(|event| event["action"] == "token.refresh").count() as u64;
    // A token is good for 5 s and is replaced in its last; each refresh is one for all.
    assert!(
        (seconds() / 5..=took / 3 + 2).contains(&refreshed),
        "{refreshed} refreshes in {took} s"
    );
    let facts = format!("{} metrics, {refreshed} refreshes, {took} s\n", told["done"]);
    std::fs::write(root().join("target/terminal-job.txt"), facts).unwrap();
}

/// A job that takes one step at a time.
struct Job {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Job {
    fn start(mut command: Command, run: &str) -> Self {
        command
            .arg(root().join("integration-tests/support/terminal_steps.py"))
            .arg(run);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (
            child.stdin.take().unwrap(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        let mut job = Self { child, input, output };
        while job.line() != "ready" {}
        job
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.output.read_line(&mut line).unwrap() > 0, "the job has ended");
        line.trim_end().to_owned()
    }

    /// What came of the next step.
    fn step(&mut self) -> String {
        self.input.write_all(b"\n").unwrap();
        self.line()
    }

    /// What a step is told once it is refused, at the latest within a limit.
    fn refused_within(&mut self, limit: Duration) -> String {
        let start = Instant::now();
        loop {
            let told = self.step();
            if told != "done" {
                return told;
            }
            assert!(start.elapsed() < limit, "it still works after {limit:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_users(gateway: &Gateway, text: &str) {
    let (file, part) = (gateway.setup.path("users.toml"), gateway.setup.path("users.part"));
    std::fs::write(&part, text).unwrap();
    std::fs::rename(&part, Path::new(&file)).unwrap();
}

fn run_of(gateway: &Gateway, user: &str) -> String {
    let bearer = format!("Bearer {}", gateway.token(user));
    let asked = |path: &str, body: &Value| {
        let request = Request::new("POST", path).header("Authorization", &bearer);
        gateway.send(&request.json(body)).json()
    };
    let made = asked("/api/2.0/mlflow/experiments/create", &json!({"name": "terminal/steps"}));
    let body = json!({"experiment_id": made["experiment_id"], "start_time": 1});
    let made = asked("/api/2.0/mlflow/runs/create", &body);
    made["run"]["info"]["run_id"]
        .as_str()
        .unwrap_or_else(|| panic!("{made}"))
        .to_owned()
}

#[test]
fn a_job_comes_in_by_the_token_that_its_platform_gives_it() {
    let (idp, mlflow) = (LyingProvider::start(), Mlflow::shared(NEWEST));
    let mut setup = Setup::new(&mlflow.url());
    setup.sections += &format!(
        "[[trusted_issuer]]\nid = \"cluster\"\nissuer = \"{}\"\naudience = \"mlflow\"\nuser = \"cluster:{{job}}\"\n\
         match = {{ job = \"train\" }}\ngroups = [\"ci\"]\n[[role]]\nname = \"jobs\"\ngroups = [\"cluster:ci\"]\n\
         grants = [{{ permission = \"EDIT\", experiments = [\"terminal/*\"] }}]\n",
        idp.issuer
    );
    let gateway = setup.start();
    let terminal = Terminal::new();
    let (file, now) = (terminal.home.path().join("token"), SystemClock.now().seconds());
    let job = |name: &str, experiment: &str| {
        let claims = json!({
            "iss": idp.issuer, "aud": "mlflow", "sub": name, "job": name, "iat": now, "nbf": now - 5, "exp": now + 600,
        });
        std::fs::write(
            &file,
            idp.sign(&json!({"alg": "ES256", "kid": "one", "typ": "JWT"}), &claims),
        )
        .unwrap();
        let mut python = terminal.python(NEWEST, &gateway.url());
        python
            .env("MLFLOW_TRACKING_AUTH", "mlgate")
            .env("MLGATE_TOKEN_FILE", &file);
        let ran = python
            .args(["-c", &format!("import mlflow; mlflow.set_experiment('{experiment}')")])
            .output()
            .unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    let (worked, told) = job("train", "terminal/by-platform");
    assert!(worked, "{told}");
    let events = gateway.events();
    let made = events
        .iter()
        .find(|event| event["action"] == "experiment.create")
        .unwrap();
    assert_eq!(made["actor"]["user"], "cluster:train");
    let (worked, told) = job("train", "other/by-platform");
    assert!(!worked && told.contains("PERMISSION_DENIED"), "{told}");
    let (worked, told) = job("evil", "terminal/by-evil");
    assert!(
        !worked && told.contains("did not take the token of this workload"),
        "{told}"
    );
}

#[test]
fn a_job_whose_rights_end_is_told_in_mlflows_shape_what_to_do() {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.session = "recheck = \"2s\"".to_owned();
    setup.sections += "[tokens]\naccess_lifetime = \"5s\"\n";
    let gateway = setup.start();
    let command = format!("mlgate login {}", gateway.url());
    let terminal = Terminal::new();
    log_in(&terminal, &gateway, "ed");
    // Somebody else's: who made a thing has rights on it without any group.
    let run = run_of(&gateway, "mona");
    let job = || {
        let mut python = terminal.python(NEWEST, &gateway.url());
        python
            .env("MLFLOW_TRACKING_AUTH", "mlgate")
            .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0");
        Job::start(python, &run)
    };
    let mut first = job();
    assert_eq!(first.step(), "done");

    // The group is taken away, and given back.
    write_users(&gateway, &users_toml().replace("[\"editors\"]", "[\"viewers\"]"));
    let told = first.refused_within(Duration::from_secs(20));
    assert!(told.starts_with("PERMISSION_DENIED"), "{told}");
    write_users(&gateway, &users_toml());
    let start = Instant::now();
    while first.step() != "done" {
        assert!(start.elapsed() < Duration::from_secs(20), "the group was given back");
    }

    // Revoked by an operator.
    let listed = gateway.mlgate(&["tokens", "list", "--user", "ed", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = listed[0]["id"].as_str().unwrap_or_else(|| panic!("{listed}"));
    assert!(gateway.mlgate(&["tokens", "revoke", id]).status.success());
    let told = first.refused_within(Duration::from_secs(10));
    assert!(told.starts_with("UNAUTHENTICATED") && told.contains(&command), "{told}");
    assert_eq!(terminal.run(&["token"]).status.code(), Some(4));

    // A new sign-in is taken up by the job that runs.
    log_in(&terminal, &gateway, "ed");
    assert_eq!(first.step(), "done");

    // Disabled.
    let users = users_toml().replace("name = \"ed\"\n", "name = \"ed\"\ndisabled = true\n");
    write_users(&gateway, &users);
    let told = first.refused_within(Duration::from_secs(20));
    assert!(told.starts_with("UNAUTHENTICATED") && told.contains(&command), "{told}");
}
