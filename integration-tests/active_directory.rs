//! Signing in by a real Active Directory domain (Samba): groups in groups, the primary group, account states, rechecks.

use std::time::Duration;

use crate::ldap::{last, readers, sign_in, start, status};
use crate::support::ad::Domain;
use crate::support::gateway::Setup;
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::process::until;

#[test]
fn a_member_of_a_nested_group_has_its_role_however_the_groups_are_followed() {
    let domain = Domain::shared();
    let providers = [
        domain.provider("chain", "nested_groups = \"active-directory\""),
        domain.provider("walk", "nested_groups = \"recursive\""),
        domain.provider("flat", ""),
        readers("chain:ml-engineers"),
        readers("walk:ml-engineers"),
        readers("flat:ml-engineers"),
    ];
    let gateway = start(&providers.concat(), "");
    for (provider, expected) in [("chain", 200), ("walk", 200), ("flat", 403)] {
        for name in ["alice", "Alice@ad.example.test"] {
            let alice = sign_in(&gateway, provider, name, "alice-pw");
            assert_eq!(status(&gateway, &alice), expected, "{provider} {name}");
        }
        assert_eq!(
            status(&gateway, &sign_in(&gateway, provider, "bob", "bob-pw")),
            200,
            "{provider}"
        );
        assert_eq!(
            status(&gateway, &sign_in(&gateway, provider, "carol", "carol-pw")),
            403,
            "{provider}"
        );
        let carol = last(&gateway);
        assert_eq!(carol["actor"]["user"], "carol");
        let groups = carol["actor"]["groups"].as_array().unwrap();
        assert!(groups.contains(&"Domain Users".into()), "the primary group: {groups:?}");
    }
}

#[test]
fn account_states_refuse_and_the_log_alone_tells_which() {
    let domain = Domain::shared();
    let gateway = start(&domain.provider("corp", ""), "");
    for (user, state) in [
        ("disabled", "disabled"),
        ("expired", "account expired"),
        ("mustchange", "password must be changed"),
    ] {
        let page = gateway.sign_in_at("corp", user, &format!("{user}-pw")).unwrap_err();
        assert_eq!(page.status, 403, "{user}: {}", gateway.log());
        assert!(
            gateway.log().contains(&format!("\"state\":\"{state}\"")),
            "{user}: {}",
            gateway.log()
        );
        assert_eq!(
            gateway.sign_in_at("corp", user, "wrong").unwrap_err().status,
            401,
            "{user}"
        );
    }
    for password in ["wrong", "wrong", "wrong", "locky-pw"] {
        assert_eq!(
            gateway.sign_in_at("corp", "locky", password).unwrap_err().status,
            401,
            "{password}"
        );
    }
    assert!(gateway.log().contains("\"state\":\"locked\""), "{}", gateway.log());
    for (user, password) in [
        ("carol", ""),
        ("carol", "\0"),
        ("*", "carol-pw"),
        ("car*", "carol-pw"),
        ("nobody", "carol-pw"),
    ] {
        assert_eq!(
            gateway.sign_in_at("corp", user, password).unwrap_err().status,
            401,
            "{user} {password:?}"
        );
    }
    sign_in(&gateway, "corp", "carol", "carol-pw");
}

#[test]
fn who_leaves_a_group_loses_the_role_and_who_is_disabled_the_session() {
    let domain = Domain::shared();
    let provider = domain.provider("corp", "nested_groups = \"active-directory\"");
    let gateway = start(
        &format!("{provider}{}", readers("corp:ml-engineers")),
        "recheck = \"3s\"",
    );
    let leaver = sign_in(&gateway, "corp", "leaver", "leaver-pw");
    let alice = sign_in(&gateway, "corp", "alice", "alice-pw");
    assert_eq!((status(&gateway, &leaver), status(&gateway, &alice)), (200, 200));
    domain.change("db.add_remove_group_members('ml-admins', ['leaver'], add_members_operation=False)");
    until("the role is gone", Duration::from_secs(30), || {
        status(&gateway, &leaver) == 403
    });
    domain.change("mod('CN=leaver,CN=Users,' + base, userAccountControl='514')");
    until("the session is gone", Duration::from_secs(30), || {
        status(&gateway, &leaver) == 401
    });
    assert_eq!(status(&gateway, &alice), 200, "the control stays");
}

#[test]
fn the_check_finds_that_the_domain_follows_groups_itself() {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.sections = Domain::shared().provider("corp", "nested_groups = \"active-directory\"");
    let config = setup.write();
    let mut check = crate::support::gateway::binary();
    let said = check
        .args(["check", "--connect", "--config"])
        .arg(config)
        .output()
        .unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
}
