//! TLS from both sides, over real sockets: versions, certificates that are swapped, client certificates, HTTP/2, and the way to MLflow.

use std::process::Command;
use std::time::Duration;

use rustls::version::{TLS12, TLS13};

use crate::support::ca::Ca;
use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::process::until;
use crate::support::tls::{Client, ask, certificate, front};

const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";
const ARTIFACT: &str = "/api/2.0/mlflow-artifacts/artifacts/1/0123456789abcdef0123456789abcdef/artifacts/big.bin";

/// In front of an upstream, with TLS and a certificate for localhost of an authority of its own.
fn setup(upstream: &str, more: &str) -> (Setup, Ca) {
    let mut setup = Setup::new(upstream);
    let ca = Ca::new();
    ca.write(setup.folder.path(), &["localhost"]);
    setup.top = format!("public_url = \"https://localhost:{}\"\n", setup.port);
    setup.listen = format!("[listen.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n{more}");
    (setup, ca)
}

fn client(gateway: &Gateway) -> Client {
    Client::believing(gateway.setup.folder.path())
}

fn by_token(gateway: &Gateway) -> Request {
    Request::get(READS).header("Authorization", &format!("Bearer {}", gateway.token("vera")))
}

#[test]
fn old_versions_are_refused_where_the_configuration_says_so() {
    let echo = Echo::start();
    let (setup, _ca) = setup(&echo.url, "");
    let gateway = setup.start();
    let asked = by_token(&gateway);
    for version in [&TLS12, &TLS13] {
        let answer = client(&gateway)
            .speaking(version)
            .send(&asked, gateway.setup.port)
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.header("strict-transport-security"),
            None,
            "MLflow's own answers are left alone"
        );
    }
    let page = client(&gateway)
        .send(&Request::get("/auth/login").navigation(), gateway.setup.port)
        .unwrap();
    assert_eq!(page.status, 302);
    let page = client(&gateway)
        .send(&Request::get("/auth/login/local").navigation(), gateway.setup.port)
        .unwrap();
    assert_eq!(page.header("strict-transport-security"), Some("max-age=31536000"));
    assert!(
        page.all("set-cookie").all(|cookie| cookie.contains("; Secure")),
        "{:?}",
        page.headers
    );

    let (strict, _ca) = self::setup(&echo.url, "min_version = \"1.3\"\n");
    let strict = strict.start();
    let asked = by_token(&strict);
    assert_eq!(
        client(&strict)
            .speaking(&TLS13)
            .send(&asked, strict.setup.port)
            .unwrap()
            .status,
        200
    );
    assert!(
        client(&strict)
            .speaking(&TLS12)
            .send(&asked, strict.setup.port)
            .is_err()
    );
}

#[test]
fn a_new_certificate_is_shown_without_dropping_a_connection() {
    let echo = Echo::start();
    let (setup, ca) = setup(&echo.url, "");
    let gateway = setup.start();
    let (port, asked) = (
        gateway.setup.port,
        by_token(&gateway).header("Connection", "keep-alive"),
    );
    let client = client(&gateway);
    let mut old = client.connect(port).unwrap();
    assert_eq!(ask(&mut old, &asked, port).unwrap().status, 200);
    let first = certificate(&old);

    ca.write(gateway.setup.folder.path(), &["localhost"]);
    until("the new certificate is shown", Duration::from_secs(15), || {
        certificate(&client.connect(port).unwrap()) != first
    });
    let second = certificate(&client.connect(port).unwrap());
    assert_eq!(
        ask(&mut old, &asked, port).unwrap().status,
        200,
        "the old connection goes on"
    );

    // A certificate without its key changes nothing.
    let other = tempfile::tempdir().unwrap();
    ca.write(other.path(), &["localhost"]);
    std::fs::copy(other.path().join("cert.pem"), gateway.setup.path("cert.pem")).unwrap();
    gateway.server.signal("HUP");
    until("the bad pair is counted", Duration::from_secs(15), || {
        let metrics = Request::get("/metrics").send(&gateway.admin_authority()).text();
        metrics.contains("mlgate_reloads_total{outcome=\"refused\"}")
    });
    assert_eq!(certificate(&client.connect(port).unwrap()), second);
    assert_eq!(ask(&mut old, &asked, port).unwrap().status, 200);
}

