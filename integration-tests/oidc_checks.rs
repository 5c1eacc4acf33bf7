//! Each check of an identity provider's answers, shown by a provider that lies in that one way; the honest one passes.

use std::sync::Arc;
use std::time::Duration;

use mlgate::config::OidcProvider;
use mlgate::domain::{ManualClock, Secret, SystemRandom, Timestamp};
use mlgate::outbound::provider::Bounds;
use mlgate::providers::{Oidc, OidcParts, Onward, Places, ProviderError, RedirectProvider, Vouched};
use serde_json::{Value, json};
use url::Url;

use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider, Says, Signature};

const CALLBACK: &str = "https://gate.test/auth/callback/idp";
/// By the gateway's clock; the honest ID token is issued now and good for 300 s.
pub const NOW: i64 = 1000;
pub const RECHECK: Duration = Duration::from_secs(300);

/// A provider of the gateway's, by a clock that stands still, and the identity provider that it asks.
pub struct Scene {
    pub idp: LyingProvider,
    pub oidc: Oidc,
    pub clock: Arc<ManualClock>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut OidcProvider)) -> Self {
        Self::at(Places::default(), change)
    }

    /// Likewise, with the APIs that tell groups at these places.
    pub fn at(places: Places, change: impl FnOnce(&mut OidcProvider)) -> Self {
        Self::within(Bounds::default(), places, change)
    }

    /// A gateway that soon gives up, for providers that are silent.
    pub fn hurried() -> Self {
        let bounds = Bounds {
            total: Duration::from_millis(700),
            ..Bounds::default()
        };
        Self::within(bounds, Places::default(), |_| {})
    }

    fn within(bounds: Bounds, places: Places, change: impl FnOnce(&mut OidcProvider)) -> Self {
        let idp = LyingProvider::start();
        let mut config = OidcProvider {
            issuer: idp.issuer.clone(),
            ca_file: None,
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(Secret::new(CLIENT_SECRET)),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            user_claim: "email".to_owned(),
            groups_claim: vec!["/groups".to_owned()],
            hosted_domains: Vec::new(),
            google_groups: None,
        };
        change(&mut config);
        let clock = Arc::new(ManualClock::at(Timestamp::from_seconds(NOW)));
        let parts = OidcParts {
            recheck: RECHECK,
            clock: clock.clone(),
            random: Arc::new(SystemRandom::new()),
            bounds,
            places,
        };
        let oidc = Oidc::new("idp", config, parts).unwrap();
        Self { idp, oidc, clock }
    }

    pub fn lie(self, change: impl FnOnce(&mut Says)) -> Self {
        self.idp.lie(change);
        self
    }

    /// Signs in; the provider repeats the nonce, and `edit` may change what comes back to us.
    async fn sign_in_with(&self, edit: impl FnOnce(&mut Vec<(String, String)>)) -> Result<Vouched, ProviderError> {
        let departure = self.oidc.begin(CALLBACK).await?;
        let Onward::Redirect(url) = &departure.onward else {
            panic!("a redirect")
        };
        let url = Url::parse(url).unwrap();
        let sent = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
        assert_eq!(sent("code_challenge_method"), "S256");
        assert_eq!(sent("state"), departure.state.expose());
        self.idp.lie(|says| {
            if says.claims.get("nonce").is_none() {
                says.claims["nonce"] = sent("nonce").into();
            } else if says.claims["nonce"].is_null() {
                says.claims.as_object_mut().unwrap().remove("nonce");
            }
        });
        let mut query = vec![
            ("code".to_owned(), "the-code".to_owned()),
            ("state".to_owned(), sent("state")),
        ];
        edit(&mut query);
        let answer = self.oidc.complete(CALLBACK, &departure.memory, &query).await;
        self.idp.lie(|says| {
            says.claims.as_object_mut().unwrap().remove("nonce");
        });
        answer
    }

    pub async fn sign_in(&self) -> Result<Vouched, ProviderError> {
        self.sign_in_with(|_| {}).await
    }

    /// Refused, with these words in the reason.
    pub async fn is_refused(&self, words: &str) {
        match self.sign_in().await {
            Err(ProviderError::Refused(text)) => assert!(text.contains(words), "{text:?} does not say {words:?}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}

async fn claim_is_refused(name: &str, value: Value, words: &str) {
    Scene::new()
        .lie(|says| says.claims[name] = value)
        .is_refused(words)
        .await;
}

#[tokio::test]
async fn an_honest_answer_is_believed() {
    let scene = Scene::new();
    let identity = scene.sign_in().await.unwrap().identity;
    assert_eq!(
        (identity.provider.as_str(), identity.subject.as_str()),
        ("idp", "subject-1")
    );
    assert_eq!(
        (identity.user.as_str(), identity.groups.as_slice()),
        ("ann@example.com", &["ml".to_owned()][..])
    );
    let asked = scene.idp.says.lock().unwrap().token_requests.pop().unwrap();
    assert_eq!(asked["redirect_uri"], CALLBACK);
    assert!(asked["code_verifier"].len() >= 43);
    assert_eq!(scene.idp.asked("/userinfo"), 0);
}

#[tokio::test]
async fn hints_for_the_providers_account_chooser_are_passed_on() {
    let departs = async |domains: &[&str], name: Option<&str>| {
        let scene =
            Scene::with(|config| config.hosted_domains = domains.iter().map(|domain| (*domain).to_owned()).collect());
        let departure = match name {
            Some(name) => scene.oidc.begin_as(CALLBACK, name).await.unwrap(),
            None => scene.oidc.begin(CALLBACK).await.unwrap(),
        };
        let Onward::Redirect(url) = &departure.onward else {
            panic!("a redirect")
        };
        let url = Url::parse(url).unwrap();
        let sent = |name: &str| {
            url.query_pairs()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        (sent("domain_hint"), sent("login_hint"))
    };
    assert_eq!(departs(&[], None).await, (None, None));
    assert_eq!(
        departs(&["example.com"], None).await,
        (Some("example.com".to_owned()), None)
    );
    assert_eq!(departs(&["example.com", "example.org"], None).await, (None, None));
    let name = "a&b=c@example.com";
    assert_eq!(departs(&[], Some(name)).await, (None, Some(name.to_owned())));
}

#[tokio::test]
async fn nobody_is_asked_before_somebody_signs_in() {
    assert_eq!(Scene::new().idp.asked("/.well-known/openid-configuration"), 0);
}

#[tokio::test]
async fn another_issuer_in_the_id_token_is_refused() {
    claim_is_refused("iss", json!("https://evil.test"), "issuer").await;
}

#[tokio::test]
async fn an_issuer_that_is_only_spelled_alike_is_refused() {
    let scene = Scene::new();
    let alike = format!("{}/", scene.idp.issuer);
    scene
        .lie(|says| says.claims["iss"] = alike.into())
        .is_refused("iss")
        .await;
}

#[tokio::test]
async fn another_audience_is_refused() {
    claim_is_refused("aud", json!("another-client"), "audience").await;
}

#[tokio::test]
async fn a_further_audience_is_refused() {
    claim_is_refused("aud", json!([CLIENT_ID, "another-client"]), "audience").await;
}

#[tokio::test]
async fn another_authorized_party_is_refused() {
    claim_is_refused("azp", json!("another-client"), "azp").await;
    let own = Scene::new().lie(|says| says.claims["azp"] = CLIENT_ID.into());
    own.sign_in().await.unwrap();
}

#[tokio::test]
async fn an_expired_token_is_refused_past_the_skew() {
    claim_is_refused("exp", json!(NOW - 60), "xpired").await;
    Scene::new()
        .lie(|says| says.claims["exp"] = json!(NOW - 59))
        .sign_in()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_that_is_not_valid_yet_is_refused_past_the_skew() {
    claim_is_refused("nbf", json!(NOW + 61), "nbf").await;
    Scene::new()
        .lie(|says| says.claims["nbf"] = json!(NOW + 60))
        .sign_in()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_from_the_future_is_refused_past_the_skew() {
    claim_is_refused("iat", json!(NOW + 61), "iat").await;
    Scene::new()
        .lie(|says| says.claims["iat"] = json!(NOW + 60))
        .sign_in()
        .await
        .unwrap();
}

#[tokio::test]
async fn odd_times_are_refused_without_harm() {
    for exp in [
        json!(1e300),
        json!(-1e300),
        json!(i64::MIN),
        json!("soon"),
        json!(null),
        json!(0.5),
        json!([NOW]),
    ] {
        let scene = Scene::new().lie(|says| says.claims["exp"] = exp.clone());
        assert!(matches!(scene.sign_in().await, Err(ProviderError::Refused(_))), "{exp}");
    }
}

#[tokio::test]
async fn another_nonce_is_refused() {
    claim_is_refused("nonce", json!("another"), "nonce").await;
}

#[tokio::test]
async fn a_missing_nonce_is_refused() {
    claim_is_refused("nonce", json!(null), "nonce").await;
}

#[tokio::test]
async fn the_hash_of_another_access_token_is_refused() {
    claim_is_refused("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA"), "at_hash").await;
}

#[tokio::test]
async fn a_missing_or_empty_subject_is_refused() {
    claim_is_refused("sub", json!(""), "sub").await;
}

#[tokio::test]
async fn a_token_without_signature_is_refused() {
    for alg in ["none", "None", "ES256"] {
        let scene = Scene::new().lie(|says| {
            says.signature = Signature::None;
            says.header["alg"] = alg.into();
        });
        assert!(matches!(scene.sign_in().await, Err(ProviderError::Refused(_))), "{alg}");
    }
}

#[tokio::test]
async fn hmac_with_the_clients_secret_is_refused() {
    let scene = Scene::new().lie(|says| {
        says.signature = Signature::Secret;
        says.header = json!({"alg": "HS256", "typ": "JWT"});
    });
    scene.is_refused("lgorithm").await;
}

#[tokio::test]
async fn hmac_with_the_public_key_is_refused() {
    let scene = Scene::new().lie(|says| {
        says.signature = Signature::PublicKey;
        says.header["alg"] = "HS256".into();
    });
    scene.is_refused("lgorithm").await;
}

#[tokio::test]
async fn the_signature_of_a_foreign_key_is_refused() {
    Scene::new()
        .lie(|says| says.signature = Signature::Foreign)
        .is_refused("signature")
        .await;
}

#[tokio::test]
async fn tokens_of_another_type_are_refused() {
    for typ in ["logout+jwt", "at+jwt", "application/at+jwt"] {
        Scene::new()
            .lie(|says| says.header["typ"] = typ.into())
            .is_refused("type")
            .await;
    }
}

#[tokio::test]
async fn an_issuer_that_offers_no_public_key_signature_is_refused() {
    let scene =
        Scene::new().lie(|says| says.discovery["id_token_signing_alg_values_supported"] = json!(["HS256", "none"]));
    scene.is_refused("public-key").await;
}

#[tokio::test]
async fn an_answer_without_id_token_is_refused() {
    Scene::new()
        .lie(|says| says.id_token = false)
        .is_refused("no ID token")
        .await;
}

#[tokio::test]
async fn unknown_key_ids_fetch_the_keys_at_most_once_in_thirty_seconds() {
    let scene = Scene::new().lie(|says| says.header["kid"] = "two".into());
    for _ in 0..5 {
        scene.is_refused("unknown key").await;
    }
    assert_eq!(
        scene.idp.asked("/jwks"),
        2,
        "once at discovery, once for the key that is not there"
    );
    scene.idp.rename_key("two");
    scene.clock.advance(Duration::from_secs(29));
    scene.is_refused("unknown key").await;
    scene.clock.advance(Duration::from_secs(1));
    scene.sign_in().await.unwrap();
    assert_eq!(scene.idp.asked("/jwks"), 3);
}

#[tokio::test]
async fn a_key_that_was_just_changed_is_found() {
    let scene = Scene::new();
    scene.sign_in().await.unwrap();
    scene.idp.rename_key("two");
    scene.idp.lie(|says| says.header["kid"] = "two".into());
    scene.sign_in().await.unwrap();
}

#[tokio::test]
async fn the_callbacks_issuer_is_compared_and_required_where_it_is_announced() {
    let issuer = |value: &str| {
        let value = value.to_owned();
        move |query: &mut Vec<(String, String)>| query.push(("iss".to_owned(), value))
    };
    let silent = Scene::new();
    assert!(matches!(
        silent.sign_in_with(issuer("https://evil.test")).await,
        Err(ProviderError::Refused(_))
    ));
    assert_eq!(silent.idp.asked("/token"), 0, "the code of another issuer goes nowhere");
    let announced =
        Scene::new().lie(|says| says.discovery["authorization_response_iss_parameter_supported"] = true.into());
    announced.is_refused("issuer").await;
    announced.sign_in_with(issuer(&announced.idp.issuer)).await.unwrap();
}

#[tokio::test]
async fn a_parameter_that_comes_twice_is_refused() {
    for twice in ["code", "state", "iss"] {
        let scene = Scene::new();
        let own = scene.idp.issuer.clone();
        let answer = scene.sign_in_with(|query| {
            query.push(("iss".to_owned(), own));
            let again = query.iter().find(|(name, _)| name == twice).unwrap().clone();
            query.push(again);
        });
        assert!(matches!(answer.await, Err(ProviderError::Refused(_))), "{twice}");
    }
}

#[tokio::test]
async fn a_foreign_state_is_a_bad_attempt() {
    let scene = Scene::new();
    let answer = scene.sign_in_with(|query| query[1].1 = "another".to_owned()).await;
    assert!(matches!(answer, Err(ProviderError::BadAttempt(_))));
}

#[tokio::test]
async fn a_refusal_at_the_provider_is_told_as_such() {
    let scene = Scene::new();
    let answer = scene
        .sign_in_with(|query| query[0] = ("error".to_owned(), "access_denied".to_owned()))
        .await;
    assert!(matches!(answer, Err(ProviderError::AccountRefused(_))));
}
