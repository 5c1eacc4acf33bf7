//! `charts/mlgate`: rendered by Helm 3 and 4, held to Kubernetes' own schemas, and its configuration read by the gateway.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mlgate::config::StoreKind;
use tempfile::TempDir;

use crate::support::ca::Ca;
use crate::support::echo::Echo;
use crate::support::gateway::{PASSWORD, binary, users_toml};
use crate::support::http::Request;
use crate::support::process::{Server, until};
use crate::support::redis::Redis;
use crate::support::{free_port, parts, root};

const HELMS: [&str; 2] = ["helm-3", "helm-4"];
/// The oldest that the chart takes, and the newest whose schemas there are.
const KUBERNETES: [&str; 2] = ["1.27", "1.37"];
const PRESETS: [&str; 6] = [
    "ingress-nginx",
    "traefik",
    "envoy-gateway",
    "istio",
    "gateway-api",
    "nginx-gateway-fabric",
];

fn chart() -> PathBuf {
    root().join("charts/mlgate")
}

fn values(name: &str) -> PathBuf {
    root()
        .join("integration-tests/support/chart")
        .join(format!("{name}.yaml"))
}

fn preset(name: &str) -> PathBuf {
    chart().join("presets").join(format!("{name}.yaml"))
}

/// All that the tests render, by name: each with the values that come after the base's.
fn renderings() -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut all: BTreeMap<_, _> = PRESETS.map(|name| (name, vec![preset(name)])).into();
    for (name, of, more) in [
        ("envoy-gateway by gRPC", "envoy-gateway", &["grpc"][..]),
        ("envoy-gateway with bodies", "envoy-gateway", &["shown"]),
        ("envoy-gateway by gRPC with bodies", "envoy-gateway", &["grpc", "shown"]),
        ("istio by gRPC", "istio", &["grpc"]),
        ("gateway-api with bodies", "gateway-api", &["shown"]),
        ("gateway-api by gRPC with bodies", "gateway-api", &["grpc", "shown"]),
    ] {
        let files = [preset(of)].into_iter().chain(more.iter().copied().map(values));
        all.insert(name, files.collect());
    }
    all.insert("base", Vec::new());
    all.insert("everything", vec![values("everything")]);
    all.insert("route", vec![values("route")]);
    all
}

fn helm(helm: &str, arguments: &[&str]) -> Output {
    let home = std::env::temp_dir().join("mlgate-helm");
    Command::new(parts().join("helm").join(helm))
        .args(arguments)
        .envs([
            ("HELM_CACHE_HOME", &home),
            ("HELM_CONFIG_HOME", &home),
            ("HELM_DATA_HOME", &home),
        ])
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .unwrap()
}

fn template(version: &str, further: &[PathBuf], more: &[&str]) -> Output {
    let chart = chart();
    let base = values("base");
    let mut arguments = vec![
        "template",
        "gate",
        chart.to_str().unwrap(),
        "--namespace",
        "ml",
        "--values",
        base.to_str().unwrap(),
    ];
    for file in further {
        arguments.extend(["--values", file.to_str().unwrap()]);
    }
    arguments.extend(more);
    helm(version, &arguments)
}

