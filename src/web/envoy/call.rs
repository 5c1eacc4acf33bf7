//! One call: from Envoy's attributes to a question, and from the decision to what Envoy does with the request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use actix_web::body::MessageBody;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use prost::Message;

use crate::pipeline::{Asked, Gate, Granted, Misasked, Shown, TakenOff};

use super::Door;
use super::messages::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest, HttpResponse, HttpStatus,
    OkHttpResponse, Status,
};
use super::wire::{self, Body, Code};
use crate::web::check::{self, Refusal};

const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";
/// As the trail and the log name it.
const BY: &str = "ext-authz-grpc";
/// Of a message, besides the body that it shows. Bytes.
const ATTRIBUTES: usize = 256 * 1024;
/// Envoy sends a call in one go.
const TIME: Duration = Duration::from_secs(5);
/// Envoy says so of every body that it shows.
const PARTIAL: &str = "x-envoy-auth-partial-body";

/// Headers that name a resource.
const DECISIVE: [&str; 3] = ["x-mlflow-experiment-id", "x-mlflow-run-id", "x-mlflow-workspace"];

pub(super) async fn answer(door: &Door, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
    let is_grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if request.method() != Method::POST || request.uri().path() != METHOD || !is_grpc {
        return wire::failed(Code::Unimplemented);
    }
    let gate = door.gate.load_full();
    if !gate.is_trusted(peer) {
        tracing::warn!(
            endpoint = BY,
            "an ingress asks nothing that can be decided: {peer} is not in network.trusted_proxies"
        );
        return wire::failed(Code::PermissionDenied);
    }
    let limit = gate.config().limits.json_body + ATTRIBUTES;
    let body = Limited::new(request.into_body(), limit).collect();
    let Ok(Ok(frame)) = tokio::time::timeout(TIME, body).await else {
        return wire::failed(Code::ResourceExhausted);
    };
    let asked = wire::message(&frame.to_bytes()).and_then(|message| CheckRequest::decode(message).ok());
    let Some(http) = asked.and_then(|asked| asked.attributes?.request?.http) else {
        return wire::failed(Code::InvalidArgument);
    };
    wire::answer(&decide(door, &gate, peer, http).await)
}

async fn decide(door: &Door, gate: &Gate, peer: IpAddr, http: HttpRequest) -> CheckResponse {
    let header = |name: &str| http.headers.get(name).map(String::as_bytes);
    let forwarded: Vec<&[u8]> = header("x-forwarded-for").into_iter().collect();
    let seen = gate.see_from(peer, &forwarded, header("x-request-id"));
    let asked = match read(http) {
        Ok(asked) => asked,
        Err(why) => return denied(check::misasked(BY, &seen, &why)),
    };
    let taken_off = asked.taken_off();
    let front = door.front.load_full();
    match Box::pin(check::decide(gate, &front, asked, seen)).await {
        Ok(granted) => allowed(&granted, taken_off),
        Err(Refusal { response, .. }) => denied(response),
    }
}

fn read(http: HttpRequest) -> Result<Asked, Misasked> {
    let body = match http.headers.get(PARTIAL).map(String::as_str) {
        None => Shown::Nothing,
        // A client may write this header too; where Envoy shows a body, it is Envoy's.
        Some("false") if http.body.is_empty() && http.raw_body.is_empty() => Shown::Nothing,
        Some("false") if http.raw_body.is_empty() => as_text(&http.headers, http.body),
        Some("false") => Shown::Whole(http.raw_body),
        Some(_) => Shown::Part,
    };
    let mut headers = Vec::with_capacity(http.headers.len());
    for (name, value) in http.headers {
        if name.starts_with(':') || name == "host" {
            continue;
        }
        // Which of several MLflow reads is its own affair.
        if DECISIVE.contains(&name.as_str()) && value.contains(',') {
            return Err(Misasked(format!("the header {name} stands twice")));
        }
        headers.push((name, value.into_bytes()));
    }
    Asked::new(BY, &http.method, &http.host, &http.path, headers, body)
}

/// A body that Envoy shows without `pack_as_bytes`: it writes `!` for each byte that is no UTF-8. In JSON such a byte is an error to
/// MLflow (RFC 8259, 8.1); anywhere else the body could be another than the one that is sent.
fn as_text(headers: &HashMap<String, String>, body: String) -> Shown {
    let kind = headers.get("content-type").map_or("", String::as_str);
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_packed = headers.contains_key("content-encoding");
    let is_json = (kind.is_empty() || kind.eq_ignore_ascii_case("application/json")) && !is_packed;
    match is_json || !body.contains('!') {
        true => Shown::Whole(Bytes::from(body)),
        false => Shown::Part,
    }
}

