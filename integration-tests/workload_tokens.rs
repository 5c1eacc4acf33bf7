//! JWTs of workloads through the real gateway: a job is itself to MLflow, others are refused and recorded, and a forged token
//! delays nobody.

use std::time::{Duration, Instant};

use base64::Engine;
use mlgate::domain::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::lying_provider::{Fault, LyingProvider, Signature};
use crate::support::process::until;
use crate::trusted_issuers::{AUDIENCE, claims};

const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";

fn gateway(idp: &LyingProvider, echo: &Echo) -> Gateway {
    let mut setup = Setup::new(&echo.url);
    setup.sections += &format!(
        "[[trusted_issuer]]\nid = \"github\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\nuser = \"github:{{repository}}\"\n\
         match = {{ repository = \"acme/train\", ref = \"refs/heads/main\" }}\ngroups = [\"ci\"]\n\
         [[role]]\nname = \"jobs\"\ngroups = [\"github:ci\"]\ngrants = [{{ permission = \"READ\", experiments = [\"*\"] }}]\n",
        idp.issuer
    );
    setup.start()
}

fn shown(token: &str) -> Request {
    Request::get(READS).header("Authorization", &format!("Bearer {token}"))
}

#[test]
fn a_job_reaches_mlflow_as_itself_and_others_are_refused_and_recorded() {
    let (idp, echo) = (LyingProvider::start(), Echo::start());
    let gateway = gateway(&idp, &echo);
    let now = SystemClock.now().seconds();
    let token = |change: fn(&mut Value, &mut Value)| {
        let (mut header, mut claims) = (
            json!({"alg": "ES256", "kid": "one", "typ": "JWT"}),
            claims(&idp.issuer, now),
        );
        change(&mut header, &mut claims);
        idp.sign(&header, &claims)
    };
    let good = token(|_, _| {});
    let answer = gateway.send(&shown(&good));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let reached = answer.json();
    let told = reached["headers"].as_array().unwrap();
    for header in [
        json!(["x-forwarded-user", "github:acme/train"]),
        json!(["x-forwarded-groups", "ci"]),
        json!(["x-mlgate-roles", "jobs"]),
    ] {
        assert!(told.contains(&header), "{header} is not in {reached}");
    }
    assert!(!reached.to_string().contains(&good), "the token stays here");
    let writes = Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&json!({"name": "x"}));
    let answer = gateway.send(&writes.header("Authorization", &format!("Bearer {good}")));
    assert_eq!(answer.status, 403, "{}", answer.text());

    let bad: [(&str, String); 8] = [
        (
            "repository",
            token(|_, claims| claims["repository"] = "evil/fork".into()),
        ),
        ("ref", token(|_, claims| claims["ref"] = "refs/heads/dev".into())),
        ("aud", token(|_, claims| claims["aud"] = "https://other.test".into())),
        ("iss", token(|_, claims| claims["iss"] = "https://evil.test".into())),
        ("exp", token(|_, claims| claims["exp"] = json!(1000))),
        ("typ", token(|header, _| header["typ"] = "at+jwt".into())),
        ("accepted", token(|header, _| header["alg"] = "HS256".into())),
        ("hold", {
            idp.lie(|says| says.signature = Signature::Foreign);
            let token = token(|_, _| {});
            idp.lie(|says| says.signature = Signature::Own);
            token
        }),
    ];
    for (words, token) in &bad {
        let answer = gateway.send(&shown(token));
        assert_eq!(answer.status, 401, "{words}: {}", answer.text());
        assert_eq!(answer.json()["error_code"], "UNAUTHENTICATED");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let event = gateway.events().into_iter().last().unwrap();
        assert_eq!(
            (&event["outcome"], &event["reason"]["code"]),
            (&json!("refused"), &json!("bad_credential"))
        );
        let said = event["reason"]["text"].as_str().unwrap();
        assert!(said.contains(words), "{said} does not say {words}");
    }
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{good}"));
    let by_basic = Request::get(READS).header("Authorization", &format!("Basic {basic}"));
    assert_eq!(gateway.send(&by_basic).status, 401, "a password is a personal token");
    let event = gateway
        .events()
        .into_iter()
        .find(|event| event["actor"]["user"] == "github:acme/train")
        .unwrap();
    assert_eq!(
        (&event["actor"]["provider"], &event["actor"]["via"], &event["outcome"]),
        (&json!("github"), &json!("jwt"), &json!("allowed"))
    );
    let everything = format!(
        "{}{}",
        std::fs::read_to_string(gateway.audit_file()).unwrap(),
        gateway.log()
    );
    let secret = good.rsplit('.').next().unwrap();
    assert!(!everything.contains(secret), "a token is in the trail or the log");
}

#[test]
fn a_flood_of_forged_tokens_asks_the_issuer_once_and_delays_nobody() {
    let (idp, echo) = (LyingProvider::start(), Echo::start());
    let gateway = gateway(&idp, &echo);
    let now = SystemClock.now().seconds();
    let token = |kid: &str| idp.sign(&json!({"alg": "ES256", "kid": kid}), &claims(&idp.issuer, now));
    let good = token("one");
    until("the keys are there", Duration::from_secs(10), || {
        gateway.send(&shown(&good)).status == 200
    });
    // From here on each look-up hangs: whoever waits for one is delayed for seconds.
    idp.lie(|says| says.fail("/jwks", Fault::Silent));
    let before = idp.asked("/jwks");
    let forged: Vec<_> = (0..400).map(|number| token(&format!("forged-{number}"))).collect();
    std::thread::scope(|scope| {
        for part in forged.chunks(100) {
            let gateway = &gateway;
            scope.spawn(move || {
                for token in part {
                    assert_eq!(gateway.send(&shown(token)).status, 401);
                }
            });
        }
        for _ in 0..50 {
            let started = Instant::now();
            assert_eq!(gateway.send(&shown(&good)).status, 200);
            let took = started.elapsed();
            assert!(took < Duration::from_secs(2), "a good token waited {took:?}");
        }
    });
    let asked = idp.asked("/jwks") - before;
    assert!(asked <= 1, "{asked} look-ups");
}