fn rendered(version: &str, further: &[PathBuf], more: &[&str]) -> String {
    let output = template(version, further, more);
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn manifests(arguments: &[&str]) -> Output {
    Command::new(parts().join("kubernetes/bin/python"))
        .arg(root().join("integration-tests/support/chart/manifests.py"))
        .args(arguments)
        .output()
        .unwrap()
}

fn check_manifests(pairs: &[String]) -> Output {
    let crds = parts().join("kubernetes/crds");
    let mut arguments = vec!["check", crds.to_str().unwrap()];
    arguments.extend(pairs.iter().map(String::as_str));
    manifests(&arguments)
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    for version in HELMS {
        let output = helm(
            version,
            &[
                "lint",
                "--strict",
                chart().to_str().unwrap(),
                "--values",
                values("base").to_str().unwrap(),
            ],
        );
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn every_rendering_is_what_kubernetes_takes() {
    let folder = TempDir::new().unwrap();
    let mut pairs = Vec::new();
    for (name, further) in renderings() {
        for kubernetes in KUBERNETES {
            let both =
                HELMS.map(|version| rendered(version, &further, &["--kube-version", &format!("{kubernetes}.0")]));
            let [three, four] = both.each_ref().map(|text| without_what_is_random(text));
            assert_eq!(three, four, "{name}: Helm 3 and 4 render different things");
            let file = folder.path().join(format!("{name}.{kubernetes}.yaml"));
            fs::write(&file, &both[1]).unwrap();
            pairs.push(format!("{kubernetes}:{}", file.display()));
        }
    }
    let output = check_manifests(&pairs);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), pairs.len());
}

/// Helm 3 and 4 order manifests of one file differently, and a secret is another one each time.
fn without_what_is_random(text: &str) -> Vec<String> {
    let mut documents: Vec<String> = text
        .split("\n---\n")
        .map(|document| {
            document
                .lines()
                .filter(|line| {
                    !["  current:", "password", "redis-url", "requirepass"]
                        .iter()
                        .any(|key| line.contains(key))
                })
                .map(|line| format!("{}\n", line.trim_end()))
                .collect::<String>()
                .trim_matches(['\n', '-'])
                .to_owned()
        })
        .collect();
    documents.sort();
    documents
}

#[test]
fn the_judge_of_manifests_refuses_what_kubernetes_would() {
    let folder = TempDir::new().unwrap();
    let good = rendered("helm-4", &[values("everything")], &["--kube-version", "1.33.0"]);
    let broken = |what: &str, from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{what}");
        let file = folder.path().join("broken.yaml");
        fs::write(&file, text).unwrap();
        let output = check_manifests(&[format!("1.33:{}", file.display())]);
        assert_eq!(output.status.code(), Some(1), "{what}: {}", said(&output));
        said(&output)
    };
    assert!(broken("an unknown field", "enableServiceLinks:", "enableServiceLink:").contains("enableServiceLink"));
    assert!(broken("an unknown field of a custom resource", "interval:", "intervall:").contains("ServiceMonitor"));
    assert!(broken("root", "runAsNonRoot: true", "runAsNonRoot: false").contains("may run as root"));
    assert!(
        broken(
            "escalation",
            "allowPrivilegeEscalation: false",
            "allowPrivilegeEscalation: true"
        )
        .contains("escalate")
    );
    assert!(broken("a host's folder", "emptyDir:", "hostPath:").contains("volume"));
}

/// kube-score's checks, but for two: a CPU limit slows down what the machine has room for, and an image with a version need not be pulled again.
#[test]
fn a_policy_scanner_finds_nothing_critical() {
    let folder = TempDir::new().unwrap();
    for name in ["base", "everything"] {
        let file = folder.path().join(format!("{name}.yaml"));
        fs::write(
            &file,
            rendered("helm-4", &renderings()[name], &["--kube-version", "1.33.0"]),
        )
        .unwrap();
        let score = |more: &[&str]| {
            Command::new(parts().join("bin/kube-score"))
                .args(["score", "--output-format", "ci", "--kubernetes-version", "v1.33"])
                .args(more)
                .arg(&file)
                .output()
                .unwrap()
        };
        let output = score(&[
            "--ignore-container-cpu-limit",
            "--ignore-test",
            "container-image-pull-policy",
        ]);
        assert!(output.status.success(), "{name}: {}", said(&output));
        assert!(said(&output).contains("[OK]"), "{}", said(&output));
        assert!(!score(&[]).status.success(), "the two are not needed any more");
    }
}

