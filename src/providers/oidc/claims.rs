//! From claims to a person: user name, verified address, allowed domain, groups.

use indexmap::IndexSet;
use serde_json::Value;

use super::super::ProviderError;
use super::checks::Claims;
use super::groups::is_entra;
use crate::config::{self, GOOGLE};

pub(super) const MOST_GROUPS: usize = 2000;
pub(super) const LONGEST_GROUP: usize = 512;
const LONGEST_USER: usize = 256;
const DEEPEST_LIST: usize = 8;

/// What the claims say of a person.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) user: String,
    pub(super) display_name: Option<String>,
    /// Only a verified one.
    pub(super) email: Option<String>,
    pub(super) groups: Vec<String>,
    /// The groups are too many for the token, which names none of them.
    pub(super) overage: bool,
}

/// The claims of a checked ID token, and of userinfo about the same subject.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) id_token: &'a Claims,
    pub(super) userinfo: Option<&'a Claims>,
}

impl<'a> Sources<'a> {
    fn documents(self) -> impl Iterator<Item = &'a Claims> {
        [Some(self.id_token), self.userinfo].into_iter().flatten()
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.documents()
            .find_map(|claims| pointed(claims, name))
            .and_then(Value::as_str)
    }
}

/// Whether userinfo must be asked: something is configured that the ID token does not say.
pub(super) fn needs_userinfo(config: &config::OidcProvider, id_token: &Claims) -> bool {
    let google = config.issuer == GOOGLE;
    let needs_email = config.user_claim == "email" || (!config.hosted_domains.is_empty() && !google);
    pointed(id_token, &config.user_claim).is_none()
        || config
            .groups_claim
            .iter()
            .any(|pointer| pointed(id_token, pointer).is_none())
        || (needs_email && !(id_token.contains_key("email") && id_token.contains_key(verification_of(config))))
}

/// Whether userinfo alone tells the groups as they are now: nothing of them is known from an (old) ID token only.
pub(super) fn tells_groups(config: &config::OidcProvider, id_token: &Claims, userinfo: &Claims) -> bool {
    config
        .groups_claim
        .iter()
        .all(|pointer| pointed(userinfo, pointer).is_some() || pointed(id_token, pointer).is_none())
}

/// # Errors
/// When there is no usable user name, an address is not verified, the domain is not allowed, or the groups are not all there.
pub(super) fn person(config: &config::OidcProvider, sources: Sources<'_>) -> Result<Person, ProviderError> {
    let email = verified_email(config, sources);
    let user = sources
        .text(&config.user_claim)
        .filter(|user| !user.is_empty() && user.trim() == *user && user.len() <= LONGEST_USER)
        .filter(|user| !user.chars().any(char::is_control))
        .ok_or_else(|| {
            refused(format!(
                "the sign-in service tells no usable {}, which is the user name here",
                config.user_claim
            ))
        })?;
    // Anybody may type somebody else's address into a profile.
    if user.contains('@') && !email.is_some_and(|email| email.eq_ignore_ascii_case(user)) {
        return Err(refused("its address is not verified by the sign-in service"));
    }
    if !config.hosted_domains.is_empty() {
        let domain = match config.issuer == GOOGLE {
            // Google says in the ID token alone which organisation an account belongs to; the address proves nothing of that.
            true => sources.id_token.get("hd").and_then(Value::as_str),
            false => email.and_then(domain_of),
        };
        if !domain.is_some_and(|domain| {
            config
                .hosted_domains
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(domain))
        }) {
            return Err(refused("it belongs to no organisation that may sign in here"));
        }
    }
    let (groups, overage) = groups(config, sources)?;
    Ok(Person {
        user: user.to_owned(),
        display_name: sources
            .text("name")
            .map(|name| name.chars().filter(|c| !c.is_control()).take(200).collect()),
        email: email.map(str::to_owned),
        groups,
        overage,
    })
}

