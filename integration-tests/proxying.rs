//! What reaches MLflow and what comes back, over real sockets, in front of an upstream that misbehaves when told to.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::Value;

use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response, read, read_head};
use crate::support::process::until;

const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";
const CHANGES: &str = "/ajax-api/2.0/mlflow/experiments/create";
const ARTIFACT: &str = "/api/2.0/mlflow-artifacts/artifacts/1/0123456789abcdef0123456789abcdef/artifacts/big.bin";

fn start() -> (Echo, Gateway) {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    (echo, gateway)
}

/// What reached the upstream.
struct Reached(Value);

impl Reached {
    fn of(response: &Response) -> Self {
        assert!(
            (200..300).contains(&response.status),
            "{} {}",
            response.status,
            response.text()
        );
        Self(response.json())
    }

    fn all(&self, name: &str) -> Vec<&str> {
        let headers = self.0["headers"].as_array().unwrap();
        headers
            .iter()
            .filter(|header| header[0] == name)
            .filter_map(|header| header[1].as_str())
            .collect()
    }
}

fn open(gateway: &Gateway, request: &Request) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.authority()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&request.bytes(&gateway.authority())).unwrap();
    stream
}

/// Sends bytes as they are and gives the status of the answer; 0 where there is none.
fn raw(gateway: &Gateway, bytes: &str) -> u16 {
    let mut stream = TcpStream::connect(gateway.authority()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    read_head(&mut BufReader::new(stream)).map_or(0, |response| response.status)
}

#[test]
fn mlflow_is_told_who_asks_by_the_gateway_alone() {
    let (_echo, gateway) = start();
    let token = gateway.token("ada");
    let mut request = Request::get(READS).header("Authorization", &format!("Bearer {token}"));
    for name in [
        "X-Forwarded-User",
        "X_Forwarded_User",
        "x.forwarded.user",
        "X-Forwarded_User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Mlgate-Roles",
        "X-Mlgate-Assertion",
        "X-Auth-Request-User",
        "Remote-User",
        "Remote_User",
        "X-Remote-User",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "Via",
        "X-MLflow-Guardrail-Bypass",
        "X-MLflow-Gateway-Caller",
        "X-MLflow-Assistant-Delegation",
    ] {
        request = request.header(name, "evil");
    }
    let answer = gateway.send(&request.header("Connection", "close, X-Forwarded-User, X-Mlgate-Roles"));
    assert!(!answer.text().contains("evil"), "{}", answer.text());
    assert!(!answer.text().contains(&token), "{}", answer.text());
    let reached = Reached::of(&answer);
    assert_eq!(reached.all("x-forwarded-user"), ["ada"]);
    assert_eq!(reached.all("x-forwarded-email"), ["ada@example.test"]);
    assert_eq!(reached.all("x-forwarded-groups"), ["admins"]);
    assert_eq!(reached.all("x-mlgate-roles"), ["admin"]);
    assert_eq!(reached.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(reached.all("x-forwarded-proto"), ["http"]);
    assert_eq!(reached.all("x-forwarded-host"), [gateway.authority()]);
    assert_eq!(reached.all("x-mlgate-assertion").len(), 1);
    assert_eq!(
        reached.all("x-request-id").first().copied(),
        answer.header("x-request-id")
    );
    assert_eq!(reached.all("traceparent").len(), 1);
}

#[test]
fn our_cookie_stays_here_and_others_go_on() {
    let (echo, gateway) = start();
    let session = gateway.sign_in("ada");
    let asked = Request::get(READS)
        .header("Cookie", &format!("a=1; {session}; b=2"))
        .header("X-Kept", "yes");
    let reached = Reached::of(&gateway.send(&asked));
    assert_eq!(reached.all("cookie"), ["a=1; b=2"]);
    assert_eq!(reached.all("x-kept"), ["yes"]);
    assert_eq!(reached.all("host"), [echo.url.trim_start_matches("http://")]);
}

#[test]
fn headers_of_one_hop_stay_on_it_in_both_directions() {
    let (_echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let asked = Request::get(READS)
        .header("Authorization", &token)
        .header("Connection", "close, X-Probe")
        .header("X-Probe", "1")
        .header("TE", "trailers")
        .header("Upgrade", "h2c");
    let reached = Reached::of(&gateway.send(&asked));
    for name in ["connection", "x-probe", "te", "upgrade"] {
        assert_eq!(reached.all(name), Vec::<&str>::new(), "{name}");
    }
    let answer = gateway.send(
        &Request::get(READS)
            .header("Authorization", &token)
            .header("X-Play", "hop"),
    );
    for name in ["x-probe", "keep-alive", "server"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(answer.all("set-cookie").collect::<Vec<_>>(), ["theme=dark"]);
}

#[test]
fn a_person_is_sent_to_sign_in_and_a_program_is_told_to() {
    let (_echo, gateway) = start();
    let page = gateway.send(&Request::get("/?a=1&b=%2F").navigation());
    assert_eq!(
        (page.status, page.header("location")),
        (302, Some("/auth/login?rd=%2F%3Fa%3D1%26b%3D%252F"))
    );
    for request in [
        Request::get(READS),
        Request::get(READS).header("Accept", "*/*"),
        Request::get(READS)
            .navigation()
            .header("Authorization", "Bearer nonsense"),
        Request::get(READS)
            .navigation()
            .header("X-Requested-With", "XMLHttpRequest"),
        Request::get(READS)
            .header("Accept", "text/html")
            .header("Sec-Fetch-Mode", "cors"),
        Request::new("POST", CHANGES).navigation(),
        Request::get(READS).header("Cookie", "mlgate=%%%"),
        Request::get(READS).header("Cookie", "mlgate=a; mlgate=b"),
    ] {
        let answer = gateway.send(&request);
        assert_eq!(answer.status, 401, "{:?}", request.headers);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.json()["error_code"], "UNAUTHENTICATED");
        assert_eq!(answer.json()["request_id"].as_str(), answer.header("x-request-id"));
    }
}

#[test]
fn a_bad_credential_is_never_passed_over_for_a_good_one() {
    let (_echo, gateway) = start();
    let session = gateway.sign_in("ada");
    let with = |authorization: &str| {
        gateway
            .send(
                &Request::get(READS)
                    .header("Cookie", &session)
                    .header("Authorization", authorization),
            )
            .status
    };
    for bad in ["Bearer nonsense", "Basic YTpi", "Negotiate abc", ""] {
        assert_eq!(with(bad), 401, "{bad}");
    }
    assert_eq!(
        gateway.send(&Request::get(READS).header("Cookie", &session)).status,
        200
    );
}

#[test]
fn a_change_that_a_cookie_signs_comes_from_our_own_pages() {
    let (_echo, gateway) = start();
    let session = gateway.sign_in("ada");
    let body = serde_json::json!({"name": "a/new"});
    let change = || Request::new("POST", CHANGES).header("Cookie", &session).json(&body);
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("X-Nothing", "at all"),
    ] {
        let answer = gateway.send(&change().header(name, value));
        assert_eq!(answer.status, 403, "{name}: {value}");
        assert_eq!(answer.json()["error_code"], "PERMISSION_DENIED");
    }
    let both = change()
        .header("Origin", "https://evil.example")
        .header("Sec-Fetch-Site", "same-origin");
    assert_eq!(gateway.send(&both).status, 403);
    assert_eq!(
        gateway.send(&change().header("Sec-Fetch-Site", "same-origin")).status,
        200
    );
    let reached = Reached::of(&gateway.send(&change().header("Origin", &gateway.origin())));
    assert_eq!(reached.all("origin"), Vec::<&str>::new());
    let token = format!("Bearer {}", gateway.token("ada"));
    assert_eq!(
        gateway
            .send(
                &Request::new("POST", CHANGES)
                    .header("Authorization", &token)
                    .json(&body)
            )
            .status,
        200
    );
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let (_echo, gateway) = start();
    let host = gateway.authority();
    let token = gateway.token("ada");
    let ask = |line: &str, headers: &str| {
        raw(
            &gateway,
            &format!("{line}\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{headers}\r\n"),
        )
    };
    let post = format!("POST {CHANGES} HTTP/1.1");
    for headers in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +4\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Host : other\r\n",
        "Host: other\r\n",
    ] {
        assert_eq!(ask(&post, headers), 400, "{headers:?}");
    }
    for path in [
        "/ajax-api/2.0/mlflow/../mlflow/experiments/get",
        "/ajax-api/2.0/mlflow/%2e%2e/experiments/get",
        "//ajax-api/2.0/mlflow/experiments/get",
        "/ajax-api/2.0/mlflow/experiments%2fget",
        "/ajax-api/2.0/mlflow\\experiments",
        "/ajax-api/./2.0/mlflow/experiments/get",
        "/ajax-api/2.0/mlflow/experiments/get%00",
        "/%61jax-api/2.0/mlflow/experiments/get",
    ] {
        let status = ask(&format!("GET {path}?experiment_id=1 HTTP/1.1"), "");
        assert!(status == 400 || status == 403, "{path}: {status}");
    }
    for line in [
        "CONNECT evil.example:443 HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET http://other.example/health HTTP/1.1",
    ] {
        assert_eq!(ask(line, ""), 400, "{line}");
    }
    assert_eq!(ask(&format!("GET http://{host}{READS} HTTP/1.1"), ""), 200);
    assert_eq!(ask(&format!("GET {READS} HTTP/1.1"), ""), 200);
}

#[test]
fn too_many_bytes_of_headers_are_refused() {
    let (_echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let with = |length| {
        let filled = Request::get(READS)
            .header("Authorization", &token)
            .header("X-Fill", &"a".repeat(length));
        gateway.send(&filled).status
    };
    assert_eq!((with(40_000), with(20_000)), (431, 200));
    let page = |length| gateway.send(&Request::get("/auth/login/local").header("X-Fill", &"a".repeat(length)));
    assert_eq!((page(40_000).status, page(20_000).status), (431, 200));
}

#[test]
fn bodies_of_any_size_pass_both_ways_in_constant_memory() {
    const SIZE: usize = 200 << 20;
    let (_echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let download = Request::get(ARTIFACT)
        .header("Authorization", &token)
        .header("X-Play", &format!("big={SIZE}"));
    let mut stream = BufReader::new(open(&gateway, &download));
    assert_eq!(
        read_head(&mut stream).unwrap().header("content-length"),
        Some(SIZE.to_string().as_str())
    );
    assert_eq!(std::io::copy(&mut stream, &mut std::io::sink()).unwrap(), SIZE as u64);

    let upload = Request::new("PUT", ARTIFACT)
        .header("Authorization", &token)
        .header("Content-Length", &SIZE.to_string());
    let mut stream = open(&gateway, &upload);
    let block = vec![b'y'; 1 << 20];
    for _ in 0..SIZE >> 20 {
        stream.write_all(&block).unwrap();
    }
    let reached = Reached::of(&read(&mut BufReader::new(stream), false).unwrap());
    assert_eq!(reached.0["length"], SIZE);
    assert_eq!(reached.all("content-length"), [SIZE.to_string()]);
    assert!(
        gateway.server.peak_memory() < 64 << 10,
        "{} KiB",
        gateway.server.peak_memory()
    );
}

#[test]
fn fifty_slow_downloads_delay_nobody() {
    let (_echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let slow = Request::get(ARTIFACT)
        .header("Authorization", &token)
        .header("X-Play", "big=50000000");
    let held: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = BufReader::new(open(&gateway, &slow));
            assert_eq!(read_head(&mut stream).unwrap().status, 200);
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(
        gateway
            .send(&Request::get(READS).header("Authorization", &token))
            .status,
        200
    );
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(
        gateway.server.peak_memory() < 96 << 10,
        "{} KiB",
        gateway.server.peak_memory()
    );
    drop(held);
}

#[test]
fn the_first_event_of_a_stream_comes_before_the_second_is_there() {
    let (echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let mut stream = BufReader::new(open(
        &gateway,
        &Request::get(READS)
            .header("Authorization", &token)
            .header("X-Play", "sse"),
    ));
    assert_eq!(
        read_head(&mut stream).unwrap().header("content-type"),
        Some("text/event-stream")
    );
    let mut first = [0; 32];
    let count = stream.read(&mut first).unwrap();
    assert!(String::from_utf8_lossy(&first[..count]).contains("first"));
    echo.release();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("second") && rest.ends_with("0\r\n\r\n"), "{rest}");
}

#[test]
fn a_client_that_leaves_cancels_its_request_upstream_and_is_recorded() {
    let (echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let hanging = open(
        &gateway,
        &Request::get(READS)
            .header("Authorization", &token)
            .header("X-Play", "hang"),
    );
    until("the request hangs", Duration::from_secs(10), || echo.hanging() == 1);
    drop(hanging);
    until("it is cancelled upstream", Duration::from_secs(5), || echo.left() == 1);
    until("it is in the trail", Duration::from_secs(5), || {
        std::fs::read_to_string(gateway.audit_file())
            .unwrap()
            .contains("client_left")
    });
}

#[test]
fn an_answer_or_an_upload_that_breaks_off_never_looks_whole() {
    let (echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let cut = |length: &str| {
        let play = format!("cut={length}");
        Request::get(READS)
            .header("Authorization", &token)
            .header("X-Play", &play)
    };
    assert_eq!(
        gateway.send(&cut("100")).status,
        502,
        "a small one is not begun before it is here"
    );
    let mut stream = BufReader::new(open(&gateway, &cut("100000")));
    assert_eq!(read_head(&mut stream).unwrap().header("content-length"), Some("100000"));
    let mut half = Vec::new();
    let _ = stream.read_to_end(&mut half);
    assert_eq!(half, b"half");

    let upload = Request::new("PUT", ARTIFACT)
        .header("Authorization", &token)
        .header("Transfer-Encoding", "chunked");
    let mut stream = open(&gateway, &upload);
    stream.write_all(b"5\r\nhello\r\n").unwrap();
    until("the upload is under way", Duration::from_secs(10), || echo.begun() == 1);
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    until("the upload broke off upstream", Duration::from_secs(10), || {
        echo.broken() == 1
    });
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let (_echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let upload = Request::new("PUT", ARTIFACT)
        .header("Authorization", &token)
        .header("X-Play", "early")
        .header("Content-Length", "100000000");
    let mut stream = open(&gateway, &upload);
    stream.write_all(b"the first of many").unwrap();
    assert_eq!(read(&mut BufReader::new(stream), false).unwrap().status, 413);
}

#[test]
fn heads_ranges_and_expectations_are_kept() {
    let (_echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let head = gateway.send(
        &Request::new("HEAD", ARTIFACT)
            .header("Authorization", &token)
            .header("X-Play", "big=12345"),
    );
    if head.status == 200 {
        assert_eq!((head.header("content-length"), head.body.len()), (Some("12345"), 0));
    }
    let range = gateway.send(
        &Request::get(ARTIFACT)
            .header("Authorization", &token)
            .header("Range", "bytes=0-1"),
    );
    assert_eq!(range.status, 206);
    assert_eq!(Reached::of(&range).all("range"), ["bytes=0-1"]);
    let upload = Request::new("PUT", ARTIFACT)
        .header("Authorization", &token)
        .header("Expect", "100-continue")
        .header("Content-Length", "5");
    let stream = open(&gateway, &upload);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    assert_eq!(read_head(&mut reader).unwrap().status, 100);
    (&stream).write_all(b"hello").unwrap();
    assert_eq!(Reached::of(&read(&mut reader, false).unwrap()).0["start"], "hello");
}

#[test]
fn redirects_of_mlflow_stay_on_this_site() {
    let (echo, gateway) = start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let to = |target: &str| {
        let answer = gateway.send(
            &Request::get(READS)
                .header("Authorization", &token)
                .header("X-Play", &format!("redirect={target}")),
        );
        (answer.status, answer.header("location").unwrap_or_default().to_owned())
    };
    assert_eq!(
        to(&format!("{}/x/?a=1", echo.url)),
        (308, format!("{}/x/?a=1", gateway.url()))
    );
    assert_eq!(
        to("https://bucket.example/x"),
        (308, "https://bucket.example/x".to_owned())
    );
}

#[test]
fn mlflow_that_is_gone_is_a_502_and_never_a_500_of_ours() {
    let mut echo = Some(Echo::start());
    let url = echo.as_ref().unwrap().url.clone();
    let gateway = Setup::new(&url).start();
    let token = format!("Bearer {}", gateway.token("ada"));
    let asked = Request::get(READS).header("Authorization", &token);
    assert_eq!(gateway.send(&asked).status, 200);
    echo.take().unwrap().stop();
    let answer = gateway.send(&asked);
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(!answer.text().contains(url.trim_start_matches("http://")));
    assert_eq!(gateway.send(&Request::get("/auth/healthz")).status, 200);
}

#[test]
fn more_requests_than_the_limit_are_told_to_wait_by_address_and_by_user() {
    let echo = Echo::start();
    let mut setup = Setup::new(&echo.url);
    setup.limits.push_str("\nrequests = \"5/60s\"");
    setup
        .sections
        .push_str("\n[network]\ntrusted_proxies = [\"127.0.0.1/32\"]\n");
    let gateway = setup.start();
    let tokens = ["ada", "ed"].map(|user| format!("Bearer {}", gateway.token(user)));
    let ask = |token: &str, address: &str| {
        let answer = gateway.send(
            &Request::get(READS)
                .header("Authorization", token)
                .header("X-Forwarded-For", address),
        );
        (
            answer.status,
            answer.header("retry-after").map(str::to_owned),
            answer.text(),
        )
    };
    for address in 1..=5 {
        assert_eq!(ask(&tokens[0], &format!("192.0.2.{address}")).0, 200, "the control");
    }
    let (status, wait, text) = ask(&tokens[0], "192.0.2.6");
    assert!(
        status == 429 && text.contains("REQUEST_LIMIT_EXCEEDED"),
        "{status} {text}"
    );
    assert!(wait.is_some_and(|wait| (1..=60).contains(&wait.parse::<u32>().unwrap())));
    for _ in 0..5 {
        assert_eq!(ask(&tokens[1], "192.0.2.7").0, 200, "another user");
    }
    assert_eq!(ask("Bearer none", "192.0.2.7").0, 429, "one address, whoever asks");
    assert_eq!(ask("Bearer none", "192.0.2.8").0, 401, "the control");
    let own = Request::get("/auth/login").header("X-Forwarded-For", "192.0.2.7");
    assert_eq!(gateway.send(&own).status, 302, "our own pages have limits of their own");
    assert!(
        std::fs::read_to_string(gateway.audit_file())
            .unwrap()
            .contains("rate_limited")
    );
}

#[test]
fn one_token_is_recorded_in_the_way_that_it_was_shown() {
    let (_echo, gateway) = start();
    let token = gateway.token("ada");
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("ada:{token}"));
    for shown in [
        format!("Bearer {token}"),
        format!("Basic {basic}"),
        format!("Bearer {token}"),
    ] {
        let asked = Request::get(READS).header("Authorization", &shown);
        assert_eq!(gateway.send(&asked).status, 200);
    }
    let trail = std::fs::read_to_string(gateway.audit_file()).unwrap();
    let ways: Vec<_> = trail
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["action"] == "experiment.get")
        .map(|event| event["actor"]["via"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ways, ["token", "basic", "token"]);
}
