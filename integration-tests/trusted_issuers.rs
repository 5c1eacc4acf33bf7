//! JWTs of workloads: each check shown by an issuer that lies in that one way, the honest one passes; keys are looked up seldom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mlgate::config::{Condition, IssuerKeys, NamePart, TrustedIssuer};
use mlgate::domain::{Clock, KeySet, ManualClock, Timestamp};
use mlgate::outbound::provider::Bounds;
use mlgate::providers::{Issuers, KeyCache, ProviderError, Workload};
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use crate::support::ca::Ca;
use crate::support::lying_provider::{Fault, LyingProvider, Signature};
use crate::support::root;
use crate::support::tls::front;

const NOW: i64 = 1_800_000_000;
pub const AUDIENCE: &str = "https://mlflow.test";

/// What a job of acme/train on main says, as GitHub writes it.
pub fn claims(issuer: &str, now: i64) -> Value {
    json!({
        "iss": issuer, "aud": AUDIENCE, "sub": "repo:acme/train:ref:refs/heads/main", "jti": "1",
        "repository": "acme/train", "repository_owner": "acme", "ref": "refs/heads/main", "ref_protected": "true",
        "iat": now, "nbf": now - 5, "exp": now + 300,
    })
}

fn rule(issuer: &str) -> TrustedIssuer {
    let condition = |claim: &str, value: &str| Condition {
        claim: claim.to_owned(),
        values: vec![value.to_owned()],
    };
    TrustedIssuer {
        id: "github".to_owned(),
        issuer: issuer.to_owned(),
        keys: IssuerKeys::Discovered,
        ca_file: None,
        audience: AUDIENCE.to_owned(),
        user: vec![
            NamePart::Text("github:".to_owned()),
            NamePart::Claim("repository".to_owned()),
        ],
        conditions: vec![
            condition("repository", "acme/train"),
            condition("ref", "refs/heads/main"),
        ],
        groups: vec!["ci".to_owned()],
    }
}

struct Scene {
    idp: LyingProvider,
    issuers: Issuers,
    clock: Arc<ManualClock>,
}

impl Scene {
    fn new() -> Self {
        Self::with(|rules| rules.truncate(1))
    }

    fn with(change: impl FnOnce(&mut Vec<TrustedIssuer>)) -> Self {
        let idp = LyingProvider::start();
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(NOW)));
        let mut rules = vec![rule(&idp.issuer)];
        change(&mut rules);
        let shared: Arc<dyn Clock> = clock.clone();
        let bounds = Bounds {
            total: Duration::from_millis(700),
            ..Bounds::default()
        };
        let issuers = Issuers::new(&rules, &KeyCache::default(), &shared, bounds).unwrap();
        Self { idp, issuers, clock }
    }

    /// A token that is honest but for what `change` changes.
    fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": "ES256", "kid": "one", "typ": "JWT"});
        let mut claims = claims(&self.idp.issuer, NOW);
        change(&mut header, &mut claims);
        self.idp.sign(&header, &claims)
    }

    async fn is_taken(&self, change: impl FnOnce(&mut Value, &mut Value)) -> Workload {
        self.issuers.identify(&self.token(change)).await.unwrap()
    }

    async fn is_refused(&self, words: &str, change: impl FnOnce(&mut Value, &mut Value)) {
        refused(self.issuers.identify(&self.token(change)).await, words);
    }

    fn keys_asked(&self) -> usize {
        self.idp.asked("/jwks")
    }
}

#[track_caller]
fn refused(answer: Result<Workload, ProviderError>, words: &str) {
    match answer {
        Err(ProviderError::Refused(text)) => assert!(text.contains(words), "{text:?} does not say {words:?}"),
        other => panic!("{words}: {other:?}"),
    }
}

#[tokio::test]
async fn an_honest_job_is_who_its_rule_says() {
    let scene = Scene::new();
    let job = scene.is_taken(|_, _| {}).await;
    let identity = &job.identity;
    assert_eq!(
        (identity.provider.as_str(), identity.user.as_str()),
        ("github", "github:acme/train")
    );
    assert_eq!(identity.subject, "repo:acme/train:ref:refs/heads/main");
    assert_eq!(identity.groups, ["ci"]);
    assert_eq!(job.expires.seconds(), NOW + 300);
    // As Kubernetes writes it: no type, several audiences.
    let pod = scene
        .is_taken(|header, claims| {
            header.as_object_mut().unwrap().remove("typ");
            claims["aud"] = json!(["https://other.test", AUDIENCE]);
        })
        .await;
    assert_eq!(pod.identity.user, "github:acme/train");
    assert_ne!(pod.id, job.id);
    scene
        .is_taken(|header, _| header["typ"] = "application/jwt".into())
        .await;
    scene
        .is_taken(|header, _| drop(header.as_object_mut().unwrap().remove("kid")))
        .await;
}

