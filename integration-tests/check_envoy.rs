//! A real Envoy, set up in the ways in which Envoy Gateway and Istio set it up and docs/ingress.md does not.

use serde_json::json;

use crate::support::http::Request;
use crate::support::ingress::{Kind, Stand};
use crate::support::mlflow::{Mlflow, NEWEST};

/// The words of the page that say how bodies are shown.
const SHOWN: &str = "{ max_request_bytes: 1048576, allow_partial_message: true, pack_as_bytes: true }";

fn showing(how: &'static str) -> impl Fn(String) -> String {
    move |text| {
        assert!(text.contains(SHOWN));
        text.replace(SHOWN, how)
    }
}

fn experiment(mlflow: &Mlflow, name: &str) -> String {
    let made = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&json!({"name": name}));
    mlflow.ask(&made).json()["experiment_id"].as_str().unwrap().to_owned()
}

fn tag(stand: &Stand, experiment: &str, value: &str) -> u16 {
    let tag = json!({"experiment_id": experiment, "key": "k", "value": value});
    let request = Request::new("POST", "/api/2.0/mlflow/experiments/set-experiment-tag");
    let bearer = format!("Bearer {}", stand.gateway.token("tom-a"));
    stand.send(&request.header("Authorization", &bearer).json(&tag)).status
}

/// An OTLP export of one span, whose trace's id holds bytes that are no UTF-8.
fn export(stand: &Stand, experiment: &str) -> u16 {
    let field = |tag: u8, inner: &[u8]| [&[tag << 3 | 2, u8::try_from(inner.len()).unwrap()], inner].concat();
    let span = [
        field(1, &[0xff; 16]),
        field(2, &[0xfe; 8]),
        field(5, b"span"),
        vec![7 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 1],
        vec![8 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 2],
    ]
    .concat();
    let body = field(1, &field(2, &field(2, &span)));
    let request = Request::new("POST", "/v1/traces")
        .header("Authorization", &format!("Bearer {}", stand.gateway.token("tom-a")))
        .header("X-MLflow-Experiment-Id", experiment)
        .body("application/x-protobuf", body);
    stand.send(&request).status
}

/// Envoy Gateway shows a body whole or says 413, and shows it as text: what is not text is then shown as something else.
#[test]
fn what_envoy_shows_as_text_is_decided_where_it_is_text() {
    let mlflow = Mlflow::shared(NEWEST);
    let (mine, theirs) = (experiment(&mlflow, "a/envoy-text"), experiment(&mlflow, "b/envoy-text"));
    let as_text = Stand::changed(
        Kind::EnvoyGrpc,
        &mlflow.url(),
        "",
        showing("{ max_request_bytes: 4096 }"),
    );
    assert_eq!(tag(&as_text, &mine, "done!"), 200);
    assert_eq!(tag(&as_text, &theirs, "done!"), 403);
    assert_eq!(tag(&as_text, &mine, &"x".repeat(5000)), 413);
    assert_eq!(export(&as_text, &mine), 400);
    let as_bytes = Stand::new(Kind::EnvoyGrpc, &mlflow.url());
    assert_eq!(export(&as_bytes, &mine), 200, "the control");
    assert_eq!(export(&as_bytes, &theirs), 403);
}

/// What is larger than Envoy was told to show arrives as a part: refused where the body decides, no matter where it does not.
#[test]
fn a_part_of_a_body_is_no_body() {
    let mlflow = Mlflow::shared(NEWEST);
    let mine = experiment(&mlflow, "a/envoy-part");
    for kind in [Kind::EnvoyGrpc, Kind::EnvoyHttp] {
        let how = "{ max_request_bytes: 4096, allow_partial_message: true, pack_as_bytes: true }";
        let stand = Stand::changed(kind, &mlflow.url(), "", showing(how));
        assert_eq!(tag(&stand, &mine, "short"), 200);
        assert_eq!(tag(&stand, &mine, &"x".repeat(5000)), 400, "{kind:?}");
    }
}

/// The ordinary listener, asked over HTTP/2 without TLS.
#[test]
fn envoy_asks_over_http2_where_it_is_switched_on() {
    let mlflow = Mlflow::shared(NEWEST);
    let (mine, theirs) = (
        experiment(&mlflow, "a/envoy-http2"),
        experiment(&mlflow, "b/envoy-http2"),
    );
    let over_http2 = |text: String| {
        let plain = "name: mlgate, connect_timeout: 1s,";
        assert!(text.contains(plain));
        let options = "typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { \
                       \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
                       explicit_http_config: { http2_protocol_options: {} } } },";
        text.replace(plain, &format!("{plain} {options}"))
    };
    let stand = Stand::changed(Kind::EnvoyHttp, &mlflow.url(), "http2 = true", over_http2);
    assert_eq!(
        stand.gateway.send(&Request::get("/auth/healthz")).status,
        200,
        "HTTP/1.1 is spoken beside it"
    );
    assert_eq!(tag(&stand, &mine, "v"), 200);
    assert_eq!(tag(&stand, &theirs, "v"), 403);
    let page = stand.send(&Request::get("/?x=1").navigation());
    assert_eq!(page.status, 302);
    assert!(page.header("location").unwrap().contains("/auth/login?rd="));
}
