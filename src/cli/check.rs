//! `mlgate check`: everything that is wrong with a configuration, at once, before anything starts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::json;

use crate::config::{self, Config, MetadataSource, Problem, ProviderKind, StoreKind};
use crate::domain::{Clock, SystemClock, SystemRandom};
use crate::outbound::UpstreamClient;
use crate::outbound::provider::Bounds;
use crate::providers::{Issuers, KeyCache, Ldap, Oidc, OidcParts, Places, RedirectProvider, Saml, SamlParts};
use crate::store::{MemoryStore, RedisStore, Sealer, Store};

use super::Exit;

/// MLflow's `/version` is a few bytes.
const LONGEST_VERSION: usize = 64 * 1024;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also try Redis, MLflow, the issuers' discovery, the directories and metadata URLs
    #[arg(long)]
    connect: bool,
    /// `{"ok", "problems": [{"key", "line", "file", "text"}], "warnings": […]}` instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(asked: &Check, out: &mut dyn Write) -> io::Result<Exit> {
    let mut warnings = Vec::new();
    let problems = match config::load(&asked.config) {
        Err(problems) => problems,
        Ok(config) => {
            warnings.clone_from(&config.warnings);
            let mut problems = expired(&config);
            if asked.connect {
                problems.extend(connect(&config)?);
            }
            problems
        }
    };
    if asked.json {
        writeln!(
            out,
            "{}",
            json!({ "ok": problems.is_empty(), "problems": problems, "warnings": warnings })
        )?;
    } else {
        for warning in &warnings {
            writeln!(out, "{}: warning: {warning}", asked.config.display())?;
        }
        print(&asked.config, &problems, out)?;
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
}

fn print(file: &Path, problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        match &problem.file {
            // It names its own.
            Some(_) => writeln!(out, "{problem}")?,
            None => writeln!(out, "{}: {problem}", file.display())?,
        }
    }
    match problems.len() {
        0 => writeln!(out, "{}: all is well", file.display()),
        1 => writeln!(out, "1 problem"),
        count => writeln!(out, "{count} problems"),
    }
}

/// What was right once, and is too old now.
fn expired(config: &Config) -> Vec<Problem> {
    let now = SystemClock.now();
    let is_expired = |kind: &ProviderKind| match kind {
        ProviderKind::Saml(saml) => match &saml.metadata {
            MetadataSource::File(metadata) => !metadata.is_valid_at(now),
            MetadataSource::Url { .. } => false,
        },
        ProviderKind::Local(_) | ProviderKind::Oidc(_) | ProviderKind::Ldap(_) => false,
    };
    let providers = config.providers.iter().enumerate();
    providers
        .filter(|(_, provider)| is_expired(&provider.kind))
        .map(|(index, _)| {
            let text = "has expired (validUntil): nobody can sign in by it; get the provider's metadata anew";
            Problem::new(format!("provider[{index}].metadata_file"), None, text)
        })
        .collect()
}

/// Tries whatever the configuration leads to; what does not answer is a problem of its key.
fn connect(config: &Config) -> io::Result<Vec<Problem>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // A connection to MLflow stays on its thread.
    let tasks = tokio::task::LocalSet::new();
    Ok(tasks.block_on(&runtime, async {
        let mut problems = Vec::new();
        for (index, upstream) in config.upstreams.iter().enumerate() {
            if let Err(text) = ask_mlflow(upstream).await {
                problems.push(Problem::new(format!("upstream[{index}].url"), None, text));
            }
        }
        for (index, provider) in config.providers.iter().enumerate() {
            let wrong = match &provider.kind {
                ProviderKind::Local(_) => Vec::new(),
                ProviderKind::Oidc(oidc) => ask_issuer(&provider.id, oidc).await.err().into_iter().collect(),
                ProviderKind::Ldap(ldap) => ask_directory(&provider.id, ldap).await,
                ProviderKind::Saml(saml) => match saml.metadata {
                    MetadataSource::File(_) => Vec::new(),
                    MetadataSource::Url { .. } => {
                        let answer = fetch_metadata(&provider.id, saml).await;
                        answer.err().map(|text| ("metadata_url", text)).into_iter().collect()
                    }
                },
            };
            for (key, text) in wrong {
                problems.push(Problem::new(format!("provider[{index}].{key}"), None, text));
            }
        }
        problems.extend(ask_issuers_for_keys(&config.trusted_issuers).await);
        if let StoreKind::Redis { url, ca_file } = &config.session.store {
            let reached = match RedisStore::connect(url, ca_file.as_deref(), Arc::new(SystemClock)) {
                Ok(store) => store.ping().await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(text) = reached {
                problems.push(Problem::new("session.redis_url", None, text));
            }
        }
        problems
    }))
}

async fn ask_mlflow(upstream: &config::Upstream) -> Result<(), String> {
    let client = UpstreamClient::new(upstream)?;
    let (status, _) = client
        .fetch(Method::GET, "/version", None, LONGEST_VERSION)
        .await
        .map_err(|error| error.to_string())?;
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("answers {status} when asked for its version: is this MLflow?"))
    }
}

