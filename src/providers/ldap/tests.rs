//! What the provider decides without a directory.

use super::*;
use crate::config::{LdapUrl, NestedGroups};

fn config(user_filter: &str) -> LdapProvider {
    LdapProvider {
        urls: vec![LdapUrl {
            tls: false,
            host: "127.0.0.1".to_owned(),
            port: 1,
        }],
        start_tls: false,
        ca_file: None,
        bind: None,
        schema: LdapSchema::Rfc2307bis,
        user_dn: None,
        user_base: "ou=people".to_owned(),
        user_filter: user_filter.to_owned(),
        user_name: "uid".to_owned(),
        group_base: "ou=groups".to_owned(),
        group_filter: "(member={dn})".to_owned(),
        group_name: "cn".to_owned(),
        nested_groups: NestedGroups::Off,
    }
}

#[test]
fn empty_and_nul_passwords_and_names_are_asked_nobody() {
    let ask = |user: &str, password: &str| may_be_asked(user, &Secret::new(password));
    for (user, password) in [
        ("ann", ""),
        ("ann", "a\0b"),
        ("ann", "\0"),
        ("", "pw"),
        (" ", "pw"),
        ("a\0nn", "pw"),
        ("a\nb", "pw"),
    ] {
        assert!(!ask(user, password), "{user:?} {password:?}");
    }
    assert!(!ask(&"x".repeat(257), "pw"));
    assert!(ask("ann", "pw") && ask("we,ird(*)", " "));
}

#[tokio::test]
async fn a_refusal_takes_as_long_without_the_directory_as_with_it() {
    let ldap = Ldap::new("corp", config("(uid={username})"), Arc::new(crate::domain::SystemClock)).unwrap();
    let begun = Instant::now();
    let answer = ldap.sign_in("a\0nn", &Secret::new("pw")).await;
    assert!(matches!(answer, Err(ProviderError::BadPassword)));
    assert!(begun.elapsed() >= WRONG);
    // The control would be asked, and nobody is there to answer.
    let answer = ldap.sign_in("ann", &Secret::new("pw")).await;
    assert!(matches!(answer, Err(ProviderError::Unavailable(_))));
}

#[test]
fn guesses_are_counted_for_one_person_whatever_the_spelling() {
    let one = config("(uid={username})");
    for typed in ["ann bee", " Ann  BEE ", "ＡＮＮ bee"] {
        assert_eq!(canonical(&one, typed), "ann bee");
    }
    assert_eq!(canonical(&one, "ann@a.test"), "ann@a.test");
    let several = config("(|(sAMAccountName={username})(userPrincipalName={username}))");
    assert_eq!(canonical(&several, "Ann@ad.example.test"), canonical(&several, "ann"));
    assert_eq!(canonical(&several, "@x"), "@x");
}

#[test]
fn whom_a_directory_finds_by_another_spelling_is_not_meant() {
    let config = config("(|(sAMAccountName={username})(userPrincipalName={username}))");
    let person = Entry::of(
        "cn=jose",
        &[("sAMAccountName", &["jose"]), ("userPrincipalName", &["jose@ad.test"])],
    );
    for typed in ["jose", " JOSE ", "Jose@ad.test"] {
        assert!(is_named(&config, &person, typed), "{typed}");
    }
    for typed in ["josé", "jo\u{ad}se", "josef"] {
        assert!(!is_named(&config, &person, typed), "{typed}");
    }
}

#[test]
fn the_user_name_is_the_directorys() {
    let config = config("(uid={username})");
    let named = |dn: &str, names: &[&str]| user_name(&config, &Entry::of(dn, &[("uid", names)])).ok();
    assert_eq!(named("UID=Zoe,ou=people", &["adam", "Zoe"]).as_deref(), Some("Zoe"));
    assert_eq!(named("cn=x,ou=people", &["zoe", "adam"]).as_deref(), Some("adam"));
    assert_eq!(named("cn=x", &[]), None);
    assert_eq!(named("cn=x", &["a\nb"]), None);
}

#[test]
fn a_subject_is_the_unique_id_and_is_found_by_it() {
    let uuid = "0C0A0E1E-9F4B-103E-8B3C-6D6F0E4F1A2B";
    let person = Entry::of("uid=ann,ou=people", &[("entryUUID", &[uuid])]);
    let subject = subject_of(LdapSchema::Rfc2307bis, &person);
    assert_eq!(subject, uuid.to_lowercase());
    assert_eq!(
        by_subject(LdapSchema::Rfc2307bis, &subject).unwrap(),
        format!("(entryUUID={subject})")
    );
    let without = Entry::of("uid=ann,ou=people", &[]);
    assert_eq!(subject_of(LdapSchema::Rfc2307bis, &without), "uid=ann,ou=people");
    assert!(by_subject(LdapSchema::Rfc2307bis, "uid=ann,ou=people").is_none());
}
