//! The gRPC listener at its edges, asked by a plain HTTP/2 client. What Envoy makes of it is in `ingress`.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::echo::Echo;
use crate::support::free_port;
use crate::support::gateway::{Gateway, Setup};

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

fn gateway(echo: &Echo, trusted: &str) -> (Gateway, String) {
    let port = free_port();
    let mut setup = Setup::new(&echo.url);
    setup.listen = format!("ext_authz_address = \"127.0.0.1:{port}\"");
    setup
        .sections
        .push_str(&format!("\n[network]\ntrusted_proxies = [\"{trusted}\"]\n"));
    setup.limits.push_str("\njson_body = \"64KiB\"");
    (setup.start(), format!("127.0.0.1:{port}"))
}

/// gRPC's status, and the message.
fn call(authority: &str, path: &str, content_type: &str, body: Vec<u8>) -> (String, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(authority).await.unwrap();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("http://{authority}{path}"))
            .header("content-type", content_type)
            .body(Full::<Bytes>::new(body.into()))
            .unwrap();
        let answer: Response<Incoming> = sender.send_request(request).await.unwrap();
        let status =
            |headers: &http::HeaderMap| headers.get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
        let first = status(answer.headers());
        let whole = answer.into_body().collect().await.unwrap();
        let last = whole.trailers().and_then(status);
        (first.or(last).unwrap(), whole.to_bytes().to_vec())
    })
}

fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    assert!(value.len() < 128);
    [&[tag << 3 | 2, value.len() as u8], value].concat()
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// `attributes.request.http` with a method, a path and a host.
fn check(path: &str) -> Vec<u8> {
    let http = [field(2, b"GET"), field(4, path.as_bytes()), field(5, b"m.example")].concat();
    frame(&field(1, &field(4, &field(2, &http))))
}

#[test]
fn only_a_whole_question_of_a_trusted_proxy_is_answered() {
    let echo = Echo::start();
    let (_gateway, authority) = gateway(&echo, "127.0.0.1/32");
    let grpc = "application/grpc";
    let open = call(&authority, METHOD, grpc, check("/health"));
    assert_eq!(open.0, "0");
    // ok_response is field 3, denied_response field 2; the status in front says OK or UNAUTHENTICATED.
    assert!(
        String::from_utf8_lossy(&open.1).contains("x-forwarded-user"),
        "{open:?}"
    );
    let closed = call(&authority, METHOD, grpc, check("/"));
    assert_eq!(closed.0, "0", "a refusal is an answer");
    assert!(
        String::from_utf8_lossy(&closed.1).contains("UNAUTHENTICATED"),
        "{closed:?}"
    );
    let malformed = call(&authority, METHOD, grpc, check("no path"));
    assert!(String::from_utf8_lossy(&malformed.1).contains("INVALID_PARAMETER_VALUE"));
    let status = |path: &str, content_type: &str, body: Vec<u8>| call(&authority, path, content_type, body).0;
    assert_eq!(
        status("/envoy.service.auth.v3.Authorization/Other", grpc, check("/health")),
        "12"
    );
    assert_eq!(status(METHOD, "application/json", check("/health")), "12");
    assert_eq!(status(METHOD, grpc, Vec::new()), "3");
    assert_eq!(status(METHOD, grpc, frame(b"\xff\xff\xff")), "3");
    assert_eq!(status(METHOD, grpc, frame(b"")), "3");
    assert_eq!(status(METHOD, grpc, check("/health")[..9].to_vec()), "3");
    assert_eq!(status(METHOD, grpc, vec![0; 1 << 20]), "8");
}

#[test]
fn a_stranger_asks_nothing_by_grpc() {
    let echo = Echo::start();
    let (gateway, authority) = gateway(&echo, "192.0.2.1/32");
    assert_eq!(
        call(&authority, METHOD, "application/grpc", check("/health")),
        ("7".to_owned(), Vec::new())
    );
    assert!(gateway.log().contains("127.0.0.1 is not in network.trusted_proxies"));
}
