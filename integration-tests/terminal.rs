//! From a terminal: signing in by a browser at hand and by one elsewhere, and what MLflow's own client does with it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ldap::readers;
use crate::support::browser::travel;
use crate::support::gateway::{Gateway, PASSWORD, Setup};
use crate::support::http::Request;
use crate::support::keycloak::Keycloak;
use crate::support::ldap::Slapd;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST, python};
use crate::support::process::until;
use crate::support::root;
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

/// Goes through `mlgate login --device`, with a browser that knows nothing of the terminal.
fn log_in_by_code(terminal: &Terminal, gateway: &Gateway, label: &str, user: &str, password: &str) {
    let mut login = Waiting::start(terminal.mlgate(&["login", &gateway.url(), "--device", "--no-browser"]));
    let (address, code) = (login.shown(), login.shown());
    let seen = travel(
        "terminal_by_code",
        &json!({"url": address, "label": label, "user": user, "password": password, "code": code, "decide": "Allow"}),
    );
    let (code, said, complained) = login.end();
    assert_eq!(code, Some(0), "{label}: {said}{complained}{seen}");
    assert!(
        said.contains(&format!("Signed in to {} as {user}", gateway.url())),
        "{said}"
    );
    assert!(said.contains("█ ▄▄▄▄▄ █"), "a QR code: {said}");
    assert_eq!(seen["complaints"], json!([]), "{seen}");
    // Elsewhere than on a terminal it is said once, and nothing moves.
    assert_eq!(
        complained.matches("Waiting until you approve").count(),
        1,
        "{complained}"
    );
    assert!(
        !complained.contains(['\r', '\u{1b}']) && !said.contains('\u{1b}'),
        "{complained}{said}"
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
fn without_a_browser_at_hand_it_is_a_code_and_a_no_is_a_no() {
    let gateway = Setup::new(&Mlflow::shared(NEWEST).url()).start();
    let terminal = Terminal::new();
    log_in_by_code(&terminal, &gateway, "", "ed", PASSWORD);
    assert_private(&terminal);
    works(
        &gateway,
        {
            let mut job = terminal.python(NEWEST, &gateway.url());
            job.env("MLFLOW_TRACKING_AUTH", "mlgate");
            job
        },
        "by-code",
        "ed",
    );
    // No display, no `--device`, no `--no-browser`: there is nothing but the code.
    let stranger = Terminal::new();
    let mut login = Waiting::start(stranger.mlgate(&["login", &gateway.url()]));
    let (address, code) = (login.shown(), login.shown());
    let seen = travel(
        "terminal_by_code",
        &json!({"url": address, "label": "", "user": "ed", "password": PASSWORD, "code": code, "decide": "Deny"}),
    );
    let (code, said, complained) = login.end();
    assert_eq!(code, Some(3), "{said}{complained}{seen}");
    assert!(!stranger.credentials().exists());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(seen["question"].as_str().unwrap().contains(host.trim()), "{seen}");
}

#[test]
fn where_codes_are_switched_off_there_is_the_browser_still() {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.sections += "[tokens]\ndevice_flow = \"off\"\n";
    let gateway = setup.start();
    let terminal = Terminal::new();
    let asked = terminal.run(&["login", &gateway.url(), "--device"]);
    let told = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(
        asked.status.code() == Some(3) && told.contains("does not sign in by code"),
        "{told}"
    );
    let mut login = Waiting::start(terminal.mlgate(&["login", &gateway.url()]));
    let decided = json!({"url": login.shown(), "label": "", "user": "ed", "password": PASSWORD, "decide": "Allow"});
    travel("terminal_by_browser", &decided);
    assert_eq!(login.end().0, Some(0));
}

#[test]
fn a_browser_at_hand_is_opened() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Setup::new(&Mlflow::shared(NEWEST).url()).start();
    let terminal = Terminal::new();
    let (browser, opened) = (
        terminal.home.path().join("browser"),
        terminal.home.path().join("opened"),
    );
    let script = format!(
        "#!/bin/sh\necho noise\nprintf %s \"$1\" > {0}.part && mv {0}.part {0}\n",
        opened.display()
    );
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = terminal.mlgate(&["login", &gateway.url()]);
    command.env("BROWSER", &browser);
    let mut login = Waiting::start(command);
    let shown = login.shown();
    until("the browser was opened", Duration::from_secs(30), || opened.exists());
    assert_eq!(std::fs::read_to_string(&opened).unwrap(), shown);
    let decided = json!({"url": shown, "label": "", "user": "ed", "password": PASSWORD, "decide": "Allow"});
    travel("terminal_by_browser", &decided);
    let (code, said, complained) = login.end();
    assert!(code == Some(0) && !said.contains("noise"), "{said}{complained}");
}

/// Draws what a person sees at a terminal; the picture in docs/images is one of these.
#[test]
fn at_a_terminal_it_looks_as_in_the_docs() {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.top = format!("public_url = \"http://localhost:{}\"\n", setup.port);
    let gateway = setup.start();
    let url = format!("http://localhost:{}", gateway.setup.port);
    let terminal = Terminal::new();
    let mut python = terminal.at_home(Command::new("python3"));
    python
        .arg(root().join("integration-tests/support/terminal_picture.py"))
        .arg(root().join("target/terminal.svg"))
        .arg(format!("mlgate login {url} --device"))
        .arg(env!("CARGO_BIN_EXE_mlgate"))
        .args(["login", &url, "--device"]);
    let mut login = Waiting::start(python);
    let told = json!({
        "url": format!("{url}/auth/device"), "label": "", "user": "ed", "password": PASSWORD, "code": login.line(), "decide": "Allow",
    });
    travel("terminal_by_code", &told);
    let (code, said, complained) = login.end();
    assert_eq!(code, Some(0), "{said}{complained}");
    let picture = std::fs::read_to_string(root().join("target/terminal.svg")).unwrap();
    for seen in [
        "Waiting until you approve it in the browser … 4:",
        "Signed in to",
        "<path d=",
        "class=\"p\"",
    ] {
        assert!(picture.contains(seen), "{seen}: {picture}");
    }
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
        let elsewhere = Terminal::new();
        log_in_by_code(&elsewhere, &gateway, label, "alice", "alice-pw");
        assert_eq!(gateway.reads(&elsewhere.says(&["token"])), 200, "{label}");
    }
}
