//! Whole configurations, read as an operator's file is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, OnAuditFailure, Problem, ProviderKind, Rate, StoreKind, load_with, read};
use crate::domain::{Kind, Permission, SystemRandom};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$pKTOmYVWnIJfCRMnXxkVCGOKcPa2fVqyUEKXPt6m4Ww";

const MINIMAL: &str = r#"
public_url = "http://localhost:8080"
[[upstream]]
name = "mlflow"
url = "http://127.0.0.1:5000"
[[provider]]
id = "local"
kind = "local"
users_file = "users.toml"
"#;

/// A folder with a users file, to put configurations into.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.put(
            "users.toml",
            &format!("[[user]]\nname = \"ann\"\npassword_hash = \"{HASH}\"\ngroups = [\"team\"]\n"),
        );
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn load_in(&self, text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        load_with(&self.put("mlgate.toml", text), variables, &SystemRandom::new())
    }

    fn load(&self, text: &str) -> Result<Config, Vec<Problem>> {
        self.load_in(text, &[])
    }
}

/// The minimal configuration with more at the end.
fn with(more: &str) -> Result<Config, Vec<Problem>> {
    Folder::new().load(&format!("{MINIMAL}{more}"))
}

/// The minimal configuration with one text in place of another.
fn instead(old: &str, new: &str) -> Result<Config, Vec<Problem>> {
    assert!(MINIMAL.contains(old));
    Folder::new().load(&MINIMAL.replace(old, new))
}

#[track_caller]
fn refused(found: Result<Config, Vec<Problem>>, key: &str, words: &str) {
    let problems = found.expect_err("a problem");
    assert!(
        problems
            .iter()
            .any(|problem| problem.key == key && problem.text.contains(words)),
        "no {key}: {words} in {problems:#?}"
    );
}

#[test]
fn the_smallest_file_has_the_documented_defaults() {
    let config = with("").unwrap();
    assert_eq!(config.origin(), "http://localhost:8080");
    assert_eq!(config.base_path(), "");
    assert_eq!(config.listen.address.to_string(), "0.0.0.0:8443");
    assert_eq!(config.listen.admin_address.to_string(), "127.0.0.1:9090");
    assert_eq!(config.listen.admin_socket, config.file.with_extension("sock"));
    assert!(matches!(config.session.store, StoreKind::Memory));
    assert_eq!(config.session.secrets.len(), 1);
    assert_eq!(config.session.idle_timeout, Duration::from_secs(8 * 3600));
    assert!(config.upstreams[0].attribution && !config.upstreams[0].assistant);
    assert_eq!(
        config.audit.file,
        config.file.parent().unwrap().join("audit/mlgate.jsonl")
    );
    assert_eq!(config.audit.on_failure, OnAuditFailure::Refuse);
    assert!(config.audit.reads && !config.audit.fsync);
    assert_eq!(
        config.limits.login_attempts,
        Rate {
            count: 10,
            per: Duration::from_secs(300)
        }
    );
    assert_eq!(config.limits.json_body, 64 << 20);
    let ProviderKind::Local(local) = &config.providers[0].kind else {
        panic!("local")
    };
    assert_eq!(local.users[0].groups, ["team"]);
    assert_eq!(config.watched, [config.file.clone(), local.users_file.clone()]);
}