#[tokio::test]
async fn another_repository_branch_audience_or_issuer_is_refused() {
    let scene = Scene::new();
    scene.is_taken(|_, _| {}).await;
    for (claim, value, words) in [
        ("repository", json!("evil/train"), "repository"),
        ("repository", json!("acme/train2"), "repository"),
        ("repository", json!(["acme/other"]), "repository"),
        ("repository", json!(null), "repository"),
        ("ref", json!("refs/heads/dev"), "ref"),
        ("ref", json!("refs/pull/1/merge"), "ref"),
        ("aud", json!("https://other.test"), "aud"),
        ("aud", json!("https://mlflow.test/"), "aud"),
        ("aud", json!(["https://other.test"]), "aud"),
        ("aud", json!([]), "aud"),
        ("aud", json!(null), "aud"),
        ("iss", json!("https://evil.test"), "iss"),
        ("iss", json!(format!("{}/", scene.idp.issuer)), "iss"),
        ("iss", json!(null), "iss"),
        ("iss", json!([scene.idp.issuer]), "iss"),
        ("sub", json!(null), "sub"),
        ("sub", json!(""), "sub"),
    ] {
        scene.is_refused(words, |_, claims| claims[claim] = value).await;
    }
}

#[tokio::test]
async fn a_token_is_for_its_time() {
    let scene = Scene::new();
    for (claim, value, words) in [
        ("exp", json!(NOW - 60), "exp"),
        ("exp", json!(null), "exp"),
        ("exp", json!("later"), "exp"),
        ("exp", json!(-1e300), "exp"),
        ("iat", json!(NOW + 61), "iat"),
        ("iat", json!(null), "iat"),
        ("nbf", json!(NOW + 61), "nbf"),
        ("nbf", json!("soon"), "nbf"),
        ("nbf", json!(null), "nbf"),
    ] {
        scene.is_refused(words, |_, claims| claims[claim] = value).await;
    }
    scene.is_taken(|_, claims| claims["exp"] = json!(NOW - 59)).await;
    scene
        .is_taken(|_, claims| drop(claims.as_object_mut().unwrap().remove("nbf")))
        .await;
    // What was found good once is not good for ever.
    let token = scene.token(|_, _| {});
    scene.issuers.identify(&token).await.unwrap();
    scene.clock.advance(Duration::from_secs(361));
    refused(scene.issuers.identify(&token).await, "exp");
}

#[tokio::test]
async fn another_type_is_refused() {
    let scene = Scene::new();
    for typ in ["at+jwt", "logout+jwt", "secevent+jwt", "", "xJWT"] {
        scene.is_refused("typ", |header, _| header["typ"] = typ.into()).await;
    }
    scene
        .is_refused("no signed token", |header, _| header["typ"] = json!(7))
        .await;
    scene
        .is_refused("crit", |header, _| header["crit"] = json!(["b64"]))
        .await;
}

#[tokio::test]
async fn a_signature_that_is_not_the_issuers_is_refused() {
    for (alg, signature) in [
        ("ES256", Signature::Foreign),
        ("ES256", Signature::None),
        ("none", Signature::None),
        ("None", Signature::None),
        ("HS256", Signature::Secret),
        ("HS256", Signature::PublicKey),
        ("RS256", Signature::Own),
        ("ES384", Signature::Own),
        ("EdDSA", Signature::Own),
    ] {
        let scene = Scene::new();
        scene.is_taken(|_, _| {}).await;
        scene.idp.lie(|says| says.signature = signature);
        for kid in [json!("one"), json!(null)] {
            scene
                .is_refused("sign", |header, _| {
                    header["alg"] = alg.into();
                    header["kid"] = kid.clone();
                })
                .await;
        }
    }
}

#[tokio::test]
async fn what_is_changed_after_signing_is_refused() {
    let scene = Scene::new();
    let (good, other) = (
        scene.token(|_, _| {}),
        scene.token(|_, claims| claims["repository"] = "evil/x".into()),
    );
    scene.issuers.identify(&good).await.unwrap();
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good_parts, other_parts) = (parts(&good), parts(&other));
    let mixed = format!("{}.{}.{}", other_parts[0], good_parts[1], other_parts[2]);
    refused(scene.issuers.identify(&mixed).await, "signature");
    for odd in [
        String::new(),
        "..".to_owned(),
        format!("{}.{}.", good_parts[0], good_parts[1]),
        format!("{}.{}", good_parts[0], good_parts[1]),
        format!("{good}.x"),
        format!("{good}="),
        good.replace('.', " "),
        format!("{}.{}.{}", good_parts[0], "A".repeat(17 << 10), good_parts[2]),
    ] {
        assert!(scene.issuers.identify(&odd).await.is_err(), "{odd}");
    }
    let long = scene.token(|_, claims| claims["more"] = "x".repeat(16 << 10).into());
    assert!(!Issuers::looks_like_one(&long) && Issuers::looks_like_one(&good));
    refused(scene.issuers.identify(&long).await, "no signed token");
}

