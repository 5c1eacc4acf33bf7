//! `[session]`: where sessions rest, what seals them, how long they last.

use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::domain::Random;

use super::node::Node;
use super::reader::Section;
use super::redis_url::RedisUrl;
use super::{files, value};

#[derive(Clone)]
pub struct Session {
    pub store: StoreKind,
    /// 32 bytes each; the first encrypts, all decrypt. Never empty: with `store = "memory"` and no file, one was made up at load.
    pub secrets: Vec<[u8; 32]>,
    /// No file gave the secrets: a reload keeps those that were made up before.
    pub secrets_made_up: bool,
    pub cookie_domain: Option<String>,
    pub idle_timeout: Duration,
    pub absolute_timeout: Duration,
    pub recheck: Duration,
    pub outage_grace: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("store", &self.store)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub enum StoreKind {
    Memory,
    Redis { url: RedisUrl, ca_file: Option<PathBuf> },
}

pub(super) fn read(section: Section<'_>, public_url: Option<&Url>, random: &dyn Random) -> Option<Session> {
    let in_redis = section.choice("store", &[("memory", false), ("redis", true)]);
    let store = read_store(&section, in_redis == Some(true));
    let secrets_made_up = in_redis != Some(true)
        && section
            .list("secret_files", value::text)
            .is_none_or(|files| files.is_empty());
    let secrets = read_secrets(&section, in_redis == Some(true), random);
    let cookie_domain = section.value("cookie_domain", |node| cookie_domain(node, public_url));
    let time = |key, default| {
        section
            .value(key, value::duration)
            .unwrap_or(Duration::from_secs(default))
    };
    let (idle_timeout, absolute_timeout) = (time("idle_timeout", 8 * 3600), time("absolute_timeout", 24 * 3600));
    if idle_timeout > absolute_timeout {
        section.problem(
            "idle_timeout",
            "is longer than absolute_timeout: it would never be reached",
        );
    }
    let (recheck, outage_grace) = (time("recheck", 300), time("outage_grace", 300));
    section.finish();
    Some(Session {
        store: store?,
        secrets_made_up,
        secrets,
        cookie_domain,
        idle_timeout,
        absolute_timeout,
        recheck,
        outage_grace,
    })
}

fn read_store(section: &Section<'_>, in_redis: bool) -> Option<StoreKind> {
    let url = section.secret("redis_url", "redis_url_file");
    let ca_file = section.checked_file("redis_ca_file", files::check_roots);
    let key = if section.node("redis_url").is_some() {
        "redis_url"
    } else {
        "redis_url_file"
    };
    let url = url.and_then(|url| RedisUrl::parse(url).map_err(|text| section.problem(key, text)).ok());
    if !in_redis {
        return Some(StoreKind::Memory);
    }
    if section.node("redis_url").is_none() && section.node("redis_url_file").is_none() {
        section.problem(
            key,
            "is missing: store = \"redis\" needs the address of one, redis://…, rediss://…, redis-sentinel://… or redis-cluster://…",
        );
    }
    Some(StoreKind::Redis { url: url?, ca_file })
}

fn read_secrets(section: &Section<'_>, in_redis: bool, random: &dyn Random) -> Vec<[u8; 32]> {
    let directory = &section.reading.directory;
    let secrets = section.list("secret_files", |node| {
        let path = directory.join(value::text(node)?);
        section.reading.watch(&path);
        files::secret_key(&path)
    });
    match secrets {
        Some(secrets) if !secrets.is_empty() => {
            if secrets
                .iter()
                .enumerate()
                .any(|(index, key)| secrets[..index].contains(key))
            {
                section.problem("secret_files", "holds the same key twice");
            }
            secrets
        }
        // Problems with each file are on record already.
        Some(_)
            if section
                .list("secret_files", value::text)
                .is_some_and(|files| !files.is_empty()) =>
        {
            Vec::new()
        }
        _ if in_redis => {
            let text = "is missing: sessions in Redis are sealed with a key that all replicas share; make one with: head -c 32 /dev/urandom > keys/current";
            section.problem("secret_files", text);
            Vec::new()
        }
        _ => vec![random.bytes()],
    }
}

fn cookie_domain(node: &Node, public_url: Option<&Url>) -> Result<String, String> {
    let text = value::text(node)?;
    let domain = value::host(node)?;
    let Some(url) = public_url else { return Ok(domain) };
    if url.scheme() != "https" {
        return Err("needs an https public_url: a cookie that several hosts share must be Secure".into());
    }
    let Some(Host::Domain(host)) = url.host() else {
        return Err("cannot be used where public_url names an address instead of a host".into());
    };
    if !domain.contains('.') || !(host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.')))
    {
        return Err(format!(
            "must be the host of public_url ({host}) or a domain above it, with a dot inside, not {text:?}"
        ));
    }
    Ok(domain)
}
