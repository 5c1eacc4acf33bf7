//! Signing in by a real OpenLDAP directory: nested groups, rechecks, many ways to bind.

use std::time::Duration;

use crate::support::gateway::{Gateway, Setup};
use crate::support::http::Request;
use crate::support::ldap::{BASE, Slapd};
use crate::support::mlflow::{Mlflow, NEWEST};
use crate::support::process::until;

pub const ME: &str = "/ajax-api/2.0/mlflow/users/current";
pub const EXPERIMENT: &str = "/api/2.0/mlflow/experiments/get?experiment_id=0";

/// A role that reads experiments, for a group.
pub fn readers(group: &str) -> String {
    format!(
        "[[role]]\nname = \"readers-{}\"\ngroups = [\"{group}\"]\ngrants = [{{ permission = \"READ\", experiments = [\"*\"] }}]\n",
        group.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    )
}

pub fn start(sections: &str, session: &str) -> Gateway {
    let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
    setup.sections += sections;
    session.clone_into(&mut setup.session);
    setup.start()
}

#[track_caller]
pub fn sign_in(gateway: &Gateway, provider: &str, user: &str, password: &str) -> String {
    gateway.sign_in_at(provider, user, password).unwrap_or_else(|refused| {
        panic!(
            "{user} cannot sign in: {} {}\n{}",
            refused.status,
            refused.text(),
            gateway.log()
        )
    })
}

pub fn status(gateway: &Gateway, cookie: &str) -> u16 {
    gateway.send(&Request::get(EXPERIMENT).header("Cookie", cookie)).status
}

fn user_name(gateway: &Gateway, cookie: &str) -> String {
    let me = gateway.send(&Request::get(ME).header("Cookie", cookie)).json();
    me["user"]["username"].as_str().unwrap_or_default().to_owned()
}

/// The event of the last sign-in.
pub fn last(gateway: &Gateway) -> serde_json::Value {
    let events = gateway.events();
    let started = events.iter().rev().find(|event| event["action"] == "session.start");
    started.unwrap().clone()
}

fn groups_of_last(gateway: &Gateway) -> Vec<String> {
    let groups = last(gateway)["actor"]["groups"].as_array().unwrap().clone();
    groups.iter().map(|group| group.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_member_of_a_nested_group_has_its_role_and_a_member_of_none_is_told_so() {
    let slapd = Slapd::start();
    let nested = slapd.provider("corp", "nested_groups = \"recursive\"");
    let gateway = start(&format!("{nested}{}", readers("corp:ml-engineers")), "");
    let alice = sign_in(&gateway, "corp", " ALICE ", "alice-pw");
    assert_eq!(groups_of_last(&gateway), ["ml-admins", "ml-engineers", "platform"]);
    assert_eq!(status(&gateway, &alice), 200);
    assert_eq!(user_name(&gateway, &alice), "alice", "as the directory spells it");
    let bob = sign_in(&gateway, "corp", "bob", "bob-pw");
    assert_eq!(
        groups_of_last(&gateway),
        ["loop-a", "loop-b", "ml-engineers"],
        "circles end"
    );
    assert_eq!(status(&gateway, &bob), 200);
    let carol = sign_in(&gateway, "corp", "carol", "carol-pw");
    assert_eq!(status(&gateway, &carol), 403);
    let page = gateway.send(&Request::get("/").navigation().header("Cookie", &carol));
    assert_eq!(page.status, 403);
    assert!(page.text().contains("role"), "{}", page.text());
}

#[test]
fn without_nesting_only_the_groups_themselves_count() {
    let slapd = Slapd::start();
    let gateway = start(
        &format!("{}{}", slapd.provider("corp", ""), readers("corp:ml-engineers")),
        "",
    );
    let alice = sign_in(&gateway, "corp", "alice", "alice-pw");
    assert_eq!(groups_of_last(&gateway), ["ml-admins"]);
    assert_eq!(status(&gateway, &alice), 403);
    assert_eq!(status(&gateway, &sign_in(&gateway, "corp", "bob", "bob-pw")), 200);
}

#[test]
fn who_leaves_a_group_loses_the_role_and_who_is_barred_the_session() {
    let slapd = Slapd::start();
    let provider = slapd.provider("corp", "nested_groups = \"recursive\"");
    let gateway = start(
        &format!("{provider}{}", readers("corp:ml-engineers")),
        "recheck = \"3s\"",
    );
    let alice = sign_in(&gateway, "corp", "alice", "alice-pw");
    let weird = sign_in(&gateway, "corp", "we,ird(*)", "weird-pw");
    let bob = sign_in(&gateway, "corp", "bob", "bob-pw");
    let carol = sign_in(&gateway, "corp", "carol", "carol-pw");
    assert_eq!(
        [&alice, &weird, &bob, &carol].map(|cookie| status(&gateway, cookie)),
        [200, 200, 200, 403]
    );
    slapd.modify(&format!(
        "dn: cn=ml-admins,ou=groups,{BASE}\nchangetype: modify\ndelete: member\nmember: uid=alice,ou=people,{BASE}\n\n\
         dn: uid=carol,ou=people,{BASE}\nchangetype: delete\n"
    ));
    until("alice's role is gone", Duration::from_secs(20), || {
        status(&gateway, &alice) == 403
    });
    until("carol's session is gone", Duration::from_secs(20), || {
        status(&gateway, &carol) == 401
    });
    slapd.modify(&format!(
        "dn: uid=alice,ou=people,{BASE}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"
    ));
    until("alice's session is gone", Duration::from_secs(20), || {
        status(&gateway, &alice) == 401
    });
    assert_eq!(
        [&weird, &bob].map(|cookie| status(&gateway, cookie)),
        [200, 200],
        "the controls stay"
    );
    let ended: Vec<_> = gateway
        .events()
        .into_iter()
        .filter(|event| event["action"] == "session.end")
        .collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|event| event["reason"]["code"] == "account_refused"));
}

