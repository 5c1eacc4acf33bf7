//! Where the gateway stands and how it serves: below a path, for several hosts, against slow and greedy clients, to a good end.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, PASSWORD, Setup};
use crate::support::http::{Request, Response, read, read_head};
use crate::support::process::until;

const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";
const ARTIFACT: &str = "/api/2.0/mlflow-artifacts/artifacts/1/0123456789abcdef0123456789abcdef/artifacts/big.bin";

fn bearer(gateway: &Gateway, user: &str) -> String {
    format!("Bearer {}", gateway.token(user))
}

/// The first value of each cookie that an answer sets, as `name=value`.
fn cookies(answer: &Response) -> String {
    let pairs: Vec<_> = answer
        .all("set-cookie")
        .filter_map(|cookie| cookie.split(';').next())
        .collect();
    pairs.join("; ")
}

#[test]
fn a_page_of_ours_that_is_none_is_told_as_its_asker_reads() {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    for path in ["/auth/none-such", "/auth/check/forward-auth"] {
        let told = gateway.send(&Request::get(path));
        assert_eq!(
            (told.status, told.json()["error_code"].as_str()),
            (404, Some("RESOURCE_DOES_NOT_EXIST"))
        );
        assert_eq!(
            told.json()["request_id"].as_str(),
            told.header("x-request-id"),
            "{path}"
        );
        assert!(told.header("x-request-id").is_some_and(|id| !id.is_empty()), "{path}");
    }
    let page = gateway.send(&Request::get("/auth/none-such").navigation());
    assert_eq!(page.status, 404);
    assert!(page.text().contains("<main"), "{}", page.text());
}

#[test]
fn below_a_path_everything_is_below_it() {
    let echo = Echo::start();
    let mut setup = Setup::new(&echo.url);
    setup.top = format!("public_url = \"http://127.0.0.1:{}/ml/flow\"\n", setup.port);
    let gateway = setup.start();
    let send = |request: Request| gateway.send(&request);

    let answer = send(Request::get("/ml/flow/x?y=1").navigation());
    assert_eq!(answer.status, 302);
    let to = answer.header("location").unwrap().to_owned();
    assert!(to.starts_with("/ml/flow/auth/login?rd="), "{to}");
    let chosen = send(Request::get(&to).navigation());
    assert_eq!(chosen.status, 302);
    let to = chosen.header("location").unwrap().to_owned();
    assert!(to.starts_with("/ml/flow/auth/login/local?rd="), "{to}");

    let form = send(Request::get(&to).navigation());
    assert_eq!(form.status, 200, "{}", form.text());
    let page = form.text();
    let links: Vec<_> = page
        .split(['"', '\''])
        .filter(|text| text.starts_with('/') && text.contains("auth/"))
        .collect();
    assert!(links.iter().all(|link| link.starts_with("/ml/flow/auth/")), "{links:?}");
    let assets: Vec<_> = links.iter().filter(|link| link.contains("assets")).collect();
    assert!(!assets.is_empty(), "{links:?}");
    for asset in assets {
        assert_eq!(send(Request::get(asset)).status, 200, "{asset}");
    }
    let hidden = |name: &str| {
        let field = page.split(&format!("name=\"{name}\"")).nth(1).unwrap();
        field
            .split("value=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let signed_in = send(
        Request::new("POST", "/ml/flow/auth/login/local")
            .navigation()
            .header("Cookie", &cookies(&form))
            .header("Origin", &gateway.origin())
            .form(&[
                ("username", "vera"),
                ("password", PASSWORD),
                ("rd", &hidden("rd").replace("&#x2f;", "/").replace("&#61;", "=")),
                ("csrf_token", &hidden("csrf_token")),
            ]),
    );
    assert_eq!(signed_in.status, 303, "{}", signed_in.text());
    assert_eq!(signed_in.header("location"), Some("/ml/flow/x?y=1"));
    let session = signed_in
        .all("set-cookie")
        .find(|cookie| cookie.starts_with("mlgate=") && !cookie.starts_with("mlgate=;"))
        .unwrap();
    // A host's other programs get no cookie of ours that they need not see; `__Host-` allows no path.
    assert!(session.contains("Path=/"), "{session}");
    let session = session.split(';').next().unwrap();

    let answer = send(Request::get(&format!("/ml/flow{READS}")).header("Cookie", session));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["target"], READS, "the path is taken off before MLflow");
    let moved = send(
        Request::get(&format!("/ml/flow{READS}"))
            .header("Cookie", session)
            .header("X-Play", "redirect=/elsewhere/"),
    );
    assert_eq!(moved.header("location"), Some("/ml/flow/elsewhere/"));
    let home = send(Request::get("/ml/flow").navigation());
    assert_eq!((home.status, home.header("location")), (308, Some("/ml/flow/")));
    for outside in [
        READS,
        "/",
        "/ml",
        "/ml/flowers",
        "/auth/login",
        "/ml/flow/../auth/login",
    ] {
        let answer = send(Request::get(outside).header("Cookie", session));
        assert!(matches!(answer.status, 400 | 404), "{outside}: {}", answer.status);
    }
}

