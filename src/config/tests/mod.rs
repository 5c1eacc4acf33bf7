//! Whole configurations, read as an operator's file is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, OnAuditFailure, Problem, ProviderKind, Rate, StoreKind, load_with};
use crate::domain::SystemRandom;

mod clients;
mod examples;
mod google;
mod issuers;
mod ldap;
mod people;
mod saml;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$pKTOmYVWnIJfCRMnXxkVCGOKcPa2fVqyUEKXPt6m4Ww";

const MINIMAL: &str = r#"
public_url = "http://localhost:8080"
[[upstream]]
name = "mlflow"
url = "http://127.0.0.1:5000"
[[provider]]
id = "local"
kind = "local"
users_file = "users.toml"
"#;

/// A folder with a users file, to put configurations into.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.put(
            "users.toml",
            format!("[[user]]\nname = \"ann\"\npassword_hash = \"{HASH}\"\ngroups = [\"team\"]\n"),
        );
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load_in(&self, text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        load_with(&self.put("mlgate.toml", text), variables, &SystemRandom::new())
    }

    fn load(&self, text: &str) -> Result<Config, Vec<Problem>> {
        self.load_in(text, &[])
    }
}

/// The minimal configuration with more at the end.
fn with(more: &str) -> Result<Config, Vec<Problem>> {
    Folder::new().load(&format!("{MINIMAL}{more}"))
}

/// The minimal configuration with one text in place of another.
fn instead(old: &str, new: &str) -> Result<Config, Vec<Problem>> {
    assert!(MINIMAL.contains(old));
    Folder::new().load(&MINIMAL.replace(old, new))
}

#[track_caller]
fn refused(found: Result<Config, Vec<Problem>>, key: &str, words: &str) {
    let problems = found.expect_err("a problem");
    assert!(
        problems
            .iter()
            .any(|problem| problem.key == key && problem.text.contains(words)),
        "no {key}: {words} in {problems:#?}"
    );
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let config = with("").unwrap();
    assert_eq!(config.origin(), "http://localhost:8080");
    assert_eq!(config.base_path(), "");
    assert_eq!(config.listen.address.to_string(), "0.0.0.0:8443");
    assert_eq!(config.listen.admin_address.to_string(), "127.0.0.1:9090");
    assert_eq!(config.listen.admin_socket, config.file.with_extension("sock"));
    assert!(matches!(config.session.store, StoreKind::Memory));
    assert_eq!(config.session.secrets.len(), 1);
    assert_eq!(config.session.idle_timeout, Duration::from_secs(8 * 3600));
    assert!(config.upstreams[0].attribution && !config.upstreams[0].assistant);
    assert_eq!(
        config.audit.file,
        config.file.parent().unwrap().join("audit/mlgate.jsonl")
    );
    assert_eq!(config.audit.on_failure, OnAuditFailure::Refuse);
    assert!(config.audit.reads && !config.audit.fsync);
    assert_eq!(
        config.limits.login_attempts,
        Rate {
            count: 10,
            per: Duration::from_secs(300)
        }
    );
    assert_eq!(config.limits.json_body, 64 << 20);
    let ProviderKind::Local(local) = &config.providers[0].kind else {
        panic!("local")
    };
    assert_eq!(local.users[0].groups, ["team"]);
    assert_eq!(config.watched, [config.file.clone(), local.users_file.clone()]);
}

#[test]
fn all_problems_are_reported_together_with_key_and_line() {
    let found =
        with("[listen]\nadress = \"x\"\nhttp2 = 1\n[audit]\nkeep = \"forever\"\n[[role]]\ngroups = [\"okta:x\"]\n");
    let problems = found.unwrap_err();
    let told: Vec<_> = problems
        .iter()
        .map(|problem| (problem.key.as_str(), problem.line))
        .collect();
    assert_eq!(
        told,
        [
            ("listen.adress", Some(11)),
            ("listen.http2", Some(12)),
            ("audit.keep", Some(14)),
            ("role[0].name", Some(15)),
            ("role[0].groups[0]", Some(16)),
        ],
        "{problems:#?}"
    );
    assert!(problems[0].text.contains("did you mean `address`"));
    assert_eq!(problems[2].to_string().split(": ").next(), Some("line 14"));
}