#[tokio::test]
async fn an_issuer_may_have_several_rules() {
    let scene = Scene::with(|rules| {
        let mut second = rules[0].clone();
        second.id = "release".to_owned();
        second.groups = vec!["release".to_owned()];
        second.conditions[0].values = vec!["acme/release".to_owned(), "acme/ship".to_owned()];
        rules.push(second);
    });
    assert_eq!(scene.is_taken(|_, _| {}).await.identity.provider, "github");
    let ship = scene
        .is_taken(|_, claims| claims["repository"] = "acme/ship".into())
        .await;
    assert_eq!(
        (ship.identity.provider.as_str(), ship.identity.groups.as_slice()),
        ("release", &["release".to_owned()][..])
    );
    scene
        .is_refused("repository", |_, claims| claims["repository"] = "acme/none".into())
        .await;
    assert_eq!(scene.keys_asked(), 1, "one issuer has one set of keys");
}

#[tokio::test]
async fn a_new_key_is_found_and_unknown_ones_are_looked_for_once_in_a_while() {
    let scene = Scene::new();
    let old = scene.token(|_, _| {});
    scene.issuers.identify(&old).await.unwrap();
    scene.clock.advance(Duration::from_secs(31));
    scene.idp.rename_key("two");
    scene.is_taken(|header, _| header["kid"] = "two".into()).await;
    assert_eq!(scene.keys_asked(), 2);
    refused(scene.issuers.identify(&old).await, "unknown key");
    for kid in 0..500 {
        scene
            .is_refused("unknown key", |header, _| header["kid"] = format!("no-{kid}").into())
            .await;
    }
    assert_eq!(scene.keys_asked(), 2, "unknown keys ask no more than once in a while");
    scene.clock.advance(Duration::from_secs(31));
    let before = Instant::now();
    let mut forged = Vec::new();
    for kid in 0..500 {
        let token = scene.token(|header, _| header["kid"] = format!("new-{kid}").into());
        forged.push(token);
    }
    let answers = futures_util::future::join_all(forged.iter().map(|token| scene.issuers.identify(token))).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(scene.keys_asked(), 3, "however many come at once");
    assert!(before.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_bad_signature_asks_nobody_anything() {
    let scene = Scene::new();
    scene.is_taken(|_, _| {}).await;
    scene.clock.advance(Duration::from_secs(200));
    scene.idp.lie(|says| says.signature = Signature::Foreign);
    for _ in 0..50 {
        scene.is_refused("signature", |_, _| {}).await;
    }
    assert_eq!(scene.keys_asked(), 1);
}

#[tokio::test]
async fn known_keys_go_on_while_the_issuer_is_silent_and_end_some_day() {
    let scene = Scene::new();
    scene.is_taken(|_, _| {}).await;
    scene.clock.advance(Duration::from_secs(31));
    scene.idp.lie(|says| says.fail("/jwks", Fault::Silent));
    let later = |scene: &Scene, kid: &str, after: i64| {
        scene.token(|header, claims| {
            header["kid"] = kid.into();
            claims["exp"] = json!(NOW + after + 300);
        })
    };
    // One waits for the issuer; those who come by a known key do not.
    let (unknown, known) = (later(&scene, "two", 31), later(&scene, "one", 31));
    let started = Instant::now();
    let waits = scene.issuers.identify(&unknown);
    let goes_on = async {
        for _ in 0..100 {
            scene.issuers.identify(&known).await.unwrap();
        }
        started.elapsed()
    };
    let (answer, took) = tokio::join!(waits, goes_on);
    refused(answer, "unknown key");
    assert!(took < Duration::from_millis(600), "{took:?}");
    assert_eq!(scene.issuers.away().len(), 1);
    let day = 24 * 3600;
    scene.clock.advance(Duration::from_secs(day));
    let answer = scene.issuers.identify(&later(&scene, "one", day as i64 + 31)).await;
    assert!(matches!(answer, Err(ProviderError::Unavailable(_))), "{answer:?}");
}

#[tokio::test]
async fn keys_that_are_taken_back_end_what_was_found_good() {
    let scene = Scene::new();
    let token = scene.token(|_, _| {});
    scene.issuers.identify(&token).await.unwrap();
    scene.idp.rename_key("two");
    scene.clock.advance(Duration::from_secs(301));
    scene.issuers.refresh();
    until_async(|| scene.keys_asked() == 2).await;
    for _ in 0..200 {
        if scene.issuers.identify(&token).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a token of a key that is gone is still good");
}

async fn until_async(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), met).await.unwrap();
}

#[tokio::test]
async fn nothing_is_believed_without_keys() {
    for (path, fault) in [
        ("/jwks", Fault::Status(500)),
        ("/jwks", Fault::Redirect),
        ("/jwks", Fault::Oversized),
        ("/.well-known/openid-configuration", Fault::Status(404)),
    ] {
        let scene = Scene::new();
        scene.idp.lie(|says| says.fail(path, fault));
        let answer = scene.issuers.identify(&scene.token(|_, _| {})).await;
        assert!(
            matches!(answer, Err(ProviderError::Unavailable(_))),
            "{path}: {answer:?}"
        );
    }
    let scene = Scene::new();
    scene
        .idp
        .lie(|says| says.discovery["issuer"] = "https://evil.test".into());
    let answer = scene.issuers.identify(&scene.token(|_, _| {})).await;
    assert!(matches!(answer, Err(ProviderError::Unavailable(_))), "{answer:?}");
    let scene = Scene::new();
    scene
        .idp
        .lie(|says| says.discovery["jwks_uri"] = "http://idp.example.test/jwks".into());
    assert!(scene.issuers.identify(&scene.token(|_, _| {})).await.is_err());
}

#[tokio::test]
async fn keys_of_every_kind_are_read_from_a_file_and_no_other_algorithm_passes() {
    let pem = std::fs::read_to_string(root().join("integration-tests/support/saml/idp-key.pem")).unwrap();
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    use rustls::pki_types::pem::PemObject;
    let rsa = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let random = ring::rand::SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let ed = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let components: ring::rsa::PublicKeyComponents<Vec<u8>> = rsa.public().into();
    let set = json!({"keys": [
        {"kty": "RSA", "kid": "rsa", "use": "sig", "n": encode(&components.n), "e": encode(&components.e)},
        {"kty": "RSA", "kid": "pinned", "alg": "RS256", "n": encode(&components.n), "e": encode(&components.e)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(ed.public_key().as_ref())},
    ]});
    let scene = Scene::with(|rules| {
        rules[0].keys = IssuerKeys::File(Arc::new(KeySet::read(set.to_string().as_bytes()).unwrap()));
    });
    let sign = |kid: &str, alg: &str| {
        let header = json!({"alg": alg, "kid": kid});
        let body = claims(&scene.idp.issuer, NOW);
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(body.to_string().as_bytes())
        );
        let by_rsa = |padding: &'static dyn ring::signature::RsaEncoding| {
            let mut signature = vec![0; rsa.public().modulus_len()];
            rsa.sign(padding, &random, signed.as_bytes(), &mut signature).unwrap();
            signature
        };
        let signature = match alg {
            "PS256" => by_rsa(&RSA_PSS_SHA256),
            "EdDSA" => ed.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => by_rsa(&RSA_PKCS1_SHA256),
        };
        format!("{signed}.{}", encode(&signature))
    };
    for (kid, alg) in [("rsa", "RS256"), ("rsa", "PS256"), ("pinned", "RS256"), ("ed", "EdDSA")] {
        let job = scene.issuers.identify(&sign(kid, alg)).await;
        assert_eq!(job.unwrap().identity.user, "github:acme/train", "{kid} {alg}");
    }
    for (kid, alg) in [
        ("pinned", "PS256"),
        ("ed", "RS256"),
        ("rsa", "EdDSA"),
        ("rsa", "HS256"),
        ("rsa", "RS512"),
    ] {
        refused(scene.issuers.identify(&sign(kid, alg)).await, "sign");
    }
    assert_eq!(scene.keys_asked(), 0);
}