#[test]
fn several_servers_are_told_apart_by_host() {
    let (production, staging) = (Echo::start(), Echo::start());
    let mut setup = Setup::new("");
    setup.upstream = format!(
        "name = \"production\"\nurl = \"{}\"\nhosts = [\"ml.example.test\"]\n[[upstream]]\nname = \"staging\"\nurl = \"{}\"\n\
         hosts = [\"staging.example.test\", \"127.0.0.1\"]\n",
        production.url, staging.url
    );
    setup.sections += "[[role]]\nname = \"stager\"\nusers = [\"local:nina\"]\nupstreams = [\"staging\"]\n\
                       grants = [{ permission = \"READ\", experiments = [\"*\"] }]\n";
    let gateway = setup.start();
    let (vera, nina) = (bearer(&gateway, "vera"), bearer(&gateway, "nina"));
    let asks =
        |who: &str, host: &str| gateway.send(&Request::get(READS).header("Authorization", who).header("Host", host));
    for (host, echo, name) in [
        ("ml.example.test", &production, "production"),
        ("ML.example.test:8443", &production, "production"),
        ("staging.example.test", &staging, "staging"),
    ] {
        let answer = asks(&vera, host);
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        let told = answer.json()["headers"].clone();
        let of = |header: &str| -> Vec<Value> {
            let all = told.as_array().unwrap().iter();
            all.filter(|pair| pair[0] == header)
                .map(|pair| pair[1].clone())
                .collect()
        };
        assert_eq!(of("host"), [json!(echo.url.trim_start_matches("http://"))], "{host}");
        assert_eq!(of("x-forwarded-host"), [json!(host)]);
        let event = gateway.events().into_iter().last().unwrap();
        assert_eq!(event["upstream"], name);
    }
    assert_eq!(asks(&nina, "staging.example.test").status, 200);
    assert_eq!(asks(&nina, "ml.example.test").status, 403, "a role of the other server");
    assert_eq!(asks(&vera, "evil.test").status, 421);
}

/// Sends what there is and waits for the end: what was answered, and after how long.
fn dawdle(gateway: &Gateway, bytes: &[u8]) -> (String, Duration) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(gateway.authority()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    (String::from_utf8_lossy(&answer).into_owned(), started.elapsed())
}