#[test]
fn plain_http_is_for_loopback_or_the_outspoken() {
    for url in [
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://mlflow.localhost",
        "https://mlflow.example.com",
    ] {
        assert!(instead("http://localhost:8080", url).is_ok(), "{url}");
    }
    refused(
        instead("http://localhost:8080", "http://mlflow.example.com"),
        "public_url",
        "must be https",
    );
    refused(
        instead("http://localhost:8080", "http://localhost.example.com"),
        "public_url",
        "must be https",
    );
    let outspoken = MINIMAL.replace("http://localhost:8080", "http://mlflow.example.com");
    assert!(
        Folder::new()
            .load(&format!("insecure_http = true\n{outspoken}"))
            .is_ok()
    );
}

#[test]
fn public_url_may_carry_a_path_and_nothing_else() {
    let config = instead("http://localhost:8080", "https://ML.example.com:8443/team/mlflow/").unwrap();
    assert_eq!(config.base_path(), "/team/mlflow");
    assert_eq!(config.origin(), "https://ml.example.com:8443");
    for url in [
        "https://u:p@a.example",
        "https://a.example/?q",
        "https://a.example/#f",
        "https://a.example/x//y",
        "https://a.example/a%2fb",
        "ftp://a.example",
        "a.example",
        "/x",
    ] {
        refused(instead("http://localhost:8080", url), "public_url", "must");
    }
    refused(instead("public_url = ", "# "), "public_url", "is missing");
}

#[test]
fn what_is_switched_off_needs_nothing() {
    let quiet = "[listen]\nhttp2 = false\next_authz_address = \"\"\n[check]\nendpoints = []\n[limits]\nrequests = \"\"\n[[provider]]\nid = \"g\"\nkind = \"oidc\"\nissuer = \"https://accounts.google.com\"\nclient_id = \"x\"\ngoogle_groups = \"off\"\n";
    assert!(with(quiet).is_ok());
}

#[test]
fn an_ingress_that_asks_must_be_known() {
    let check = |trusted: &str, endpoints: &str| {
        with(&format!(
            "[network]\ntrusted_proxies = [{trusted}]\n[check]\nendpoints = [{endpoints}]\n"
        ))
    };
    let all = "\"auth-request\", \"forward-auth\", \"ext-authz\"";
    let config = check("\"10.0.0.0/8\"", all).unwrap();
    assert_eq!(config.check.endpoints.len(), 3);
    assert!(check("", "").unwrap().check.endpoints.is_empty());
    let grpc = |trusted: &str| {
        with(&format!(
            "[listen]\next_authz_address = \"127.0.0.1:9\"\n[network]\ntrusted_proxies = [{trusted}]\n"
        ))
    };
    assert!(grpc("\"10.0.0.0/8\"").unwrap().listen.ext_authz_address.is_some());
    refused(grpc(""), "listen.ext_authz_address", "network.trusted_proxies");
    refused(grpc("\"::/0\""), "listen.ext_authz_address", "every address");
    refused(check("", all), "check.endpoints", "network.trusted_proxies");
    refused(check("\"0.0.0.0/0\"", all), "check.endpoints", "every address");
    refused(
        check("\"10.0.0.0/8\", \"::/0\"", all),
        "check.endpoints",
        "every address",
    );
    refused(
        check("\"10.0.0.0/8\"", "\"auth_request\""),
        "check.endpoints[0]",
        "must be",
    );
}

