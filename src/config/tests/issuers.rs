//! `[[trusted_issuer]]`.

use super::{Folder, MINIMAL, refused, with};
use crate::config::{IssuerKeys, NamePart};

const RULE: &str = "[[trusted_issuer]]\nid = \"github\"\nissuer = \"https://token.actions.githubusercontent.com\"\naudience = \"https://mlflow.example.com\"\n\
     user = \"github:{repository}\"\nmatch = { repository = \"acme/train\", ref = [\"refs/heads/main\", \"refs/heads/next\"] }\ngroups = [\"ci\"]\n";

const KEYS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

#[test]
fn a_rule_is_read_and_its_groups_can_have_roles() {
    let role = "[[role]]\nname = \"jobs\"\ngroups = [\"github:ci\"]\nusers = [\"github:github:acme/train\"]\n";
    let config = with(&format!("{RULE}{role}")).unwrap();
    let rule = &config.trusted_issuers[0];
    assert!(matches!(rule.keys, IssuerKeys::Discovered));
    assert_eq!(
        rule.user,
        [
            NamePart::Text("github:".to_owned()),
            NamePart::Claim("repository".to_owned())
        ]
    );
    assert_eq!(rule.conditions.len(), 2);
    assert_eq!(rule.conditions[1].values, ["refs/heads/main", "refs/heads/next"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn everything_wrong_with_a_rule_is_told_at_once() {
    let change = |old: &str, new: &str| {
        assert!(RULE.contains(old), "{old}");
        with(&RULE.replace(old, new))
    };
    for (old, new, key, words) in [
        (
            "id = \"github\"",
            "id = \"local\"",
            "trusted_issuer[0].id",
            "another provider",
        ),
        ("id = \"github\"", "id = \"client\"", "trusted_issuer[0].id", "reserved"),
        ("id = \"github\"\n", "", "trusted_issuer[0].id", "is missing"),
        ("https://token", "http://token", "trusted_issuer[0].issuer", "https"),
        (
            "audience = \"https://mlflow.example.com\"\n",
            "",
            "trusted_issuer[0].audience",
            "is missing",
        ),
        (
            "user = \"github:{repository}\"\n",
            "",
            "trusted_issuer[0].user",
            "is missing",
        ),
        ("{repository}", "{repository", "trusted_issuer[0].user", "braces"),
        ("{repository}", "{{repository}}", "trusted_issuer[0].user", "braces"),
        ("{repository}", "repository}", "trusted_issuer[0].user", "braces"),
        ("{repository}", "{}", "trusted_issuer[0].user", "braces"),
        (
            "\"acme/train\"",
            "\"acme/*\"",
            "trusted_issuer[0].match.repository",
            "as it is",
        ),
        ("\"acme/train\"", "[]", "trusted_issuer[0].match.repository", "empty"),
        ("\"acme/train\"", "7", "trusted_issuer[0].match.repository", "text"),
        (
            "groups",
            "jwks_url = \"http://keys.example.com\"\ngroups",
            "trusted_issuer[0].jwks_url",
            "https",
        ),
        (
            "groups",
            "jwks_file = \"gone.json\"\ngroups",
            "trusted_issuer[0].jwks_file",
            "cannot be read",
        ),
        (
            "groups",
            "ca_file = \"users.toml\"\ngroups",
            "trusted_issuer[0].ca_file",
            "certificate",
        ),
        ("groups", "group", "trusted_issuer[0].group", "did you mean `groups`"),
    ] {
        refused(change(old, new), key, words);
    }
    let whole = "match = { repository = \"acme/train\", ref = [\"refs/heads/main\", \"refs/heads/next\"] }";
    refused(
        change(whole, "match = \"acme/train\""),
        "trusted_issuer[0].match",
        "table",
    );
    let problems = with("[[trusted_issuer]]\n").unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:#?}");
}

#[test]
fn a_slip_in_a_condition_leaves_no_rule_behind() {
    let problems = with(&RULE.replace("\"acme/train\"", "\"\"")).unwrap_err();
    assert!(
        problems
            .iter()
            .any(|problem| problem.key == "trusted_issuer[0].match.repository")
    );
}

#[test]
fn keys_may_come_from_a_file() {
    let folder = Folder::new();
    let file = folder.put("jwks.json", KEYS);
    let load = |more: &str| folder.load(&format!("{MINIMAL}{RULE}{more}\n"));
    let config = load("jwks_file = \"jwks.json\"").unwrap();
    assert!(matches!(&config.trusted_issuers[0].keys, IssuerKeys::File(keys) if keys.iter().count() == 1));
    assert!(config.watched.contains(&file));
    refused(
        load("jwks_file = \"jwks.json\"\njwks_url = \"https://keys.example.com\""),
        "trusted_issuer[0].jwks_url",
        "beside jwks_file",
    );
    folder.put("jwks.json", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}");
    refused(
        load("jwks_file = \"jwks.json\""),
        "trusted_issuer[0].jwks_file",
        "holds no key",
    );
}

#[test]
fn a_rule_that_trusts_a_whole_provider_is_warned_of() {
    let whole = "match = { repository = \"acme/train\", ref = [\"refs/heads/main\", \"refs/heads/next\"] }\n";
    for open in [
        "",
        "match = { ref = \"refs/heads/main\" }\n",
        "match = { environment = \"production\", ref_protected = true }\n",
        "match = { job_workflow_ref = \"acme/flows/.github/workflows/train.yml@refs/heads/main\" }\n",
    ] {
        let config = with(&RULE.replace(whole, open)).unwrap();
        assert_eq!(config.warnings.len(), 1, "{open}");
        let warning = &config.warnings[0];
        assert_eq!(warning.key, "trusted_issuer[0].match");
        assert!(warning.text.contains("names nobody") && warning.line.is_some());
    }
    for closed in [
        "match = { sub = \"system:serviceaccount:ml:trainer\" }\n",
        "match = { \"/kubernetes.io/namespace\" = \"ml\" }\n",
        "match = { project_path = \"acme/train\" }\n",
        "match = { email = \"trainer@acme.iam.gserviceaccount.com\" }\n",
    ] {
        let config = with(&RULE.replace(whole, closed)).unwrap();
        assert!(config.warnings.is_empty(), "{closed}");
    }
}
