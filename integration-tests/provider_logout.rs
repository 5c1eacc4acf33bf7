//! The identity provider ends sessions: Keycloak and the certified provider by back channel, on all replicas; Keycloak in a
//! browser's frame.

use std::time::Duration;

use mlgate::domain::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::ldap::{EXPERIMENT, readers, status};
use crate::login_oidc::{callback, sign_in, with_oidc_provider};
use crate::replicas::on_redis;
use crate::support::browser::travel;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::keycloak::Keycloak;
use crate::support::lying_provider::{CLIENT_ID, CLIENT_SECRET, LyingProvider};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::oidc::Walker;
use crate::support::process::until;
use crate::support::redis::Redis;

const BACK: &str = "/auth/oidc/corp/backchannel-logout";
/// Within this an end takes effect on every replica.
const PROMISED: Duration = Duration::from_secs(5);

fn setup() -> Setup {
    Setup::new(&Mlflow::shared(NEWEST).url())
}

/// Two replicas with the same provider; Keycloak knows the first one's address.
fn replicas(keycloak: &Keycloak, redis: &Redis, client: &str) -> [Gateway; 2] {
    let (mut one, mut two) = (on_redis(setup(), redis), on_redis(setup(), redis));
    let back = format!("http://{}{BACK}", one.authority());
    let attributes = json!({"backchannel.logout.url": back, "backchannel.logout.session.required": "true"});
    keycloak.oidc_client(client, &callback(&one), &attributes);
    for setup in [&mut one, &mut two] {
        setup.sections += &keycloak.provider("corp", client, "");
        setup.sections += &readers("corp:mlflow-engineers");
    }
    [one.start(), two.start()]
}

fn ends(gateway: &Gateway) -> Vec<Value> {
    let events = gateway.events().into_iter();
    events.filter(|event| event["action"] == "session.end").collect()
}

#[test]
fn signing_a_person_out_at_keycloak_ends_their_sessions_on_all_replicas() {
    let (keycloak, redis) = (Keycloak::shared(), Redis::start());
    let [one, two] = replicas(keycloak, &redis, "back-channel-all");
    keycloak.person("goer", Some("/ml-engineers"));
    keycloak.person("stayer", Some("/ml-engineers"));
    let gone = [(); 2].map(|()| sign_in(&one, &mut Walker::default(), "goer"));
    let stayer = sign_in(&one, &mut Walker::default(), "stayer");
    for gateway in [&one, &two] {
        assert_eq!(gone.each_ref().map(|cookie| status(gateway, cookie)), [200, 200]);
        assert_eq!(status(gateway, &stayer), 200);
    }
    keycloak.sign_out("goer");
    until("both sessions are refused at both replicas", PROMISED, || {
        [&one, &two]
            .iter()
            .all(|gateway| gone.iter().all(|cookie| status(gateway, cookie) == 401))
    });
    assert_eq!(
        [&one, &two].map(|gateway| status(gateway, &stayer)),
        [200, 200],
        "the control stays"
    );
    let ended = ends(&one);
    assert_eq!(ended.len(), 2, "{}", one.log());
    for event in ended {
        assert_eq!(
            (&event["actor"]["user"], &event["outcome"]),
            (&json!("goer"), &json!("allowed"))
        );
        assert_eq!(
            event["reason"]["text"],
            "The identity provider ended it, by a logout token."
        );
    }
    sign_in(&one, &mut Walker::default(), "goer");
}

#[test]
fn ending_one_of_a_persons_sessions_at_keycloak_leaves_the_other() {
    let (keycloak, redis) = (Keycloak::shared(), Redis::start());
    let [one, two] = replicas(keycloak, &redis, "back-channel-one");
    keycloak.person("traveller", Some("/ml-engineers"));
    let laptop = sign_in(&one, &mut Walker::default(), "traveller");
    let [on_laptop] = keycloak.sessions_of("traveller").try_into().unwrap();
    let phone = sign_in(&one, &mut Walker::default(), "traveller");
    assert_eq!((status(&two, &laptop), status(&two, &phone)), (200, 200));
    keycloak.end_session(&on_laptop);
    until("the laptop is signed out at both replicas", PROMISED, || {
        status(&one, &laptop) == 401 && status(&two, &laptop) == 401
    });
    assert_eq!((status(&one, &phone), status(&two, &phone)), (200, 200));
}