#[test]
fn a_secret_comes_as_a_value_or_a_file_and_never_as_both() {
    const GIVEN: &str =
        "[[provider]]\nid = \"idp\"\nkind = \"oidc\"\nissuer = \"https://idp.example.com\"\nclient_id = \"c\"\n";
    let secret_of = |config: Config| {
        let ProviderKind::Oidc(oidc) = &config.providers[1].kind else {
            panic!("oidc")
        };
        oidc.client_secret.as_ref().map(|secret| secret.expose().to_owned())
    };
    assert_eq!(secret_of(with(GIVEN).unwrap()), None);
    assert_eq!(
        secret_of(with(&format!("{GIVEN}client_secret = \"s3cret\"\n")).unwrap()).as_deref(),
        Some("s3cret")
    );
    let folder = Folder::new();
    let file = folder.put("secret", "s3cret\n");
    let text = format!("{MINIMAL}{GIVEN}client_secret_file = \"secret\"\n");
    let config = folder.load(&text).unwrap();
    assert!(config.watched.contains(&file));
    assert_eq!(secret_of(config).as_deref(), Some("s3cret"));
    refused(
        folder.load(&format!("{text}client_secret = \"other\"\n")),
        "provider[1].client_secret_file",
        "beside client_secret",
    );
    let beside = folder.load_in(&text, &[("MLGATE__PROVIDER__1__CLIENT_SECRET", "other")]);
    refused(beside, "provider[1].client_secret_file", "beside client_secret");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    refused(folder.load(&text), "provider[1].client_secret_file", "chmod 600");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(folder.load(&text).is_ok());
    fs::remove_file(&file).unwrap();
    refused(folder.load(&text), "provider[1].client_secret_file", "cannot be read");
}

#[test]
fn problems_and_debug_output_show_no_secret() {
    let text = "[session]\nstore = \"redis\"\nredis_url = \"postgres://u:hunter2@h\"\n[[provider]]\nid = \"i\"\nkind = \"oidc\"\nissuer = \"https://u:hunter2@h\"\nclient_id = \"c\"\nclient_secret = 5\nsecret = \"hunter2\"\n";
    let problems = with(text).unwrap_err();
    assert!(problems.len() >= 5, "{problems:#?}");
    assert!(!format!("{problems:?}").contains("hunter2"), "{problems:#?}");
    let config = with("[[provider]]\nid = \"i\"\nkind = \"oidc\"\nissuer = \"https://h\"\nclient_id = \"c\"\nclient_secret = \"hunter2\"\n").unwrap();
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("argon2id$") && !shown.contains("secrets"),
        "{shown}"
    );
}

#[test]
fn session_keys_are_32_random_bytes_and_may_be_missing_with_memory_alone() {
    let folder = Folder::new();
    let load = |more: &str| folder.load(&format!("{MINIMAL}[session]\n{more}"));
    let key: Vec<u8> = (0..32).collect();
    folder.put("keys/current", &key);
    folder.put("keys/previous", "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\n");
    folder.put("keys/short", &key[1..]);
    folder.put("keys/zero", [0; 32]);
    let config = load("secret_files = [\"keys/current\", \"keys/previous\"]\n").unwrap();
    assert_eq!(config.session.secrets[0].as_slice(), key);
    assert_eq!(config.session.secrets[1][0], 32);
    refused(
        load("secret_files = [\"keys/short\"]\n"),
        "session.secret_files[0]",
        "exactly 32",
    );
    refused(
        load("secret_files = [\"keys/zero\"]\n"),
        "session.secret_files[0]",
        "not random",
    );
    refused(
        load("secret_files = [\"keys/gone\"]\n"),
        "session.secret_files[0]",
        "cannot be read",
    );
    refused(
        load("secret_files = [\"keys/current\", \"keys/current\"]\n"),
        "session.secret_files",
        "twice",
    );
    let redis = "store = \"redis\"\nredis_url = \"redis://:p@h:6379/0\"\n";
    refused(load(redis), "session.secret_files", "is missing");
    assert!(load(&format!("{redis}secret_files = [\"keys/current\"]\n")).is_ok());
    refused(
        load("store = \"redis\"\nsecret_files = [\"keys/current\"]\n"),
        "session.redis_url_file",
        "is missing",
    );
    let made_up = |config: Config| config.session.secrets[0];
    assert_ne!(made_up(load("").unwrap()), made_up(load("").unwrap()));
}

