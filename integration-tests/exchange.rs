//! Token exchange (RFC 8693): a job's token from a stand-in issuer is exchanged and used; whatever is wrong with it is refused.

use std::time::Duration;

use mlgate::domain::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::support::echo::Echo;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::lying_provider::{LyingProvider, Signature};
use crate::support::process::until;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const READS: &str = "/ajax-api/2.0/mlflow/experiments/get?experiment_id=1";
const AUDIENCE: &str = "https://mlflow.test";

struct Scene {
    idp: LyingProvider,
    gateway: Gateway,
    _echo: Echo,
}

impl Scene {
    fn new(change: impl FnOnce(&mut Setup)) -> Self {
        let (idp, echo) = (LyingProvider::start(), Echo::start());
        let mut setup = Setup::new(&echo.url);
        setup.sections += &rule(&idp, "acme/train");
        setup.sections += "[[role]]\nname = \"jobs\"\ngroups = [\"github:ci\"]\ngrants = [{ permission = \"EDIT\", experiments = [\"*\"] }]\n";
        change(&mut setup);
        Self {
            gateway: setup.start(),
            idp,
            _echo: echo,
        }
    }

    fn jwt(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let now = SystemClock.now().seconds();
        let mut header = json!({"alg": "ES256", "kid": "one", "typ": "JWT"});
        let mut claims = json!({
            "iss": self.idp.issuer, "aud": AUDIENCE, "sub": "repo:acme/train:ref:refs/heads/main",
            "repository": "acme/train", "ref": "refs/heads/main", "iat": now, "nbf": now - 5, "exp": now + 300,
        });
        change(&mut header, &mut claims);
        self.idp.sign(&header, &claims)
    }

    /// The fields of an honest exchange, and more.
    fn ask(&self, token: &str, more: &[(&str, &str)]) -> Response {
        let mut fields = vec![
            ("grant_type", GRANT),
            ("subject_token_type", JWT),
            ("subject_token", token),
        ];
        fields.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
        fields.extend(more.iter().filter(|(_, value)| !value.is_empty()));
        self.gateway
            .send(&Request::new("POST", "/auth/oauth2/token").form(&fields))
    }

