//! The same browser, at every provider: a member of a nested group gets the role, a member of none the page that says so.

use serde_json::{Value, json};

use crate::ldap::{EXPERIMENT, readers};
use crate::support::ad::Domain;
use crate::support::browser::travel;
use crate::support::gateway::{PASSWORD, Setup};
use crate::support::keycloak::Keycloak;
use crate::support::ldap::Slapd;
use crate::support::mlflow::{Mlflow, NEWEST};

#[test]
fn one_browser_signs_in_everywhere_and_has_what_its_groups_give() {
    let (slapd, keycloak) = (Slapd::start(), Keycloak::shared());
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    let callback = format!("http://{}/auth/callback/keycloak", setup.authority());
    keycloak.oidc_client("every-provider", &callback, &json!({}));
    setup.sections += &[
        slapd.provider("openldap", "label = \"OpenLDAP\"\nnested_groups = \"recursive\""),
        Domain::shared().provider(
            "ad",
            "label = \"Active Directory\"\nnested_groups = \"active-directory\"",
        ),
        keycloak.provider("keycloak", "every-provider", ""),
        readers("openldap:ml-engineers"),
        readers("keycloak:mlflow-engineers"),
        readers("ad:ml-engineers"),
    ]
    .concat();
    let gateway = setup.start();
    let visit = |label: &str, user: &str, password: &str| -> Value {
        travel(
            "by_provider",
            &json!({"url": gateway.url(), "label": label, "user": user, "password": password, "path": EXPERIMENT}),
        )
    };
    for (label, member, stranger) in [
        ("Local", ("vera", PASSWORD), ("nina", PASSWORD)),
        ("OpenLDAP", ("alice", "alice-pw"), ("carol", "carol-pw")),
        ("Active Directory", ("alice", "alice-pw"), ("carol", "carol-pw")),
        // alice has the role through the group above hers.
        ("Keycloak", ("alice", "alice-pw"), ("carol", "carol-pw")),
    ] {
        let seen = visit(label, member.0, member.1);
        assert_eq!(seen["status"], 200, "{label}: {seen}");
        let seen = visit(label, stranger.0, stranger.1);
        assert_eq!(seen["status"], 403, "{label}: {seen}");
        let page = seen["page"].as_str().unwrap();
        assert!(page.contains("holds no role"), "{label}: {page}");
    }
}