#[test]
fn the_cookie_domain_must_cover_public_url() {
    let text = MINIMAL.replace("http://localhost:8080", "https://ml.team.example.com");
    let load = |domain: &str| Folder::new().load(&format!("{text}[session]\ncookie_domain = \"{domain}\"\n"));
    assert_eq!(
        load("Example.com").unwrap().session.cookie_domain.as_deref(),
        Some("example.com")
    );
    assert!(load("ml.team.example.com").is_ok());
    for domain in ["com", "other.com", "eam.example.com", "x.ml.team.example.com"] {
        refused(load(domain), "session.cookie_domain", "must be the host");
    }
    refused(
        with("[session]\ncookie_domain = \"localhost\"\n"),
        "session.cookie_domain",
        "https",
    );
}

#[test]
fn several_upstreams_are_told_apart_by_host() {
    let second = |hosts: &str| {
        let first = MINIMAL.replace("name = \"mlflow\"", "name = \"mlflow\"\nhosts = [\"a.example\"]");
        Folder::new().load(&format!(
            "{first}[[upstream]]\nname = \"staging\"\nurl = \"http://127.0.0.1:5001\"\nhosts = {hosts}\n"
        ))
    };
    assert_eq!(second("[\"B.example\"]").unwrap().upstreams[1].hosts, ["b.example"]);
    refused(second("[]"), "upstream[1].hosts", "several upstreams");
    refused(second("[\"A.example\"]"), "upstream[1].hosts", "given twice");
    refused(
        second("[\"b.example:80\"]"),
        "upstream[1].hosts[0]",
        "without scheme, port",
    );
    refused(
        instead("name = \"mlflow\"", "name = \"ML Flow\""),
        "upstream[0].name",
        "a-z",
    );
    refused(
        instead("[[upstream]]\nname = \"mlflow\"\nurl = \"http://127.0.0.1:5000\"", ""),
        "upstream",
        "is missing",
    );
}

#[test]
fn certificate_and_key_must_belong_together() {
    let folder = Folder::new();
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, two) = (pair(), pair());
    folder.put("cert.pem", one.cert.pem());
    folder.put("key.pem", one.signing_key.serialize_pem());
    folder.put("other.pem", two.signing_key.serialize_pem());
    let load = |keys: &str| folder.load(&format!("{MINIMAL}[listen.tls]\n{keys}\n"));
    let config = load("cert_file = \"cert.pem\"\nkey_file = \"key.pem\"\nmin_version = \"1.3\"").unwrap();
    assert!(config.listen.tls.is_some_and(|tls| tls.only_tls13));
    refused(
        load("cert_file = \"cert.pem\"\nkey_file = \"other.pem\""),
        "listen.tls.key_file",
        "fit together",
    );
    refused(
        load("cert_file = \"key.pem\"\nkey_file = \"key.pem\""),
        "listen.tls.cert_file",
        "no PEM certificate",
    );
    refused(load("cert_file = \"cert.pem\""), "listen.tls.key_file", "is missing");
    refused(load(""), "listen.tls.cert_file", "is missing");
    refused(
        load("cert_file = \"cert.pem\"\nkey_file = \"key.pem\"\nmin_version = \"1.1\""),
        "listen.tls.min_version",
        "must be",
    );
    fs::set_permissions(folder.path("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    refused(
        load("cert_file = \"cert.pem\"\nkey_file = \"key.pem\""),
        "listen.tls.key_file",
        "chmod 600",
    );
}

