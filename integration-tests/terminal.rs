//! From a terminal: signing in by a browser at hand and by one elsewhere, and what MLflow's own client does with it.

use std::process::Command;

use serde_json::{Value, json};

use crate::ldap::readers;
use crate::support::browser::travel;
use crate::support::gateway::{Gateway, PASSWORD, Setup};
use crate::support::http::Request;
use crate::support::keycloak::Keycloak;
use crate::support::ldap::Slapd;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST, python};
use crate::support::saml;
use crate::support::simplesaml::{Known, SimpleSaml};
use crate::support::terminal::{Terminal, Waiting, plugin};

/// Goes through the browser's part of `mlgate login --no-browser`.
fn log_in(terminal: &Terminal, gateway: &Gateway, label: &str, user: &str, password: &str) {
    let mut login = Waiting::start(terminal.mlgate(&["login", &gateway.url(), "--no-browser"]));
    let address = login.shown();
    let seen = travel(
        "terminal_by_browser",
        &json!({"url": address, "label": label, "user": user, "password": password, "decide": "Allow"}),
    );
    let (code, said, complained) = login.end();
    assert_eq!(code, Some(0), "{label}: {said}{complained}{seen}");
    assert!(
        seen["page"].as_str().unwrap().contains("You can close this page"),
        "{seen}"
    );
    assert_eq!(seen["complaints"], json!([]), "{seen}");
    assert!(
        said.contains(&format!("Signed in to {} as {user}", gateway.url())),
        "{said}"
    );
}

const SCRIPT: &str = "import mlflow, sys\n\
    mlflow.set_experiment(sys.argv[1])\n\
    with mlflow.start_run() as run:\n    mlflow.log_metric('loss', 1)\n    mlflow.log_text('noted', 'notes.txt')\n\
    print(mlflow.artifacts.load_text(run.info.artifact_uri + '/notes.txt'))\n";

/// A small job succeeds, and what it made is in the trail under the user's name.
#[track_caller]
fn works(gateway: &Gateway, mut command: Command, experiment: &str, user: &str) {
    let ran = command.args(["-c", SCRIPT, experiment]).output().unwrap();
    let (out, complained) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(
        ran.status.success() && out.lines().any(|line| line == "noted"),
        "{experiment}: {out}{complained}"
    );
    let made = gateway.events().into_iter().find(|event| {
        event["action"] == "experiment.create" && event["resources"].to_string().contains(&format!("\"{experiment}\""))
    });
    assert_eq!(made.unwrap_or_default()["actor"]["user"], user, "{experiment}");
}

#[test]
fn a_terminal_signs_in_by_the_browser_and_mlflow_works_in_every_way() {
    let gateway = Setup::new(&Mlflow::shared(NEWEST).url()).start();
    let (terminal, url) = (Terminal::new(), gateway.url());
    let nobody = terminal.run(&["token"]);
    assert_eq!(
        nobody.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&nobody.stderr)
    );
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("mlgate login"));
    log_in(&terminal, &gateway, "", "ed", PASSWORD);
    assert_private(&terminal);

    let told: Value = serde_json::from_str(&terminal.says(&["whoami", "--json"])).unwrap();
    assert_eq!(
        (&told["user"], &told["provider"], &told["url"]),
        (&json!("ed"), &json!("local"), &json!(url))
    );
    assert_eq!(told["roles"], json!(["editor"]), "{told}");
    let table = terminal.says(&["whoami", &url]);
    assert!(
        table.contains("user      ed") && table.contains("roles     editor"),
        "{table}"
    );

    let token = terminal.says(&["token", &url]);
    assert!(token.starts_with("mlg_at_") && !token.contains(char::is_whitespace));
    assert_eq!(terminal.says(&["token"]), token, "while it is fresh it stays");
    let assignment = terminal.says(&["env"]);
    assert_eq!(
        assignment,
        format!("export MLFLOW_TRACKING_URI={url} MLFLOW_TRACKING_TOKEN={token}")
    );

    for version in [NEWEST, OLDEST] {
        let mut by_plugin = terminal.python(version, &url);
        by_plugin.env("MLFLOW_TRACKING_AUTH", "mlgate");
        works(&gateway, by_plugin, &format!("plugin-{version}"), "ed");
    }
    let mut by_token = terminal.at_home(Command::new(python(NEWEST)));
    by_token
        .env("MLFLOW_TRACKING_URI", &url)
        .env("MLFLOW_TRACKING_TOKEN", &token);
    works(&gateway, by_token, "token", "ed");
    let mut by_password = terminal.at_home(Command::new(python(NEWEST)));
    by_password
        .env("MLFLOW_TRACKING_URI", &url)
        .env("MLFLOW_TRACKING_USERNAME", "whoever")
        .env("MLFLOW_TRACKING_PASSWORD", gateway.token("ed"));
    works(&gateway, by_password, "basic", "ed");
    // With the plugin the command is told to ask it; without, it gets one token.
    for (name, with_plugin) in [("run-plugin", true), ("run-token", false)] {
        let mut by_run = terminal.mlgate(&["run", "--"]);
        by_run
            .arg(python(NEWEST))
            .env("MLFLOW_TRACKING_USERNAME", "x")
            .env("MLFLOW_TRACKING_PASSWORD", "y");
        if with_plugin {
            by_run.env("PYTHONPATH", plugin(NEWEST));
        }
        works(&gateway, by_run, name, "ed");
    }
    let told = |with_plugin: bool| {
        let mut asks = terminal.mlgate(&["run", &url, "--"]);
        asks.arg(python(NEWEST))
            .args(["-c", "import os; print(os.environ.get('MLFLOW_TRACKING_AUTH'))"]);
        if with_plugin {
            asks.env("PYTHONPATH", plugin(NEWEST));
        }
        let ran = asks.output().unwrap();
        (
            String::from_utf8(ran.stdout).unwrap(),
            String::from_utf8(ran.stderr).unwrap(),
        )
    };
    assert_eq!(told(true), ("mlgate\n".into(), String::new()));
    let (auth, complained) = told(false);
    assert!(
        auth == "None\n" && complained.contains("mlflow-mlgate is not installed"),
        "{auth}{complained}"
    );
    assert_eq!(
        terminal.run(&["run", "--", "sh", "-c", "exit 17"]).status.code(),
        Some(17)
    );
    assert_eq!(terminal.run(&["run", "--", "no-such-command"]).status.code(), Some(1));
    assert_eq!(terminal.run(&["run"]).status.code(), Some(2));

    assert_eq!(gateway.reads(&token), 200);
    terminal.says(&["logout"]);
    assert_eq!(gateway.reads(&token), 401, "revoked at the gateway");
    assert_eq!(terminal.run(&["token", &url]).status.code(), Some(4));
    assert_eq!(terminal.run(&["logout", &url]).status.code(), Some(4));
    assert!(
        !std::fs::read_to_string(terminal.credentials())
            .unwrap()
            .contains("mlg_")
    );
}