#[tokio::test]
async fn an_issuer_with_a_root_of_its_own_needs_it_in_the_configuration() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Ca::new().write(folder.path(), &["localhost"]);
    Ca::new().write(other.path(), &["localhost"]);
    for (roots, believed) in [(Some(&folder), true), (Some(&other), false), (None, false)] {
        let idp = LyingProvider::start();
        let port = front(
            idp.issuer.trim_start_matches("http://").parse().unwrap(),
            folder.path(),
            None,
        );
        let issuer = format!("https://localhost:{port}");
        idp.lie(|says| {
            says.discovery["issuer"] = issuer.as_str().into();
            says.discovery["jwks_uri"] = format!("{issuer}/jwks").into();
        });
        let rule = TrustedIssuer {
            ca_file: roots.map(|roots| roots.path().join("ca.pem")),
            ..rule(&issuer)
        };
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_seconds(NOW)));
        let issuers = Issuers::new(&[rule], &KeyCache::default(), &clock, Bounds::default()).unwrap();
        let token = idp.sign(&json!({"alg": "ES256", "kid": "one"}), &claims(&issuer, NOW));
        match issuers.identify(&token).await {
            Ok(_) => assert!(believed),
            Err(ProviderError::Unavailable(_)) => assert!(!believed),
            Err(other) => panic!("{other}"),
        }
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
