//! Calls of models: MLflow hands the headers of `/gateway/*` on to model vendors, so none of ours is among them.

use serde_json::{Value, json};

use crate::support::echo::Echo;
use crate::support::gateway::Setup;
use crate::support::http::Request;

/// The headers that reached the upstream.
fn headers(body: &Value) -> Vec<(String, String)> {
    let pairs = body["headers"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[test]
fn nothing_of_ours_reaches_a_model_vendor() {
    let echo = Echo::start();
    let gateway = Setup::new(&echo.url).start();
    let (cookie, token) = (gateway.sign_in("ed"), gateway.token("ed"));
    let bearer = format!("Bearer {token}");
    let call = |path: &str| {
        Request::new("POST", path)
            .header("X-Forwarded-User", "mallory")
            .header("X-Vendor-Beta", "yes")
            .json(&json!({"model": "m", "messages": []}))
    };
    let signed = |request: Request| {
        [
            (
                "a cookie",
                request
                    .clone()
                    .header("Cookie", &format!("other=1; {cookie}"))
                    .header("Origin", &gateway.origin()),
            ),
            ("a token", request.clone().header("Authorization", &bearer)),
            (
                "a token beside a vendor's key",
                request
                    .header("X-MLflow-Authorization", &bearer)
                    .header("Authorization", "Bearer vendors-key"),
            ),
        ]
    };
    for path in [
        "/gateway/openai/v1/chat/completions",
        "/gateway/anthropic/v1/messages",
        "/gateway/mlflow/v1/chat/completions",
    ] {
        for (how, request) in signed(call(path)) {
            let answer = gateway.send(&request);
            assert_eq!(answer.status, 200, "{path} with {how}: {}", answer.text());
            let sent = headers(&answer.json());
            let session = cookie.split('=').nth(1).unwrap();
            for (name, value) in &sent {
                let ours = name.starts_with("x-mlgate") || name.starts_with("x-forwarded") || name == "cookie";
                assert!(
                    !ours && name != "x-mlflow-authorization" && name != "origin",
                    "{path} with {how}: {name}: {value}"
                );
                assert!(
                    !value.contains(&token) && !value.contains(session),
                    "{path} with {how}: {name}"
                );
            }
            let has = |wanted: &str| {
                sent.iter()
                    .find(|(name, _)| name == wanted)
                    .map(|(_, value)| value.as_str())
            };
            assert_eq!(
                has("x-vendor-beta"),
                Some("yes"),
                "the control: a client's own header passes"
            );
            let key = how.ends_with("key").then_some("Bearer vendors-key");
            assert_eq!(has("authorization"), key, "{path} with {how}");
        }
    }
    // Elsewhere they are all there: that is what was kept back.
    let read = Request::get("/api/2.0/mlflow/experiments/get?experiment_id=1").header("Authorization", &bearer);
    let sent = headers(&gateway.send(&read).json());
    for name in ["x-mlgate-assertion", "x-forwarded-user", "x-mlgate-roles"] {
        assert!(
            sent.iter().any(|(known, value)| known == name && !value.is_empty()),
            "{name}"
        );
    }
}