#[test]
fn a_new_person_under_an_old_name_gets_no_old_session() {
    let slapd = Slapd::start();
    let gateway = start(
        &format!("{}{}", slapd.provider("corp", ""), readers("corp:ml-engineers")),
        "recheck = \"3s\"",
    );
    let bob = sign_in(&gateway, "corp", "bob", "bob-pw");
    assert_eq!(status(&gateway, &bob), 200);
    slapd.modify(&format!(
        "dn: uid=bob,ou=people,{BASE}\nchangetype: delete\n\n\
         dn: uid=bob,ou=people,{BASE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: bob\ncn: Another\nsn: Bob\nuserPassword: another-pw\n"
    ));
    until("the old session is gone", Duration::from_secs(20), || {
        status(&gateway, &bob) == 401
    });
    assert_eq!(
        status(&gateway, &sign_in(&gateway, "corp", "bob", "another-pw")),
        200,
        "the new bob has his own"
    );
}

#[test]
fn who_moves_or_is_renamed_stays_who_they_are() {
    let slapd = Slapd::start();
    let provider = slapd.provider("corp", &format!("user_base = \"{BASE}\""));
    let gateway = start(&format!("{provider}{}", readers("corp:many-1")), "recheck = \"3s\"");
    let dora = sign_in(&gateway, "corp", "dora", "dora-pw");
    slapd.modify(&format!(
        "dn: uid=dora,ou=people,{BASE}\nchangetype: modrdn\nnewrdn: uid=dora-b\ndeleteoldrdn: 1\nnewsuperior: ou=services,{BASE}\n\n\
         dn: cn=many-1,ou=groups,{BASE}\nchangetype: modify\nreplace: member\nmember: uid=dora-b,ou=services,{BASE}\n"
    ));
    until("the new name is known", Duration::from_secs(20), || {
        user_name(&gateway, &dora) == "dora-b"
    });
    assert_eq!(status(&gateway, &dora), 200);
}

#[test]
fn a_directory_that_is_away_ends_no_session_and_is_found_again() {
    let mut slapd = Slapd::start();
    let gateway = start(
        &format!("{}{}", slapd.provider("corp", ""), readers("corp:ml-engineers")),
        "recheck = \"2s\"",
    );
    let bob = sign_in(&gateway, "corp", "bob", "bob-pw");
    slapd.stop();
    let tried = || gateway.log().matches("a recheck got no answer").count();
    until("a recheck fails", Duration::from_secs(30), || {
        assert_eq!(status(&gateway, &bob), 200, "within outage_grace");
        tried() >= 1
    });
    slapd.run();
    slapd.modify(&format!("dn: uid=bob,ou=people,{BASE}\nchangetype: delete\n"));
    // A recheck that got no answer is not tried again for half a minute.
    until("the directory's word counts again", Duration::from_secs(60), || {
        status(&gateway, &bob) == 401
    });
    sign_in(&gateway, "corp", "alice", "alice-pw");
}

