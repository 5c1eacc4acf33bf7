//! Signing in with real OpenID providers: the certified npm `oidc-provider`, and Keycloak.

use std::time::Duration;

use serde_json::json;

use crate::ldap::readers;
use crate::support::free_port;
use crate::support::gateway::{Gateway, Setup};
use crate::support::http::{Request, Response};
use crate::support::keycloak::Keycloak;
use crate::support::lying_provider::LyingProvider;
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::oidc::{OidcProvider, Walker};
use crate::support::process::until;

const ME: &str = "/ajax-api/2.0/mlflow/users/current";
const EXPERIMENT: &str = "/api/2.0/mlflow/experiments/get?experiment_id=0";

pub fn callback(setup: &Setup) -> String {
    format!("http://{}/auth/callback/corp", setup.authority())
}

fn provider(issuer: &str, scopes: &str) -> String {
    format!(
        "[[provider]]\nid = \"corp\"\nkind = \"oidc\"\nlabel = \"Corp\"\nissuer = \"{issuer}\"\nclient_id = \"gateway\"\n\
         client_secret = \"gateway-secret-0123456789abcdef\"\nscopes = [{scopes}]\nuser_claim = \"preferred_username\"\n\
         groups_claim = [\"/groups\"]\n\
         [[role]]\nname = \"corp-admins\"\ngroups = [\"corp:ml-admins\"]\ngrants = [{{ permission = \"MANAGE\", experiments = [\"*\"] }}]\n\
         [[role]]\nname = \"corp-readers\"\ngroups = [\"corp:ml-engineers\"]\ngrants = [{{ permission = \"READ\", experiments = [\"*\"] }}]\n"
    )
}

/// Signs in at the provider's form and comes back; the gateway's session cookie.
pub fn sign_in(gateway: &Gateway, walker: &mut Walker, user: &str) -> String {
    let form = walker.go(&format!("{}/auth/login/corp?rd=%2Fauth%2Faccount", gateway.url()));
    assert_eq!(form.status, 200, "{}", form.text());
    let page = form.text();
    let action = page
        .split("action=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default()
        .replace("&amp;", "&");
    let landed = walker.submit(&action, &[("username", user), ("password", &format!("{user}-pw"))]);
    assert_eq!(landed.status, 200, "{}", landed.text());
    assert_eq!(
        walker.at,
        (gateway.authority(), "/auth/account".to_owned()),
        "back to where they wanted to go"
    );
    walker.cookie(&gateway.authority(), "mlgate").expect("a session")
}

fn status(gateway: &Gateway, cookie: &str, target: &str) -> u16 {
    gateway.send(&Request::get(target).header("Cookie", cookie)).status
}

pub fn with_oidc_provider(scopes: &str, environment: &[(&str, &str)], session: &str) -> (OidcProvider, Gateway) {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.session = session.to_owned();
    let idp = OidcProvider::start_with(&callback(&setup), environment);
    setup.sections += &provider(&idp.issuer(), scopes);
    (idp, setup.start())
}

#[test]
fn a_person_signs_in_at_the_certified_provider_and_has_the_rights_of_their_groups() {
    let (_idp, gateway) = with_oidc_provider("\"openid\", \"profile\", \"email\", \"groups\"", &[], "");
    let cookie = sign_in(&gateway, &mut Walker::default(), "alice");
    let me = gateway.send(&Request::get(ME).header("Cookie", &cookie)).json();
    assert_eq!(me["user"]["username"], "alice");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 200);
    let nobody = sign_in(&gateway, &mut Walker::default(), "carol");
    assert_eq!(status(&gateway, &nobody, EXPERIMENT), 403, "carol is in no group");
    let started: Vec<_> = gateway
        .events()
        .into_iter()
        .filter(|event| event["action"] == "session.start")
        .collect();
    assert_eq!(started.len(), 2);
    assert_eq!(
        (&started[0]["actor"]["provider"], &started[0]["actor"]["user"]),
        (&json!("corp"), &json!("alice"))
    );
}

#[test]
fn groups_that_only_userinfo_tells_count_too() {
    let only = [("CLAIMS_ONLY_IN_USERINFO", "yes")];
    let (_idp, gateway) = with_oidc_provider("\"openid\", \"profile\", \"email\", \"groups\"", &only, "");
    let cookie = sign_in(&gateway, &mut Walker::default(), "alice");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 200);
}