/// The first step of a sign-in needs the issuer's discovery document and keys, and sends nobody anywhere.
async fn ask_issuer(id: &str, oidc: &config::OidcProvider) -> Result<(), (&'static str, String)> {
    let parts = OidcParts {
        recheck: Duration::ZERO,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom::new()),
        bounds: Bounds::default(),
        places: Places::default(),
    };
    let provider = Oidc::new(id, oidc.clone(), parts).map_err(|text| ("ca_file", text))?;
    provider
        .begin("http://localhost/")
        .await
        .map_err(|error| ("issuer", error.to_string()))?;
    let groups = provider.probe_groups().await;
    groups.map_err(|error| ("google_credentials_file", error.to_string()))
}

/// Those of workloads: whether their keys can be had.
async fn ask_issuers_for_keys(trusted: &[config::TrustedIssuer]) -> Vec<Problem> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let issuers = match Issuers::new(trusted, &KeyCache::default(), &clock, Bounds::default()) {
        Ok(issuers) => issuers,
        Err(text) => return vec![Problem::new("trusted_issuer", None, text)],
    };
    let away = issuers.probe().await;
    let of = |(id, text): (String, String)| {
        let index = trusted.iter().position(|trusted| trusted.id == id)?;
        Some(Problem::new(format!("trusted_issuer[{index}].issuer"), None, text))
    };
    away.into_iter().filter_map(of).collect()
}

/// Each key that does not hold, with what the directory has to say to it.
async fn ask_directory(id: &str, ldap: &config::LdapProvider) -> Vec<(&'static str, String)> {
    match Ldap::new(id, ldap.clone(), Arc::new(SystemClock)) {
        Ok(provider) => provider.probe().await.err().unwrap_or_default(),
        Err(text) => vec![("ca_file", text)],
    }
}

async fn fetch_metadata(id: &str, saml: &config::SamlProvider) -> Result<(), String> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom::new()));
    let parts = SamlParts {
        cache: Arc::default(),
        store: Arc::new(MemoryStore::new(clock.clone())),
        sealer: Arc::new(Sealer::new(&[], random.clone())),
        clock,
        random,
    };
    let provider = Saml::new(id, saml.clone(), parts)?;
    provider.probe().await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check(text: &str, connect: bool, json: bool) -> (Exit, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mlgate.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("users.toml"), "").unwrap();
        let mut out = Vec::new();
        let exit = run(
            &Check {
                config: file,
                connect,
                json,
            },
            &mut out,
        )
        .unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    fn sound(port: u16) -> String {
        format!(
            "public_url = \"http://localhost\"\n[[upstream]]\nname = \"mlflow\"\nurl = \"http://127.0.0.1:{port}\"\n\
             [[provider]]\nid = \"local\"\nkind = \"local\"\nusers_file = \"users.toml\"\n"
        )
    }

    #[test]
    fn a_sound_file_passes() {
        let (exit, said) = check(&sound(1), false, false);
        assert_eq!(exit, Exit::Done);
        assert!(said.ends_with("all is well\n"), "{said}");
    }

    #[test]
    fn every_problem_gets_a_line_and_the_exit_says_so() {
        let text = format!("{}colour = 1\n[audit]\nsync = \"later\"\n", sound(1));
        let (exit, said) = check(&text, false, false);
        assert_eq!(exit, Exit::Failed);
        assert!(
            said.contains("line 9: provider[0].colour: ") && said.contains("line 11: audit.sync: "),
            "{said}"
        );
        assert!(said.ends_with("2 problems\n"), "{said}");
        let (exit, said) = check(&text, false, true);
        assert_eq!(exit, Exit::Failed);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["ok"], false);
        assert_eq!(said["problems"][1]["key"], "audit.sync");
        assert_eq!(said["problems"][1]["line"], 11);
    }

    #[test]
    fn a_warning_is_told_and_is_no_failure() {
        let text = format!(
            "{}[[trusted_issuer]]\nid = \"ci\"\nissuer = \"https://ci.test\"\naudience = \"a\"\nuser = \"ci\"\n",
            sound(1)
        );
        let (exit, said) = check(&text, false, false);
        assert_eq!(exit, Exit::Done);
        assert!(said.contains("warning: line 9: trusted_issuer[0].match: "), "{said}");
        let (exit, said) = check(&text, false, true);
        assert_eq!(exit, Exit::Done);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["ok"], true);
        assert_eq!(said["warnings"][0]["key"], "trusted_issuer[0].match");
    }

    #[test]
    fn an_mlflow_that_is_not_there_is_found_by_connecting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (exit, said) = check(&sound(port), true, false);
        assert_eq!(exit, Exit::Failed);
        assert!(said.contains("upstream[0].url: "), "{said}");
    }

    #[test]
    fn an_issuer_that_is_not_there_is_found_by_connecting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let oidc = format!(
            "{}[[provider]]\nid = \"idp\"\nkind = \"oidc\"\nissuer = \"http://127.0.0.1:{port}\"\nclient_id = \"c\"\n",
            sound(port)
        );
        assert_eq!(check(&oidc, false, false).0, Exit::Done);
        let (exit, said) = check(&oidc, true, false);
        assert_eq!(exit, Exit::Failed);
        assert!(said.contains("provider[1].issuer: "), "{said}");
    }

    #[test]
    fn an_mlflow_that_answers_passes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let read = io::Read::read(&mut stream, &mut request).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n3.18.0")
                .unwrap();
            String::from_utf8_lossy(&request[..read]).starts_with("GET /version ")
        });
        let (exit, said) = check(&sound(port), true, false);
        assert!(server.join().unwrap());
        assert_eq!(exit, Exit::Done, "{said}");
    }
}