#[test]
fn what_would_be_unsafe_or_never_start_is_not_rendered() {
    let cases: [(&str, &[&str]); 18] = [
        ("config.public_url is missing", &["config.public_url="]),
        ("config.provider is missing", &["config.provider=null"]),
        ("config.upstream is missing", &["config.upstream=null"]),
        ("several replicas need sessions in Redis", &["replicas=2"]),
        ("several replicas need sessions in Redis", &["autoscaling.enabled=true"]),
        ("drop one", &["redis.enabled=true", "config.session.store=memory"]),
        (
            "ReadWriteOnce",
            &[
                "redis.enabled=true",
                "replicas=2",
                "audit.persistence.enabled=true",
                "audit.persistence.accessMode=ReadWriteOnce",
            ],
        ),
        ("config holds a secret", &["config.client[0].secret=hunter2"]),
        ("keep one", &["secrets.existing=mine"]),
        ("mlflow.image.repository", &["mlflow.enabled=true"]),
        ("networkPolicy.metricsFrom", &["serviceMonitor.enabled=true"]),
        (
            "trusted_proxies is missing",
            &["protect.with=traefik", "protect.service.name=mlflow"],
        ),
        ("protect.service.name is missing", &["protect.with=traefik"]),
        ("trusted_proxies is missing", &["extAuthz.enabled=true"]),
        (
            "does not ask by gRPC",
            &[
                "protect.with=traefik",
                "protect.service.name=mlflow",
                "protect.protocol=grpc",
                "config.network.trusted_proxies={10.0.0.0/8}",
            ],
        ),
        (
            "not told here to show bodies",
            &[
                "protect.with=istio",
                "protect.service.name=mlflow",
                "protect.bodyLimit=1",
                "config.network.trusted_proxies={10.0.0.0/8}",
            ],
        ),
        ("bodyLimit", &["protect.bodyLimit=-1"]),
        ("colour", &["colour=red"]),
    ];
    for (expected, settings) in cases {
        let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        for version in HELMS {
            let output = template(version, &[], &more);
            assert!(!output.status.success(), "{settings:?} is rendered");
            assert!(said(&output).contains(expected), "{settings:?}: {}", said(&output));
            assert!(!said(&output).contains("hunter2"), "{settings:?}: {}", said(&output));
        }
    }
    for plain in [
        "config.provider[0].client_secret=hunter2",
        "config.session.redis_url=hunter2",
    ] {
        let output = template("helm-4", &[], &["--set", plain]);
        assert!(!output.status.success(), "{plain} is rendered");
    }
}

