//! `mlgate check`: everything that is wrong with a configuration, at once, before anything starts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::json;

use crate::config::{self, Config, Problem, ProviderKind, StoreKind};
use crate::domain::{SystemClock, SystemRandom};
use crate::outbound::UpstreamClient;
use crate::outbound::provider::Bounds;
use crate::providers::{Ldap, Oidc, OidcParts, Places, RedirectProvider};
use crate::store::{RedisStore, Store};

use super::Exit;

/// MLflow's `/version` is a few bytes.
const LONGEST_VERSION: usize = 64 * 1024;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Also try Redis, MLflow, the issuers' discovery and the directories
    #[arg(long)]
    connect: bool,
    /// `{"ok", "problems": [{"key", "line", "file", "text"}]}` instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(asked: &Check, out: &mut dyn Write) -> io::Result<Exit> {
    let problems = match config::load(&asked.config) {
        Err(problems) => problems,
        Ok(config) if asked.connect => connect(&config)?,
        Ok(_) => Vec::new(),
    };
    if asked.json {
        writeln!(out, "{}", json!({ "ok": problems.is_empty(), "problems": problems }))?;
    } else {
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
            };
            for (key, text) in wrong {
                problems.push(Problem::new(format!("provider[{index}].{key}"), None, text));
            }
        }
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

/// Each key that does not hold, with what the directory has to say to it.
async fn ask_directory(id: &str, ldap: &config::LdapProvider) -> Vec<(&'static str, String)> {
    match Ldap::new(id, ldap.clone(), Arc::new(SystemClock)) {
        Ok(provider) => provider.probe().await.err().unwrap_or_default(),
        Err(text) => vec![("ca_file", text)],
    }
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