#[test]
fn every_key_can_come_from_the_environment() {
    let folder = Folder::new();
    let variables = [
        ("MLGATE__PUBLIC_URL", "https://ml.example.com"),
        ("MLGATE__LISTEN__ADDRESS", "127.0.0.1:0"),
        ("MLGATE__NETWORK__TRUSTED_PROXIES", "10.0.0.0/8, ::1/128"),
        ("MLGATE__AUDIT__READS", "false"),
        ("MLGATE__UPSTREAM__0__URL", "http://mlflow:5000"),
        ("MLGATE__PROVIDER__1__ID", "idp"),
        ("MLGATE__PROVIDER__1__KIND", "oidc"),
        ("MLGATE__PROVIDER__1__ISSUER", "https://idp.example.com"),
        ("MLGATE__PROVIDER__1__CLIENT_ID", "c"),
        ("MLGATE__PROVIDER__1__CLIENT_SECRET", "s"),
        ("MLGATE__ROLE__0__NAME", "team"),
        ("MLGATE__ROLE__0__GROUPS", "[\"idp:a, b\"]"),
        ("MLGATE__ROLE__0__GRANTS__0__PERMISSION", "READ"),
        ("MLGATE__ROLE__0__GRANTS__0__EXPERIMENTS", "*"),
        ("MLGATE__ROLE__1__NAME", "other"),
        ("MLGATE__ROLE__1__GROUPS", "idp:a"),
        (
            "MLGATE__ROLE__1__GRANTS",
            "[{ permission = \"READ\", experiments = [\"x/*\"] }]",
        ),
        ("MLGATE__TRUSTED_ISSUER__0__ID", "ci"),
        ("MLGATE__TRUSTED_ISSUER__0__ISSUER", "https://ci.example.com"),
        ("MLGATE__TRUSTED_ISSUER__0__AUDIENCE", "ml"),
        ("MLGATE__TRUSTED_ISSUER__0__USER", "ci:{Project}"),
        ("MLGATE__TRUSTED_ISSUER__0__MATCH", "{ Project = [\"a\", \"b\"] }"),
        ("MLGATE__TRUSTED_ISSUER__0__GROUPS", "ci"),
    ];
    let config = folder.load_in(MINIMAL, &variables).unwrap();
    assert_eq!(config.origin(), "https://ml.example.com");
    assert_eq!(config.network.trusted_proxies.len(), 2);
    assert!(!config.audit.reads);
    assert_eq!(config.upstreams[0].url.as_str(), "http://mlflow:5000/");
    assert_eq!(config.roles[0].groups, ["idp:a, b"]);
    assert_eq!(config.roles[0].grants[0].patterns[0].1, ["*"]);
    assert_eq!(config.roles[1].grants[0].patterns[0].1, ["x/*"]);
    assert_eq!(config.trusted_issuers[0].conditions[0].claim, "Project");
    assert_eq!(config.trusted_issuers[0].conditions[0].values, ["a", "b"]);
    refused(
        folder.load_in(MINIMAL, &[("MLGATE__ROLE__0", "{ name = \"x\", grant = \"y\" }")]),
        "role[0].grant",
        "did you mean `grants`",
    );
    refused(
        folder.load_in(MINIMAL, &[("MLGATE__AUDIT__READ", "no")]),
        "audit.read",
        "did you mean `reads`",
    );
    refused(
        folder.load_in(MINIMAL, &[("MLGATE__AUDIT__READS", "no")]),
        "audit.reads",
        "MLGATE__AUDIT__READS",
    );
}

#[test]
fn a_missing_file_is_one_clear_problem() {
    let problems = load_with(Path::new("/nowhere/mlgate.toml"), Vec::new(), &SystemRandom::new()).unwrap_err();
    assert!(
        problems.len() == 1 && problems[0].text.contains("cannot be read"),
        "{problems:?}"
    );
}