impl Gateway {
    /// The status of a read of MLflow's with a token.
    fn reads(&self, token: &str) -> u16 {
        let request = Request::get("/api/2.0/mlflow/experiments/get?experiment_id=0");
        self.send(&request.header("Authorization", &format!("Bearer {token}")))
            .status
    }
}

fn assert_private(terminal: &Terminal) {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&terminal.credentials()), 0o600);
    assert_eq!(mode(terminal.credentials().parent().unwrap()), 0o700);
}

#[test]
fn a_person_who_says_no_signs_nobody_in() {
    let gateway = Setup::new(&Mlflow::shared(NEWEST).url()).start();
    let terminal = Terminal::new();
    let mut login = Waiting::start(terminal.mlgate(&["login", &gateway.url(), "--no-browser"]));
    let seen = travel(
        "terminal_by_browser",
        &json!({"url": login.shown(), "label": "", "user": "ed", "password": PASSWORD, "decide": "Deny"}),
    );
    let (code, said, complained) = login.end();
    assert_eq!(code, Some(3), "{said}{complained}");
    assert!(seen["page"].as_str().unwrap().contains("Not signed in"), "{seen}");
    assert_eq!(terminal.run(&["token"]).status.code(), Some(4));
    assert!(!terminal.credentials().exists());
}

#[test]
fn a_gateway_that_is_away_or_is_none_is_told_in_clear_words() {
    let mlflow = Mlflow::shared(NEWEST);
    let terminal = Terminal::new();
    let refused = |url: &str| {
        let ran = terminal.run(&["login", url, "--no-browser"]);
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let (code, text) = refused(&mlflow.url());
    assert!(code == Some(1) && text.contains("there is no mlgate at"), "{text}");
    let (code, text) = refused(&format!("http://127.0.0.1:{}", crate::support::free_port()));
    assert!(code == Some(1) && text.contains("cannot be reached"), "{text}");
    let (code, text) = refused("http://mlflow.example.com");
    assert!(code == Some(1) && text.contains("must be https"), "{text}");
    assert_eq!(terminal.run(&["login"]).status.code(), Some(2));
}

#[test]
fn a_terminal_signs_in_behind_every_kind_of_provider() {
    let (slapd, keycloak) = (Slapd::start(), Keycloak::shared());
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    let callback = format!("http://{}/auth/callback/keycloak", setup.authority());
    keycloak.oidc_client("terminal", &callback, &json!({}));
    saml::write_key(&setup);
    let certificate = std::fs::read_to_string(saml::fixture("sp-cert.pem")).unwrap();
    let at_ssp = format!("http://{}/auth/saml/ssp", setup.authority());
    let simplesaml = SimpleSaml::start(&Known {
        entity_id: &format!("{at_ssp}/metadata"),
        acs: &format!("{at_ssp}/acs"),
        slo: &format!("{at_ssp}/slo"),
        certificate: Some(&certificate),
        wants_signed_requests: true,
        ..Known::default()
    });
    let ssp = format!(
        "label = \"SimpleSAMLphp\"\nmetadata_url = \"{}\"",
        simplesaml.metadata_url()
    );
    setup.sections += &[
        slapd.provider("openldap", "label = \"OpenLDAP\"\nnested_groups = \"recursive\""),
        keycloak.provider("keycloak", "terminal", ""),
        saml::lines("ssp", &ssp),
        readers("ssp:ml-admins"),
        readers("openldap:ml-engineers"),
        readers("keycloak:mlflow-engineers"),
    ]
    .concat();
    let gateway = setup.start();
    for (label, provider) in [
        ("OpenLDAP", "openldap"),
        ("Keycloak", "keycloak"),
        ("SimpleSAMLphp", "ssp"),
    ] {
        let terminal = Terminal::new();
        log_in(&terminal, &gateway, label, "alice", "alice-pw");
        let told: Value = serde_json::from_str(&terminal.says(&["whoami", "--json"])).unwrap();
        assert_eq!((&told["user"], &told["provider"]), (&json!("alice"), &json!(provider)));
        assert_eq!(gateway.reads(&terminal.says(&["token"])), 200, "{label}");
    }
}