#[test]
fn a_client_without_a_certificate_of_the_authority_is_not_let_in() {
    let echo = Echo::start();
    let (setup, _ca) = setup(&echo.url, "client_ca_file = \"clients.pem\"\n");
    let (clients, strangers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Ca::new().write(clients.path(), &["job"]);
    Ca::new().write(strangers.path(), &["job"]);
    std::fs::copy(clients.path().join("ca.pem"), setup.path("clients.pem")).unwrap();
    let gateway = setup.start();
    let (port, asked) = (gateway.setup.port, by_token(&gateway));
    let client = client(&gateway);
    for version in [&TLS12, &TLS13] {
        let client = client.clone().speaking(version);
        assert_eq!(
            client
                .clone()
                .showing(clients.path())
                .send(&asked, port)
                .unwrap()
                .status,
            200
        );
        assert!(client.send(&asked, port).is_err(), "no certificate");
        assert!(
            client.showing(strangers.path()).send(&asked, port).is_err(),
            "another authority's"
        );
    }
}

/// curl's version of HTTP, status and body.
fn curl(arguments: &[&str]) -> (String, String, String) {
    let out = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--write-out",
            "\n%{http_version} %{http_code}",
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let (body, told) = text.rsplit_once('\n').unwrap();
    let (version, status) = told.split_once(' ').unwrap();
    (version.to_owned(), status.to_owned(), body.to_owned())
}

#[test]
fn http2_is_spoken_when_it_is_switched_on_and_not_before() {
    let echo = Echo::start();
    for (http2, version) in [(true, "2"), (false, "1.1")] {
        let (mut setup, _ca) = setup(&echo.url, "");
        setup.listen = format!("http2 = {http2}\n{}", setup.listen);
        let gateway = setup.start();
        let ca = gateway.setup.path("ca.pem");
        let url = format!("https://localhost:{}", gateway.setup.port);
        let bearer = format!("Authorization: Bearer {}", gateway.token("ed"));
        let ask = |more: &[&str]| curl(&[&["--http2", "--cacert", ca.to_str().unwrap()], more].concat());
        let (spoken, status, body) = ask(&[
            "-H",
            &bearer,
            "-H",
            "X-Forwarded-User: root",
            "-b",
            "theme=dark; a=b",
            &format!("{url}{READS}"),
        ]);
        assert_eq!((spoken.as_str(), status.as_str()), (version, "200"), "{body}");
        let reached: serde_json::Value = serde_json::from_str(&body).unwrap();
        let told = reached["headers"].as_array().unwrap();
        let has = |name: &str, value: &str| told.contains(&serde_json::json!([name, value]));
        assert!(
            has("x-forwarded-user", "ed") && has("cookie", "theme=dark; a=b"),
            "{reached}"
        );
        assert!(
            has("x-forwarded-host", &format!("localhost:{}", gateway.setup.port)),
            "{reached}"
        );
        let (_, status, body) = ask(&[&format!("{url}{READS}")]);
        assert_eq!(status, "401", "{body}");

        // Up and down, more than any window holds.
        let file = gateway.setup.path("upload");
        std::fs::write(&file, vec![b'u'; 9 << 20]).unwrap();
        let (_, status, body) = ask(&["-H", &bearer, "-T", file.to_str().unwrap(), &format!("{url}{ARTIFACT}")]);
        assert_eq!(status, "200", "{body}");
        let reached: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(reached["length"], 9 << 20, "{reached}");
        let (_, status, body) = ask(&["-H", &bearer, "-H", "X-Play: big=20000000", &format!("{url}{ARTIFACT}")]);
        assert_eq!((status.as_str(), body.len()), ("200", 20_000_000));

        let (_, status, _) = ask(&["-H", "Accept: text/html", &format!("{url}/")]);
        assert_eq!(status, "302");
    }
}

#[test]
fn http2_without_tls_is_for_who_speaks_it_from_the_start() {
    let echo = Echo::start();
    let mut setup = Setup::new(&echo.url);
    setup.listen = "http2 = true\n".to_owned();
    let gateway = setup.start();
    let bearer = format!("Authorization: Bearer {}", gateway.token("vera"));
    let url = format!("{}{READS}", gateway.url());
    let (spoken, status, body) = curl(&["--http2-prior-knowledge", "-H", &bearer, &url]);
    assert_eq!((spoken.as_str(), status.as_str()), ("2", "200"), "{body}");
    let (spoken, status, _) = curl(&["--http1.1", "-H", &bearer, &url]);
    assert_eq!((spoken.as_str(), status.as_str()), ("1.1", "200"));
    let other_host = ["--http2-prior-knowledge", "-H", &bearer, "-H", "Host: evil.test", &url];
    let (_, _, body) = curl(&other_host);
    assert!(!body.contains("evil.test"), "{body}");
}

#[test]
fn mlflow_is_reached_by_tls_with_its_own_roots_and_a_certificate_of_ours() {
    let echo = Echo::start();
    let plain = echo.url.trim_start_matches("http://").parse().unwrap();
    let (server, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Ca::new().write(server.path(), &["localhost"]);
    Ca::new().write(ours.path(), &["gateway"]);
    let port = front(plain, server.path(), Some(ours.path()));
    let in_front_of = |host: &str, more: &str| {
        let mut setup = Setup::new("");
        setup.upstream = format!(
            "name = \"production\"\nmlflow_version = \"3.18.0\"\nurl = \"https://{host}:{port}\"\n{}",
            more.replace("SERVER", server.path().to_str().unwrap())
                .replace("OURS", ours.path().to_str().unwrap())
        );
        let gateway = setup.start();
        let answer = gateway.send(&by_token(&gateway));
        (answer.status, answer.text())
    };
    let (roots, pair) = (
        "ca_file = \"SERVER/ca.pem\"\n",
        "client_cert_file = \"OURS/cert.pem\"\nclient_key_file = \"OURS/key.pem\"\n",
    );
    let (status, body) = in_front_of("localhost", &format!("{roots}{pair}"));
    assert_eq!(status, 200, "{body}");
    for (why, host, more) in [
        ("without our certificate", "localhost", roots.to_owned()),
        ("with the system's roots", "localhost", pair.to_owned()),
        (
            "with other roots",
            "localhost",
            format!("ca_file = \"OURS/ca.pem\"\n{pair}"),
        ),
        ("under another name", "127.0.0.1", format!("{roots}{pair}")),
    ] {
        let (status, body) = in_front_of(host, &more);
        assert_eq!(status, 502, "{why}: {body}");
        assert!(!body.contains("certificate"), "{why}: {body}");
    }
}
