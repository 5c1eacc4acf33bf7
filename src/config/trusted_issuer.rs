//! `[[trusted_issuer]]`: whose JWTs are believed, from which workloads, and what those are here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use crate::domain::KeySet;

use super::node::{Node, Shape};
use super::reader::Section;
use super::{Problem, files, provider, value};

#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// `[a-z0-9-]+`; no provider has the same.
    pub id: String,
    /// As written: the issuer is compared byte for byte.
    pub issuer: String,
    pub keys: IssuerKeys,
    pub ca_file: Option<PathBuf>,
    pub audience: String,
    /// The user name.
    pub user: Vec<NamePart>,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    pub groups: Vec<String>,
}

#[derive(Clone, Debug)]
pub enum IssuerKeys {
    File(Arc<KeySet>),
    Url(Url),
    /// By the issuer's `/.well-known/openid-configuration`.
    Discovered,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePart {
    Text(String),
    /// The value of a claim.
    Claim(String),
}

/// A claim's name, or a JSON pointer to it (RFC 6901), and the values of which it must have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub claim: String,
    pub values: Vec<String>,
}

/// Claims that say how a job ran or on which branch, and not whose it is: everyone at the issuer can have any value of them.
const OF_ANYBODY: [&str; 22] = [
    "aud",
    "base_ref",
    "check_run_id",
    "email_verified",
    "environment",
    "environment_protected",
    "event_name",
    "head_ref",
    "iss",
    "job_workflow_ref",
    "pipeline_source",
    "ref",
    "ref_path",
    "ref_protected",
    "ref_type",
    "repository_visibility",
    "run_attempt",
    "run_number",
    "runner_environment",
    "sha",
    "typ",
    "workflow",
];

/// `ids` are those of the providers; those of issuers are added, those of broken entries included.
pub(super) fn read_all(root: &Section<'_>, ids: &mut BTreeSet<String>) -> Vec<TrustedIssuer> {
    root.sections("trusted_issuer")
        .into_iter()
        .filter_map(|section| read(section, ids))
        .collect()
}

fn read(section: Section<'_>, ids: &mut BTreeSet<String>) -> Option<TrustedIssuer> {
    let id = section.required("id", value::id);
    if let Some(id) = &id {
        provider::claim_id(&section, id, ids);
    }
    let issuer = section.required("issuer", provider::issuer);
    let mut read_keys = None;
    section.checked_file("jwks_file", |path| {
        read_keys = Some(key_set(path)?);
        Ok(())
    });
    let url = section.value("jwks_url", keys_url);
    let ca_file = section.checked_file("ca_file", files::check_roots);
    let has_file = section.node("jwks_file").is_some();
    if has_file && section.node("jwks_url").is_some() {
        section.problem("jwks_url", "is given beside jwks_file: keep one of the two");
    }
    let keys = match (read_keys, url) {
        (Some(keys), _) => Some(IssuerKeys::File(Arc::new(keys))),
        (None, Some(url)) => Some(IssuerKeys::Url(url)),
        (None, None) => (!has_file).then_some(IssuerKeys::Discovered),
    };
    let audience = section.required("audience", value::text);
    let user = section.required("user", name);
    let conditions = conditions(&section);
    let groups = section.list("groups", value::text).unwrap_or_default();
    if let Some(conditions) = &conditions
        && conditions
            .iter()
            .all(|condition| OF_ANYBODY.contains(&condition.claim.as_str()))
    {
        let text = "names nobody: whoever can get a token of this issuer is trusted; match its repository, project, namespace or account";
        section.warn("match", text);
    }
    section.finish();
    Some(TrustedIssuer {
        id: id?,
        issuer: issuer?,
        keys: keys?,
        ca_file,
        audience: audience?,
        user: user?,
        conditions: conditions?,
        groups,
    })
}

fn key_set(path: &Path) -> Result<KeySet, String> {
    KeySet::read(&files::read(path)?).map_err(|text| format!("{} {text}", path.display()))
}

fn keys_url(node: &Node) -> Result<Url, String> {
    let url = value::any_web_url(node)?;
    provider::check_issuer(&url)?;
    Ok(url)
}

/// `None` where something is wrong with them: a rule must not grow by a slip of the pen.
fn conditions(section: &Section<'_>) -> Option<Vec<Condition>> {
    let Some(node) = section.node("match") else {
        return Some(Vec::new());
    };
    let Some(entries) = node.entries() else {
        section.problem("match", "must be a table such as { repository = \"acme/train\" }");
        return None;
    };
    let mut conditions = Vec::new();
    let mut all_good = true;
    for (claim, node) in entries {
        match claim_name(claim).and_then(|claim| Ok((claim, values(node)?))) {
            Ok((claim, values)) => conditions.push(Condition { claim, values }),
            Err(text) => {
                all_good = false;
                let path = format!("{}.{}", section.path("match"), claim.escape_debug());
                section.reading.report(Problem::new(path, node.line, text));
            }
        }
    }
    all_good.then_some(conditions)
}

fn claim_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "/" || text.chars().any(char::is_control) {
        return Err("must name a claim, or be a JSON pointer such as \"/kubernetes.io/namespace\"".into());
    }
    Ok(text.to_owned())
}

/// One text, a list of them, or true or false.
fn values(node: &Node) -> Result<Vec<String>, String> {
    match &node.shape {
        Shape::List(entries) if entries.is_empty() => Err("is empty, so that nothing fits it".into()),
        Shape::List(entries) => entries.iter().map(one_value).collect(),
        _ => Ok(vec![one_value(node)?]),
    }
}

fn one_value(node: &Node) -> Result<String, String> {
    match &node.shape {
        Shape::Bool(flag) => Ok(flag.to_string()),
        Shape::Text(text) if text.contains('*') => {
            Err("is compared as it is, and * stands for nothing: write a list of the values that may be".into())
        }
        Shape::Text(_) => value::text(node),
        _ => Err("must be a text in quotes, a list of texts, or true or false".into()),
    }
}

/// Text with claims in braces.
fn name(node: &Node) -> Result<Vec<NamePart>, String> {
    let text = value::text(node)?;
    let broken = || "must have claims in braces, such as \"github:{repository}\", and no other brace".to_owned();
    let mut parts = Vec::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (claim, after) = after.split_once('}').ok_or_else(broken)?;
        if before.contains('}') || claim.contains('{') {
            return Err(broken());
        }
        if !before.is_empty() {
            parts.push(NamePart::Text(before.to_owned()));
        }
        parts.push(NamePart::Claim(claim_name(claim).map_err(|_| broken())?));
        rest = after;
    }
    if rest.contains('}') {
        return Err(broken());
    }
    if !rest.is_empty() {
        parts.push(NamePart::Text(rest.to_owned()));
    }
    Ok(parts)
}