fn refused(text: impl Into<String>) -> ProviderError {
    ProviderError::AccountRefused(text.into())
}

/// Address and verification come from one document: the two are never put together from different ones.
fn verified_email<'a>(config: &config::OidcProvider, sources: Sources<'a>) -> Option<&'a str> {
    let verification = verification_of(config);
    let says_verified = |claims: &Claims| match claims.get(verification) {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true" || (verified == "1" && verification == "xms_edov"),
        _ => false,
    };
    let address = sources
        .documents()
        .find(|claims| claims.contains_key("email") && claims.contains_key(verification))
        .filter(|claims| says_verified(claims))
        .and_then(|claims| claims.get("email"))
        .and_then(Value::as_str)?;
    // Where documents tell of different addresses, neither is believed.
    let agreed = sources
        .documents()
        .filter_map(|claims| claims.get("email"))
        .all(|email| email == address);
    (agreed && domain_of(address).is_some()).then_some(address)
}

/// The claim that says whether an address is verified. Entra ID has a word of its own: whether the address is of a domain that
/// the tenant has proved to be its own.
fn verification_of(config: &config::OidcProvider) -> &'static str {
    match is_entra(&config.issuer) {
        true => "xms_edov",
        false => "email_verified",
    }
}

/// The domain of an address with exactly one `@` and nothing unusual in it.
fn domain_of(address: &str) -> Option<&str> {
    let (local, domain) = address.split_once('@')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\' | '<' | '>' | ',' | ';');
    let sound = !local.is_empty()
        && !local.contains(odd)
        && !domain.is_empty()
        && domain.chars().all(plain)
        && !domain.starts_with('.')
        && !domain.ends_with('.');
    sound.then_some(domain)
}

/// And whether there are more that no document names.
fn groups(config: &config::OidcProvider, sources: Sources<'_>) -> Result<(Vec<String>, bool), ProviderError> {
    let (mut groups, mut overage) = (IndexSet::new(), false);
    for pointer in &config.groups_claim {
        match sources.documents().find_map(|claims| pointed(claims, pointer)) {
            Some(value) => collect(value, &mut groups, 0)?,
            None => overage |= sources.documents().any(|claims| says_overage(claims, pointer)),
        }
    }
    Ok((groups.into_iter().collect(), overage))
}

/// Whether a claim is left out because it would be too long, as Entra ID does with many groups; none is not what it means.
fn says_overage(claims: &Claims, pointer: &str) -> bool {
    let name = pointer.split('/').nth(1).unwrap_or_default();
    let has_groups = claims
        .get("hasgroups")
        .is_some_and(|has| *has == Value::Bool(true) || has == "true");
    (name == "groups" && has_groups)
        || claims
            .get("_claim_names")
            .is_some_and(|names| names.get(name).is_some())
}

/// Too many or too long are refused, not cut: the one that is cut off may be the one that denies.
fn collect(value: &Value, groups: &mut IndexSet<String>, depth: usize) -> Result<(), ProviderError> {
    match value {
        Value::String(name) if name.len() > LONGEST_GROUP => return Err(refused("a group's name is too long")),
        Value::String(name) if !name.is_empty() => {
            groups.insert(name.clone());
        }
        Value::Array(_) if depth >= DEEPEST_LIST => return Err(refused("the groups are nested too deep")),
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, groups, depth + 1))?,
        _ => {}
    }
    if groups.len() > MOST_GROUPS {
        Err(refused("the account is in too many groups"))
    } else {
        Ok(())
    }
}