fn allowed(granted: &Granted, taken_off: TakenOff) -> CheckResponse {
    let identity = granted
        .headers
        .iter()
        .map(|(name, value)| HeaderValueOption::replacing(name.as_str(), value.as_bytes()));
    let cookie = taken_off
        .cookie
        .map(|kept| HeaderValueOption::replacing("cookie", &kept));
    CheckResponse {
        status: Some(Status { code: Code::Ok as i32 }),
        http_response: Some(HttpResponse::Ok(OkHttpResponse {
            headers: identity.chain(cookie).collect(),
            headers_to_remove: taken_off.names,
        })),
    }
}

/// The very answer that the other endpoints give.
fn denied(response: actix_web::HttpResponse) -> CheckResponse {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| HeaderValueOption::replacing(name.as_str(), value.as_bytes()))
        .collect();
    let body = response.into_body().try_into_bytes().unwrap_or_default();
    let code = if status == 401 || status == 302 {
        Code::Unauthenticated
    } else {
        Code::PermissionDenied
    };
    CheckResponse {
        status: Some(Status { code: code as i32 }),
        http_response: Some(HttpResponse::Denied(DeniedHttpResponse {
            status: Some(HttpStatus { code: status.into() }),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)], body: &[u8]) -> HttpRequest {
        HttpRequest {
            method: "POST".to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            path: "/graphql?x=1".to_owned(),
            host: "m.example".to_owned(),
            body: String::new(),
            raw_body: Bytes::copy_from_slice(body),
        }
    }

    #[test]
    fn a_body_counts_where_envoy_says_that_it_is_whole() {
        let read = |headers: &[(&str, &str)], body: &[u8]| {
            let asked = super::read(request(headers, body)).unwrap();
            format!("{asked:?}")
        };
        assert!(read(&[], b"{}").contains("Nothing"));
        assert!(read(&[(PARTIAL, "false")], b"{}").contains("Whole(b\"{}\")"));
        assert!(read(&[(PARTIAL, "true")], b"{}").contains("Part"));
        assert!(read(&[(PARTIAL, "false,true")], b"{}").contains("Part"));
        assert!(
            read(&[(PARTIAL, "false")], b"").contains("Nothing"),
            "a client's own word"
        );
    }

    #[test]
    fn a_body_that_comes_as_text_counts_where_no_byte_was_replaced() {
        let read = |headers: &[(&str, &str)], body: &str| {
            let mut asked = request(&[headers, &[(PARTIAL, "false")]].concat(), b"");
            asked.body = body.to_owned();
            format!("{:?}", super::read(asked).unwrap())
        };
        let (json, protobuf) = (
            ("content-type", "Application/JSON; charset=utf-8"),
            ("content-type", "application/x-protobuf"),
        );
        assert!(read(&[json], "{\"a\": \"!\"}").contains("Whole"));
        assert!(read(&[], "{\"a\": \"!\"}").contains("Whole"));
        assert!(read(&[protobuf], "\n\u{10}abc").contains("Whole"));
        assert!(read(&[protobuf], "\n\u{10}!!!").contains("Part"));
        assert!(read(&[json, ("content-encoding", "gzip")], "\u{1f}!!").contains("Part"));
        assert!(read(&[("content-type", "multipart/form-data")], "!").contains("Part"));
    }

    #[test]
    fn what_two_servers_could_read_differently_is_no_question() {
        assert!(super::read(request(&[("x-mlflow-workspace", "a,b")], b"")).is_err());
        assert!(super::read(request(&[("x-mlflow-workspace", "a")], b"")).is_ok());
    }

    #[test]
    fn a_message_of_envoys_is_read() {
        // As protoc writes `attributes { request { http { method: "GET" headers { key: "a" value: "b" } path: "/" host: "m" id: "7" } } }`.
        let http = [
            &b"\x0a\x017"[..],
            b"\x12\x03GET",
            b"\x1a\x06\x0a\x01a\x12\x01b",
            b"\x22\x01/",
            b"\x2a\x01m",
        ]
        .concat();
        let wrap = |tag: u8, inner: &[u8]| [&[tag, u8::try_from(inner.len()).unwrap()], inner].concat();
        let bytes = wrap(0x0a, &wrap(0x22, &wrap(0x12, &http)));
        let read = CheckRequest::decode(bytes.as_slice()).unwrap();
        let http = read.attributes.unwrap().request.unwrap().http.unwrap();
        assert_eq!(
            (http.method.as_str(), http.path.as_str(), http.host.as_str()),
            ("GET", "/", "m")
        );
        assert_eq!(http.headers["a"], "b");
    }

    #[test]
    fn an_identity_header_replaces_the_clients() {
        let option = HeaderValueOption::replacing("x-forwarded-user", b"ada");
        // `append` is there, and false: an empty BoolValue.
        assert_eq!(
            option.encode_to_vec(),
            b"\x0a\x17\x0a\x10x-forwarded-user\x12\x03ada\x12\x00"
        );
    }
}