#[test]
fn who_leaves_a_group_loses_the_role_and_who_is_gone_the_session() {
    let scopes = "\"openid\", \"profile\", \"email\", \"groups\", \"offline_access\"";
    let (idp, gateway) = with_oidc_provider(scopes, &[], "recheck = \"3s\"");
    let bob = sign_in(&gateway, &mut Walker::default(), "bob");
    let alice = sign_in(&gateway, &mut Walker::default(), "alice");
    assert_eq!(
        (status(&gateway, &bob, EXPERIMENT), status(&gateway, &alice, EXPERIMENT)),
        (200, 200)
    );
    idp.change(&json!({"name": "bob", "groups": []}));
    until("bob's role is gone", Duration::from_secs(20), || {
        status(&gateway, &bob, EXPERIMENT) == 403
    });
    idp.change(&json!({"name": "bob", "gone": true}));
    until("bob's session is gone", Duration::from_secs(20), || {
        status(&gateway, &bob, EXPERIMENT) == 401
    });
    assert_eq!(
        status(&gateway, &alice, EXPERIMENT),
        200,
        "the control stays, over many rechecks"
    );
}

#[test]
fn a_person_signs_in_at_keycloak_and_has_the_rights_of_their_groups() {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    let keycloak = Keycloak::shared();
    keycloak.oidc_client("signs-in", &callback(&setup), &json!({}));
    setup.sections += &keycloak.provider("corp", "signs-in", "");
    setup.sections += &readers("corp:ml-admins");
    let gateway = setup.start();
    let cookie = sign_in(&gateway, &mut Walker::default(), "alice");
    let me = gateway.send(&Request::get(ME).header("Cookie", &cookie)).json();
    assert_eq!(me["user"]["username"], "alice");
    assert_eq!(status(&gateway, &cookie, EXPERIMENT), 200);
}

#[test]
fn every_page_of_a_failed_sign_in_says_what_happened_and_names_its_request() {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.limits = "login_attempts = \"1/10m\"".to_owned();
    let idp = LyingProvider::start();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for (id, issuer) in [("corp", idp.issuer.as_str()), ("away", &nobody)] {
        setup.sections += &format!(
            "[[provider]]\nid = \"{id}\"\nkind = \"oidc\"\nlabel = \"Corp\"\nissuer = \"{issuer}\"\nclient_id = \"gateway\"\n"
        );
    }
    let gateway = setup.start();
    let check = |answer: &Response, status: u16, words: &str| {
        let page = answer.text();
        assert_eq!(answer.status, status, "{page}");
        assert!(page.contains(words), "{words}: {page}");
        let id = answer.header("x-request-id").unwrap();
        assert!(page.contains(&format!("Request <code>{id}</code>")), "{words}: {page}");
        id.to_owned()
    };
    // An answer of the provider, for an attempt that this browser began.
    let come_back = |answer: &str| {
        let departure = gateway.send(&Request::get("/auth/login/corp").navigation());
        let cookie = departure
            .header("set-cookie")
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let location = departure.header("location").unwrap();
        let state = location
            .split("state=")
            .nth(1)
            .and_then(|rest| rest.split('&').next())
            .unwrap();
        let callback = format!("/auth/callback/corp?{answer}&state={state}");
        gateway.send(&Request::get(&callback).navigation().header("Cookie", &cookie))
    };
    check(
        &come_back("error=access_denied"),
        403,
        "does not let this account go on",
    );
    let id = check(&come_back("code=c"), 403, "did not pass the gateway");
    let logged = gateway.log();
    let told = logged.lines().find(|line| line.contains(&id));
    assert!(
        told.is_some_and(|line| line.contains("nonce") || line.contains("ID token")),
        "the cause is in the log: {logged}"
    );
    let stale = gateway.send(&Request::get("/auth/callback/corp?code=c&state=s").navigation());
    check(&stale, 400, "begun too long ago");
    check(
        &gateway.send(&Request::get("/auth/login/none").navigation()),
        404,
        "no such way to sign in",
    );
    check(
        &gateway.send(&Request::get("/auth/login/away").navigation()),
        503,
        "Corp cannot be reached",
    );
    let wrong = gateway.sign_in_with("vera", "wrong").unwrap_err();
    check(&wrong, 401, "user name or the password is wrong");
    let slowed = gateway.sign_in_with("vera", "wrong").unwrap_err();
    check(&slowed, 429, "Too many sign-in attempts");
    let mut last = gateway.send(&Request::get("/auth/login/corp").navigation());
    for _ in 0..30 {
        if last.status == 429 {
            break;
        }
        last = gateway.send(&Request::get("/auth/login/corp").navigation());
    }
    check(&last, 429, "Too many sign-in attempts");
    assert!(last.header("retry-after").is_some());
}