    fn exchange(&self) -> Value {
        let answer = self.ask(&self.jwt(|_, _| {}), &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.json()
    }

    fn use_it(&self, request: Request, answer: &Value) -> Response {
        let token = answer["access_token"].as_str().unwrap();
        self.gateway
            .send(&request.header("Authorization", &format!("Bearer {token}")))
    }

    #[track_caller]
    fn is_refused(&self, answer: &Response, error: &str) {
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!(error)),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

fn rule(idp: &LyingProvider, repository: &str) -> String {
    format!(
        "[[trusted_issuer]]\nid = \"github\"\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\nuser = \"github:{{repository}}\"\n\
         match = {{ repository = \"{repository}\", ref = \"refs/heads/main\" }}\ngroups = [\"ci\"]\n",
        idp.issuer
    )
}

#[test]
fn a_job_exchanges_its_token_and_uses_what_it_gets() {
    let scene = Scene::new(|_| {});
    let given = scene.exchange();
    assert_eq!(given["token_type"], "Bearer");
    assert_eq!(
        given["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(given["scope"], "mlflow");
    assert!(given.get("refresh_token").is_none(), "{given}");
    let lifetime = given["expires_in"].as_u64().unwrap();
    assert!(
        (280..=300).contains(&lifetime),
        "no longer than the job's own token: {lifetime}"
    );
    assert!(given["access_token"].as_str().unwrap().starts_with("mlg_at_"));

    let answer = scene.use_it(Request::get(READS), &given);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let reached = answer.json();
    assert!(
        reached["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["x-forwarded-user", "github:acme/train"])),
        "{reached}"
    );
    let events = scene.gateway.events();
    let issued = events.iter().find(|event| event["action"] == "token.issue").unwrap();
    assert_eq!(
        (
            &issued["actor"]["provider"],
            &issued["actor"]["user"],
            &issued["outcome"]
        ),
        (&json!("github"), &json!("github:acme/train"), &json!("allowed"))
    );
    let used = events.last().unwrap();
    assert_eq!(
        (&used["actor"]["via"], &used["actor"]["provider"]),
        (&json!("token"), &json!("github"))
    );

    // An ID token is a JWT; a client may say who it is; what is asked for may be said; less may be asked for.
    let id_token = [
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("client_id", "mlgate-cli"),
        ("audience", &scene.gateway.url()),
        ("scope", "mlflow.read"),
    ];
    let reader = scene.ask(&scene.jwt(|_, _| {}), &id_token);
    assert_eq!(reader.status, 200, "{}", reader.text());
    let reader = reader.json();
    assert_eq!(reader["scope"], "mlflow.read");
    let writes = || Request::new("POST", "/api/2.0/mlflow/experiments/create").json(&json!({"name": "x"}));
    assert_eq!(scene.use_it(writes(), &reader).status, 403);
    assert_eq!(scene.use_it(writes(), &given).status, 200);

    let metadata = scene
        .gateway
        .send(&Request::get("/.well-known/oauth-authorization-server"))
        .json();
    assert!(
        metadata["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!(GRANT))
    );
}

#[test]
fn whatever_is_wrong_with_the_jobs_token_is_refused_and_recorded() {
    let scene = Scene::new(|_| {});
    scene.exchange();
    let foreign = {
        scene.idp.lie(|says| says.signature = Signature::Foreign);
        let token = scene.jwt(|_, _| {});
        scene.idp.lie(|says| says.signature = Signature::Own);
        token
    };
    for (words, token) in [
        (
            "repository",
            scene.jwt(|_, claims| claims["repository"] = "evil/fork".into()),
        ),
        ("ref", scene.jwt(|_, claims| claims["ref"] = "refs/heads/dev".into())),
        (
            "aud",
            scene.jwt(|_, claims| claims["aud"] = "https://other.test".into()),
        ),
        ("iss", scene.jwt(|_, claims| claims["iss"] = "https://evil.test".into())),
        ("exp", scene.jwt(|_, claims| claims["exp"] = json!(1000))),
        (
            "exp",
            scene.jwt(|_, claims| claims["exp"] = json!(SystemClock.now().seconds() - 10)),
        ),
        ("accepted", scene.jwt(|header, _| header["alg"] = "HS256".into())),
        ("accepted", scene.jwt(|header, _| header["alg"] = "none".into())),
        ("unknown key", scene.jwt(|header, _| header["kid"] = "two".into())),
        ("typ", scene.jwt(|header, _| header["typ"] = "at+jwt".into())),
        ("hold", foreign),
        ("no signed token", "not a token".to_owned()),
    ] {
        scene.is_refused(&scene.ask(&token, &[]), "invalid_request");
        let event = scene.gateway.events().pop().unwrap();
        assert_eq!(
            (&event["action"], &event["outcome"]),
            (&json!("token.refused"), &json!("refused"))
        );
        let said = event["reason"]["text"].as_str().unwrap();
        assert!(said.contains(words), "{said} does not say {words}");
    }
    let written = std::fs::read_to_string(scene.gateway.audit_file()).unwrap();
    assert!(!written.contains("eyJ"), "a token is in the trail");
}

#[test]
fn a_malformed_exchange_is_told_what_it_lacks() {
    let scene = Scene::new(|setup| {
        setup.sections +=
            "[[client]]\nid = \"nightly\"\nsecret = \"between midnight and six\"\ngrants = [\"client_credentials\"]\n";
    });
    let good = || scene.jwt(|_, _| {});
    for (name, value, error) in [
        ("subject_token", "", "invalid_request"),
        ("subject_token_type", "", "invalid_request"),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:saml2",
            "invalid_request",
        ),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
            "invalid_request",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:refresh_token",
            "invalid_request",
        ),
        ("actor_token", "x", "invalid_request"),
        ("audience", "https://elsewhere.test", "invalid_target"),
        ("resource", "https://elsewhere.test", "invalid_target"),
        ("scope", "everything", "invalid_scope"),
    ] {
        scene.is_refused(&scene.ask(&good(), &[(name, value)]), error);
    }
    let nightly = [("client_id", "nightly"), ("client_secret", "between midnight and six")];
    scene.is_refused(&scene.ask(&good(), &nightly), "unauthorized_client");
    let unknown = scene.ask(&good(), &[("client_id", "nobody")]);
    assert_eq!(
        (unknown.status, &unknown.json()["error"]),
        (401, &json!("invalid_client"))
    );
    scene.exchange();

    let nobody = Setup::new("http://127.0.0.1:1");
    let nobody = {
        let mut setup = nobody;
        setup.upstream += "\nmlflow_version = \"3.18.0\"";
        setup.start()
    };
    let fields = [
        ("grant_type", GRANT),
        ("subject_token_type", JWT),
        ("subject_token", "x"),
        ("client_id", "mlgate-cli"),
    ];
    let answer = nobody.send(&Request::new("POST", "/auth/oauth2/token").form(&fields));
    assert_eq!(answer.json()["error"], "unsupported_grant_type", "nobody is trusted");
}

#[test]
fn what_was_exchanged_ends_with_its_lifetime_or_its_rule() {
    let mut scene = Scene::new(|setup| {
        setup.session = "recheck = \"2s\"".to_owned();
        setup.sections += "[tokens]\naccess_lifetime = \"60s\"\n";
    });
    let given = scene.exchange();
    assert_eq!(given["expires_in"], 60);
    let status = |scene: &Scene| scene.use_it(Request::get(READS), &given).status;
    assert_eq!(status(&scene), 200);
    let (old, new) = (rule(&scene.idp, "acme/train"), rule(&scene.idp, "acme/other"));
    scene.gateway.setup.sections = scene.gateway.setup.sections.replace(&old, &new);
    scene.gateway.setup.write();
    until("the job is not meant any more", Duration::from_secs(15), || {
        status(&scene) == 401
    });
    let ended = scene.gateway.events();
    assert!(
        ended
            .iter()
            .any(|event| event["action"] == "token.revoke" && event["actor"]["provider"] == "github")
    );
}
