//! The examples and the documentation, held to what the reader reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::ldap::block;
use super::{Folder, MINIMAL, with};
use crate::config::{Config, ProviderKind, load_with, read};
use crate::domain::SystemRandom;

/// The folder of the sources' `config/` and `docs/`.
pub(super) fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Every key that the reader asks for when it meets a configuration with everything in it.
fn known_keys() -> BTreeSet<String> {
    let folder = Folder::new();
    let text = format!(
        "{MINIMAL}[listen.tls]\n[[provider]]\nid = \"i\"\nkind = \"oidc\"\n[[provider]]\nid = \"l\"\nkind = \"ldap\"\n[[provider]]\nid = \"s\"\nkind = \"saml\"\n[[client]]\nid = \"c\"\n[[trusted_issuer]]\nid = \"t\"\n[[role]]\nname = \"r\"\n[[role.grants]]\npermission = \"READ\"\n[[protected_alias]]\n"
    );
    read(&folder.put("mlgate.toml", text), Vec::new(), &SystemRandom::new()).1
}

#[test]
fn the_documentation_lists_exactly_the_keys_that_are_read() {
    let text = fs::read_to_string(tree("docs/configuration.md")).unwrap();
    let (mut prefix, mut documented) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.trim_matches('`');
            prefix = match name.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
                _ if name == "users.toml" => "users.toml:".into(),
                Some(list) => format!("{}[].", list.replace('.', "[].")),
                None if name.starts_with('[') => format!("{}.", name.trim_matches(['[', ']'])),
                None => String::new(),
            };
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            assert!(
                documented.insert(format!("{prefix}{key}")),
                "{prefix}{key} stands there twice"
            );
        }
    }
    assert_eq!(documented, known_keys());
}

#[test]
fn the_full_example_loads_and_names_every_key() {
    let file = tree("config/mlgate.toml");
    let config = load_with(&file, Vec::new(), &SystemRandom::new()).unwrap();
    assert_eq!(config.roles[0].name, "admin");
    let text = fs::read_to_string(&file).unwrap();
    for path in known_keys() {
        // Grants are in the example of roles; the users file has its own.
        if path.starts_with("users.toml:") || path.contains("grants[]") {
            continue;
        }
        let key = path.rsplit('.').next().unwrap();
        let is_there = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with('='))
                || line.starts_with(&format!("[{key}]"))
                || line.starts_with(&format!("[[{key}]]"))
                || line.starts_with(&format!("[listen.{key}]"))
        };
        assert!(text.lines().any(is_there), "{path} is not in config/mlgate.toml");
    }
}

#[test]
fn the_full_example_shows_the_defaults() {
    let full = load_with(&tree("config/mlgate.toml"), Vec::new(), &SystemRandom::new()).unwrap();
    let least = with("").unwrap();
    let shown = |config: &Config| {
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            config.network,
            config.session,
            config.check,
            config.tokens,
            config.limits,
            config.pages,
            config.telemetry,
            config.listen.address
        )
    };
    assert_eq!(shown(&full), shown(&least));
    let upstream = |config: &Config| format!("{:?}", config.upstreams[0]).replace("production", "mlflow");
    assert_eq!(upstream(&full), upstream(&least));
    assert_eq!(
        (full.audit.rotate_size, full.audit.keep),
        (least.audit.rotate_size, least.audit.keep)
    );
}

#[test]
fn the_small_examples_load() {
    let folder = Folder::new();
    let minimal = fs::read_to_string(tree("config/minimal.toml")).unwrap();
    assert!(folder.load(&minimal).is_ok());
    let roles = fs::read_to_string(tree("config/roles.example.toml")).unwrap();
    let config = folder
        .load(&format!(
            "{}{roles}",
            MINIMAL.replace("name = \"mlflow\"", "name = \"production\"")
        ))
        .unwrap();
    assert_eq!(config.roles.len(), 4);
}

#[test]
fn what_the_pages_about_openid_providers_say_loads() {
    for name in ["entra", "okta", "keycloak"] {
        let page = match name {
            "entra" => "docs/providers/entra-id.md".to_owned(),
            name => format!("docs/providers/{name}.md"),
        };
        let folder = Folder::new();
        folder.put(&format!("{name}-client-secret"), "secret\n");
        let config = folder.load(&format!("{MINIMAL}{}", block(&page))).unwrap();
        let provider = &config.providers[1];
        assert_eq!(provider.id, name, "the page's addresses are of this id");
        assert!(matches!(provider.kind, ProviderKind::Oidc(_)), "{page}");
    }
}

#[test]
fn what_the_page_about_ci_says_loads() {
    let page = fs::read_to_string(tree("docs/ci.md")).unwrap();
    let folder = Folder::new();
    folder.put(
        "cluster-jwks.json",
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
    );
    let blocks: String = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let config = folder.load(&format!("{MINIMAL}{blocks}")).unwrap();
    let ids: Vec<_> = config.trusted_issuers.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["github", "gitlab", "cluster", "google"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}
