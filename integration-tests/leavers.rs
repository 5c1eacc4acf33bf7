//! Who leaves a group loses its role, and who is barred the session, without signing out: at Keycloak and in the users file.
//! For directories `ldap.rs` and `active_directory.rs` show the same.

use std::time::Duration;

use serde_json::json;

use crate::ldap::{readers, status};
use crate::login_oidc::{callback, sign_in};
use crate::support::gateway::{PASSWORD, Setup, users_toml};
use crate::support::keycloak::Keycloak;
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::oidc::Walker;
use crate::support::process::until;

/// Well above `recheck`, for the machine may be busy.
const SOON: Duration = Duration::from_secs(20);

fn setup() -> Setup {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.session = "recheck = \"3s\"".to_owned();
    setup
}

#[test]
fn leaving_a_group_at_keycloak_takes_its_role_and_being_disabled_ends_the_session() {
    let (mut setup, keycloak) = (setup(), Keycloak::shared());
    keycloak.oidc_client("leavers", &callback(&setup), &json!({}));
    keycloak.person("leaver", Some("/ml-engineers/platform"));
    setup.sections += &keycloak.provider("corp", "leavers", "");
    setup.sections += &readers("corp:mlflow-engineers");
    let gateway = setup.start();
    let leaver = sign_in(&gateway, &mut Walker::default(), "leaver");
    let alice = sign_in(&gateway, &mut Walker::default(), "alice");
    assert_eq!((status(&gateway, &leaver), status(&gateway, &alice)), (200, 200));
    keycloak.remove_from_group("leaver", "/ml-engineers/platform");
    until("the role is gone", SOON, || status(&gateway, &leaver) == 403);
    keycloak.disable("leaver");
    until("the session is gone", SOON, || status(&gateway, &leaver) == 401);
    assert_eq!(status(&gateway, &alice), 200, "the control stays, over many rechecks");
    let ended: Vec<_> = gateway
        .events()
        .into_iter()
        .filter(|event| event["action"] == "session.end")
        .collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0]["actor"]["user"], "leaver");
    assert_eq!(ended[0]["reason"]["code"], "account_refused");
}

#[test]
fn leaving_a_group_in_the_users_file_takes_its_role_and_being_disabled_ends_the_session() {
    let gateway = setup().start();
    let ed = gateway.sign_in_with("ed", PASSWORD).unwrap();
    let vera = gateway.sign_in_with("vera", PASSWORD).unwrap();
    assert_eq!((status(&gateway, &ed), status(&gateway, &vera)), (200, 200));
    let write = |from: &str, to: &str| {
        let users = users_toml();
        assert!(users.contains(from));
        std::fs::write(gateway.setup.path("users.toml"), users.replace(from, to)).unwrap();
    };
    write("groups = [\"editors\"]", "groups = []");
    until("the role is gone", SOON, || status(&gateway, &ed) == 403);
    write("groups = [\"editors\"]", "groups = [\"editors\"]\ndisabled = true");
    until("the session is gone", SOON, || status(&gateway, &ed) == 401);
    assert_eq!(status(&gateway, &vera), 200, "the control stays");
}
