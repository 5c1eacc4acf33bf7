//! The checks that no library makes: of the callback's parameters, and of the ID token's claims beside signature, audience and nonce.

use std::collections::HashSet;

use serde_json::Value;

use super::super::ProviderError;
use super::failure::tame;

pub(super) use super::super::jws::{Claims, SKEW};

const LONGEST_CODE: usize = 4096;
/// OpenID Connect Core 1.0, section 2: at most 255 ASCII characters.
const LONGEST_SUBJECT: usize = 255;

fn refused(text: impl Into<String>) -> ProviderError {
    ProviderError::Refused(text.into())
}

/// The code, of a callback that answers this attempt and comes from this issuer.
pub(super) fn callback<'q>(
    query: &'q [(String, String)],
    state: &str,
    issuer: &str,
    issuer_announced: bool,
) -> Result<&'q str, ProviderError> {
    let mut names = HashSet::new();
    if let Some((name, _)) = query.iter().find(|(name, _)| !names.insert(name.as_str())) {
        return Err(refused(format!("the callback carries {} twice", tame(name))));
    }
    let value = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    if value("state").is_none_or(|given| differs(given, state)) {
        return Err(ProviderError::BadAttempt(
            "the state is not the one that was sent".to_owned(),
        ));
    }
    // RFC 9207, before anything of this callback is used: it may come from another provider.
    match value("iss") {
        Some(given) if given != issuer => return Err(refused("the callback comes from another issuer")),
        None if issuer_announced => return Err(refused("the callback does not say which issuer it comes from")),
        _ => {}
    }
    match (value("error"), value("code")) {
        (Some(error), _) => Err(declined(error)),
        (None, Some(code)) if !code.is_empty() && code.len() <= LONGEST_CODE => Ok(code),
        (None, _) => Err(refused("the callback carries no code")),
    }
}

/// True when they differ; in constant time.
fn differs(given: &str, expected: &str) -> bool {
    !bool::from(subtle::ConstantTimeEq::ct_eq(given.as_bytes(), expected.as_bytes()))
}

fn declined(error: &str) -> ProviderError {
    match error {
        "access_denied" => ProviderError::AccountRefused(
            "the sign-in was broken off, or the sign-in service does not let this account go on (access_denied)"
                .to_owned(),
        ),
        "server_error" | "temporarily_unavailable" => ProviderError::Unavailable(format!("the provider says {error}")),
        other => refused(format!("the provider says {}", tame(&other))),
    }
}

/// What is left of OpenID Connect Core 3.1.3.7 and RFC 7519 once signature, audience, `exp`, `iat` and `nonce` are good.
pub(super) fn id_token(claims: &Claims, issuer: &str, client_id: &str, now: i64) -> Result<(), ProviderError> {
    // The library compares parsed URLs, which takes different spellings for the same issuer.
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(refused("the ID token's iss is not the issuer"));
    }
    match claims.get("azp") {
        None => {}
        Some(Value::String(azp)) if azp == client_id => {}
        Some(_) => return Err(refused("the ID token's azp is another client")),
    }
    match claims.get("nbf").map(Value::as_f64) {
        None => {}
        Some(Some(nbf)) if nbf <= (now + SKEW) as f64 => {}
        Some(_) => return Err(refused("the ID token is not valid yet (nbf)")),
    }
    subject(claims).map(drop)
}

/// A usable `sub`.
pub(super) fn subject(claims: &Claims) -> Result<&str, ProviderError> {
    claims
        .get("sub")
        .and_then(Value::as_str)
        .filter(|sub| !sub.is_empty() && sub.len() <= LONGEST_SUBJECT && !sub.chars().any(char::is_control))
        .ok_or_else(|| refused("there is no usable sub"))
}

pub(super) fn same_subject(claims: &Claims, expected: &str, of: &str) -> Result<(), ProviderError> {
    if subject(claims)? == expected {
        Ok(())
    } else {
        Err(refused(format!("{of} is about another subject")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn run(pairs: &[(&str, &str)], announced: bool) -> Result<String, ProviderError> {
        callback(&query(pairs), "st", "https://idp.test", announced).map(str::to_owned)
    }

    #[test]
    fn a_plain_callback_gives_its_code() {
        assert_eq!(run(&[("code", "c"), ("state", "st")], false).unwrap(), "c");
        assert_eq!(
            run(&[("state", "st"), ("iss", "https://idp.test"), ("code", "c")], true).unwrap(),
            "c"
        );
    }

    #[test]
    fn a_callback_with_any_parameter_twice_is_refused() {
        for twice in ["code", "state", "iss", "session_state"] {
            let mut pairs = vec![
                ("code", "c"),
                ("state", "st"),
                ("iss", "https://idp.test"),
                ("session_state", "x"),
            ];
            pairs.push((twice, pairs.iter().find(|(name, _)| *name == twice).unwrap().1));
            assert!(matches!(run(&pairs, true), Err(ProviderError::Refused(_))), "{twice}");
        }
    }

    #[test]
    fn a_foreign_state_is_a_bad_attempt() {
        for pairs in [
            &[("code", "c"), ("state", "other")][..],
            &[("code", "c")],
            &[("code", "c"), ("state", "")],
        ] {
            assert!(matches!(run(pairs, false), Err(ProviderError::BadAttempt(_))));
        }
    }

    #[test]
    fn an_error_answer_is_told_by_class() {
        let told = |error| run(&[("error", error), ("state", "st"), ("code", "c")], false).unwrap_err();
        assert!(matches!(told("access_denied"), ProviderError::AccountRefused(_)));
        assert!(matches!(told("temporarily_unavailable"), ProviderError::Unavailable(_)));
        assert!(matches!(told("invalid_scope"), ProviderError::Refused(_)));
        assert!(!told("x\r\nforged: line").to_string().contains('\n'));
    }

    #[test]
    fn an_error_answer_of_another_issuer_is_refused_as_such() {
        let told = run(
            &[
                ("error", "access_denied"),
                ("state", "st"),
                ("iss", "https://evil.test"),
            ],
            false,
        );
        assert!(matches!(told, Err(ProviderError::Refused(_))));
    }

    #[test]
    fn odd_times_are_refused_and_do_not_panic() {
        for nbf in [json!(1e300), json!("soon"), json!(null), json!(u64::MAX), json!([1])] {
            let claims = json!({"iss": "https://idp.test", "sub": "s", "nbf": nbf});
            assert!(
                id_token(claims.as_object().unwrap(), "https://idp.test", "me", 1000).is_err(),
                "{claims}"
            );
        }
        let claims = json!({"iss": "https://idp.test", "sub": "s", "nbf": 1060});
        assert!(id_token(claims.as_object().unwrap(), "https://idp.test", "me", 1000).is_ok());
    }

    #[test]
    fn a_subject_is_short_text() {
        for sub in [json!(""), json!(7), json!(null), json!("a".repeat(256)), json!("a\nb")] {
            assert!(subject(json!({"sub": sub}).as_object().unwrap()).is_err());
        }
        assert_eq!(subject(json!({"sub": "a b"}).as_object().unwrap()).unwrap(), "a b");
    }
}
