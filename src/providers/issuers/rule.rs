//! Whether a workload is one that the operator means, and what it is called here.

use serde_json::Value;

use super::super::jws::Claims;
use crate::config::{Condition, NamePart, TrustedIssuer};

/// Of a user name and of a subject, in bytes.
const LONGEST_NAME: usize = 512;

/// Why claims are not those of this rule. Holds no value that is trusted.
pub(super) fn must_fit(rule: &TrustedIssuer, claims: &Claims) -> Result<(), String> {
    for condition in &rule.conditions {
        must_hold(condition, claims)?;
    }
    let names = rule.user.iter().filter_map(|part| match part {
        NamePart::Claim(claim) => Some(claim.as_str()),
        NamePart::Text(_) => None,
    });
    let mut used = rule
        .conditions
        .iter()
        .map(|condition| condition.claim.as_str())
        .chain(names);
    // Anybody can have an account with anybody's address that was never verified.
    if used.any(|claim| claim == "email" || claim == "/email") && !is_verified(claims) {
        return Err("has an email that is not verified (email_verified)".to_owned());
    }
    Ok(())
}

fn must_hold(condition: &Condition, claims: &Claims) -> Result<(), String> {
    let wanted = |value: &Value| said(value).is_some_and(|said| condition.values.contains(&said));
    let holds = match find(claims, &condition.claim) {
        Some(Value::Array(entries)) => entries.iter().any(wanted),
        Some(value) => wanted(value),
        None => false,
    };
    match holds {
        true => Ok(()),
        false => Err(format!("has a {} that is not trusted here", condition.claim)),
    }
}

/// A claim by its name, or by a JSON pointer.
fn find<'c>(claims: &'c Claims, claim: &str) -> Option<&'c Value> {
    let Some(pointer) = claim.strip_prefix('/') else {
        return claims.get(claim);
    };
    let mut steps = pointer
        .split('/')
        .map(|step| step.replace("~1", "/").replace("~0", "~"));
    let first = claims.get(&steps.next()?)?;
    steps.try_fold(first, |value, step| match value {
        Value::Array(entries) => entries.get(step.parse::<usize>().ok()?),
        other => other.get(&step),
    })
}

/// A plain value as the configuration writes it.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn is_verified(claims: &Claims) -> bool {
    claims.get("email_verified").and_then(said).as_deref() == Some("true")
}

/// The user name that the rule makes of the claims.
pub(super) fn user(rule: &TrustedIssuer, claims: &Claims) -> Result<String, String> {
    let mut name = String::new();
    for part in &rule.user {
        match part {
            NamePart::Text(text) => name.push_str(text),
            NamePart::Claim(claim) => {
                let value = find(claims, claim).and_then(said).filter(|value| !value.is_empty());
                name.push_str(&value.ok_or_else(|| format!("has no {claim} to be named by"))?);
            }
        }
    }
    match is_name(&name) {
        true => Ok(name),
        false => Err("gives no usable user name".to_owned()),
    }
}

pub(super) fn subject(claims: &Claims) -> Result<&str, String> {
    claims
        .get("sub")
        .and_then(Value::as_str)
        .filter(|sub| is_name(sub))
        .ok_or_else(|| "has no usable sub".to_owned())
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::config::IssuerKeys;
    use crate::domain::KeySet;

    fn rule(conditions: &[(&str, &[&str])], user: &[NamePart]) -> TrustedIssuer {
        TrustedIssuer {
            id: "ci".to_owned(),
            issuer: "https://ci.test".to_owned(),
            keys: IssuerKeys::File(Arc::new(KeySet::default())),
            ca_file: None,
            audience: "https://mlflow.test".to_owned(),
            user: user.to_vec(),
            conditions: conditions
                .iter()
                .map(|(claim, values)| Condition {
                    claim: (*claim).to_owned(),
                    values: values.iter().map(|value| (*value).to_owned()).collect(),
                })
                .collect(),
            groups: Vec::new(),
        }
    }

    fn fits(conditions: &[(&str, &[&str])], claims: &Value) -> Result<(), String> {
        must_fit(&rule(conditions, &[]), claims.as_object().unwrap())
    }

    #[test]
    fn every_condition_must_hold() {
        let job = json!({"repository": "acme/train", "ref": "refs/heads/main", "protected": true, "id": 7, "teams": ["a", "b"]});
        let good: [&[(&str, &[&str])]; 6] = [
            &[],
            &[("repository", &["acme/train"]), ("ref", &["refs/heads/main"])],
            &[("repository", &["acme/other", "acme/train"])],
            &[("protected", &["true"])],
            &[("id", &["7"])],
            &[("teams", &["b"])],
        ];
        for conditions in good {
            fits(conditions, &job).unwrap();
        }
        let bad: [&[(&str, &[&str])]; 7] = [
            &[("repository", &["acme/train"]), ("ref", &["refs/heads/dev"])],
            &[("repository", &["acme/Train"])],
            &[("repository", &["acme/trai"])],
            &[("repository", &[])],
            &[("missing", &["acme/train"])],
            &[("teams", &["c"])],
            &[("protected", &["false"])],
        ];
        for conditions in bad {
            assert!(fits(conditions, &job).is_err(), "{conditions:?}");
        }
        let refused = fits(&[("repository", &["acme/secret"])], &job).unwrap_err();
        assert!(
            refused.contains("repository") && !refused.contains("secret"),
            "{refused}"
        );
    }

    #[test]
    fn claims_within_claims_are_found_by_pointer() {
        let pod = json!({"kubernetes.io": {"namespace": "ml", "pods": [{"a/b": "x"}]}, "a": null});
        fits(&[("/kubernetes.io/namespace", &["ml"])], &pod).unwrap();
        fits(&[("/kubernetes.io/pods/0/a~1b", &["x"])], &pod).unwrap();
        for claim in [
            "kubernetes.io/namespace",
            "/kubernetes.io",
            "/kubernetes.io/pods/1",
            "/kubernetes.io/pods/x",
            "/a",
            "/a/b",
            "//",
        ] {
            assert!(fits(&[(claim, &["ml", "null", ""])], &pod).is_err(), "{claim}");
        }
    }

    #[test]
    fn an_address_counts_only_when_it_was_verified() {
        let account = |verified: Value| json!({"email": "trainer@acme.test", "email_verified": verified});
        let named = |verified: Value| {
            let rule = rule(&[], &[NamePart::Claim("email".to_owned())]);
            must_fit(&rule, account(verified).as_object().unwrap())
        };
        let matched = |verified: Value| fits(&[("email", &["trainer@acme.test"])], &account(verified));
        for verified in [json!(true), json!("true")] {
            named(verified.clone()).unwrap();
            matched(verified).unwrap();
        }
        for unverified in [json!(false), json!(null), json!("yes"), json!(1)] {
            assert!(named(unverified.clone()).is_err() && matched(unverified).is_err());
        }
    }

    #[test]
    fn a_name_is_made_of_claims_that_are_there() {
        let parts = [
            NamePart::Text("github:".to_owned()),
            NamePart::Claim("repository".to_owned()),
        ];
        let named = |claims: Value| user(&rule(&[], &parts), claims.as_object().unwrap());
        assert_eq!(named(json!({"repository": "acme/train"})).unwrap(), "github:acme/train");
        for repository in [
            json!(""),
            json!(null),
            json!(["a"]),
            json!(1.5),
            json!("a\nb"),
            json!("x".repeat(600)),
        ] {
            assert!(named(json!({"repository": repository})).is_err());
        }
    }
}