#[test]
fn all_groups_come_over_however_many() {
    let slapd = Slapd::start();
    let gateway = start(&slapd.provider("corp", ""), "");
    sign_in(&gateway, "corp", "dora", "dora-pw");
    assert_eq!(
        groups_of_last(&gateway).len(),
        120,
        "the directory gives 50 to who does not page"
    );
}

#[test]
fn there_are_many_ways_to_ask_the_same_directory() {
    let slapd = Slapd::start();
    let dead = crate::support::free_port();
    let start_tls = format!("\"ldap://localhost:{}\"", slapd.port);
    let second = format!(
        "[\"ldaps://localhost:{dead}\", \"ldaps://localhost:{}\"]",
        slapd.tls_port
    );
    let direct = format!("user_dn = \"uid={{username}},ou=people,{BASE}\"\nnested_groups = \"recursive\"");
    let providers = [
        slapd.provider_at("tls-later", &start_tls, "start_tls = true"),
        slapd.provider_at("second", &second, ""),
        slapd.provider("direct", &direct),
        slapd.provider("unix", "schema = \"rfc2307\"\nuser_filter = \"(uid={username})\""),
        slapd.provider("by-mail", "user_filter = \"(mail={username})\"\ngroup_name = \"dn\""),
        slapd.provider(
            "members",
            &format!("user_filter = \"(&(uid={{username}})(memberOf=cn=ml-engineers,ou=groups,{BASE}))\""),
        ),
    ];
    let gateway = start(&providers.concat(), "");
    for (provider, user, groups) in [
        ("tls-later", "alice", &["ml-admins"][..]),
        ("second", "alice", &["ml-admins"]),
        ("direct", "alice", &["ml-admins", "ml-engineers", "platform"]),
        ("unix", "alice", &["unix"]),
        (
            "by-mail",
            "alice@example.test",
            &["cn=ml-admins,ou=groups,dc=example,dc=test"],
        ),
        ("members", "alice", &["ml-admins"]),
    ] {
        sign_in(&gateway, provider, user, "alice-pw");
        assert_eq!(groups_of_last(&gateway), groups, "{provider}");
        assert_eq!(last(&gateway)["actor"]["user"], "alice", "{provider}");
    }
    for provider in ["direct", "tls-later"] {
        sign_in(&gateway, provider, "we,ird(*)", "weird-pw");
        assert_eq!(last(&gateway)["actor"]["user"], "we,ird(*)");
    }
    assert_eq!(
        gateway.sign_in_at("members", "carol", "carol-pw").unwrap_err().status,
        401,
        "not one of them"
    );
}

#[test]
fn an_operators_token_for_somebody_in_the_directory_has_their_rights() {
    let slapd = Slapd::start();
    let gateway = start(
        &format!("{}{}", slapd.provider("corp", ""), readers("corp:ml-engineers")),
        "recheck = \"3s\"",
    );
    let create = |user: &str| {
        gateway.mlgate(&[
            "tokens",
            "create",
            "--user",
            user,
            "--provider",
            "corp",
            "--name",
            "ci",
            "--lifetime",
            "1h",
        ])
    };
    assert!(!create("nobody").status.success());
    let made = create("BOB");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = format!("Bearer {}", String::from_utf8(made.stdout).unwrap().trim());
    let status = || {
        gateway
            .send(&Request::get(EXPERIMENT).header("Authorization", &token))
            .status
    };
    assert_eq!(status(), 200);
    slapd.modify(&format!("dn: uid=bob,ou=people,{BASE}\nchangetype: delete\n"));
    until("the token is gone", Duration::from_secs(20), || status() == 401);
}

#[test]
fn the_check_tries_the_account_the_bases_and_the_rule() {
    let slapd = Slapd::start();
    for (more, key) in [
        ("nested_groups = \"recursive\"", None),
        ("nested_groups = \"active-directory\"", Some("nested_groups")),
        ("bind_password = \"wrong\"", Some("bind_dn")),
        ("user_base = \"ou=nobody,dc=example,dc=test\"", Some("user_base")),
        ("group_base = \"ou=none,dc=example,dc=test\"", Some("group_base")),
    ] {
        let mut setup = Setup::new(&Mlflow::shared(NEWEST).url());
        setup.sections = slapd.provider("corp", more);
        let config = setup.write();
        let mut check = crate::support::gateway::binary();
        let said = check
            .args(["check", "--connect", "--json", "--config"])
            .arg(config)
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
        match key {
            None => assert_eq!(said["ok"], true, "{said}"),
            Some(key) => assert_eq!(said["problems"][0]["key"], format!("provider[1].{key}"), "{said}"),
        }
        assert!(!said.to_string().contains("gateway-pw"));
    }
}
