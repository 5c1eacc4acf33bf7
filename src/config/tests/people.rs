//! Providers, users and roles: who may vouch, who is known, who may.

use super::{Folder, HASH, MINIMAL, instead, refused, with};
use crate::config::ProviderKind;
use crate::domain::{Kind, Permission};

#[test]
fn mlflows_own_roles_need_an_administrator_of_mlflows() {
    let url = "url = \"http://127.0.0.1:5000\"";
    let upstream = |rest: &str| instead(url, &format!("{url}\nauthorization = \"mlflow\"\n{rest}"));
    refused(upstream(""), "upstream[0].basic_auth_user", "is missing");
    let config = upstream("basic_auth_user = \"gate\"\nbasic_auth_password = \"word\"").unwrap();
    assert!(config.upstreams[0].mlflow_roles);
    assert!(!with("").unwrap().upstreams[0].mlflow_roles);
}

#[test]
fn a_protected_alias_names_models_and_what_is_protected() {
    let line = |rest: &str| with(&format!("[[protected_alias]]\n{rest}\n"));
    let config = line("registered_models = [\"a-*\"]\naliases = [\"production\"]\nstages = [\"production\"]").unwrap();
    let line_read = &config.upstreams[0].protected_aliases[0];
    assert!(line_read.registered_models[0].matches("a-b") && !line_read.registered_models[0].matches("b"));
    assert_eq!(
        (&*line_read.aliases[0], &*line_read.stages[0]),
        ("production", "Production")
    );
    assert_eq!(line_read.permission, Permission::Manage);
    let key = |name: &str| format!("protected_alias[0].{name}");
    refused(line("aliases = [\"x\"]"), &key("registered_models"), "is missing");
    refused(line("registered_models = [\"*\"]"), &key("aliases"), "is missing");
    let rest = |rest: &str| line(&format!("registered_models = [\"*\"]\n{rest}"));
    refused(rest("aliases = [\"a*\"]"), &key("aliases[0]"), "whole alias");
    refused(rest("stages = [\"Live\"]"), &key("stages[0]"), "Staging");
    refused(
        rest("aliases = [\"x\"]\npermission = \"EDIT\""),
        &key("permission"),
        "MANAGE",
    );
}

#[test]
fn a_role_names_what_is_there() {
    let role = |rest: &str| with(&format!("[[role]]\nname = \"team\"\n{rest}\n"));
    let config = role("groups = [\"local:team\", \"*:ml: x\"]\nusers = [\"local:ann\"]\nupstreams = [\"mlflow\"]\ngrants = [\n{ permission = \"EDIT\", experiments = [\"fraud/*\"], registered_models = [\"id:7\"] },\n{ permission = \"DENY\", experiments = [\"x\"] },\n{ permission = \"READ\", server = true },\n]").unwrap();
    let grants = &config.roles[0].grants;
    assert_eq!(grants[0].permission, Some(Permission::Edit));
    assert_eq!(grants[0].patterns[1], (Kind::RegisteredModel, vec!["id:7".to_owned()]));
    assert_eq!(grants[1].permission, None);
    assert_eq!(grants[2].patterns, [(Kind::Server, vec!["*".to_owned()])]);
    refused(
        role("groups = [\"okta:x\"]"),
        "role[0].groups[0]",
        "there are only: local",
    );
    refused(role("groups = [\"team\"]"), "role[0].groups[0]", "provider:group");
    refused(role("groups = [\"local:\"]"), "role[0].groups[0]", "provider:group");
    refused(role("users = [\"*:ann\"]"), "role[0].users[0]", "there are only");
    refused(
        role("upstreams = [\"prod\"]"),
        "role[0].upstreams[0]",
        "there are only: mlflow",
    );
    let grant = |grant: &str| role(&format!("grants = [{{ {grant} }}]"));
    refused(
        grant("permission = \"edit\", experiments = [\"x\"]"),
        "role[0].grants[0].permission",
        "\"EDIT\"",
    );
    refused(
        grant("permission = \"EDIT\""),
        "role[0].grants[0].permission",
        "on nothing",
    );
    refused(
        grant("experiments = [\"x\"]"),
        "role[0].grants[0].permission",
        "is missing",
    );
    refused(
        grant("permission = \"EDIT\", experiment = [\"x\"]"),
        "role[0].grants[0].experiment",
        "did you mean `experiments`",
    );
    refused(
        grant("permission = \"EDIT\", experiments = []"),
        "role[0].grants[0].experiments",
        "grants nothing",
    );
    refused(
        grant("permission = \"EDIT\", experiments = [\"id:\"]"),
        "role[0].grants[0].experiments[0]",
        "no id",
    );
    refused(
        grant("permission = \"EDIT\", experiments = true"),
        "role[0].grants[0].experiments",
        "list",
    );
    refused(
        grant("permission = \"EDIT\", server = false"),
        "role[0].grants[0].server",
        "list",
    );
    refused(role("[[role]]\nname = \"team\""), "role[1].name", "another role");
}