#[test]
fn slow_clients_are_let_go_and_hold_up_nobody() {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    let editor = bearer(&gateway, "ed");
    let upload = format!(
        "PUT {ARTIFACT} HTTP/1.1\r\nHost: {}\r\nAuthorization: {editor}\r\nContent-Length: 5000\r\n\r\nonly this",
        gateway.authority()
    );
    // Not streamed: read before anything is decided.
    let decided_on = format!(
        "POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: {}\r\nAuthorization: {editor}\r\n\
         Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{{",
        gateway.authority()
    );
    let ask = Request::get(READS).header("Authorization", &editor);
    std::thread::scope(|scope| {
        let head = scope.spawn(|| dawdle(&gateway, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "));
        let body = scope.spawn(|| dawdle(&gateway, upload.as_bytes()));
        let nothing = scope.spawn(|| dawdle(&gateway, b""));
        let decided_on = scope.spawn(|| dawdle(&gateway, decided_on.as_bytes()));
        while !body.is_finished() {
            let started = Instant::now();
            assert_eq!(gateway.send(&ask).status, 200);
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
            std::thread::park_timeout(Duration::from_millis(500));
        }
        for (answer, took) in [head.join().unwrap(), nothing.join().unwrap()] {
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
            assert!(
                took >= Duration::from_secs(14) && took < Duration::from_secs(25),
                "{took:?}"
            );
        }
        for (answer, took) in [body.join().unwrap(), decided_on.join().unwrap()] {
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
            assert!(
                took >= Duration::from_secs(29) && took < Duration::from_secs(45),
                "{took:?}"
            );
        }
    });
    until("the broken upload ended upstream", Duration::from_secs(10), || {
        echo.broken() == 1
    });
}

/// A connection from an address of the loopback network.
fn connect_from(source: &str, to: &str) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    let to: SocketAddr = to.parse().unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn one_address_cannot_take_all_connections() {
    let echo = Echo::start();
    let mut setup = Setup::new(&echo.url);
    setup.sections += "[network]\ntrusted_proxies = [\"127.0.0.9\"]\n";
    let gateway = setup.start();
    let ask = Request::get(READS)
        .header("Authorization", &bearer(&gateway, "vera"))
        .header("Connection", "keep-alive");
    let served = |stream: &TcpStream| {
        let mut stream = stream;
        stream.write_all(&ask.bytes(&gateway.authority())).is_ok()
            && read(&mut BufReader::new(stream), false).is_ok_and(|answer| answer.status == 200)
    };
    let greedy: Vec<_> = (0..560)
        .map(|_| connect_from("127.0.0.2", &gateway.authority()))
        .collect();
    let count = greedy.iter().filter(|stream| served(stream)).count();
    assert_eq!(count, 512);
    assert!(
        served(&connect_from("127.0.0.3", &gateway.authority())),
        "another address"
    );
    let proxied: Vec<_> = (0..560)
        .map(|_| connect_from("127.0.0.9", &gateway.authority()))
        .collect();
    assert!(proxied.iter().all(served), "a trusted proxy stands for many");
    let metrics = Request::get("/metrics").send(&gateway.admin_authority()).text();
    let open = metrics
        .lines()
        .find_map(|line| line.strip_prefix("mlgate_connections "))
        .unwrap();
    assert!(open.parse::<f64>().unwrap() >= 1072.0, "{open}");
    drop(greedy);
    until("the places are free again", Duration::from_secs(10), || {
        served(&connect_from("127.0.0.2", &gateway.authority()))
    });
}

#[test]
fn an_upload_under_way_is_finished_after_readiness_is_gone() {
    let echo = Echo::start();
    let mut gateway = Setup::new(&echo.url).start();
    let head = format!(
        "PUT {ARTIFACT} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nContent-Length: 3000000\r\n\r\n",
        gateway.authority(),
        bearer(&gateway, "ed")
    );
    let mut upload = TcpStream::connect(gateway.authority()).unwrap();
    upload.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(&vec![b'u'; 1_000_000]).unwrap();
    until("the upload has begun upstream", Duration::from_secs(10), || {
        echo.begun() == 1
    });
    // One that only waits for its next request does not hold up the end.
    let idle = TcpStream::connect(gateway.authority()).unwrap();
    let ask = Request::get("/auth/healthz").header("Connection", "keep-alive");
    (&idle).write_all(&ask.bytes(&gateway.authority())).unwrap();
    assert_eq!(read(&mut BufReader::new(&idle), false).unwrap().status, 200);

    gateway.server.signal("TERM");
    let ready = Request::get("/auth/readyz");
    until("readiness is gone", Duration::from_secs(10), || {
        ready.send(&gateway.admin_authority()).status == 503
    });
    until("nobody new is let in", Duration::from_secs(10), || {
        TcpStream::connect(gateway.authority()).is_err()
    });
    upload.write_all(&vec![b'u'; 2_000_000]).unwrap();
    let mut answer = BufReader::new(upload);
    let told = read_head(&mut answer).unwrap();
    assert_eq!(told.status, 200);
    answer.get_ref().shutdown(Shutdown::Both).unwrap();
    let started = Instant::now();
    assert_eq!(gateway.server.wait(Duration::from_secs(25)), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let event = gateway
        .events()
        .into_iter()
        .find(|event| event["http"]["bytes_in"] == 3_000_000)
        .unwrap();
    assert_eq!(
        (&event["action"], &event["outcome"]),
        (&json!("artifact.upload"), &json!("allowed"))
    );
    assert!(gateway.verify_audit().status.success());
}

#[test]
fn everything_that_is_promised_is_measured() {
    let echo = Echo::start();
    let mut gateway = Setup::new(&echo.url).start();
    let session = gateway.sign_in("vera");
    assert!(gateway.sign_in_with("vera", "not the password").is_err());
    for _ in 0..2 {
        assert_eq!(
            gateway.send(&Request::get(READS).header("Cookie", &session)).status,
            200
        );
    }
    assert_eq!(gateway.send(&Request::get(READS)).status, 401);
    gateway.setup.sections += "# changed\n";
    gateway.setup.write();
    let metrics = || Request::get("/metrics").send(&gateway.admin_authority()).text();
    // Some of them are counted every few seconds.
    until("sessions and caches are counted", Duration::from_secs(20), || {
        let text = metrics();
        text.contains("mlgate_sessions 1")
            && text.contains("mlgate_cache_total")
            && text.contains("mlgate_reloads_total")
    });
    let text = metrics();
    for line in [
        "mlgate_requests_total{class=\"experiment\",outcome=\"allowed\"} 2",
        "mlgate_requests_total{class=\"none\",outcome=\"refused\"} 1",
        "mlgate_request_seconds_count{class=\"experiment\",outcome=\"allowed\"} 2",
        "mlgate_request_seconds_bucket{class=\"experiment\",outcome=\"allowed\",le=\"+Inf\"} 2",
        "mlgate_upstream_seconds_count 2",
        "mlgate_provider_seconds_count{provider=\"local\"} 2",
        "mlgate_logins_total{provider=\"local\",outcome=\"allowed\"} 1",
        "mlgate_logins_total{provider=\"local\",outcome=\"refused\"} 1",
        "mlgate_audit_lag_seconds_count",
        "mlgate_reloads_total{outcome=\"taken_over\"} 1",
        "mlgate_connections ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("vera"), "names are nobody's label");
    let log = gateway.log();
    let ids: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let request = ids.iter().find(|line| line["message"] == "request").unwrap();
    assert!(
        request["request_id"].as_str().is_some_and(|id| id.len() == 32),
        "{request}"
    );
}