/// A claim by its name, or by a JSON pointer where it begins with a slash. Null is as good as missing.
fn pointed<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    let value = match name.strip_prefix('/') {
        None => claims.get(name),
        Some(path) => {
            let (first, rest) = path
                .split_once('/')
                .map_or((path, None), |(first, rest)| (first, Some(rest)));
            let first = claims.get(&first.replace("~1", "/").replace("~0", "~"));
            match rest {
                None => first,
                Some(rest) => first.and_then(|value| value.pointer(&format!("/{rest}"))),
            }
        }
    };
    value.filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(issuer: &str, user_claim: &str, domains: &[&str]) -> config::OidcProvider {
        config::OidcProvider {
            issuer: issuer.to_owned(),
            ca_file: None,
            client_id: "me".to_owned(),
            client_secret: None,
            scopes: vec!["openid".to_owned()],
            user_claim: user_claim.to_owned(),
            groups_claim: vec!["/groups".to_owned(), "/realm_access/roles".to_owned()],
            hosted_domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            google_groups: None,
        }
    }

    fn told(
        config: &config::OidcProvider,
        id_token: &Value,
        userinfo: Option<&Value>,
    ) -> Result<Person, ProviderError> {
        let userinfo = userinfo.and_then(Value::as_object);
        person(
            config,
            Sources {
                id_token: id_token.as_object().unwrap(),
                userinfo,
            },
        )
    }

    const IDP: &str = "https://idp.test";

    #[test]
    fn an_address_must_be_verified() {
        let by_email = config(IDP, "email", &[]);
        for (verified, lets_in) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(1), false),
            (json!(null), false),
        ] {
            let id_token = json!({"email": "a@b.test", "email_verified": verified});
            assert_eq!(told(&by_email, &id_token, None).is_ok(), lets_in, "{verified}");
        }
        assert!(told(&by_email, &json!({"email": "a@b.test"}), None).is_err());
    }

    #[test]
    fn entra_says_in_a_word_of_its_own_whether_an_address_is_verified() {
        let entra = config("https://login.microsoftonline.com/tenant/v2.0", "email", &["b.test"]);
        let by_email = config(IDP, "email", &[]);
        for (word, value, lets_in) in [
            ("xms_edov", json!(true), true),
            ("xms_edov", json!("1"), true),
            ("xms_edov", json!("true"), true),
            ("xms_edov", json!(false), false),
            ("xms_edov", json!("0"), false),
            ("email_verified", json!(true), false),
        ] {
            let id_token = json!({"email": "a@b.test", word: value});
            assert_eq!(told(&entra, &id_token, None).is_ok(), lets_in, "{id_token}");
            assert_eq!(told(&by_email, &id_token, None).is_ok(), word == "email_verified");
        }
        let guest = json!({"email": "a@c.test", "xms_edov": true});
        assert!(told(&entra, &guest, None).is_err(), "another domain");
    }

    #[test]
    fn verification_is_not_borrowed_from_another_document() {
        let by_email = config(IDP, "email", &[]);
        let id_token = json!({"email": "victim@b.test"});
        let userinfo = json!({"email": "mallory@b.test", "email_verified": true});
        assert!(told(&by_email, &id_token, Some(&userinfo)).is_err());
        let same = json!({"email": "victim@b.test", "email_verified": true});
        assert!(told(&by_email, &id_token, Some(&same)).is_ok());
    }

    #[test]
    fn an_address_in_another_claim_must_be_the_verified_one() {
        let by_name = config(IDP, "preferred_username", &[]);
        assert!(told(&by_name, &json!({"preferred_username": "ann"}), None).is_ok());
        assert!(told(&by_name, &json!({"preferred_username": "boss@b.test"}), None).is_err());
        let own = json!({"preferred_username": "boss@b.test", "email": "boss@b.test", "email_verified": true});
        assert!(told(&by_name, &own, None).is_ok());
    }

    #[test]
    fn a_domain_is_taken_from_a_sound_address_alone() {
        let corp = config(IDP, "sub", &["example.com"]);
        for (email, lets_in) in [
            ("a@example.com", true),
            ("a@EXAMPLE.com", true),
            ("attacker@evil.com@example.com", false),
            ("attacker@example.com@evil.com", false),
            ("a@example.com.", false),
            ("a@sub.example.com", false),
            ("a@notexample.com", false),
            ("a@example.com.evil.com", false),
            ("@example.com", false),
            ("\"a@evil.com\"@example.com", false),
            ("a@evil.com,b@example.com", false),
            ("a@example.com ", false),
            ("a@еxample.com", false),
            ("example.com", false),
        ] {
            let id_token = json!({"sub": "s", "email": email, "email_verified": true});
            assert_eq!(told(&corp, &id_token, None).is_ok(), lets_in, "{email}");
        }
    }

    #[test]
    fn google_says_the_domain_in_hd_of_the_id_token_alone() {
        let google = config(GOOGLE, "sub", &["example.com"]);
        let id_token = json!({"sub": "s", "email": "a@example.com", "email_verified": true});
        assert!(told(&google, &id_token, None).is_err());
        assert!(told(&google, &id_token, Some(&json!({"hd": "example.com"}))).is_err());
        assert!(told(&google, &json!({"sub": "s", "hd": "evil.com"}), None).is_err());
        assert!(told(&google, &json!({"sub": "s", "hd": "Example.com"}), None).is_ok());
    }

    #[test]
    fn groups_come_as_text_list_or_nested_list() {
        let any = config(IDP, "sub", &[]);
        let id_token = json!({"sub": "s", "groups": ["a", ["b", ["a", "c"]], 7, ""], "realm_access": {"roles": "d"}});
        assert_eq!(told(&any, &id_token, None).unwrap().groups, ["a", "b", "c", "d"]);
        let userinfo = json!({"groups": "e"});
        assert_eq!(told(&any, &json!({"sub": "s"}), Some(&userinfo)).unwrap().groups, ["e"]);
        assert!(told(&any, &json!({"sub": "s"}), None).unwrap().groups.is_empty());
    }

    #[test]
    fn too_many_groups_are_refused_and_not_cut() {
        let any = config(IDP, "sub", &[]);
        let many: Vec<_> = (0..=MOST_GROUPS).map(|n| n.to_string()).collect();
        assert!(told(&any, &json!({"sub": "s", "groups": many}), None).is_err());
        assert!(told(&any, &json!({"sub": "s", "groups": many[1..]}), None).is_ok());
        assert!(
            told(
                &any,
                &json!({"sub": "s", "groups": ["x".repeat(LONGEST_GROUP + 1)]}),
                None
            )
            .is_err()
        );
        let deep = (0..20).fold(json!("g"), |inner, _| json!([inner]));
        assert!(told(&any, &json!({"sub": "s", "groups": deep}), None).is_err());
    }

    #[test]
    fn a_claim_that_is_left_out_for_its_length_is_not_an_empty_one() {
        let any = config(IDP, "sub", &[]);
        let overage = |id_token: &Value| told(&any, id_token, None).unwrap().overage;
        assert!(overage(&json!({"sub": "s", "_claim_names": {"groups": "src1"}})));
        assert!(overage(&json!({"sub": "s", "_claim_names": {"realm_access": "src1"}})));
        assert!(overage(&json!({"sub": "s", "hasgroups": true})));
        assert!(overage(&json!({"sub": "s", "hasgroups": "true"})));
        assert!(!overage(&json!({"sub": "s"})));
        assert!(!overage(
            &json!({"sub": "s", "hasgroups": false, "_claim_names": {"address": "src1"}})
        ));
        assert!(
            !overage(&json!({"sub": "s", "groups": ["a"], "hasgroups": true})),
            "they are there"
        );
    }

    #[test]
    fn a_user_name_is_one_line_of_text() {
        let any = config(IDP, "name", &[]);
        for user in [
            json!(""),
            json!(" a"),
            json!("a\nb"),
            json!(5),
            json!("x".repeat(257)),
            json!(null),
        ] {
            assert!(told(&any, &json!({"name": user}), None).is_err());
        }
    }
}