/// The folder of the gateway's configuration, as the pod would have it.
fn mounted(manifest: &str, extern_ones: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("manifest");
    fs::write(&file, format!("{manifest}\n---\n{extern_ones}")).unwrap();
    let output = manifests(&["volume", folder.path().to_str().unwrap(), file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    fs::remove_file(file).unwrap();
    folder
}

fn secret(name: &str, data: &[(&str, &str)]) -> String {
    let data: String = data
        .iter()
        .map(|(key, text)| format!("  {key}: {}\n", serde_json::json!(text)))
        .collect();
    format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\nstringData:\n{data}---\n")
}

/// Secrets that the operator brings.
fn brought() -> String {
    let folder = TempDir::new().unwrap();
    Ca::new().write(folder.path(), &["mlflow.example.com"]);
    let pem = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    let keys = [
        ("current", "0123456789abcdef0123456789abcdef"),
        ("previous", "fedcba9876543210fedcba9876543210"),
    ];
    secret(
        "gateway-tls",
        &[("tls.crt", &pem("cert.pem")), ("tls.key", &pem("key.pem"))],
    ) + &secret(
        "mine",
        &[
            ("users.toml", &users_toml()),
            ("redis-url", "redis://:hunter2@redis:6379/0"),
        ],
    ) + &secret("mine-too", &keys)
}

#[test]
fn the_gateway_reads_what_the_chart_makes_of_each_rendering() {
    let brought = brought();
    for (name, further) in renderings() {
        let folder = mounted(&rendered("helm-4", &further, &[]), &brought);
        let output = binary()
            .args(["check", "--config"])
            .arg(folder.path().join("mlgate.toml"))
            .output()
            .unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{name}: {said}");
    }
}

/// One manifest of a rendering.
fn manifest<'a>(rendering: &'a str, kind: &str, name: &str) -> &'a str {
    rendering
        .split("\n---\n")
        .find(|text| text.contains(&format!("\nkind: {kind}\n")) && text.contains(&format!("\n  name: {name}\n")))
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn an_envoy_that_asks_by_grpc_finds_the_listener() {
    let all = renderings();
    let (by_http, by_grpc) = ("envoy-gateway with bodies", "envoy-gateway by gRPC with bodies");
    let [by_http, by_grpc] = [by_http, by_grpc].map(|name| rendered("helm-4", &all[name], &[]));
    let listener = "ext_authz_address = \"0.0.0.0:9191\"";
    for (text, is_grpc) in [(&by_http, false), (&by_grpc, true)] {
        assert_eq!(text.contains(listener), is_grpc);
        assert_eq!(text.contains("endpoints = [\"ext-authz\"]"), !is_grpc);
        assert_eq!(
            manifest(text, "Service", "gate-mlgate").contains("appProtocol: kubernetes.io/h2c"),
            is_grpc
        );
        assert_eq!(
            manifest(text, "Deployment", "gate-mlgate").contains("containerPort: 9191"),
            is_grpc
        );
        assert_eq!(
            manifest(text, "NetworkPolicy", "gate-mlgate").contains("port: 9191"),
            is_grpc
        );
        let policy = manifest(text, "SecurityPolicy", "gate-mlgate");
        assert!(policy.contains("maxRequestBytes: 1048576") && policy.contains("failOpen: false"));
        assert_eq!(policy.contains("grpc:") && policy.contains("port: 9191"), is_grpc);
        assert_eq!(policy.contains("x-envoy-auth-partial-body"), !is_grpc);
        // Of any size: asked about without their bodies, and not without being asked about.
        let uploads = manifest(text, "SecurityPolicy", "gate-mlgate-uploads");
        assert!(!uploads.contains("bodyToExtAuth") && uploads.contains("name: gate-mlgate-uploads"));
        assert!(manifest(text, "HTTPRoute", "gate-mlgate-uploads").contains("value: /api/2.0/mlflow-artifacts"));
    }
    // For an Envoy of one's own.
    let trusted = "extAuthz.enabled=true,extAuthz.port=7000,config.network.trusted_proxies={10.0.0.0/8}";
    let own = rendered("helm-4", &[], &["--set", trusted]);
    assert!(own.contains(listener) && manifest(&own, "Service", "gate-mlgate").contains("port: 7000"));
    assert!(!rendered("helm-4", &[], &[]).contains("ext_authz_address"));
}

/// The extension providers of docs/kubernetes.md, which stand in Istio's mesh configuration and in no manifest.
#[test]
fn istio_knows_every_word_of_its_extension_providers() {
    let page = fs::read_to_string(root().join("docs/kubernetes.md")).unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mesh.yaml");
    let proto = parts().join("kubernetes/istio/config.proto");
    let judged = |text: &str| {
        fs::write(&file, text).unwrap();
        manifests(&["mesh", proto.to_str().unwrap(), file.to_str().unwrap()])
    };
    let blocks: Vec<_> = page
        .split("```yaml\n")
        .filter(|text| text.starts_with("extensionProviders:"))
        .map(|text| text.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let output = judged(block);
        assert!(output.status.success(), "{}", said(&output));
        let wrong = judged(&block.replace("statusOnError", "statusOnErrors"));
        assert_eq!(wrong.status.code(), Some(1));
        assert!(said(&wrong).contains("statusOnErrors"));
    }
}

/// A gateway as the chart runs it, but on loopback.
struct Pod {
    folder: TempDir,
    port: u16,
    _server: Server,
}

impl Pod {
    fn start(manifest: &str, redis: &Redis, mlflow: &str) -> Self {
        let folder = mounted(manifest, "");
        let port = free_port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let settings = [
            ("PUBLIC_URL", format!("http://127.0.0.1:{port}")),
            ("LISTEN__ADDRESS", format!("127.0.0.1:{port}")),
            ("LISTEN__ADMIN_ADDRESS", format!("127.0.0.1:{}", free_port())),
            ("LISTEN__ADMIN_SOCKET", at("admin.sock")),
            ("AUDIT__FILE", at("audit.jsonl")),
            ("UPSTREAM__0__URL", mlflow.to_owned()),
            ("SESSION__REDIS_URL", address(redis)),
            ("SESSION__REDIS_URL_FILE", String::new()),
        ];
        let mut command = binary();
        command
            .args(["serve", "--config"])
            .arg(folder.path().join("mlgate.toml"))
            .envs(settings.map(|(key, value)| (format!("MLGATE__{key}"), value)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(fs::File::create(folder.path().join("log")).unwrap()));
        let mut server = Server::start(&mut command);
        let log = folder.path().join("log");
        until("the gateway is ready", Duration::from_secs(60), || {
            assert!(server.is_running(), "{}", read(&log));
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() && get(port, "/auth/readyz", "").status == 200
        });
        Self {
            folder,
            port,
            _server: server,
        }
    }
}

fn address(redis: &Redis) -> String {
    match redis.kind() {
        StoreKind::Redis { url, .. } => url.expose().to_owned(),
        StoreKind::Memory => panic!("not in Redis"),
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn get(port: u16, path: &str, cookie: &str) -> crate::support::http::Response {
    Request::get(path)
        .header("Cookie", cookie)
        .navigation()
        .send(&format!("127.0.0.1:{port}"))
}

/// What `helm upgrade` changes is everything but the session's Secret, which it finds in the cluster (the cluster's test shows that).
#[test]
fn an_upgrade_keeps_people_signed_in() {
    let (redis, mlflow) = (Redis::start(), Echo::start());
    let people = TempDir::new().unwrap();
    let users = people.path().join("users.yaml");
    fs::write(
        &users,
        format!(
            "secrets: {{data: {{users.toml: {}}}}}\n",
            serde_json::json!(users_toml())
        ),
    )
    .unwrap();
    let older = rendered("helm-3", std::slice::from_ref(&users), &["--set", "redis.enabled=true"]);
    let pod = Pod::start(&older, &redis, &mlflow.url);
    let cookie = sign_in(pod.port, "ada");
    assert_eq!(get(pod.port, "/auth/account", &cookie).status, 200);
    let key = fs::read(pod.folder.path().join("keys/current")).unwrap();
    drop(pod);

    let kept = secret("kept", &[("current", std::str::from_utf8(&key).unwrap())]);
    let newer = [
        "--set",
        "redis.enabled=true,sessionKeys.existing=kept,config.pages.operator=Other",
    ];
    let newer = rendered("helm-4", std::slice::from_ref(&users), &newer);
    let pod = Pod::start(&format!("{newer}\n---\n{kept}"), &redis, &mlflow.url);
    assert_eq!(get(pod.port, "/auth/account", &cookie).status, 200);
    drop(pod);

    // The control: with another key nobody is known.
    let pod = Pod::start(
        &older.replace(std::str::from_utf8(&base64(&key)).unwrap(), &other_key()),
        &redis,
        &mlflow.url,
    );
    assert_eq!(get(pod.port, "/auth/account", &cookie).status, 303);
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes()
}

fn other_key() -> String {
    String::from_utf8(base64(&base64(b"another key of thirty-two bytes!"))).unwrap()
}

fn sign_in(port: u16, user: &str) -> String {
    let authority = format!("127.0.0.1:{port}");
    let form = get(port, "/auth/login/local", "");
    let cookies: Vec<_> = form
        .all("set-cookie")
        .filter_map(|cookie| cookie.split(';').next())
        .collect();
    let page = form.text();
    let token = page
        .split("name=\"csrf_token\"")
        .nth(1)
        .and_then(|rest| rest.split("value=\"").nth(1));
    let token = token.and_then(|rest| rest.split('"').next()).unwrap();
    let answer = Request::new("POST", "/auth/login/local")
        .navigation()
        .header("Cookie", &cookies.join("; "))
        .header("Origin", &format!("http://{authority}"))
        .form(&[
            ("username", user),
            ("password", PASSWORD),
            ("rd", "/"),
            ("csrf_token", token),
        ])
        .send(&authority);
    let session = answer
        .all("set-cookie")
        .filter_map(|cookie| cookie.split(';').next())
        .find(|cookie| cookie.starts_with("mlgate="));
    session
        .unwrap_or_else(|| panic!("{} {}", answer.status, answer.text()))
        .to_owned()
}
