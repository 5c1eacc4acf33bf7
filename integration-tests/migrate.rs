//! Coming from other gates: oauth2-proxy's configuration, and the permissions of MLflow's basic-auth.

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::ca::Ca;
use crate::support::echo::Echo;
use crate::support::gateway::{Setup, binary};
use crate::support::http::Request;
use crate::support::mlflow::{Mlflow, NEWEST, OLDEST, python};
use crate::support::oidc::{OidcProvider, Walker};
use crate::support::process::{Server, until};
use crate::support::redis::Redis;
use crate::support::{free_port, parts, root};

const EXPERIMENT: &str = "/api/2.0/mlflow/experiments/get?experiment_id=0";

fn translated(folder: &TempDir, options: &str) -> String {
    let file = folder.path().join("oauth2-proxy.cfg");
    fs::write(&file, options).unwrap();
    let output = binary().args(["import", "oauth2-proxy"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Each option's name and its texts.
fn options_of(file: &str) -> Vec<(&str, Vec<&str>)> {
    let named = file.lines().filter_map(|line| line.split_once(" = "));
    named
        .map(|(name, value)| {
            let inner = value.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
            let texts = inner.map_or(vec![value], |list| list.split(", ").collect());
            (name, texts.into_iter().map(|text| text.trim_matches('"')).collect())
        })
        .collect()
}

/// What may be given several times has no plural as a flag.
fn as_flags(file: &str) -> String {
    let mut flags = String::from("oauth2-proxy");
    for (name, texts) in options_of(file) {
        let many = [
            "allowed_groups",
            "email_domains",
            "upstreams",
            "trusted_proxy_ips",
            "whitelist_domains",
            "skip_auth_routes",
        ];
        let flag = if many.contains(&name) {
            name.trim_end_matches('s')
        } else {
            name
        };
        for text in texts {
            flags.push_str(&format!(" \\\n  '--{}={text}'", flag.replace('_', "-")));
        }
    }
    flags
}

fn as_variables(file: &str) -> String {
    let lines = options_of(file)
        .into_iter()
        .map(|(name, texts)| format!("OAUTH2_PROXY_{}={}\n", name.to_uppercase(), texts.join(",")));
    lines.collect()
}

/// The twenty that are seen most in charts and howtos, and what comes with them.
#[test]
fn a_configuration_of_oauth2_proxy_starts_and_lets_the_same_people_in() {
    let (folder, redis, mlflow) = (TempDir::new().unwrap(), Redis::start(), Echo::start());
    let authority = format!("127.0.0.1:{}", free_port());
    let idp = OidcProvider::start(&format!("http://{authority}/auth/callback/oidc"));
    let emails = folder.path().join("emails");
    fs::write(&emails, "bob@example.test\n").unwrap();
    let (mlflow_url, issuer) = (&mlflow.url, idp.issuer());
    let (redis_url, redis_password) = redis.url_and_password();
    let options = format!(
        r#"
provider = "oidc"
provider_display_name = "Corp"
oidc_issuer_url = "{issuer}"
client_id = "gateway"
client_secret = "gateway-secret-0123456789abcdef"
scope = "openid profile email groups"
oidc_groups_claim = "groups"
allowed_groups = ["ml-admins"]
email_domains = ["example.test"]
authenticated_emails_file = "{emails}"
redirect_url = "http://{authority}/oauth2/callback"
http_address = "{authority}"
metrics_address = "127.0.0.1:{admin}"
upstreams = ["{mlflow_url}/"]
reverse_proxy = true
trusted_proxy_ips = ["127.0.0.1/32"]
cookie_secret = "hunter2hunter2hunter2hunter2hunt"
cookie_secure = false
cookie_expire = "4h0m0s"
cookie_refresh = "10m"
session_store_type = "redis"
redis_connection_url = "{redis_url}"
redis_password = "{redis_password}"
whitelist_domains = ["127.0.0.1:{admin}", ".example.test"]
pass_access_token = true
set_xauthrequest = true
skip_provider_button = true
skip_auth_routes = ["GET=^/health"]
footer = "Ask the platform team"
"#,
        emails = emails.display(),
        admin = free_port(),
    );
    let text = translated(&folder, &options);
    assert!(!text.contains("hunter2"), "{text}");
    for (option, _) in options.lines().filter_map(|line| line.split_once(" = ")) {
        assert!(
            !text.contains(&format!("# {option}: is no option")),
            "{option} is not known"
        );
    }
    for option in [
        "cookie_secret",
        "cookie_secure",
        "pass_access_token",
        "skip_auth_routes",
        "whitelist_domains",
    ] {
        assert!(text.contains(&format!("\n# {option}: ")), "{option} is lost:\n{text}");
    }
    for line in [
        "absolute_timeout = \"4h\"",
        "idle_timeout = \"4h\"",
        "recheck = \"600s\"",
        "label = \"Corp\"",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is lost:\n{text}");
    }
    for form in [as_flags(&options), as_variables(&options)] {
        assert_eq!(translated(&folder, &form), text, "{form}");
    }
    fs::write(folder.path().join("session-key"), "0123456789abcdef0123456789abcdef").unwrap();
    make_private(&folder.path().join("session-key"));
    let config = folder.path().join("mlgate.toml");
    fs::write(&config, &text).unwrap();
    let check = binary().args(["check", "--config"]).arg(&config).output().unwrap();
    assert!(
        check.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&check.stdout)
    );

    let mut server = Server::start(
        binary()
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::from(fs::File::create(folder.path().join("log")).unwrap())),
    );
    until("the gateway is ready", Duration::from_secs(60), || {
        assert!(
            server.is_running(),
            "{}",
            fs::read_to_string(folder.path().join("log")).unwrap()
        );
        std::net::TcpStream::connect(&authority).is_ok() && Request::get("/auth/readyz").send(&authority).status == 200
    });
    // alice by her group, bob by his address, carol by neither: nobody vouches for her address.
    for (user, expected) in [("alice", Some(200)), ("bob", Some(200)), ("carol", None)] {
        let mut walker = Walker::default();
        let page = walker
            .go(&format!("http://{authority}/auth/login?rd=%2Fauth%2Faccount"))
            .text();
        let action = page
            .split("action=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default();
        walker.submit(
            &action.replace("&amp;", "&"),
            &[("username", user), ("password", &format!("{user}-pw"))],
        );
        let status = walker.cookie(&authority, "mlgate").map(|cookie| {
            Request::get(EXPERIMENT)
                .header("Cookie", &cookie)
                .send(&authority)
                .status
        });
        assert_eq!(status, expected, "{user}");
    }
}

#[test]
fn a_configuration_for_tls_and_google_passes_the_check() {
    let folder = TempDir::new().unwrap();
    Ca::new().write(folder.path(), &["mlflow.example.com"]);
    fs::write(folder.path().join("client"), "secret\n").unwrap();
    make_private(&folder.path().join("client"));
    let text = translated(
        &folder,
        r#"
provider = "google"
client_id = "1234.apps.googleusercontent.com"
client_secret_file = "client"
email_domains = "example.com"
google_groups = ["ml@example.com"]
redirect_url = "https://mlflow.example.com/ml/oauth2/callback"
https_address = ":8443"
tls_cert_file = "cert.pem"
tls_key_file = "key.pem"
tls_min_version = "TLS1.3"
cookie_domains = [".example.com"]
cookie_samesite = "lax"
upstreams = ["https://mlflow.internal:5000", "file:///var/www#/static"]
upstream_timeout = "2m30s"
"#,
    );
    let config = folder.path().join("mlgate.toml");
    fs::write(&config, &text).unwrap();
    let check = binary().args(["check", "--config"]).arg(&config).output().unwrap();
    assert!(
        check.status.success(),
        "{}\n{text}",
        String::from_utf8_lossy(&check.stdout)
    );
    for line in [
        "public_url = \"https://mlflow.example.com/ml\"",
        "address = \"0.0.0.0:8443\"",
        "min_version = \"1.3\"",
        "hosted_domains = [\"example.com\"]",
        "groups = [\"google:ml@example.com\"]",
        "response_timeout = \"150s\"",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} is lost:\n{text}");
    }
    assert!(text.contains("\n# upstreams: "), "{text}");
}

#[test]
fn what_is_no_such_configuration_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("alpha.yaml");
    fs::write(&file, "providers:\n  - id: google\n    clientSecret: hunter2\n").unwrap();
    for file in [file, folder.path().join("nothing")] {
        let output = binary().args(["import", "oauth2-proxy"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    }
}

fn make_private(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// MLflow's own code writes the database and says what each may do; `mlgate explain` must say the same of the roles that were made of it.
#[test]
fn permissions_of_mlflows_basic_auth_become_roles_that_decide_alike() {
    for version in [NEWEST, OLDEST] {
        let mlflow = Mlflow::shared(version);
        let experiments: Vec<String> = ["one", "two", "three"]
            .iter()
            .map(|name| {
                let asked = Request::new("POST", "/api/2.0/mlflow/experiments/create")
                    .json(&serde_json::json!({"name": format!("migrate-{name}")}));
                mlflow.ask(&asked).json()["experiment_id"].as_str().unwrap().to_owned()
            })
            .collect();
        let setup = Setup::new(&mlflow.url());
        let database = format!("sqlite:///{}", setup.path("basic_auth.db").display());
        let filled = Command::new(python(version))
            .arg(root().join("integration-tests/support/basic_auth.py"))
            .arg(&database)
            .args(&experiments)
            .env("PYTHONPATH", parts().join("basic-auth"))
            .output()
            .unwrap();
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
        let answers: Vec<(String, String, String)> =
            serde_json::from_str(String::from_utf8_lossy(&filled.stdout).lines().last().unwrap()).unwrap();
        assert_eq!(answers.len(), 6);

        let made = Command::new(python(version))
            .arg(root().join("clients/migrate/mlflow_permissions.py"))
            .args([&database, "--provider", "local"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let roles = String::from_utf8(made.stdout).unwrap();
        assert!(
            roles.contains("[[role]]\nname = \"admin\"\nusers = [\"local:eve\"]\n"),
            "{roles}"
        );
        assert!(
            roles.contains(r#"registered_models = ["quote \" and, comma"]"#),
            "{roles}"
        );
        let mut setup = setup;
        setup.sections = roles;
        let config = setup.write();
        let levels = HashMap::from([
            ("DENY", 0),
            ("NO_PERMISSIONS", 0),
            ("READ", 1),
            ("USE", 1),
            ("EDIT", 2),
            ("MANAGE", 3),
        ]);
        for (user, experiment, permission) in &answers {
            let body = setup.path("body");
            fs::write(&body, serde_json::json!({"experiment_id": experiment}).to_string()).unwrap();
            let renamed = setup.path("tag");
            fs::write(
                &renamed,
                serde_json::json!({"experiment_id": experiment, "key": "a", "value": "b"}).to_string(),
            )
            .unwrap();
            let allowed = [
                explain(
                    &config,
                    user,
                    &[
                        "GET",
                        &format!("/api/2.0/mlflow/experiments/get?experiment_id={experiment}"),
                    ],
                ),
                explain(
                    &config,
                    user,
                    &[
                        "--header",
                        "Content-Type: application/json",
                        "--body",
                        renamed.to_str().unwrap(),
                        "POST",
                        "/api/2.0/mlflow/experiments/set-experiment-tag",
                    ],
                ),
                explain(
                    &config,
                    user,
                    &[
                        "--header",
                        "Content-Type: application/json",
                        "--body",
                        body.to_str().unwrap(),
                        "POST",
                        "/api/2.0/mlflow/experiments/delete",
                    ],
                ),
            ];
            let expected = [1, 2, 3].map(|level| levels[permission.as_str()] >= level);
            assert_eq!(
                allowed, expected,
                "MLflow {version}: {user} has {permission} on {experiment}"
            );
        }
    }
}

fn explain(config: &std::path::Path, user: &str, request: &[&str]) -> bool {
    let output = binary()
        .arg("explain")
        .arg("--config")
        .arg(config)
        .args(["--user", user])
        .args(request)
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => true,
        Some(3) => false,
        other => panic!("{other:?} {}", String::from_utf8_lossy(&output.stderr)),
    }
}
