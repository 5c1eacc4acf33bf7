//! `mlgate explain`: would this request pass, and why.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::{Exit, complain};
use crate::config::{self, Config, ProviderKind};
use crate::domain::{Access, Caller, Identity, Resource, Scope, SystemClock, Timestamp, Via};
use crate::mlflow::Mlflow;
use crate::outbound::UpstreamClient;
use crate::pipeline::{Typed, explained};
use crate::policy::{Explained, Explanation, Policy};

#[derive(Args, Debug)]
pub(super) struct Explain {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The user name.
    #[arg(long)]
    user: String,
    /// The provider that vouches; may be left out where there is only one.
    #[arg(long)]
    provider: Option<String>,
    /// A group, as the provider says it; once for each. Without any, a local user has the groups of the users file.
    #[arg(long)]
    group: Vec<String>,
    /// The upstream, where there are several; else the first.
    #[arg(long)]
    upstream: Option<String>,
    /// A header of the request: 'Name: value'.
    #[arg(long)]
    header: Vec<String>,
    /// A file with the request's body.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    #[arg(long)]
    json: bool,
    /// GET, POST, …
    method: String,
    /// Path and query, as MLflow knows them.
    path: String,
}

pub(super) fn run(asked: &Explain, out: &mut dyn Write) -> io::Result<Exit> {
    let config = match config::load(&asked.config) {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems {
                complain(problem);
            }
            return Ok(Exit::Failed);
        }
    };
    let caller = match caller(asked, &config) {
        Ok(caller) => caller,
        Err(text) => return fail(&text),
    };
    let chosen = asked.upstream.as_ref();
    let Some(upstream) = config
        .upstreams
        .iter()
        .find(|upstream| chosen.is_none_or(|name| *name == upstream.name))
    else {
        return fail("there is no such upstream");
    };
    let request = typed(asked)?;
    let client = UpstreamClient::new(upstream).map_err(io::Error::other)?;
    let mlflow = Mlflow::new(upstream, Arc::new(client), Arc::new(SystemClock));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let policy = Policy::new(&config.roles)
        .sharing_on(&config.upstreams)
        .without_marks_where(config.is_asked());
    let told = tokio::task::LocalSet::new().block_on(&runtime, async {
        mlflow.refresh().await;
        explained(&mlflow, &policy, &upstream.name, &caller, request).await
    });
    let (action, told) = match told {
        Ok(told) => told,
        Err(error) => return fail(&error.to_string()),
    };
    if asked.json {
        writeln!(out, "{:#}", in_json(&told))?;
    } else {
        in_words(action, &told, out)?;
    }
    Ok(if told.allowed { Exit::Done } else { Exit::Refused })
}

fn fail(text: &str) -> io::Result<Exit> {
    complain(&text);
    Ok(Exit::Failed)
}

fn caller(asked: &Explain, config: &Config) -> Result<Caller, String> {
    let provider = match (&asked.provider, config.providers.as_slice()) {
        (Some(id), providers) => providers
            .iter()
            .find(|provider| provider.id == *id)
            .ok_or("there is no such provider")?,
        (None, [only]) => only,
        (None, _) => return Err("there are several providers: say which with --provider".to_owned()),
    };
    let groups = match &provider.kind {
        ProviderKind::Local(local) if asked.group.is_empty() => local
            .users
            .iter()
            .find(|user| user.name == asked.user)
            .map(|user| user.groups.clone())
            .unwrap_or_default(),
        _ => asked.group.clone(),
    };
    let identity = Identity {
        provider: provider.id.clone(),
        subject: asked.user.clone(),
        user: asked.user.clone(),
        display_name: None,
        email: None,
        groups,
        authenticated_at: Timestamp::from_seconds(0),
    };
    Ok(Caller {
        identity: Arc::new(identity),
        via: Via::Explain,
        credential: None,
        scope: Scope::default(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    })
}

fn typed(asked: &Explain) -> io::Result<Typed> {
    let mut headers = Vec::new();
    for header in &asked.header {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| io::Error::other("a header is 'Name: value'"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().as_bytes().to_vec()));
    }
    let body = match &asked.body {
        Some(file) => Bytes::from(std::fs::read(file)?),
        None => Bytes::new(),
    };
    let has = |headers: &[(String, Vec<u8>)], name: &str| headers.iter().any(|(key, _)| key == name);
    if !body.is_empty() && !has(&headers, "content-length") {
        headers.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    }
    if !body.is_empty() && !has(&headers, "content-type") {
        headers.push(("content-type".to_owned(), b"application/json".to_vec()));
    }
    Ok(Typed {
        headers,
        body,
        ..Typed::new(&asked.method, &asked.path)
    })
}

/// What an access is about: permission, kind, id, name.
fn facts(access: &Access) -> (&'static str, &'static str, Option<&str>, Option<&str>) {
    let of = |resource: &Resource| resource.kind.as_str();
    match access {
        Access::Public => ("NONE", "public", None, None),
        Access::Member => ("NONE", "any_role", None, None),
        Access::On { permission, resource } => (permission.as_str(), of(resource), resource.id(), resource.name()),
        Access::AnyOf { permission, resources } => match resources.first() {
            Some(first) => (permission.as_str(), of(first), first.id(), first.name()),
            None => (permission.as_str(), "nothing", None, None),
        },
    }
}

fn in_json(told: &Explanation) -> Value {
    let access = |explained: &Explained| {
        let (permission, kind, id, name) = facts(&explained.access);
        let looked_at: Vec<_> = explained
            .looked_at
            .iter()
            .map(|rule| {
                let permission = rule.permission.map_or("DENY", crate::domain::Permission::as_str);
                json!({"role": rule.role, "permission": permission, "pattern": rule.pattern, "hit": rule.hit})
            })
            .collect();
        json!({
            "permission": permission, "kind": kind, "id": id, "name": name,
            "granted": explained.granted, "role": explained.role, "looked_at": looked_at,
        })
    };
    json!({
        "decision": if told.allowed { "allowed" } else { "refused" },
        "roles": told.roles,
        "accesses": told.accesses.iter().map(access).collect::<Vec<_>>(),
        "reason": told.reason,
    })
}

fn in_words(action: Option<&str>, told: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}: {}",
        if told.allowed { "allowed" } else { "refused" },
        told.reason.text
    )?;
    if let Some(action) = action {
        writeln!(out, "action  {action}")?;
    }
    writeln!(
        out,
        "roles   {}",
        if told.roles.is_empty() {
            "none".to_owned()
        } else {
            told.roles.join(", ")
        }
    )?;
    for explained in &told.accesses {
        let (permission, kind, id, name) = facts(&explained.access);
        let verdict = if explained.granted { "yes" } else { "NO" };
        let what = [id.map(|id| format!(" {id}")), name.map(|name| format!(" '{name}'"))]
            .map(Option::unwrap_or_default)
            .concat();
        writeln!(out, "{verdict:<3} {permission} on {kind}{what}")?;
        for rule in &explained.looked_at {
            let permission = rule.permission.map_or("DENY", crate::domain::Permission::as_str);
            let hit = if rule.hit { "hit " } else { "miss" };
            writeln!(out, "      {hit} {permission} {} ({})", rule.pattern, rule.role)?;
        }
    }
    Ok(())
}
