//! Filters and DNs with what was typed or found put in, so that it can mean nothing but itself (RFC 4515, 3; RFC 4514, 2.4).

use ldap3::{dn_escape, ldap_escape};

/// LDAP_MATCHING_RULE_IN_CHAIN: the directory itself follows groups in groups.
const IN_CHAIN: &str = ":1.2.840.113556.1.4.1941:={dn}";

/// A user filter for one name.
pub(super) fn of_user(template: &str, name: &str) -> String {
    template.replace("{username}", &ldap_escape(name))
}

/// A user filter that any name passes: what else it demands of a person still holds.
pub(super) fn of_any_user(template: &str) -> String {
    template.replace("{username}", "*")
}

/// The attributes that a user filter compares a whole name with; none where it does anything else with it.
pub(super) fn naming(template: &str) -> Vec<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let parts: Vec<_> = template.split("{username}").collect();
    let found: Option<Vec<_>> = parts
        .windows(2)
        .map(|around| {
            let (_, attribute) = around[0].strip_suffix('=')?.rsplit_once('(')?;
            (around[1].starts_with(')') && attribute.chars().all(plain)).then_some(attribute)
        })
        .collect();
    found.unwrap_or_default()
}

/// A group filter for one member.
pub(super) fn of_member(template: &str, dn: &str, name: &str) -> String {
    // In one pass: a name that reads `{dn}` is a name.
    let (dn, name) = (ldap_escape(dn), ldap_escape(name));
    template
        .split("{dn}")
        .map(|part| part.replace("{username}", &name))
        .collect::<Vec<_>>()
        .join(&dn)
}

/// A group filter for any of several groups as members.
pub(super) fn of_members(template: &str, dns: &[String]) -> String {
    // A group has no user name: whatever is found by one is found by none.
    let each = dns.iter().map(|dn| of_member(template, dn, "\0"));
    format!("(|{})", each.collect::<String>())
}

/// The same group filter, for membership over any number of groups.
pub(super) fn in_chain(template: &str) -> String {
    template.replace("={dn}", IN_CHAIN)
}

/// `(name=bytes)`, each byte escaped.
pub(super) fn of_bytes(name: &str, bytes: &[u8]) -> String {
    let value: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("({name}={value})")
}

pub(super) fn both(one: &str, other: &str) -> String {
    format!("(&{one}{other})")
}

pub(super) fn dn(template: &str, name: &str) -> String {
    template.replace("{username}", &dn_escape(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 8] = ["*", "a*", ")(uid=*", "a)(|(uid=*))", "\\2a", "(", "a\0b", "&(|"];

    #[test]
    fn whatever_is_typed_is_a_value_and_no_filter() {
        for name in HOSTILE {
            let filter = of_user("(&(objectClass=person)(uid={username}))", name);
            let inside = filter
                .strip_prefix("(&(objectClass=person)(uid=")
                .and_then(|rest| rest.strip_suffix("))"))
                .unwrap();
            assert!(!inside.contains(['*', '(', ')', '\0']), "{filter}");
            assert!(ldap3::parse_filter(&filter).is_ok(), "{filter}");
        }
        assert_eq!(of_user("(uid={username})", "we,ird(*)"), r"(uid=we,ird\28\2a\29)");
        assert_eq!(of_user("(uid={username})", r"\2a"), r"(uid=\5c2a)");
    }

    #[test]
    fn whatever_is_typed_stays_in_its_part_of_a_dn() {
        let template = "uid={username},ou=people,dc=example";
        assert_eq!(dn(template, "ann"), "uid=ann,ou=people,dc=example");
        assert_eq!(
            dn(template, "admin,ou=services"),
            r"uid=admin\2cou\3dservices,ou=people,dc=example"
        );
        for (typed, escaped) in [
            ("#a", r"\23a"),
            (" a ", r"\20a\20"),
            ("a+b=c", r"a\2bb\3dc"),
            ("\"<>;\\", r"\22\3c\3e\3b\5c"),
        ] {
            assert_eq!(dn("{username}", typed), escaped);
        }
    }

    #[test]
    fn a_member_is_put_in_once() {
        let template = "(|(member={dn})(memberUid={username}))";
        assert_eq!(
            of_member(template, "cn=a*", "{dn}"),
            r"(|(member=cn=a\2a)(memberUid={dn}))"
        );
        assert_eq!(
            of_members("(member={dn})", &["cn=a".to_owned(), "cn=(b)".to_owned()]),
            r"(|(member=cn=a)(member=cn=\28b\29))"
        );
    }

    #[test]
    fn the_chain_rule_goes_where_the_member_stands() {
        let chained = in_chain("(&(objectClass=group)(member={dn}))");
        assert_eq!(chained, "(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))");
        assert!(ldap3::parse_filter(of_member(&chained, "cn=a,dc=b", "")).is_ok());
    }

    #[test]
    fn the_attributes_that_hold_the_name_are_known() {
        assert_eq!(naming("(&(objectClass=person)(uid={username}))"), ["uid"]);
        assert_eq!(
            naming("(|(sAMAccountName={username})(userPrincipalName={username}))"),
            ["sAMAccountName", "userPrincipalName"]
        );
        for other in [
            "(mail={username}@example.com)",
            "(|(uid={username})(cn=*{username}))",
            "(cn:dn:={username})",
        ] {
            assert!(naming(other).is_empty(), "{other}");
        }
    }

    #[test]
    fn any_user_still_has_to_be_one() {
        assert_eq!(
            of_any_user("(&(objectClass=person)(uid={username}))"),
            "(&(objectClass=person)(uid=*))"
        );
        assert_eq!(of_bytes("objectGUID", &[0, 0xff]), r"(objectGUID=\00\ff)");
    }
}
