//! `[[provider]]` of kind "ldap".

use super::{Folder, MINIMAL, refused};
use crate::config::{Config, LdapProvider, LdapSchema, NestedGroups, Problem, ProviderKind};

const LEAST: &str = "url = \"ldaps://ldap.example.com\"\nuser_base = \"ou=people\"\ngroup_base = \"ou=groups\"\n";

fn load(keys: &str) -> Result<Config, Vec<Problem>> {
    let folder = Folder::new();
    folder.put("password", "secret\n");
    folder.load(&format!(
        "{MINIMAL}[[provider]]\nid = \"corp\"\nkind = \"ldap\"\n{keys}"
    ))
}

fn ldap(keys: &str) -> LdapProvider {
    match load(keys).unwrap().providers.remove(1).kind {
        ProviderKind::Ldap(ldap) => *ldap,
        _ => panic!("another kind"),
    }
}

#[test]
fn the_least_that_is_needed_gets_the_defaults_of_rfc2307bis() {
    let read = ldap(LEAST);
    assert_eq!(read.urls[0].to_string(), "ldaps://ldap.example.com:636");
    assert_eq!(
        (read.schema, read.nested_groups),
        (LdapSchema::Rfc2307bis, NestedGroups::Off)
    );
    assert_eq!(read.user_filter, "(&(objectClass=person)(uid={username}))");
    assert_eq!(
        (read.group_filter.as_str(), read.group_name.as_str()),
        ("(member={dn})", "cn")
    );
    assert!(read.bind.is_none() && read.user_dn.is_none() && !read.start_tls);
}

#[test]
fn every_preset_gives_filters_that_hold() {
    for schema in ["rfc2307", "rfc2307bis", "active-directory"] {
        let read = ldap(&format!("{LEAST}schema = \"{schema}\"\n"));
        let filled = |filter: &str| filter.replace("{username}", "x").replace("{dn}", "cn=x");
        for filter in [&read.user_filter, &read.group_filter] {
            assert!(ldap3::parse_filter(filled(filter)).is_ok(), "{schema} {filter}");
        }
        // What a preset says can be said.
        let said = format!(
            "{LEAST}user_filter = '{}'\ngroup_filter = '{}'\nuser_name = '{}'\n",
            read.user_filter, read.group_filter, read.user_name
        );
        assert_eq!(ldap(&said).user_filter, read.user_filter);
    }
}

#[test]
fn several_servers_may_be_named_and_plain_ones_on_this_machine() {
    let keys = LEAST.replace(
        "\"ldaps://ldap.example.com\"",
        "[\"ldap://127.0.0.1:1389\", \"ldap://[::1]\", \"ldap://localhost/\"]",
    );
    let urls: Vec<_> = ldap(&keys).urls.iter().map(ToString::to_string).collect();
    assert_eq!(
        urls,
        ["ldap://127.0.0.1:1389", "ldap://[::1]:389", "ldap://localhost:389"]
    );
}

#[test]
fn passwords_go_in_plain_text_nowhere_but_to_this_machine() {
    let plain = LEAST.replace("ldaps:", "ldap:");
    refused(load(&plain), "provider[1].url", "start_tls = true");
    assert!(ldap(&format!("{plain}start_tls = true\n")).start_tls);
    refused(
        load(&format!("{LEAST}start_tls = true\n")),
        "provider[1].start_tls",
        "ldaps",
    );
}

#[test]
fn an_address_that_is_none_is_refused() {
    for url in [
        "https://a",
        "ldap://",
        "ldaps://a/dc=x",
        "ldaps://u:p@a",
        "ldaps://a?x",
        "ldapi:///run/x",
        "a",
    ] {
        let keys = LEAST.replace("ldaps://ldap.example.com", url);
        assert!(load(&keys).is_err(), "{url}");
    }
    refused(
        load("user_base = \"a\"\ngroup_base = \"b\"\n"),
        "provider[1].url",
        "missing",
    );
    refused(
        load(&LEAST.replace("\"ldaps://ldap.example.com\"", "[]")),
        "provider[1].url",
        "empty",
    );
}

#[test]
fn an_account_needs_its_password_and_a_password_its_account() {
    let both = format!("{LEAST}bind_dn = \"cn=g\"\nbind_password_file = \"password\"\n");
    let (dn, password) = ldap(&both).bind.unwrap();
    assert_eq!((dn.as_str(), password.expose()), ("cn=g", "secret"));
    refused(
        load(&format!("{LEAST}bind_dn = \"cn=g\"\n")),
        "provider[1].bind_dn",
        "bind_password_file",
    );
    refused(
        load(&format!("{LEAST}bind_password = \"x\"\n")),
        "provider[1].bind_password_file",
        "bind_dn",
    );
}

#[test]
fn a_direct_bind_knows_where_people_stand() {
    let keys = LEAST.replace(
        "user_base = \"ou=people\"\n",
        "user_dn = \"uid={username},ou=staff,dc=x\"\n",
    );
    assert_eq!(ldap(&keys).user_base, "ou=staff,dc=x");
    for wrong in [
        "ou=people",
        "{username}@example.com",
        "uid={username},cn={username}",
        "uid={user},ou=x",
    ] {
        refused(
            load(&format!("{LEAST}user_dn = \"{wrong}\"\n")),
            "provider[1].user_dn",
            "",
        );
    }
}

#[test]
fn a_filter_that_is_none_or_asks_for_nobody_is_refused() {
    for filter in [
        "(uid=ann)",
        "uid={username}",
        "(&(uid={username})",
        "(uid={dn})",
        "(uid={username}{x})",
    ] {
        refused(
            load(&format!("{LEAST}user_filter = \"{filter}\"\n")),
            "provider[1].user_filter",
            "",
        );
    }
    refused(
        load(&format!("{LEAST}group_filter = \"(cn=x)\"\n")),
        "provider[1].group_filter",
        "{dn}",
    );
    refused(
        load(&format!("{LEAST}group_name = \"c n\"\n")),
        "provider[1].group_name",
        "attribute",
    );
}

#[test]
fn groups_in_groups_are_found_by_dn_alone() {
    for nested in ["recursive", "active-directory"] {
        let keys = format!("{LEAST}nested_groups = \"{nested}\"\n");
        assert!(load(&keys).is_ok());
        refused(
            load(&format!("{keys}schema = \"rfc2307\"\n")),
            "provider[1].nested_groups",
            "{dn}",
        );
    }
}

/// The TOML block of a page, without the page's indentation.
pub(super) fn block(page: &str) -> String {
    let text = std::fs::read_to_string(super::examples::tree(page)).unwrap();
    let block = text
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap()
        .to_owned();
    block.lines().map(|line| format!("{}\n", line.trim())).collect()
}

#[test]
fn what_the_pages_about_directories_say_loads() {
    let roots = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).unwrap();
    for page in ["docs/providers/openldap.md", "docs/providers/active-directory.md"] {
        let folder = Folder::new();
        folder.put("corp-ca.pem", roots.cert.pem());
        folder.put("ldap-password", "secret\n");
        folder.put("ad-password", "secret\n");
        let config = folder.load(&format!("{MINIMAL}{}", block(page))).unwrap();
        assert!(matches!(config.providers[1].kind, ProviderKind::Ldap(_)), "{page}");
    }
}