#[test]
fn a_built_in_role_only_says_who_has_it() {
    for name in ["viewer", "editor", "manager", "admin"] {
        assert!(with(&format!("[[role]]\nname = \"{name}\"\ngroups = [\"local:x\"]\n")).is_ok());
        let found = with(&format!(
            "[[role]]\nname = \"{name}\"\ngrants = [{{ permission = \"READ\", experiments = [\"*\"] }}]\n"
        ));
        refused(found, "role[0].grants", "built-in");
    }
}

#[test]
fn provider_ids_are_unique_and_speakable() {
    let second = "[[provider]]\nid = \"local\"\nkind = \"local\"\nusers_file = \"users.toml\"\n";
    refused(with(second), "provider[1].id", "another provider");
    refused(instead("id = \"local\"", "id = \"a:b\""), "provider[0].id", "a-z");
    refused(
        instead("id = \"local\"", "id = \"client\""),
        "provider[0].id",
        "reserved",
    );
    refused(
        instead("kind = \"local\"", "kind = \"kerberos\""),
        "provider[0].kind",
        "must be \"local\"",
    );
}

#[test]
fn an_issuer_is_kept_as_written_and_is_https() {
    let oidc = |rest: &str| {
        with(&format!(
            "[[provider]]\nid = \"idp\"\nkind = \"oidc\"\nclient_id = \"c\"\n{rest}\n"
        ))
    };
    let config = oidc("issuer = \"https://IDP.example.com/realms/x/\"\nhosted_domains = [\"Example.COM\"]\ngroups_claim = \"/realm_access/roles\"").unwrap();
    let ProviderKind::Oidc(found) = &config.providers[1].kind else {
        panic!("oidc")
    };
    assert_eq!(found.issuer, "https://IDP.example.com/realms/x/");
    assert_eq!(found.hosted_domains, ["example.com"]);
    assert_eq!(found.groups_claim, ["/realm_access/roles"]);
    assert_eq!(found.scopes, ["openid", "email", "profile"]);
    assert!(oidc("issuer = \"http://127.0.0.1:9000\"").is_ok());
    refused(
        oidc("issuer = \"http://idp.example.com\""),
        "provider[1].issuer",
        "https",
    );
    refused(oidc(""), "provider[1].issuer", "is missing");
    refused(
        oidc("issuer = \"https://a\"\nscopes = [\"email\"]"),
        "provider[1].scopes",
        "openid",
    );
    refused(
        oidc("issuer = \"https://a\"\ngroups_claim = [\"groups\"]"),
        "provider[1].groups_claim[0]",
        "pointer",
    );
}

#[test]
fn a_broken_users_file_is_named_with_its_own_lines() {
    let folder = Folder::new();
    let file = folder.put(
        "users.toml",
        "[[user]]\nname = \"ann\"\npassword_hash = \"hunter2\"\n[[user]]\nname = \"Ann\"\nadmin = true\n",
    );
    let problems = folder.load(MINIMAL).unwrap_err();
    let told: Vec<_> = problems
        .iter()
        .map(|problem| (problem.key.as_str(), problem.line))
        .collect();
    assert_eq!(
        told,
        [
            ("user[0].password_hash", Some(3)),
            ("user[1].password_hash", Some(4)),
            ("user[1].name", Some(5)),
            ("user[1].admin", Some(6))
        ]
    );
    assert!(problems.iter().all(|problem| problem.file.as_deref() == Some(&file)));
    assert!(!format!("{problems:?}").contains("hunter2"));
    for hash in [
        HASH.replace("argon2id", "argon2i"),
        HASH.replace("m=19456", "m=99999999"),
        "$argon2id$v=19$m=19456,t=2,p=1".into(),
    ] {
        folder.put(
            "users.toml",
            format!("[[user]]\nname = \"ann\"\npassword_hash = \"{hash}\"\n"),
        );
        refused(folder.load(MINIMAL), "user[0].password_hash", "mlgate hash-password");
    }
}
