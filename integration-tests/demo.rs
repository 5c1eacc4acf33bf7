//! `make demo`: what it says is so, and Ctrl-C leaves nothing behind.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::browser::travel;
use crate::support::http::Request;
use crate::support::oidc::Walker;
use crate::support::process::{Server, until};
use crate::support::{free_port, root};

/// `provider_port` is that of the provider's own server, where it has one.
fn start(port: u16, mlflow_port: u16, provider: &str, provider_port: u16) -> (Server, Value) {
    let facts = root().join("target/demo/demo.json");
    let log = std::fs::File::create(root().join("target/demo-test.log")).unwrap();
    // `make demo` runs this very script; only the binary is the one that was built for the tests.
    let mut demo = Server::start(
        // Whatever started the tests may ignore SIGINT, and a shell cannot trap what it was born ignoring.
        Command::new("env")
            .arg("--default-signal=INT")
            .arg(root().join("config/demo/run.sh"))
            .env("MLGATE_BIN", env!("CARGO_BIN_EXE_mlgate"))
            .env("DEMO_PORT", port.to_string())
            .env("DEMO_MLFLOW_PORT", mlflow_port.to_string())
            .env("DEMO_LDAP_PORT", provider_port.to_string())
            .env("DEMO_SAML_PORT", provider_port.to_string())
            .env("DEMO_KEYCLOAK_PORT", provider_port.to_string())
            .env("PROVIDER", provider)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log)),
    );
    let mut found = None;
    until("the demo is ready", Duration::from_secs(300), || {
        let said = || std::fs::read_to_string(root().join("target/demo-test.log")).unwrap_or_default();
        assert!(demo.is_running(), "the demo ended: {}", said());
        let text = std::fs::read_to_string(&facts).unwrap_or_default();
        found = serde_json::from_str::<Value>(&text)
            .ok()
            .filter(|facts| facts["url"] == format!("http://localhost:{port}"));
        found.is_some()
    });
    (demo, found.unwrap())
}

/// The status of MLflow's page for an account, signed in wherever the provider has its form.
fn page(authority: &str, provider: &str, user: &str, password: &str) -> (u16, String) {
    if provider == "keycloak" {
        return page_by_walking(authority, user, password);
    }
    let origin = format!("http://{authority}");
    let path = format!("/auth/login/{provider}");
    let form = Request::get(&path).navigation().send(authority);
    let cookie = form.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let text = form.text();
    let token = text
        .split("name=\"csrf_token\"")
        .nth(1)
        .unwrap()
        .split("value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let answer = Request::new("POST", &path)
        .navigation()
        .header("Cookie", &cookie)
        .header("Origin", &origin)
        .form(&[
            ("username", user),
            ("password", password),
            ("rd", "/"),
            ("csrf_token", token),
        ])
        .send(authority);
    let session = answer
        .all("set-cookie")
        .find(|cookie| cookie.starts_with("mlgate="))
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let page = Request::get("/")
        .navigation()
        .header("Cookie", &session)
        .send(authority);
    (page.status, session)
}

fn page_by_walking(authority: &str, user: &str, password: &str) -> (u16, String) {
    let mut walker = Walker::default();
    let form = walker.go(&format!("http://{authority}/auth/login/keycloak")).text();
    let action = form.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
    let action = action.unwrap_or_else(|| panic!("{form}")).replace("&amp;", "&");
    let page = walker.submit(&action, &[("username", user), ("password", password)]);
    let session = walker
        .cookie(authority, "mlgate")
        .unwrap_or_else(|| panic!("{}", page.text()));
    (page.status, session)
}

/// Each account may what its role says.
fn check_accounts(authority: &str, provider: &str, facts: &Value) {
    let mut roles = Vec::new();
    for account in facts["accounts"].as_array().unwrap() {
        let field = |name: &str| account[name].as_str().unwrap();
        roles.push(field("role").to_owned());
        let (status, cookie) = page(authority, provider, field("user"), field("password"));
        assert_eq!(status, if field("role") == "none" { 403 } else { 200 }, "{account}");
        if field("role") == "viewer" {
            let search = Request::get("/api/2.0/mlflow/experiments/search?max_results=100")
                .header("Cookie", &cookie)
                .send(authority);
            let names: Vec<_> = search.json()["experiments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].to_string())
                .collect();
            assert_eq!(names.len(), 2, "{names:?}");
            assert!(names.iter().all(|name| name.starts_with("\"fraud/")), "{names:?}");
        }
    }
    roles.sort();
    assert_eq!(roles, ["admin", "editor", "none", "viewer"]);
}

/// There is one folder for demos.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[test]
fn the_demo_keeps_its_word_and_its_second_start_is_quick() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (port, mlflow_port) = (free_port(), free_port());
    let (mut demo, facts) = start(port, mlflow_port, "local", 0);
    let authority = format!("localhost:{port}");
    check_accounts(&authority, "local", &facts);
    assert!(std::path::Path::new(facts["config"].as_str().unwrap()).exists());

    demo.signal("INT");
    demo.wait(Duration::from_secs(40));
    let are_free = || {
        [port, mlflow_port]
            .iter()
            .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_err())
    };
    until("both ports are free again", Duration::from_secs(10), are_free);
    let second = Instant::now();
    let (mut again, _) = start(port, mlflow_port, "local", 0);
    // The promise is 15 s on an idle machine; beside other tests it may take longer, but never as long as a first start.
    assert!(
        second.elapsed() < Duration::from_secs(90),
        "a second start took {:?}",
        second.elapsed()
    );
    // The hardest end: the script itself gets no chance to tidy up.
    again.signal("KILL");
    again.wait(Duration::from_secs(5));
    until("both servers went with the script", Duration::from_secs(40), are_free);

    let (port, ldap_port) = (free_port(), free_port());
    let (mut by_directory, facts) = start(port, mlflow_port, "ldap", ldap_port);
    check_accounts(&format!("localhost:{port}"), "ldap", &facts);
    by_directory.signal("KILL");
    by_directory.wait(Duration::from_secs(5));
    until("the directory went too", Duration::from_secs(40), || {
        are_free() && std::net::TcpStream::connect(("127.0.0.1", ldap_port)).is_err()
    });

    let (port, saml_port) = (free_port(), free_port());
    let (mut by_saml, facts) = start(port, mlflow_port, "saml", saml_port);
    for account in facts["accounts"].as_array().unwrap() {
        let seen = travel(
            "by_provider",
            &json!({
                "url": format!("http://localhost:{port}"), "label": "", "user": account["user"], "password": account["password"],
                "path": "/",
            }),
        );
        let expected = if account["role"] == "none" { 403 } else { 200 };
        assert_eq!(seen["status"], expected, "{account}: {seen}");
    }
    by_saml.signal("KILL");
    by_saml.wait(Duration::from_secs(5));
    until("the identity provider went too", Duration::from_secs(40), || {
        are_free() && std::net::TcpStream::connect(("127.0.0.1", saml_port)).is_err()
    });
}

#[test]
fn the_demo_with_keycloak_keeps_its_word_and_leaves_nothing_behind() {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let ports @ [port, mlflow_port, keycloak_port] = [(); 3].map(|()| free_port());
    let (mut demo, facts) = start(port, mlflow_port, "keycloak", keycloak_port);
    check_accounts(&format!("localhost:{port}"), "keycloak", &facts);
    demo.signal("KILL");
    demo.wait(Duration::from_secs(5));
    until(
        "all three servers went with the script",
        Duration::from_secs(60),
        || {
            ports
                .iter()
                .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_err())
        },
    );
}