#[test]
fn signing_out_at_the_certified_provider_ends_the_session_here() {
    let (idp, gateway) = with_oidc_provider("\"openid\", \"profile\", \"email\", \"groups\"", &[], "");
    let (mut browser, mut other) = (Walker::default(), Walker::default());
    let bob = sign_in(&gateway, &mut browser, "bob");
    let elsewhere = sign_in(&gateway, &mut other, "bob");
    let page = browser.go(&format!("{}/session/end", idp.issuer())).text();
    let token = page
        .split("name=\"xsrf\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let token = token.unwrap_or_else(|| panic!("{page}"));
    browser.submit("/session/end/confirm", &[("xsrf", token), ("logout", "yes")]);
    until("the session is refused", PROMISED, || status(&gateway, &bob) == 401);
    assert_eq!(status(&gateway, &elsewhere), 200, "another session at the provider");
}

#[test]
fn a_logout_token_counts_once_whichever_replica_it_comes_to() {
    let (idp, redis) = (LyingProvider::start(), Redis::start());
    let [one, two] = [(); 2].map(|()| {
        let mut setup = on_redis(setup(), &redis);
        setup.sections += &format!(
            "[[provider]]\nid = \"corp\"\nkind = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
             client_secret = \"{CLIENT_SECRET}\"\n",
            idp.issuer
        );
        setup.start()
    });
    let now = SystemClock.now().seconds();
    let token = |id: &str| {
        let header = json!({"alg": "ES256", "kid": "one", "typ": "logout+jwt"});
        let event = "http://schemas.openid.net/event/backchannel-logout";
        let claims = json!({
            "iss": idp.issuer, "aud": CLIENT_ID, "sub": "nobody", "iat": now, "exp": now + 120, "jti": id, "events": {event: {}},
        });
        idp.sign(&header, &claims)
    };
    let send = |gateway: &Gateway, token: &str| {
        let answer = gateway.send(&Request::new("POST", BACK).form(&[("logout_token", token)]));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.status
    };
    let (first, second) = (token("first"), token("second"));
    assert_eq!(
        (send(&one, &first), send(&two, &first), send(&one, &first)),
        (200, 400, 400)
    );
    assert_eq!((send(&two, &second), send(&one, &second)), (200, 400));
    let log = two.log();
    assert!(log.contains("came before"), "{log}");
    assert!(!log.contains(&first), "no token is logged");
}

#[test]
fn signing_out_at_keycloak_in_the_browser_ends_its_session_here_by_a_frame() {
    let (mut setup, keycloak) = (setup(), Keycloak::shared());
    let front = format!("http://{}/auth/oidc/corp/frontchannel-logout", setup.authority());
    let attributes = json!({"frontchannel.logout.url": front, "frontchannel.logout.session.required": "true"});
    keycloak.frontchannel_client("front-channel", &callback(&setup), &attributes);
    keycloak.person("fronter", Some("/ml-engineers"));
    setup.sections += &keycloak.provider("corp", "front-channel", "");
    setup.sections += &readers("corp:mlflow-engineers");
    let gateway = setup.start();
    let elsewhere = sign_in(&gateway, &mut Walker::default(), "fronter");
    let seen = travel(
        "sign_out_elsewhere",
        &json!({
            "url": gateway.url(), "label": "Keycloak", "user": "fronter", "password": "fronter-pw", "path": EXPERIMENT,
            "sign_out": format!("{}/protocol/openid-connect/logout", keycloak.issuer()),
        }),
    );
    assert_eq!((&seen["before"], &seen["after"]), (&json!(200), &json!(401)), "{seen}");
    assert_eq!(seen["frame"]["status"], 200, "{seen}");
    assert_eq!(seen["complaints"], json!([]), "{seen}");
    assert_eq!(status(&gateway, &elsewhere), 200, "another browser");
    let ended = ends(&gateway);
    assert_eq!(ended.len(), 1);
    assert_eq!(
        ended[0]["reason"]["text"],
        "The identity provider ended it, in the browser."
    );
}
